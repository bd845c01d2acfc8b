"""Reads windows of minute bars from the files of simulations, venues and the release.

| file | read as |
|---|---|
| `events.parquet`, `trajectories.parquet` | events of `jaxmars simulate` or `jaxmars forecast` |
| `NAME_message_N.csv` | LOBSTER; the book is `NAME_orderbook_N.csv` beside it |
| other `.csv` | minute bars, columns of `COLUMNS` |
| `.zstd` | the release's `rollout_info`, simulated and replayed windows |
"""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from jaxmars.data.flow import lobster_flow
from jaxmars.data.lobster import nanoseconds, read_lobster
from jaxmars.data.tables import open_table, require_columns, stamps
from jaxmars.data.validate import refuse
from jaxmars.errors import InputError
from jaxmars.tasks.facts_minutes import (
    EVENT_COLUMNS,
    MINUTE_NS,
    Bars,
    Minutes,
    cut_windows,
    event_minutes,
    join_windows,
)
from jaxmars.tasks.facts_rollouts import read_rollouts
from jaxmars.types import Kind

MESSAGES, BOOKS = "_message_", "_orderbook_"  # in the names of LOBSTER files
RELEASED, TABLES, EVENTS = ".zstd", ".csv", ".parquet"
SIMULATION = "simulation"  # symbol of all trajectories
TRAJECTORY = "trajectory"
PRICES = {
    "last_price": "last",
    "mean_price": "mean",
    "mean_mid": "mid_mean",
    "last_mid": "mid_last",
}
SERIES = ("symbol", "window")  # the second is optional
COLUMNS = ("time", SERIES[0], *PRICES, "volume")


class Windows(NamedTuple):
    """What files hold."""

    minutes: Minutes
    replayed: Minutes | None  # the same windows of the real market, of a released file


def read_windows(paths: Sequence[pathlib.Path], replayed: bool = False) -> Windows:
    """Windows of one or several files (table at the top of this file).

    Args:
      paths: all of one market; book files of LOBSTER may be named too.
      replayed: of a released file, `minutes` are the replayed windows, not the simulated ones.

    Raises:
      InputError: a file that cannot be read, that is of no known kind, or without a window.
    """
    if any(path.suffix == RELEASED for path in paths):
        if len(paths) > 1:
            raise InputError(f"{paths[0]} and {len(paths) - 1} more, expected a .zstd file alone")
        found = read_rollouts(paths[0])
        return Windows(found.historical if replayed else found.simulated, found.historical)
    books = {_book_file(path) for path in paths if MESSAGES in path.name}
    for path in paths:
        if BOOKS in path.name and path not in books:
            raise InputError(f"{path} is a book file, expected its message file with it")
    parts = [_read(path) for path in paths if path not in books]
    return Windows(join_windows(parts), None)


def _read(path: pathlib.Path) -> Minutes:
    """One file that holds one kind of windows."""
    try:
        if MESSAGES in path.name:
            return read_lobster_minutes(path)
        if path.suffix == EVENTS:
            return event_minutes(read_event_table(path), SIMULATION)
        if path.suffix == TABLES:
            return read_minute_table(path)
    except InputError as error:
        text = str(error)
        raise InputError(text if str(path) in text else f"{path}: {text}") from error
    raise InputError(f"{path} is of no known kind, expected .parquet, .csv or .zstd")


def read_event_table(path: pathlib.Path) -> pd.DataFrame:
    """The columns that bars need of a Parquet file of events.

    Raises:
      InputError: no such file, not Parquet, or a column that is missing or not of numbers.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a Parquet file of events")
    try:
        names = parquet.read_schema(path).names
        wanted = [name for name in (TRAJECTORY, *EVENT_COLUMNS) if name in names]
        frame = parquet.read_table(path, columns=wanted).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}") from None
    for name in frame.columns:
        if name != "kind" and frame[name].dtype.kind not in "iuf":
            raise InputError(f"{path}: column {name} holds {frame[name].dtype}, expected numbers")
    for name in (TRAJECTORY, "time_ns", "filled"):
        if name in frame.columns and frame[name].isna().any():
            raise InputError(f"{path}: column {name} has gaps, expected none")
    return frame


def read_lobster_minutes(path: pathlib.Path) -> Minutes:
    """Windows of a LOBSTER day; the book file lies beside the message file.

    The symbol is the first part of the file's name. Hidden executions are no trades.
    """
    event = lobster_flow(read_lobster(path, _book_file(path))).event
    frame = pd.DataFrame(
        {
            "time_ns": nanoseconds(*event.time),
            "kind": np.array([kind.name for kind in Kind])[np.asarray(event.kind)],
            **{name: np.asarray(getattr(event, name)) for name in EVENT_COLUMNS[2:]},
        }
    )
    return event_minutes(frame, path.name.split("_")[0])


def read_minute_table(path: pathlib.Path) -> Minutes:
    """Windows of a table of minute bars.

    Args:
      path: CSV with the columns of `COLUMNS`; times are ISO 8601 full minutes. A column `window`
        keeps bars of one symbol and one clock apart, such as those of several simulations.

    Raises:
      InputError: a missing column, a time that is no full minute or comes twice, a price that is
        not positive, or a negative volume.
    """
    frame, origin = open_table(path)
    require_columns(frame, origin, list(COLUMNS))
    time = stamps(origin, frame["time"], None, None)
    refuse(origin, time % MINUTE_NS != 0, "time", frame["time"].to_numpy(), "a full minute")
    columns: dict[str, np.ndarray] = {}
    for name, field in (*PRICES.items(), ("volume", "volume")):
        value = np.asarray(pd.to_numeric(frame[name], errors="coerce"), np.float64)
        least = value > 0 if name in PRICES else value >= 0
        expected = "a number above 0" if name in PRICES else "a number, 0 or more"
        refuse(origin, ~(least & np.isfinite(value)), name, frame[name].to_numpy(), expected)
        columns[field] = value
    keys: Any = [frame[name] for name in SERIES if name in frame.columns]
    series = frame.groupby(keys, sort=False).ngroup().to_numpy()
    minute = time // MINUTE_NS
    order = np.lexsort((minute, series))
    twice = np.append(False, (np.diff(series[order]) == 0) & (np.diff(minute[order]) == 0))
    bad = np.zeros(len(frame), bool)
    bad[order] = twice
    refuse(origin, bad, "time", frame["time"].to_numpy(), "each minute of a series once")
    _, at = np.unique(series, return_index=True)
    symbols = tuple(frame["symbol"].iloc[at].astype(str))
    return cut_windows(
        Bars(series[order], minute[order], {k: v[order] for k, v in columns.items()}), symbols
    )


def _book_file(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name.replace(MESSAGES, BOOKS))
