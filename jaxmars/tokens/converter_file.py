"""Our converter file: named bin tables as one JSON object, read strictly and written atomically.

    {"version": 1, "converters": {<name>: {"unit": str, "edges": [n + 1 numbers],
                                           "values": [n lists], "probs": [n lists]}}}

Whether the numbers make a converter is decided by `tokens.bins`; here only the form counts.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmars.errors import InputError

VERSION = 1
MAX_BYTES = 64 * 2**20  # far above any real file (about 1 MB)


class Table(NamedTuple):
    """One converter as it stands in the file."""

    unit: str  # of edges and values
    edges: np.ndarray  # [n + 1] float64
    values: Sequence[np.ndarray]  # n vectors float64
    probs: Sequence[np.ndarray]  # n vectors float64


def write(path: pathlib.Path, tables: Mapping[str, Table]) -> None:
    """Write the tables to `path`, making its folder; a reader sees the old file or the new one.

    Raises:
      InputError: the file cannot be written.
    """
    entries = {
        name: {
            "unit": table.unit,
            "edges": table.edges.tolist(),
            "values": [x.tolist() for x in table.values],
            "probs": [x.tolist() for x in table.probs],
        }
        for name, table in tables.items()
    }
    text = json.dumps({"version": VERSION, "converters": entries}, allow_nan=False)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write converters to {path}: {error.strerror}") from error


def read(path: pathlib.Path, units: Mapping[str, str]) -> dict[str, Table]:
    """The tables of a file, which must be exactly those named in `units`, in these units.

    Raises:
      InputError: the file cannot be read or has another form; the sentence names the field.
    """
    content = _object(path, "the file", _parse(path), ("version", "converters"))
    if content["version"] != VERSION:
        raise InputError(f"{path}: version is {content['version']!r:.40}, expected {VERSION}")
    entries = _object(path, "converters", content["converters"], tuple(units))
    return {name: _table(path, name, entries[name], unit) for name, unit in units.items()}


def _parse(path: pathlib.Path) -> Any:
    """The JSON value of a file of bounded size."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise InputError(f"{path} is larger than {MAX_BYTES} bytes, the most it may have")
            raw = file.read(size)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error


def _table(path: pathlib.Path, name: str, raw: Any, unit: str) -> Table:
    """One converter of the file."""
    entry = _object(path, name, raw, ("unit", "edges", "values", "probs"))
    if entry["unit"] != unit:
        raise InputError(f"{path}: {name}.unit is {entry['unit']!r:.40}, expected {unit!r}")
    edges = _numbers(path, f"{name}.edges", entry["edges"])
    values, probs = (_rows(path, f"{name}.{x}", entry[x]) for x in ("values", "probs"))
    return Table(unit, edges, values, probs)


def _object(path: pathlib.Path, name: str, raw: Any, keys: Sequence[str]) -> dict[str, Any]:
    """`raw`, checked to be a JSON object with exactly these keys."""
    if not isinstance(raw, dict) or set(raw) != set(keys):
        raise InputError(f"{path}: {name} is not an object with exactly the keys {', '.join(keys)}")
    return raw


def _rows(path: pathlib.Path, name: str, raw: Any) -> list[np.ndarray]:
    """`raw`, checked to be a JSON list of lists of numbers, as float64 vectors."""
    if not isinstance(raw, list):
        raise InputError(f"{path}: {name} is not a list, expected one list of numbers per bin")
    return [_numbers(path, f"{name}[{slot}]", row) for slot, row in enumerate(raw)]


def _numbers(path: pathlib.Path, name: str, raw: Any) -> np.ndarray:
    """`raw`, checked to be a JSON list of numbers, as a float64 vector."""
    if not isinstance(raw, list) or not all(type(x) in (int, float) for x in raw):
        raise InputError(f"{path}: {name} is not a list of numbers")
    try:
        return np.array([float(x) for x in raw], np.float64)
    except OverflowError as error:
        raise InputError(f"{path}: {name} has a number too large for a float64") from error
