"""`jaxmars replay`: files, times, slots, other tables, and one sentence for bad input."""

import json
import pathlib
import shutil
from collections.abc import Callable, Iterator

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from jaxmars import __version__, cli, cli_replay
from jaxmars.convert import store
from jaxmars.data.orderflow import L3Data, OrderFlow, TradeReports, host_order, host_time
from jaxmars.tasks.replay_files import flow_trades
from jaxmars.types import Kind

HERE = pathlib.Path(__file__).parent / "data"
NAMES = ["depth.png", "differences.csv", "replay.json"]
TABLE = """time,what,way,px,qty,id
34200.5,add,b,10.00,100,1
34201.0,add,s,10.02,50,2
34202.0,add,s,10.03,70,3
34203.0,red,s,10.02,50,2
34203.0,trd,s,10.02,50,2
34205.0,add,b,10.01,30,4
"""
COLUMNS = """
time = "time"
action = "what"
side = "way"
price = "px"
size = "qty"
order_id = "id"
actions = {add = "ADD", red = "REDUCE", trd = "TRADE"}
sides = {b = "BUY", s = "SELL"}
time_unit = 1_000_000_000
"""
A_SHARE_ORDERS = """time,order_number,side,price,size,order_type
34200000,1,S,10.02,500,2
34201000,2,B,10.02,300,2
34202000,3,B,10.00,100,2
"""
A_SHARE_TRADES = """time,buy_number,sell_number,price,size,flag
34201000,2,1,10.02,300,F
34203000,3,0,0,100,C
"""
A_SHARE_EXECUTIONS = """timestamp,bid_uid,ask_uid,price,volume
2022-09-30 10:00:00.010,12,3,11.88,200
2022-09-30 10:00:00.010,12,4,11.89,300
2022-09-30 10:00:08.500,11,13,11.85,70
"""
SNAPSHOTS = """10:00:03,11.88,11.89,11.88,11.89,500
10:00:06,,,,11.89,0
10:00:09,11.85,11.85,11.85,11.85,70
"""
SLOTS, LEVELS = 32, 3
A_SHARE_COLUMNS = "time_unit = 1_000_000\n"
Door = Callable[..., str]


def snapshots() -> str:
    """A table of snapshots: `SNAPSHOTS` with the same five levels in every row."""
    levels = [
        f"{side}_{what}_{level}"
        for what in ("price", "volume")
        for side in ("bid", "ask")
        for level in range(1, 6)
    ]
    prices = [11.85 - level / 100 for level in range(5)] + [
        11.90 + level / 100 for level in range(5)
    ]
    cells = ",".join(f"{cell:g}" for cell in prices + [100] * 10)
    heading = ",".join(["timestamp,open,high,low,close,volume", *levels])
    rows = [f"2022-09-30 {row},{cells}" for row in SNAPSHOTS.splitlines()]
    return "\n".join([heading, *rows]) + "\n"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands in this process, with its devices and a cache of compiled programs."""
    jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("xla")))
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        yield


@pytest.fixture
def world(cache: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with good records, as the working directory."""
    for kind in ("message", "orderbook"):
        shutil.copy(HERE / f"hand_{kind}_3.csv", tmp_path / f"{kind}.csv")
    files = {
        "table.csv": TABLE,
        "columns.toml": COLUMNS,
        "orders.csv": A_SHARE_ORDERS,
        "trades.csv": A_SHARE_TRADES,
        "ashare.toml": A_SHARE_COLUMNS,
        "executions.csv": A_SHARE_EXECUTIONS,
        "ticks.csv": snapshots(),
        "bars.json": "[]",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_replay, "FIRST_SLOTS", SLOTS)  # so that one program serves most tests
    monkeypatch.setattr(cli_replay, "DEFAULT_LEVELS", LEVELS)
    return tmp_path


def replayed(*arguments: str) -> dict:
    """Runs a command that must succeed, and returns its JSON."""
    assert cli.main(["replay", *arguments, "--out", "out"]) == 0
    assert sorted(path.name for path in pathlib.Path("out").iterdir()) == NAMES
    with Image.open("out/depth.png") as picture:
        assert picture.size[0] > 1000
    return json.loads(pathlib.Path("out/replay.json").read_text())


LOBSTER = ("lobster", "message.csv", "orderbook.csv")


def test_a_lobster_day(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = replayed(*LOBSTER)
    assert found["books"] == {"compared": 22, "equal": 22, "first_rows_that_differ": []}
    assert (found["one_step"]["checked"], found["one_step"]["mismatched"]) == (32, 0)
    assert found["traded"] == {"trades": 7, "size": 465.0}
    assert (found["first_event"], found["tick_size"]) == ("09:30:00.000000000", 0.01)
    assert found["made_by"] == f"jaxmars {__version__}"
    hashes = {name: store.file_hash(pathlib.Path(name)) for name in LOBSTER[1:]}
    assert found["config"]["files_sha256"] == hashes
    table = pd.read_csv("out/differences.csv")
    assert list(table["side"]) == ["bid"] * 3 + ["ask"] * 3
    assert table["compared"].sum() == found["levels"]["compared"] == 22 * 6 - 2
    assert not table[["price", "size"]].to_numpy().any()
    printed = capsys.readouterr()
    assert "22 of 22 recorded books came out in every known level" in printed.out
    assert "32 of 32 messages turn the recorded book before them" in printed.out
    assert "wrote out/replay.json, differences.csv, depth.png" in printed.out
    assert "26/26 events" in printed.err


def test_a_wrong_record_is_told(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (world / "message.csv").read_text().splitlines()
    lines[3] = lines[3].replace(",200,", ",150,")
    (world / "message.csv").write_text("\n".join(lines))
    found = replayed(*LOBSTER)
    assert found["books"]["equal"] < found["books"]["compared"] == 22
    assert found["books"]["first_rows_that_differ"][0] == 3
    assert found["one_step"]["mismatched"] == 1
    assert "31 of 32 messages" in capsys.readouterr().out


def test_part_of_a_day(world: pathlib.Path) -> None:
    found = replayed(*LOBSTER, "--from", "09:30:02", "--until", "09:30:03.05", "--levels", "2")
    assert found["books"]["compared"] == found["books"]["equal"] == 4
    assert found["first_event"] == "09:30:02.000000123"
    assert found["config"]["flags"]["from"] == [34202, 0]
    assert len(pd.read_csv("out/differences.csv")) == 4


def test_slots_grow_unless_they_are_given(
    world: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli_replay, "FIRST_SLOTS", 1)
    arguments = ("l3", "table.csv", "--columns", "columns.toml")
    found = replayed(*arguments)
    assert (found["slots"], found["status"]["events"]) == (4, {})
    assert "note: the book was full, starting again with 4 slots" in capsys.readouterr().err
    found = replayed(*arguments, "--slots", "1")
    assert found["slots"] == 1 and found["status"]["events"]["BOOK_FULL"] > 0


def test_any_table(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = replayed("l3", "table.csv", "--columns", "columns.toml")
    assert (found["events"], found["reading"], found["books"]["compared"]) == (6, "book changes", 0)
    assert found["traded"] == {"trades": 1, "size": 50.0}
    assert "columns.toml" in found["config"]["files_sha256"]
    assert "no recorded book to compare with" in capsys.readouterr().out


def test_rows_that_are_orders_are_matched(world: pathlib.Path) -> None:
    crossing = TABLE.replace("34205.0,add,b,10.01,30,4", "34205.0,add,b,10.03,30,4")
    (world / "table.csv").write_text(crossing)
    arguments = ("l3", "table.csv", "--columns", "columns.toml")
    assert replayed(*arguments)["events_leaving_the_book"]["locked"] == 1
    found = replayed(*arguments, "--orders")
    assert found["events_leaving_the_book"]["locked"] == 0
    assert (found["reading"], found["traded"]) == ("orders", {"trades": 1, "size": 30.0})


def test_a_share_tables(world: pathlib.Path) -> None:
    found = replayed("ashare", "orders.csv", "trades.csv", "--columns", "ashare.toml")
    assert found["status"]["events"] == {}
    assert (found["first_event"], found["last_event"]) == (
        "09:30:00.000000000",
        "09:30:03.000000000",
    )
    assert found["events"] == 6, "three orders, an execution of two orders, a cancel"


DEEP = ("lobster-deep", "message.csv", "--start", *LOBSTER[1:], "--against", *LOBSTER[1:])


def test_messages_without_books(world: pathlib.Path) -> None:
    found = replayed(*DEEP)
    assert found["books"]["compared"] == found["books"]["equal"] == 33, "every single message"
    assert sorted(found["config"]["files_sha256"]) == sorted(LOBSTER[1:])


def test_executions_without_orders(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("ashare-executions", "executions.csv", "ticks.csv")
    found = replayed(*arguments)
    assert found["intervals"] == {
        "compared": 3,
        "differ": {"volume": 0, "open": 0, "high": 0, "low": 0, "close": 0},
    }
    assert (found["books"]["compared"], found["aggressors"]) == (0, 2)
    out = capsys.readouterr().out
    assert "executions do not say which orders rest" in out
    assert "in 3 of 3 intervals" in out
    wrong = snapshots().replace("11.88,11.89,11.88,11.89,500", "11.87,11.90,11.87,11.88,499")
    (world / "ticks.csv").write_text(wrong)
    differ = replayed(*arguments)["intervals"]["differ"]
    assert differ == {"volume": 1, "open": 1, "high": 1, "low": 1, "close": 1}
    assert pd.read_csv("out/differences.csv")["differ"].tolist() == [1] * 5


def test_reported_trades_are_cut_to_the_part() -> None:
    seconds = np.arange(5)
    order = host_order(seconds * 0 + Kind.NONE, seconds * 0, seconds * 0, seconds * 0, seconds * 0)
    times = host_time(seconds + 10, seconds * 0)
    flow = OrderFlow(times, order, seconds * 0 - 1)
    reports = TradeReports(host_time(seconds * 3 + 8, seconds * 0), seconds + 100, seconds + 1)
    l3 = L3Data("X", flow, None, None, 1, 1, 1, np.zeros(0, np.int64), True, reports)
    kept = flow_trades(l3, seconds * 0)
    assert (list(kept.time.sec), list(kept.size), list(kept.price)) == (
        [11, 14],
        [2, 3],
        [101, 102],
    )


@pytest.fixture
def refused(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Door:
    """Runs a command that must be refused and returns its sentence."""

    def run(*arguments: str) -> str:
        try:
            code: object = cli.main(["replay", *arguments])
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert err.endswith("\n") and err.count("\n") == 1 and "Traceback" not in err
        assert not (world / "out").exists(), "something was written"
        return err

    return run


BAD_COLUMNS = ("l3", "table.csv", "--columns", "bad.toml")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "the following arguments are required: SOURCE; see jaxmars replay --help"),
        (("itch", "a"), "argument SOURCE: invalid choice: 'itch'"),
        (("lobster", "message.csv"), "the following arguments are required: BOOK"),
        (("lobster", "none.csv", "orderbook.csv"), "none.csv does not exist"),
        (("lobster", "orderbook.csv", "message.csv"), "row 1 has 12 columns, expected 6"),
        ((*LOBSTER, "--slots", "7"), "--slots is 7, expected at least 8, those of the first book"),
        ((*LOBSTER, "--slots", "0"), "argument --slots: expected a whole number from 1 to"),
        ((*LOBSTER, "--levels", "x"), "argument --levels: expected a whole number from 1 to 1000"),
        ((*LOBSTER, "--from", "9"), "argument --from: expected a time HH:MM:SS, got '9'"),
        (
            (*LOBSTER, "--from", "12:00:00"),
            "no event lies from 12:00:00.000000000 to 09:40:01.123456789, expected times from "
            "09:30:00.000000000 to 09:40:01.123456789",
        ),
        (
            (*LOBSTER, "--until", "24:00:01"),
            "argument --until: expected a time of the day HH:MM:SS, got '24:00:01'",
        ),
        ((*LOBSTER, "--until", "09:29:59"), "to 09:29:59.000000000, expected times from 09:30:00"),
        ((*LOBSTER, "--tick", "7"), "a multiple of the tick 7"),
        ((*LOBSTER, "--out", "message.csv"), "message.csv is a file, expected a folder"),
        ((*LOBSTER, "--columns", "columns.toml"), "unknown argument '--columns'"),
        (("l3", "table.csv"), "the following arguments are required: --columns"),
        (
            ("l3", "table.csv", "--columns", "none.toml"),
            "none.toml does not exist, expected a TOML",
        ),
        (("databento", "table.csv", "table.csv"), "table.csv"),
        (("lobster-deep", "message.csv"), "arguments are required: --start, --against"),
        (("lobster-deep", "orderbook.csv", *DEEP[2:]), "row 1 has 12 columns, expected 6"),
        (("ashare-executions", "executions.csv", "trades.csv"), "trades.csv has no column"),
        (
            ("l3", "bars.json", "--columns", "columns.toml"),
            "bars.json is JSON, expected a table of orders or executions: snapshots and minute "
            "bars name no orders, so there is nothing to replay",
        ),
        (("bitstamp", "table.csv", "table.csv"), "table.csv"),
    ],
)
def test_bad_arguments(refused: Door, arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*arguments)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('time = "time"', "time = 3", "bad.toml: time is 3, expected a string"),
        ('time = "time"', "", "bad.toml has no key 'time', expected it"),
        ('time = "time"', 'time = "time"\nwhen = 1', "bad.toml: unknown key 'when', expected some"),
        ('"BUY"', '"LONG"', "expected a table of codes and BUY, SELL"),
        ("actions = {", 'actions = "ADD" # {', "expected a table of codes and IGNORE, ADD"),
        ("1_000_000_000", "0", "bad.toml: columns time_unit must be positive, got 0"),
        ("1_000_000_000", "1.5", "time_unit is 1.5, expected a whole number"),
        ("1_000_000_000", "true", "time_unit is true, expected a whole number"),
        ('price = "px"', 'price = "cost"', "cost"),
        ("time", "= time", "bad.toml is not TOML"),
    ],
)
def test_bad_columns(refused: Door, old: str, new: str, sentence: str) -> None:
    pathlib.Path("bad.toml").write_text(COLUMNS.replace(old, new, 1))
    found = refused(*BAD_COLUMNS)
    assert sentence in found and found.count("bad.toml") <= 1


def test_a_table_without_changes(refused: Door) -> None:
    pathlib.Path("table.csv").write_text(TABLE.split("\n", 1)[0] + "\n")
    assert "table.csv has no rows" in refused("l3", "table.csv", "--columns", "columns.toml")
