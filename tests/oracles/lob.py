"""The order book in plain Python: a dict of price -> deque per side, in arrival order.

Written to be read, not to be fast. It is the reference the compiled book must equal after every
message, in every field. Prices in ticks, sizes in shares.
"""

import collections
import dataclasses

from jaxmars.types import Kind, Side, Status

MAX_PRICE = 2**30  # ticks, exclusive
MAX_VOLUME = 2**31 - 1  # shares one side may hold
NO_SPREAD = 10  # ticks, for a book without two sides


@dataclasses.dataclass(eq=False)
class Resting:
    """One resting order; `size` shrinks as it trades or is partly cancelled."""

    price: int
    size: int
    order_id: int
    agent_id: int


@dataclasses.dataclass(frozen=True)
class Trade:
    """Shares taken from one resting order."""

    price: int
    size: int
    order_id: int
    agent_id: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one message did."""

    status: Status
    price: int
    filled: int = 0
    cancelled: int = 0
    trades: tuple[Trade, ...] = ()

    @property
    def first_price(self) -> int:
        return self.trades[0].price if self.trades else 0

    @property
    def last_price(self) -> int:
        return self.trades[-1].price if self.trades else 0


class Oracle:
    """Price-time priority with `capacity` resting orders per side."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.levels: dict[Side, dict[int, collections.deque[Resting]]] = {s: {} for s in Side}
        self.status = Status.OK

    def apply(self, kind: int, side: int, price: int, size: int, order_id: int, agent_id: int):
        """Applies one message and returns its `Outcome`."""
        if kind == Kind.NONE:
            return Outcome(Status.OK, price)
        fault = self._malformed(kind, side, price, size)
        if fault:
            outcome = Outcome(fault, self._shown_price(kind, side, price, order_id, agent_id))
        elif kind == Kind.CANCEL:
            outcome = self._cancel(Side(side), size, order_id, agent_id)
        else:
            outcome = self._trade(Kind(kind), Side(side), price, size, order_id, agent_id)
        self.status |= outcome.status
        return outcome

    def prices(self, side: Side) -> list[int]:
        """Prices of a side, best first."""
        return sorted(self.levels[side], reverse=side == Side.BUY)

    def orders(self, side: Side) -> list[Resting]:
        """Resting orders of a side in the order they would trade."""
        return [order for price in self.prices(side) for order in self.levels[side][price]]

    def volume(self, side: Side) -> int:
        return sum(order.size for order in self.orders(side))

    def l2(self, side: Side, count: int) -> list[tuple[int, int]]:
        """(price, size) of the best `count` levels, padded with (0, 0)."""
        levels = self.levels[side]
        known = [(p, sum(o.size for o in levels[p])) for p in self.prices(side)[:count]]
        return known + [(0, 0)] * (count - len(known))

    def mid(self, last_price: int) -> int:
        """The release's integer mid price."""
        (bid, _), (ask, _) = self.l2(Side.BUY, 1)[0], self.l2(Side.SELL, 1)[0]
        if bid and ask:
            return bid + (ask - bid) // 2
        return ask or bid or last_price

    def float_mid(self, last_price: int) -> float:
        (bid, _), (ask, _) = self.l2(Side.BUY, 1)[0], self.l2(Side.SELL, 1)[0]
        return (ask + bid) / 2 if bid and ask else float(self.mid(last_price))

    def weighted_mid(self, last_price: int) -> float:
        (bid, bid_size), (ask, ask_size) = self.l2(Side.BUY, 1)[0], self.l2(Side.SELL, 1)[0]
        if bid and ask:
            return (ask * bid_size + bid * ask_size) / (bid_size + ask_size)
        return float(self.mid(last_price))

    def spread(self) -> int:
        (bid, _), (ask, _) = self.l2(Side.BUY, 1)[0], self.l2(Side.SELL, 1)[0]
        return ask - bid if bid and ask else NO_SPREAD

    def _malformed(self, kind: int, side: int, price: int, size: int) -> Status:
        """Faults that can be seen without looking at the book."""
        if kind not in (Kind.LIMIT, Kind.MARKET, Kind.CANCEL) or side not in (0, 1):
            return Status.BAD_KIND
        fault = Status.BAD_SIZE if size <= 0 else Status.OK
        if kind == Kind.LIMIT and not 0 < price < MAX_PRICE:
            fault |= Status.BAD_PRICE
        return fault

    def _shown_price(self, kind: int, side: int, price: int, order_id: int, agent_id: int) -> int:
        """The price a rejected order is reported at: a cancel's is that of the order it names."""
        if kind != Kind.CANCEL:
            return price
        found = self._find(Side(side), order_id, agent_id) if side in (0, 1) else None
        return found.price if found else 0

    def _find(self, side: Side, order_id: int, agent_id: int) -> Resting | None:
        named = [o for o in self.orders(side) if (o.order_id, o.agent_id) == (order_id, agent_id)]
        return named[0] if named else None

    def _cancel(self, side: Side, size: int, order_id: int, agent_id: int) -> Outcome:
        order = self._find(side, order_id, agent_id)
        if order is None:
            return Outcome(Status.UNKNOWN_ORDER, 0)
        if size > order.size:
            return Outcome(Status.BAD_SIZE, order.price)
        self._reduce(side, order, size)
        return Outcome(Status.OK, order.price, cancelled=size)

    def _trade(self, kind: Kind, side: Side, price: int, size: int, order_id: int, agent_id: int):
        opposite = Side(1 - side)
        if any(order.order_id == order_id for s in Side for order in self.orders(s)):
            return Outcome(Status.DUPLICATE_ID, price)
        plan, left = [], size
        for order in self.orders(opposite):
            within = order.price <= price if side == Side.BUY else order.price >= price
            if not left or (kind == Kind.LIMIT and not within):
                break
            plan.append((order, min(left, order.size)))
            left -= plan[-1][1]
        fault = self._no_room(side, left) if kind == Kind.LIMIT else Status.OK
        if fault:
            return Outcome(fault, price)
        trades = tuple(Trade(o.price, n, o.order_id, o.agent_id) for o, n in plan)
        for order, shares in plan:
            self._reduce(opposite, order, shares)
        if kind == Kind.LIMIT and left:
            queue = self.levels[side].setdefault(price, collections.deque())
            queue.append(Resting(price, left, order_id, agent_id))
        dropped = Status.UNFILLED_MARKET if kind == Kind.MARKET and left else Status.OK
        return Outcome(dropped, price, filled=size - left, trades=trades)

    def _no_room(self, side: Side, rest: int) -> Status:
        """Faults of a remainder that would have to rest."""
        fault = Status.OK
        if rest and len(self.orders(side)) >= self.capacity:
            fault |= Status.BOOK_FULL
        if rest and self.volume(side) + rest > MAX_VOLUME:
            fault |= Status.VOLUME_OVERFLOW
        return fault

    def _reduce(self, side: Side, order: Resting, shares: int) -> None:
        """Takes shares out of a resting order, which keeps its place while it has any."""
        order.size -= shares
        if order.size == 0:
            self.levels[side][order.price].remove(order)
            if not self.levels[side][order.price]:
                del self.levels[side][order.price]
