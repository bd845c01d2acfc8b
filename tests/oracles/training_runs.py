"""Training runs of a few seconds: their configuration, their losses."""

import dataclasses
import pathlib

import pytest

from jaxmars.tasks.train_recipe import read_run
from jaxmars.train.log import LINES, read_lines
from jaxmars.train.run import Run

CONFIG = """
[data]
dataset = "data"
[model]
size = "nano"
num_layers = 1
dropout = 0.1
emb_dim = 8
num_heads = 2
num_max_orders = 7
num_bins_price_level = 8
num_bins_pred_order_volume = 8
num_bins_order_interval = 4
[train]
steps = 12
batch = 4
warmup = 2
learning_rate = 0.01
report_every = 1
save_every = 4
validation_windows = 8
seed = 3
"""
STEPS, SAVED, KILLED = 12, 4, 7
ROUNDING = 1e-5


def run_of(world: pathlib.Path, out: pathlib.Path, **changes: object) -> Run:
    """The run of the configuration, with other training numbers if given."""
    run = read_run(world / "run.toml", out, {"made_by": "a test"})
    return run._replace(cfg=dataclasses.replace(run.cfg, **changes))


def losses(out: pathlib.Path) -> list[tuple[int, float, float | None]]:
    """Step, loss and validation loss of every line."""
    return [(x["step"], x["loss"], x.get("validation")) for x in read_lines(out / LINES)]


def check_same(one: pathlib.Path, other: pathlib.Path) -> None:
    """Two runs had the same losses. They are nearly always equal bit for bit; programs that were
    compiled in another process have been seen to differ in the last bit of one order's loss."""
    mine, theirs = losses(one), losses(other)
    assert [(x[0], x[2] is None) for x in mine] == [(x[0], x[2] is None) for x in theirs]
    numbers = lambda lines: [x for line in lines for x in line[1:] if x is not None]
    assert numbers(mine) == pytest.approx(numbers(theirs), rel=ROUNDING)
