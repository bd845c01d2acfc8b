"""The static choices of the order model. Read it as part of `config`, where users import it."""

import dataclasses
import math

from jaxmars.config_checks import is_finite, require_whole

NOT_SET = -1


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
      never_sweeps: whether the size of an order that trades is drawn from those up to what rests at
        the best price, for flow in which no trade reaches a second price or leaves a rest.
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
    never_sweeps: bool = False

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
