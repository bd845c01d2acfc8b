"""A training run that several tests look at."""

import pathlib

import pytest
from oracles.tiny_dataset import write_dataset
from oracles.training_runs import CONFIG, SAVED, STEPS, run_of

from jaxmars.train.run import Line, train


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a dataset and a configuration."""
    folder = tmp_path_factory.mktemp("world")
    write_dataset(folder / "data", {"train": [120, 64], "validation": [60], "test": [9]})
    (folder / "run.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session")
def whole(world: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    lines: list[Line] = []
    train(run_of(world, out), lambda line: bool(lines.append(line)) or True)
    assert [line.progress.step for line in lines] == list(range(1, STEPS + 1))
    held_out = [line.progress.step for line in lines if line.validation is not None]
    assert held_out == [SAVED, 2 * SAVED, STEPS]
    return out
