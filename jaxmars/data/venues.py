"""Readers of single venues: what their files mean, and the books they recorded themselves.

| venue | files | the flow |
|---|---|---|
| Databento | market-by-order csv; MBP-10 csv for books | book changes, from an empty book |
| Bitstamp | order events csv; websocket log for books and trades | book changes, some unknown |

Fields: Databento "MBO" and "MBP-10" schemas; Bitstamp live orders, order book and live trades.
"""

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.data.compressed import read_bytes
from jaxmars.data.l3 import Action, L3Columns, L3Table, columns_data, l3_table
from jaxmars.data.lobster import NANOS, host_l2
from jaxmars.data.orderflow import NO_CHECK, L3Data, Recorded, TradeReports, host_time
from jaxmars.data.tables import open_table, require_columns, stamps, units
from jaxmars.data.validate import MAX_SIZE, Origin, refuse
from jaxmars.errors import InputError
from jaxmars.types import Side

DATABENTO = L3Columns(
    time="ts_event",
    action="action",
    side="side",
    price="price",
    size="size",
    order_id="order_id",
    actions={
        "A": Action.ADD,
        "C": Action.REDUCE,
        "M": Action.REPLACE,
        "R": Action.CLEAR,
        "T": Action.TRADE,
        "F": Action.IGNORE,
        "N": Action.IGNORE,
    },
    sides={"B": Side.BUY, "A": Side.SELL},
    price_scale=10**9,
    zone="UTC",
    sequence="sequence",
)
BITSTAMP = L3Columns(
    time="timestamp",
    action="action",
    side="direction",
    price="price",
    size="volume",
    order_id="id",
    actions={"created": Action.ADD, "changed": Action.REPLACE, "deleted": Action.CANCEL},
    sides={"bid": Side.BUY, "ask": Side.SELL},
    price_scale=100,
    size_scale=10**5,
    time_unit=10**6,
    zone="UTC",
    round_up=True,
    late_rows=True,
)

_KEY = ["ts_event", "sequence", "action", "side", "price", "size"]  # of a Databento event
_TRADE = "T"
_DATABENTO_SIDES = {Side.BUY: "bid", Side.SELL: "ask"}
_SATOSHI = 10**8  # recorded volume units per coin
_BITSTAMP_SIDES = ("bids", "asks")  # rows of a book
_ORDER_EVENTS = ("order_created", "order_changed", "order_deleted")
_NOT_JSON = (ValueError, KeyError, TypeError, IndexError, RecursionError)


def read_databento_mbo(
    mbo_csv: str | os.PathLike[str], mbp_csv: str | os.PathLike[str] | None = None
) -> L3Data:
    """A Databento market-by-order file as book changes, times in UTC.

    A trade (T) and a fill (F) change nothing; the cancel (C) that follows does.

    Args:
      mbo_csv: records of one instrument.
      mbp_csv: market-by-price records of the same instrument and time; each is the book after the
        order record it shares time, sequence, action, side, price and size with. The books of
        trades are not compared: writers differ on whether they show what the trade left.

    Raises:
      InputError: as in `read_l3`; a book that belongs to no record, or has a price off the tick.
    """
    frame, origin = open_table(mbo_csv)
    table = l3_table(frame, origin, DATABENTO)
    data, last = columns_data(table, DATABENTO, resting=True, tick=None, venue="Databento")
    if mbp_csv is None:
        return data
    books, books_origin = open_table(mbp_csv)
    levels = sum(str(name).startswith("bid_px_") for name in books.columns)
    if levels == 0:
        raise InputError(f"{books_origin.source} has no columns bid_px_00 and so on, expected some")
    recorded = _databento_books(books, books_origin, levels, data.tick)
    row = _rows_of(frame, origin, books, books_origin)
    return data._replace(flow=data.flow._replace(check=_checks(last, row)), recorded=recorded)


def read_bitstamp(
    orders_csv: str | os.PathLike[str],
    log: str | os.PathLike[str] | None = None,
    *,
    columns: L3Columns = BITSTAMP,
) -> L3Data:
    """Bitstamp order events as book changes, times in UTC.

    Sizes of 1e-8 coins do not fit int32 shares; they are rounded up to units of 1e-5 coins, which
    holds orders of 21,474 coins. The record starts with an unknown book. Events can arrive out of
    order by a few ms, so an order may be created after it was deleted.

    Args:
      orders_csv: columns id, timestamp (ms), price, volume (1e-8 coins), action, direction.
      log: websocket log with lines `ms event json` of the same order events, between which lie the
        venue's own books (20 levels) and its trades.
      columns: what the columns mean, for another size unit.

    Raises:
      InputError: as in `read_l3`; a log that has other order events, or a line that is no event.
    """
    frame, origin = open_table(orders_csv)
    require_columns(frame, origin, [columns.size])
    coins = np.asarray(pd.to_numeric(frame[columns.size], errors="coerce")) / _SATOSHI
    table = l3_table(frame.assign(**{columns.size: coins}), origin, columns)
    data, last = columns_data(table, columns, resting=True, tick=1, venue="Bitstamp")
    if log is None:
        return data
    lines = _bitstamp_log(pathlib.Path(log))
    if not np.array_equal(lines.order_id, table.order_id):
        raise InputError(
            f"{log} has {len(lines.order_id)} order events, expected the {len(table.order_id)} of "
            f"{orders_csv} in the same order"
        )
    flow = data.flow._replace(check=_checks(last, np.asarray(lines.book_row, np.int64) - 1))
    recorded, trades = _bitstamp_books(lines, columns), _bitstamp_trades(lines, columns, table)
    return data._replace(flow=flow, recorded=recorded, trades=trades)


def _checks(last: np.ndarray, row: np.ndarray) -> np.ndarray:
    """`OrderFlow.check`: recorded book k holds after the last event of table row `row[k]`.

    Of several books after one event the last is kept; a book before any event is not compared.
    """
    check = np.full(int(last.max(initial=-1)) + 1, NO_CHECK, np.int32)
    event = np.where(row >= 0, last[np.maximum(row, 0)], -1)
    has_event = event >= 0
    check[event[has_event]] = np.flatnonzero(has_event)
    return check


def _databento_books(books: pd.DataFrame, origin: Origin, levels: int, tick: int) -> Recorded:
    """The recorded levels; an empty price is a level that does not exist."""
    shape = (len(books), 2, levels)
    cells = {field: np.zeros(shape, np.int64) for field in ("px", "sz", "ct")}
    scales = {"px": DATABENTO.price_scale, "sz": DATABENTO.size_scale, "ct": 1}
    for side, name in _DATABENTO_SIDES.items():
        for level in range(levels):
            columns = {field: f"{name}_{field}_{level:02d}" for field in cells}
            require_columns(books, origin, list(columns.values()))
            exists = np.asarray(pd.to_numeric(books[columns["sz"]], errors="coerce")) != 0
            for field, column in columns.items():
                found = units(origin, books[column], scales[field], exists)
                refuse(origin, exists & (found <= 0), column, found, "a positive number")
                cells[field][:, side, level] = np.where(exists, found, 0)
    off = (cells["px"] % tick != 0).any((1, 2))
    refuse(origin, off, "a price", cells["px"].max((1, 2)), f"multiples of the tick {tick}")
    narrow: Any = lambda x: np.ascontiguousarray(x, np.int32)
    price, size, orders = narrow(cells["px"] // tick), narrow(cells["sz"]), narrow(cells["ct"])
    return Recorded(host_l2(price, size), orders, np.ones(shape, bool))


def _rows_of(
    frame: pd.DataFrame, origin: Origin, books: pd.DataFrame, books_origin: Origin
) -> np.ndarray:
    """Row of the order record each book belongs to, `[books]` int64; -1 for a trade's."""
    require_columns(books, books_origin, _KEY)
    keys = [_event_keys(frame, origin), _event_keys(books, books_origin)]
    place = keys[0].assign(found=np.arange(len(frame)))
    found = keys[1].merge(place, on=list(keys[1].columns), how="left")["found"].to_numpy()
    trade = (books["action"] == _TRADE).to_numpy()
    lost = np.isnan(found) & ~trade
    refuse(books_origin, lost, "the record", books[_KEY[0]].to_numpy(), f"one of {origin.source}")
    return np.where(trade, -1, np.nan_to_num(found)).astype(np.int64)


def _event_keys(frame: pd.DataFrame, origin: Origin) -> pd.DataFrame:
    """What tells records apart; records alike in all of it are counted."""
    everywhere = np.ones(len(frame), bool)
    nowhere = ~everywhere
    keys = pd.DataFrame(
        {
            "stamp": stamps(origin, frame["ts_event"], None, DATABENTO.zone),
            "sequence": units(origin, frame["sequence"], 1, everywhere),
            "action": frame["action"].to_numpy(),
            "side": frame["side"].to_numpy(),
            "price": units(origin, frame["price"], DATABENTO.price_scale, nowhere),
            "size": units(origin, frame["size"], DATABENTO.size_scale, nowhere),
        }
    )
    return keys.assign(alike=keys.groupby(list(keys.columns)).cumcount())


class _Log(NamedTuple):
    """A Bitstamp websocket log."""

    path: pathlib.Path
    order_id: list[int]  # of the order events, in order
    books: list[list[list[tuple[float, float]]]]  # bids and asks of (price, coins) per book
    book_row: list[int]  # order events before each book
    book_line: list[int]  # line of the file, from 1
    trades: list[tuple[int, float, float]]  # ms since 1970, price, coins
    trade_line: list[int]


def _bitstamp_log(path: pathlib.Path) -> _Log:
    """Reads a log of lines `ms event json`."""
    log = _Log(path, [], [], [], [], [], [])
    for line, text in enumerate(read_bytes(path, "websocket log").splitlines(), 1):
        try:
            stamp, event, content = text.split(b" ", 2)
            found = json.loads(content)
            if event.decode() in _ORDER_EVENTS:
                log.order_id.append(int(found["id"]))
            elif event == b"trade":
                log.trades.append((int(stamp), float(found["price"]), float(found["amount"])))
                log.trade_line.append(line)
            elif event == b"order_book":
                book = [[(float(p), float(s)) for p, s in found[side]] for side in _BITSTAMP_SIDES]
                log.books.append(book)
                log.book_row.append(len(log.order_id))
                log.book_line.append(line)
            else:
                raise ValueError(f"unknown event {event.decode()}")
        except _NOT_JSON as error:
            raise InputError(
                f"{path}: line {line} is not a line of a Bitstamp log ({error}), expected a time "
                "in ms, an event and its JSON"
            ) from error
    return log


def _bitstamp_books(log: _Log, columns: L3Columns) -> Recorded:
    """The books of a log in ticks and size units."""
    levels = max((len(side) for book in log.books for side in book), default=1)
    cells = np.zeros((2, len(log.books), 2, levels))  # price or size, book, side, level
    for row, book in enumerate(log.books):
        for side, found in enumerate(book):
            cells[:, row, side, : len(found)] = np.reshape(found, (-1, 2)).T
    price, size = _bitstamp_units(log.path, log.book_line, cells, columns)
    return Recorded(host_l2(price, size), None, np.ones(price.shape, bool), columns.round_up)


def _bitstamp_trades(log: _Log, columns: L3Columns, table: L3Table) -> TradeReports:
    """The trades of a log in ticks and size units."""
    trades = np.reshape(log.trades, (-1, 3))
    price, size = _bitstamp_units(log.path, log.trade_line, trades[:, 1:].T, columns)
    millis = pd.Series(trades[:, 0].astype(np.int64), name="time")
    origin = Origin(str(log.path), np.asarray(log.trade_line))
    stamp = stamps(origin, millis, columns.time_unit, columns.zone) - table.midnight
    return TradeReports(host_time(stamp // NANOS, stamp % NANOS), price, size)


def _bitstamp_units(
    path: pathlib.Path, line: list[int], cells: np.ndarray, columns: L3Columns
) -> list[np.ndarray]:
    """(price, size) `[2, entries, …]` in currency and coins as int32 ticks and size units."""
    per_entry = int(np.prod(cells.shape[2:]))
    origin = Origin(str(path), np.repeat(np.asarray(line, np.int64), per_entry))
    everywhere = np.ones(len(origin.row), bool)
    grids = (("price", columns.price_scale, False), ("size", columns.size_scale, columns.round_up))
    whole = []
    for (name, scale, round_up), values in zip(grids, cells, strict=True):
        found = pd.Series(values.reshape(-1), name=name)
        number = units(origin, found, scale, everywhere, round_up)
        refuse(origin, (number < 0) | (number > MAX_SIZE), name, number, f"0 to {MAX_SIZE} units")
        whole.append(number.astype(np.int32).reshape(values.shape))
    return whole
