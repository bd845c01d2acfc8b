"""The command line on good input: files, notes, help; in this process and in another."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from oracles.forecast_world import (
    DAY_OPEN,
    DAY_SECONDS,
    GROWTH,
    LANES,
    SLOTS,
    small_model,
    write_day,
)
from oracles.released_files import fields_of, write_released
from oracles.released_folder import golden_script, released_entries, used_shapes, write_folder

from jaxmars import __version__, cli
from jaxmars.config import OrderModelConfig
from jaxmars.convert import store
from jaxmars.convert.keymap import to_tensors
from jaxmars.models import OrderModel
from jaxmars.tokens.bins import Converters

ROOT = pathlib.Path(__file__).parents[1]
SMALL = ["--lanes", LANES, "--growth", GROWTH, "--slots", SLOTS, "--minutes", 1]
NAMES = ["fan.png", "summary.json", "trajectories.parquet"]
FAR = {"end_bins": 0.01, "spread": [1, 1, 1, 1, 1], "size": [9e6, 9e6, 9e6, 9e6, 9e6]}
TERCILES = {"low": [-1e-4] * 5, "high": [2e-4] * 5}


def words(*arguments: object) -> list[str]:
    return [str(argument) for argument in arguments]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of weights trained, so its manifest says, on something else."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    small_model().save(folder, {"domain": FAR, "label_terciles": TERCILES})
    return folder


def test_forecast_from_a_builtin_start(
    weights: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    flags = ["--weights", weights, "--trajectories", 5, "--start", 2, "--out", out]
    assert cli.main(words("forecast", *SMALL, *flags)) == 0
    assert sorted(p.name for p in out.iterdir()) == NAMES
    found = json.loads((out / "summary.json").read_text())
    assert found["trajectories"] == 5
    assert found["weights_sha256"] == store.file_hash(weights / store.TENSOR_FILE)
    assert found["made_by"] == f"jaxmars {__version__}"
    assert found["config"]["start"] == "reference market, start 2"
    assert found["config"]["flags"]["slots"] == SLOTS
    assert found["class_borders_bp"] == {"low": [-1.0] * 5, "high": [2.0] * 5}
    assert len(pd.read_parquet(out / "trajectories.parquet")) == found["events"] > 100
    printed = capsys.readouterr()
    assert f"wrote {out}/fan.png, trajectories.parquet, summary.json" in printed.out
    assert "P(up)" in printed.out and "crps_ticks" in printed.out
    notes = [line for line in printed.err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1 and "far from what these weights were trained on" in notes[0]
    assert "shares (training: 9e+06" in notes[0]
    bar = printed.err.split("\r")[-1]
    assert bar.startswith("[####") and "5/5 futures" in bar and bar.endswith("orders/s\n")


def test_forecast_from_a_recorded_day(
    weights: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    day = write_day(tmp_path)
    out = tmp_path / "out"
    flags = ["--weights", weights, "--trajectories", 3, "--out", out]
    flags += ["--lobster", *day, "--at", "10:02:00.5"]
    assert cli.main(words("forecast", *SMALL, *flags)) == 0
    found = json.loads((out / "summary.json").read_text())
    assert found["config"]["start"] == "TEST 10:02:00"
    assert found["config"]["simulation"]["market"]["lot_size"] == 100
    assert found["config"]["simulation"]["market"]["tick_size"] == 0.01
    times, mids = recorded_mids(*day)
    now = DAY_OPEN + 120.5
    assert found["start_mid"] == pytest.approx(mids[times <= now][-1])
    assert found["minutes"][0]["mid"]["recorded"] == pytest.approx(mids[times <= now + 60][-1])
    inside = mids[(times > now) & (times <= now + 60)]
    label = 1e4 * (inside.mean() / found["start_mid"] - 1)
    assert found["classes"][0]["recorded_label_bp"] == pytest.approx(label, abs=1e-6)
    assert found["score"][0]["crps_ticks"] >= 0
    time = pd.read_parquet(out / "trajectories.parquet")["time_ns"].to_numpy()
    assert now * 1e9 <= time.min() and time.max() <= (now + 60) * 1e9
    assert "not scored" not in capsys.readouterr().err


def recorded_mids(message: pathlib.Path, book: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Times and mids, in currency, of a day in which every message is an order of its own."""
    times = np.loadtxt(message, delimiter=",", usecols=0)
    asks, bids = np.loadtxt(book, delimiter=",", usecols=(0, 2)).T
    sides = (abs(asks) < 1e9).astype(int) + (abs(bids) < 1e9)
    best = [np.where(abs(x) < 1e9, x, 0) for x in (asks, bids)]
    return times, sum(best) / np.maximum(sides, 1) / 10_000


def test_a_record_that_ends_inside_the_horizon_is_not_scored(
    weights: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    day = write_day(tmp_path)
    flags = ["--weights", weights, "--trajectories", 2, "--out", tmp_path / "out"]
    flags += ["--lobster", *day, "--at", "10:05:00", "--context", "shared", "--precision", "int8"]
    assert cli.main(words("forecast", *SMALL, *flags)) == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["score"] is None
    assert found["config"]["context"] == f"shared_prefix({GROWTH})"
    assert found["config"]["flags"]["precision"] == "int8"
    note = "note: the record ends less than 1 minutes after --at, so what happened is neither"
    said = capsys.readouterr().err
    assert DAY_SECONDS < 360 and note in said
    plan = r"context shared_prefix\(16\); 4 lanes .*; 4 of \d+ KiB while they share"
    assert re.search(plan, said)


def test_the_whole_command_in_a_process_of_its_own(
    weights: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """From another folder, on one core; stderr is notes, the plan, and then the bar alone."""
    flags = words("forecast", *SMALL, "--weights", weights, "--trajectories", 2, "--out", "o")
    done = run_command(flags, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == NAMES
    assert "wrote o/fan.png" in done.stdout
    lines = re.split(r"[\r\n]+", done.stderr.strip())
    assert lines[0].startswith("note: the start is far")
    assert re.match(rf"context anchored\({GROWTH}\); {LANES} lanes per device of ", lines[1])
    assert all(line.startswith("[") for line in lines[2:]), done.stderr


def run_command(arguments: list[str], folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """`jaxmars …` on one core, which makes one device; it silences XLA itself."""
    code = (
        "import os, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
        "from jaxmars.cli import main; sys.exit(main())"
    )
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {k: x for k, x in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_and_version_come_without_jax(tmp_path: pathlib.Path) -> None:
    """`--help` answers at once, and XLA's log level is set before JAX reads it."""
    code = "import sys, jaxmars.cli; jaxmars.cli.build_parser(); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"jaxmars {__version__}\n"


def test_help_lists_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["forecast", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    (commands,) = (
        action
        for action in cli.build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for action in commands.choices["forecast"]._actions:
        assert action.option_strings[-1] in text and action.help
        if action.default not in (None, False, argparse.SUPPRESS):
            assert f"(default: {action.default})" in text
    assert "None" not in text and "horizon, minutes (default: 5)" in text
    assert "price units (1e-4 of the currency) per tick" in text


def test_help_names_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert "run many futures of one start" in text and "turn a released order model" in text


def released_source(folder: pathlib.Path) -> pathlib.Path:
    """A folder as the release publishes it: tensors and five pickled converters."""
    cfg = OrderModelConfig.tiny()
    source = write_folder(
        folder / "source", released_entries(cfg), golden_script().formula_weights(used_shapes(cfg))
    )
    sizes = {"price_level": 8, "order_volume": 8, "pred_order_volume": 8, "order_interval": 4}
    for name in Converters._fields:
        count = sizes.get(name, 6)
        bins = np.arange(count + 1, dtype=float) * 100
        values = [np.array([edge]) for edge in bins[1:]]
        fields = fields_of(
            num_bins=count, bins=bins, bin_values=values, bin_probs=[np.ones(1)] * count
        )
        write_released(source / "converters" / f"{name.replace('_', '-')}.zstd", fields)
    return source


def test_convert_round_trip(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = released_source(tmp_path)
    for one, two in ((source, "first"), (tmp_path / "first", "second")):
        assert cli.main(words("convert", one, tmp_path / two)) == 0
        model = OrderModel.from_pretrained(tmp_path / two)
        line = f"{tmp_path / two}: {model.num_params:,} parameters, head joint\n"
        assert capsys.readouterr() == (line, "")
        assert model.manifest["converted_from"] == str(one)
    theirs, ours = (OrderModel.from_pretrained(f) for f in (source, tmp_path / "second"))
    assert theirs.config == ours.config
    a, b = to_tensors(theirs.params), to_tensors(ours.params)
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert theirs.converters is not None and ours.converters is not None
    for mine, other in zip(theirs.converters, ours.converters, strict=True):
        assert np.array_equal(mine.edges, other.edges)
    assert ours.converters.price_level.edges[1] == 1, "100 price units are a tick"
    assert ours.converters.lob_volume.edges[1] == 100


def test_convert_says_when_there_are_no_bins(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = OrderModelConfig.tiny()
    tensors = golden_script().formula_weights(used_shapes(cfg))
    source = write_folder(tmp_path / "source", released_entries(cfg), tensors)
    assert cli.main(words("convert", source, tmp_path / "out")) == 0
    assert capsys.readouterr().out.endswith("head joint, no converters\n")


def test_warnings_are_one_line_notes(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = OrderModelConfig.tiny()
    tensors = golden_script().formula_weights(used_shapes(cfg))
    for name in ("volume", "trade"):
        table = np.zeros((11, cfg.emb_dim), np.float32)
        tensors[f"order_info_tokenizer.emb_{name}_ratio.weight"] = table
    source = write_folder(tmp_path / "source", released_entries(cfg), tensors)
    assert cli.main(words("convert", source, tmp_path / "out")) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("note: ") and "ratio tables" in lines[0]
