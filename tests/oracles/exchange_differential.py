"""Random trading days through the compiled exchange and the oracle, compared after every message.

A day is continuous matching with call auctions in between: orders are collected for a while, then
one UNCROSS message ends the auction (its price is the reference). Rules, self-trade policies and
accounts take part.
"""

import functools
import random
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.book_differential import (
    MID,
    Maker,
    Mix,
    compiled_record,
    first_difference,
    oracle_record,
    quotes,
)
from oracles.exchange import Exchange, price_band

from jaxmars.book import (
    empty_accounts,
    execute,
    execute_uncross,
    init_book,
    invariants,
    l2_snapshot,
    l2_update,
    wide_to_int,
)
from jaxmars.book import price_band as compiled_price_band
from jaxmars.config import RulesConfig, SelfTrade
from jaxmars.types import Band, Kind, Order

AGENTS = 3  # owners of the flow are -1 to 3: some have an account, some have none
MAX_TRADES, LEVELS = 2, 2
LIMIT_RATIO = "0.05"
REFERENCES = (0, MID - 2, MID, MID + 3)

RULES = {
    "allow": RulesConfig(),
    "reject": RulesConfig(self_trade=SelfTrade.REJECT),
    "cancel resting": RulesConfig(self_trade=SelfTrade.CANCEL_RESTING),
    "cancel incoming": RulesConfig(self_trade=SelfTrade.CANCEL_INCOMING),
    "strict": RulesConfig(
        price_step=2,
        size_step=5,
        price_limit=float(LIMIT_RATIO),
        self_trade=SelfTrade.CANCEL_RESTING,
        kinds=(Kind.LIMIT, Kind.CANCEL, Kind.FOK, Kind.POST_ONLY),
    ),
}


class DayRecord(NamedTuple):
    """`Record`, and the accounts."""

    fills: np.ndarray
    trades: np.ndarray
    orders: np.ndarray
    totals: np.ndarray
    status: np.ndarray
    levels: np.ndarray
    updated: np.ndarray
    quotes: np.ndarray
    accounts: np.ndarray  # [agents, 5] bought, sold, paid, received, is frozen


def new_exchange(rules: RulesConfig, capacity: int) -> Exchange:
    return Exchange(capacity, rules, AGENTS, price_band(MID, LIMIT_RATIO))


def drawn_day(seed: int, mix: Mix, rules: RulesConfig, capacity: int, num: int) -> np.ndarray:
    """`num` random messages `[num, 7]` int32: the fields of `Order`, and whether collected."""
    rng = random.Random(seed)
    exchange = new_exchange(rules, capacity)
    maker = Maker(rng, exchange.book, mix)
    rows: list[tuple[int, ...]] = []
    while len(rows) < num:
        for collecting, longest in ((0, 60), (1, 25)):
            for _ in range(rng.randint(1, longest)):
                rows.append((*maker.draw(), collecting))
                exchange.execute([int(x) for x in rows[-1][:-1]], bool(collecting))
        rows.append((Kind.UNCROSS, 0, rng.choice(REFERENCES), 0, 0, 0, 1))
        exchange.uncross(rows[-1][2])
    return np.asarray(rows[:num], np.int32)


def expected_day(rows: np.ndarray, rules: RulesConfig, capacity: int) -> DayRecord:
    """What the oracle says after each message, with a leading axis of messages."""
    exchange = new_exchange(rules, capacity)
    records = []
    for *row, collecting in rows.tolist():
        if row[0] == Kind.UNCROSS:
            outcome = exchange.uncross(row[2])
        else:
            outcome = exchange.execute(row, bool(collecting))
        accounts = [(x.bought, x.sold, x.paid, x.received, x.is_frozen) for x in exchange.ledgers]
        record = oracle_record(exchange.book, outcome, MAX_TRADES, LEVELS)
        records.append(DayRecord(*record, np.asarray(accounts, np.int64)))
    return DayRecord(*(np.stack(x) for x in zip(*records, strict=True)))


@functools.cache
def compiled_day(rules: RulesConfig, capacity: int) -> Any:
    """A jitted function of messages `[books, num, 7]` that returns all the exchange holds."""
    band = compiled_price_band(MID, rules)

    def step(carry: Any, row: jax.Array) -> Any:
        book, accounts, levels = carry
        order, collecting = Order(*row[:-1]), row[-1] > 0
        ends = order.kind == Kind.UNCROSS
        uncrossed = execute_uncross(book, accounts, order.price, max_trades=MAX_TRADES)
        executed = execute(
            book, accounts, order, Band(*band), rules=rules, collecting=collecting,
            max_trades=MAX_TRADES,
        )  # fmt: skip
        book, accounts, fills = jax.tree.map(
            lambda x, y: jnp.where(ends, x, y), uncrossed, executed
        )
        l2, updated = l2_snapshot(book, LEVELS), l2_update(levels, book, order, fills)
        updated = jax.tree.map(lambda x, y: jnp.where(ends, x, y), l2, updated)
        sound = invariants(book, crossed_allowed=collecting & ~ends)
        return (book, accounts, updated), ((book, fills, l2, updated, quotes(l2), sound), accounts)

    def run(rows: jax.Array) -> Any:
        book = init_book(capacity)
        start = (book, empty_accounts(AGENTS), l2_snapshot(book, LEVELS))
        return jax.lax.scan(step, start, rows)[1]

    return jax.jit(jax.vmap(run))


def played_day(rows: np.ndarray, rules: RulesConfig, capacity: int) -> tuple[DayRecord, np.ndarray]:
    """The compiled exchange's record of messages `[books, num, 7]`, and its invariants."""
    outputs, accounts = compiled_day(rules, capacity)(rows)
    record, sound = compiled_record(outputs)
    columns = (
        accounts.bought, accounts.sold, wide_to_int(accounts.paid), wide_to_int(accounts.received),
        accounts.frozen,
    )  # fmt: skip
    return DayRecord(*record, np.stack([np.asarray(x, np.int64) for x in columns], -1)), sound


def day_difference(rows: np.ndarray, rules: RulesConfig, capacity: int) -> str | None:
    """What is wrong first in days `[books, num, 7]`: a difference or an unsound book."""
    record, sound = played_day(rows, rules, capacity)
    for book, day in enumerate(rows):
        ours = DayRecord(*(x[book] for x in record))
        difference = first_difference(day, ours, expected_day(day, rules, capacity))
        if difference is not None:
            return f"book {book}, {difference}"
        if not sound[book].all():
            return f"book {book} is not sound after message {int(np.argmin(sound[book]))}"
    return None
