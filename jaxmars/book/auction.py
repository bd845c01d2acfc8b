"""Call auction: everything collected trades once, at the price of the largest volume.

The rules are those of the release (spec 4.1), which sorts the collected orders by order id. Ids
there count arrivals, so that is price, then arrival: the rank the book already keeps. With a volume
V a resting order therefore fills by `clip(V - ahead, 0, size)` on both sides.

Ties of the volume, which the release leaves to the order of a set, go to the smallest imbalance,
then to the price nearest to a reference, then to the higher price.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.records import NO_ROW, as_trades, due_order
from jaxmars.book.state import MAX_PRICE, NO_KEY, Book
from jaxmars.types import Fills, Side, Status, Trades, no_trades

PRICE_BITS = MAX_PRICE.bit_length() - 1


class _Offers(NamedTuple):
    """Shares willing to trade at some prices, `[prices]` int32 each."""

    buy: jax.Array  # at the price or above
    buy_above: jax.Array  # above it
    sell: jax.Array  # at the price or below
    sell_below: jax.Array  # below it


def clearing_price(book: Book, reference: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """The price an auction trades at, and the volume.

    Let c be the highest order price at which the buyers want at least what the sellers offer, and
    c' the next order price above. Buyers only leave and sellers only come as the price rises, so
    the volume is largest at c or at c'. Other prices of the same volume and imbalance have the same
    buyers and sellers. Above c' they would leave over sellers below them, and are rejected; below c
    the one that may not be is the highest ask up to c. Hence three candidates, after one bisection.

    Args:
      book: collected orders; it may be crossed.
      reference: `[]` int32, ticks, which decides ties; 0 for none.

    Returns:
      Price, ticks, and volume, shares, `[]` int32 both; 0 and 0 if nothing trades.
    """
    price, exists = _candidates(book)
    offers = _offers(book, price)
    volume = jnp.minimum(offers.buy, offers.sell)
    short = (offers.buy < offers.sell_below) | (offers.buy_above > offers.sell)
    left = exists & ~short & (volume > 0)
    reference = jnp.asarray(reference, jnp.int32)
    far = jnp.where(reference > 0, jnp.abs(price - reference), 0)
    for cost in (-volume, jnp.abs(offers.buy - offers.sell), far, -price):
        left &= cost == jnp.where(left, cost, NO_KEY).min()
    best = jnp.argmax(left)
    return jnp.where(left[best], price[best], 0), jnp.where(left[best], volume[best], 0)


def uncross(book: Book, reference: jax.Array | int, *, max_trades: int = 0) -> tuple[Book, Fills]:
    """Ends a call auction: one trade at `clearing_price`; what is left rests, uncrossed.

    Args:
      book: collected orders; it may be crossed.
      reference: `[]` int32, ticks, which decides ties; 0 for none.
      max_trades: trade records to return, bids first. Each costs one pass.

    Returns:
      The book, and what happened: `filled` is the volume, `price`, `first_price` and `last_price`
      are all the clearing price; 0 when nothing trades.
    """
    return uncross_at(book, *clearing_price(book, reference), max_trades=max_trades)


def uncross_at(
    book: Book, price: jax.Array, volume: jax.Array, *, max_trades: int
) -> tuple[Book, Fills]:
    """`uncross` with the price and volume already known."""
    trades, complete = _trades(book, price, volume, max_trades)
    truncated = (max_trades > 0) & ~complete
    status = jnp.where(truncated, jnp.int32(Status.TRADES_TRUNCATED), 0)
    fills = Fills(
        filled=volume,
        cancelled=jnp.zeros_like(volume),
        price=price,
        first_price=price,
        last_price=price,
        status=status,
        trades=trades,
    )
    after = book._replace(
        size=book.size - jnp.clip(volume - book.ahead, 0, book.size),
        ahead=jnp.maximum(book.ahead - volume, 0),
        total=book.total - volume,
        status=book.status | status,
    )
    return after, fills


def _candidates(book: Book) -> tuple[jax.Array, jax.Array]:
    """Order prices one of which the auction trades at, and whether each exists, `[3]` both."""

    def raise_price(place: jax.Array, price: jax.Array) -> jax.Array:
        higher = price | (jnp.int32(1) << (PRICE_BITS - 1 - place))
        offers = _offers(book, higher[None])
        return jnp.where(offers.buy[0] >= offers.sell[0], higher, price)

    # The highest price at which buyers want at least what sellers offer, whether or not an order
    # has it: from the highest bit on.
    limit = lax.fori_loop(0, PRICE_BITS, raise_price, jnp.int32(0))
    price = jnp.abs(book.key)
    rests = book.size > 0
    asks = rests[Side.SELL] & (price[Side.SELL] <= limit)
    below = jnp.where(rests & (price <= limit), price, 0).max()
    ask = jnp.where(asks, price[Side.SELL], 0).max()
    above = jnp.where(rests & (price > limit), price, NO_KEY).min()
    found = jnp.stack((below, ask, above))
    return found, (found > 0) & (found < NO_KEY)


def _offers(book: Book, price: jax.Array) -> _Offers:
    """What both sides offer at prices `[prices]`."""
    key = jnp.stack((-price, price))[:, :, None]
    at = jnp.where(book.key[:, None] <= key, book.size[:, None], 0).sum(-1, dtype=jnp.int32)
    past = jnp.where(book.key[:, None] < key, book.size[:, None], 0).sum(-1, dtype=jnp.int32)
    return _Offers(at[Side.BUY], past[Side.BUY], at[Side.SELL], past[Side.SELL])


def _trades(
    book: Book, price: jax.Array, volume: jax.Array, max_trades: int
) -> tuple[Trades, jax.Array]:
    """The first `max_trades` fills, bids first, and whether these are all, `[]` bool."""
    if max_trades == 0:
        return jax.tree.map(jnp.asarray, no_trades()), jnp.ones((), bool)
    bought = sold = jnp.int32(0)
    rows, slots, sizes = [], [], []
    for _ in range(max_trades):
        buying = bought < volume
        row = jnp.where(sold < volume, jnp.int32(Side.SELL), NO_ROW)
        row = jnp.where(buying, jnp.int32(Side.BUY), row)
        recorded = jnp.where(buying, bought, sold)
        slot, resting = due_order(book, row, recorded)
        size = jnp.minimum(resting, volume - recorded)
        bought, sold = bought + jnp.where(buying, size, 0), sold + jnp.where(buying, 0, size)
        rows.append(jnp.maximum(row, 0))
        slots.append(slot)
        sizes.append(size)
    trades = as_trades(book, jnp.stack(rows), jnp.stack(slots), jnp.stack(sizes))
    return trades._replace(price=jnp.where(trades.size > 0, price, 0)), sold == volume
