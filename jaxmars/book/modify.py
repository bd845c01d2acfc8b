"""Changing a resting order."""

import jax
import jax.numpy as jnp

from jaxmars.book.matching import apply_order
from jaxmars.book.state import Book
from jaxmars.types import REJECTING, Fills, Kind, Order, Status


def modify(book: Book, order: Order, *, max_trades: int = 0) -> tuple[Book, Fills]:
    """Gives a resting order another price or size, or both.

    Less at the same price keeps its place. Anything else is a cancel and a new order under the same
    id, judged as one: if the new order is rejected, the old one rests on as it was.

    Args:
      book: the book.
      order: the order as it shall be, LIMIT or POST_ONLY (which must not trade then either); id,
        side and owner name the one that rests, `size` is what shall be left of it.
      max_trades: trade records to return, as in `apply_order`.

    Returns:
      The book, and what happened: `cancelled` are the shares of the old order taken out.
    """
    named = (book.order_id == order.order_id) & (book.agent_id == order.agent_id)
    side = jnp.arange(2, dtype=jnp.int32)[:, None]
    target = named & (book.size > 0) & (side == order.side)
    old = jnp.where(target, book.size, 0).sum(dtype=jnp.int32)
    price = jnp.where(target, jnp.abs(book.key), 0).sum(dtype=jnp.int32)
    allowed = (order.kind == Kind.LIMIT) | (order.kind == Kind.POST_ONLY)
    found = allowed & (old > 0)
    keeps = found & (price == order.price) & (order.size > 0) & (order.size <= old)
    less = jnp.where(keeps, old - order.size, old)
    cancel = jnp.where(found & (less > 0), Kind.CANCEL, Kind.NONE)
    cleared, first = apply_order(book, order._replace(kind=cancel, size=less))
    kind = jnp.where(found & ~keeps, order.kind, Kind.NONE)
    after, fills = apply_order(cleared, order._replace(kind=kind), max_trades=max_trades)
    missing = jnp.where(
        allowed,
        jnp.where(found, 0, jnp.int32(Status.UNKNOWN_ORDER)),
        jnp.where(order.kind == Kind.NONE, 0, jnp.int32(Status.BAD_KIND)),
    )
    status = fills.status | missing
    rejected = (status & REJECTING) != 0
    after = jax.tree.map(lambda old, new: jnp.where(rejected, old, new), book, after)
    cancelled = jnp.where(rejected, 0, first.cancelled)
    fills = fills._replace(status=status, cancelled=cancelled)
    return after._replace(status=book.status | status), fills
