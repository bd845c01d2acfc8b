"""Continuous double auction: price, then arrival. One message, two fused passes, no loop.

| rule | jaxmars | MarS release | JAX-LOB |
|---|---|---|---|
| priority at one price | arrival, kept on partial fill | same | time stamp, then slot |
| cancel of an unknown order | no-op, `UNKNOWN_ORDER` | assertion | shrinks a stranger's order |
| cancel of more than rests | no-op, `BAD_SIZE` | assertion | takes what rests |
| no free slot | rejected, `BOOK_FULL` | unbounded | erases resting orders |
| self-trade | allowed | allowed | allowed |
| market order beyond the book | rest dropped, `UNFILLED_MARKET` | none exist | rest dropped |

The first pass reads all slots and reduces them to a few numbers; from these the order is judged;
the second pass updates each field of the book. What keeps it fast is measured in
`benchmarks/README.md`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.state import MAX_PRICE, MAX_VOLUME, NO_KEY, Book, side_key
from jaxmars.types import Fills, Kind, Order, Side, Status, Trades, no_trades

MATCHING_VERSION = 1  # raised whenever a rule changes
TAKEN = -(2**31)  # below every slot and every key: the order's id already rests
NO_ROW = -1  # neither row of the book


class _Seen(NamedTuple):
    """What one pass over all slots finds for an order."""

    before: jax.Array  # [] int32, shares of its own side that would trade before it
    available: jax.Array  # [] int32, shares it can trade with
    slot: jax.Array  # [] int32, free slot (a cancel: its target's slot); `slots` if none
    taken: jax.Array  # [] bool, its id already rests in the book
    best: jax.Array  # [] int32, best key of the opposite side
    last: jax.Array  # [] int32, worst key it can trade at


class _Effect(NamedTuple):
    """What an order does to the book; an order that changes nothing has `filled = change = 0`."""

    filled: jax.Array  # [] int32, shares taken from the opposite side
    change: jax.Array  # [] int32, shares that come to rest (> 0) or are cancelled (< 0)
    slot: jax.Array  # [] int32, where they do
    pivot: jax.Array  # [] int32, orders with this volume ahead, or more, are behind the change
    price: jax.Array  # [] int32, as in `Fills`
    first: jax.Array  # [] int32, as in `Fills`
    last: jax.Array  # [] int32, as in `Fills`
    status: jax.Array  # [] int32, bits of Status


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
    effect = _once(_decide(book, order, _scan(book, order)), ())
    trades, recorded = _trades(book, order, effect.filled, max_trades)
    if max_trades:
        more = jnp.where(recorded < effect.filled, jnp.int32(Status.TRADES_TRUNCATED), 0)
        effect = _once(effect._replace(status=effect.status | more), trades)
    fills = Fills(
        filled=effect.filled,
        cancelled=jnp.maximum(-effect.change, 0),
        price=effect.price,
        first_price=effect.first,
        last_price=effect.last,
        status=effect.status,
        trades=trades,
    )
    return _update(book, order, effect), fills


def _lanes(book: Book) -> jax.Array:
    """Slot numbers, `[1, slots]` int32."""
    return jnp.arange(book.size.shape[1], dtype=jnp.int32)[None]


def _rows() -> jax.Array:
    """Side of each row of the book, `[2, 1]` int32."""
    return jnp.arange(2, dtype=jnp.int32)[:, None]


def _scan(book: Book, order: Order) -> _Seen:
    """All reductions over the slots in one variadic pass; each side reduces what it is asked.

    The order's own side answers "how much trades before me?" and "which slot?", the opposite side
    "how much can I take?", "at which best price?" and "at which worst price?".
    """
    lanes, own = _lanes(book), _rows() == order.side
    slots = book.size.shape[1]
    cancel = order.kind == Kind.CANCEL
    key = side_key(order.side, order.price)
    reach = jnp.where(order.kind == Kind.MARKET, MAX_PRICE, -key)

    shares = jnp.where(book.key <= jnp.where(own, key, reach), book.size, 0)
    live = book.size > 0
    same_id = live & (book.order_id == order.order_id)
    target = same_id & own & (book.agent_id == order.agent_id)
    vacancy = jnp.where(live, jnp.where(own, slots, book.key), jnp.where(own, lanes, NO_KEY))
    least = jnp.where(cancel, jnp.where(target, lanes, slots), jnp.where(same_id, TAKEN, vacancy))
    met = ~own & ((shares > 0) & (book.ahead < order.size))
    worst = jnp.where(met, book.key, -NO_KEY)
    shares, least, worst = lax.reduce(
        (shares, least, worst),
        (jnp.int32(0), jnp.int32(NO_KEY), jnp.int32(-NO_KEY)),
        lambda a, b: (a[0] + b[0], jnp.minimum(a[1], b[1]), jnp.maximum(a[2], b[2])),
        (1,),
    )
    buy = order.side == Side.BUY
    mine = lambda row: jnp.where(buy, row[0], row[1])
    other = lambda row: jnp.where(buy, row[1], row[0])
    return _Seen(
        before=mine(shares),
        available=other(shares),
        slot=mine(least),
        taken=least.min() == TAKEN,
        best=other(least),
        last=other(worst),
    )


def _decide(book: Book, order: Order, seen: _Seen) -> _Effect:
    """Judges an order: the first tier of faults that has one rejects it."""
    cancel = order.kind == Kind.CANCEL
    limit = order.kind == Kind.LIMIT
    market = order.kind == Kind.MARKET
    buy = order.side == Side.BUY
    slots = book.size.shape[1]
    place = (jnp.where(buy, 0, 1), jnp.clip(seen.slot, 0, slots - 1))
    size, ahead, key = book.size[place], book.ahead[place], book.key[place]
    has_slot = (seen.slot >= 0) & (seen.slot < slots)
    total = jnp.where(buy, book.total[0], book.total[1])
    filled = jnp.where(cancel, 0, jnp.minimum(order.size, seen.available))
    rest = jnp.where(limit, order.size - filled, 0)
    real = limit | market | cancel
    known = buy | (order.side == Side.SELL)
    fault = _first_faults(
        {Status.BAD_KIND: jnp.where(real, ~known, order.kind != Kind.NONE)},
        {
            Status.BAD_SIZE: real & (order.size <= 0),
            Status.BAD_PRICE: limit & ((order.price <= 0) | (order.price >= MAX_PRICE)),
        },
        {
            Status.UNKNOWN_ORDER: cancel & ~has_slot,
            Status.BAD_SIZE: cancel & has_slot & (order.size > size),
            Status.DUPLICATE_ID: (limit | market) & seen.taken,
        },
        {
            Status.BOOK_FULL: (rest > 0) & ~has_slot,
            Status.VOLUME_OVERFLOW: (rest > 0) & (total > MAX_VOLUME - rest),
        },
    )
    sound = real & (fault == Status.OK)
    filled = jnp.where(sound, filled, 0)
    short = market & sound & (seen.available < order.size)
    return _Effect(
        filled=filled,
        change=jnp.where(sound, jnp.where(cancel, -order.size, rest), 0),
        slot=seen.slot,
        pivot=jnp.where(cancel, ahead + 1, seen.before),
        price=jnp.where(cancel, jnp.where(has_slot, jnp.abs(key), 0), order.price),
        first=jnp.where(filled > 0, jnp.abs(seen.best), 0),
        last=jnp.where(filled > 0, jnp.abs(seen.last), 0),
        status=fault | jnp.where(short, jnp.int32(Status.UNFILLED_MARKET), 0),
    )


def _first_faults(*tiers: dict[Status, jax.Array]) -> jax.Array:
    """Status bits of the first tier in which a fault is true, `[]` int32."""
    status = jnp.int32(Status.OK)
    for tier in reversed(tiers):
        bits = sum((jnp.where(fault, jnp.int32(bit), 0) for bit, fault in tier.items()), start=0)
        status = jnp.where(bits != 0, bits, status)
    return status


def _update(book: Book, order: Order, effect: _Effect) -> Book:
    """The book after an order.

    Every condition starts with what holds for a whole row, so that rows which do not change are
    skipped on a CPU.
    """
    lanes, own = _lanes(book), _rows() == order.side
    traded = ~own & (effect.filled > 0)
    changed = own & (effect.change != 0)
    new = (own & (effect.change > 0)) & (lanes == effect.slot)
    here = changed & (lanes == effect.slot)
    fill = jnp.clip(effect.filled - book.ahead, 0, book.size)
    size = jnp.where(
        traded, book.size - fill, jnp.where(here, book.size + effect.change, book.size)
    )
    effect = _once(effect, size[0, 0])  # sizes first: they need the old volumes ahead
    moved = book.ahead + jnp.where(book.ahead >= effect.pivot, effect.change, 0)
    ahead = jnp.where(
        traded,
        jnp.maximum(book.ahead - effect.filled, 0),
        jnp.where(changed, jnp.where(new, effect.pivot, moved), book.ahead),
    )
    return Book(
        key=jnp.where(new, side_key(order.side, order.price), book.key),
        size=size,
        ahead=ahead,
        order_id=jnp.where(new, order.order_id, book.order_id),
        agent_id=jnp.where(new, order.agent_id, book.agent_id),
        total=book.total + jnp.where(own[:, 0], effect.change, -effect.filled),
        status=book.status | effect.status,
    )


def _once(effect: _Effect, after: object) -> _Effect:
    """Returns `effect` unchanged, as numbers a CPU computes once and only after `after`.

    XLA:CPU would repeat the whole judgement inside the update of every field, and would copy a
    field whose old value is still needed when it is updated. A variadic reduction is what it
    neither repeats nor moves. Other platforms fuse the updates into one kernel and need no help.
    """
    witnesses = jax.tree.leaves(after)

    def reduced(effect: _Effect, witnesses: Sequence[jax.Array]) -> _Effect:
        touched = sum((jnp.sum(x, dtype=jnp.int32) for x in witnesses), start=jnp.int32(0))
        nothing = jnp.where(effect.filled < 0, touched, 0)  # 0, as no order fills less than 0
        first = jnp.arange(2, dtype=jnp.int32) == 0
        late = effect._replace(filled=effect.filled + nothing)
        pairs = tuple(jnp.where(first, x, 0) for x in late)
        add = lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))
        return _Effect(*lax.reduce(pairs, (jnp.int32(0),) * len(pairs), add, (0,)))

    return lax.platform_dependent(
        effect, witnesses, cpu=reduced, default=lambda effect, witnesses: effect
    )


def _trades(
    book: Book, order: Order, filled: jax.Array, max_trades: int
) -> tuple[Trades, jax.Array]:
    """The first `max_trades` fills in priority order, and the shares they hold, `[]` int32."""
    if max_trades == 0:
        return jax.tree.map(jnp.asarray, no_trades()), jnp.int32(0)
    lanes, opposite = _lanes(book), 1 - order.side
    add = lambda a, b: (a[0] + b[0], a[1] + b[1])
    recorded = jnp.int32(0)
    slots, sizes = [], []
    for _ in range(max_trades):
        due = _rows() == jnp.where(recorded < filled, opposite, NO_ROW)
        hit = due & ((book.ahead == recorded) & (book.size > 0))
        picked = (jnp.where(hit, lanes, 0), jnp.where(hit, book.size, 0))
        slot, resting = lax.reduce(picked, (jnp.int32(0), jnp.int32(0)), add, (0, 1))
        size = jnp.minimum(resting, filled - recorded)
        recorded = recorded + size
        slots.append(slot)
        sizes.append(size)
    slot, size = jnp.stack(slots), jnp.stack(sizes)
    row = jnp.where(order.side == Side.BUY, 1, 0)
    of = lambda column: jnp.where(size > 0, column[row, slot], 0)
    side = jnp.where(size > 0, row, 0)
    trades = Trades(side, jnp.abs(of(book.key)), size, of(book.order_id), of(book.agent_id))
    return trades, recorded
