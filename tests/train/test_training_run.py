"""Training runs in folders: what they leave, that they go on exactly, and how they fail."""

import errno
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint
import pytest
from oracles.tiny_dataset import MODEL, write_dataset
from oracles.training_runs import CONFIG, KILLED, ROUNDING, SAVED, STEPS, check_same, losses, run_of
from tensorboardX.proto import event_pb2

from jaxmars.cli import main
from jaxmars.errors import InputError
from jaxmars.files import alone
from jaxmars.models import OrderModel
from jaxmars.tasks.train_recipe import read_run
from jaxmars.train import checkpoint
from jaxmars.train.log import LINES, Log, read_lines
from jaxmars.train.loop import TrainingError
from jaxmars.train.run import CHECKPOINTS, Line, train

BROKEN: dict[str, Any] = {"learning_rate": 3e38, "weight_decay": 1e9, "warmup": 1}  # one program
KILL = """
import os, pathlib, signal, sys
from jaxmars.tasks.train_recipe import read_run
from jaxmars.train.run import train
config, out, step = sys.argv[1:]
run = read_run(pathlib.Path(config), pathlib.Path(out), {})
def watch(line):
    if line.progress.step == int(step):
        os.kill(os.getpid(), signal.SIGKILL)
    return True
train(run, watch)
"""


def test_a_run_leaves_a_model_that_says_what_made_it(whole: pathlib.Path) -> None:
    model = OrderModel.from_pretrained(whole / "model")
    assert model.config.num_max_orders == MODEL.num_max_orders
    assert model.converters is not None
    manifest = model.manifest
    assert manifest["made_by"] == "a test"
    assert manifest["steps_done"] == STEPS
    assert manifest["orders_seen"] == STEPS * 4 * 7
    assert manifest["validation_loss_nats"] == losses(whole)[-1][2]
    assert manifest["config"]["train"]["seed"] == 3
    assert manifest["domain"]["size"] == [100.0] * 5
    assert losses(whole)[-1][1] < losses(whole)[0][1]


def records(data: bytes) -> Iterator[bytes]:
    """The payloads of a TFRecord file: length, check sum, payload, check sum."""
    place = 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        yield data[place + 12 : place + 12 + length]
        place += 16 + length


def test_the_log_is_one_that_tensorboard_reads(whole: pathlib.Path) -> None:
    """Every scalar of every line, in the records of an event file."""
    (file,) = (whole / "tensorboard").iterdir()
    found = {
        (event.step, value.tag): value.simple_value
        for event in map(
            event_pb2.Event.FromString,  # pyright: ignore[reportAttributeAccessIssue]
            records(file.read_bytes()),
        )
        for value in event.summary.value
    }
    for step, loss, _ in losses(whole):
        assert found[step, "loss"] == pytest.approx(loss)
    assert found[STEPS, "validation"] == pytest.approx(losses(whole)[-1][2])


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Killed after a line was logged and before a checkpoint held it."""
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILL, str(world / "run.toml"), str(out), str(KILLED)]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert losses(out)[-1][0] == KILLED
    train(run_of(world, out), lambda line: True)
    check_same(out, whole)
    one, other = (OrderModel.from_pretrained(x / "model").params for x in (out, whole))
    near = lambda x, y: np.allclose(x, y, rtol=ROUNDING, atol=10 * ROUNDING)
    assert all(jax.tree.leaves(jax.tree.map(near, one, other)))


def test_a_run_that_is_told_to_stop_keeps_what_it_did(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """At any line, and goes on from there with the same losses."""
    out = tmp_path / "stopped"
    model = train(run_of(world, out), lambda line: line.progress.step < 5)
    assert model.manifest["steps_done"] == 5
    assert checkpoint.Checkpoints(out / CHECKPOINTS).latest == 5
    seen: list[int] = []
    train(run_of(world, out), lambda line: bool(seen.append(line.progress.step)) or True)
    assert seen[0] == 6
    check_same(out, whole)
    again: list[Line] = []
    train(run_of(world, out), lambda line: bool(again.append(line)) or True)
    assert again == []


def test_another_configuration_is_refused(world: pathlib.Path, whole: pathlib.Path) -> None:
    run = run_of(world, whole)
    other = run._replace(about=run.about | {"train": run.about["train"] | {"seed": 4}})
    with pytest.raises(
        InputError, match=r"holds a training run with train\.seed 3, not 4: expected the same"
    ):
        train(other, lambda line: True)


def test_a_refused_command_leaves_the_run_alone(
    world: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its table and picture too."""
    out = tmp_path / "mine"
    train(run_of(world, out), lambda line: line.progress.step < SAVED)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = world / "other.toml"
    other.write_text(CONFIG.replace("seed = 3", "seed = 4"))
    assert main(["train", "--config", str(other), "--out", str(out)]) == 2
    assert "seed 3, not 4" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_other_data_are_refused(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Data that were built again under the same name are noticed by their checksums."""
    write_dataset(tmp_path / "data", {"train": [64, 120], "validation": [60], "test": [9]})
    (tmp_path / "run.toml").write_text(CONFIG)
    run = read_run(tmp_path / "run.toml", whole, {})
    run = run._replace(about=run_of(world, whole).about)
    with pytest.raises(InputError, match="the place in the data is of dataset"):
        train(run, lambda line: True)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_damaged_data_are_refused(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], split: str
) -> None:
    """In one sentence, before anything is written."""
    write_dataset(tmp_path / "data", {"train": [64, 120], "validation": [60], "test": [9]})
    (tmp_path / "run.toml").write_text(CONFIG)
    (file,) = (tmp_path / "data").glob(f"S0_*_{split}.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    out = tmp_path / "out"
    assert main(["train", "--config", str(tmp_path / "run.toml"), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{file.name} differs from the sha256 in its manifest: it is damaged, build" in error
    assert not out.exists()


def test_a_folder_of_something_else_is_refused(world: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(InputError, match="holds no training run, expected one or an empty"):
        train(run_of(world, tmp_path), lambda line: True)
    assert [x.name for x in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """It is noticed at the next line; weights and checkpoint are those of before."""
    out = tmp_path / "nan"
    train(run_of(world, out), lambda line: line.progress.step < SAVED)
    before = (out / "model" / "model.safetensors").read_bytes()
    broken = run_of(world, out, **BROKEN)
    with pytest.raises(TrainingError, match=r"(loss|norm) is (nan|inf).*; step \d+ is kept in"):
        train(broken, lambda line: True)
    kept = checkpoint.Checkpoints(out / CHECKPOINTS).latest
    assert kept is not None
    assert kept == OrderModel.from_pretrained(out / "model").manifest["steps_done"]
    if kept == SAVED:
        assert (out / "model" / "model.safetensors").read_bytes() == before


def test_a_stop_does_not_keep_parameters_that_are_not_finite(
    world: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Off a save step, where nothing validates them."""
    out = tmp_path / "stop"
    broken = run_of(world, out, **BROKEN)
    with pytest.raises(TrainingError, match="no checkpoint was written yet in"):
        train(broken, lambda line: line.progress.step < 2)
    assert not (out / "model").exists()
    assert checkpoint.Checkpoints(out / CHECKPOINTS).latest is None


def test_a_full_disk_keeps_the_last_checkpoint(
    world: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "full"
    save = orbax.checkpoint.CheckpointManager.save

    def full(self, step: int, **kwargs):
        if step > SAVED:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, step, **kwargs)

    monkeypatch.setattr(orbax.checkpoint.CheckpointManager, "save", full)
    message = r"step 8 cannot be written to .*No space left on device; that of step 4 is kept"
    with pytest.raises(InputError, match=message):
        train(run_of(world, out), lambda line: True)
    assert checkpoint.Checkpoints(out / CHECKPOINTS).latest == SAVED


def test_a_checkpoint_that_does_not_fit_is_not_begun(
    world: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One sentence, nothing from orbax on stderr, and the checkpoint of before stays."""
    out, free = tmp_path / "little", iter((10**9, 0))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    message = r"step 8 cannot be written .* [\d,]+ bytes are needed, 0 free; that of step 4 is kept"
    with pytest.raises(InputError, match=message):
        train(run_of(world, out), lambda line: True)
    assert capfd.readouterr().err == ""
    assert checkpoint.Checkpoints(out / CHECKPOINTS).latest == SAVED


def test_a_damaged_checkpoint_is_one_sentence(world: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "damaged"
    train(run_of(world, out), lambda line: line.progress.step < SAVED)
    for file in (out / CHECKPOINTS / str(SAVED) / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"checkpoint of step 4 in .* cannot be read") as caught:
        train(run_of(world, out), lambda line: True)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_one_window_has_no_error(world: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Null in the files, which stay JSON, and nan for programs; going on keeps it so."""
    out = tmp_path / "one"
    strict = lambda text: json.loads(text, parse_constant=pytest.fail)
    for steps in (SAVED, 2 * SAVED):
        run = run_of(world, out, validation_windows=1)
        model = train(run, lambda line, steps=steps: line.progress.step < steps)
        assert np.isnan(model.manifest["validation_loss_standard_error"])
        manifest = strict((out / "model" / "manifest.json").read_text())
        assert manifest["validation_loss_standard_error"] is None
        lines = [strict(text) for text in (out / LINES).read_text().splitlines()]
        assert lines[SAVED - 1]["validation"] > 0
        assert lines[SAVED - 1]["validation_error"] is None
    assert np.isnan(read_lines(out / LINES)[-1]["validation_error"])


def test_a_log_forgets_what_no_checkpoint_holds(tmp_path: pathlib.Path) -> None:
    """And a line that was cut off."""
    log = Log(tmp_path, 0)
    for step in (1, 2, 3):
        log.add(step, {"loss": float(step)})
    log.close()
    with (tmp_path / LINES).open("a") as file:
        file.write('{"step": 4, "lo')
    Log(tmp_path, 2).close()
    assert read_lines(tmp_path / LINES) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}]
    (tmp_path / LINES).write_text("nonsense\n")
    with pytest.raises(InputError, match="line 1 is 'nonsense', expected a JSON object"):
        read_lines(tmp_path / LINES)


def test_one_process_at_a_time(world: pathlib.Path, whole: pathlib.Path) -> None:
    with (
        alone(whole, "training run"),
        pytest.raises(InputError, match="another process is at work on the training run in"),
    ):
        train(run_of(world, whole), lambda line: True)
    train(run_of(world, whole), lambda line: True)


def test_the_command_trains_and_draws(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert main(["train", "--config", str(world / "run.toml"), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "validation loss" in printed.out and "utilisation" in printed.err
    check_same(out, whole)
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len((out / "metrics.csv").read_text().splitlines()) == STEPS + 1
