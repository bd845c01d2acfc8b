"""LOBSTER message and book files as host arrays.

A LOBSTER day is two tables without headers and with equally many rows. Row i of the book file is
the book *after* message i (LOBSTER sample files read-me, 2013; event type 6: LOBSTER help centre,
"Event type 6").

| what is in the data | what happens here |
|---|---|
| time with up to nine decimals | exact; further decimals are rounded to the nanosecond |
| hidden execution (5) between two ticks, such as at the midpoint | price rounded down to a tick |
| book level that does not exist (price +-9999999999) | price 0, size 0 |
| trading halt (7) | price kept as the halt code: -1 halt, 0 quoting, 1 trading |
| cross (6) | kept; like 5 and 7 it does not change the book |
| locked or crossed book row | refused: a continuous market cannot rest so |

Rows named in errors count from 1, as an editor does.
"""

import enum
import io
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv

from jaxmars.book import MAX_PRICE
from jaxmars.data.compressed import read_bytes
from jaxmars.errors import InputError
from jaxmars.types import L2, Side

PRICE_UNITS_PER_CURRENCY = 10_000  # LOBSTER prices are currency times this
NANOS = 1_000_000_000
MAX_SIZE = 2**31 - 1
DAY_SECONDS = 86_400

_MESSAGE_COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
_CELLS_PER_LEVEL = 4  # ask price, ask size, bid price, bid size
_NO_LEVEL = 9_999_999_999  # price of a level that does not exist, negative on the bid side
_MAX_CELL = 40  # characters of a time, or of a cell quoted in an error
_MAX_SECOND_DIGITS = 9
_INTEGER = re.compile(rb"\s*-?[0-9]{1,18}\s*")


class MessageType(enum.IntEnum):
    """Column "type" of a message file."""

    NEW = 1
    PARTIAL_CANCEL = 2
    DELETE = 3
    EXECUTION = 4
    HIDDEN_EXECUTION = 5
    CROSS = 6
    HALT = 7


class LobsterData(NamedTuple):
    """One recorded day, numpy arrays on the host. Row i of `l2` is the book after message i."""

    sec: np.ndarray  # [rows] int32, seconds since midnight
    nsec: np.ndarray  # [rows] int32, nanoseconds
    type: np.ndarray  # [rows] int32, MessageType
    order_id: np.ndarray  # [rows] int64, as recorded; 0 for hidden executions
    size: np.ndarray  # [rows] int32, shares
    price: np.ndarray  # [rows] int32, ticks; the halt code for HALT
    direction: np.ndarray  # [rows] int32, +1 the resting order is a bid, -1 an ask
    l2: L2  # price, size [rows, 2, levels] int32, ticks and shares
    tick: int  # LOBSTER price units (1e-4 currency) per tick
    lot: int  # shares every new limit order is a multiple of


def read_lobster(
    message_csv: str | os.PathLike[str],
    orderbook_csv: str | os.PathLike[str],
    tick: int | None = None,
) -> LobsterData:
    """Reads a LOBSTER message file and its book file.

    Args:
      message_csv: six columns; .csv, or compressed as .gz, .xz or a .zip, of one file or with one
        file that has _message_ in its name.
      orderbook_csv: four columns per level; same suffixes, in a .zip _orderbook_. Both files of a
        day can be in one .zip, as LOBSTER's samples are; then both paths are its path.
      tick: LOBSTER price units (1e-4 currency) per tick. By default the greatest common divisor of
        all prices of visible orders, which is too large when a short file has few prices.

    Returns:
      The day; prices in ticks.

    Raises:
      InputError: a file that cannot be read, is empty, has a wrong number of columns or rows, a
        cell that is not a number, a value out of range, a clock that goes back, or a book whose
        levels are out of order or crossed. The sentence names file and row.
    """
    message_path, book_path = pathlib.Path(message_csv), pathlib.Path(orderbook_csv)
    messages = _read_messages(message_path)
    books = _read_table(book_path, _book_names, "_orderbook_")
    if len(messages.sec) != books.num_rows:
        raise InputError(
            f"{book_path} has {books.num_rows} rows, expected {len(messages.sec)}: one for each "
            f"message of {message_path}"
        )
    book_price, book_size = _book_arrays(books)
    _check_books(book_path, book_price, book_size)
    data = _in_ticks(message_path, messages, book_price, tick)
    _check_ticks(book_path, book_price.reshape(len(book_price), -1), data.tick)
    narrow = lambda x: np.ascontiguousarray(x, np.int32)
    return data._replace(l2=host_l2(narrow(book_price // data.tick), narrow(book_size)))


def read_lobster_messages(
    message_csv: str | os.PathLike[str], tick: int | None = None
) -> LobsterData:
    """Reads a LOBSTER message file that comes without its book file.

    Args:
      message_csv, tick: as in `read_lobster`.

    Returns:
      The day with books of no levels, `[rows, 2, 0]`.

    Raises:
      InputError: as in `read_lobster`.
    """
    path = pathlib.Path(message_csv)
    messages = _read_messages(path)
    return _in_ticks(path, messages, np.zeros((len(messages.sec), 2, 0), np.int64), tick)


def cut_levels(data: LobsterData, levels: int) -> LobsterData:
    """The same day as LOBSTER records it with fewer levels.

    Kept are the first row, every row that changes one of the best `levels` levels, and the rows
    that change no book at all (types 5, 6, 7).
    """
    recorded = data.l2.price.shape[2]
    if not 1 <= levels <= recorded:
        raise InputError(f"levels is {levels}, expected 1 to {recorded} (the recorded levels)")
    price = np.asarray(data.l2.price)[:, :, :levels]
    size = np.asarray(data.l2.size)[:, :, :levels]
    changed = (np.diff(price, axis=0) != 0) | (np.diff(size, axis=0) != 0)
    keep = np.concatenate([[True], changed.any((1, 2))]) | (data.type > MessageType.EXECUTION)
    columns = {
        name: getattr(data, name)[keep]
        for name in ("sec", "nsec", "type", "order_id", "size", "price", "direction")
    }
    return data._replace(**columns, l2=host_l2(price[keep], size[keep]))


def nanoseconds(sec: Any, nsec: Any) -> np.ndarray:
    """Nanoseconds since midnight as int64, from int32 pairs of any one shape."""
    return np.asarray(sec, np.int64) * NANOS + np.asarray(nsec, np.int64)


def host_l2(price: Any, size: Any) -> L2:
    """An `L2` of numpy arrays (its fields are annotated for the device)."""
    return L2(price, size)


class _Messages(NamedTuple):
    """Columns of a message file as they are written. Fields [rows] int64."""

    sec: np.ndarray
    nsec: np.ndarray
    type: np.ndarray
    order_id: np.ndarray
    size: np.ndarray
    price: np.ndarray
    direction: np.ndarray


def _read_messages(path: pathlib.Path) -> _Messages:
    table = _read_table(path, _message_names, "_message_")
    columns = (table[name].to_numpy() for name in _MESSAGE_COLUMNS[1:])
    messages = _Messages(*_exact_time(path, table["time"]), *columns)
    _check_messages(path, messages)
    return messages


def _in_ticks(
    path: pathlib.Path, messages: _Messages, book_price: np.ndarray, tick: int | None
) -> LobsterData:
    """The day without its books; prices of both tell the tick where none is given."""
    kind, price = messages.type, messages.price
    visible, halt = kind <= MessageType.EXECUTION, kind == MessageType.HALT
    if tick is None:
        tick = _common_divisor(price[visible], book_price)
        if tick == 0:
            raise InputError(f"{path} has no visible order, expected at least one price")
    elif tick <= 0:
        raise InputError(f"tick is {tick}, expected a positive number of 1e-4 currency")
    on_grid = np.where(visible, price, np.where(halt, 0, price - price % tick))
    _check_ticks(path, on_grid[:, None], tick)
    narrow = lambda x: np.ascontiguousarray(x, np.int32)
    no_levels = np.zeros((len(kind), 2, 0), np.int32)
    return LobsterData(
        sec=narrow(messages.sec),
        nsec=narrow(messages.nsec),
        type=narrow(kind),
        order_id=np.ascontiguousarray(messages.order_id, np.int64),
        size=narrow(messages.size),
        price=narrow(np.where(halt, price, on_grid // tick)),
        direction=narrow(messages.direction),
        l2=host_l2(no_levels, no_levels),
        tick=tick,
        lot=max(_common_divisor(messages.size[kind == MessageType.NEW]), 1),
    )


def _message_names(path: pathlib.Path, found: int) -> tuple[str, ...]:
    if found != len(_MESSAGE_COLUMNS):
        raise InputError(
            f"{path}: row 1 has {found} columns, expected {len(_MESSAGE_COLUMNS)} "
            f"({', '.join(_MESSAGE_COLUMNS)})"
        )
    return _MESSAGE_COLUMNS


def _book_names(path: pathlib.Path, found: int) -> tuple[str, ...]:
    if found % _CELLS_PER_LEVEL:
        raise InputError(
            f"{path}: row 1 has {found} columns, expected a multiple of {_CELLS_PER_LEVEL} "
            "(ask price, ask size, bid price, bid size of each level)"
        )
    cells = ("ask price", "ask size", "bid price", "bid size")
    levels = range(1, 1 + found // _CELLS_PER_LEVEL)
    return tuple(f"{cell} {level}" for level in levels for cell in cells)


def _read_table(path: pathlib.Path, column_names: Any, member: str) -> pa.Table:
    """A table of int64 columns; the column "time" stays bytes."""
    content = read_bytes(path, "LOBSTER table", member)
    names = column_names(path, content.partition(b"\n")[0].count(b",") + 1)
    types = {name: pa.binary() if name == "time" else pa.int64() for name in names}
    try:
        return csv.read_csv(
            io.BytesIO(content),
            csv.ReadOptions(column_names=names),
            csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=types, null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: {_first_fault(content, names) or error}") from None


def _first_fault(content: bytes, names: tuple[str, ...]) -> str:
    """What is wrong with a table that the parser refused; only ever run on such a table."""
    for row, line in enumerate(content.splitlines(), 1):
        cells = line.split(b",")
        if len(cells) != len(names):
            return f"row {row} has {len(cells)} columns, expected {len(names)} as in row 1"
        for column, (name, cell) in enumerate(zip(names, cells, strict=True), 1):
            if name != "time" and not _INTEGER.fullmatch(cell):
                return f"row {row} column {column} ({name}) is {_shown(cell)}, expected an integer"
    return ""


def _shown(cell: bytes) -> str:
    """A cell as an error quotes it."""
    return f"'{cell[:_MAX_CELL].decode('ascii', 'backslashreplace')}'"


def _exact_time(path: pathlib.Path, column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Decimal seconds as (seconds, nanoseconds) in int64, without passing through a float."""
    cells = column.to_numpy()
    length = np.fromiter(map(len, cells), np.int64, len(cells))
    short = np.where(length <= _MAX_CELL, cells, b"")
    text = np.strings.strip(short.astype(np.bytes_))
    whole, point, fraction = np.strings.partition(text, b".")
    good = np.strings.isdigit(whole) & (np.strings.str_len(whole) <= _MAX_SECOND_DIGITS)
    good &= np.strings.isdigit(fraction) | (point == b"")
    if not good.all():
        row = int(good.argmin())
        raise InputError(
            f"{path}: row {row + 1} column 1 (time) is {_shown(cells[row])}, expected seconds "
            "after midnight such as 34200.004241176"
        )
    # Ten digits: nine are nanoseconds, the tenth rounds.
    tenths = np.strings.ljust(fraction, 10, b"0").astype("S10").astype(np.int64)
    nanos = whole.astype(np.int64) * NANOS + (tenths + 5) // 10
    return nanos // NANOS, nanos % NANOS


def _refuse(path: pathlib.Path, bad: Any, what: str, value: Any, expected: str) -> None:
    """Raises for the first row where `bad` holds; `value` has one entry per row."""
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{path}: row {row + 1}: {what} is {value[row]}, expected {expected}")


def _check_messages(path: pathlib.Path, messages: _Messages) -> None:
    """Refuses the first message that cannot be."""
    sec, nsec, kind, _, size, price, direction = messages
    _refuse(path, sec >= DAY_SECONDS, "time", sec, f"less than {DAY_SECONDS} seconds")
    back = np.diff(nanoseconds(sec, nsec)) < 0
    if back.any():
        row = int(back.argmax())
        before, after = (f"{sec[i]}.{nsec[i]:09d}" for i in (row, row + 1))
        raise InputError(
            f"{path}: row {row + 2}: time is {after}, expected {before} (the row before) or later"
        )
    _refuse(path, (kind < 1) | (kind > MessageType.HALT), "type", kind, "1 to 7")
    halt = kind == MessageType.HALT
    _refuse(path, (size < 0) | ((size == 0) & ~halt), "size", size, "a positive number")
    _refuse(path, size > MAX_SIZE, "size", size, f"at most {MAX_SIZE}")
    _refuse(path, (price <= 0) & ~halt, "price", price, "a positive number")
    _refuse(path, halt & (abs(price) > 1), "price", price, "-1, 0 or 1 for a trading halt")
    _refuse(path, abs(direction) != 1, "direction", direction, "1 or -1")


def _book_arrays(books: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(price, size) `[rows, 2, levels]` int64, 0 where there is no level."""
    cells = np.stack([column.to_numpy() for column in books.columns])
    cells = cells.reshape(-1, 2, 2, books.num_rows)  # level, (ask, bid), (price, size), row
    by_side = cells[:, ::-1].transpose(2, 3, 1, 0)  # (price, size), row, (bid, ask), level
    price, size = by_side
    missing = (abs(price) == _NO_LEVEL) & (size == 0)
    return np.where(missing, 0, price), size


def _check_books(path: pathlib.Path, price: np.ndarray, size: np.ndarray) -> None:
    """Refuses the first book row that cannot be."""
    exists = price != 0
    for side in Side:
        for level in range(price.shape[2]):
            name = f"{'bid' if side is Side.BUY else 'ask'} %s {level + 1}"
            p, s = price[:, side, level], size[:, side, level]
            _refuse(path, p < 0, name % "price", p, f"a positive number or {_NO_LEVEL} for none")
            _refuse(path, (p == _NO_LEVEL) | ((p > 0) & (s <= 0)), name % "size", s, "its shares")
            _refuse(path, (p == 0) & (s != 0), name % "price", p, "a positive number")
    key = np.where(exists, price * np.array([-1, 1])[:, None], _NO_LEVEL)
    disorder = (np.diff(key, axis=2) <= 0) & (exists[:, :, 1:] | exists[:, :, :-1])
    if disorder.any():
        row, side, level = (int(x[0]) for x in np.nonzero(disorder))
        name, order = ("bid", "less") if side == Side.BUY else ("ask", "more")
        nearer, found = price[row, side, level : level + 2]
        raise InputError(
            f"{path}: row {row + 1}: {name} price {level + 2} is {found}, expected "
            f"{f'{order} than {nearer}' if nearer else 'none'} ({name} price {level + 1})"
        )
    volume = size.sum(2)
    _refuse(path, (volume > MAX_SIZE).any(1), "the volume", volume.max(1), f"at most {MAX_SIZE}")
    bid, ask = price[:, Side.BUY, 0], price[:, Side.SELL, 0]
    crossed = (bid >= ask) & (bid > 0) & (ask > 0)
    if crossed.any():
        row = int(crossed.argmax())
        raise InputError(
            f"{path}: row {row + 1}: best bid {bid[row]} meets best ask {ask[row]} ({crossed.sum()}"
            " such rows), expected a book that is not locked or crossed"
        )


def _common_divisor(*values: np.ndarray) -> int:
    """Greatest common divisor of all numbers; 0 if all are 0 or there are none."""
    return int(np.gcd.reduce([np.gcd.reduce(x, axis=None) for x in values if x.size] or [0]))


def _check_ticks(path: pathlib.Path, price: np.ndarray, tick: int) -> None:
    """Refuses the first row of `[rows, prices]` with a price off the grid or too large."""
    off, high = price % tick != 0, price // tick >= MAX_PRICE
    first = lambda bad: price[np.arange(len(bad)), bad.argmax(1)]
    _refuse(path, off.any(1), "price", first(off), f"a multiple of the tick {tick}")
    _refuse(path, high.any(1), "price", first(high), f"less than {MAX_PRICE} ticks of {tick}")
