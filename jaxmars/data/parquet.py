"""Trajectories as Parquet tables: one row per event, whole numbers only, nothing lost.

| column | type | content |
|---|---|---|
| `time_ns` | int64 | nanoseconds since midnight |
| `kind`, `side` | dictionary of string | names of `Kind` and `Side` |
| `price`, `first_price`, `last_price`, `best_bid`, `best_ask` | int32 | ticks |
| `size`, `filled` | int32 | shares |
| `order_id`, `agent_id`, `status` | int32 | as in `Event` |
| `trade_side`, `trade_price`, `trade_size`, | list of int32 | fills, if they were recorded |
| `trade_order_id`, `trade_agent_id` | | |
| `bid_price`, `bid_size`, `ask_price`, `ask_size` | list of int32 | levels after it, if given |

The file's metadata hold, as JSON under `jaxmars`, the version of this table and the provenance.
"""

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from jaxmars.data.lobster import NANOS, nanoseconds
from jaxmars.errors import InputError
from jaxmars.files import to_json, write_atomically
from jaxmars.types import L2, Event, Kind, Side, Time, Trades, no_trades

SCHEMA_VERSION = 1  # raised whenever a column changes
METADATA_KEY = b"jaxmars"

_VERSION, _PROVENANCE = "schema_version", "provenance"
_NAMED = {"kind": Kind, "side": Side}
_PLAIN = tuple(name for name in Event._fields if name not in ("time", "trades", *_NAMED))
_TRADES = {name: f"trade_{name}" for name in Trades._fields}
_LEVELS = {
    f"{side}_{field}": (field, row)
    for side, row in (("bid", Side.BUY), ("ask", Side.SELL))
    for field in L2._fields
}


class StoredEvents(NamedTuple):
    """A trajectory from a file. Numpy arrays on the host."""

    event: Event  # fields [events]; trades [events, max_trades]
    l2: L2 | None  # price, size [events, 2, levels], the book after each event; None if not stored
    provenance: dict[str, Any]


def write_events(
    path: str | os.PathLike[str], event: Event, l2: L2 | None, provenance: dict[str, Any]
) -> None:
    """Writes a trajectory, whole or not at all.

    Args:
      path: of the file, ending in .parquet by custom; its folder is made if absent.
      event: fields `[events]`, trades `[events, max_trades]`.
      l2: price, size `[events, 2, levels]`, the book after each event; None to leave it out.
      provenance: JSON values, such as those of `jaxmars.provenance`.

    Raises:
      InputError: a kind or side that does not exist.
      ValueError: a number in `provenance` is not finite.
    """
    columns: dict[str, Any] = {"time_ns": pa.array(nanoseconds(*event.time), pa.int64())}
    for name, members in _NAMED.items():
        columns[name] = _names(name, np.asarray(getattr(event, name)), members)
    for name in _PLAIN:
        columns[name] = pa.array(np.asarray(getattr(event, name)), pa.int32())
    if event.trades.size.shape[1]:
        for field, name in _TRADES.items():
            columns[name] = _lists(np.asarray(getattr(event.trades, field)))
    if l2 is not None:
        for name, (field, side) in _LEVELS.items():
            columns[name] = _lists(np.asarray(getattr(l2, field))[:, side])
    note = to_json({_VERSION: SCHEMA_VERSION, _PROVENANCE: provenance})
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: note})
    write_atomically(pathlib.Path(path), lambda part: parquet.write_table(table, part))


def read_events(path: str | os.PathLike[str]) -> StoredEvents:
    """Reads what `write_events` wrote.

    Raises:
      InputError: no such file, not such a file, another version, or a column that is missing or
        has another type.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a Parquet file of events")
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}") from None
    provenance = _provenance(path, table)
    column = lambda name, kind: _column(path, table, name, kind)
    time = column("time_ns", pa.int64())
    named = {name: _numbers(path, table, name, members) for name, members in _NAMED.items()}
    plain = {name: column(name, pa.int32()) for name in _PLAIN}
    narrow: Any = lambda x: np.ascontiguousarray(x, np.int32)
    event = Event(
        time=Time(narrow(time // NANOS), narrow(time % NANOS)),
        trades=_trades(path, table),
        **named,
        **plain,
    )
    return StoredEvents(event, _levels(path, table), provenance)


def _names(name: str, column: np.ndarray, members: Any) -> pa.DictionaryArray:
    """Numbers of an enumeration as its names."""
    known = [int(member) for member in members]
    bad = ~np.isin(column, known)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"event {row} has {name} {column[row]}, expected one of {known}")
    dictionary = pa.array([member.name for member in members])
    return pa.DictionaryArray.from_arrays(
        pa.array(np.searchsorted(known, column), pa.int32()), dictionary
    )


def _lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """`[events, n]` as one list of n per event."""
    values = pa.array(np.ascontiguousarray(matrix, np.int32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(pa.int32(), matrix.shape[1]))


def _provenance(path: pathlib.Path, table: pa.Table) -> dict[str, Any]:
    """What the metadata hold, after a look at the version."""
    note = (table.schema.metadata or {}).get(METADATA_KEY)
    try:
        known = json.loads(note or b"{}")
        version, provenance = known.get(_VERSION), known.get(_PROVENANCE)
    except (ValueError, AttributeError):
        version, provenance = None, None
    if version != SCHEMA_VERSION or not isinstance(provenance, dict):
        raise InputError(
            f"{path} holds events of version {version}, expected version {SCHEMA_VERSION} as "
            "written by jaxmars"
        )
    return provenance


def _column(path: pathlib.Path, table: pa.Table, name: str, kind: pa.DataType) -> Any:
    """One column of numbers."""
    found = _found(path, table, name)
    if found.type != kind or found.null_count:
        raise InputError(f"{path}: column {name} holds {found.type}, expected {kind} without gaps")
    return found.to_numpy()


def _numbers(path: pathlib.Path, table: pa.Table, name: str, members: Any) -> Any:
    """Names of an enumeration as its numbers."""
    found = _found(path, table, name)
    known = {member.name: int(member) for member in members}
    names = found.to_pylist()
    if not set(names) <= set(known):
        raise InputError(f"{path}: column {name} holds other names than {', '.join(known)}")
    return np.array([known[name] for name in names], np.int32)


def _matrix(path: pathlib.Path, table: pa.Table, name: str) -> Any:
    """One column of lists of equal length, `[events, n]` int32."""
    found = _found(path, table, name)
    kind = found.type
    lists = isinstance(kind, pa.FixedSizeListType) and kind.value_type == pa.int32()
    if not lists or found.null_count:
        raise InputError(f"{path}: column {name} holds {kind}, expected lists of int32 of a length")
    values = found.combine_chunks().flatten()
    if len(values) != table.num_rows * kind.list_size or values.null_count:
        raise InputError(f"{path}: column {name} has gaps, expected none")
    return values.to_numpy().reshape(table.num_rows, kind.list_size)


def _trades(path: pathlib.Path, table: pa.Table) -> Trades:
    """The fills, if any were recorded."""
    if not set(_TRADES.values()) & set(table.column_names):
        return no_trades(table.num_rows)
    return Trades(*(_matrix(path, table, name) for name in _TRADES.values()))


def _levels(path: pathlib.Path, table: pa.Table) -> L2 | None:
    """The books, if they were stored."""
    if not set(_LEVELS) & set(table.column_names):
        return None
    sides = {name: _matrix(path, table, name) for name in _LEVELS}
    both: Any = lambda field: np.stack([sides[f"bid_{field}"], sides[f"ask_{field}"]], 1)
    return L2(both("price"), both("size"))


def _found(path: pathlib.Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise InputError(f"{path} has no column {name}, expected those that jaxmars writes")
    return table[name]
