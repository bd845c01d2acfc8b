"""`jaxmars data build` and `inspect`: files, prints, the figure, and one sentence for bad input."""

import argparse
import json
import pathlib
from collections.abc import Iterator

import jax
import numpy as np
import pandas as pd
import pytest
from oracles.shard_days import LEVELS, MODEL, ORDER_COLUMNS, ORDER_TABLE, day_of, random_flow
from PIL import Image

from jaxmars import __version__, cli, cli_data
from jaxmars.config import Calendar
from jaxmars.errors import InputError
from jaxmars.tasks.data_files import clock_seconds, open_minutes, per_minute
from jaxmars.tokens.bins import load_converters
from jaxmars.train.dataset import Dataset
from jaxmars.train.shards import BINS, read_manifest

ORDERS = 300
DATES = ["2030-01-01", "2030-01-02"]
RECIPE = (
    f"levels = {LEVELS}\n[bins]\n"
    + "\n".join(f"{name} = {getattr(MODEL, name)}" for name in BINS)
    + "".join(
        f'\n[[days]]\nsymbol = "A"\ndate = "{date}"\nevents = "days/A_{date}.parquet"\n'
        for date in DATES
    )
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands in this process, with its devices and a cache of compiled programs."""
    jax.devices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("xla")))
        yield


@pytest.fixture
def world(cache: None, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with two days and their recipe, as the working directory."""
    for seed, date in enumerate(DATES):
        day_of(tmp_path / "days", "A", date, random_flow(seed, ORDERS), [])
    (tmp_path / "days.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> None:
    """The command without its door."""
    parser = argparse.ArgumentParser()
    cli_data.add_flags(parser)
    cli_data.run(parser.parse_args(arguments))


BUILD = ("build", "days.toml", "--out", "data")


def test_build_and_inspect(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(*BUILD, "--validation-from", DATES[1])
    printed = capsys.readouterr()
    assert "train: 1 shards" in printed.out
    assert "validation: 1 shards" in printed.out
    assert "bins: 1/1" in printed.err
    assert "tokens: 2/2" in printed.err
    manifest = read_manifest(pathlib.Path("data"))
    assert manifest.made_by["made_by"] == f"jaxmars {__version__}"
    assert Dataset("data", "train", 8).num_windows == (manifest.shards[0].rows - 1) // 8

    run("inspect", "data", "--out", "look")
    printed = capsys.readouterr().out
    assert "all checksums are right" in printed
    assert sorted(x.name for x in pathlib.Path("look").iterdir()) == [
        "inspect.json",
        "orders.png",
        "shards.csv",
    ]
    found = json.loads(pathlib.Path("look/inspect.json").read_text())
    rows = [shard.rows for shard in manifest.shards]
    assert found["rows"] == sum(rows)
    assert found["splits"]["validation"] == {"shards": 1, "rows": rows[1]}
    profile = found["orders_per_minute"]
    assert next(iter(profile)) == "09:30"
    assert sum(profile.values()) == pytest.approx(sum(rows) / 2, abs=0.1)
    table = pd.read_csv("look/shards.csv")
    assert table["rows"].tolist() == rows
    shares = table[["sell", "buy", "cancel"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(np.ones(2))
    tokens = np.load(f"data/{manifest.shards[0].file}")[:, 0]
    per_type = tokens // np.prod([manifest.bins[name] for name in BINS])
    assert table.loc[0, "cancel"] == pytest.approx((per_type == 2).mean())
    assert table.loc[0, "spread"] == manifest.shards[0].domain["spread"][2]
    with Image.open("look/orders.png") as picture:
        assert picture.size[0] > 1000


def test_by_time_and_with_the_bins_of_a_dataset(world: pathlib.Path) -> None:
    run(*BUILD, "--validation-after", "09:32:00")
    assert [x.split for x in read_manifest(pathlib.Path("data")).shards] == [
        "train",
        "validation",
    ] * 2
    (world / "plain.toml").write_text(
        RECIPE.replace("[bins]", "[unused]").split("[unused]")[0]
        + RECIPE[RECIPE.index("[[days]]") :]
    )
    run("build", "plain.toml", "--out", "more", "--bins", "data")
    one, other = (load_converters(name) for name in ("data", "more"))
    assert one is not None
    assert other is not None
    assert np.array_equal(one.price_level.edges, other.price_level.edges)
    assert read_manifest(pathlib.Path("more")).bins == read_manifest(pathlib.Path("data")).bins


def test_a_part_without_orders(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A time after the last order leaves an empty shard, which nothing trips over."""
    run(*BUILD, "--validation-after", "20:00:00")
    run("inspect", "data", "--out", "look")
    assert "validation: 2 shards, 0 orders" in capsys.readouterr().out
    with pytest.raises(InputError, match="longer than every validation shard"):
        Dataset("data", "validation", 8)


def test_the_example_is_a_recipe(
    world: pathlib.Path, capsys: pytest.CaptureFixture[str], cache: None
) -> None:
    """It says what is missing when its folder is not there, and every commented key is known."""
    run("build", "--example")
    text = capsys.readouterr().out
    (world / "example.toml").write_text(text)
    with pytest.raises(InputError, match="is not a folder, expected LOBSTER pairs there"):
        run("build", "example.toml", "--out", "data")
    lines = [line.removeprefix("# ") for line in text.splitlines()[3:]]
    of_folders = ('lobster"', "folders", "prices of each day")
    whole = "\n".join(line for line in lines if not any(x in line for x in of_folders))
    (world / "example.toml").write_text(whole)
    with pytest.raises(InputError, match=r"message.csv does not exist, expected a file of GOOG"):
        run("build", "example.toml", "--out", "data")


def test_a_table_of_orders(world: pathlib.Path) -> None:
    """Its few orders in the bins of the other days."""
    run(*BUILD)
    (world / "orders.csv").write_text(ORDER_TABLE)
    (world / "columns.toml").write_text(ORDER_COLUMNS)
    (world / "table.toml").write_text(
        f'levels = {LEVELS}\n[[days]]\nsymbol = "T"\ndate = "2030-01-01"\n'
        'orders = "orders.csv"\ncolumns = "columns.toml"\ntick = 1\n'
    )
    run("build", "table.toml", "--out", "table", "--bins", "data")
    (shard,) = read_manifest(pathlib.Path("table")).shards
    assert (shard.rows, shard.open_time, shard.open_price) == (6, [34_200, 0], 1002)
    rows = np.load(pathlib.Path("table") / shard.file)
    assert rows[:, 4].tolist() == [1, 2, 3, 4, 5, 6]
    assert (rows[:, 3] == [0, 0, -9, -9, -9, -9]).all()  # 0.01 below an open of 10.02


def test_a_folder_of_lobster_pairs(world: pathlib.Path) -> None:
    (world / "lob").mkdir()
    (world / "lob.toml").write_text('[[folders]]\nlobster = "lob"\n')
    with pytest.raises(InputError, match="holds no LOBSTER pair"):
        run("build", "lob.toml", "--out", "data")
    (world / "tick.toml").write_text('[[folders]]\nlobster = "lob"\ntick = 0\n')
    with pytest.raises(InputError, match="tick is 0, expected a whole number"):
        run("build", "tick.toml", "--out", "data")
    (world / "lob" / "X_2030-01-01_1_2_message_1.csv").write_text("")
    with pytest.raises(InputError, match=r"X_2030-01-01_1_2_orderbook_1.csv does not exist"):
        run("build", "lob.toml", "--out", "data")
    (world / "lob" / "X_2030-13-01_1_2_message_1.csv").write_text("")
    with pytest.raises(InputError, match="is of the date '2030-13-01'"):
        run("build", "lob.toml", "--out", "data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("levels", "lebels"), "unknown key 'lebels'"),
        (("num_bins_price_level", "num_bins_price"), r"\[bins\] has an unknown key"),
        ((f"levels = {LEVELS}", "levels = 0"), "levels is 0, expected a whole number"),
        ((f"levels = {LEVELS}", 'calendar = "x"'), "calendar is 'x', expected one of always"),
        (('symbol = "A"', 'symbol = "A/B"'), "the symbol 'A/B' is not one"),
        (('date = "2030-01-01"', 'date = "1 May"'), "days 1 is of the date '1 May'"),
        (('date = "2030-01-01"', "date = 2030-01-01"), "expected a date such as"),
        (("events =", "orders ="), "days 1 has no columns"),
        (("events =", "evens ="), "has 0 of lobster, events, orders, expected one"),
        (('events = "days', 'lobster = ["a"]\nevents = "days'), "has 2 of lobster"),
        (("events =", "tick = 5\nevents ="), "days 1 has an unknown key 'tick'"),
        (('symbol = "A"', ""), "days 1 has no symbol"),
        (("[[days]]", "[[nights]]"), "unknown key 'nights'"),
        (("2030-01-02.parquet", "2030-01-03.parquet"), "does not exist, expected a file of A"),
    ],
)
def test_a_wrong_recipe(world: pathlib.Path, change: tuple[str, str], message: str) -> None:
    (world / "days.toml").write_text(RECIPE.replace(*change))
    with pytest.raises(InputError, match=message):
        run(*BUILD)
    assert not (world / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "--out", "data"), r"CONFIG.toml is missing"),
        (("build", "days.toml"), "--out is missing"),
        (("build", "nowhere.toml", "--out", "data"), r"nowhere.toml cannot be read"),
        ((*BUILD, "--bins", "days"), "days holds no converters"),
        ((*BUILD, "--test-from", DATES[0], "--validation-from", DATES[0]), "expected after"),
        ((*BUILD, "--test-from", DATES[0], "--test-after", "10:00:00"), "flags of one kind"),
        ((*BUILD, "--validation-from", DATES[0]), "no order lies in the training part"),
        (("inspect", "days"), r"has no manifest.json"),
    ],
)
def test_wrong_flags(world: pathlib.Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(*arguments)
    assert not (world / "data").exists()


def test_the_door(world: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command is known, and tells bad input in one line."""
    assert cli.main(["data", "build", "nowhere.toml", "--out", "data"]) == cli.USER_ERROR
    printed = capsys.readouterr()
    assert printed.out == ""
    expected = "jaxmars data: nowhere.toml cannot be read: No such file or directory"
    assert printed.err.splitlines() == [expected]


@pytest.mark.parametrize("text", ["2030-13-01", "today", ""])
def test_a_date_that_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a date YYYY-MM-DD"):
        cli_data.date(text)


def test_a_damaged_dataset_is_not_drawn(world: pathlib.Path) -> None:
    run(*BUILD)
    shard = pathlib.Path("data") / read_manifest(pathlib.Path("data")).shards[1].file
    rows = np.load(shard)
    rows[0, 5] += 1
    np.save(shard, rows)
    with pytest.raises(InputError, match="differs from the sha256 in its manifest"):
        run("inspect", "data", "--out", "look")
    assert not pathlib.Path("look").exists()


def test_the_clock_of_rows_jumps_over_breaks() -> None:
    elapsed = np.array([0, 10, 3_600, 3_601, 4_000])
    breaks = [(39_600, 45_000)]
    clock = clock_seconds(elapsed, 36_000, breaks)
    assert clock.tolist() == [36_000, 36_010, 39_600, 45_001, 45_400]
    assert clock_seconds(elapsed, 46_000, breaks).tolist() == (46_000 + elapsed).tolist()


def test_minutes_of_a_break_are_not_open() -> None:
    """Only those that lie wholly in it: lunch, and the gap after the opening auction."""
    is_open = open_minutes(Calendar.chinese_a_share().breaks)
    assert np.flatnonzero(~is_open).tolist() == [*range(565, 570), *range(690, 780)]
    assert np.flatnonzero(~open_minutes([(61, 239)])).tolist() == [2]
    assert open_minutes([(61, 119)]).all()


def test_orders_per_minute_leave_out_breaks() -> None:
    """But not quiet minutes in which the market is open."""
    is_open = open_minutes([(41_400, 46_800)])
    minutes = np.zeros(1440, np.int64)
    assert per_minute(minutes, is_open) == 0
    minutes[[688, 780, 781]] = 2, 4, 4
    assert per_minute(minutes, is_open) == 10 / 4
    minutes[700] = 5
    assert per_minute(minutes, is_open) == 15 / 5


def test_a_recorded_day(real_data: pathlib.Path, world: pathlib.Path) -> None:
    """The first rows of AAPL, split at a moment."""
    names = [f"AAPL_2012-06-21_first999_{kind}_10.csv.gz" for kind in ("message", "orderbook")]
    files = ", ".join(f'"{real_data / "lobster" / name}"' for name in names)
    (world / "real.toml").write_text(
        RECIPE[: RECIPE.index("[[days]]")]
        + f'calendar = "us_equity"\n[[days]]\nsymbol = "AAPL"\ndate = "2012-06-21"\n'
        f"lobster = [{files}]\n"
    )
    lines = (world / "real.toml").read_text().splitlines()
    lines.insert(0, lines.pop(lines.index('calendar = "us_equity"')))
    (world / "real.toml").write_text("\n".join(lines))
    run("build", "real.toml", "--out", "data", "--validation-after", "09:30:20")
    manifest = read_manifest(pathlib.Path("data"))
    assert [x.split for x in manifest.shards] == ["train", "validation"]
    assert manifest.shards[0].tick_size == 0.01
    assert 600 < sum(x.rows for x in manifest.shards) < 999
    window = next(Dataset("data", "train", 32).windows(4, 0)).rows
    assert ((window[:, :, 0] >= 0) & (window[:, :, 0] < MODEL.vocab)).all()
