"""`jaxmars facts`: files, table and sentences of the command."""

import json
import pathlib
import zipfile

import numpy as np
import pandas as pd
import pytest

from jaxmars import __version__, cli
from jaxmars.tasks.facts_files import FILES

MINUTE_NS = 60 * 10**9


def write_events(path: pathlib.Path, trajectories: int = 46, minutes: int = 26) -> pathlib.Path:
    """A simulation: one trade and one quote per minute of a random walk."""
    rng = np.random.default_rng(0)
    shape = (trajectories, 2 * minutes)
    price = np.repeat(2000 + rng.integers(-3, 4, (trajectories, minutes)).cumsum(1), 2, 1)
    traded = np.arange(shape[1]) % 2 == 0
    time = 600 * MINUTE_NS + np.arange(shape[1]) // 2 * MINUTE_NS + ~traded * 10**9
    flat = lambda x: np.broadcast_to(x, shape).ravel()
    pd.DataFrame(
        {
            "trajectory": flat(np.arange(trajectories)[:, None]).astype(np.int32),
            "time_ns": flat(time),
            "kind": pd.Categorical(flat("LIMIT")),
            "filled": flat(np.where(traded, rng.integers(1, 99, shape), 0)),
            "first_price": flat(np.where(traded, price, 0)) * 0.01,
            "last_price": flat(price) * 0.01,
            "best_bid": flat(price - 1) * 0.01,
            "best_ask": flat(price + 1) * 0.01,
        }
    ).to_parquet(path)
    return path


def facts(*arguments: object) -> int:
    return cli.main(["facts", *map(str, arguments)])


def test_the_whole_command(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, out = write_events(tmp_path / "events.parquet"), tmp_path / "out"
    assert facts(events, "--historical", events, "--out", out, "--seed", 3) == 0
    printed = capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    assert (out / "facts.md").read_text() in printed.out
    assert printed.out.endswith(f"wrote {out}/{', '.join(FILES)}\n")
    assert "* historical: 46 windows of 26 minutes, 1 symbol, 2 groups" in printed.out
    (note,) = printed.err.splitlines()
    assert note.startswith("note: not as expected: facts ") and " 6," in note
    found = json.loads((out / "facts.json").read_text())
    assert found["made_by"] == f"jaxmars {__version__}" and found["seed"] == 3
    hashes = found["config"]
    assert hashes["simulated"] == hashes["historical"] and list(hashes["simulated"]) == [
        str(events)
    ]
    assert all(row["historical"] == row["simulated"] for row in found["statistics"])


def test_historical_days(
    real_data: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A LOBSTER day beside a simulation; the book file is found by its name."""
    with zipfile.ZipFile(real_data / "lobster/LOBSTER_SampleFile_AAPL_2012-06-21_1.zip") as archive:
        archive.extractall(tmp_path)
    message = next(tmp_path.rglob("*_message_*.csv"))
    events = write_events(tmp_path / "events.parquet")
    assert facts(events, "--historical", message, "--out", tmp_path / "out") == 0
    assert "* historical: 15 windows of 26 minutes, 1 symbol, 1 group" in capsys.readouterr().out
    assert facts(message, "--out", tmp_path / "day") == 0
    printed = capsys.readouterr()
    lacks = (
        "fact 7 (needs 10 returns at a time of day, and that they vary), "
        "fact 11 (needs two groups of windows)"
    )
    assert f"Undecided (?): {lacks}.\n" in printed.out
    *others, last = printed.err.splitlines()
    assert last == f"note: undecided: {lacks}"
    assert all("7" not in line and "11" not in line for line in others)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.parquet", None, "none.parquet does not exist, expected a Parquet file of events"),
        ("x.parquet", b"PAR1", "x.parquet is not a whole Parquet file"),
        ("x.csv", b"", "x.csv is empty"),
        ("x.csv", b"time,symbol\n1,2\n", "x.csv has no column 'last_price', expected it among"),
        ("x.zstd", b"x", "cannot read released windows from"),
        ("x.txt", b"x", "x.txt is of no known kind, expected .parquet, .csv or .zstd"),
        ("A_message_1.csv", b"1,2\n", "A_message_1.csv"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    sentence: str,
) -> None:
    path, out = tmp_path / name, tmp_path / "out"
    if content is not None:
        path.write_bytes(content)
    assert facts(path, "--out", out) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and not out.exists()
    (line,) = printed.err.splitlines()
    assert line.startswith("jaxmars facts: ") and sentence in line


def test_short_simulations_and_folders_in_the_way(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = write_events(tmp_path / "events.parquet", minutes=5)
    assert facts(events, "--out", tmp_path / "out") == 2
    sentence = "events.parquet: the longest run has 5 minutes in a row, expected at least 26"
    assert sentence in capsys.readouterr().err
    assert facts(events, "--out", events) == 2
    assert "events.parquet is a file, expected a folder to write to" in capsys.readouterr().err
