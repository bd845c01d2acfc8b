"""Tables of market data as columns of integers: files, numbers on a grid, times, codes.

Cells of a csv file stay text until here; what a cell must be depends on its row, so each function
takes a mask of the rows that need it. Errors name the row as an editor counts it.
"""

import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from jaxmars.data.compressed import read_bytes
from jaxmars.data.validate import Origin, origin_of_rows, refuse
from jaxmars.errors import InputError

_FIRST_CSV_ROW = 2  # below the header
_OFF_GRID = 1e-4  # units a decimal number may be off the grid by
_FLOAT_ERROR = 2.0**-50  # and by how much of itself, after its way through a float
_MAX_UNITS = 2**52  # units that a float still tells apart
_MAX_INTEGER = 2**62
_OFFSET = r"[T ]\d{2}.*(?:Z|[+-]\d{2}(?::?\d{2})?)$"  # of a time that says its zone
_YEARS = (1900, 2200)  # what int64 nanoseconds hold, with room to spare
_YEAR_RANGE = f"years {_YEARS[0]} to {_YEARS[1]}"


def open_table(table: pd.DataFrame | str | os.PathLike[str]) -> tuple[pd.DataFrame, Origin]:
    """A table with its row numbers; cells of a csv file stay text.

    Raises:
      InputError: a file that cannot be read, or a table without rows.
    """
    if isinstance(table, pd.DataFrame):
        frame, origin = table, origin_of_rows("the table", len(table))
    else:
        path = pathlib.Path(table)
        try:
            if path.suffix.lower() == ".parquet":
                frame = pq.read_table(path).to_pandas()
                origin = origin_of_rows(path, len(frame))
            else:
                content = io.BytesIO(read_bytes(path, "table of orders"))
                frame = pd.read_csv(content, dtype=str, keep_default_na=False)
                origin = origin_of_rows(path, len(frame), _FIRST_CSV_ROW)
        except (OSError, ValueError, pa.ArrowException) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} cannot be read as a table: {error}") from error
    if not len(frame):
        raise InputError(f"{origin.source} has no rows, expected at least one")
    return frame, origin


def require_columns(frame: pd.DataFrame, origin: Origin, wanted: list[str]) -> None:
    """Refuses a table that lacks one of the columns."""
    for name in wanted:
        if name not in frame.columns:
            found = ", ".join(str(column) for column in frame.columns)
            raise InputError(f"{origin.source} has no column {name!r}, expected it among {found}")


def units(
    origin: Origin,
    column: Any,
    scale: int,
    needed: np.ndarray,
    round_up: bool = False,
    expected: str = "a number",
) -> np.ndarray:
    """A column of decimal numbers in units of `1 / scale`, `[rows]` int64; 0 for empty cells.

    Raises:
      InputError: no number where one is `needed` `[rows]` bool, in which place `expected` should
        be, or one between two units (which is rounded up if asked).
    """
    number = np.asarray(pd.to_numeric(column, errors="coerce"))
    if number.dtype.kind in "iu" and (
        not len(number) or abs(number).max() <= _MAX_INTEGER // scale
    ):
        return number.astype(np.int64) * scale
    number = number.astype(np.float64)
    name, shown = column.name, column.to_numpy()
    with np.errstate(invalid="ignore"):
        scaled = number * scale
        nearest = np.rint(scaled)
        bad = needed & ~(abs(scaled) <= _MAX_UNITS)
        off = needed & (abs(scaled - nearest) > _OFF_GRID + _FLOAT_ERROR * abs(scaled))
    refuse(origin, needed & ~np.isfinite(number), f"{name}", shown, expected)
    refuse(origin, bad, f"{name}", shown, f"a number up to {_MAX_UNITS} units of 1/{scale}")
    if not round_up:
        refuse(origin, off, f"{name}", shown, f"a multiple of 1/{scale}")
    number = np.where(off, np.ceil(scaled), nearest)
    return np.where(abs(scaled) <= _MAX_UNITS, number, 0).astype(np.int64)


def stamps(origin: Origin, column: Any, unit: int | None, zone: str | None) -> np.ndarray:
    """A column of times as nanoseconds on the exchange clock, `[rows]` int64 (see `L3Columns`).

    Raises:
      InputError: a cell that is no time, or text that has an offset where `zone` is not given.
    """
    everywhere = np.ones(len(column), bool)
    if unit is not None:
        nanos = units(origin, column, unit, everywhere, expected="a time as a number")
        if zone is None:
            return nanos
        times = pd.to_datetime(pd.Series(nanos), unit="ns", utc=True)
    else:
        text = column.astype(str)
        offset = text.str.contains(_OFFSET, regex=True).to_numpy(bool)
        expected = "an ISO 8601 time " + ("without" if zone is None else "with") + " an offset"
        refuse(origin, offset != (zone is not None), f"{column.name}", text.to_numpy(), expected)
        times = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        year = times.dt.year.to_numpy(np.float64)
        bad = ~((year >= _YEARS[0]) & (year <= _YEARS[1]))
        refuse(origin, bad, f"{column.name}", text.to_numpy(), f"{expected}, {_YEAR_RANGE}")
    if zone is not None:
        times = times.dt.tz_convert(zone)
    return times.dt.tz_localize(None).dt.as_unit("ns").to_numpy().astype(np.int64)


def mapped(origin: Origin, column: Any, codes: Mapping[str, Any], needed: np.ndarray) -> np.ndarray:
    """What the codes of a column mean, `[rows]` int64; 0 where a code is unknown and not needed."""
    text = column.astype(str)
    meaning = text.map({code: int(value) for code, value in codes.items()})
    known = meaning.notna().to_numpy()
    expected = f"one of {', '.join(codes)}"
    refuse(origin, needed & ~known, f"{column.name}", text.to_numpy(), expected)
    return meaning.fillna(0).to_numpy(np.int64)
