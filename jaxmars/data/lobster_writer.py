"""Trajectories as LOBSTER message and book files, for tools that read those.

| event | rows |
|---|---|
| shares it traded | type 4, one row per resting order it met; one row in all, at the last price |
| | and under its own id, where `event.trades` does not hold them all |
| what came to rest of a limit or post-only order | type 1 |
| cancel | type 3 if the order is gone, type 2 if some of it is left |
| rejected, without effect, or behind the last level | none, as in LOBSTER's own files |

The book file holds the book after each row, so also between the rows of one event. Which orders
are gone is known of those that came to rest in the trajectory and whose fills are recorded; a
cancel of any other counts as type 3. Auctions and self-trade rules have no LOBSTER form.
"""

import datetime
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv

from jaxmars.data.lobster import DAY_SECONDS, MessageType
from jaxmars.errors import InputError
from jaxmars.files import write_together
from jaxmars.types import L2, REJECTING, Event, Kind, Side, Status, Trades

_NO_PRICE = 9_999_999_999  # of a level that does not exist, negative on the bid side
_MILLISECONDS = 1000
_TICKER = re.compile(r"[A-Za-z0-9.\-]{1,20}")
_RESTING_KINDS = (Kind.LIMIT, Kind.POST_ONLY)


class _Row(NamedTuple):
    """One line of the message file."""

    event: int  # that it comes from
    type: int  # MessageType
    order_id: int
    size: int  # shares
    price: int  # ticks
    side: int  # Side of the resting order


class _Shown(NamedTuple):
    """One event as numbers."""

    kind: int
    side: int
    price: int
    size: int
    order_id: int
    filled: int
    last_price: int


def write_lobster(
    folder: pathlib.Path,
    ticker: str,
    date: datetime.date,
    event: Event,
    l2: L2,
    tick: int,
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a trajectory as a pair of LOBSTER files, both or neither.

    Args:
      folder: made if absent.
      ticker: letters, digits, dots and hyphens.
      date: of the trading day.
      event: fields `[events]`, in time order.
      l2: price, size `[events, 2, levels]`, the book after each event.
      tick: LOBSTER price units (1e-4 of the currency) per tick.

    Returns:
      The paths of the message file and of the book file, named
      `TICKER_DATE_START_END_message_LEVELS.csv` with the whole seconds around the events, in
      milliseconds after midnight.

    Raises:
      InputError: a ticker, tick or shape that is not possible, no row to write, or an event that
        LOBSTER files cannot hold: one of an auction, one to which a self-trade rule was applied,
        or one after midnight.
    """
    if not _TICKER.fullmatch(ticker):
        raise InputError(f"ticker is {ticker!r:.40}, expected letters, digits, dots and hyphens")
    if tick <= 0:
        raise InputError(f"tick is {tick}, expected a positive number of 1e-4 currency")
    book = L2(*(_host(x) for x in l2))
    _check(event, book)
    rows, between = _rows(event, book)
    if not rows:
        raise InputError("no event changes the book, expected at least one to write")
    columns = np.array(rows, np.int64)
    at = columns[:, _Row._fields.index("event")]
    sec, nsec = (_host(x)[at] for x in event.time)
    start, end = int(sec[0]), int(sec[-1]) + bool(nsec[-1])
    stem = f"{ticker}_{date.isoformat()}_{start * _MILLISECONDS}_{end * _MILLISECONDS}"
    levels = book.price.shape[2]
    names = [f"{stem}_{kind}_{levels}.csv" for kind in ("message", "orderbook")]
    messages = _message_table(columns, sec, nsec, tick)
    books = _book_table(book, at, between, tick)
    write_together(
        folder,
        {
            names[0]: lambda path: _write_table(messages, path),
            names[1]: lambda path: _write_table(books, path),
        },
    )
    return folder / names[0], folder / names[1]


def _host(array: Any) -> Any:
    """A numpy array; fields of orders and books are annotated for the device."""
    return np.asarray(array)


def _check(event: Event, l2: L2) -> None:
    """Refuses what LOBSTER files cannot hold."""
    events = len(_host(event.kind))
    if l2.price.shape != l2.size.shape or l2.price.shape[:2] != (events, 2):
        raise InputError(
            f"the books have shape {list(l2.price.shape)}, expected [{events}, 2, levels]: one "
            "after each event"
        )
    bid, ask = l2.price[:, Side.BUY, 0], l2.price[:, Side.SELL, 0]
    reasons = {
        "is an auction": _host(event.kind) == Kind.UNCROSS,
        "met the self-trade rule": (_host(event.status) & Status.SELF_TRADE) != 0,
        "leaves the book locked or crossed": (bid >= ask) & (bid > 0) & (ask > 0),
        f"comes after {DAY_SECONDS} seconds": _host(event.time.sec) >= DAY_SECONDS,
    }
    for reason, bad in reasons.items():
        if bad.any():
            raise InputError(
                f"event {int(bad.argmax())} {reason}, expected events of continuous trading on one "
                "day, all that LOBSTER files can hold"
            )


def _rows(event: Event, l2: L2) -> tuple[list[_Row], dict[int, L2]]:
    """Message rows, and the books after those rows that do not complete an event."""
    kept = (_host(event.kind) != Kind.NONE) & ((_host(event.status) & REJECTING) == 0)
    columns = zip(*(_host(getattr(event, name)).tolist() for name in _Shown._fields), strict=True)
    trades = Trades(*(_host(x) for x in event.trades))
    left: dict[int, int] = {}  # shares of the orders that came to rest
    rows: list[_Row] = []
    between: dict[int, L2] = {}
    for number, shown in enumerate(columns):
        if not kept[number]:
            continue
        order = _Shown(*shown)
        inside = order.filled or _is_inside(l2, number, order)
        if order.kind == Kind.CANCEL:
            cancel = _cancel(number, order, left)
            rows += [cancel] if inside else []
            continue
        made = _executions(number, order, trades, left)
        rest = order.size - order.filled if order.kind in _RESTING_KINDS else 0
        if rest:
            left[order.order_id] = rest
            new = _Row(number, MessageType.NEW, order.order_id, rest, order.price, order.side)
            made += [new] if inside else []
        for done in range(1, len(made)):
            between[len(rows) + done - 1] = _book_before(l2, number, made[done:], order.side)
        rows += made
    return rows, between


def _is_inside(l2: L2, number: int, order: _Shown) -> bool:
    """Whether a price is not behind the last level of its side."""
    last = int(l2.price[number, order.side, -1])
    missing = int(l2.size[number, order.side, -1]) == 0
    behind = order.price < last if order.side == Side.BUY else order.price > last
    return missing or not behind


def _cancel(number: int, order: _Shown, left: dict[int, int]) -> _Row:
    """A cancel, and what it leaves."""
    remains = left.pop(order.order_id, order.size) - order.size
    if remains > 0:
        left[order.order_id] = remains
    kind = MessageType.PARTIAL_CANCEL if remains > 0 else MessageType.DELETE
    return _Row(number, kind, order.order_id, order.size, order.price, order.side)


def _executions(number: int, order: _Shown, trades: Trades, left: dict[int, int]) -> list[_Row]:
    """The executions of an order, and what they leave of the orders it met."""
    if not order.filled:
        return []
    resting = 1 - order.side
    sizes = trades.size[number].tolist()
    if sum(sizes) != order.filled:
        price = order.last_price
        return [_Row(number, MessageType.EXECUTION, order.order_id, order.filled, price, resting)]
    met = zip(trades.order_id[number].tolist(), sizes, trades.price[number].tolist(), strict=True)
    made = [
        _Row(number, MessageType.EXECUTION, order_id, size, price, resting)
        for order_id, size, price in met
        if size
    ]
    for row in made:
        if row.order_id in left:
            left[row.order_id] -= row.size
    return made


def _book_before(l2: L2, number: int, later: list[_Row], own: int) -> L2:
    """The book before the `later` rows of an event, `[2, levels]`.

    What they took goes back to the opposite side. The order's own side is that before the event,
    because only its last row changes it.
    """
    price, size = l2.price[number].copy(), l2.size[number].copy()
    levels = price.shape[1]
    opposite = dict(zip(price[1 - own].tolist(), size[1 - own].tolist(), strict=True))
    for row in later:
        if row.type == MessageType.EXECUTION:
            opposite[row.price] = opposite.get(row.price, 0) + row.size
    found = sorted(((p, s) for p, s in opposite.items() if s), reverse=own == Side.SELL)[:levels]
    for level in range(levels):
        there = found[level] if level < len(found) else (0, 0)
        price[1 - own, level], size[1 - own, level] = there
    if number:
        price[own], size[own] = l2.price[number - 1, own], l2.size[number - 1, own]
    elif later[-1].type == MessageType.NEW:
        size[own, price[own] == later[-1].price] -= later[-1].size
        order = np.argsort(size[own] == 0, stable=True)
        price[own], size[own] = np.where(size[own] > 0, price[own], 0)[order], size[own][order]
    return L2(price, size)


def _message_table(rows: np.ndarray, sec: np.ndarray, nsec: np.ndarray, tick: int) -> pa.Table:
    """The message file: six columns."""
    time = [f"{s}.{n:09d}" for s, n in zip(sec.tolist(), nsec.tolist(), strict=True)]
    column = dict(zip(_Row._fields, rows.T, strict=True))
    cells = {"time": pa.array(time)}
    cells |= {name: pa.array(column[name]) for name in ("type", "order_id", "size")}
    cells["price"] = pa.array(column["price"] * tick)
    cells["direction"] = pa.array(np.where(column["side"] == Side.BUY, 1, -1))
    return pa.table(cells)


def _book_table(l2: L2, event: np.ndarray, between: dict[int, L2], tick: int) -> pa.Table:
    """The book file: ask price, ask size, bid price, bid size of each level."""
    price, size = (_host(x)[event].astype(np.int64) for x in l2)
    for row, book in between.items():
        price[row], size[row] = book
    dummy = np.array([-_NO_PRICE, _NO_PRICE])[:, None]
    price = np.where(size > 0, price * tick, dummy)
    cells = {
        f"{name} {level}": column[:, side, level]
        for level in range(price.shape[2])
        for side in (Side.SELL, Side.BUY)
        for name, column in ((f"{side.name} price", price), (f"{side.name} size", size))
    }
    return pa.table({name: np.ascontiguousarray(column) for name, column in cells.items()})


def _write_table(table: pa.Table, path: pathlib.Path) -> None:
    csv.write_csv(table, path, csv.WriteOptions(include_header=False, quoting_style="none"))
