"""Minute bars of order flow, cut into windows of 26 minutes.

The bars are those of the release (spec "Stylised-facts report"): the price of a record is the
first price of its trade, or that of the trade before it; its minute is its time **rounded** to the
nearest full minute, ties to the even one, so that a bar holds the half minutes around it.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.errors import InputError

WINDOW = 26  # minutes of a window
GROUP = 23  # windows of a pseudo-symbol: as many as the paper has per stock
MINUTE_NS = 60 * 10**9
DAY_MINUTES = 24 * 60
NO_ORDER = "NONE"  # kind of a record with which nothing reached the book
EVENT_COLUMNS = ("time_ns", "kind", "filled", "first_price", "last_price", "best_bid", "best_ask")


class Minutes(NamedTuple):
    """Windows of minute bars. Numpy arrays on the host; prices in any one unit, volume too."""

    symbol: np.ndarray  # [windows] str, instrument
    minute: np.ndarray  # [windows, 26] int64, minutes since a midnight; each day has its own 1440
    last: np.ndarray  # [windows, 26] float64, price of the last record
    mean: np.ndarray  # [windows, 26] float64, mean over the records
    mid_last: np.ndarray  # [windows, 26] float64
    mid_mean: np.ndarray  # [windows, 26] float64
    volume: np.ndarray  # [windows, 26] float64, traded in the minute


class Groups(NamedTuple):
    """Which windows make one sample of a statistic."""

    of_window: np.ndarray  # [windows] int64, number of the group of each window
    names: tuple[str, ...]  # of the groups


class Records(NamedTuple):
    """One row per record: series in order, and in time order within each."""

    series: np.ndarray  # [records] int64, trajectory or day
    time_ns: np.ndarray  # [records] int64, nanoseconds since a midnight
    price: np.ndarray  # [records] float64, nan where nothing traded
    known: np.ndarray  # [records] float64, price to start from if nothing traded yet; may be nan
    mid: np.ndarray  # [records] float64, nan where neither side has an order
    volume: np.ndarray  # [records] float64


class Bars(NamedTuple):
    """One row per minute in which something happened; sorted by series and minute."""

    series: np.ndarray  # [bars] int64
    minute: np.ndarray  # [bars] int64
    columns: dict[str, np.ndarray]  # [bars] float64 each: the price and volume fields of `Minutes`


def event_minutes(events: pd.DataFrame, symbol: str) -> Minutes:
    """Windows of simulated or replayed events.

    Args:
      events: the table of `SimulationResult.events()` or `ForecastResult.events()`, prices in
        currency or ticks; without a column `trajectory` it is one.
      symbol: of all its windows.

    Returns:
      The windows; every trajectory is a day of its own.

    Raises:
      InputError: a column is missing, a clock goes back, or no window is complete.
    """
    for name in EVENT_COLUMNS:
        if name not in events.columns:
            raise InputError(f"{symbol} has no column {name}, expected a table of events")
    reached = (events["kind"].astype(str) != NO_ORDER).to_numpy()
    events = events.loc[reached]
    column = lambda name: events[name].to_numpy(np.float64)
    price = lambda name: np.where(column(name) > 0, column(name), np.nan)
    series = np.zeros(len(events), np.int64)
    if "trajectory" in events.columns:
        series = events["trajectory"].to_numpy(np.int64)
        if (np.diff(series) < 0).any():
            raise InputError(f"{symbol} is out of order, expected events by trajectory and time")
        series = np.append(False, np.diff(series) != 0)[: len(series)].cumsum()
    filled = column("filled")
    mid = float_mid(price("best_bid"), price("best_ask"))
    known = price("last_price")
    records = Records(
        series=series,
        time_ns=events["time_ns"].to_numpy(np.int64),
        price=np.where(filled > 0, price("first_price"), np.nan),
        known=np.where(np.isnan(known), mid, known),
        mid=mid,
        volume=filled,
    )
    return cut_windows(bars_of(records, symbol), (symbol,) * (int(series.max(initial=0)) + 1))


def float_mid(bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
    """Middle of the best prices, the one there is if a side is empty, else nan; `[records]`."""
    middle = (bid + ask) / 2
    return np.where(np.isnan(bid), ask, np.where(np.isnan(ask), bid, middle))


def bars_of(records: Records, source: str) -> Bars:
    """Minute bars of records; those before the first known price of a series are left out.

    Raises:
      InputError: a clock that goes back within a series.
    """
    step = np.diff(records.series)
    if ((step == 0) & (np.diff(records.time_ns) < 0)).any():
        raise InputError(f"{source} has a clock that goes back, expected records in time order")
    opens = np.append(True, step != 0)[: len(records.series)]
    first = np.where(opens & np.isnan(records.price), records.known, records.price)
    price, mid = _carry(first, opens), _carry(records.mid, opens)
    mid = np.where(np.isnan(mid), price, mid)
    kept = ~np.isnan(price)
    series, minute = records.series[kept], nearest_minute(records.time_ns[kept])
    price, mid, volume = price[kept], mid[kept], records.volume[kept]
    change = (np.diff(series) != 0) | (np.diff(minute) != 0)
    start = np.flatnonzero(np.append(True, change)[: len(series)])
    end = np.append(start[1:], len(series))[: len(start)]
    total = lambda x: np.add.reduceat(x, start) if len(start) else x
    columns = {
        "last": price[end - 1],
        "mean": total(price) / (end - start),
        "mid_last": mid[end - 1],
        "mid_mean": total(mid) / (end - start),
        "volume": total(volume),
    }
    day = series[start] * DAY_MINUTES
    return Bars(series[start], day + minute[start], columns)


def nearest_minute(time_ns: np.ndarray) -> np.ndarray:
    """Full minutes nearest to nanoseconds, ties to the even minute; `[records]` int64."""
    whole, rest = np.divmod(time_ns, MINUTE_NS)
    twice = 2 * rest
    return whole + ((twice > MINUTE_NS) | ((twice == MINUTE_NS) & (whole % 2 == 1)))


def cut_windows(bars: Bars, symbols: tuple[str, ...]) -> Minutes:
    """Windows of 26 consecutive minutes, one after the other from the start of every unbroken run.

    Args:
      bars: sorted by series and minute.
      symbols: instrument of each series.

    Raises:
      InputError: no run is long enough.
    """
    broken = (np.diff(bars.series) != 0) | (np.diff(bars.minute) != 1)
    start = np.flatnonzero(np.append(True, broken)[: len(bars.series)])
    length = np.diff(np.append(start, len(bars.series)))
    whole = length // WINDOW
    if not whole.sum():
        longest = int(length.max(initial=0))
        raise InputError(
            f"the longest run has {longest} minutes in a row, expected at least {WINDOW}"
        )
    run = np.repeat(np.arange(len(start)), whole)
    place = np.arange(len(run)) - np.repeat(np.cumsum(whole) - whole, whole)
    rows = (start[run] + place * WINDOW)[:, None] + np.arange(WINDOW)
    names = np.array([symbols[i] for i in bars.series[rows[:, 0]]], dtype=str)
    columns: Any = {name: column[rows] for name, column in bars.columns.items()}
    return Minutes(symbol=names, minute=bars.minute[rows], **columns)


def join_windows(parts: list[Minutes]) -> Minutes:
    """All windows of several files; the days of each come after those of the one before."""
    shifted, end = [], 0
    for part in parts:
        first, last = (int(x) // DAY_MINUTES for x in (part.minute.min(), part.minute.max()))
        shift = (end - first) * DAY_MINUTES if len(parts) > 1 else 0
        shifted.append(part._replace(minute=part.minute + shift))
        end += last - first + 1
    return Minutes(*(np.concatenate(columns) for columns in zip(*shifted, strict=True)))


def group_windows(minutes: Minutes) -> Groups:
    """One group per symbol; windows of a single symbol make groups of about `GROUP` in order."""
    names, index = np.unique(minutes.symbol, return_inverse=True)
    if len(names) > 1:
        return Groups(index.astype(np.int64), tuple(names.tolist()))
    windows = len(minutes.symbol)
    count = max(1, windows // GROUP)
    index = np.arange(windows) * count // windows
    return Groups(index, tuple(f"{names[0]} {i + 1}" for i in range(count)))


def _carry(value: np.ndarray, opens: np.ndarray) -> np.ndarray:
    """Each nan replaced by the number before it in its series, if there is one."""
    at = np.where(np.isnan(value) & ~opens, 0, np.arange(len(value)))
    return value[np.maximum.accumulate(at)] if len(value) else value
