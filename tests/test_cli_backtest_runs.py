"""`jaxmars backtest` around its chunks, which compute nothing here: what a run is, what it reads,
how futures are laid on devices, how its processes meet."""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import pandas as pd
import pytest
from oracles.forecast_world import GROWTH, SLOTS, small_model, write_day
from oracles.tiny_world import bins_of, tiny_converters

from jaxmars import cli, cli_backtest, data
from jaxmars.files import PART
from jaxmars.tasks import backtest, backtest_files
from jaxmars.tasks.backtest import ChunkResult, Forecaster, Loaded

ROOT = pathlib.Path(__file__).parents[1]
TIMES = ("10:03:00", "10:03:30", "10:04:00")
FLAGS = ["--growth", GROWTH, "--slots", SLOTS, "--minutes", 1]
PATIENCE = 900  # seconds, for a machine that is busy with other things
BORDERS = {"low": [-1e-4] * 5, "high": [1e-4] * 5}
JOIN = """
import argparse, sys
import jax
from jaxmars import cli_backtest
flags = argparse.Namespace(coordinator=sys.argv[1], processes=2, process=int(sys.argv[2]))
print(*cli_backtest.join(flags), jax.distributed.is_initialized(), len(jax.devices()))
"""

Given = list[tuple[list[Loaded], Forecaster]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with weights, two days and a table of moments."""
    folder = tmp_path_factory.mktemp("inputs")
    small_model().save(folder / "weights", {})
    rows = ["message,book,at"]
    for day in ("one", "two"):
        (folder / day).mkdir()
        names = [f"{day}/{path.name}" for path in write_day(folder / day)]
        rows += [",".join([*names, at]) for at in TIMES]
    (folder / "moments.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def world(inputs: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of them for one test."""
    return shutil.copytree(inputs, tmp_path / "world")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What every chunk was given; none computes anything."""
    found: Given = []

    def run_chunk(loaded: list[Loaded], market: object, to: Forecaster, *_: object) -> ChunkResult:
        found.append((loaded, to))
        frame = pd.DataFrame({"moment": [one.moment.number for one in loaded]})
        return ChunkResult(frame, frame)

    monkeypatch.setattr(backtest, "run_chunk", run_chunk)
    monkeypatch.setattr(backtest_files, "draw", lambda path, *_: path.touch())
    return found


def backtest_of(world: pathlib.Path, *more: object) -> int:
    inputs = ["--moments", world / "moments.csv", "--weights", world / "weights"]
    words = ["backtest", *inputs, "--out", world / "out", *FLAGS, *more]
    return cli.main([str(word) for word in words])


def test_a_day_is_read_once(
    world: pathlib.Path, given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, days = data.read_lobster, []

    def counted(message: pathlib.Path, *more: object) -> data.LobsterData:
        days.append(message.parent.name)
        return read(message, *more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(data, "read_lobster", counted)
    assert backtest_of(world, "--chunk", 1) == 0
    assert days == ["one", "two"] and len(given) == 2 * len(TIMES)


def other_day(world: pathlib.Path) -> None:
    write_day(world / "two", seed=1)


def other_bins(world: pathlib.Path) -> None:
    bins = tiny_converters()._replace(order_interval=bins_of([-1, 0, 0.3, 0.7, 2]))
    dataclasses.replace(small_model(), converters=bins).save(world / "weights", {})


def other_borders(world: pathlib.Path) -> None:
    small_model().save(world / "weights", {"label_terciles": BORDERS})


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_day, "starts_sha256.two/TEST_message_10.csv"),
        (other_bins, "converters_sha256"),
        (other_borders, "label_terciles"),
    ],
)
def test_other_contents_make_another_run(
    change, name: str, world: pathlib.Path, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although every file has the name it had."""
    share = ["--processes", 2, "--process", 0]
    assert backtest_of(world, *share) == 0
    chunks = len(given)
    change(world)
    capsys.readouterr()
    assert backtest_of(world) == 2
    said = capsys.readouterr().err
    assert f"out holds a backtest with config.{name} " in said and said.count("\n") == 1
    assert "expected the same configuration to go on, or another folder" in said
    assert len(given) == chunks


def test_a_run_may_be_moved(
    world: pathlib.Path, given: Given, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert backtest_of(world) == 0
    chunks = len(given)
    there = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.move(world, there)
    assert backtest_of(there) == 0 and len(given) == chunks


def test_built_in_starts_are_known_by_their_contents(world: pathlib.Path, given: Given) -> None:
    words = ["backtest", "--weights", world / "weights", "--out", world / "out", *FLAGS]
    assert cli.main([str(word) for word in words]) == 0
    config = json.loads((world / "out" / "config.json").read_text())["config"]
    assert config["moments"][0] == ["starts.npz", "starts.npz", 0, 0]
    assert [len(hash) for hash in config["starts_sha256"].values()] == [64]


def test_leftovers_go_once_nobody_writes_chunks(world: pathlib.Path, given: Given) -> None:
    left = world / "out" / "chunks" / f"{PART}killed"
    assert backtest_of(world, "--processes", 2, "--process", 0) == 0
    left.mkdir()
    (left / "00001-paths.parquet").touch()
    assert backtest_of(world, "--processes", 2, "--process", 0) == 0
    assert left.exists(), "while the other process may be writing"
    assert backtest_of(world, "--processes", 2, "--process", 1) == 0
    assert not left.exists() and (world / "out" / "summary.json").exists()
    assert len(list((world / "out" / "chunks").iterdir())) == 2 * len(given)


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (["--trajectories", 16, "--max-events", 2 * GROWTH], f"shared_prefix({GROWTH})"),
        (["--trajectories", 15, "--max-events", 2 * GROWTH], f"anchored({GROWTH})"),
        (["--trajectories", 16], f"anchored({GROWTH})"),
        (["--trajectories", 16, "--context", "exact"], "exact"),
    ],
)
def test_the_context_suits_the_run(
    more: list[object], name: str, world: pathlib.Path, given: Given
) -> None:
    """As in a forecast."""
    assert backtest_of(world, *more) == 0
    assert {forecaster.policy.name for _, forecaster in given} == {name}
    assert json.loads((world / "out" / "summary.json").read_text())["config"]["context"] == name


@pytest.mark.parametrize(("chunk", "together"), [(1, 1), (2, 2), (9, len(TIMES))])
def test_an_accelerator_is_given_the_futures_of_a_chunk(
    chunk: int,
    together: int,
    world: pathlib.Path,
    given: Given,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "device_count", lambda: 6)  # of three processes
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    assert backtest_of(world, "--trajectories", 10, "--chunk", chunk) == 0
    for loaded, forecaster in given:
        assert len(loaded) <= forecaster.chunk == together
        assert forecaster.cfg.lanes == 5 * together
        assert forecaster.cfg.opening_lanes == min(5 * together, 10)


def test_a_process_that_is_told_its_number_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is the one it was given, whatever JAX keeps of the meeting."""
    met: list[dict[str, object]] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: met.append(given))
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)
    flags = argparse.Namespace(coordinator="127.0.0.1:1", processes=4, process=2)
    assert cli_backtest.join(flags) == (2, 4)
    assert met == [{"coordinator_address": "127.0.0.1:1", "num_processes": 4, "process_id": 2}]


@pytest.mark.parametrize("finds", [True, False])
def test_processes_part_once_they_have_numbers(finds: bool) -> None:
    """Whether they are told them or JAX finds them, here as on a Slurm cluster. JAX would end all
    of them if they stayed together and one died, or ended minutes after another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    cluster = {"JOB_ID": "1", "STEP_NODELIST": "127.0.0.1", "NTASKS": "2", "LOCALID": "0"}
    slurm = {f"SLURM_{name}": value for name, value in cluster.items()}
    common = os.environ | slurm | {"JAX_COORDINATOR_ADDRESS": place, "PYTHONPATH": str(ROOT)}
    common |= {"JAX_NUM_CPU_DEVICES": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, "auto" if finds else place, str(i)],
            env=common | ({"SLURM_PROCID": str(i)} if finds else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in (0, 1)
    ]
    said = [process.communicate(timeout=PATIENCE) for process in running]
    assert [out for out, _ in said] == [f"{i} 2 False 1\n" for i in (0, 1)], said
