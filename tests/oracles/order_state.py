"""The release's order state in plain Python and float64, written from its description.

Prices in ticks, sizes in shares, times in nanoseconds since midnight. Numbers are Python's; the
one exception is the price change, which is a fraction, exact where the release rounds in float64.
"""

import bisect
import dataclasses
import fractions
import math
from collections.abc import Sequence

import jax
import numpy as np

from jaxmars.types import L2, REJECTING, Event, Kind, Side

NANO = 10**9
HOUR = 3600
SELL, BUY, CANCEL = 0, 1, 2
NONE, APPEND, REPLACE = 0, 1, 2
MOST_CHANGE = fractions.Fraction(1, 5)


@dataclasses.dataclass(frozen=True)
class Bins:
    """Edges of the five attributes."""

    price: Sequence[float]
    size: Sequence[float]
    interval: Sequence[float]
    lob: Sequence[float]


def index(edges: Sequence[float], x: float) -> int:
    """Slot of a number: edges smaller than it, less one, clamped."""
    return min(max(bisect.bisect_left(edges, x) - 1, 0), len(edges) - 2)


@dataclasses.dataclass(frozen=True)
class Book:
    """Price levels, best first, and the last trade price."""

    asks: tuple[tuple[int, int], ...] = ()
    bids: tuple[tuple[int, int], ...] = ()
    last: int = 0

    @property
    def mid(self) -> int:
        if self.asks and self.bids:
            (ask, _), (bid, _) = self.asks[0], self.bids[0]
            return bid + (ask - bid) // 2
        best = self.asks or self.bids
        return best[0][0] if best else self.last


@dataclasses.dataclass(frozen=True)
class Record:
    """One accepted order, what it traded, and the book after it."""

    time: int
    kind: int
    side: int
    price: int
    size: int
    agent: int
    filled: int
    first_price: int
    after: Book


@dataclasses.dataclass
class OrderState:
    """Rows of the orders so far, and what the next one is compared with.

    `raw` holds, beside each row, what it is made of: ticks from the mid before the order, shares,
    nanoseconds since the order before it, and shares at the ten ticks around the mid after it.
    """

    bins: Bins
    late_hour: int = 24
    late_shift: int = 0
    rows: list[list[int]] = dataclasses.field(default_factory=list)
    raw: list[tuple[int, int, int, list[int]]] = dataclasses.field(default_factory=list)
    open_time: int | None = None
    open_price: int | None = None
    previous: Record | None = None
    previous_interval: int = 0
    before_previous: Book | None = None

    def push(self, record: Record) -> int:
        """Takes in a record; says whether a row was appended, replaced, or none made."""
        if self.previous is None:
            self.open_time, self.previous = record.time, record
            return NONE
        if self.open_price is None and record.filled:
            self.open_price = record.first_price
        last = self.previous
        merges = (
            record.kind == last.kind == Kind.CANCEL
            and (record.time, record.price, record.agent) == (last.time, last.price, last.agent)
            and self.before_previous is not None
        )
        if merges:
            record = dataclasses.replace(record, size=record.size + last.size)
            self.rows.pop()
            self.raw.pop()
        else:
            self.before_previous = last.after
            self.previous_interval = record.time - last.time
        self.previous = record
        assert self.before_previous is not None
        self.rows.append(self._row(record))
        offset = record.price - self.before_previous.mid
        self.raw.append((offset, record.size, self.previous_interval, around(record.after)))
        return REPLACE if merges else APPEND

    def _row(self, record: Record) -> list[int]:
        before = self.before_previous
        assert before is not None
        return [
            self._order_index(record, before.mid),
            *self._ratios(record, before),
            change(record.after.mid, self.open_price),
            self._elapsed(record.time),
            *self._lob(record.after),
        ]

    def _order_index(self, record: Record, mid: int) -> int:
        side = SELL if record.side == Side.SELL else BUY
        kind = CANCEL if record.kind == Kind.CANCEL else side
        prices, sizes, intervals = (
            len(edges) - 1 for edges in (self.bins.price, self.bins.size, self.bins.interval)
        )
        slot = kind * prices + index(self.bins.price, record.price - mid)
        slot = slot * sizes + index(self.bins.size, record.size)
        return slot * intervals + index(self.bins.interval, self.previous_interval / NANO)

    def _ratios(self, record: Record, before: Book) -> tuple[int, int]:
        levels = dict(before.asks + before.bids)
        volume = 1.0
        if record.price in levels:
            volume = record.size / (levels[record.price] + record.size)
        traded = 1.0 if record.kind == Kind.CANCEL else record.filled / record.size
        return int(9.9 * volume), int(9.9 * traded)

    def _elapsed(self, time: int) -> int:
        assert self.open_time is not None
        late = time // (HOUR * NANO) >= self.late_hour
        return int((time - self.open_time) / NANO - (self.late_shift if late else 0))

    def _lob(self, after: Book) -> list[int]:
        return [index(self.bins.lob, size) + 1 if size else 0 for size in around(after)]


def around(after: Book) -> list[int]:
    """Shares at the ten ticks from five below the mid to four above it."""
    sizes = [0] * 10
    for price, size in after.asks + after.bids:
        slot = price - after.mid + 5
        if 0 <= slot <= 9:
            sizes[slot] = size
    return sizes


def change(mid: int, open_price: int | None) -> int:
    """Basis points from the open to the mid, truncated toward zero."""
    if open_price is None:
        return 0
    ratio = fractions.Fraction(mid - open_price, open_price)
    return math.trunc(10_000 * max(-MOST_CHANGE, min(MOST_CHANGE, ratio)))


def records_of(events: Event, snapshots: L2) -> list[Record | None]:
    """One record per event of a stacked flow; None for an event that is not one."""
    events, snapshots = jax.tree.map(np.asarray, (events, snapshots))
    found: list[Record | None] = []
    for i, kind in enumerate(events.kind.tolist()):
        if kind == Kind.NONE or events.status[i] & REJECTING:
            found.append(None)
            continue
        pairs = zip(snapshots.price[i].tolist(), snapshots.size[i].tolist(), strict=True)
        bids, asks = (
            tuple((p, n) for p, n in zip(prices, sizes, strict=True) if n)
            for prices, sizes in pairs
        )
        found.append(
            Record(
                time=int(events.time.sec[i]) * NANO + int(events.time.nsec[i]),
                kind=kind,
                side=int(events.side[i]),
                price=int(events.price[i]),
                size=int(events.size[i]),
                agent=int(events.agent_id[i]),
                filled=int(events.filled[i]),
                first_price=int(events.first_price[i]),
                after=Book(asks, bids, int(events.last_price[i])),
            )
        )
    return found


def push_all(state: OrderState, records: list[Record | None]) -> list[tuple[int, list[int]]]:
    """Action and latest row after every event ([] before the first row)."""
    steps = []
    for record in records:
        action = NONE if record is None else state.push(record)
        steps.append((action, state.rows[-1] if state.rows else []))
    return steps
