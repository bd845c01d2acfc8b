"""A day of book changes through our book, compared with the venue's own books on the way.

The whole flow runs in one compiled scan per chunk; the book is carried from chunk to chunk. Levels
are only looked at after the events that have a recorded book (realism spec section 1).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from jaxmars.book import NO_KEY, Book, apply_order, best_key
from jaxmars.data.lobster import nanoseconds
from jaxmars.data.orderflow import NO_CHECK, OrderFlow, Recorded, cut_flow
from jaxmars.errors import InputError
from jaxmars.types import Kind, Order, Side, Status, Time

MAX_REPORTED = 10  # rows a report names
NANOS = 1_000_000_000

_SIDES = {Side.BUY: "bid", Side.SELL: "ask"}
_Progress = Callable[[int, int], None]  # events done, events in all


class Levels(NamedTuple):
    """The best price levels of both sides. A level that does not exist is 0 in all fields.

    Arrays of the device, or of the host with an axis of checks in front.
    """

    price: Any  # [2, levels] int32, ticks: row BUY descending, row SELL ascending
    size: Any  # [2, levels] int32, size units
    orders: Any  # [2, levels] int32, how many rest there


class Agreement(NamedTuple):
    """Our levels against the recorded ones, one row per check. Numpy arrays on the host.

    A field agrees where the recording does not know the level.
    """

    event: np.ndarray  # [checks] int64, event after which the books were compared
    row: np.ndarray  # [checks] int64, row of the recorded books
    known: np.ndarray  # [checks, 2, levels] bool
    price: np.ndarray  # [checks, 2, levels] bool, prices agree
    size: np.ndarray  # [checks, 2, levels] bool, sizes agree
    orders: np.ndarray  # [checks, 2, levels] bool, their numbers agree; True if not recorded

    @property
    def equal(self) -> np.ndarray:
        """`[checks]` bool: everything known agrees."""
        return np.all(self.price & self.size & self.orders, (1, 2))


class Samples(NamedTuple):
    """Books on a grid of times. Numpy arrays on the host."""

    time: Time  # fields [samples] int32; the first is that of the first event
    price: np.ndarray  # [samples, 2, levels] int32, ticks
    size: np.ndarray  # [samples, 2, levels] int32, size units


class ReplayReport(NamedTuple):
    """Outcome of `replay`."""

    events: int  # rows of the flow
    agreement: Agreement
    status: dict[Status, int]  # events that raised the bit; only bits that were raised
    crossed: int  # events after which the best bid was above the best ask
    locked: int  # events after which it was equal to it
    filled: np.ndarray  # [events] int32, size units the event traded as an incoming order
    book: Book  # after the last event
    samples: Samples | None  # if asked for

    @property
    def checked(self) -> int:
        """Recorded books compared."""
        return len(self.agreement.row)

    @property
    def equal(self) -> int:
        """Of them, those with no difference."""
        return int(self.agreement.equal.sum())

    @property
    def first_rows(self) -> list[int]:
        """The first recorded books that differ (rows of `Recorded`), at most `MAX_REPORTED`."""
        agreement = self.agreement
        return agreement.row[~agreement.equal][:MAX_REPORTED].tolist()

    def table(self) -> pd.DataFrame:
        """Per side and level: levels compared, and how many differ in price, size and
        number of orders."""
        agreement = self.agreement
        differ = {
            field: (~getattr(agreement, field)).sum(0) for field in ("price", "size", "orders")
        }
        rows = [
            {"side": name, "level": level + 1, "compared": agreement.known[:, side, level].sum()}
            | {field: wrong[side, level] for field, wrong in differ.items()}
            for side, name in _SIDES.items()
            for level in range(agreement.known.shape[2])
        ]
        return pd.DataFrame(rows).set_index(["side", "level"]).astype(int)


class _Shown(NamedTuple):
    """What the compiled replay says of a chunk of events."""

    status: jax.Array  # [chunk] int32, bits of Status
    filled: jax.Array  # [chunk] int32, size units
    best: jax.Array  # [chunk, 2] int32, best signed prices, `NO_KEY` for an empty side
    levels: Levels  # fields [chunk, 2, levels]; 0 where they were not wanted


def replay(
    flow: OrderFlow,
    recorded: Recorded | None,
    start: Book,
    *,
    levels: int,
    resting: bool,
    chunk: int = 4096,
    sample_seconds: float | None = None,
    progress: _Progress | None = None,
) -> ReplayReport:
    """Sends a flow through our book and compares with the venue's books where it says so.

    Args:
      flow: book changes in time order.
      recorded: the venue's books, which `flow.check` points into; None compares nothing.
      start: the book before the first event; its slots are the capacity per side, and events that
        find none free are counted under `Status.BOOK_FULL`.
      levels: best levels to compare, as far as they are recorded, and to sample.
      resting: an order rests without trading even if it crosses (see `jaxmars.data.orderflow`).
      chunk: events of one compiled call; bounds memory, changes nothing else.
      sample_seconds: distance of sampled books; None samples none.
      progress: called after every chunk.

    Returns:
      The report.

    Raises:
      InputError: `flow.check` points outside the recorded books, or a size that is not positive.
    """
    if min(levels, chunk) <= 0 or (sample_seconds is not None and sample_seconds <= 0):
        raise InputError(
            f"a replay has {levels} levels, chunks of {chunk} and samples every {sample_seconds} "
            "s, expected positive numbers"
        )
    events = len(flow.check)
    _check_rows(flow, recorded)
    grid, at = _sample_grid(flow.time, sample_seconds)
    checked = (flow.check != NO_CHECK) & (recorded is not None)
    wanted = checked.copy()
    wanted[at] = True
    book, shown, kept = start, [], []
    for first in range(0, events, chunk):
        last = min(first + chunk, events)
        order = _padded(cut_flow(flow, first, last).order, chunk)
        flags = np.pad(wanted[first:last], (0, chunk - (last - first)))
        book, found = _run(book, order, flags, levels=levels, resting=resting)
        found = jax.tree.map(lambda x, rows=last - first: np.asarray(x)[:rows], found)
        kept.append(Levels(*(x[flags[: last - first]] for x in found.levels)))
        shown.append((found.status, found.filled, found.best))
        if progress is not None:
            progress(last, events)
    status, filled, best = _joined(shown, ((0,), (0,), (0, 2)))
    books = Levels(*_joined(kept, ((0, 2, levels),) * len(Levels._fields)))
    bid, ask = -best[:, Side.BUY].astype(np.int64), best[:, Side.SELL]
    both = (best != NO_KEY).all(1)
    place = np.cumsum(wanted) - 1  # of an event among those whose books were kept
    picked = lambda rows: Levels(*(x[place[rows]] for x in books))
    return ReplayReport(
        events=events,
        agreement=_agreement(flow.check, np.flatnonzero(checked), picked, recorded, levels),
        status=_counted(status),
        crossed=int((both & (bid > ask)).sum()),
        locked=int((both & (bid == ask)).sum()),
        filled=filled,
        book=book,
        samples=None if grid is None else Samples(grid, picked(at).price, picked(at).size),
    )


def book_levels(book: Book, levels: int) -> Levels:
    """The best `levels` price levels of both sides, with the number of orders at each.

    One fused pass per level: volume and orders at the current key, and the next larger key.
    """
    live = book.size > 0
    key = jnp.where(live, book.key, NO_KEY)
    current, found = best_key(book), []
    for _ in range(levels):
        here = live & (key == current[:, None])
        size, count, following = lax.reduce(
            (
                jnp.where(here, book.size, 0),
                here.astype(jnp.int32),
                jnp.where(key > current[:, None], key, NO_KEY),
            ),
            (jnp.int32(0), jnp.int32(0), jnp.int32(NO_KEY)),
            lambda a, b: (a[0] + b[0], a[1] + b[1], jnp.minimum(a[2], b[2])),
            (1,),
        )
        found.append(Levels(jnp.where(count > 0, jnp.abs(current), 0), size, count))
        current = following
    return Levels(*(jnp.stack(x, 1) for x in zip(*found, strict=True)))


@functools.partial(jax.jit, static_argnames=("levels", "resting"))
def _run(
    book: Book, order: Order, wanted: jax.Array, *, levels: int, resting: bool
) -> tuple[Book, _Shown]:
    """A chunk of events; `wanted` `[chunk]` bool asks for the levels after an event."""
    apply = functools.partial(apply_order, collecting=True) if resting else apply_order
    nothing = Levels(*(jnp.zeros((2, levels), jnp.int32) for _ in Levels._fields))

    def step(book: Book, event: tuple[Order, jax.Array]) -> tuple[Book, _Shown]:
        order, is_wanted = event
        book, fills = apply(book, order)
        seen = lax.cond(is_wanted, lambda: book_levels(book, levels), lambda: nothing)
        return book, _Shown(fills.status, fills.filled, best_key(book), seen)

    return lax.scan(step, book, (order, wanted))


def _padded(order: Order, rows: int) -> Order:
    """The orders, then orders that do nothing."""
    pad: Any = lambda x: np.pad(x, (0, rows - len(x)), constant_values=int(Kind.NONE))
    return Order(*(pad(column) for column in order))


def _joined(parts: list[Any], empty: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    """Columns of all chunks, one after the other; int32 of the `empty` shapes without any."""
    if not parts:
        return [np.zeros(shape, np.int32) for shape in empty]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _check_rows(flow: OrderFlow, recorded: Recorded | None) -> None:
    """Refuses a check that points nowhere."""
    if recorded is None:
        return
    rows = len(recorded.known)
    bad = (flow.check < NO_CHECK) | (flow.check >= rows)
    if bad.any():
        event = int(bad.argmax())
        raise InputError(
            f"event {event} is checked against recorded book {flow.check[event]}, expected "
            f"{NO_CHECK} or 0 to {rows - 1}"
        )


def _sample_grid(time: Time, seconds: float | None) -> tuple[Time | None, np.ndarray]:
    """Times from the first event to the last, and the last event at or before each."""
    if seconds is None or not len(np.asarray(time.sec)):
        return None, np.zeros(0, np.int64)
    stamps = nanoseconds(time.sec, time.nsec)
    grid = np.arange(stamps[0], stamps[-1] + 1, round(seconds * NANOS))
    narrow: Any = lambda x: x.astype(np.int32)
    times = Time(narrow(grid // NANOS), narrow(grid % NANOS))
    return times, np.searchsorted(stamps, grid, "right") - 1


def _agreement(
    check: np.ndarray,
    event: np.ndarray,
    picked: Callable[[np.ndarray], Levels],
    recorded: Recorded | None,
    levels: int,
) -> Agreement:
    """Compares the books after `event` `[checks]` on the levels both sides have.

    Sizes that were rounded up sum to no less than the recorded size rounded up, and to less than
    one unit per order more; that is their agreement.
    """
    if recorded is None:
        none = np.ones((0, 2, levels), bool)
        return Agreement(event, event, none, none, none, none)
    row = check[event].astype(np.int64)
    depth = min(levels, recorded.known.shape[2])
    cut = lambda x: np.asarray(x)[row, :, :depth]
    ours = Levels(*(np.asarray(x)[:, :, :depth] for x in picked(event)))
    known = cut(recorded.known)
    spare = np.maximum(ours.orders - 1, 0) if recorded.rounded_up else 0
    excess = ours.size.astype(np.int64) - cut(recorded.l2.size)
    counted = recorded.orders is None or (ours.orders == cut(recorded.orders))
    return Agreement(
        event=event,
        row=row,
        known=known,
        price=~known | (ours.price == cut(recorded.l2.price)),
        size=~known | ((excess >= 0) & (excess <= spare)),
        orders=~known | counted,
    )


def _counted(status: np.ndarray) -> dict[Status, int]:
    """Events per status bit that was raised."""
    counts = {bit: int(((status & bit) != 0).sum()) for bit in Status if bit}
    return {bit: count for bit, count in counts.items() if count}
