"""What every venue's reader ends in: book changes in time order, and the venue's own books.

An order flow has one row per change of a book, so that replaying it needs nothing but the book
(realism spec section 1). Two readings of a record exist, and every reader says which it gives:

| reading | a crossing order | a trade | replayed with |
|---|---|---|---|
| as orders | is sent as it was; the book matches it | follows from matching | `resting=False` |
| as book changes | rests; what it met shrinks in rows of its own | CANCEL rows | `resting=True` |

Venues publish the second one; a feed handler keeps its book so.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxmars.types import L2, Order, Time

NO_CHECK = -1  # of `OrderFlow.check`: nothing is recorded of the book after this event
EVERYBODY = 0  # agent id of all orders of a record
NO_ID = 0  # order id of an event that concerns no order


class OrderFlow(NamedTuple):
    """Book changes in time order. Numpy arrays on the host."""

    time: Time  # fields [events] int32; seconds may pass 86,400 when a record runs past midnight
    order: Order  # fields [events] int32, price in ticks, size in size units; NONE changes nothing
    check: np.ndarray  # [events] int32, row of `Recorded` that must hold after it, or `NO_CHECK`


class Recorded(NamedTuple):
    """The venue's own books. Numpy arrays on the host."""

    l2: L2  # price, size [rows, 2, levels] int32, ticks and size units; 0 where there is no level
    orders: np.ndarray | None  # [rows, 2, levels] int32, number at the level; None if not recorded
    known: np.ndarray  # [rows, 2, levels] bool, levels the recording really knows
    rounded_up: bool = False  # sizes were rounded up to size units, here and in the flow


class TradeReports(NamedTuple):
    """Trades as the venue reported them. Numpy arrays on the host."""

    time: Time  # fields [trades] int32
    price: np.ndarray  # [trades] int32, ticks
    size: np.ndarray  # [trades] int32, size units


class L3Data(NamedTuple):
    """A record of one instrument, order by order.

    In currency, a price is `ticks * tick / price_scale`; in shares or coins, a size is
    `size / size_scale`.
    """

    venue: str  # name of the source, for reports
    flow: OrderFlow
    recorded: Recorded | None
    start: L2 | None  # [2, levels] the book before the first event; None for an empty one
    tick: int  # price units per tick
    price_scale: int  # price units per unit of currency
    size_scale: int  # size units per share or coin
    ids: np.ndarray  # [orders] int64, recorded id of order id i + 1; empty if ids are as recorded
    resting: bool = False  # the reading: True for book changes, False for orders
    trades: TradeReports | None = None  # where the venue reports them apart from the orders


def host_order(
    kind: Any, side: Any, price: Any, size: Any, order_id: Any, agent_id: Any = EVERYBODY
) -> Order:
    """An `Order` of int32 numpy columns; one owner for all rows unless a column is given."""
    owner = np.broadcast_to(np.asarray(agent_id), np.shape(kind))
    columns: Any = (kind, side, price, size, order_id, owner)
    narrow: Any = lambda column: np.ascontiguousarray(column, np.int32)
    return Order(*(narrow(column) for column in columns))


def host_time(sec: Any, nsec: Any) -> Time:
    """A `Time` of int32 numpy columns."""
    narrow: Any = lambda column: np.ascontiguousarray(column, np.int32)
    return Time(narrow(sec), narrow(nsec))


def cut_flow(flow: OrderFlow, start: int, stop: int) -> OrderFlow:
    """Events `start` to `stop` (exclusive)."""
    time = Time(*(x[start:stop] for x in flow.time))
    order = Order(*(x[start:stop] for x in flow.order))
    return OrderFlow(time, order, flow.check[start:stop])
