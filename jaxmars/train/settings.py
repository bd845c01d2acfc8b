"""How a model is trained, and the named sizes of models."""

import dataclasses
import math

from jaxmars.config import OrderModelConfig


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How an order model is trained.

    Attributes:
      steps: optimizer steps.
      batch: windows per step.
      accumulate: parts a step's batch is worked on in, one after the other; saves memory.
      learning_rate: peak; linear warm-up, then cosine to `final_fraction` of it.
      warmup: steps of the warm-up.
      final_fraction: learning rate at the end over the peak.
      weight_decay: of matrices only.
      clip: largest gradient norm.
      bfloat16: activations and the weights they meet in bfloat16; the optimizer keeps float32
        weights either way.
      seed: of parameters and of the order of the data.
      report_every: steps between two lines of progress.
      save_every: steps between two checkpoints, each after a validation.
      validation_windows: most windows that validate, spread over the whole validation part.
    """

    steps: int = 2500
    batch: int = 32
    accumulate: int = 1
    learning_rate: float = 1.5e-3
    warmup: int = 100
    final_fraction: float = 0.05
    weight_decay: float = 0.1
    clip: float = 1.0
    bfloat16: bool = True
    seed: int = 0
    report_every: int = 25
    save_every: int = 250
    validation_windows: int = 1024

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and field.name != "seed" and value <= 0:
                raise ValueError(f"training {field.name} must be positive, got {value}")
            if field.type is float and not 0 <= value < math.inf:
                raise ValueError(f"training {field.name} must not be negative, got {value}")
        if self.learning_rate == 0 or self.clip == 0:
            raise ValueError("training learning_rate and clip must be positive, got 0")
        if self.final_fraction > 1:
            raise ValueError(
                f"training final_fraction must be at most 1, got {self.final_fraction}"
            )
        if self.batch % self.accumulate:
            raise ValueError(
                f"training batch {self.batch} must be a multiple of accumulate {self.accumulate}"
            )
        if self.save_every % self.report_every:
            raise ValueError(
                f"training save_every {self.save_every} must be a multiple of report_every "
                f"{self.report_every}"
            )


def _joint(emb_dim: int, num_layers: int, num_heads: int) -> OrderModelConfig:
    """A size of the paper's ladder: window 1024, one softmax over all joint tokens."""
    return OrderModelConfig(
        dropout=0.0, emb_dim=emb_dim, num_layers=num_layers, num_heads=num_heads
    )


def _factored(emb_dim: int, num_layers: int, num_heads: int) -> OrderModelConfig:
    """A size that two CPU cores train: window 128, factored head, one key/value head."""
    return dataclasses.replace(
        OrderModelConfig.default(),
        emb_dim=emb_dim,
        num_layers=num_layers,
        num_heads=num_heads,
    )


# By name. "default" is the built-in model. The joint sizes are the ladder proposed for the paper's
# scaling figure (choice C-OM-1): 3.7 M, 18.6 M, 62 M, 156 M, 259 M, 460 M and 920 M parameters;
# "2m", "5m" and "10m" have the shapes of the published variants without their unused matrices.
SIZES: dict[str, OrderModelConfig] = {
    "nano": _factored(32, 1, 2),
    "micro": _factored(64, 2, 4),
    "default": OrderModelConfig.default(),
    "plus": _factored(192, 4, 6),
    "2m": _joint(16, 1, 2),
    "5m": _joint(32, 1, 2),
    "10m": _joint(64, 2, 2),
    "xs": _joint(64, 2, 4),
    "s": _joint(256, 4, 8),
    "m": _joint(512, 8, 8),
    "b": _joint(768, 12, 12),
    "l": _joint(1024, 12, 16),
    "xl": OrderModelConfig.released(),
    "xxl": _joint(2048, 12, 16),
}
