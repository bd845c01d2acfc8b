"""Random order flows through the compiled book and the oracle, compared after every message.

Messages are drawn from the oracle's state, so that cancels hit and books fill up; the compiled
book then runs the same messages in one scan, vmapped over books, and returns everything it holds
after each of them. The comparison happens on the host.
"""

import dataclasses
import functools
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.lob import MAX_PRICE, MAX_VOLUME, Oracle, Outcome

from jaxmars.book import (
    apply_order,
    init_book,
    invariants,
    l2_snapshot,
    l2_update,
    mid_price,
    spread,
)
from jaxmars.types import L2, Kind, Order, Side, Status, Trades

Message = tuple[int, int, int, int, int, int]  # the fields of `Order`
MID = 100  # ticks
LAST_PRICE = 77  # ticks, handed to `mid_price` for empty books
NEVER = 10**6  # an id no order gets
BAD_KINDS = (-1, Kind.UNCROSS, 8, 2**31 - 1)
NEW_KINDS = (Kind.LIMIT, Kind.MARKET, Kind.IOC, Kind.FOK, Kind.POST_ONLY)
BAD_SIDES = (-1, 2, 2**31 - 1)
BAD_PRICES = (0, -1, MAX_PRICE, 2**31 - 1, -(2**31))
BAD_SIZES = (0, -1, -(2**31))


@dataclasses.dataclass(frozen=True)
class Mix:
    """What a random flow is made of.

    Attributes:
      weights: how often each maker of `Maker` is called.
      ticks: limit prices lie up to this many ticks on the order's own side of `MID`.
      overlap: and up to this many on the other; the larger, the more they trade.
      max_size: largest usual size, shares.
    """

    weights: Mapping[str, float]
    ticks: int
    overlap: int
    max_size: int


MIXES = {
    "steady": Mix({"limit": 54, "cancel": 34, "partial": 8, "market": 4}, 20, 1, 500),
    "sweeps": Mix({"limit": 60, "sweep": 20, "market": 12, "cancel": 8}, 8, 3, 60),
    "crowded": Mix({"limit": 85, "cancel": 6, "market": 5, "sweep": 4}, 4, 1, 9),
    "faulty": Mix(
        {
            "limit": 40, "cancel": 14, "partial": 8, "market": 6, "sweep": 4, "unknown": 4,
            "ioc": 3, "fok": 3, "post_only": 3,
            "foreign": 3, "wrong_side": 3, "too_large": 4, "duplicate": 4, "bad_kind": 2,
            "bad_side": 2, "bad_price": 3, "bad_size": 3, "nothing": 2,
        },
        6, 2, 50,
    ),
    "kinds": Mix(
        {"limit": 45, "ioc": 12, "fok": 12, "post_only": 12, "market": 4, "cancel": 15}, 6, 2, 50
    ),
    "huge": Mix(
        {"limit": 30, "giant": 30, "cancel": 20, "partial": 10, "sweep": 5, "market": 5,
         "fok": 3, "ioc": 3},
        6, 2, 2**30,
    ),
}  # fmt: skip


class Maker:
    """Draws messages from the state of an oracle. One method per kind of message."""

    def __init__(self, rng: random.Random, oracle: Oracle, mix: Mix) -> None:
        self.rng, self.oracle, self.mix = rng, oracle, mix
        self.next_id = 0
        self.makers = [getattr(self, name) for name in mix.weights]
        self.weights = list(mix.weights.values())

    def draw(self) -> Message:
        return self.rng.choices(self.makers, self.weights)[0]()

    def limit(self) -> Message:
        side = self.side()
        return (Kind.LIMIT, side, self.price(side), self.size(), self.id(), self.owner())

    def giant(self) -> Message:
        kind, side, price, _, order_id, agent_id = self.limit()
        return (kind, side, price, MAX_VOLUME - self.rng.randrange(3), order_id, agent_id)

    def sweep(self) -> Message:
        side = self.side()
        price = MID + (1 if side == Side.BUY else -1) * self.mix.ticks
        size = min(MAX_VOLUME, self.size() * self.rng.randint(2, 12))
        return (Kind.LIMIT, side, price, size, self.id(), self.owner())

    def ioc(self) -> Message:
        return (Kind.IOC, *self.rng.choice((self.limit, self.sweep))()[1:])

    def fok(self) -> Message:
        return (Kind.FOK, *self.rng.choice((self.limit, self.sweep))()[1:])

    def post_only(self) -> Message:
        return (Kind.POST_ONLY, *self.limit()[1:])

    def market(self) -> Message:
        size = min(MAX_VOLUME, self.size() * self.rng.randint(1, 4))
        return (Kind.MARKET, self.side(), self.rng.choice((0, MID, -5)), size, self.id(), 3)

    def cancel(self) -> Message:
        return self._cancel(lambda size: size)

    def partial(self) -> Message:
        return self._cancel(lambda size: self.rng.randint(1, size))

    def too_large(self) -> Message:
        return self._cancel(lambda size: min(MAX_VOLUME, size + self.rng.randint(1, 9)))

    def foreign(self) -> Message:
        kind, side, price, size, order_id, agent_id = self.cancel()
        return (kind, side, price, size, order_id, agent_id + 1)

    def wrong_side(self) -> Message:
        kind, side, price, size, order_id, agent_id = self.cancel()
        return (kind, 1 - side, price, size, order_id, agent_id)

    def unknown(self) -> Message:
        return (Kind.CANCEL, self.side(), 0, self.size(), NEVER, self.owner())

    def duplicate(self) -> Message:
        kind = self.rng.choice(NEW_KINDS)
        return (kind, *self.limit()[1:4], self.cancel()[4], self.owner())

    def bad_kind(self) -> Message:
        return (self.rng.choice(BAD_KINDS), *self.limit()[1:])

    def bad_side(self) -> Message:
        message = self.rng.choice((self.limit, self.market, self.cancel))()
        return (message[0], self.rng.choice(BAD_SIDES), *message[2:])

    def bad_price(self) -> Message:
        maker = self.rng.choice((self.limit, self.ioc, self.fok, self.post_only))
        kind, side, _, size, order_id, agent_id = maker()
        size = self.rng.choice((size, 0))
        return (kind, side, self.rng.choice(BAD_PRICES), size, order_id, agent_id)

    def bad_size(self) -> Message:
        makers = (self.limit, self.market, self.cancel, self.ioc, self.fok, self.post_only)
        message = self.rng.choice(makers)()
        return (*message[:3], self.rng.choice(BAD_SIZES), *message[4:])

    def nothing(self) -> Message:
        return (Kind.NONE, self.rng.choice((0, 1, 5)), *self.limit()[2:])

    def side(self) -> int:
        return self.rng.getrandbits(1)

    def price(self, side: int) -> int:
        beyond = self.rng.randint(-self.mix.ticks, self.mix.overlap)
        return MID + (beyond if side == Side.BUY else -beyond)

    def size(self) -> int:
        return self.rng.randint(1, self.mix.max_size)

    def id(self) -> int:
        self.next_id += 1
        return self.next_id * (-1 if self.rng.random() < 0.1 else 1)

    def owner(self) -> int:
        return self.rng.randint(-1, 2)

    def _cancel(self, shares: Any) -> Message:
        side = Side(self.side())
        orders = self.oracle.orders(side)
        if not orders:
            return self.unknown()
        order = self.rng.choice(orders)
        price = self.rng.choice((order.price, 0))
        return (Kind.CANCEL, side, price, shares(order.size), order.order_id, order.agent_id)


class Record(NamedTuple):
    """Everything compared after one message; leading axes are books and messages."""

    fills: np.ndarray  # [6] status, price, filled, cancelled, first price, last price
    trades: np.ndarray  # [max_trades, 5] side, price, size, order id, owner
    orders: np.ndarray  # [2, slots, 4] the same of the resting orders, in priority order
    totals: np.ndarray  # [2]
    status: np.ndarray  # [] bits gathered so far
    levels: np.ndarray  # [2, levels, 2] price, size
    updated: np.ndarray  # [2, levels, 2] the same, carried from message to message
    quotes: np.ndarray  # [2] mid, spread


def drawn_flow(seed: int, mix: Mix, capacity: int, num: int) -> tuple[np.ndarray, Oracle]:
    """`num` random messages `[num, 6]` int32 and the oracle that has processed them."""
    oracle = Oracle(capacity)
    maker = Maker(random.Random(seed), oracle, mix)
    messages = []
    for _ in range(num):
        messages.append(maker.draw())
        oracle.apply(*messages[-1])
    return as_rows(messages), oracle


def as_rows(messages: Sequence[Message]) -> np.ndarray:
    return np.asarray(messages, np.int32).reshape(-1, len(Order._fields))


def expected_record(rows: np.ndarray, capacity: int, max_trades: int, levels: int) -> Record:
    """What the oracle says after each message, with a leading axis of messages."""
    oracle = Oracle(capacity)
    records = []
    for row in rows.tolist():
        outcome = oracle.apply(*row)
        records.append(oracle_record(oracle, outcome, max_trades, levels))
    return Record(*(np.stack(x) for x in zip(*records, strict=True)))


def oracle_record(oracle: Oracle, outcome: Outcome, max_trades: int, levels: int) -> Record:
    """What the oracle holds after a message with this outcome."""
    status = outcome.status
    if max_trades and len(outcome.trades) > max_trades:
        status |= Status.TRADES_TRUNCATED
        oracle.status |= Status.TRADES_TRUNCATED
    trades = np.zeros((max_trades, len(Trades._fields)), np.int32)
    for place, trade in enumerate(outcome.trades[:max_trades]):
        trades[place] = (trade.side, trade.price, trade.size, trade.order_id, trade.agent_id)
    orders = np.zeros((2, oracle.capacity, 4), np.int32)
    for side in Side:
        for place, order in enumerate(oracle.orders(side)):
            orders[side, place] = (order.price, order.size, order.order_id, order.agent_id)
    known = [oracle.l2(side, levels) for side in Side]
    return Record(
        fills=np.array(
            (status, outcome.price, outcome.filled, outcome.cancelled, outcome.first_price,
             outcome.last_price), np.int32,
        ),
        trades=trades,
        orders=orders,
        totals=np.array([oracle.volume(side) for side in Side], np.int32),
        status=np.array(oracle.status, np.int32),
        levels=np.array(known, np.int32),
        updated=np.array(known, np.int32),
        quotes=np.array((oracle.mid(LAST_PRICE), oracle.spread()), np.int32),
    )  # fmt: skip


def quotes(l2: L2) -> jax.Array:
    """Mid price and spread, `[2]` int32."""
    return jnp.stack((mid_price(l2, jnp.int32(LAST_PRICE)), spread(l2)))


@functools.cache
def compiled_outputs(capacity: int, max_trades: int, levels: int) -> Any:
    """A jitted function of messages `[books, num, 6]` that returns all the book holds."""

    def step(carry: Any, row: jax.Array) -> Any:
        book, updated = carry
        order = Order(*row)
        book, fills = apply_order(book, order, max_trades=max_trades)
        l2, updated = l2_snapshot(book, levels), l2_update(updated, book, order, fills)
        return (book, updated), (book, fills, l2, updated, quotes(l2), invariants(book))

    def run(rows: jax.Array) -> Any:
        book = init_book(capacity)
        return jax.lax.scan(step, (book, l2_snapshot(book, levels)), rows)[1]

    return jax.jit(jax.vmap(run))


def compiled_record(outputs: Any) -> tuple[Record, np.ndarray]:
    """The record of the compiled book, and its invariants, with axes books and messages."""
    book, fills, l2, updated, prices, sound = jax.tree.map(np.asarray, outputs)
    live = book.size > 0
    rank = np.argsort(np.where(live, book.ahead, 2**31 - 1), axis=-1, kind="stable")
    ranked = lambda x: np.take_along_axis(np.where(live, x, 0), rank, -1)
    columns = (abs(book.key), book.size, book.order_id, book.agent_id)
    record = Record(
        fills=np.stack(
            (fills.status, fills.price, fills.filled, fills.cancelled, fills.first_price,
             fills.last_price), -1,
        ),
        trades=np.stack(fills.trades, -1),
        orders=np.stack([ranked(x) for x in columns], -1),
        totals=book.total,
        status=book.status,
        levels=np.stack((l2.price, l2.size), -1),
        updated=np.stack((updated.price, updated.size), -1),
        quotes=prices,
    )  # fmt: skip
    return record, sound


def first_difference(rows: np.ndarray, ours: Any, oracle: Any) -> str | None:
    """What differs first in one book, with the message that caused it; None if nothing does."""
    wrong = {
        name: (a != b).reshape(len(rows), -1).any(1)
        for name, a, b in zip(ours._fields, ours, oracle, strict=True)
    }
    differs = np.any(list(wrong.values()), axis=0)
    if not differs.any():
        return None
    at = int(np.argmax(differs))
    lines = [f"message {at}: {describe_message(rows[at])}"]
    for name, a, b in zip(ours._fields, ours, oracle, strict=True):
        if wrong[name][at]:
            lines.append(f"{name}: book {a[at].tolist()}, oracle {b[at].tolist()}")
    return "\n".join(lines)


def describe_message(row: np.ndarray) -> str:
    names = (*Order._fields, "collecting")[: len(row)]
    return ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True))
