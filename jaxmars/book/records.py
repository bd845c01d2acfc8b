"""Trade records: which resting orders a trade filled, in priority order."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.state import Book
from jaxmars.types import Order, Side, Trades, no_trades

NO_ROW = -1  # neither row of the book


def lanes(book: Book) -> jax.Array:
    """Slot numbers, `[1, slots]` int32."""
    return jnp.arange(book.size.shape[1], dtype=jnp.int32)[None]


def rows() -> jax.Array:
    """Side of each row of the book, `[2, 1]` int32."""
    return jnp.arange(2, dtype=jnp.int32)[:, None]


def due_order(book: Book, row: jax.Array, recorded: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The slot and size of the order with `recorded` shares ahead of it in a row.

    Args:
      book: the book before the trade.
      row: `[]` int32, the side; `NO_ROW` finds nothing.
      recorded: `[]` int32, shares that trade before it.

    Returns:
      Slot and size, `[]` int32 both; 0 and 0 if there is no such order.
    """
    hit = (rows() == row) & ((book.ahead == recorded) & (book.size > 0))
    return lax.reduce(
        (jnp.where(hit, lanes(book), 0), jnp.where(hit, book.size, 0)),
        (jnp.int32(0), jnp.int32(0)),
        lambda a, b: (a[0] + b[0], a[1] + b[1]),
        (0, 1),
    )


def as_trades(book: Book, row: jax.Array, slot: jax.Array, size: jax.Array) -> Trades:
    """Records of the orders in `slot`, `[max_trades]` int32; size 0 makes an empty record.

    Args:
      book: the book before the trade.
      row: `[]` or `[max_trades]` int32, side of each.
      slot: `[max_trades]` int32.
      size: `[max_trades]` int32, shares traded.
    """
    of = lambda column: jnp.where(size > 0, column[row, slot], 0)
    side = jnp.where(size > 0, row, 0)
    return Trades(side, jnp.abs(of(book.key)), size, of(book.order_id), of(book.agent_id))


def first_trades(
    book: Book, order: Order, filled: jax.Array, max_trades: int
) -> tuple[Trades, jax.Array]:
    """The first `max_trades` fills in priority order, and the shares they hold, `[]` int32."""
    if max_trades == 0:
        return jax.tree.map(jnp.asarray, no_trades()), jnp.int32(0)
    opposite = 1 - order.side
    recorded = jnp.int32(0)
    slots, sizes = [], []
    for _ in range(max_trades):
        row = jnp.where(recorded < filled, opposite, NO_ROW)
        slot, resting = due_order(book, row, recorded)
        size = jnp.minimum(resting, filled - recorded)
        recorded = recorded + size
        slots.append(slot)
        sizes.append(size)
    row = jnp.where(order.side == Side.BUY, jnp.int32(Side.SELL), jnp.int32(Side.BUY))
    return as_trades(book, row, jnp.stack(slots), jnp.stack(sizes)), recorded
