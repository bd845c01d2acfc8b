"""Recorded days against our book, and what a simulation starts from and is scored by.

The one-step check loads the recorded book before a message into our book, applies the message, and
compares with the recorded book after it (realism spec 1.1). It needs no order from before the
record, and covers the book update of every message of a day.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.book import apply_order, book_from_levels, l2_snapshot, level_order_ids
from jaxmars.clock_text import clock_text
from jaxmars.config import MarketConfig
from jaxmars.data.flow import CROWD, order_rows
from jaxmars.data.lobster import (
    NANOS,
    PRICE_UNITS_PER_CURRENCY,
    LobsterData,
    MessageType,
    host_l2,
    nanoseconds,
)
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Order, Side

MAX_REPORTED = 10  # rows a report names per reason

_INCOMING_ID = 1  # ids of anonymous level orders are negative
_UNKNOWN_ID = 0  # rests nowhere, so a cancel of it is refused
_REFUSED = "refused"


class OneStepReport(NamedTuple):
    """Outcome of `one_step_mismatches`. Reasons: "bid price", "bid size", "ask price", "ask size"
    and "refused" (the book refused the message); a row may fail for several."""

    checked: int  # messages applied
    mismatched: int  # of them, those that fail for any reason
    by_reason: dict[str, int]  # rows per reason
    first_rows: dict[str, list[int]]  # per reason, the first rows (index into the record)
    revealed: int  # rows after which the deepest level of a side came from outside the window


class _Checked(NamedTuple):
    """What the compiled check says of a chunk of rows."""

    price: jax.Array  # [chunk, 2] bool, a known price of the side differs
    size: jax.Array  # [chunk, 2] bool, a known size of the side differs
    refused: jax.Array  # [chunk] bool
    revealed: jax.Array  # [chunk] bool, a level is unknown


def one_step_mismatches(data: LobsterData, chunk: int = 8192) -> OneStepReport:
    """Applies every message but the first to the recorded book before it.

    New orders are limit orders; cancels take from the anonymous order at their price; a visible
    execution is an incoming order of the other side, limited at its price; types 5, 6 and 7 do
    nothing. All recorded levels are compared but those that a vanished level uncovered on a side
    whose recorded levels were all in use: nothing before tells what is there.

    Args:
      data: a recorded day.
      chunk: rows of one compiled call; bounds memory, changes nothing else.
    """
    price, size = np.asarray(data.l2.price), np.asarray(data.l2.size)
    orders = _orders(data)
    found: list[_Checked] = []
    for start in range(1, len(data.sec), chunk):
        stop = min(start + chunk, len(data.sec))
        pad: Any = lambda x: np.pad(x, [(0, chunk - len(x))] + [(0, 0)] * (x.ndim - 1))
        before = host_l2(pad(price[start - 1 : stop - 1]), pad(size[start - 1 : stop - 1]))
        after = host_l2(pad(price[start:stop]), pad(size[start:stop]))
        order = Order(*(pad(column[start:stop]) for column in orders))
        checked = jax.device_get(_check_rows(before, order, after))
        found.append(_Checked(*(x[: stop - start] for x in checked)))
    return _report(found)


def start_book(
    data: LobsterData, sec: int, nsec: int, market: MarketConfig, needed: int = 0
) -> tuple[int, L2]:
    """The recorded book at a time.

    Args:
      data: a recorded day.
      sec, nsec: the time, seconds since midnight and nanoseconds.
      market: the instrument; its tick must be that of the record, its `levels` are returned.
      needed: orders (as `lobster_flow` counts them) that must lie at or before the time.

    Returns:
      The last row at or before the time, and the book after it: `[2, market.levels]`, with empty
      levels where fewer are recorded.

    Raises:
      InputError: a time outside the record, too few orders before it, or another tick.
    """
    row = _last_row(data, nanoseconds(sec, nsec))
    preceding = int(np.searchsorted(order_rows(data), row, "right"))
    if preceding < needed:
        raise InputError(
            f"{preceding} orders lie at or before {_clock(nanoseconds(sec, nsec))}, expected at "
            f"least {needed}; the record starts at {_clock(_stamps(data)[0])}"
        )
    tick_size = data.tick / PRICE_UNITS_PER_CURRENCY
    if not np.isclose(tick_size, market.tick_size):
        raise InputError(
            f"the market has a tick of {market.tick_size}, expected that of the record, {tick_size}"
        )
    fit: Any = lambda x: np.pad(x, [(0, 0), (0, market.levels)])[:, : market.levels]
    return row, host_l2(fit(np.asarray(data.l2.price)[row]), fit(np.asarray(data.l2.size)[row]))


def mid_path(
    data: LobsterData, sec: int, horizon_seconds: float, step_seconds: float, nsec: int = 0
) -> np.ndarray:
    """Recorded mid price on a grid of times, in ticks.

    Returns:
      `[1 + horizon_seconds // step_seconds]` float64; entry k is the mid at the time plus k steps:
      that of the last row at or before it. (ask + bid) / 2; on a one-sided book its best price;
      on an empty one the last visible execution's (release spec, section 3), nan before any.

    Raises:
      InputError: no positive step, or a time outside the record.
    """
    start = nanoseconds(sec, nsec)
    step, horizon = round(step_seconds * NANOS), round(horizon_seconds * NANOS)
    if step <= 0 or horizon < 0:
        raise InputError(
            f"a path has step {step_seconds} s and horizon {horizon_seconds} s, expected a "
            "positive step and a horizon that is not negative"
        )
    grid = start + step * np.arange(1 + horizon // step)
    _last_row(data, grid[0])
    _last_row(data, grid[-1])
    at = np.searchsorted(_stamps(data), grid, "right") - 1
    return _mids(data)[at]


def event_mids(data: LobsterData, sec: int, horizon_seconds: float, nsec: int = 0) -> np.ndarray:
    """Mid price after each order in (time, time + horizon], in ticks (forecast label, paper 8.1).

    Returns:
      `[orders]` float64, mids as in `mid_path`; orders as `lobster_flow` counts them; may be empty.

    Raises:
      InputError: a time outside the record.
    """
    start = nanoseconds(sec, nsec)
    end = start + round(horizon_seconds * NANOS)
    _last_row(data, start)
    _last_row(data, end)
    at = order_rows(data)
    stamps = _stamps(data)[at]
    return _mids(data)[at[(stamps > start) & (stamps <= end)]]


def _check_row(before: L2, order: Order, after: L2) -> _Checked:
    """One message against the recorded book after it; unbatched."""
    levels = before.price.shape[1]
    book = book_from_levels(before, 2 * levels, jnp.int32(CROWD))
    book, fills = apply_order(book, order)
    ours = l2_snapshot(book, levels)
    complete = (before.size[:, -1] == 0)[:, None]
    known = complete | (ours.size > 0)
    return _Checked(
        price=(known & (ours.price != after.price)).any(1),
        size=(known & (ours.size != after.size)).any(1),
        refused=fills.status != 0,
        revealed=(~known & (after.size > 0)).any(),
    )


_check_rows = jax.jit(jax.vmap(_check_row))  # every field gains a leading axis [chunk]


def _orders(data: LobsterData) -> Order:
    """Messages as orders for a book of anonymous levels; row i meets the book after row i - 1."""
    kind = np.select(
        [
            (data.type == MessageType.NEW) | (data.type == MessageType.EXECUTION),
            (data.type == MessageType.PARTIAL_CANCEL) | (data.type == MessageType.DELETE),
        ],
        [Kind.LIMIT, Kind.CANCEL],
        Kind.NONE,
    )
    resting = np.where(data.direction == 1, Side.BUY, Side.SELL)
    side = np.where(data.type == MessageType.EXECUTION, 1 - resting, resting)
    ids = np.asarray(level_order_ids(data.l2.price.shape[2]))
    previous = np.roll(np.asarray(data.l2.price), 1, axis=0)
    own = previous[np.arange(len(resting)), resting]
    at_price = (own == data.price[:, None]) & (own > 0)
    target = np.where(at_price.any(1), ids[resting, at_price.argmax(1)], _UNKNOWN_ID)
    order_id = np.where(kind == Kind.CANCEL, target, _INCOMING_ID)
    narrow: Any = lambda x: np.ascontiguousarray(x, np.int32)
    columns = (kind, side, data.price, data.size, order_id, np.full(len(kind), CROWD))
    return Order(*(narrow(column) for column in columns))


def _report(found: list[_Checked]) -> OneStepReport:
    """Counts over all chunks; entry i of a chunk's columns is row i + 1 of the record."""
    if not found:
        return OneStepReport(0, 0, {}, {}, 0)
    price, size, refused, revealed = (np.concatenate(x) for x in zip(*found, strict=True))
    failed = {
        f"{name} {field}": column[:, side]
        for side, name in ((Side.BUY, "bid"), (Side.SELL, "ask"))
        for field, column in (("price", price), ("size", size))
    }
    failed[_REFUSED] = refused
    at = {reason: 1 + np.flatnonzero(rows) for reason, rows in failed.items()}
    return OneStepReport(
        checked=len(refused),
        mismatched=int(np.any(list(failed.values()), axis=0).sum()),
        by_reason={reason: len(rows) for reason, rows in at.items()},
        first_rows={reason: rows[:MAX_REPORTED].tolist() for reason, rows in at.items()},
        revealed=int(revealed.sum()),
    )


def _stamps(data: LobsterData) -> np.ndarray:
    return nanoseconds(data.sec, data.nsec)


def _clock(stamp: Any) -> str:
    """Nanoseconds since midnight as HH:MM:SS, decimals cut off."""
    return clock_text(int(stamp) // NANOS)


def _last_row(data: LobsterData, stamp: Any) -> int:
    """The last row at or before a time; refuses a time outside the record."""
    stamps = _stamps(data)
    if not stamps[0] <= stamp <= stamps[-1]:
        raise InputError(
            f"the time {_clock(stamp)} lies outside the record, expected {_clock(stamps[0])} to "
            f"{_clock(stamps[-1])}"
        )
    return int(np.searchsorted(stamps, stamp, "right")) - 1


def _mids(data: LobsterData) -> np.ndarray:
    """Mid price after each row, `[rows]` float64 ticks; nan where the book never had a price."""
    best = np.asarray(data.l2.price)[:, :, 0].astype(np.float64)
    executed = np.where(data.type == MessageType.EXECUTION, np.arange(len(best)), -1)
    latest = np.maximum.accumulate(executed)
    last_price = np.where(latest >= 0, data.price[latest], np.nan)
    sides = (best > 0).sum(1)
    return np.where(sides > 0, best.sum(1) / np.maximum(sides, 1), last_price)
