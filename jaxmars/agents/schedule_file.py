"""Scripted orders from a file: comma-separated rows, checked one by one.

    time,kind,side,price,size,order_id
    09:45:00,LIMIT,BUY,10.02,500,1
    09:45:00.25,MARKET,SELL,,300,
    09:50:00,MODIFY,,10.03,400,1
    10:00:00,CANCEL_ORDER,,,,1

| kind | reads | may be left empty |
|---|---|---|
| LIMIT, IOC, FOK, POST_ONLY | side, price, size | order_id: the market gives one |
| MARKET | side, size | order_id |
| CANCEL | price, size: own orders at the nearest own price | |
| CANCEL_FITTING | price, size: the same, where an order of that size or larger rests | |
| CANCEL_ORDER | order_id | size: all of it |
| CANCEL_AT, CANCEL_ELSEWHERE | price | size |
| CANCEL_OLDEST | | size |
| MODIFY | order_id, price, size | |

Cells that a kind neither reads nor may leave empty must be empty.
"""

import csv
import os
import pathlib
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from jaxmars.agents.base import EVERYTHING, Ask, Request
from jaxmars.agents.script import Schedule
from jaxmars.book import MAX_PRICE
from jaxmars.clock_text import parse_clock
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side, Time

COLUMNS = ("time", "kind", "side", "price", "size", "order_id")
MAX_ORDER_ID = 999_999_999  # the market numbers orders without an id of their own from the next one
MAX_SIZE = 2**31 - 1  # shares
MAX_ROWS = 1_000_000
MAX_CELL = 40  # characters of a cell, also of one quoted in an error
MAX_DIGITS = 18  # of a whole number

_WHOLE = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_PRICE = re.compile(r"[0-9]+(\.[0-9]+)?")


class _Reads(NamedTuple):
    """Which cells a kind of row has."""

    needs: frozenset[str]
    may: frozenset[str]


def _reads(needs: str, may: str = "") -> _Reads:
    return _Reads(frozenset(needs.split()), frozenset(may.split()))


_PRICED = _reads("side price size", "order_id")
_LEVEL = _reads("price", "size")
_READS: dict[Kind | Ask, _Reads] = {
    Kind.LIMIT: _PRICED,
    Kind.IOC: _PRICED,
    Kind.FOK: _PRICED,
    Kind.POST_ONLY: _PRICED,
    Kind.MARKET: _reads("side size", "order_id"),
    Kind.CANCEL: _reads("price size"),
    Ask.CANCEL_FITTING: _reads("price size"),
    Ask.CANCEL_ORDER: _reads("order_id", "size"),
    Ask.CANCEL_AT: _LEVEL,
    Ask.CANCEL_ELSEWHERE: _LEVEL,
    Ask.CANCEL_OLDEST: _reads("", "size"),
    Ask.MODIFY: _reads("order_id price size"),
}
_NEW = frozenset({Kind.LIMIT, Kind.IOC, Kind.FOK, Kind.POST_ONLY, Kind.MARKET})
_KINDS: dict[str, Kind | Ask] = {kind.name: kind for kind in _READS}


def read_schedule(path: str | os.PathLike[str], tick_size: float) -> Schedule:
    """Reads a schedule (see the module) for `scripted_agent`.

    Args:
      path: a text file in UTF-8 with a heading.
      tick_size: currency per tick; prices in the file are currency.

    Returns:
      Host arrays `[rows]`.

    Raises:
      InputError: the file cannot be read, or a row says something that cannot be sent. The sentence
        names the line, counted from 1 as an editor does.
    """
    file = pathlib.Path(path)
    tick = Fraction(repr(float(tick_size)))
    rows: list[tuple[int, ...]] = []
    ids: set[int] = set()
    latest = (0, 0)
    for number, cells in _lines(file):
        try:
            row = _row(cells, tick, ids)
            if row[:2] < latest:
                raise InputError(f"time {cells[0]} is earlier than that of the row before")
        except InputError as error:
            raise InputError(f"line {number} of schedule {file}: {error}") from None
        latest = row[:2]
        rows.append(row)
        if len(rows) > MAX_ROWS:
            raise InputError(f"schedule {file} has more than {MAX_ROWS} rows")
    if not rows:
        raise InputError(f"schedule {file} has no rows, expected at least one after its heading")
    columns: Any = np.array(rows, np.int32).T
    return Schedule(Time(*columns[:2]), Request(*columns[2:]))


def _lines(file: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row below the heading that is not blank."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            heading = tuple(cell.strip() for cell in next(reader, []))
            if heading != COLUMNS:
                found = ",".join(heading)[: 2 * MAX_CELL]
                raise InputError(
                    f"schedule {file} must start with the heading {','.join(COLUMNS)}, got "
                    f"{found!r}"
                )
            for cells in reader:
                if cells:
                    yield reader.line_num, [cell.strip() for cell in cells]
    except OSError as error:
        raise InputError(f"schedule {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"schedule {file} is not text in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"schedule {file} is not a table of comma-separated cells") from error


def _row(cells: list[str], tick: Fraction, ids: set[int]) -> tuple[int, ...]:
    """(sec, nsec, kind, side, price, size, order_id) of a row; notes the id of a new order."""
    if len(cells) != len(COLUMNS):
        raise InputError(f"expected {len(COLUMNS)} cells, got {len(cells)}")
    for name, cell in zip(COLUMNS, cells, strict=True):
        if len(cell) > MAX_CELL:
            raise InputError(f"{name} must be at most {MAX_CELL} characters, got {len(cell)}")
    cell = dict(zip(COLUMNS, cells, strict=True))
    kind = _KINDS.get(cell["kind"])
    if kind is None:
        raise InputError(f"kind must be one of {', '.join(_KINDS)}, got {cell['kind']!r}")
    reads = _READS[kind]
    for name in COLUMNS[2:]:
        if name in reads.needs and not cell[name]:
            raise InputError(f"{kind.name} needs {name}, got none")
        if name not in reads.needs | reads.may and cell[name]:
            raise InputError(f"{kind.name} has no {name}, got {cell[name]!r}")
    size = _whole("size", cell["size"], MAX_SIZE) if cell["size"] else 0
    if not cell["size"] and "size" in reads.may:
        size = EVERYTHING
    order_id = _whole("order_id", cell["order_id"], MAX_ORDER_ID) if cell["order_id"] else 0
    if kind in _NEW:
        ids.add(order_id)
    elif "order_id" in reads.needs and order_id not in ids:
        raise InputError(f"{kind.name} names order {order_id}, which no row before it sends")
    side = _side(cell["side"]) if cell["side"] else Side.BUY
    price = _price(cell["price"], tick) if cell["price"] else 0
    return (*_time(cell["time"]), int(kind), int(side), price, size, order_id)


def _time(cell: str) -> tuple[int, int]:
    """Seconds since midnight and nanoseconds."""
    try:
        return parse_clock(cell)
    except ValueError as error:
        raise InputError(f"time: {error}") from error


def _side(cell: str) -> Side:
    if cell not in Side.__members__:
        raise InputError(f"side must be BUY or SELL, got {cell!r}")
    return Side[cell]


def _whole(name: str, cell: str, most: int) -> int:
    """A positive integer."""
    if not _WHOLE.fullmatch(cell) or not 1 <= int(cell) <= most:
        raise InputError(f"{name} must be a whole number from 1 to {most}, got {cell!r}")
    return int(cell)


def _price(cell: str, tick: Fraction) -> int:
    """Ticks."""
    if not _PRICE.fullmatch(cell):
        raise InputError(f"price must be a number of currency, got {cell!r}")
    ticks = Fraction(cell) / tick
    if ticks.denominator != 1 or not 0 < ticks < MAX_PRICE:
        raise InputError(
            f"price must be a positive multiple of the tick {float(tick)}, got {cell!r}"
        )
    return int(ticks)
