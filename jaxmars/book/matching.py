"""Continuous double auction: price, then arrival. One message, two fused passes, no loop.

| rule | jaxmars | MarS release | JAX-LOB |
|---|---|---|---|
| priority at one price | arrival, kept on partial fill | same | time stamp, then slot |
| cancel of an unknown order | no-op, `UNKNOWN_ORDER` | assertion | shrinks a stranger's order |
| cancel of more than rests | no-op, `BAD_SIZE` | assertion | takes what rests |
| no free slot | rejected, `BOOK_FULL` | unbounded | erases resting orders |
| self-trade | allowed | allowed | allowed |
| market order beyond the book | rest dropped, `UNFILLED_MARKET` | none exist | rest dropped |
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.state import MAX_PRICE, MAX_VOLUME, NO_KEY, Book, side_key
from jaxmars.types import Fills, Kind, Order, Side, Status, Trades

MATCHING_VERSION = 1  # raised whenever a rule changes


class _Scan(NamedTuple):
    """What one pass over all slots finds for an order."""

    before: jax.Array  # [] int32, shares that trade before the order (a cancel: before its target)
    available: jax.Array  # [] int32, shares it can trade with (a cancel: its target's size)
    slot: jax.Array  # [] int32, free slot (a cancel: the target's slot); slots if none
    taken: jax.Array  # [] int32, 1 if its id rests in the book
    best: jax.Array  # [] int32, best key of the opposite side
    level: jax.Array  # [] int32, key of a cancel's target


def apply_order(book: Book, order: Order, *, max_trades: int = 0) -> tuple[Book, Fills]:
    """Matches one order, or cancels one, and rests what is left of a limit order.

    An order that cannot be carried out changes nothing and sets a bit of `Status` (see the table
    above); bits also gather in `book.status`.

    Args:
      book: the book (`MATCHING_VERSION` names these rules).
      order: LIMIT, MARKET, CANCEL (by id, owner and side; `size` shares, at most what rests) or
        NONE.
      max_trades: trade records to return. Each costs one more pass.

    Returns:
      The book after the order, and what happened.
    """
    slots = book.size.shape[1]
    lane = jnp.arange(slots, dtype=jnp.int32)[None]
    own = jnp.arange(2, dtype=jnp.int32)[:, None] == order.side
    cancel = order.kind == Kind.CANCEL
    limit = order.kind == Kind.LIMIT
    market = order.kind == Kind.MARKET
    rest_key = side_key(order.side, order.price)
    reach = jnp.where(market, MAX_PRICE, -rest_key)

    seen = _scan(book, order, own, lane, cancel, rest_key, reach)
    filled = jnp.where(cancel, 0, jnp.minimum(order.size, seen.available))
    rest = jnp.where(limit, order.size - filled, 0)
    status, rejected = _judge(book, order, seen, rest, slots)
    active = ~rejected & (order.kind != Kind.NONE)
    filled = jnp.where(active & (limit | market), filled, 0)
    rest = jnp.where(active, rest, 0)
    removed = jnp.where(active & cancel, order.size, 0)

    fill = jnp.where(own, 0, jnp.clip(filled - book.ahead, 0, book.size))
    hot = own & (lane == seen.slot)
    new = hot & (rest > 0)
    behind = jnp.where((rest > 0) & (book.key > rest_key), rest, 0)
    behind = behind - jnp.where(book.ahead > seen.before, removed, 0)
    ahead = jnp.where(own, book.ahead + behind, jnp.maximum(book.ahead - filled, 0))
    side_change = jnp.where(own[:, 0], rest - removed, -filled)
    after = Book(
        key=jnp.where(new, rest_key, book.key),
        size=jnp.where(new, rest, book.size - fill - jnp.where(hot, removed, 0)),
        ahead=jnp.where(new, seen.before, ahead),
        order_id=jnp.where(new, order.order_id, book.order_id),
        agent_id=jnp.where(new, order.agent_id, book.agent_id),
        total=book.total + side_change,
        status=book.status | status,
    )
    trades, truncated = _trades(book, fill, filled, own, max_trades)
    status = status | truncated
    fills = Fills(
        filled=filled,
        cancelled=removed,
        price=jnp.where(cancel, jnp.abs(seen.level), order.price),
        first_price=jnp.where(filled > 0, jnp.abs(seen.best), 0),
        last_price=jnp.abs(jnp.where(fill > 0, book.key, -NO_KEY).max(where=~own, initial=-NO_KEY))
        * (filled > 0),
        status=status,
        trades=trades,
    )
    return after._replace(status=book.status | status), fills


def _scan(
    book: Book,
    order: Order,
    own: jax.Array,
    lane: jax.Array,
    cancel: jax.Array,
    rest_key: jax.Array,
    reach: jax.Array,
) -> _Scan:
    """All reductions of a message in one variadic pass."""
    live = book.size > 0
    same_id = live & (book.order_id == order.order_id)
    target = own & same_id & (book.agent_id == order.agent_id)
    before = jnp.where(
        cancel,
        jnp.where(target, book.ahead, 0),
        jnp.where(own & (book.key <= rest_key), book.size, 0),
    )
    reached = ~own & (book.key <= reach)
    available = jnp.where(jnp.where(cancel, target, reached), book.size, 0)
    slot = jnp.where(jnp.where(cancel, target, own & ~live), lane, lane.shape[1])
    best = jnp.where(~own & live, book.key, NO_KEY)
    level = jnp.where(target, book.key, 0)
    zero, slots = jnp.int32(0), jnp.int32(lane.shape[1])

    def combine(a: tuple, b: tuple) -> tuple:
        return (
            a[0] + b[0],
            a[1] + b[1],
            jnp.minimum(a[2], b[2]),
            jnp.maximum(a[3], b[3]),
            jnp.minimum(a[4], b[4]),
            a[5] + b[5],
        )

    operands = (before, available, slot, same_id.astype(jnp.int32), best, level)
    initial = (zero, zero, slots, zero, jnp.int32(NO_KEY), zero)
    return _Scan(*lax.reduce(operands, initial, combine, (0, 1)))


def _judge(
    book: Book, order: Order, seen: _Scan, rest: jax.Array, slots: int
) -> tuple[jax.Array, jax.Array]:
    """Status bits of an order, and whether they reject it."""
    cancel = order.kind == Kind.CANCEL
    limit = order.kind == Kind.LIMIT
    market = order.kind == Kind.MARKET
    real = limit | market | cancel
    known = (order.side == Side.BUY) | (order.side == Side.SELL)
    missing = cancel & (seen.slot == slots)
    bad_kind = (~real & (order.kind != Kind.NONE)) | (real & ~known)
    bad_size = real & (order.size <= 0) | (cancel & ~missing & (order.size > seen.available))
    bad_price = limit & ((order.price <= 0) | (order.price >= MAX_PRICE))
    total = jnp.where(order.side == Side.BUY, book.total[0], book.total[1])
    faults = {
        Status.BAD_KIND: bad_kind,
        Status.BAD_SIZE: bad_size,
        Status.BAD_PRICE: bad_price,
        Status.UNKNOWN_ORDER: missing & known,
        Status.DUPLICATE_ID: (limit | market) & (seen.taken > 0),
        Status.BOOK_FULL: limit & (rest > 0) & (seen.slot == slots) & known,
        Status.VOLUME_OVERFLOW: limit & (rest > 0) & (total > MAX_VOLUME - rest),
    }
    status = sum((jnp.where(fault, jnp.int32(bit), 0) for bit, fault in faults.items()), start=0)
    rejected = status != 0
    short = market & ~rejected & (seen.available < order.size)
    return status | jnp.where(short, jnp.int32(Status.UNFILLED_MARKET), 0), rejected


def _trades(
    book: Book, fill: jax.Array, filled: jax.Array, own: jax.Array, max_trades: int
) -> tuple[Trades, jax.Array]:
    """The first `max_trades` fills in priority order, and a bit if there were more."""
    if max_trades == 0:
        none = jnp.zeros((0,), jnp.int32)
        return Trades(none, none, none, none), jnp.int32(0)
    columns = (fill, jnp.abs(book.key), book.order_id, book.agent_id)
    add = lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))
    got = jnp.int32(0)
    records = []
    for _ in range(max_trades):
        hit = ~own & (fill > 0) & (book.ahead == got)
        picked = tuple(jnp.where(hit, column, 0) for column in columns)
        record = lax.reduce(picked, (jnp.int32(0),) * len(columns), add, (0, 1))
        records.append(record)
        got = got + record[0]
    size, price, order_id, agent_id = (jnp.stack(x) for x in zip(*records, strict=True))
    truncated = jnp.where(got < filled, jnp.int32(Status.TRADES_TRUNCATED), 0)
    return Trades(price, size, order_id, agent_id), truncated
