"""Our price levels against those a venue recorded."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmars.book import NO_KEY, Book, best_key
from jaxmars.data.orderflow import Recorded


class Levels(NamedTuple):
    """The best price levels of both sides. A level that does not exist is 0 in all fields.

    Arrays of the device, or of the host with an axis of checks in front.
    """

    price: Any  # [2, levels] int32, ticks: row BUY descending, row SELL ascending
    size: Any  # [2, levels] int32, size units
    orders: Any  # [2, levels] int32, how many rest there


class Agreement(NamedTuple):
    """Recorded levels against ours, one row per check. Numpy arrays on the host.

    All is true where the recording does not know the level.
    """

    event: np.ndarray  # [checks] int64, event after which the books were compared
    row: np.ndarray  # [checks] int64, row of the recorded books
    known: np.ndarray  # [checks, 2, levels] bool
    price: np.ndarray  # [checks, 2, levels] bool, prices agree
    size: np.ndarray  # [checks, 2, levels] bool, sizes agree
    orders: np.ndarray  # [checks, 2, levels] bool, their numbers agree; True if not recorded
    held: np.ndarray  # [checks, 2, levels] bool, any of our levels has that price and size

    @property
    def equal(self) -> np.ndarray:
        """`[checks]` bool: everything known agrees."""
        return np.all(self.price & self.size & self.orders, (1, 2))


def book_levels(book: Book, levels: int) -> Levels:
    """The best `levels` price levels of both sides, with the number of orders at each.

    One fused pass per level: volume and orders at the current key, and the next larger key.
    """
    live = book.size > 0
    key = jnp.where(live, book.key, NO_KEY)
    current, found = best_key(book), []
    for _ in range(levels):
        here = live & (key == current[:, None])
        size, orders, following = lax.reduce(
            (
                jnp.where(here, book.size, 0),
                here.astype(jnp.int32),
                jnp.where(key > current[:, None], key, NO_KEY),
            ),
            (jnp.int32(0), jnp.int32(0), jnp.int32(NO_KEY)),
            lambda a, b: (a[0] + b[0], a[1] + b[1], jnp.minimum(a[2], b[2])),
            (1,),
        )
        found.append(Levels(jnp.where(orders > 0, jnp.abs(current), 0), size, orders))
        current = following
    return Levels(*(jnp.stack(x, 1) for x in zip(*found, strict=True)))


def compare(event: np.ndarray, row: np.ndarray, ours: Levels, recorded: Recorded) -> Agreement:
    """Compares the levels both have.

    Sizes that were rounded up sum to no less than the recorded size rounded up, and to less than
    one unit per order more; that is their agreement.

    Args:
      event: `[checks]` the events.
      row: `[checks]` rows of the recorded books.
      ours: our levels after the events, fields `[checks, 2, levels]`.
      recorded: the venue's books.
    """
    depth = min(ours.price.shape[2], recorded.known.shape[2])
    cut = lambda x: np.asarray(x)[row, :, :depth]
    known, price, size = cut(recorded.known), cut(recorded.l2.price), cut(recorded.l2.size)
    spare = np.maximum(ours.orders - 1, 0) if recorded.rounded_up else np.zeros_like(ours.orders)
    excess = ours.size[:, :, :depth].astype(np.int64) - size
    same_orders = recorded.orders is None or (ours.orders[:, :, :depth] == cut(recorded.orders))
    there = ours.price[:, :, None, :] == price[..., None]
    over = ours.size[:, :, None, :].astype(np.int64) - size[..., None]
    fits = (over >= 0) & (over <= spare[:, :, None, :])
    return Agreement(
        event=event,
        row=row,
        known=known,
        price=~known | (ours.price[:, :, :depth] == price),
        size=~known | ((excess >= 0) & (excess <= spare[:, :, :depth])),
        orders=~known | same_orders,
        held=~known | (price == 0) | (there & fits).any(3),
    )


def joined(parts: list[Agreement], levels: int) -> Agreement:
    """The checks of all parts; none of `levels` levels without parts."""
    if not parts:
        nowhere, nothing = np.zeros(0, np.int64), np.ones((0, 2, levels), bool)
        return Agreement(nowhere, nowhere, *(nothing for _ in Agreement._fields[2:]))
    return Agreement(*(np.concatenate(column) for column in zip(*parts, strict=True)))
