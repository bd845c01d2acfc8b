"""Recorded LOBSTER days as a flow that runs through one book from the first row to the last.

A file of `levels` levels says nothing of what happens outside them. Orders that leave the window
are deleted unseen and would come back as ghosts, so the flow follows the window (realism spec 1.1):

| in the record | in the flow |
|---|---|
| the book before the first message (row 0, message 0 undone) | one anonymous order per level |
| 1 new limit order | LIMIT |
| 2 partial cancel, 3 delete | CANCEL of that order; what it lacks is taken at its price: from the |
| | anonymous order, then from the oldest others |
| 4 executions in a row, same time and side | one IOC of the other side, limited at the last price |
| 5 hidden execution, 6 cross, 7 halt | nothing: they leave the visible book as it was |
| a level leaves the window | PRUNE: a CANCEL of every order there |
| a level comes into the window | REVEAL: a LIMIT, one anonymous order of the recorded volume |
| a message shows that better orders are gone | PRUNE of those orders |

Executions are incoming orders, not cancels of the order they name: their fills follow from price
and time priority, so a replay also tests the matching, and the flow can be mixed with orders of
agents. Volumes come out the same. The record never corrects a volume inside the window: what is
revealed counts as not known and is not compared.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxmars.data.flow import order_rows
from jaxmars.data.lobster import PRICE_UNITS_PER_CURRENCY, LobsterData, MessageType, host_l2
from jaxmars.data.orderflow import (
    NO_CHECK,
    NO_ID,
    L3Data,
    OrderFlow,
    Recorded,
    host_order,
    host_time,
)
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Side

VENUE = "LOBSTER"
_MAX_INT32 = 2**31 - 1
_SIGN = np.array([-1, 1])  # signed prices rank ascending on both sides
_FAR = 2**31  # signed price behind every level


class Origin(enum.IntEnum):
    """Why an event is in the flow."""

    MESSAGE = 0  # the record says so
    PRUNE = 1  # the order is out of sight, or was shown to be gone
    REVEAL = 2  # the volume came into sight


class ContinuousDay(NamedTuple):
    """A day ready for `replay`. Numpy arrays on the host."""

    l3: L3Data
    origin: np.ndarray  # [events] int32, Origin
    row: np.ndarray  # [events] int32, row of the record it comes from


class _Groups(NamedTuple):
    """Visible messages; those of one sweep belong together."""

    first: np.ndarray  # [groups] int64, row of the record
    last: np.ndarray  # [groups] int64, row of the record
    size: np.ndarray  # [groups] int64, shares of all its rows


class _Message(NamedTuple):
    """What one group asks for."""

    row: int  # of the record, the last of the group
    kind: int  # Kind: LIMIT, CANCEL, IOC for a sweep, or NONE
    side: int  # Side of the order (of the resting one for a cancel)
    first: int  # ticks, price of the first row
    price: int  # ticks, price of the last row
    size: int  # shares
    order_id: int  # `NO_ID` for a sweep and for nothing


def lobster_continuous(data: LobsterData) -> ContinuousDay:
    """The flow of a recorded day, with prunes and reveals at the edge of the recorded window.

    Args:
      data: a recorded day.

    Returns:
      The flow (table at the top of this file), the books to compare it with, and the book to start
      from, one level wider than the record. The event that completes a message, for a sweep its
      last, is checked against that row; prunes and reveals are not checked. `EVERYBODY` owns every
      order, because a cancel must name the owner: `origin` tells prunes and reveals from the rest.
      Messages on prices outside the window, before and after them, are left out.

    Raises:
      InputError: an order that is sent while it rests, or a sweep of 2**31 shares or more.
    """
    l2 = host_l2(np.asarray(data.l2.price), np.asarray(data.l2.size))
    levels = l2.price.shape[2]
    groups = _groups(data)
    start = book_before_first(data)
    desk = _Desk(start)
    edge, revealed = _window(l2, groups.last)
    edges, came = edge.tolist(), np.any(revealed, 2).tolist()
    messages, ids = _messages(data, groups)
    for number, message in enumerate(messages):
        if _key(message) > edges[number][message.side]:
            continue
        desk.apply(message)
        desk.check[-1] = message.row
        for side in (Side.BUY, Side.SELL):
            if len(desk.orders[side]) > levels:
                desk.prune(message.row, side, lambda key, n=number, s=side: key > edges[n][s])
            if came[number][side]:
                for level in np.flatnonzero(revealed[number, side]).tolist():
                    desk.reveal(message.row, side, *(int(x[message.row, side, level]) for x in l2))
    known = np.full(l2.price.shape, True)
    known[groups.last] = ~revealed
    return desk.day(data, start, Recorded(l2, None, known), ids)


def lobster_messages(
    data: LobsterData, start: L2, recorded: Recorded, at: np.ndarray
) -> ContinuousDay:
    """The flow of messages that reach deeper than the recorded books, such as those of 50 levels.

    Nothing says what became of an order that left the messages' own window, so it stays until the
    record shows that it is gone: a new order could have traded with it, a worse one traded, or a
    recorded best price is worse. Every execution is an IOC of its own, and types 5, 6 and 7 are
    events that do nothing, so that the book can be compared after every single message.

    Args:
      data: a recorded day; its own books are not read.
      start: `[2, levels]` the book before the first message.
      recorded: books of fewer levels.
      at: `[rows]` row of `recorded` that holds after a message, `NO_CHECK` for none.

    Returns:
      The flow. The last event of a message is checked as `at` says; what the check shows to be
      gone is pruned after it.

    Raises:
      InputError: an order that is sent while it rests.
    """
    desk = _Desk(start)
    row = np.arange(len(data.sec))
    messages, ids = _messages(data, _Groups(row, row, data.size))
    best = np.asarray(recorded.l2.price)[:, :, 0].astype(np.int64) * _SIGN
    for message in messages:
        if message.kind in (Kind.LIMIT, Kind.IOC):
            resting, sweep = 1 - message.side, message.kind == Kind.IOC
            reach = int(_SIGN[resting]) * message.first - sweep  # a sweep met its first price
            desk.prune(message.row, resting, lambda key, reach=reach: key <= reach)
        desk.apply(message)
        row = int(at[message.row])
        if row != NO_CHECK:
            desk.check[-1] = row
            for side, end in zip(Side, best[row].tolist(), strict=True):
                desk.prune(message.row, side, lambda key, end=end: end != 0 and key < end)
    return desk.day(data, start, recorded, ids)


class _Desk:
    """The book as the flow has left it, and the flow so far.

    A plain price-time book: what rests under which id must be known to name the order a cancel
    takes from.
    """

    def __init__(self, start: L2) -> None:
        self.orders: tuple[dict[int, dict[int, int]], ...] = ({}, {})  # side: price: id: size
        self.live: set[int] = set()
        self.anonymous = NO_ID  # the last anonymous id given; they count down
        self.rows: list[tuple[int, Origin, int, int, int, int, int]] = []  # columns: see `_emit`
        self.check: list[int] = []
        prices, sizes = (np.asarray(x).tolist() for x in start)
        for side in (Side.BUY, Side.SELL):
            for price, size in zip(prices[side], sizes[side], strict=True):
                self.anonymous -= 1  # the ids of `book_from_levels`
                if size:
                    self._rest(side, price, size, self.anonymous)

    def apply(self, message: _Message) -> None:
        """One message: what it does to the book, and its events."""
        row, kind, side, _, price, size, order_id = message
        if kind == Kind.CANCEL:
            self._take(row, side, price, size, order_id)
            return
        if kind == Kind.NONE:
            self._emit(row, Origin.MESSAGE, kind, side, 0, 0, NO_ID)
            return
        self._emit(row, Origin.MESSAGE, kind, side, price, size, order_id)
        if kind == Kind.IOC:
            self._sweep(1 - side, price, size)
            return
        if order_id in self.live:
            raise InputError(f"row {row + 1}: a new order has the id of one that rests already")
        self._rest(side, price, size, order_id)

    def prune(self, row: int, side: int, gone: Callable[[int], bool]) -> None:
        """Takes every order out whose signed price is `gone`."""
        sign = -1 if side == Side.BUY else 1
        for price in [price for price in self.orders[side] if gone(sign * price)]:
            for order_id, size in self.orders[side].pop(price).items():
                self.live.discard(order_id)
                self._emit(row, Origin.PRUNE, Kind.CANCEL, side, price, size, order_id)

    def reveal(self, row: int, side: int, price: int, size: int) -> None:
        """Puts the volume of a level in."""
        self.anonymous -= 1
        self._emit(row, Origin.REVEAL, Kind.LIMIT, side, price, size, self.anonymous)
        self._rest(side, price, size, self.anonymous)

    def _take(self, row: int, side: int, price: int, size: int, order_id: int) -> None:
        """Cancels shares: of the order named, then of anonymous ones, then of the oldest others."""
        queue = self.orders[side].get(price, {})
        unnamed = [other for other in queue if other < NO_ID and other != order_id]
        others = [other for other in queue if other > NO_ID and other != order_id]
        named = [order_id] if order_id in queue else []
        left = size
        for target in named + unnamed + others:
            taken = min(left, queue[target])
            self._emit(row, Origin.MESSAGE, Kind.CANCEL, side, price, taken, target)
            self._shrink(side, price, target, taken)
            left -= taken
            if not left:
                return
        if left == size:  # nothing rests there: the book will say so
            self._emit(row, Origin.MESSAGE, Kind.CANCEL, side, price, size, order_id)

    def _sweep(self, side: int, limit: int, size: int) -> None:
        """Fills resting orders by price and time, up to a price."""
        levels, sign = self.orders[side], (-1 if side == Side.BUY else 1)
        while size and levels:
            price = sign * min(sign * price for price in levels)
            if sign * price > sign * limit:
                return
            for order_id, resting in list(levels[price].items()):
                taken = min(size, resting)
                self._shrink(side, price, order_id, taken)
                size -= taken
                if not size:
                    return

    def _rest(self, side: int, price: int, size: int, order_id: int) -> None:
        self.orders[side].setdefault(price, {})[order_id] = size
        self.live.add(order_id)

    def _shrink(self, side: int, price: int, order_id: int, size: int) -> None:
        queue = self.orders[side][price]
        queue[order_id] -= size
        if not queue[order_id]:
            del queue[order_id]
            self.live.discard(order_id)
            if not queue:
                del self.orders[side][price]

    def _emit(self, *event: Any) -> None:
        """Adds (row, origin, kind, side, price, size, order id)."""
        self.rows.append(event)
        self.check.append(NO_CHECK)

    def day(
        self, data: LobsterData, start: L2, recorded: Recorded | None, ids: np.ndarray
    ) -> ContinuousDay:
        """The flow so far as columns."""
        columns = np.array(self.rows, np.int32).reshape(-1, 7).T
        row, origin, kind, side, price, size, order_id = columns
        flow = OrderFlow(
            time=host_time(data.sec[row], data.nsec[row]),
            order=host_order(kind, side, price, size, order_id),
            check=np.array(self.check, np.int32),
        )
        l3 = L3Data(
            venue=VENUE,
            flow=flow,
            recorded=recorded,
            start=start,
            tick=data.tick,
            price_scale=PRICE_UNITS_PER_CURRENCY,
            size_scale=1,
            ids=ids,
            resting=False,
        )
        return ContinuousDay(l3, np.ascontiguousarray(origin), np.ascontiguousarray(row))


def _key(message: _Message) -> int:
    """Signed price of the resting order a message makes or changes; no sweep is out of sight."""
    if message.kind == Kind.IOC:
        return -_FAR
    return -message.price if message.side == Side.BUY else message.price


def _groups(data: LobsterData) -> _Groups:
    """Rows that make one order each; types 5, 6 and 7 make none."""
    last = order_rows(data)
    visible = np.flatnonzero(data.type <= MessageType.EXECUTION)
    end = np.searchsorted(visible, last)
    start = np.concatenate([np.zeros(1, np.int64), end[:-1] + 1])[: len(end)]
    size = np.add.reduceat(data.size[visible].astype(np.int64), start) if len(end) else end
    if size.max(initial=0) > _MAX_INT32:
        raise InputError(f"an order trades {size.max()} shares, expected at most {_MAX_INT32}")
    return _Groups(visible[start], last, size)


def _messages(data: LobsterData, groups: _Groups) -> tuple[list[_Message], np.ndarray]:
    """One message per group; and recorded ids by our id, empty if they are the same."""
    last = groups.last
    kinds = {MessageType.NEW: Kind.LIMIT, MessageType.EXECUTION: Kind.IOC}
    kind = np.full(len(last), Kind.CANCEL)
    for recorded, ours in kinds.items():
        kind[data.type[last] == recorded] = ours
    kind[data.type[last] > MessageType.EXECUTION] = Kind.NONE
    resting = np.where(data.direction[last] == 1, Side.BUY, Side.SELL)
    side = np.where(kind == Kind.IOC, 1 - resting, resting)
    order_id, ids = data.order_id[last], np.zeros(0, np.int64)
    if len(order_id) and (order_id.min() <= NO_ID or order_id.max() > _MAX_INT32):
        ids, rank = np.unique(order_id, return_inverse=True)
        order_id = rank + 1
    order_id = np.where((kind == Kind.IOC) | (kind == Kind.NONE), NO_ID, order_id)
    first, price = data.price[groups.first], data.price[last]
    columns = (last, kind, side, first, price, groups.size, order_id)
    return [_Message(*row) for row in zip(*(x.tolist() for x in columns), strict=True)], ids


def _window(l2: L2, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the window ends after each group, and what came into it.

    Returns:
      The signed price of the last recorded level, `[groups, 2]`, `_FAR` where levels are missing;
      and `[groups, 2, levels]` bool, levels behind the end of the window before the group.
    """
    key = np.where(l2.size > 0, l2.price.astype(np.int64) * _SIGN[:, None], _FAR)
    end = key[:, :, -1]
    before = np.concatenate([np.zeros(1, np.int64), last[:-1]])[: len(last)]
    revealed = (key[last] > end[before][..., None]) & (key[last] < _FAR)
    return end[last], revealed


def book_before_first(data: LobsterData) -> L2:
    """The book of row 0 without what message 0 did, `[2, levels + 1]` int32."""
    sides = [
        {p: s for p, s in zip(*columns, strict=True) if s}
        for columns in zip(*(np.asarray(x)[0].tolist() for x in data.l2), strict=True)
    ]
    kind, price, size = (int(x[0]) for x in (data.type, data.price, data.size))
    if kind <= MessageType.EXECUTION:
        own = sides[Side.BUY if data.direction[0] == 1 else Side.SELL]
        own[price] = own.get(price, 0) + (-size if kind == MessageType.NEW else size)
    start = np.zeros((2, 2, data.l2.price.shape[2] + 1), np.int32)
    for side, sign in enumerate(_SIGN.tolist()):
        found = sorted(((p, s) for p, s in sides[side].items() if s > 0), key=lambda x: sign * x[0])
        for level, cells in enumerate(found):
            start[:, side, level] = cells
    return host_l2(*start)
