"""Continuous double auction: price, then arrival. One message, two fused passes, no loop.

| rule | jaxmars | MarS release | JAX-LOB |
|---|---|---|---|
| priority at one price | arrival, kept on partial fill | same | time stamp, then slot |
| kinds of new orders | limit, market, IOC, FOK, post-only | limit | limit, market |
| cancel of an unknown order | no-op, `UNKNOWN_ORDER` | assertion | shrinks a stranger's order |
| cancel of more than rests | no-op, `BAD_SIZE` | assertion | takes what rests |
| no free slot | rejected, `BOOK_FULL` | unbounded | erases resting orders |
| self-trade | allowed, or one of three policies | allowed | allowed |
| market order beyond the book | rest dropped, `UNFILLED_MARKET` | none exist | rest dropped |
| FOK that finds too few shares | rejected, `NOT_FILLED` | none exist | none exist |
| post-only order that crosses | rejected, `WOULD_TRADE` | none exist | none exist |
| call auction | limit orders and cancels rest at once | collected in a list | none |

The first pass reads all slots and reduces them to a few numbers; from these the order is judged;
the second pass updates each field of the book. What keeps it fast is measured in
`benchmarks/README.md`.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.own_orders import first_own, reach, without_own
from jaxmars.book.records import first_trades, lanes, rows
from jaxmars.book.state import MAX_PRICE, MAX_VOLUME, NO_KEY, Book, side_key
from jaxmars.config import SelfTrade
from jaxmars.types import REJECTING, Fills, Kind, Order, Side, Status

MATCHING_VERSION = 2  # raised whenever a rule changes
TAKEN = -(2**31)  # below every slot and every key: the order's id already rests

# What is read off the book an order trades in, given the shares it fills, before they are taken.
Reader = Callable[[Book, jax.Array], Any]
# A number per side: `[2]` int32, or two `[]` int32.
Sides = jax.Array | tuple[jax.Array, jax.Array]


class Seen(NamedTuple):
    """What one pass over all slots finds for an order."""

    before: jax.Array  # [] int32, shares of its own side that would trade before it
    available: jax.Array  # [] int32, shares it can trade with
    slot: jax.Array  # [] int32, free slot (a cancel: its target's slot); `slots` if none
    taken: jax.Array  # [] bool, its id already rests in the book
    best: jax.Array  # [] int32, best key of the opposite side
    last: jax.Array  # [] int32, worst key it can trade at


class Target(NamedTuple):
    """What rests in the slot an order names, and on its side; nothing sensible without a slot."""

    size: jax.Array  # [] int32, shares
    ahead: jax.Array  # [] int32, shares that trade before it
    key: jax.Array  # [] int32
    total: jax.Array  # [] int32, shares resting on the side


class Effect(NamedTuple):
    """What an order does to the book; an order that changes nothing has `filled = change = 0`."""

    filled: jax.Array  # [] int32, shares taken from the opposite side
    change: jax.Array  # [] int32, shares that come to rest (> 0) or are cancelled (< 0)
    slot: jax.Array  # [] int32, where they do
    pivot: jax.Array  # [] int32, orders with this volume ahead, or more, are behind the change
    price: jax.Array  # [] int32, as in `Fills`
    first: jax.Array  # [] int32, as in `Fills`
    last: jax.Array  # [] int32, as in `Fills`
    status: jax.Array  # [] int32, bits of Status


def apply_order(
    book: Book,
    order: Order,
    *,
    max_trades: int = 0,
    collecting: bool | jax.Array = False,
    self_trade: SelfTrade = SelfTrade.ALLOW,
) -> tuple[Book, Fills]:
    """Matches one order, or cancels one, and rests what is left of a limit order.

    An order that cannot be carried out changes nothing and sets a bit of `Status` (see the table
    above); bits also gather in `book.status`.

    Args:
      book: the book (`MATCHING_VERSION` names these rules).
      order: LIMIT, MARKET, IOC, FOK, POST_ONLY, CANCEL (by id, owner and side; `size` shares, at
        most what rests) or NONE.
      max_trades: trade records to return. Each costs one more pass.
      collecting: `[]` bool, whether orders are collected for a call auction (`auction.uncross`).
        Then limit orders rest without trading even where they cross, and only they and cancels are
        taken (`NOT_IN_AUCTION`). False compiles to nothing.
      self_trade: what happens when an order meets one of its own agent; all but ALLOW cost a pass.

    Returns:
      The book after the order, and what happened.
    """
    book, fills, _ = apply_and_read(
        book,
        order,
        lambda book, filled: (),
        max_trades=max_trades,
        collecting=collecting,
        self_trade=self_trade,
        crowd=(),
    )
    return book, fills


def apply_and_read(
    book: Book,
    order: Order,
    read: Reader,
    *,
    max_trades: int,
    collecting: bool | jax.Array,
    self_trade: SelfTrade,
    crowd: tuple[int, ...],
) -> tuple[Book, Fills, Any]:
    """`apply_order`, and what `read` finds in the book the order trades in.

    Args:
      book: as in `apply_order`.
      order: as in `apply_order`.
      read: called with that book and the shares the order fills, `[]` int32; it returns arrays.
      max_trades: as in `apply_order`.
      collecting: as in `apply_order`.
      self_trade: as in `apply_order`.
      crowd: agents whose trades with themselves are none of its business.
    """
    match = functools.partial(
        _match,
        read=read,
        max_trades=max_trades,
        collecting=collecting,
        self_trade=self_trade,
        crowd=crowd,
    )
    if self_trade != SelfTrade.CANCEL_RESTING:
        return match(book, order)
    cleared, taken = without_own(book, order, collecting, crowd)
    after, fills, found = match(cleared, order)
    rejected = (fills.status & REJECTING) != 0
    met = ~rejected & (taken > 0)
    status = fills.status | jnp.where(met, jnp.int32(Status.SELF_TRADE), 0)
    after = jax.tree.map(lambda old, new: jnp.where(rejected, old, new), book, after)
    cancelled = fills.cancelled + jnp.where(rejected, 0, taken)
    return (
        after._replace(status=book.status | status),
        fills._replace(status=status, cancelled=cancelled),
        found,
    )


def _match(
    book: Book,
    order: Order,
    *,
    read: Reader,
    max_trades: int,
    collecting: bool | jax.Array,
    self_trade: SelfTrade,
    crowd: tuple[int, ...],
) -> tuple[Book, Fills, Any]:
    """The two passes of an order, with what is recorded in between."""
    guarded = self_trade in (SelfTrade.REJECT, SelfTrade.CANCEL_INCOMING)
    own = first_own(book, order, collecting, crowd) if guarded else None
    stop = own if self_trade == SelfTrade.CANCEL_INCOMING else None
    seen = _scan(book, order, collecting, stop)
    target = _target(book, order, seen)
    effect = _once(judge(order, seen, target, book.size.shape[1], collecting, own, stop), ())
    trades, recorded = first_trades(book, order, effect.filled, max_trades)
    found = read(book, effect.filled)
    if max_trades:
        more = jnp.where(recorded < effect.filled, jnp.int32(Status.TRADES_TRUNCATED), 0)
        effect = effect._replace(status=effect.status | more)
    if max_trades or jax.tree.leaves(found):
        effect = _once(effect, (trades, found))
    fills = Fills(
        filled=effect.filled,
        cancelled=jnp.maximum(-effect.change, 0),
        price=effect.price,
        first_price=effect.first,
        last_price=effect.last,
        status=effect.status,
        trades=trades,
    )
    return update(book, order, effect, _after_sizes), fills, found


def questions(
    book: Book, order: Order, collecting: bool | jax.Array, stop: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What an order asks the slots, `[2, slots]` int32: a sum, a minimum and a maximum per side.

    The order's own side answers "how much trades before me?" and "which slot?", the opposite side
    "how much can I take?", "at which best price?" and "at which worst price?". Nothing with `stop`
    shares ahead, or more, is traded with.
    """
    number, own = lanes(book), rows() == order.side
    slots = book.size.shape[1]
    cancel = order.kind == Kind.CANCEL
    key = side_key(order.side, order.price)
    most = order.size if stop is None else jnp.minimum(order.size, stop)

    within = book.key <= jnp.where(own, key, reach(order, collecting))
    shares = jnp.where(within, book.size, 0)
    live = book.size > 0
    same_id = live & (book.order_id == order.order_id)
    target = same_id & own & (book.agent_id == order.agent_id)
    vacancy = jnp.where(live, jnp.where(own, slots, book.key), jnp.where(own, number, NO_KEY))
    least = jnp.where(cancel, jnp.where(target, number, slots), jnp.where(same_id, TAKEN, vacancy))
    met = ~own & ((shares > 0) & (book.ahead < most))
    return shares, least, jnp.where(met, book.key, -NO_KEY)


def _scan(book: Book, order: Order, collecting: bool | jax.Array, stop: jax.Array | None) -> Seen:
    """Asks the slots and answers, all reductions in one variadic pass."""
    shares, least, worst = lax.reduce(
        questions(book, order, collecting, stop),
        (jnp.int32(0), jnp.int32(NO_KEY), jnp.int32(-NO_KEY)),
        lambda a, b: (a[0] + b[0], jnp.minimum(a[1], b[1]), jnp.maximum(a[2], b[2])),
        (1,),
    )
    return answers(order, shares, least, worst)


def answers(order: Order, shares: Sides, least: Sides, worst: Sides) -> Seen:
    """What an order learns from each side's sum, minimum and maximum."""
    buy = order.side == Side.BUY
    mine = lambda row: jnp.where(buy, row[0], row[1])
    other = lambda row: jnp.where(buy, row[1], row[0])
    return Seen(
        before=mine(shares),
        available=other(shares),
        slot=mine(least),
        taken=jnp.minimum(least[0], least[1]) == TAKEN,
        best=other(least),
        last=other(worst),
    )


def _target(book: Book, order: Order, seen: Seen) -> Target:
    """Reads the slot an order names."""
    buy = order.side == Side.BUY
    place = (jnp.where(buy, 0, 1), jnp.clip(seen.slot, 0, book.size.shape[1] - 1))
    size, ahead, key = book.size[place], book.ahead[place], book.key[place]
    return Target(size, ahead, key, jnp.where(buy, book.total[0], book.total[1]))


def judge(
    order: Order,
    seen: Seen,
    target: Target,
    slots: int,
    collecting: bool | jax.Array,
    own: jax.Array | None,
    stop: jax.Array | None,
) -> Effect:
    """Judges an order: the first tier of faults that has one rejects it.

    It is rejected too if it would trade with an order of its `own` agent, unless there it stops.
    """
    cancel, market = order.kind == Kind.CANCEL, order.kind == Kind.MARKET
    limit, fok = order.kind == Kind.LIMIT, order.kind == Kind.FOK
    post = order.kind == Kind.POST_ONLY
    priced = limit | (order.kind == Kind.IOC) | fok | post
    new = priced | market
    buy = order.side == Side.BUY
    has_slot = (seen.slot >= 0) & (seen.slot < slots)
    available = seen.available if stop is None else jnp.minimum(seen.available, stop)
    short = available < order.size
    met = jnp.zeros((), bool) if own is None else own < order.size
    filled = jnp.where(cancel, 0, jnp.minimum(order.size, available))
    rests = (limit | post) if stop is None else (limit | post) & ~met
    rest = jnp.where(rests, order.size - filled, 0)
    real = new | cancel
    known = buy | (order.side == Side.SELL)
    fault = _first_faults(
        {
            Status.BAD_KIND: jnp.where(real, ~known, order.kind != Kind.NONE),
            Status.NOT_IN_AUCTION: collecting & (real & ~limit & ~cancel),
        },
        {
            Status.BAD_SIZE: real & (order.size <= 0),
            Status.BAD_PRICE: priced & ((order.price <= 0) | (order.price >= MAX_PRICE)),
        },
        {
            Status.UNKNOWN_ORDER: cancel & ~has_slot,
            Status.BAD_SIZE: cancel & has_slot & (order.size > target.size),
            Status.DUPLICATE_ID: new & seen.taken,
        },
        {
            Status.NOT_FILLED: fok & short,
            Status.WOULD_TRADE: post & (seen.available > 0),
            Status.SELF_TRADE: met & ~(fok & short) if stop is None else jnp.zeros((), bool),
        },
        {
            Status.BOOK_FULL: (rest > 0) & ~has_slot,
            Status.VOLUME_OVERFLOW: (rest > 0) & (target.total > MAX_VOLUME - rest),
        },
    )
    sound = real & (fault == Status.OK)
    filled = jnp.where(sound, filled, 0)
    dropped = jnp.where(met, jnp.int32(Status.SELF_TRADE), jnp.int32(Status.UNFILLED_MARKET))
    return Effect(
        filled=filled,
        change=jnp.where(sound, jnp.where(cancel, -order.size, rest), 0),
        slot=seen.slot,
        pivot=jnp.where(cancel, target.ahead + 1, seen.before),
        price=jnp.where(cancel, jnp.where(has_slot, jnp.abs(target.key), 0), order.price),
        first=jnp.where(filled > 0, jnp.abs(seen.best), 0),
        last=jnp.where(filled > 0, jnp.abs(seen.last), 0),
        status=fault | jnp.where(sound & (met | (market & short)), dropped, 0),
    )


def _first_faults(*tiers: dict[Status, jax.Array]) -> jax.Array:
    """Status bits of the first tier in which a fault is true, `[]` int32."""
    status = jnp.int32(Status.OK)
    for tier in reversed(tiers):
        bits = sum((jnp.where(fault, jnp.int32(bit), 0) for bit, fault in tier.items()), start=0)
        status = jnp.where(bits != 0, bits, status)
    return status


def update(
    book: Book, order: Order, effect: Effect, settle: Callable[[Effect, jax.Array], Effect]
) -> Book:
    """The book after an order.

    Every condition starts with what holds for a whole row, so that rows which do not change are
    skipped on a CPU. `settle` is handed the effect and the new sizes and returns the effect.
    """
    number, own = lanes(book), rows() == order.side
    traded = ~own & (effect.filled > 0)
    changed = own & (effect.change != 0)
    new = (own & (effect.change > 0)) & (number == effect.slot)
    here = changed & (number == effect.slot)
    fill = jnp.clip(effect.filled - book.ahead, 0, book.size)
    size = jnp.where(
        traded, book.size - fill, jnp.where(here, book.size + effect.change, book.size)
    )
    effect = settle(effect, size)  # sizes first: they need the old volumes ahead
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
        total=book.total + jnp.where(own.reshape(-1), effect.change, -effect.filled),
        status=book.status | effect.status,
    )


def _once(effect: Effect, after: object) -> Effect:
    """Returns `effect` unchanged, as numbers a CPU computes once and only after `after`.

    XLA:CPU would repeat the whole judgement inside the update of every field, and would copy a
    field whose old value is still needed when it is updated. A variadic reduction is what it
    neither repeats nor moves. Other platforms fuse the updates into one kernel and need no help.
    """
    witnesses = jax.tree.leaves(after)

    def reduced(effect: Effect, witnesses: Sequence[jax.Array]) -> Effect:
        touched = sum((jnp.sum(x, dtype=jnp.int32) for x in witnesses), start=jnp.int32(0))
        nothing = jnp.where(effect.filled < 0, touched, 0)  # 0, as no order fills less than 0
        first = jnp.arange(2, dtype=jnp.int32) == 0
        late = effect._replace(filled=effect.filled + nothing)
        pairs = tuple(jnp.where(first, x, 0) for x in late)
        add = lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))
        return Effect(*lax.reduce(pairs, (jnp.int32(0),) * len(pairs), add, (0,)))

    return lax.platform_dependent(
        effect, witnesses, cpu=reduced, default=lambda effect, witnesses: effect
    )


def _after_sizes(effect: Effect, size: jax.Array) -> Effect:
    """`_once`, after the new sizes."""
    return _once(effect, size[0, 0])
