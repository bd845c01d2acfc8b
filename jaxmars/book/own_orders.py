"""What an order can reach, and which of its own agent's orders it would meet there."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.records import NO_ROW, rows
from jaxmars.book.state import MAX_PRICE, NO_KEY, Book, side_key
from jaxmars.types import Kind, Order

NOTHING_IN_REACH = -NO_KEY  # below every key


def reach(order: Order, collecting: bool | jax.Array) -> jax.Array:
    """Worst key of the opposite side an order may trade at, `[]` int32."""
    limit = -side_key(order.side, order.price)
    worst = jnp.where(order.kind == Kind.MARKET, MAX_PRICE, limit)
    return worst if collecting is False else jnp.where(collecting, NOTHING_IN_REACH, worst)


def first_own(
    book: Book, order: Order, collecting: bool | jax.Array, crowd: tuple[int, ...]
) -> jax.Array:
    """Volume ahead of the first order of its own agent an order could meet, `[]` int32.

    `NO_KEY`, more than any volume ahead, if there is none or the agent stands for a crowd.
    """
    new = (order.kind == Kind.LIMIT) | (order.kind == Kind.MARKET)
    trading = new | (order.kind == Kind.IOC) | (order.kind == Kind.FOK)
    opposite = rows() == jnp.where(trading, 1 - order.side, NO_ROW)
    own = (book.size > 0) & (book.agent_id == order.agent_id)
    for many in crowd:
        own &= order.agent_id != many
    met = opposite & own & (book.key <= reach(order, collecting))
    return jnp.where(met, book.ahead, NO_KEY).min()


def without_own(
    book: Book, order: Order, collecting: bool | jax.Array, crowd: tuple[int, ...]
) -> tuple[Book, jax.Array]:
    """The book without the orders an order would meet of its own agent, and their shares.

    One turn of the loop per such order: taking one out brings the next ones nearer. An order whose
    id already rests takes nothing out: it will be rejected.
    """
    duplicate = ((book.size > 0) & (book.order_id == order.order_id)).any()

    def meets(carry: tuple[Book, jax.Array]) -> jax.Array:
        return ~duplicate & (first_own(carry[0], order, collecting, crowd) < order.size)

    def take_out(carry: tuple[Book, jax.Array]) -> tuple[Book, jax.Array]:
        book, taken = carry
        first = first_own(book, order, collecting, crowd)
        opposite = rows() == 1 - order.side
        here = opposite & (book.size > 0) & (book.ahead == first)
        shares = jnp.where(here, book.size, 0).sum(dtype=jnp.int32)
        behind = opposite & (book.ahead > first)
        book = book._replace(
            size=jnp.where(here, 0, book.size),
            ahead=book.ahead - jnp.where(behind, shares, 0),
            total=book.total - jnp.where(opposite[:, 0], shares, 0),
        )
        return book, taken + shares

    return lax.while_loop(meets, take_out, (book, jnp.int32(0)))
