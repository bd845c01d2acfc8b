"""What must hold of a book at all times, and how the host reports trouble."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.book.state import NO_KEY, Book
from jaxmars.types import Side, describe


class RestingOrder(NamedTuple):
    """One resting order, host side."""

    side: Side
    price: int  # ticks
    size: int  # shares
    order_id: int
    agent_id: int


def resting_orders(book: Book, side: Side) -> list[RestingOrder]:
    """The orders of one side in the order they would trade (host only, one unbatched book)."""
    row = [np.asarray(x)[int(side)] for x in book[:5]]
    key, size, ahead, order_id, agent_id = row
    ranked = sorted(np.flatnonzero(size), key=lambda i: ahead[i])
    return [
        RestingOrder(side, abs(int(key[i])), int(size[i]), int(order_id[i]), int(agent_id[i]))
        for i in ranked
    ]


def invariants(book: Book, crossed_allowed: bool | jax.Array = False) -> jax.Array:
    """True if the book is sound, `[]` bool.

    Checked: no negative size; totals equal the resting sizes; the sizes up to and including each
    order add up to its volume ahead and its size (so ranks are complete and unique); a better
    price ranks first; not crossed; distinct ids.

    Args:
      book: the book.
      crossed_allowed: `[]` bool, true while orders are collected for a call auction.
    """
    live = book.size > 0
    totals = book.size.sum(1, dtype=jnp.int32) == book.total
    first = book.ahead[:, None, :] < book.ahead[:, :, None]
    upto = (book.ahead[:, None, :] <= book.ahead[:, :, None]) & live[:, None, :]
    ranked = jnp.where(upto, book.size[:, None, :], 0).sum(2, dtype=jnp.int32)
    better = (book.key[:, None, :] < book.key[:, :, None]) & live[:, None, :] & live[:, :, None]
    key = jnp.where(live, book.key, NO_KEY).min(1)
    uncrossed = (key == NO_KEY).any() | (-key[0] < key[1])
    flat, ids = live.reshape(-1), book.order_id.reshape(-1)
    same = (ids[:, None] == ids[None]) & flat[:, None] & flat[None]
    return (
        (book.size >= 0).all()
        & totals.all()
        & (~live | (ranked == book.ahead + book.size)).all()
        & (~better | first).all()
        & (uncrossed | crossed_allowed)
        & (same.sum() == flat.sum())
    )


class MarketError(RuntimeError):
    """Trouble the device reported, raised on the host."""


def raise_on_error(status: jax.Array | np.ndarray | int) -> None:
    """Raises `MarketError` with one sentence per status bit set in any element of `status`."""
    bits = int(np.bitwise_or.reduce(np.asarray(status, np.int64).reshape(-1), initial=0))
    if bits:
        raise MarketError("; ".join(describe(bits)))
