"""Fitting order models."""

from jaxmars.train.loop import Progress, TrainingError, fit
from jaxmars.train.losses import evaluate, mean_loss, order_loss, position_losses

__all__ = [
    "Progress",
    "TrainingError",
    "evaluate",
    "fit",
    "mean_loss",
    "order_loss",
    "position_losses",
]
