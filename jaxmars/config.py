"""Every static choice, as frozen dataclasses. What changes a shape is here; numbers are params."""

import dataclasses
import enum
import math

from jaxmars.clock_text import clock_text
from jaxmars.config_checks import is_finite, is_whole, require_whole
from jaxmars.enums import Kind

NOT_SET = -1
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


@dataclasses.dataclass(frozen=True)
class OrderModelConfig:
    """The order model. The first eight names are those of a released `config.json`.

    Attributes:
      dropout: attention dropout in training; never used at inference.
      emb_dim: width d.
      num_bins_order_interval: interval slots.
      num_bins_pred_order_volume: volume slots.
      num_bins_price_level: price slots.
      num_heads: attention heads.
      num_layers: decoder layers.
      num_max_orders: context window W, orders.
      head: name of the output head, a key of `models.heads.HEADS`.
      num_kv_heads: key/value heads; `num_heads` in released models.
      num_ratio_rows: rows of the volume-ratio and trade-ratio tables; 0 when there are none, 11 in
        the published variants.
      max_change: largest price change to the open, basis points (table rows: 2 * max_change + 1).
      num_time_rows: rows of the time table.
      seconds_per_row: seconds of one row of the time table.
      rounded_rope: whether the rotary frequencies are rounded to half precision, as in models the
        release serves; for comparison with what they put out.
      has_summary: whether the model reads the summary of a row (`tokens.summary`), which released
        models do not know.
      fitting_cancels: whether a cancel of v shares goes to the nearest price where v shares rest,
        as in recorded flow; else, as in the release, to the nearest own price, where it takes out
        at most what rests. Which is more like the market must be measured.
    """

    dropout: float = 0.1
    emb_dim: int = 1024
    num_bins_order_interval: int = 16
    num_bins_pred_order_volume: int = 32
    num_bins_price_level: int = 32
    num_heads: int = 16
    num_layers: int = 24
    num_max_orders: int = 1024
    head: str = "joint"
    num_kv_heads: int = NOT_SET
    num_ratio_rows: int = 0
    max_change: int = 2000
    num_time_rows: int = 2881
    seconds_per_row: int = 5
    rounded_rope: bool = False
    has_summary: bool = False
    fitting_cancels: bool = False

    def __post_init__(self) -> None:
        positive = (
            "emb_dim num_bins_order_interval num_bins_pred_order_volume num_bins_price_level "
            "num_heads num_layers num_max_orders max_change num_time_rows seconds_per_row"
        )
        require_whole("model config", self, 1, positive)
        require_whole("model config", self, 0, "num_ratio_rows")
        if not is_finite(self.dropout) or not 0 <= self.dropout < 1:
            raise ValueError(f"model config dropout must be in [0, 1), got {self.dropout!r}")
        if self.emb_dim % (2 * self.num_heads):
            raise ValueError(
                f"model config emb_dim {self.emb_dim} must be a multiple of twice num_heads "
                f"{self.num_heads}, so that rotary pairs fill each head"
            )
        if self.kv_heads <= 0 or self.num_heads % self.kv_heads:
            raise ValueError(
                f"model config num_heads {self.num_heads} must be a multiple of num_kv_heads "
                f"{self.kv_heads}"
            )

    @property
    def kv_heads(self) -> int:
        """Key/value heads in use."""
        return self.num_heads if self.num_kv_heads == NOT_SET else self.num_kv_heads

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.emb_dim // self.num_heads

    @property
    def slot_shape(self) -> tuple[int, int, int, int]:
        """Slots per order attribute: (type, price, volume, interval)."""
        return (
            3,
            self.num_bins_price_level,
            self.num_bins_pred_order_volume,
            self.num_bins_order_interval,
        )

    @property
    def vocab(self) -> int:
        """Joint order tokens."""
        return math.prod(self.slot_shape)

    @classmethod
    def released(cls) -> "OrderModelConfig":
        """The full-size release: 24 layers of width 1024, window 1024."""
        return cls()

    @classmethod
    def default(cls) -> "OrderModelConfig":
        """The built-in model: 1.7 M parameters, window 128, factored head, one key/value head."""
        return cls(
            dropout=0.0,
            emb_dim=128,
            num_bins_order_interval=64,
            num_bins_price_level=64,
            num_heads=4,
            num_layers=3,
            num_max_orders=128,
            head="factored",
            num_kv_heads=1,
            has_summary=True,
        )

    def with_released_bins(self) -> "OrderModelConfig":
        """The same size with the numbers of bins of the released models."""
        names = "num_bins_price_level num_bins_pred_order_volume num_bins_order_interval"
        released = {name: getattr(OrderModelConfig.released(), name) for name in names.split()}
        return dataclasses.replace(self, **released)

    @classmethod
    def tiny(cls) -> "OrderModelConfig":
        """Small enough for every test: window 32, joint head of 2 x 8 x ... slots."""
        return cls(
            dropout=0.0,
            emb_dim=32,
            num_bins_order_interval=4,
            num_bins_pred_order_volume=8,
            num_bins_price_level=8,
            num_heads=4,
            num_layers=2,
            num_max_orders=32,
        )


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
