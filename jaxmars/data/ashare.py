"""Readers of Chinese A-share files: executions with snapshots, and orders with executions.

Both numbers of an execution count orders in the order of their arrival, so the order with the
larger number came later and took the liquidity (realism spec 1.2). In a call auction nobody did.

| files | the flow |
|---|---|
| executions, 5-level snapshots (`read_ashare`) | one MARKET order per aggressor, no limit orders |
| orders, executions, cancels (`read_ashare_orders`) | every order; book changes or orders |
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.config import Calendar, PhaseKind
from jaxmars.data.l3 import Action, L3Table, l3_data
from jaxmars.data.lobster import NANOS, host_l2
from jaxmars.data.orderflow import (
    NO_CHECK,
    L3Data,
    OrderFlow,
    Recorded,
    TradeReports,
    host_order,
    host_time,
)
from jaxmars.data.tables import mapped, open_table, require_columns, stamps, units
from jaxmars.data.validate import MAX_SIZE, Origin, refuse, refuse_backwards
from jaxmars.types import Kind, Side, Time

PRICE_SCALE = 100  # price units (0.01 CNY) per CNY
LEVELS = 5  # of a snapshot

_DAY = 86_400 * NANOS
_EXECUTION_COLUMNS = ("timestamp", "bid_uid", "ask_uid", "price", "volume")
_ORDERS_FIRST = 0  # place of orders among rows of one time; executions come after them
_SNAPSHOT_SIDES = {Side.BUY: "bid", Side.SELL: "ask"}

Table = pd.DataFrame | str | os.PathLike[str]


class AShareDay(NamedTuple):
    """Executions and snapshots of a day. Numpy arrays on the host."""

    data: L3Data  # trades are all executions; recorded are the snapshots
    snapshot_time: Time  # fields [rows] int32, of each recorded book
    snapshot_volume: np.ndarray  # [rows] int64, shares traded since the snapshot before

    def executed_volume(self) -> np.ndarray:
        """`[rows]` int64, shares of the executions after one snapshot and up to the next.

        In a whole record equal to `snapshot_volume`, row by row.
        """
        trades = self.data.trades
        assert trades is not None, "the reader gives them"
        ends = _nanos(self.snapshot_time)
        row = np.searchsorted(ends, _nanos(trades.time), "left")
        inside = row < len(ends)
        executed = np.zeros(len(ends), np.int64)
        np.add.at(executed, row[inside], trades.size[inside])
        return executed


def read_ashare(transactions_csv: Table, ticks_csv: Table) -> AShareDay:
    """Executions and snapshots of one stock and day.

    The flow holds what can be known without an order file: of every aggressor in continuous
    trading one MARKET order of all the shares it took at once, with its number as order id.
    It cannot be replayed against the snapshots, and nothing is checked.

    Args:
      transactions_csv: timestamp, bid_uid, ask_uid, price, volume (shares).
      ticks_csv: timestamp, volume (of the interval), and bid_price_1, bid_volume_1, ask_price_1,
        ask_volume_1 to level 5.

    Raises:
      InputError: a file that cannot be read, a missing column, a cell that is no positive number,
        or a clock that goes back.
    """
    frame, origin = open_table(transactions_csv)
    require_columns(frame, origin, list(_EXECUTION_COLUMNS))
    everywhere = np.ones(len(frame), bool)
    stamp = stamps(origin, frame["timestamp"], None, None)
    refuse_backwards(origin, "timestamp", stamp, frame["timestamp"])
    column = lambda name, scale=1: _positive(origin, frame, name, scale, everywhere)
    buyer, seller = column("bid_uid"), column("ask_uid")
    price, size = column("price", PRICE_SCALE), column("volume")
    midnight = stamp[0] // _DAY * _DAY
    stamp = stamp - midnight
    books, books_origin = open_table(ticks_csv)
    recorded, ends, volume = _snapshots(books, books_origin)
    data = L3Data(
        venue="A-share executions",
        flow=_aggressors(origin, stamp, buyer, seller, price, size),
        recorded=recorded,
        start=None,
        tick=1,
        price_scale=PRICE_SCALE,
        size_scale=1,
        ids=np.zeros(0, np.int64),
        resting=False,
        trades=_reports(stamp, price, size),
    )
    ends = ends - midnight
    return AShareDay(data, host_time(ends // NANOS, ends % NANOS), volume)


@dataclasses.dataclass(frozen=True)
class AShareColumns:
    """Columns of an order table and an execution table, as Shenzhen publishes them.

    Attributes:
      order_time, order_number, order_side, order_price, order_size, order_kind: of the orders.
      trade_time, buy_number, sell_number, trade_price, trade_size, flag: of the executions; of a
        cancel the number of the other side is 0.
      order_sequence, trade_sequence: columns of one numbering of both tables, which orders rows of
        one time; None where there is none, then orders come before executions.
      order_kinds: codes of `order_kind`: ADD for an order with a price, MARKET for one without.
      sides: codes of `order_side`.
      fill, cancel: codes of `flag`.
      time_unit, zone: as in `L3Columns`.
    """

    order_time: str = "time"
    order_number: str = "order_number"
    order_side: str = "side"
    order_price: str = "price"
    order_size: str = "size"
    order_kind: str = "order_type"
    trade_time: str = "time"
    buy_number: str = "buy_number"
    sell_number: str = "sell_number"
    trade_price: str = "price"
    trade_size: str = "size"
    flag: str = "flag"
    order_sequence: str | None = None
    trade_sequence: str | None = None
    order_kinds: Mapping[str, Action] = dataclasses.field(
        default_factory=lambda: {"1": Action.MARKET, "2": Action.ADD, "U": Action.ADD}
    )
    sides: Mapping[str, Side] = dataclasses.field(
        default_factory=lambda: {"B": Side.BUY, "S": Side.SELL, "1": Side.BUY, "2": Side.SELL}
    )
    fill: str = "F"
    cancel: str = "C"
    time_unit: int | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        if (self.order_sequence is None) != (self.trade_sequence is None):
            raise ValueError("columns must name a sequence in both tables or in none, got one")


def read_ashare_orders(
    orders: Table, trades: Table, columns: AShareColumns, *, resting: bool
) -> L3Data:
    """An A-share day from its order table and its table of executions and cancels.

    Args:
      orders: one row per order.
      trades: one row per execution and per cancel.
      columns: what their columns mean.
      resting: True gives book changes: every order with a price rests, and an execution takes its
        shares from both orders; good for the whole day with its call auctions. False gives the
        orders and cancels, and the executions follow from matching; for continuous trading.

    Returns:
      The record; `trades` are the executions. A market order never rests in book changes, and
      whatever the exchange makes of its rest is not in the tables.

    Raises:
      InputError: as in `read_l3`; an unknown flag, or a cancel of no order or of two.
    """
    sent = _order_rows(*open_table(orders), columns)
    unpriced = sent.order_id[sent.action == Action.MARKET]
    done, reports = _trade_rows(*open_table(trades), columns, resting)
    if resting:
        sent = sent._replace(action=np.where(sent.action == Action.ADD, Action.ADD, Action.IGNORE))
        never_rested = np.isin(done.order_id, unpriced)
        done = done._replace(action=np.where(never_rested, Action.IGNORE, done.action))
    midnight = min(int(sent.stamp[0]), int(done.stamp[0])) // _DAY * _DAY
    stamp, place, *cells = (np.concatenate(x) for x in zip(sent, done, strict=True))
    by_time = np.lexsort((place, stamp))
    action, side, price, size, order_id, row = (x[by_time] for x in cells)
    table = L3Table(
        origin=Origin("the orders and executions", row),
        midnight=midnight,
        stamp=stamp[by_time] - midnight,
        action=action,
        side=side,
        price=price,
        size=size,
        order_id=order_id,
    )
    data, _ = l3_data(
        table, resting=resting, tick=1, venue="A-share orders", price_scale=PRICE_SCALE
    )
    reported = _reports(reports.stamp - midnight, reports.price, reports.size)
    return data._replace(trades=reported)


class _Rows(NamedTuple):
    """Rows of one table as rows of an `L3Table`. Fields [rows] int64."""

    stamp: np.ndarray  # nanoseconds
    place: np.ndarray  # among rows of one time
    action: np.ndarray
    side: np.ndarray
    price: np.ndarray
    size: np.ndarray
    order_id: np.ndarray
    row: np.ndarray  # of the file


def _order_rows(frame: pd.DataFrame, origin: Origin, columns: AShareColumns) -> _Rows:
    wanted = ("time", "number", "side", "price", "size", "kind", "sequence")
    names = {what: getattr(columns, f"order_{what}") for what in wanted}
    require_columns(frame, origin, [name for name in names.values() if name is not None])
    everywhere = np.ones(len(frame), bool)
    action = mapped(origin, frame[names["kind"]], columns.order_kinds, everywhere)
    priced = action == Action.ADD
    cells, expected = frame[names["price"]], "a positive price of an order"
    price = units(origin, cells, PRICE_SCALE, priced, expected=expected)
    refuse(origin, priced & (price <= 0), names["price"], cells.to_numpy(), expected)
    return _Rows(
        stamp=_forward(origin, frame, names["time"], columns),
        place=_places(origin, frame, names["sequence"], _ORDERS_FIRST),
        action=action,
        side=mapped(origin, frame[names["side"]], columns.sides, everywhere),
        price=np.where(priced, price, 0),
        size=_positive(origin, frame, names["size"], 1, everywhere),
        order_id=_positive(origin, frame, names["number"], 1, everywhere),
        row=origin.row,
    )


def _trade_rows(
    frame: pd.DataFrame, origin: Origin, columns: AShareColumns, resting: bool
) -> tuple[_Rows, _Rows]:
    """Executions and cancels as rows; and the executions alone, one row each.

    In book changes an execution is two rows, one for each order it takes shares from.
    """
    names = [columns.trade_time, columns.trade_price, columns.trade_size, columns.flag]
    numbers = [columns.buy_number, columns.sell_number]
    require_columns(frame, origin, names + numbers)
    everywhere = np.ones(len(frame), bool)
    flags = {columns.fill: Action.TRADE, columns.cancel: Action.REDUCE}
    action = mapped(origin, frame[columns.flag], flags, everywhere)
    fill = action == Action.TRADE
    buyer, seller = (units(origin, frame[name], 1, fill) for name in numbers)
    wrong = np.where(fill, np.minimum(buyer, seller) <= 0, (buyer > 0) == (seller > 0))
    shown = [f"{b} and {s}" for b, s in zip(buyer, seller, strict=True)]
    refuse(origin, wrong, " and ".join(numbers), shown, "two orders of a fill, one of a cancel")
    price = np.where(fill, _positive(origin, frame, columns.trade_price, PRICE_SCALE, fill), 0)
    rows = _Rows(
        stamp=_forward(origin, frame, columns.trade_time, columns),
        place=_places(origin, frame, columns.trade_sequence, _ORDERS_FIRST + 1),
        action=action,
        side=np.where(buyer > seller, Side.BUY, Side.SELL),
        price=price,
        size=_positive(origin, frame, columns.trade_size, 1, everywhere),
        order_id=np.maximum(buyer, seller),
        row=origin.row,
    )
    fills = _Rows(*(x[fill] for x in rows))
    if not resting:
        return rows._replace(order_id=np.where(fill, 0, rows.order_id)), fills
    both = np.repeat(np.arange(len(frame)), np.where(fill, 2, 1))  # rows, fills twice
    other = np.append(False, both[1:] == both[:-1])  # the second of two takes from the older order
    pairs = _Rows(*(x[both] for x in rows))
    return pairs._replace(
        action=np.full(len(both), Action.REDUCE, np.int64),
        side=np.where(other, 1 - pairs.side, pairs.side),
        order_id=np.where(other, np.minimum(buyer, seller)[both], pairs.order_id),
    ), fills


def _places(origin: Origin, frame: pd.DataFrame, name: str | None, otherwise: int) -> np.ndarray:
    """Place of each row among those of one time: its sequence, or that of its table."""
    if name is None:
        return np.full(len(frame), otherwise, np.int64)
    require_columns(frame, origin, [name])
    sequence = units(origin, frame[name], 1, np.ones(len(frame), bool))
    refuse_backwards(origin, name, sequence)
    return sequence


def _forward(origin: Origin, frame: pd.DataFrame, name: str, columns: AShareColumns) -> np.ndarray:
    """The clock of a table, which must not go back."""
    stamp = stamps(origin, frame[name], columns.time_unit, columns.zone)
    refuse_backwards(origin, name, stamp, frame[name])
    return stamp


def _positive(
    origin: Origin, frame: pd.DataFrame, name: str, scale: int, needed: np.ndarray
) -> np.ndarray:
    """A column of positive int32 numbers, whole or in prices (`PRICE_SCALE`), `[rows]` int64."""
    expected = f"a number from 1 to {MAX_SIZE}"
    if scale == PRICE_SCALE:
        expected = f"a positive price up to {MAX_SIZE / PRICE_SCALE}"
    found = units(origin, frame[name], scale, needed, expected=expected)
    bad = needed & ((found <= 0) | (found > MAX_SIZE))
    refuse(origin, bad, name, frame[name].to_numpy(), expected)
    return found


def _nanos(time: Time) -> np.ndarray:
    return np.asarray(time.sec, np.int64) * NANOS + np.asarray(time.nsec)


def _reports(stamp: np.ndarray, price: np.ndarray, size: np.ndarray) -> TradeReports:
    narrow: Any = lambda x: np.ascontiguousarray(x, np.int32)
    return TradeReports(host_time(stamp // NANOS, stamp % NANOS), narrow(price), narrow(size))


def _aggressors(
    origin: Origin,
    stamp: np.ndarray,
    buyer: np.ndarray,
    seller: np.ndarray,
    price: np.ndarray,
    size: np.ndarray,
) -> OrderFlow:
    """Executions in a row of one time and aggressor as one order; none of a call auction."""
    auction = np.zeros(len(stamp), bool)
    for phase in Calendar.chinese_a_share().phases:  # a moment two share belongs to the later
        inside = (stamp >= phase.start * NANOS) & (stamp <= phase.end * NANOS)
        auction = np.where(inside, phase.kind == PhaseKind.AUCTION, auction)
    taken = np.flatnonzero(~auction)
    number = np.maximum(buyer, seller)[taken]
    change = (np.diff(number) != 0) | (np.diff(stamp[taken]) != 0)
    first = np.flatnonzero(np.append(len(taken) > 0, change))
    last = np.append(first[1:], len(taken))[: len(first)] - 1
    shares = np.add.reduceat(size[taken], first) if len(first) else np.zeros(0, np.int64)
    at = taken[last]
    order_origin = Origin(origin.source, origin.row[at])
    refuse(order_origin, shares > MAX_SIZE, "the size of an order", shares, f"at most {MAX_SIZE}")
    return OrderFlow(
        time=host_time(stamp[at] // NANOS, stamp[at] % NANOS),
        order=host_order(
            np.full(len(at), Kind.MARKET),
            np.where(buyer[at] > seller[at], Side.BUY, Side.SELL),
            price[at],
            shares,
            number[last],
        ),
        check=np.full(len(at), NO_CHECK, np.int32),
    )


def _snapshots(frame: pd.DataFrame, origin: Origin) -> tuple[Recorded, np.ndarray, np.ndarray]:
    """The books, their times (nanoseconds) and the shares traded before each."""
    require_columns(frame, origin, ["timestamp", "volume"])
    everywhere = np.ones(len(frame), bool)
    stamp = stamps(origin, frame["timestamp"], None, None)
    refuse_backwards(origin, "timestamp", stamp, frame["timestamp"])
    volume = units(origin, frame["volume"], 1, everywhere)
    cells = np.zeros((2, len(frame), 2, LEVELS), np.int32)  # price or size, row, side, level
    for side, name in _SNAPSHOT_SIDES.items():
        for level in range(LEVELS):
            columns = [f"{name}_{field}_{level + 1}" for field in ("price", "volume")]
            require_columns(frame, origin, columns)
            for field, column, scale in zip((0, 1), columns, (PRICE_SCALE, 1), strict=True):
                found = units(origin, frame[column], scale, everywhere)
                bad = (found < 0) | (found > MAX_SIZE)
                expected = f"a number from 0 to {MAX_SIZE / scale:.{len(str(scale)) - 1}f}"
                refuse(origin, bad, column, frame[column].to_numpy(), expected)
                cells[field, :, side, level] = found
    known = np.ones(cells.shape[1:], bool)
    return Recorded(host_l2(cells[0], cells[1]), None, known), stamp, volume
