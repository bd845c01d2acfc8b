"""The order book as arrays, and its views.

Slots are unsorted. Each resting order keeps its *volume ahead*: the shares of its side that trade
before it (better price, or same price and earlier arrival). That one number replaces sorting: an
incoming order of `F` executable shares fills a resting order by `clip(F - ahead, 0, size)`.

A slot is empty iff its size is 0; the other fields of an empty slot mean nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.types import L2, Fills, Kind, Order, Side

MAX_PRICE = 2**30  # ticks, exclusive
NO_KEY = 2**31 - 1  # larger than every key
MAX_VOLUME = 2**31 - 1  # shares one side may hold
NO_SPREAD = 10  # ticks: the release's 1000 price units for a one-sided book


class Book(NamedTuple):
    """Resting orders of one instrument. Row 0 holds the bids, row 1 the asks.

    `key` is the signed price (bids negative), so that both rows rank ascending: a smaller key
    trades first.
    """

    key: jax.Array  # [2, slots] int32, signed ticks
    size: jax.Array  # [2, slots] int32, shares; 0 = empty slot
    ahead: jax.Array  # [2, slots] int32, shares that trade before this order
    order_id: jax.Array  # [2, slots] int32
    agent_id: jax.Array  # [2, slots] int32, owner
    total: jax.Array  # [2] int32, shares resting per side
    status: jax.Array  # [] int32, bits of Status raised since the book was made


def init_book(slots: int) -> Book:
    """An empty book that can hold `slots` orders per side."""
    zeros = jnp.zeros((2, slots), jnp.int32)
    return Book(
        zeros, zeros, zeros, zeros, zeros, jnp.zeros(2, jnp.int32), jnp.zeros((), jnp.int32)
    )


def side_key(side: jax.Array, price: jax.Array) -> jax.Array:
    """Signed price of a resting order: -price for a bid, +price for an ask."""
    return jnp.where(side == Side.BUY, -price, price)


def book_from_orders(
    slots: int,
    side: jax.Array,
    price: jax.Array,
    size: jax.Array,
    order_id: jax.Array,
    agent_id: jax.Array,
) -> Book:
    """A book that holds the given orders, which arrived in array order.

    Args:
      slots: capacity per side, at least the number of orders given.
      side, price, size, order_id, agent_id: `[n]` int32. Entries of size 0 are skipped.

    Returns:
      The book. The orders are taken as they are: they must not cross.
    """
    num = side.shape[0]
    if num > slots:
        raise ValueError(f"expected at most {slots} orders (the slots of a side), got {num}")
    arrival = jnp.arange(num)
    pad = lambda x: jnp.zeros((2, slots), jnp.int32).at[:, :num].set(x)
    rows = side[None] == jnp.arange(2)[:, None]
    sizes = jnp.where(rows, size[None], 0)
    key = side_key(side, price)
    earlier = arrival[:, None] > arrival[None]
    first = (key[:, None] > key[None]) | ((key[:, None] == key[None]) & earlier)
    ahead = jnp.where(first[None], sizes[:, None, :], 0).sum(2, dtype=jnp.int32)
    return Book(
        key=pad(key[None]),
        size=pad(sizes),
        ahead=pad(ahead),
        order_id=pad(order_id[None]),
        agent_id=pad(agent_id[None]),
        total=sizes.sum(1, dtype=jnp.int32),
        status=jnp.zeros((), jnp.int32),
    )


def with_slots(book: Book, slots: int) -> Book:
    """The same book with room for `slots` orders per side, at least as many as it has now."""
    extra = slots - book.size.shape[1]
    if extra < 0:
        raise ValueError(f"expected at least the book's {book.size.shape[1]} slots, got {slots}")
    grow = lambda x: jnp.pad(x, ((0, 0), (0, extra)))
    return Book(*(grow(x) if x.ndim == 2 else x for x in book))


def level_order_ids(levels: int) -> jax.Array:
    """Ids `book_from_levels` gives its orders, `[2, levels]` int32, all negative and distinct."""
    return -1 - jnp.arange(2 * levels, dtype=jnp.int32).reshape(2, levels)


def book_from_levels(l2: L2, slots: int, agent_id: jax.Array) -> Book:
    """A book with one anonymous order per price level of a snapshot.

    Args:
      l2: snapshot; levels of size 0 are skipped.
      slots: capacity per side, at least the levels of both sides together.
      agent_id: `[]` int32, owner of all the volume.

    Returns:
      The book; order ids are those of `level_order_ids`.
    """
    levels = l2.size.shape[1]
    side = jnp.broadcast_to(jnp.arange(2, dtype=jnp.int32)[:, None], (2, levels))
    owner = jnp.broadcast_to(jnp.asarray(agent_id, jnp.int32), (2 * levels,))
    return book_from_orders(
        slots,
        side.reshape(-1),
        l2.price.reshape(-1),
        l2.size.reshape(-1),
        level_order_ids(levels).reshape(-1),
        owner,
    )


def best_key(book: Book) -> jax.Array:
    """Best signed price of both sides, `[2]` int32; `NO_KEY` for an empty side."""
    return _best_key(book, jnp.ones((2, 1), bool))


def l2_snapshot(book: Book, levels: int) -> L2:
    """The best `levels` price levels of both sides (release `LobSnapshot`)."""
    return _levels(book, levels, jnp.ones((2, 1), bool))


def l2_update(l2: L2, book: Book, order: Order, fills: Fills) -> L2:
    """The snapshot after an order, from the one before it: equal to `l2_snapshot(book, levels)`.

    Cheaper than a new snapshot on a CPU, which skips a side that did not trade, and whose only
    change lies behind the last level.

    Args:
      l2: snapshot before the order, `levels` deep.
      book: the book after the order.
      order: the order.
      fills: what `apply_order` said it did.
    """
    side = jnp.arange(2, dtype=jnp.int32)
    key = side_key(order.side, fills.price)
    last = jnp.where(l2.size[:, -1] > 0, side_key(side, l2.price[:, -1]), NO_KEY)
    rests = (order.kind == Kind.LIMIT) | (order.kind == Kind.POST_ONLY)
    may_change = rests | (fills.cancelled > 0)
    met = (fills.filled > 0) | ((order.kind != Kind.CANCEL) & (fills.cancelled > 0))
    stale = jnp.where(side == order.side, may_change & (key <= last), met)[:, None]
    fresh = _levels(book, l2.size.shape[1], stale)
    return L2(*(jnp.where(stale, new, old) for new, old in zip(fresh, l2, strict=True)))


def _best_key(book: Book, rows: jax.Array) -> jax.Array:
    """`best_key` of the sides `[2, 1]` bool that are asked for; the others count as empty.

    The largest size rides along because XLA:CPU reduces two operands in one vectorised pass, but
    rewrites a lone minimum into windows that are not.
    """
    key = jnp.where(book.size > 0, book.key, NO_KEY)
    best, largest = lax.reduce(
        (jnp.where(rows, key, NO_KEY), jnp.where(rows, book.size, 0)),
        (jnp.int32(NO_KEY), jnp.int32(0)),
        lambda a, b: (jnp.minimum(a[0], b[0]), jnp.maximum(a[1], b[1])),
        (1,),
    )
    return jnp.where(largest > 0, best, NO_KEY)


def _levels(book: Book, levels: int, rows: jax.Array) -> L2:
    """The best levels of the sides `[2, 1]` bool that are asked for; the others are empty.

    One fused pass per level: the volume at the current key and the next larger key.
    """
    key = jnp.where(book.size > 0, book.key, NO_KEY)
    current = _best_key(book, rows)
    prices, sizes = [], []
    for _ in range(levels):
        at = current[:, None]
        volume, following = lax.reduce(
            (
                jnp.where(rows & (key == at), book.size, 0),
                jnp.where(rows & (key > at), key, NO_KEY),
            ),
            (jnp.int32(0), jnp.int32(NO_KEY)),
            lambda a, b: (a[0] + b[0], jnp.minimum(a[1], b[1])),
            (1,),
        )
        exists = current < following  # both are `NO_KEY` beyond the last level
        prices.append(jnp.where(exists, jnp.abs(current), 0))
        sizes.append(jnp.where(exists, volume, 0))
        current = following
    return L2(jnp.stack(prices, 1), jnp.stack(sizes, 1))


def best_price(book: Book, side: jax.Array | int) -> jax.Array:
    """Best price of a side in ticks, `[]` int32; 0 if the side is empty."""
    key = best_key(book)[side]
    return jnp.where(key == NO_KEY, 0, jnp.abs(key))


def mid_price(l2: L2, last_price: jax.Array) -> jax.Array:
    """Integer mid price in ticks, `[]` int32, exactly as the release rounds it (spec section 3).

    Both sides: bid + floor(spread / 2). One side: its best. None: `last_price` (0 before any
    trade; the release raises there).
    """
    bid, ask = l2.price[0, 0], l2.price[1, 0]
    has_bid, has_ask = l2.size[0, 0] > 0, l2.size[1, 0] > 0
    one_sided = jnp.where(has_ask, ask, jnp.where(has_bid, bid, last_price))
    return jnp.where(has_bid & has_ask, bid + (ask - bid) // 2, one_sided)


def float_mid_price(l2: L2, last_price: jax.Array) -> jax.Array:
    """(ask + bid) / 2 in ticks, `[]` float32, with the fallbacks of `mid_price`."""
    both = (l2.size[:, 0] > 0).all()
    exact = l2.price[:, 0].sum(dtype=jnp.int32).astype(jnp.float32) / 2
    return jnp.where(both, exact, mid_price(l2, last_price).astype(jnp.float32))


def weighted_mid_price(l2: L2, last_price: jax.Array) -> jax.Array:
    """Mid weighted by the opposite side's best size, `[]` float32 ticks (release, section 3)."""
    size = l2.size[:, 0].astype(jnp.float32)
    bid, ask = l2.price[0, 0], l2.price[1, 0]
    share = size[0] / jnp.maximum(size.sum(), 1)
    weighted = bid.astype(jnp.float32) + (ask - bid).astype(jnp.float32) * share
    fallback = mid_price(l2, last_price).astype(jnp.float32)
    return jnp.where((l2.size[:, 0] > 0).all(), weighted, fallback)


def spread(l2: L2) -> jax.Array:
    """ask - bid in ticks, `[]` int32; `NO_SPREAD` (the release's sentinel) for a one-sided book."""
    both = (l2.size[:, 0] > 0).all()
    return jnp.where(both, l2.price[1, 0] - l2.price[0, 0], NO_SPREAD)
