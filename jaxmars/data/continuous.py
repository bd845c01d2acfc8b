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
from jaxmars.data.agreement import Agreement, Levels, book_levels, compare, joined
from jaxmars.data.lobster import nanoseconds
from jaxmars.data.orderflow import NO_CHECK, OrderFlow, Recorded, cut_flow
from jaxmars.errors import InputError
from jaxmars.types import Kind, Order, Side, Status, Time

MAX_REPORTED = 10  # rows a report names
NANOS = 1_000_000_000

_DIFFER = {"price": "price", "size": "size", "orders": "orders", "missing": "held"}
_SIDES = {Side.BUY: "bid", Side.SELL: "ask"}
_Progress = Callable[[int, int], None]  # events done, events in all


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
        """Per side and level: levels compared, how many differ in price, size and number of orders,
        and how many have a price and size that our book does not hold ("missing")."""
        agreement = self.agreement
        differ = {name: (~getattr(agreement, field)).sum(0) for name, field in _DIFFER.items()}
        rows = [
            {"side": name, "level": level + 1, "compared": agreement.known[:, side, level].sum()}
            | {what: wrong[side, level] for what, wrong in differ.items()}
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


class _Tally:
    """What is kept of every event."""

    def __init__(self, events: int) -> None:
        self.status, self.filled = np.zeros(events, np.int32), np.zeros(events, np.int32)
        self.crossed = self.locked = 0

    def add(self, part: slice, found: _Shown) -> None:
        self.status[part], self.filled[part] = found.status, found.filled
        best = np.asarray(found.best)
        both = (best != NO_KEY).all(1)
        bid, ask = -best[both, Side.BUY], best[both, Side.SELL]
        self.crossed += int((bid > ask).sum())
        self.locked += int((bid == ask).sum())


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
    no_grid = sample_seconds is not None and round(sample_seconds * NANOS) <= 0
    if min(levels, chunk) <= 0 or no_grid:
        raise InputError(
            f"a replay has {levels} levels, chunks of {chunk} and samples every {sample_seconds} "
            "s, expected positive numbers"
        )
    _check_rows(flow, recorded)
    events = len(flow.check)
    grid, sampled = _sample_grid(flow.time, sample_seconds)
    checked = (flow.check != NO_CHECK) & (recorded is not None)
    wanted = checked.copy()
    wanted[sampled] = True
    book, tally, agreements, kept = start, _Tally(events), [], []
    for first in range(0, events, chunk):
        part = slice(first, min(first + chunk, events))
        order = _padded(cut_flow(flow, part.start, part.stop).order, chunk)
        flags = np.pad(wanted[part], (0, chunk - (part.stop - first)))
        book, found = _run(book, order, flags, levels=levels, resting=resting)
        found = jax.tree.map(lambda x, n=part.stop - first: np.asarray(x)[:n], found)
        tally.add(part, found)
        at = np.flatnonzero(checked[part])
        if recorded is not None and len(at):
            ours, row = Levels(*(x[at] for x in found.levels)), flow.check[part][at]
            agreements.append(compare(first + at, row.astype(np.int64), ours, recorded))
        here = sampled[(sampled >= first) & (sampled < part.stop)] - first
        kept.append((found.levels.price[here], found.levels.size[here]))
        if progress is not None:
            progress(part.stop, events)
    samples = None
    if grid is not None:
        samples = Samples(grid, *(np.concatenate(x) for x in zip(*kept, strict=True)))
    return ReplayReport(
        events=events,
        agreement=joined(agreements, levels),
        status=_counted(tally.status),
        crossed=tally.crossed,
        locked=tally.locked,
        filled=tally.filled,
        book=book,
        samples=samples,
    )


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


def _counted(status: np.ndarray) -> dict[Status, int]:
    """Events per status bit that was raised."""
    counts = {bit: int(((status & bit) != 0).sum()) for bit in Status if bit}
    return {bit: count for bit, count in counts.items() if count}
