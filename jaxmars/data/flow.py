"""Recorded days as the order flow a model reads: one row per order, with the book after it.

What becomes of a LOBSTER message (paper spec C-DATA-1, realism spec 1.1):

| message | order |
|---|---|
| 1 new limit order | LIMIT of its side |
| 2 partial cancel, 3 delete | CANCEL: side, price and id of the resting order, cancelled size |
| 4 executions in a row, same time and side | one LIMIT of the other side, all of it filled |
| 5 hidden execution, 6 cross, 7 halt | none |

Messages 5, 6 and 7 leave the visible book as it was (in the sample days without exception), so the
book *before* an order is the snapshot of the row before it, whether or not something was left out
between them. Left out before the merge, they also do not cut a sweep in two: visible, hidden,
visible executions at one time are one order. A hidden execution is no trade here: neither `filled`
nor `last_price` knows of it.

The unfilled remainder of a sweep is a message of its own in the record (type 1, often nanoseconds
later) and stays an order of its own.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmars.data.lobster import LobsterData, MessageType, host_l2, nanoseconds
from jaxmars.errors import InputError
from jaxmars.types import L2, Event, Kind, Side, Time, Trades, no_trades

CROWD = 0  # agent id of everybody in a record
NO_ORDER_ID = 0  # order id of a sweep: the record names only the orders it met
_MAX_INT32 = 2**31 - 1
SMALLEST_PAD = 1024  # rows of the smallest compiled program


class Flow(NamedTuple):
    """Orders in time order, and the book after each. Numpy arrays on the host.

    The book before order i is `l2` of row i - 1; the record has none before the first order.
    """

    event: Event  # fields [orders] int32
    l2: L2  # price, size [orders, 2, levels] int32, ticks and shares


class _Groups(NamedTuple):
    """Rows of the record that make one order."""

    kept: np.ndarray  # [kept] rows of visible messages
    start: np.ndarray  # [orders] index into `kept` of the first message
    end: np.ndarray  # [orders] index into `kept` of the last message


def lobster_flow(data: LobsterData) -> Flow:
    """The orders of a recorded day (table at the top of this file).

    Returns:
      One row per order. `agent_id` is `CROWD`. `order_id` is the recorded id where all ids fit
      int32, else the rank of the id among those of the day, from 1; `NO_ORDER_ID` for sweeps.
      `first_price` and `price` of a sweep are the first and last price it traded at. `last_price`
      is that of the most recent sweep, 0 before any. `status` is 0.
    """
    groups = _groups(data)
    first, last = groups.kept[groups.start], groups.kept[groups.end]
    sweep = data.type[last] == MessageType.EXECUTION
    resting = np.where(data.direction[last] == 1, Side.BUY, Side.SELL)
    size = np.add.reduceat(data.size[groups.kept].astype(np.int64), groups.start)
    if size.max(initial=0) > _MAX_INT32:
        raise InputError(f"an order trades {size.max()} shares, expected at most {_MAX_INT32}")
    price = data.price[last]
    new = data.type[last] == MessageType.NEW
    best = np.asarray(data.l2.price)[last, :, 0]
    narrow: Any = lambda x: np.ascontiguousarray(x, np.int32)
    zeros = narrow(np.zeros(len(last)))
    event = Event(
        time=Time(narrow(data.sec[last]), narrow(data.nsec[last])),
        kind=narrow(np.where(sweep | new, Kind.LIMIT, Kind.CANCEL)),
        side=narrow(np.where(sweep, 1 - resting, resting)),
        price=narrow(price),
        size=narrow(size),
        order_id=narrow(np.where(sweep, NO_ORDER_ID, _small_ids(data.order_id[last]))),
        agent_id=zeros + CROWD,
        filled=narrow(np.where(sweep, size, 0)),
        first_price=narrow(np.where(sweep, data.price[first], 0)),
        last_price=narrow(_most_recent(price, sweep)),
        best_bid=narrow(best[:, Side.BUY]),
        best_ask=narrow(best[:, Side.SELL]),
        status=zeros,
        trades=no_trades(len(last)),
    )
    levels = host_l2(np.asarray(data.l2.price)[last], np.asarray(data.l2.size)[last])
    return Flow(event, levels)


def order_rows(data: LobsterData) -> np.ndarray:
    """Row of the record that completes each order, `[orders]` int64, rising."""
    groups = _groups(data)
    return groups.kept[groups.end]


def flow_until(flow: Flow, sec: int, nsec: int = 0) -> Flow:
    """The orders at or before a time."""
    return split_flow(flow, sec, nsec)[0]


def split_flow(flow: Flow, sec: int, nsec: int = 0) -> tuple[Flow, Flow]:
    """The orders at or before a time, and those after it; either may be empty."""
    stamps = nanoseconds(flow.event.time.sec, flow.event.time.nsec)
    cut = int(np.searchsorted(stamps, nanoseconds(sec, nsec), "right"))
    return slice_flow(flow, 0, cut), slice_flow(flow, cut, len(stamps))


def slice_flow(flow: Flow, start: int, stop: int) -> Flow:
    """Orders `start` to `stop` (exclusive) of a flow."""
    event = flow.event
    time = Time(*(x[start:stop] for x in event.time))
    trades = Trades(*(x[start:stop] for x in event.trades))
    columns = {
        name: getattr(event, name)[start:stop]
        for name in event._fields
        if name not in ("time", "trades")
    }
    return Flow(Event(time=time, trades=trades, **columns), L2(*(x[start:stop] for x in flow.l2)))


def padded(flow: Flow) -> Flow:
    """The flow with events that do nothing at its end, up to a power of two.

    So days of any length share a few compiled programs.
    """
    rows = len(flow.event.kind)
    more = padded_rows(rows) - rows
    pad = lambda x: np.pad(x, [(0, more)] + [(0, 0)] * (np.ndim(x) - 1))
    return jax.tree.map(pad, flow)


def padded_rows(rows: int) -> int:
    """The smallest power of two that holds so many rows."""
    return max(SMALLEST_PAD, 1 << (rows - 1).bit_length())


def _groups(data: LobsterData) -> _Groups:
    """Visible messages; executions in a row of one time and one side belong together."""
    kept = np.flatnonzero(data.type <= MessageType.EXECUTION)
    joins = np.ones(len(kept), bool)
    joins[:1] = False
    for column in (data.type, data.sec, data.nsec, data.direction):
        joins[1:] &= column[kept[1:]] == column[kept[:-1]]
    joins &= data.type[kept] == MessageType.EXECUTION
    start = np.flatnonzero(~joins)
    end = np.append(start[1:], len(kept))[: len(start)] - 1
    return _Groups(kept, start, end)


def _small_ids(order_id: np.ndarray) -> np.ndarray:
    """The ids if all are positive int32, else their ranks from 1."""
    if len(order_id) and (order_id.min() < 1 or order_id.max() > _MAX_INT32):
        return np.unique(order_id, return_inverse=True)[1] + 1
    return order_id


def _most_recent(price: np.ndarray, traded: np.ndarray) -> np.ndarray:
    """Price of the last row at or before each where `traded` holds; 0 before any."""
    at = np.maximum.accumulate(np.where(traded, np.arange(len(price)), -1))
    return np.where(at >= 0, price[at], 0)
