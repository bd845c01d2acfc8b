"""Fitting order models: datasets, sources, the loop, and runs that go on where they stopped."""

from jaxmars.train.build import Day, Recipe, build_dataset
from jaxmars.train.dataset import Dataset, Windows, dataset_source
from jaxmars.train.loop import (
    Progress,
    StepResult,
    TrainingError,
    TrainState,
    fit,
    init_state,
    make_step,
)
from jaxmars.train.losses import Batch, all_own, evaluate, mean_loss, order_loss, position_losses
from jaxmars.train.run import Line, Run, train
from jaxmars.train.settings import SIZES, TrainConfig
from jaxmars.train.sources import Source, reference_source
from jaxmars.train.streams import Generations, Stream

__all__ = [
    "SIZES",
    "Batch",
    "Dataset",
    "Day",
    "Generations",
    "Line",
    "Progress",
    "Recipe",
    "Run",
    "Source",
    "StepResult",
    "Stream",
    "TrainConfig",
    "TrainState",
    "TrainingError",
    "Windows",
    "all_own",
    "build_dataset",
    "dataset_source",
    "evaluate",
    "fit",
    "init_state",
    "make_step",
    "mean_loss",
    "order_loss",
    "position_losses",
    "reference_source",
    "train",
]
