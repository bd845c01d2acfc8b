"""The exchange in plain Python: rules before the oracle book, a ledger behind it."""

import dataclasses
import fractions

from oracles.lob import MAX_PRICE, MAX_VOLUME, PRICED, Oracle, Outcome, Trade

from jaxmars.config import RulesConfig
from jaxmars.types import Kind, Side, Status


@dataclasses.dataclass
class Ledger:
    """What one agent has traded: shares, and ticks x shares."""

    bought: int = 0
    sold: int = 0
    paid: int = 0
    received: int = 0
    is_frozen: bool = False

    def add(self, bought: int, sold: int, paid: int, received: int) -> bool:
        """Counts one event; false if the counts are frozen and something was traded."""
        if bought + self.bought > MAX_VOLUME or sold + self.sold > MAX_VOLUME:
            self.is_frozen = True
        if self.is_frozen:
            return not (bought or sold)
        self.bought, self.sold = self.bought + bought, self.sold + sold
        self.paid, self.received = self.paid + paid, self.received + received
        return True


class Exchange:
    """Rules, book and ledgers of agents 0, 1, … (endowed with nothing)."""

    def __init__(
        self, capacity: int, rules: RulesConfig, agents: int, band: tuple[int, int]
    ) -> None:
        self.book = Oracle(capacity, rules.self_trade)
        self.rules, self.band = rules, band
        self.ledgers = [Ledger() for _ in range(agents)]

    def execute(self, row: list[int], collecting: bool) -> Outcome:
        """Takes one order, the fields of `Order`."""
        kind, side, price, size, *_, agent_id = row
        fault = self._fault(kind, price, size)
        if fault:
            self.book.status |= fault
            return Outcome(fault, price)
        outcome = self.book.apply(*row, collecting=collecting)
        return self._settled(outcome, side, agent_id)

    def uncross(self, reference: int) -> Outcome:
        return self._settled(self.book.uncross(reference), None, None)

    def _fault(self, kind: int, price: int, size: int) -> Status:
        fault, rules = Status.OK, self.rules
        if kind in set(Kind) - {Kind.NONE, *rules.kinds}:
            fault |= Status.BAD_KIND
        if kind in PRICED and price % rules.price_step:
            fault |= Status.OFF_TICK
        if kind in (*PRICED, Kind.MARKET) and size % rules.size_step:
            fault |= Status.OFF_LOT
        if rules.price_limit and kind in PRICED and not self.band[0] <= price <= self.band[1]:
            fault |= Status.PRICE_LIMIT
        return fault

    def _settled(self, outcome: Outcome, side: int | None, agent_id: int | None) -> Outcome:
        """Books every trade with both owners; a call auction has resting orders on both sides."""
        status = outcome.status
        for number, ledger in enumerate(self.ledgers):
            own = [trade for trade in outcome.trades if trade.agent_id == number]
            buys = [trade for trade in own if trade.side == Side.BUY]
            sells = [trade for trade in own if trade.side == Side.SELL]
            if number == agent_id:
                (buys if side == Side.BUY else sells).extend(outcome.trades)
            if not ledger.add(shares(buys), shares(sells), money(buys), money(sells)):
                status |= Status.ACCOUNT_OVERFLOW
        self.book.status |= status
        return dataclasses.replace(outcome, status=status)


def shares(trades: list[Trade]) -> int:
    return sum(trade.size for trade in trades)


def money(trades: list[Trade]) -> int:
    return sum(trade.size * trade.price for trade in trades)


def price_band(reference: int, ratio: str) -> tuple[int, int]:
    """reference * (1 -+ ratio) rounded half up; `ratio` in decimal digits."""
    part = fractions.Fraction(ratio)
    half_up = lambda x: int((x + fractions.Fraction(1, 2)) // 1)
    high = min(half_up(reference * (1 + part)), MAX_PRICE - 1)
    return max(half_up(reference * (1 - part)), 1), high
