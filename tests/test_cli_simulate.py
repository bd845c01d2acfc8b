"""`jaxmars simulate`: files, tables and sentences of the command."""

import json
import pathlib
from typing import Any

import pandas as pd
import pytest
from pyarrow import parquet

from jaxmars import __version__, cli
from jaxmars.cli_simulate import EXAMPLE
from jaxmars.tasks.simulate_files import FILES, SCHEMA_VERSION

MARKET = """\
[run]
trajectories = 5
seed = 3
start = "09:30:00"
end = "09:31:10"
segment = 64
[market]
slots = 64
levels = 2
reference = 10.00
max_trades = 1
[[agents]]
kind = "noise"
gap = 0.5
name = "crowd"
"""
EVENT_COLUMNS = [
    "trajectory", "time_ns", "kind", "side", "price", "size", "order_id", "agent_id", "agent",
    "filled", "fills", "first_price", "last_price", "best_bid", "best_ask", "status",
]  # fmt: skip
FILL_COLUMNS = [
    "trajectory", "time_ns", "agent_id", "agent", "side", "price", "size", "order_id", "role",
]  # fmt: skip


def simulate(*arguments: object) -> int:
    return cli.main(["simulate", *map(str, arguments)])


def test_the_whole_command(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, out = tmp_path / "m.toml", tmp_path / "out"
    config.write_text(MARKET)
    assert simulate(config, "--out", out) == 0
    printed = capsys.readouterr()
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    check_summary(out)
    check_tables(out)
    assert f"wrote {out}/{', '.join(FILES)}" in printed.out
    assert "mid price, quantiles over trajectories" in printed.out and "09:31:10" in printed.out
    assert "crowd noise" in printed.out
    assert "5 lanes per device of " in printed.err
    bar, *notes = printed.err.split("\r")[-1].splitlines()
    assert bar.startswith("[######") and "5/5 trajectories" in bar and bar.endswith("/s")
    assert all(note.startswith("note: ") for note in notes)
    assert any("TRADES_TRUNCATED" in note for note in notes)
    assert "fills.parquet lacks" in notes[-1] and "raise max_trades" in notes[-1]


def check_summary(out: pathlib.Path) -> None:
    found = json.loads((out / "summary.json").read_text())
    events = pd.read_parquet(out / "events.parquet")
    assert found["made_by"] == f"jaxmars {__version__}" and found["seed"] == 3
    assert found["trajectories"] == 5 and found["events"] == len(events)
    assert sum(found["events_by_kind"].values()) == len(events)
    assert found["config"]["scenario"]["agents"] == [{"kind": "noise", "gap": 0.5, "name": "crowd"}]
    assert found["config"]["simulation"]["market"]["slots"] == 64
    assert found["weights_sha256"] == {} and found["shares_missing_in_fills"] > 0
    assert found["compile_seconds"] > 0 and found["events_per_second"] > 0
    assert [agent["agent"] for agent in found["agents"]] == ["crowd"]
    raised = {name: value for name, value in found["status"].items() if name != "meaning"}
    assert "TRADES_TRUNCATED" in raised and len(found["status"]["meaning"]) == len(raised)


def check_tables(out: pathlib.Path) -> None:
    events: Any = pd.read_parquet(out / "events.parquet")
    fills: Any = pd.read_parquet(out / "fills.parquet")
    accounts: Any = pd.read_csv(out / "accounts.csv")
    assert list(events) == EVENT_COLUMNS and list(fills) == FILL_COLUMNS
    assert (events["time_ns"] >= 34_200 * 10**9).all() and (events["time_ns"] <= 34_270e9).all()
    assert events["best_bid"].dropna().between(9, 11).all()
    assert accounts["trajectory"].to_list() == list(range(5)) and (accounts["bought"] > 0).all()
    bought = events.groupby("trajectory")["filled"].sum()
    assert bought.to_list() == accounts["bought"].to_list() == accounts["sold"].to_list()
    for name in ("events", "fills"):
        note = json.loads(parquet.read_schema(out / f"{name}.parquet").metadata[b"jaxmars"])
        assert note["schema_version"] == SCHEMA_VERSION and note["tick_size"] == 0.01
        assert note["seed"] == 3 and note["made_by"] == f"jaxmars {__version__}"


def test_the_example_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--example") == 0
    assert capsys.readouterr().out == EXAMPLE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ("agents = 3", "m.toml: agents is 3, expected tables [[agents]], one for each agent"),
        (MARKET.replace("gap", "gab"), "m.toml: agents 1 has no gap, expected a number from"),
        (MARKET.replace("10.00", "10.001"), "reference is 10.001, expected a positive multiple"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    sentence: str,
) -> None:
    config, out = tmp_path / "m.toml", tmp_path / "out"
    if text is not None:
        config.write_text(text)
    assert simulate(config, "--out", out) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and not out.exists()
    (line,) = printed.err.splitlines()
    assert line.startswith("jaxmars simulate: ") and sentence in line


def test_what_is_missing_or_in_the_way(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate() == 2
    assert "CONFIG.toml is missing; jaxmars simulate --example" in capsys.readouterr().err
    config = tmp_path / "m.toml"
    config.write_text(MARKET)
    assert simulate(config, "--out", config) == 2
    assert "m.toml is a file, expected a folder to write to" in capsys.readouterr().err
