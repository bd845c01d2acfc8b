"""Every static choice, as frozen dataclasses. What changes a shape is here; numbers are params."""

import dataclasses
import enum

from jaxmars.clock_text import clock_text
from jaxmars.config_checks import is_finite, is_whole, require_whole
from jaxmars.config_model import OrderModelConfig as OrderModelConfig
from jaxmars.enums import Kind

DAY_SECONDS = 86_400
NO_HOUR = 24


class SelfTrade(enum.IntEnum):
    """What happens when an order would trade with a resting order of its own agent."""

    ALLOW = 0  # it trades (release)
    REJECT = 1  # the incoming order is rejected whole
    CANCEL_RESTING = 2  # the resting order is taken out, the incoming one goes on
    CANCEL_INCOMING = 3  # the incoming order trades up to it, the rest is dropped


@dataclasses.dataclass(frozen=True)
class RulesConfig:
    """What the exchange accepts (`MTCH_R` of the paper, spec C-EX-1). The defaults are the release.

    Attributes:
      price_step: ticks; prices must be multiples of it.
      size_step: shares; sizes of new orders must be multiples of it.
      price_limit: largest distance from the reference price of the day as a share of it (0.1 in
        most of the Chinese A-share market); 0 for none.
      self_trade: what happens when an agent would trade with itself.
      crowd: agents that stand for many traders (a noise agent, an order model, the owner 0 of all
        volume in recorded books): what they trade with themselves is no self-trade.
      kinds: order kinds accepted.
    """

    price_step: int = 1
    size_step: int = 1
    price_limit: float = 0.0
    self_trade: SelfTrade = SelfTrade.ALLOW
    crowd: tuple[int, ...] = ()
    kinds: tuple[Kind, ...] = (
        Kind.LIMIT,
        Kind.MARKET,
        Kind.CANCEL,
        Kind.IOC,
        Kind.FOK,
        Kind.POST_ONLY,
    )

    def __post_init__(self) -> None:
        require_whole("rules", self, 1, "price_step size_step")
        if not is_finite(self.price_limit) or not 0 <= self.price_limit < 1:
            raise ValueError(f"rules price_limit must be in [0, 1), got {self.price_limit!r}")
        if not isinstance(self.self_trade, SelfTrade):
            names = ", ".join(f"SelfTrade.{rule.name}" for rule in SelfTrade)
            raise ValueError(f"rules self_trade must be one of {names}, got {self.self_trade!r}")
        if not all(is_whole(number) for number in self.crowd):
            raise ValueError(f"rules crowd must be numbers of agents, got {self.crowd}")
        if not set(self.kinds) <= set(Kind) - {Kind.NONE, Kind.UNCROSS}:
            raise ValueError(f"rules kinds must be kinds of orders, got {self.kinds}")


class PhaseKind(enum.IntEnum):
    """How orders are treated in a phase of the trading day."""

    CONTINUOUS = 0  # matched as they arrive
    AUCTION = 1  # collected, matched once at the end


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of the trading day, both ends included.

    Attributes:
      kind: how orders are treated.
      start: seconds since midnight.
      end: seconds since midnight.
    """

    kind: PhaseKind
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Calendar:
    """The phases of a trading day in time order. A moment two phases share belongs to the later.

    Attributes:
      phases: where orders are taken; between and outside them the market is closed. By default one
        continuous session all day.
    """

    phases: tuple[Phase, ...] = (Phase(PhaseKind.CONTINUOUS, 0, DAY_SECONDS),)

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("a calendar must have at least one phase, got none")
        last = 0
        for phase in self.phases:
            ends = phase.start, phase.end
            if not all(is_whole(x) and 0 <= x <= DAY_SECONDS for x in ends):
                raise ValueError(
                    f"calendar phases must start and end at whole seconds from 0 to {DAY_SECONDS}, "
                    f"got {phase.start!r} to {phase.end!r}"
                )
            if not last <= phase.start < phase.end:
                first, then, before = (clock_text(x) for x in (*ends, last))
                raise ValueError(
                    "calendar phases must follow each other and end after they start, got one from "
                    f"{first} to {then} after {before}"
                )
            last = phase.end

    @property
    def auction_ends(self) -> tuple[int, ...]:
        """When each call auction is uncrossed, seconds."""
        return tuple(p.end for p in self.phases if p.kind == PhaseKind.AUCTION)

    @property
    def breaks(self) -> tuple[tuple[int, int], ...]:
        """(start, end) of every break between two phases, seconds."""
        pairs = zip(self.phases, self.phases[1:], strict=False)
        return tuple((a.end, b.start) for a, b in pairs if a.end < b.start)

    @property
    def is_always_open(self) -> bool:
        """Whether it is one continuous session all day, so that nothing depends on it."""
        return self == Calendar()

    @classmethod
    def continuous(cls, start: int, end: int) -> "Calendar":
        """One session without auctions (the release's preset of that name)."""
        return cls((Phase(PhaseKind.CONTINUOUS, start, end),))

    @classmethod
    def us_equity(cls) -> "Calendar":
        """09:30 to 16:00."""
        return cls.continuous(_clock(9, 30), _clock(16, 0))

    @classmethod
    def chinese_a_share(cls) -> "Calendar":
        """Opening auction 09:15-09:25, sessions around lunch, closing auction 14:57-15:00."""
        return cls(
            (
                Phase(PhaseKind.AUCTION, _clock(9, 15), _clock(9, 25)),
                Phase(PhaseKind.CONTINUOUS, _clock(9, 30), _clock(11, 30)),
                Phase(PhaseKind.CONTINUOUS, _clock(13, 0), _clock(14, 57)),
                Phase(PhaseKind.AUCTION, _clock(14, 57), _clock(15, 0)),
            )
        )

    @classmethod
    def release(cls) -> "Calendar":
        """The release's preset: both auctions of the A-share market, but no lunch break."""
        return cls(
            (
                Phase(PhaseKind.AUCTION, _clock(9, 15), _clock(9, 25)),
                Phase(PhaseKind.CONTINUOUS, _clock(9, 30), _clock(14, 57)),
                Phase(PhaseKind.AUCTION, _clock(14, 57), _clock(15, 0)),
            )
        )


def _clock(hour: int, minute: int) -> int:
    """Seconds since midnight."""
    return 3600 * hour + 60 * minute


@dataclasses.dataclass(frozen=True)
class MarketConfig:
    """One instrument and its book.

    Attributes:
      tick_size: currency per tick (0.01 CNY or USD).
      lot_size: shares per lot; sizes of generated orders are multiples of it.
      slots: resting orders per side the book can hold.
      levels: price levels of a snapshot (the release keeps 10).
      late_hour: clock hour from which `late_shift` seconds are taken off the elapsed time. The
        release removes the lunch break so, spec "order state" step 3, even if trading opened after
        it; 24 switches this off, and the breaks of the calendar that were really crossed are taken
        off instead.
      late_shift: seconds taken off at and after `late_hour`.
      rules: what the exchange accepts.
      calendar: when it does.
      max_trades: fills recorded per event.
      max_in_flight: delayed requests that can be under way at once; 0 when no agent has latency.
    """

    tick_size: float = 0.01
    lot_size: int = 100
    slots: int = 512
    levels: int = 10
    late_hour: int = NO_HOUR
    late_shift: int = 0
    rules: RulesConfig = RulesConfig()
    calendar: Calendar = Calendar()
    max_trades: int = 0
    max_in_flight: int = 0

    def __post_init__(self) -> None:
        if not is_finite(self.tick_size) or self.tick_size <= 0:
            raise ValueError(f"market tick_size must be a positive number, got {self.tick_size!r}")
        require_whole("market", self, 1, "lot_size slots levels")
        require_whole("market", self, 0, "late_shift max_trades max_in_flight")
        require_whole("market", self, 0, "late_hour", NO_HOUR)

    @property
    def has_late_shift(self) -> bool:
        """Whether the release's rule for the elapsed time holds."""
        return self.late_hour < NO_HOUR

    @classmethod
    def chinese_a_share(cls) -> "MarketConfig":
        """Tick 0.01 CNY, lots of 100, opening and closing auction, lunch break."""
        return cls(calendar=Calendar.chinese_a_share())

    @classmethod
    def release(cls) -> "MarketConfig":
        """The release: tick 0.01 CNY, lots of 100, its calendar, its elapsed time."""
        return cls(late_hour=13, late_shift=5400, calendar=Calendar.release())


class Context(enum.StrEnum):
    """How an order model reads the past, by the names users give (`agents.policy`)."""

    EXACT = "exact"
    ANCHORED = "anchored"
    SHARED = "shared"


class PrecisionName(enum.StrEnum):
    """What an order model computes in, by the names users give (`models.precision`)."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


@dataclasses.dataclass(frozen=True)
class SimConfig:
    """How trajectories are run.

    Attributes:
      market: the instrument.
      segment: events per compiled call; also how often a context is re-anchored.
      lanes: trajectories that run side by side on one device.
      max_events: event budget of one trajectory.
      opening_lanes: trajectories of one start that go through their first segment together on one
        device, where agents gain from it; 0 for as many as `lanes`.
      model_devices: devices that hold one copy of the parameters between them and run the same
        lanes, for models too large for one.
    """

    market: MarketConfig = MarketConfig()
    segment: int = 256
    lanes: int = 16
    max_events: int = 16384
    opening_lanes: int = 0
    model_devices: int = 1

    def __post_init__(self) -> None:
        require_whole("simulation", self, 1, "segment lanes max_events model_devices")
        require_whole("simulation", self, 0, "opening_lanes")
