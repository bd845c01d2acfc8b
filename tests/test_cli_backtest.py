"""`jaxmars backtest`: chunks, interruption, several processes, tables and bad input."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.forecast_world import GROWTH, SLOTS, small_model, write_day

from jaxmars import cli, cli_backtest
from jaxmars.sim import lanes
from jaxmars.tasks.backtest import Moment, cut_chunks, share_of
from jaxmars.tasks.backtest_files import chunk_files, is_finished, summarise_horizons

ROOT = pathlib.Path(__file__).parents[1]
TIMES = ("10:01:00", "10:02:00", "10:03:00", "10:04:00")
TRAJECTORIES = 3
FLAGS = ["--lanes", 2, "--growth", GROWTH, "--slots", SLOTS, "--minutes", 1, "--chunk", 2]
FLAGS += ["--trajectories", TRAJECTORIES]
PATIENCE = 900  # seconds, for a machine that is busy with other things
KILLED = """
import os, signal, sys
from jaxmars import cli
from jaxmars.tasks import backtest_files
write_chunk = backtest_files.write_chunk
def killed(out, number, *args):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    write_chunk(out, number, *args)
backtest_files.write_chunk = killed
sys.exit(cli.main(sys.argv[1:]))
"""
APART = """
import sys
import jax
from jaxmars import cli, cli_backtest
run_one = cli_backtest.run_one
def checked(*args):
    assert not jax.distributed.is_initialized()
    run_one(*args)
cli_backtest.run_one = checked
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with weights, a day and a table of moments."""
    folder = tmp_path_factory.mktemp("backtest")
    small_model().save(folder / "weights", {})
    message, book = write_day(folder)
    rows = [f"{message.name},{book.name},{at}" for at in TIMES]
    (folder / "moments.csv").write_text("\n".join(["message,book,at", *rows]) + "\n")
    return folder


def command(world: pathlib.Path, out: pathlib.Path, *more: object) -> list[str]:
    inputs = ["--moments", world / "moments.csv", "--weights", world / "weights", "--out", out]
    return [str(word) for word in ("backtest", *inputs, *FLAGS, *more)]


def start(words: list[str], program: str) -> subprocess.Popen[str]:
    """The command in a process of its own, under a program that watches it."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def chunks_of(out: pathlib.Path) -> list[pd.DataFrame]:
    return [pd.read_parquet(path) for n in (0, 1) for path in chunk_files(out, n)]


def assert_same(out: pathlib.Path, other: pathlib.Path) -> None:
    """Every number of every chunk, bit for bit."""
    for mine, theirs in zip(chunks_of(out), chunks_of(other), strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.fixture(scope="module")
def whole(world: pathlib.Path) -> pathlib.Path:
    """An undisturbed run."""
    assert cli.main(command(world, world / "whole")) == 0
    return world / "whole"


def test_every_moment_and_future_is_there(whole: pathlib.Path) -> None:
    paths = pd.concat(chunks_of(whole)[::2])
    pairs = list(zip(paths["moment"], paths["trajectory"], strict=True))
    assert pairs == [(n, j) for n in range(len(TIMES)) for j in range(TRAJECTORIES)]
    numbers = {name: paths[name].to_numpy() for name in ("minute", "orders", "mid")}
    assert (numbers["minute"] == 1).all() and (numbers["orders"] > 20).all()
    assert ((numbers["mid"] > 19) & (numbers["mid"] < 21)).all()
    assert len({tuple(row) for row in paths[["mid", "orders", "shares"]].to_numpy()}) > 8
    rows = pd.read_csv(whole / "horizons.csv")
    assert rows["name"].tolist() == [f"TEST {36_000 + 60 * n:.3f}" for n in range(1, 5)]
    np.testing.assert_allclose(rows[["P(down)", "P(flat)", "P(up)"]].sum(axis=1), 1)
    assert len(set(numbers["mid"])) > 1
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["moments"] == len(TIMES) and summary["config"]["chunk"] == 2
    assert summary["horizons"][0]["moments"] == len(TIMES)
    assert (whole / "backtest.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_killed_goes_on(world: pathlib.Path, whole: pathlib.Path) -> None:
    """Before its second chunk is written, with the numbers of an undisturbed one, and without
    computing a finished chunk again."""
    out = world / "killed"
    process = start(command(world, out), KILLED)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, err
    assert is_finished(out, 0) and not is_finished(out, 1)
    assert not (out / "summary.json").exists()
    before = [path.stat().st_mtime_ns for path in chunk_files(out, 0)]
    assert cli.main(command(world, out)) == 0
    assert [path.stat().st_mtime_ns for path in chunk_files(out, 0)] == before
    assert_same(out, whole)
    mine, theirs = (json.loads((of / "summary.json").read_text()) for of in (out, whole))
    assert mine["horizons"] == theirs["horizons"]


def test_two_processes_share_the_work(world: pathlib.Path, whole: pathlib.Path) -> None:
    """They meet through jax.distributed and part; each chunk is written by one of them."""
    out = world / "shared"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{probe.getsockname()[1]}"
    more = [["--coordinator", place, "--processes", 2, "--process", i] for i in (0, 1)]
    running = [start(command(world, out, *flags), APART) for flags in more]
    said = [process.communicate(timeout=PATIENCE) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    for i, (_, err) in enumerate(said):
        assert re.findall(r"(chunk \d/2): context", err) == [f"chunk {i + 1}/2"]
    assert sum("wrote" in told for told, _ in said) >= 1
    assert_same(out, whole)


def test_a_chunk_with_fewer_moments_compiles_nothing_anew(
    world: pathlib.Path, whole: pathlib.Path
) -> None:
    """And its futures are those of the same moment in a whole chunk."""
    table = world / "three.csv"
    table.write_text("\n".join((world / "moments.csv").read_text().splitlines()[:-1]) + "\n")
    before = lanes._compiled.cache_info().misses
    assert cli.main(command(world, world / "three", "--moments", table)) == 0
    assert lanes._compiled.cache_info().misses == before
    for mine, theirs in zip(chunks_of(world / "three"), chunks_of(whole), strict=True):
        same: Any = theirs[theirs["moment"].isin(mine["moment"])]
        pd.testing.assert_frame_equal(mine, same.reset_index(drop=True), check_exact=True)


def another_day(world: pathlib.Path) -> pathlib.Path:
    """The same moments of a day of the same name but for its date."""
    (world / "TEST_later_10.csv").write_bytes((world / "TEST_message_10.csv").read_bytes())
    table = world / "later.csv"
    table.write_text((world / "moments.csv").read_text().replace("_message_", "_later_"))
    return table


def test_another_run_is_refused(
    world: pathlib.Path,
    whole: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cli.main(command(world, whole, "--seed", 1)) == 2
    assert "holds a backtest with seed 0, not 1: expected the same" in capsys.readouterr().err
    monkeypatch.setattr(cli_backtest, "MOST_SEEDS", len(TIMES) * TRAJECTORIES - 1)
    assert cli.main(command(world, whole)) == 2
    assert "4 moments with 3 futures each were asked for, expected" in capsys.readouterr().err
    monkeypatch.undo()
    assert cli.main(command(world, whole, "--processes", 2, "--process", 2)) == 2
    assert "--process is 2, expected 0 to 1" in capsys.readouterr().err
    assert cli.main(command(world, whole, "--moments", another_day(world))) == 2
    assert "holds a backtest with config.moments [['TEST_message_10.csv" in capsys.readouterr().err
    damaged = world / "damaged"
    assert not damaged.exists()
    for path in whole.rglob("*"):
        if path.is_file():
            there = damaged / path.relative_to(whole)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())
    chunk_files(damaged, 1)[1].write_bytes(b"PAR1")
    assert cli.main(command(world, damaged)) == 2
    said = capsys.readouterr().err
    assert "00001-horizons.parquet is damaged" in said and "delete it" in said


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("message,at\n", "has the columns message, at, expected message, book, at"),
        ("", "has the columns none, expected message, book, at"),
        ("message,book,at\n", "names no moment, expected at least one row"),
        (
            "message,book,at\nA.csv,B.csv,10:00:00\n",
            "row 1: ",
        ),
        ("message,book,at\nmoments.csv,moments.csv,noon\n", "row 1: at is 'noon', expected a time"),
    ],
)
def test_tables_that_make_no_sense(
    table: str, sentence: str, world: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world / "bad.csv"
    path.write_text(table)
    words = command(world, world / "never")
    words[words.index("--moments") + 1] = str(path)
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said and str(path) in said and said.count("\n") == 1
    assert not (world / "never").exists()


def test_chunks_hold_moments_of_one_day() -> None:
    one, two = pathlib.Path("a"), pathlib.Path("b")
    days = [one, one, one, two, one]
    moments = [Moment(n, day, day, (n, 0)) for n, day in enumerate(days)]
    numbers = [[m.number for m in chunk] for chunk in cut_chunks(moments, 2)]
    assert numbers == [[0, 1], [2], [3], [4]]
    shares = [list(share_of(7, i, 3)) for i in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]


def test_the_summary_of_known_forecasts() -> None:
    rows = pd.DataFrame(
        {
            "minutes": [1, 1, 1, 1],
            "class": ["up", "up", "down", "flat"],
            "recorded_class": ["up", "down", "down", "down"],
            "crps_ticks": [1.0, 2.0, 3.0, 2.0],
            "crps_unchanged_ticks": [2.0, 2.0, 2.0, 4.0],
            "in_50%": [True, False, True, False],
            "in_80%": [True, True, True, False],
            "in_95%": [True, True, True, True],
        }
    )
    (found,) = summarise_horizons(rows).to_dict("records")
    assert found == {
        "minutes": 1,
        "moments": 4,
        "accuracy": 0.5,
        "accuracy_error": 0.25,
        "most_frequent_class": 0.75,
        "crps_ticks": 2.0,
        "crps_unchanged_ticks": 2.5,
        "in_50%": 0.5,
        "in_80%": 0.75,
        "in_95%": 1.0,
    }
    assert not len(summarise_horizons(rows.drop(columns="recorded_class")))
