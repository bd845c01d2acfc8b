"""Any order-by-order table as an order flow: the columns are named, the codes are mapped.

| action | what the row says | in the flow |
|---|---|---|
| ADD | an order of `size` at `price` | LIMIT |
| MARKET | an order of `size` at any price | MARKET |
| REDUCE | `size` of the order is gone | CANCEL of it |
| CANCEL | the order is gone | CANCEL of all that was left of it |
| REPLACE | the order now has this `price` and `size` | the same order smaller: CANCEL of the |
| | | difference; else CANCEL of the old one, LIMIT of the new one |
| CLEAR | the book is empty | CANCEL of every order |
| TRADE, IGNORE | nothing that changes the book | NONE; a TRADE keeps price and size |

A row that changes nothing is a NONE, so that every row has an event. Orders from before the record
are unknown: a CANCEL or REDUCE of one stays in the flow and finds
nothing to cancel, a REPLACE makes it known.
"""

import dataclasses
import enum
import os
import zoneinfo
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxmars.book import MAX_PRICE
from jaxmars.data.lobster import NANOS
from jaxmars.data.orderflow import NO_CHECK, L3Data, OrderFlow, host_order, host_time
from jaxmars.data.tables import mapped, open_table, require_columns, stamps, units
from jaxmars.data.validate import MAX_SIZE, Origin, refuse, refuse_backwards, validate
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side

MAX_SECONDS = 2**31 - 1  # since the first midnight

_DAY = 86_400 * NANOS  # nanoseconds
_EVENT_FIELDS = ("row", "kind", "side", "price", "size", "order_id")
_POSITIVE_PRICE = "a positive price"
_UNKNOWN_SIZE = 1  # of a cancel that does not say what it takes and finds nothing


class Action(enum.IntEnum):
    """What a row says (table at the top of this file)."""

    IGNORE = 0
    ADD = 1
    MARKET = 2
    REDUCE = 3
    CANCEL = 4
    REPLACE = 5
    CLEAR = 6
    TRADE = 7


_PRICED = (Action.ADD, Action.REPLACE)  # rows that must have a price
_SIZED = (Action.ADD, Action.MARKET, Action.REDUCE, Action.REPLACE)  # and a size
_NAMED = (*_SIZED, Action.CANCEL)  # and a side and an order id


@dataclasses.dataclass(frozen=True)
class L3Columns:
    """The columns of an order-by-order table, and how they are meant.

    Attributes:
      time, action, side, price, size, order_id: names of the columns.
      actions: what each code of the action column means.
      sides: what each code of the side column means; for a cancel the side of the resting order.
      price_scale: price units per unit of currency; every price is a multiple of one unit.
      size_scale: size units per share or coin.
      time_unit: nanoseconds per unit of a numeric time; None for ISO 8601 text.
      zone: zone of the exchange clock, to which absolute times (since 1970, or text with an
        offset) are converted; None where the times are on that clock already.
      sequence: a column that must not go back either; None without one.
      round_up: sizes between two size units are rounded up instead of refused. Only where rows say
        what is left of an order, never what is gone (REDUCE).
      late_rows: rows of an order can come after its CANCEL and then change nothing. Only where no
        id is given twice.
    """

    time: str
    action: str
    side: str
    price: str
    size: str
    order_id: str
    actions: Mapping[str, Action]
    sides: Mapping[str, Side]
    price_scale: int = 100
    size_scale: int = 1
    time_unit: int | None = None
    zone: str | None = None
    sequence: str | None = None
    round_up: bool = False
    late_rows: bool = False

    def __post_init__(self) -> None:
        for name in ("price_scale", "size_scale", "time_unit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"columns {name} must be positive, got {value}")
        try:
            zoneinfo.ZoneInfo(self.zone or "UTC")
        except (KeyError, OSError, ValueError):
            raise ValueError(
                f"columns zone must be a time zone such as UTC, got {self.zone!r}"
            ) from None
        if self.round_up and Action.REDUCE in self.actions.values():
            raise ValueError("columns round_up must be off where rows REDUCE an order, got both")


class L3Table(NamedTuple):
    """The rows of a table in integers. Numpy arrays on the host."""

    origin: Origin
    midnight: int  # nanoseconds since 1970 of the first day on the exchange clock; 0 without dates
    stamp: np.ndarray  # [rows] int64, nanoseconds since that midnight
    action: np.ndarray  # [rows] int64, Action
    side: np.ndarray  # [rows] int64, Side; BUY where the action has none
    price: np.ndarray  # [rows] int64, price units; 0 where the action has none
    size: np.ndarray  # [rows] int64, size units; 0 where the action has none
    order_id: np.ndarray  # [rows] int64, as recorded; 0 where the action has none


def read_l3(
    table: pd.DataFrame | str | os.PathLike[str],
    columns: L3Columns,
    *,
    resting: bool,
    tick: int | None = None,
    venue: str = "L3 table",
) -> L3Data:
    """An order flow from any order-by-order table.

    Args:
      table: a frame, or a file with a header: .csv, .csv.gz, .csv.xz, .zip of one, or .parquet.
      columns: what its columns mean.
      resting: the rows are book changes, as venues publish them; False if they are the orders that
        were sent and trades follow from matching (see `jaxmars.data.orderflow`). What is left of
        an order is not known then, so CANCEL and REPLACE are refused: such rows must say what they
        take out (REDUCE).
      tick: price units per tick; by default the greatest common divisor of all prices.
      venue: name of the source, for reports.

    Returns:
      The record, without books of the venue. Ids are as recorded where all are positive int32,
      else their rank among those of the record, from 1.

    Raises:
      InputError: a file that cannot be read, a missing column, an unknown code, a cell that is no
        number or off the grid, or what `jaxmars.data.validate` refuses.
    """
    rows = l3_table(*open_table(table), columns)
    return columns_data(rows, columns, resting=resting, tick=tick, venue=venue)[0]


def columns_data(
    rows: L3Table, columns: L3Columns, *, resting: bool, tick: int | None, venue: str
) -> tuple[L3Data, np.ndarray]:
    """`l3_data` of a table that was read with these columns."""
    return l3_data(
        rows,
        resting=resting,
        tick=tick,
        venue=venue,
        price_scale=columns.price_scale,
        size_scale=columns.size_scale,
        late_rows=columns.late_rows,
    )


def l3_data(
    table: L3Table,
    *,
    resting: bool,
    tick: int | None,
    venue: str,
    price_scale: int = 1,
    size_scale: int = 1,
    late_rows: bool = False,
) -> tuple[L3Data, np.ndarray]:
    """`read_l3` from the rows in integers, for the readers of single venues.

    Args:
      table: the rows.
      resting, tick, venue: as in `read_l3`.
      price_scale, size_scale, late_rows: as in `L3Columns`.

    Returns:
      The record; and the last event at or before each row, `[rows]` int64, -1 before any.
    """
    if not resting:
        unclear = np.isin(table.action, (Action.CANCEL, Action.REPLACE))
        expected = "one that says what it takes out, as trades are not in the table"
        refuse(table.origin, unclear, "action", _names(table.action), expected)
    tick = _tick(table, tick)
    row, kind, side, price, size, recorded_id = _events(table, late_rows).T
    ids, order_id = _small_ids(recorded_id)
    origin = Origin(table.origin.source, table.origin.row[row])
    price, sec = price // tick, table.stamp[row] // NANOS
    refuse(origin, size > MAX_SIZE, "size", size, f"at most {MAX_SIZE} size units")
    refuse(origin, price >= MAX_PRICE, "price", price, f"fewer than {MAX_PRICE} ticks")
    refuse(origin, sec > MAX_SECONDS, "time", sec, "less than 68 years after the first row")
    flow = OrderFlow(
        time=host_time(sec, table.stamp[row] % NANOS),
        order=host_order(kind, side, price, size, order_id),
        check=np.full(len(row), NO_CHECK, np.int32),
    )
    validate(flow, resting=resting, origin=origin, recorded=recorded_id)
    data = L3Data(
        venue=venue,
        flow=flow,
        recorded=None,
        start=None,
        tick=tick,
        price_scale=price_scale,
        size_scale=size_scale,
        ids=ids,
        resting=resting,
    )
    return data, np.searchsorted(row, np.arange(len(table.stamp)), "right") - 1


def l3_table(frame: pd.DataFrame, origin: Origin, columns: L3Columns) -> L3Table:
    """The rows of a table in integers; see `read_l3` for what is refused."""
    names = ("time", "action", "side", "price", "size", "order_id", "sequence")
    wanted = [getattr(columns, name) for name in names if getattr(columns, name) is not None]
    require_columns(frame, origin, wanted)
    action = mapped(origin, frame[columns.action], columns.actions, np.ones(len(frame), bool))
    named = np.isin(action, _NAMED)
    traded = action == Action.TRADE
    side = mapped(origin, frame[columns.side], columns.sides, named)
    priced = np.isin(action, _PRICED)
    price = units(
        origin, frame[columns.price], columns.price_scale, priced, expected=_POSITIVE_PRICE
    )
    size = units(
        origin, frame[columns.size], columns.size_scale, np.isin(action, _SIZED), columns.round_up
    )
    stamp = stamps(origin, frame[columns.time], columns.time_unit, columns.zone)
    order_id = units(origin, frame[columns.order_id], 1, named)
    refuse_backwards(origin, columns.time, stamp, frame[columns.time])
    if columns.sequence is not None:
        everywhere = np.ones(len(frame), bool)
        sequence = units(origin, frame[columns.sequence], 1, everywhere)
        refuse_backwards(origin, columns.sequence, sequence)
    new = np.isin(action, (Action.ADD, Action.MARKET, Action.REDUCE))
    sizes, prices = (frame[name].to_numpy() for name in (columns.size, columns.price))
    refuse(origin, new & (size <= 0), columns.size, sizes, "a positive number")
    refuse(origin, (action == Action.REPLACE) & (size < 0), columns.size, sizes, "0 or more")
    refuse(origin, priced & (price <= 0), columns.price, prices, _POSITIVE_PRICE)
    midnight = int(stamp[0]) // _DAY * _DAY
    return L3Table(
        origin=origin,
        midnight=midnight,
        stamp=stamp - midnight,
        action=action,
        side=side,
        price=np.where(named | traded, price, 0),
        size=np.where(named | traded, size, 0),
        order_id=np.where(named, order_id, 0),
    )


def _names(action: np.ndarray) -> list[str]:
    return [Action(code).name for code in action]


def _tick(table: L3Table, tick: int | None) -> int:
    """Price units per tick: as given, else the largest that divides all prices."""
    price = table.price[np.isin(table.action, _PRICED)]
    if tick is None:
        return max(int(np.gcd.reduce(price).item()), 1) if len(price) else 1
    if tick <= 0:
        raise InputError(f"tick is {tick}, expected a positive number of price units")
    off = np.isin(table.action, _PRICED) & (table.price % tick != 0)
    refuse(table.origin, off, "price", table.price, f"a multiple of the tick {tick}")
    return tick


def _small_ids(recorded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recorded ids by rank (none if they stay), and the ids of the flow."""
    used = recorded[recorded != 0]
    if not len(used) or (used.min() > 0 and used.max() <= MAX_SIZE):
        return np.zeros(0, np.int64), recorded
    ids = np.unique(recorded)
    return ids, np.searchsorted(ids, recorded) + 1


def _events(table: L3Table, late_rows: bool) -> np.ndarray:
    """`[events, 6]` int64: row, kind, side, price, size, order id. Every row has an event."""
    desk = _Desk()
    ended: set[int] = set()
    columns = (table.action, table.side, table.price, table.size, table.order_id)
    for row, cells in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        action, *about = cells
        before, name = len(desk.events), about[-1]
        desk.row = row
        if not (late_rows and name in ended):
            desk.apply(action, *about)
        if len(desk.events) == before:
            desk.send(Kind.NONE, *about)
        if action == Action.CANCEL:
            ended.add(name)
    return np.array(desk.events, np.int64).reshape(-1, len(_EVENT_FIELDS))


class _Desk:
    """Turns rows into events, following what is left of each order."""

    def __init__(self) -> None:
        self.row = 0
        self.events: list[tuple[int, ...]] = []
        self.resting: dict[int, tuple[int, int, int]] = {}  # order id to side, price, size

    def apply(self, action: int, side: int, price: int, size: int, name: int) -> None:
        """One row of an `L3Table`."""
        if action == Action.ADD:
            self.add(side, price, size, name)
        elif action == Action.REDUCE:
            self.reduce(size, name, self.resting.get(name, (side, price, 0)))
        elif action == Action.CANCEL:
            known = self.resting.get(name, (side, price, size or _UNKNOWN_SIZE))
            self.reduce(known[2], name, known)
        elif action == Action.REPLACE:
            self.replace(side, price, size, name)
        elif action == Action.CLEAR:
            for other, known in list(self.resting.items()):
                self.reduce(known[2], other, known)
        else:
            self.send(
                Kind.MARKET if action == Action.MARKET else Kind.NONE, side, price, size, name
            )

    def send(self, kind: int, side: int, price: int, size: int, name: int) -> None:
        self.events.append((self.row, kind, side, price, size, name))

    def add(self, side: int, price: int, size: int, name: int) -> None:
        self.send(Kind.LIMIT, side, price, size, name)
        self.resting[name] = (side, price, size)

    def reduce(self, gone: int, name: int, known: tuple[int, int, int]) -> None:
        """Takes shares out; more than are left change nothing, as in the book."""
        side, price, left = known
        self.send(Kind.CANCEL, side, price, gone, name)
        if name in self.resting and gone == left:
            del self.resting[name]
        elif name in self.resting and gone < left:
            self.resting[name] = (side, price, left - gone)

    def replace(self, side: int, price: int, size: int, name: int) -> None:
        known = self.resting.get(name)
        if known is not None:
            keeps_place = known[:2] == (side, price) and size <= known[2]
            gone = known[2] - size if keeps_place else known[2]
            if gone:
                self.reduce(gone, name, known)
            if keeps_place:
                return
        if size:
            self.add(side, price, size, name)
