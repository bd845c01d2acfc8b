"""`jaxmars bench-lob`: files, report and sentences of the command."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from oracles.lob_sequences import random_sequence, write_pair

from jaxmars import __version__, cli
from jaxmars.tasks import LobBenchResult
from jaxmars.tasks.lob_bench_files import FILES

SEQUENCES, MESSAGES = 4, 120


def write_folder(folder: pathlib.Path, first: int, end: str = "") -> pathlib.Path:
    """Sequences in the names of the benchmark."""
    for number in range(SEQUENCES):
        name = f"GOOG_2012-06-21_real_id_{number}{end}"
        write_pair(folder, name, random_sequence(first + number, MESSAGES))
    return folder


@pytest.fixture
def pairs(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    return write_folder(tmp_path / "r", 0), write_folder(tmp_path / "g", 50, "_gen_id_0")


def bench(*arguments: object) -> int:
    return cli.main(["bench-lob", *map(str, arguments)])


def test_the_layout_of_the_benchmark(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_folder(data / "model" / "GOOG" / "data_real", 0)
    write_folder(data / "model" / "GOOG" / "data_gen", 50, "_gen_id_0")
    write_folder(data / "model" / "GOOG" / "data_cond", 90)
    assert bench(data, "--out", out, "--seeds", 1, "--seed", 5) == 0
    printed = capsys.readouterr()
    folder = out / "model" / "GOOG"
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    report = (folder / "report.md").read_text()
    assert report.startswith("# LOB-Bench of model/GOOG\n") and report in printed.out
    assert printed.out.endswith(f"wrote {folder}/{', '.join(FILES)}\n")
    assert "discriminator of halves" in printed.err and "[####" in printed.err
    for name in FILES:
        if name.endswith(".png"):
            assert (folder / name).read_bytes().startswith(b"\x89PNG")
    frame = pd.read_csv(folder / "scores.csv")
    assert len(frame) == 24 + 3 and np.isfinite(frame["l1_conditioning"].to_numpy(float)).sum() > 15
    found = json.loads((folder / "summary.json").read_text())
    assert found["made_by"] == f"jaxmars {__version__}" and found["seed"] == 5
    config = found["config"]
    assert config["folders"]["conditioning"] == str(data / "model" / "GOOG" / "data_cond")
    assert len(config["sha256"]["real"]) == 64
    assert config["cut"] is None and config["seeds"] == 1 and config["tick"] == 100


def test_several_sets_are_compared(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures are left out: they are looked at above."""
    for name in ("draw_responses", "draw_divergence", "draw_roc"):
        touch = lambda path, result: path.touch()
        monkeypatch.setattr(f"jaxmars.tasks.lob_bench_files.{name}", touch)
    monkeypatch.setattr(LobBenchResult, "plot", lambda result, path: path.touch())
    data, out = tmp_path / "data", tmp_path / "out"
    for number, model in enumerate(("a", "b")):
        write_folder(data / model / "data_real", 0)
        write_folder(data / model / "data_gen", 50 + 10 * number, "_gen_id_0")
    assert bench(data, "--out", out, "--seeds", 1) == 0
    text = (out / "comparison.md").read_text()
    assert capsys.readouterr().out.endswith(f"{text}\nwrote {out / 'comparison.md'}\n")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| generated", "| a", "| b"]
    found = json.loads((out / "b" / "summary.json").read_text())
    value = found["averages"]["l1"]["mean"]
    assert rows[2][1] == f"{value['value']:.3f} ({np.mean(value['floor']):.3f})"
    assert (out / "a" / "report.md").exists()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence the command ends with."""
    assert bench(*arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("jaxmars bench-lob: ")
    return last.removeprefix("jaxmars bench-lob: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected DATA_DIR, or both --real and --generated"),
        (["--real", "a"], "expected DATA_DIR, or both --real and --generated"),
        (["a", "--real", "b"], "DATA_DIR was given together with --real, --generated or "),
        (["nowhere"], "nowhere is not a folder, expected MODEL/STOCK/data_real in it"),
        (["--real", "no", "--generated", "none"], "no is not a folder, expected pairs of LOBSTER"),
        (["--made-up"], "unknown argument '--made-up'; see jaxmars bench-lob --help"),
    ],
)
def test_flags(
    arguments: list[str], sentence: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refusal(capsys, *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_of_flags(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--cut", "--tick", "--seeds"):
        with pytest.raises(SystemExit):
            bench("x", flag, "0")
        assert "expected a whole number from 1" in capsys.readouterr().err


def break_message(folder: pathlib.Path, text: str) -> None:
    (folder / "GOOG_2012-06-21_real_id_1_message.csv").write_text(text)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda r: (r / "GOOG_2012-06-21_real_id_1_orderbook.csv").unlink(), "has no book file"),
        (lambda r: (r / "GOOG_2012-06-21_real_id_1_message.csv").unlink(), "has no message file"),
        (lambda r: break_message(r, ""), "is empty, expected a LOBSTER table"),
        (lambda r: break_message(r, "1,2,3\n"), "row 1 has 3 columns, expected 6"),
        (lambda r: break_message(r, "1.5,1,2,x,100,1\n"), "(size) is 'x', expected an integer"),
        (
            lambda r: break_message(r, "1.5,1,2,3,100,1\n"),
            "has 120 rows, expected 1: one for each",
        ),
        (lambda r: break_message(r, "1.5,1,2,-3,100,1\n"), "size is -3"),
        (lambda r: [p.unlink() for p in r.iterdir()], "holds no file named *message*.csv"),
        (
            lambda r: [p.unlink() for p in r.iterdir() if "real_id_1" in p.name],
            "there are 3 real sequences, expected at least 4",
        ),
    ],
)
def test_bad_folders(
    damage: object,
    sentence: str,
    pairs: tuple[pathlib.Path, pathlib.Path],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, generated = pairs
    damage(real)  # type: ignore[operator]
    out = tmp_path / "out"
    flags = ("--real", real, "--generated", generated, "--out", out)
    assert sentence in refusal(capsys, *flags)
    assert not out.exists()


def test_sequences_that_are_too_short(
    pairs: tuple[pathlib.Path, pathlib.Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--real", pairs[0], "--generated", pairs[1], "--cut", 60)
    expected = "real sequence 1 has 60 messages, expected at least 102"
    assert refusal(capsys, *flags) == expected
    flags = ("--real", pairs[0], "--generated", pairs[1], "--cut", 121)
    assert "there are no real sequences" in refusal(capsys, *flags)


def test_prices_off_the_tick(
    pairs: tuple[pathlib.Path, pathlib.Path], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--real", pairs[0], "--generated", pairs[1], "--tick", 70)
    assert "expected a multiple of the tick 70" in refusal(capsys, *flags)


def test_a_folder_that_cannot_be_written(
    pairs: tuple[pathlib.Path, pathlib.Path],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    flags = ("--real", pairs[0], "--generated", pairs[1], "--out", tmp_path / "file")
    assert "file is a file, expected a folder to write to" in refusal(capsys, *flags)
