"""The order book in plain Python: a dict of price -> deque per side, in arrival order.

Written to be read, not to be fast. It is the reference the compiled book must equal after every
message, in every field. Prices in ticks, sizes in shares.
"""

import collections
import dataclasses

from oracles.call_auction import clearing_price

from jaxmars.config import SelfTrade
from jaxmars.types import Kind, Side, Status

MAX_PRICE = 2**30  # ticks, exclusive
MAX_VOLUME = 2**31 - 1  # shares one side may hold
NO_SPREAD = 10  # ticks, for a book without two sides
PRICED = (Kind.LIMIT, Kind.IOC, Kind.FOK, Kind.POST_ONLY)
RESTING = (Kind.LIMIT, Kind.POST_ONLY)


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

    side: int
    price: int
    size: int
    order_id: int
    agent_id: int


@dataclasses.dataclass
class Walk:
    """What an order would meet on the other side of the book."""

    plan: list[tuple[Resting, int]]  # orders it trades with, and how many shares
    removed: list[Resting]  # orders of its own agent that are taken out
    left: int  # shares it does not fill
    is_stopped: bool = False  # by an order of its own agent


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

    def __init__(self, capacity: int, self_trade: SelfTrade = SelfTrade.ALLOW) -> None:
        self.capacity = capacity
        self.self_trade = self_trade
        self.levels: dict[Side, dict[int, collections.deque[Resting]]] = {s: {} for s in Side}
        self.status = Status.OK

    def apply(
        self,
        kind: int,
        side: int,
        price: int,
        size: int,
        order_id: int,
        agent_id: int,
        collecting: bool = False,
    ) -> Outcome:
        """Applies one message and returns its `Outcome`."""
        if kind == Kind.NONE:
            return Outcome(Status.OK, price)
        fault = self._malformed(kind, side, price, size, collecting)
        if fault:
            outcome = Outcome(fault, self._shown_price(kind, side, price, order_id, agent_id))
        elif kind == Kind.CANCEL:
            outcome = self._cancel(Side(side), size, order_id, agent_id)
        else:
            order = Resting(price, size, order_id, agent_id)
            outcome = self._trade(Kind(kind), Side(side), order, collecting)
        self.status |= outcome.status
        return outcome

    def uncross(self, reference: int) -> Outcome:
        """Ends a call auction: everybody who beats the price first, then arrival at the price."""
        offers = lambda side: [(order.price, order.size) for order in self.orders(side)]
        price, volume = clearing_price(offers(Side.BUY), offers(Side.SELL), reference)
        trades = []
        for side, sign in ((Side.BUY, 1), (Side.SELL, -1)):
            left = volume
            better = [o for o in self.orders(side) if sign * (o.price - price) > 0]
            for order in better + [o for o in self.orders(side) if o.price == price]:
                shares = min(left, order.size)
                left -= shares
                if shares:
                    trades.append(Trade(side, price, shares, order.order_id, order.agent_id))
                    self._reduce(side, order, shares)
        return Outcome(Status.OK, price, filled=volume, trades=tuple(trades))

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

    def _malformed(self, kind: int, side: int, price: int, size: int, collecting: bool) -> Status:
        """Faults that can be seen without looking at the book."""
        real = kind in (*PRICED, Kind.MARKET, Kind.CANCEL)
        fault = Status.OK if real and side in (0, 1) else Status.BAD_KIND
        if real and collecting and kind not in (Kind.LIMIT, Kind.CANCEL):
            fault |= Status.NOT_IN_AUCTION
        if fault:
            return fault
        fault = Status.BAD_SIZE if size <= 0 else Status.OK
        if kind in PRICED and not 0 < price < MAX_PRICE:
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

    def _trade(self, kind: Kind, side: Side, order: Resting, collecting: bool) -> Outcome:
        """A new order; `order` is what would rest of it if it did not trade."""
        opposite = Side(1 - side)
        if any(o.order_id == order.order_id for s in Side for o in self.orders(s)):
            return Outcome(Status.DUPLICATE_ID, order.price)
        reachable = [] if collecting else self._reachable(kind, side, order.price)
        if kind == Kind.POST_ONLY:
            walk = Walk([], [], order.size)
            fault = Status.WOULD_TRADE if reachable else Status.OK
        else:
            walk = self._walk(reachable, order)
            fault = self._refusal(kind, walk, order)
        rests = kind in RESTING and not walk.is_stopped
        if rests and not fault:
            fault = self._no_room(side, walk.left)
        if fault:
            return Outcome(fault, order.price)
        trades = tuple(Trade(opposite, o.price, n, o.order_id, o.agent_id) for o, n in walk.plan)
        removed = [(other, other.size) for other in walk.removed]
        for other, shares in walk.plan + removed:
            self._reduce(opposite, other, shares)
        if rests and walk.left:
            queue = self.levels[side].setdefault(order.price, collections.deque())
            queue.append(dataclasses.replace(order, size=walk.left))
        status = Status.SELF_TRADE if walk.removed or walk.is_stopped else Status.OK
        if kind == Kind.MARKET and walk.left and not walk.is_stopped:
            status |= Status.UNFILLED_MARKET
        return Outcome(
            status,
            order.price,
            filled=order.size - walk.left,
            cancelled=sum(shares for _, shares in removed),
            trades=trades,
        )

    def _reachable(self, kind: Kind, side: Side, price: int) -> list[Resting]:
        """Orders of the opposite side that are good enough, best first."""
        orders = self.orders(Side(1 - side))
        if kind == Kind.MARKET:
            return orders
        return [o for o in orders if (o.price <= price if side == Side.BUY else o.price >= price)]

    def _walk(self, reachable: list[Resting], order: Resting) -> Walk:
        walk = Walk([], [], order.size)
        for other in reachable:
            own = other.agent_id == order.agent_id
            if not walk.left:
                break
            if own and self.self_trade == SelfTrade.CANCEL_RESTING:
                walk.removed.append(other)
                continue
            if own and self.self_trade == SelfTrade.CANCEL_INCOMING:
                walk.is_stopped = True
                break
            walk.plan.append((other, min(walk.left, other.size)))
            walk.left -= walk.plan[-1][1]
        return walk

    def _refusal(self, kind: Kind, walk: Walk, order: Resting) -> Status:
        """Faults of what an order would do."""
        if kind == Kind.FOK and walk.left:
            return Status.NOT_FILLED
        own = any(other.agent_id == order.agent_id for other, _ in walk.plan)
        return Status.SELF_TRADE if own and self.self_trade == SelfTrade.REJECT else Status.OK

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
