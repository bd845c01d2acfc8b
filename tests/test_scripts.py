"""Scripts load, say what they take, and refuse a wrong folder in one sentence; the two that replay
records do so on small ones. What the others measure takes minutes: `benchmarks/results` has it.
"""

import importlib.util
import json
import pathlib
import re
import shutil
import sys
from types import ModuleType
from typing import Any

import pytest

from jaxmars import devices

ROOT = pathlib.Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
HAND = ROOT / "tests" / "data"
NEEDS_TORCH = "make_golden"
WITHOUT_FLAGS = (NEEDS_TORCH, "make_starts")
ROWS = 33  # of the hand-written day

REST = "--starts 2 --model none --out out".split()
NO_MODEL: list[tuple[str, list[str]]] = [
    ("check_impact", ["--model", "none"]),
    ("check_model", ["none"]),
    ("check_policy", ["none"]),
    ("evaluate_order_model", ["none"]),
    ("finer_bins", ["none", "out"]),
    ("make_sequences", [*"--lobster none.csv none.csv --from 14:00 --until 15:00".split(), *REST]),
]


def load(name: str) -> ModuleType:
    if name == NEEDS_TORCH:
        pytest.importorskip("torch", reason="the released architecture needs torch")
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"scripts/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Exit code of a script's `main`, with the devices that this process has."""
    monkeypatch.setattr(devices, "use_all_cores", lambda: None)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
    try:
        return load(name).main()
    except SystemExit as stopped:
        return stopped.code


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_loads_and_says_what_it_takes(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(path.stem)
    assert module.__doc__ and callable(module.main)
    if path.stem in WITHOUT_FLAGS:
        return
    assert run(path.stem, ["--help"], monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: ")
    used = set(re.findall(r"\s(--[a-z-]+)", module.__doc__))
    assert not [flag for flag in used if flag not in out], "the docstring names flags it has not"


@pytest.mark.parametrize(("name", "words"), NO_MODEL, ids=[name for name, _ in NO_MODEL])
def test_a_model_that_is_not_there(
    name: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(name, words, monkeypatch) == 2
    sentence = capsys.readouterr().err.strip()
    assert "none" in sentence and "Traceback" not in sentence and "\n" not in sentence
    assert not any(tmp_path.iterdir())


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A data folder with one small LOBSTER day, as the working directory."""
    place = tmp_path / "data" / "lobster"
    place.mkdir(parents=True)
    for kind in ("message", "orderbook"):
        shutil.copy(HAND / f"hand_{kind}_3.csv", place / f"HAND_2020-01-02_{kind}_3.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_check_lobster(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder / "lobster"
    assert run("check_lobster", [str(place)], monkeypatch) == 0
    days = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert days[1][:4] == ["HAND_2020-01-02", "3", str(ROWS), "0"]
    book = place / "HAND_2020-01-02_orderbook_3.csv"
    lines = book.read_text().splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([cells[0], str(int(cells[1]) + 1), *cells[2:]])
    book.write_text("\n".join(lines))
    assert run("check_lobster", [str(place)], monkeypatch) == 1
    assert "ask size: 2 rows, first [5, 6]" in capsys.readouterr().out
    assert run("check_lobster", [str(folder)], monkeypatch) == 2
    assert "holds no LOBSTER day" in capsys.readouterr().err


def test_check_replays(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bars.json").write_text("[]")
    (folder / "lobster" / "OTHER_message_5.csv").write_text("34200.0,1,1,1,100,1\n")
    words = [str(folder), "--out", "replays.json"]
    assert run("check_replays", words, monkeypatch) == 0
    found = json.loads(pathlib.Path("replays.json").read_text())
    (record,) = found["records"]
    assert record["books"] == {"compared": 22, "equal": 22}
    assert record["one_step"]["mismatched"] == 0
    assert [row["price"] for row in record["levels"]] == [0.0] * 6
    assert {row["file"]: row["why"] for row in found["not_replayed"]} == {
        "bars.json": "snapshots and minute bars name no orders, so there is nothing to replay",
        "lobster/OTHER_message_5.csv": "its counterpart is not in the folder",
    }
    text = pathlib.Path("replays.md").read_text()
    assert "| 22 | 22 | none of 3 |" in text
    assert str(folder.parent) not in text + json.dumps(found)
    capsys.readouterr()
    (folder / "lobster" / "HAND_2020-01-02_orderbook_3.csv").unlink()
    assert run("check_replays", words, monkeypatch) == 2
    assert "holds no record" in capsys.readouterr().err
