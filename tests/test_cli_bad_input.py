"""Bad input on the command line: one line that says what, where and what was expected.

Every case: exit code 2, nothing on stdout, one line on stderr without a traceback, and nothing new
or changed on disk.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from huggingface_hub import constants
from oracles.forecast_world import DAY_LEVELS, GROWTH, small_model, write_day
from safetensors.numpy import load_file, save_file

from jaxmars import cli, cli_forecast
from jaxmars.builtin import default_starts
from jaxmars.convert import store
from jaxmars.tokens.bins import FILE_NAME

ROOT = pathlib.Path(__file__).parents[1]
TENSOR = "decoder.model.layers.1.mlp.down_proj.weight"
Door = Callable[..., str]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with good weights in `weights` and a good day."""
    folder = tmp_path_factory.mktemp("there")
    small_model().save(folder / "weights", {})
    write_day(folder)
    return folder


@pytest.fixture
def world(there: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """A copy to spoil, as the working directory."""
    shutil.copytree(there, tmp_path, dirs_exist_ok=True)
    jax.devices()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "unused")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    return tmp_path


def tree(folder: pathlib.Path) -> dict[str, Any]:
    """Everything below a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refused(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Door:
    """Runs a command that must be refused and returns its sentence."""

    def run(*arguments: object) -> str:
        before = tree(world)
        try:
            code: object = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.endswith("\n") and err.count("\n") == 1 and "Traceback" not in err
        assert tree(world) == before, "something was written"
        return err.removesuffix("\n")

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "jaxmars: the following arguments are required: COMMAND; see jaxmars --help"),
        ("predict", "jaxmars: argument COMMAND: invalid choice: 'predict' (choose from"),
        ("--wat", "jaxmars: the following arguments are required: COMMAND"),
        ("forecast --wat 3", "unknown argument '--wat'; see jaxmars forecast --help"),
        ("forecast --traj 3", "unknown argument '--traj'"),
        ("forecast extra", "unknown argument 'extra'"),
        ("forecast --seed", "argument --seed: expected one argument; see jaxmars forecast --help"),
        ("forecast --lobster m.csv", "argument --lobster: expected 2 arguments"),
        ("forecast --trajectories 0", "--trajectories: expected a whole number from 1 to 1000000"),
        ("forecast --trajectories -1", "from 1 to 1000000, got '-1'"),
        ("forecast --trajectories 1e9", "from 1 to 1000000, got '1e9'"),
        ("forecast --trajectories 1000000000", "from 1 to 1000000, got '1000000000'"),
        ("forecast --trajectories abc", "from 1 to 1000000, got 'abc'"),
        ("forecast --trajectories 1.5", "from 1 to 1000000, got '1.5'"),
        ("forecast --trajectories ²", "from 1 to 1000000, got '²'"),
        (f"forecast --trajectories {'9' * 5000}", "from 1 to 1000000, got '9999"),
        ("forecast --minutes 0", "argument --minutes: expected a whole number from 1 to 390"),
        ("forecast --minutes 391", "from 1 to 390, got '391'"),
        ("forecast --seed -1", "--seed: expected a whole number from 0 to 4294967295, got '-1'"),
        ("forecast --seed 4294967296", "from 0 to 4294967295, got '4294967296'"),
        ("forecast --slots 0", "argument --slots: expected a whole number from 1 to 1000000"),
        ("forecast --slots 1000000000", "argument --slots: expected a whole number from 1 to"),
        ("forecast --lanes 0", "argument --lanes: expected a whole number from 1 to 65536"),
        ("forecast --max-events 0", "argument --max-events: expected a whole number from 1 to"),
        ("forecast --growth 0", "argument --growth: expected a whole number from 1 to 1000000"),
        ("forecast --tick 0", "argument --tick: expected a whole number from 1 to 1000000000"),
        ("forecast --start x", "argument --start: expected a whole number from 0 to 1000000"),
        ("forecast --temperature nan", "--temperature: expected a number above 0, got 'nan'"),
        ("forecast --temperature 0", "argument --temperature: expected a number above 0, got '0'"),
        ("forecast --temperature -1", "expected a number above 0, got '-1'"),
        ("forecast --temperature inf", "expected a number above 0, got 'inf'"),
        ("forecast --temperature hot", "expected a number above 0, got 'hot'"),
        ("forecast --at 10:30", "argument --at: expected a time HH:MM:SS, got '10:30'"),
        ("forecast --at 25:00:00", "expected a time of the day HH:MM:SS, got '25:00:00'"),
        ("forecast --at 10:60:00", "expected a time of the day HH:MM:SS, got '10:60:00'"),
        ("forecast --at 10:30:00.1234567890", "expected a time HH:MM:SS, got '10:30:00.1234"),
        ("forecast --at 1٠:30:00", "expected a time HH:MM:SS, got"),
        ("forecast --at noon", "expected a time HH:MM:SS, got 'noon'"),
        ("forecast --at 10:30:00", "--at belongs to --lobster MESSAGE BOOK, which is missing"),
        ("forecast --tick 100", "--tick belongs to --lobster MESSAGE BOOK, which is missing"),
        ("forecast --lobster m b", "--lobster needs --at HH:MM:SS, the moment to start from"),
        ("forecast --lobster m b --at 10:30:00 --start 1", "--start names a built-in start, but"),
        ("convert", "the following arguments are required: source, out; see jaxmars convert"),
        ("convert a b c", "unknown argument 'c'; see jaxmars convert --help"),
        ("convert weights out --revision v1", "--revision belongs to a hub repository, but weig"),
        ("convert nowhere out", "'nowhere' is neither an existing folder nor a repository id"),
        ("convert weights/config.json out", "config.json is a file, expected the folder of a"),
        ("convert weights weights/config.json", "config.json is a file, expected a folder for"),
        ("convert weights .", "holds TEST_message_10.csv, expected an empty folder or a model"),
    ],
)
def test_flags(refused: Door, arguments: str, sentence: str) -> None:
    said = refused(*arguments.split(" ")) if arguments else refused()
    assert sentence in said
    assert len(said) < 300


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--out weights/config.json", "weights/config.json is a file, expected a folder to write"),
        ("--out weights/config.json/x/y", "weights/config.json is a file, expected a folder to"),
        ("--growth 32", "--growth is 32, expected 1 to 31 for a model of window 32"),
        ("--growth 500", "--growth is 500, expected 1 to 31"),
        ("--start 999", "starts.npz holds starts 0 to 15, got 999"),
        ("--slots 100", "has 100 slots per side, expected at least 256, those of the start"),
    ],
)
def test_sizes_that_do_not_fit(refused: Door, flags: str, sentence: str) -> None:
    said = refused("forecast", "--weights", "weights", "--out", "out", *flags.split())
    assert sentence in said
    assert said.startswith("jaxmars forecast: ")


def test_a_result_in_the_way(world: pathlib.Path, refused: Door) -> None:
    (world / "out" / "fan.png").mkdir(parents=True)
    said = refused("forecast", "--weights", "weights", "--out", "out")
    assert said == (
        "jaxmars forecast: out/fan.png is a folder, expected a file that may be replaced"
    )


def change_config(folder: pathlib.Path, **changes: Any) -> None:
    path = folder / store.CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (folder / store.MANIFEST_FILE).unlink()


def drop_tensor(folder: pathlib.Path) -> None:
    tensors = load_file(folder / store.TENSOR_FILE)
    del tensors[TENSOR]
    save_file(tensors, folder / store.TENSOR_FILE)
    (folder / store.MANIFEST_FILE).unlink()


def change_manifest(folder: pathlib.Path, **changes: Any) -> None:
    path = folder / store.MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def forget_bins(folder: pathlib.Path) -> None:
    (folder / FILE_NAME).unlink()
    (folder / store.MANIFEST_FILE).unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (drop_tensor, f"weights/model.safetensors lacks the tensors {TENSOR}, which the model nee"),
        (lambda f: change_config(f, colour="red"), "config.json has the unknown key 'colour', exp"),
        (lambda f: change_config(f, emb_dim=-1), "config.json: emb_dim is -1, expected an integer"),
        (lambda f: change_config(f, head="two"), "model head 'two' is unknown, expected"),
        (forget_bins, "weights has no converters.json, expected the bins of the model there"),
        (lambda f: (f / FILE_NAME).write_text("{"), "differs from the sha256 in its manifest"),
        (lambda f: (f / "config.json").unlink(), "cannot read weights/config.json: No such file"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "weights/model.safetensors"),
        (lambda f: shutil.rmtree(f), "'weights' is neither an existing folder nor a repository"),
        (
            lambda f: change_manifest(f, label_terciles={"low": 3}),
            "weights/manifest.json: label_terciles: got {'low': 3}, expected low and high with 5",
        ),
        (
            lambda f: change_manifest(f, domain={"spread": 3}),
            "manifest.json: domain is {'spread': 3}, expected end_bins, spread and size",
        ),
    ],
)
def test_weights(
    world: pathlib.Path, refused: Door, spoil: Callable[[pathlib.Path], Any], sentence: str
) -> None:
    spoil(world / "weights")
    assert sentence in refused("forecast", "--weights", "weights", "--out", "out")


def test_converters_that_are_no_json(world: pathlib.Path, refused: Door) -> None:
    (world / "weights" / store.MANIFEST_FILE).unlink()
    (world / "weights" / FILE_NAME).write_text("{")
    said = refused("forecast", "--weights", "weights", "--out", "out")
    assert f"weights/{FILE_NAME}" in said


@pytest.mark.parametrize("command", ["forecast --weights {} --out out", "convert {} out"])
def test_a_repository_that_cannot_be_reached(
    refused: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, command: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    said = refused(*command.format("no-such-owner/no-such-model").split())
    assert "no-such-owner/no-such-model is no folder here and could not be fetched" in said
    assert len(said) < 400


@pytest.mark.parametrize("content", [None, b"", b"text"])
def test_damaged_builtin_starts(
    world: pathlib.Path, refused: Door, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    path = world / "starts.npz"
    whole = default_starts().read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    monkeypatch.setattr(cli_forecast, "default_starts", lambda: path)
    said = refused("forecast", "--weights", "weights", "--out", "out")
    assert f"{path} is not a whole file of start states: " in said


def rewrite(path: pathlib.Path, row: int, line: str | None) -> None:
    lines = path.read_text().splitlines()
    lines[row : row + 1] = [] if line is None else [line]
    path.write_text("\n".join(lines) + "\n")


MESSAGE, BOOK = "TEST_message_10.csv", "TEST_orderbook_10.csv"
GOOD_ROW = "36100.5,1,9999,100,199900,1"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda m, b: m.unlink(), f"{MESSAGE} does not exist, expected a LOBSTER table"),
        (lambda m, b: b.unlink(), f"{BOOK} does not exist, expected a LOBSTER table"),
        (lambda m, b: m.write_text(""), f"{MESSAGE} is empty, expected a LOBSTER table"),
        (lambda m, b: shutil.copy(b, m), f"{MESSAGE}: row 1 has 40 columns, expected 6 (time, ty"),
        (lambda m, b: shutil.copy(m, b), f"{BOOK}: row 1 has 6 columns, expected a multiple of 4"),
        (lambda m, b: rewrite(m, 9, "1,2"), f"{MESSAGE}: row 10 has 2 columns, expected 6 as in"),
        (lambda m, b: rewrite(b, 9, "1,2"), f"{BOOK}: row 10 has 2 columns, expected 40 as in"),
        (lambda m, b: rewrite(b, 9, None), f"{BOOK} has 699 rows, expected 700: one for each mes"),
        (
            lambda m, b: rewrite(m, 9, GOOD_ROW.replace("100,", "x,")),
            f"{MESSAGE}: row 10 column 4 (size) is 'x', expected an integer",
        ),
        (
            lambda m, b: rewrite(m, 9, GOOD_ROW.replace("36100.5", "noon")),
            f"{MESSAGE}: row 10 column 1 (time) is 'noon', expected seconds after midnight",
        ),
        (lambda m, b: rewrite(m, 300, "35000,1,1,100,199900,1"), "row 301: time is 35000.0"),
        (lambda m, b: (m.unlink(), m.mkdir()), f"{MESSAGE} cannot be read"),
    ],
)
def test_recorded_days(
    world: pathlib.Path, refused: Door, spoil: Callable[[pathlib.Path, pathlib.Path], Any], sentence
) -> None:
    spoil(world / MESSAGE, world / BOOK)
    assert sentence in refused(*recorded(), "--at", "10:02:00")


def recorded(*flags: object) -> list[object]:
    start = ["forecast", "--weights", "weights", "--out", "out", "--growth", GROWTH]
    return [*start, "--lobster", MESSAGE, BOOK, *flags]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--at 09:59:59", "the time 09:59:59 lies outside the record, expected 10:00:00 to 10:05"),
        ("--at 10:05:31", "the time 10:05:31 lies outside the record"),
        ("--at 10:02:00 --tick 7", f"{MESSAGE}: row 1: price is 199900, expected a multiple of"),
        ("--at 10:02:00 --slots 19", f"--slots is 19, expected at least 20: {BOOK} has 10 levels"),
        ("--at 10:02:00 --growth 40", "--growth is 40, expected 1 to 31 for a model of window 32"),
        ("--at 10:00:00 --growth 1", "28 orders lie at or before 10:00:00, expected at least 32"),
    ],
)
def test_moments_and_markets(refused: Door, flags: str, sentence: str) -> None:
    assert DAY_LEVELS == 10
    assert sentence in refused(*recorded(*flags.split()))


@pytest.mark.parametrize(
    "arguments", [["forecast", "--weights", "nowhere"], ["forecast", "--minutes", "x"]]
)
def test_a_process_of_its_own(tmp_path: pathlib.Path, arguments: list[str]) -> None:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "jaxmars.cli", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "expected" in done.stderr + "expected a folder"
    assert not list(tmp_path.iterdir())


def test_system_errors_name_the_file(refused: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, said in (
        (PermissionError(13, "Permission denied", "out/x"), "Permission denied: out/x"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("odd\nthing"), "odd thing"),
    ):
        failing = _raiser(error)
        monkeypatch.setattr(cli_forecast, "check", failing)
        assert refused("forecast") == f"jaxmars forecast: {said}"


def test_an_interrupt_is_one_line(
    world: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_forecast, "check", _raiser(KeyboardInterrupt()))
    assert cli.main(["forecast"]) == 130
    assert capsys.readouterr().err == "\njaxmars forecast: interrupted\n"


def _raiser(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any) -> None:
        raise error

    return fail


def test_flags_survive_in_numbers() -> None:
    """The longest accepted values are accepted."""
    flags = "--seed 4294967295 --trajectories 1000000 --minutes 390 --temperature 1e-3"
    args = cli.build_parser().parse_args(["forecast", *flags.split(), "--at", "9:05:01.5"])
    assert args.seed == 2**32 - 1 and args.temperature == 0.001
    assert args.at == (9 * 3600 + 301, 500_000_000)
    assert np.isfinite(args.trajectories)
