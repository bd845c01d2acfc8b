"""Minute bars and windows: by hand, and against pandas."""

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jaxmars.errors import InputError
from jaxmars.tasks.facts_minutes import (
    GROUP,
    MINUTE_NS,
    WINDOW,
    Minutes,
    event_minutes,
    float_mid,
    group_windows,
    join_windows,
    nearest_minute,
)
from jaxmars.tasks.facts_sources import read_event_table, read_minute_table, read_windows

SECOND = 10**9
OPEN = 600 * MINUTE_NS  # 10:00
DAY = 1440


def event_table(seed: int, trajectories: int, minutes: int, per_minute: int = 7) -> pd.DataFrame:
    """Random events; each trajectory runs for this long from 10:00."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(trajectories):
        count = minutes * per_minute
        time = np.sort(rng.integers(0, minutes * MINUTE_NS, count))
        time[::per_minute] = np.arange(minutes) * MINUTE_NS  # no minute is empty
        time = np.sort(time) + OPEN
        filled = np.where(rng.random(count) < 0.4, rng.integers(1, 9, count), 0)
        price = 1000 + rng.integers(-5, 6, count).cumsum()
        last = pd.Series(np.where(filled > 0, price + 3, np.nan)).ffill().fillna(990).astype(int)
        frames.append(
            pd.DataFrame(
                {
                    "trajectory": number,
                    "time_ns": time,
                    "kind": "LIMIT",
                    "filled": filled,
                    "first_price": np.where(filled > 0, price, 0),
                    "last_price": last,
                    "best_bid": price - rng.integers(1, 4, count),
                    "best_ask": price + rng.integers(1, 4, count),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def slow_bars(frame: pd.DataFrame) -> pd.DataFrame:
    """The bars of one trajectory as the spec words them, with pandas."""
    price, prices = frame["last_price"].iloc[0] if frame["filled"].iloc[0] == 0 else np.nan, []
    rows: Any = frame.itertuples()
    for row in rows:
        price = row.first_price if row.filled > 0 else price
        prices.append(price)
    table = pd.DataFrame(
        {
            "minute": pd.to_datetime(frame["time_ns"]).dt.round("60s"),
            "price": prices,
            "mid": (frame["best_bid"] + frame["best_ask"]) / 2,
            "volume": frame["filled"],
        }
    )
    return table.groupby("minute").agg(
        last=("price", "last"),
        mean=("price", "mean"),
        mid_last=("mid", "last"),
        mid_mean=("mid", "mean"),
        volume=("volume", "sum"),
    )


def test_bars_agree_with_the_oracle() -> None:
    events = event_table(0, 3, 60)
    found = event_minutes(events, "x")
    assert found.last.shape == (6, WINDOW) and set(found.symbol) == {"x"}
    for number, part in events.groupby("trajectory"):
        bars = slow_bars(part)
        for half in range(2):
            window, wanted = 2 * int(str(number)) + half, bars.iloc[WINDOW * half :][:WINDOW]
            for name in bars:
                np.testing.assert_allclose(getattr(found, str(name))[window], wanted[name])
            start = int(str(number)) * DAY + 600 + WINDOW * half
            assert (found.minute[window] == start + np.arange(WINDOW)).all()


def test_times_round_to_the_nearest_minute_ties_to_even() -> None:
    seconds = np.array([0, 29, 30, 31, 89, 90, 91, 149, 150, 210])
    time = np.append(seconds * SECOND, [30 * SECOND - 1, 30 * SECOND + 1])
    expected = (pd.to_datetime(time).round("60s").asi8 // MINUTE_NS).tolist()
    assert nearest_minute(time).tolist() == expected == [0, 0, 0, 1, 1, 2, 2, 2, 2, 4, 0, 1]


def test_the_price_of_a_record() -> None:
    """First price of a sweep; before any trade the last price, else the mid; carried on."""
    count = WINDOW
    frame = event_table(1, 1, count, 1)
    frame["time_ns"] = OPEN + np.arange(count) * MINUTE_NS
    frame["filled"], frame["first_price"] = 0, 0
    frame["last_price"], frame["best_bid"], frame["best_ask"] = 95.0, 99.0, 103.0
    frame.loc[4, ["filled", "first_price", "last_price"]] = [8, 100, 102]
    assert event_minutes(frame, "x").last[0].tolist() == [95.0] * 4 + [100.0] * 22
    frame["last_price"] = np.nan
    assert event_minutes(frame, "x").last[0].tolist() == [101.0] * 4 + [100.0] * 22
    frame.loc[6, "best_ask"] = np.nan
    frame.loc[7, ["best_bid", "best_ask"]] = np.nan
    assert event_minutes(frame, "x").mid_last[0, 5:9].tolist() == [101.0, 99.0, 99.0, 101.0]


def test_float_mid() -> None:
    nan = np.nan
    found = float_mid(np.array([1.0, nan, 2.0, nan]), np.array([2.0, 3.0, nan, nan]))
    np.testing.assert_array_equal(found, [1.5, 3.0, 2.0, nan])


def test_records_that_reached_no_book_and_those_before_any_price_are_left_out() -> None:
    events = event_table(2, 1, WINDOW)
    plain = event_minutes(events, "x")
    nothing = events.iloc[:5].assign(kind="NONE", filled=99, first_price=1)
    assert_same(plain, event_minutes(pd.concat([nothing, events]), "x"))
    blank = events.iloc[:1].assign(filled=0, last_price=0, best_bid=0, best_ask=0, time_ns=0)
    assert_same(plain, event_minutes(pd.concat([blank, events]), "x"))


def assert_same(a: Minutes, b: Minutes) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_gap_ends_a_run() -> None:
    events: Any = event_table(3, 1, 3 * WINDOW)
    minute = nearest_minute(events["time_ns"].to_numpy()) - 600
    assert len(event_minutes(events, "x").last) == 3
    gap = events[minute != WINDOW]
    found = event_minutes(gap, "x").minute[:, 0] - 600
    assert found.tolist() == [0, WINDOW + 1, 2 * WINDOW + 1]
    with pytest.raises(InputError, match="the longest run has 25 minutes in a row, expected"):
        event_minutes(events[(minute > 0) & (minute < WINDOW)], "x")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="best_ask"), "no column best_ask"),
        (lambda f: f.iloc[::-1].assign(trajectory=0), "has a clock that goes back"),
        (lambda f: f.assign(trajectory=-f["time_ns"]), "is out of order"),
        (lambda f: f.iloc[:0], "the longest run has 0 minutes"),
    ],
)
def test_bad_events(change: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        event_minutes(change(event_table(4, 1, WINDOW)), "x")


def test_groups_are_symbols_or_parts_of_the_only_one() -> None:
    one = event_minutes(event_table(5, 2 * GROUP + 5, WINDOW, 1), "x")
    groups = group_windows(one)
    assert groups.names == ("x 1", "x 2") and (np.diff(groups.of_window) >= 0).all()
    assert abs(int((groups.of_window == 0).sum()) - int((groups.of_window == 1).sum())) <= 1
    two = join_windows([one, one._replace(symbol=np.full(len(one.symbol), "a"))])
    both = group_windows(two)
    assert both.names == ("a", "x") and (both.of_window == np.repeat([1, 0], len(one.symbol))).all()
    days = two.minute[:, 0] // DAY
    assert len(np.unique(days)) == len(days)


def minute_frame(count: int = WINDOW) -> pd.DataFrame:
    """A table of minute bars of two symbols."""
    times = pd.date_range("2024-05-06 09:31", periods=count, freq="min").astype(str)
    rng = np.random.default_rng(6)
    columns = ("last_price", "mean_price", "mean_mid", "last_mid", "volume")
    bars = {name: 1 + rng.random(2 * count) for name in columns}
    return pd.DataFrame({"time": [*times] * 2, "symbol": ["B"] * count + ["A"] * count, **bars})


def test_minute_tables(tmp_path: pathlib.Path) -> None:
    frame, path = minute_frame(), tmp_path / "bars.csv"
    frame.sample(frac=1, random_state=0).to_csv(path, index=False)
    found = read_minute_table(path)
    order = np.argsort(found.symbol)
    assert found.symbol[order].tolist() == ["A", "B"]
    for name, field in (("last_price", "last"), ("mean_mid", "mid_mean"), ("volume", "volume")):
        expected = frame[name].to_numpy().reshape(2, WINDOW)[::-1]
        np.testing.assert_allclose(getattr(found, field)[order], expected)
    assert (found.minute % DAY == 571 + np.arange(WINDOW)).all()
    again = pd.concat([frame.assign(window=0), frame.assign(window=1)])
    again.to_csv(path, index=False)
    assert sorted(read_minute_table(path).symbol) == ["A", "A", "B", "B"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.drop(columns="mean_mid"), "no column 'mean_mid'"),
        (lambda f: f.assign(last_price=0), "row 2: last_price is '0', expected a number above 0"),
        (lambda f: f.assign(volume="x"), "row 2: volume is 'x', expected a number, 0 or more"),
        (lambda f: f.assign(volume=np.inf), "volume is 'inf', expected a number, 0 or more"),
        (lambda f: f.assign(time=f["time"] + ".5"), "row 2: time is .* expected a full minute"),
        (
            lambda f: f.assign(symbol="A"),
            "row 28: time is .* expected each minute of a series once",
        ),
        (lambda f: f.iloc[:20], "bars.csv: the longest run has 20 minutes in a row"),
    ],
)
def test_bad_minute_tables(tmp_path: pathlib.Path, change: Any, sentence: str) -> None:
    path = tmp_path / "bars.csv"
    change(minute_frame()).to_csv(path, index=False)
    with pytest.raises(InputError, match=sentence):
        read_windows([path])


def test_bad_event_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "events.parquet"
    with pytest.raises(InputError, match="does not exist"):
        read_windows([path])
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_windows([path])
    events = event_table(7, 1, WINDOW)
    events.assign(filled="x").to_parquet(path)
    with pytest.raises(InputError, match=r"column filled holds .* expected numbers"):
        read_event_table(path)
    events.assign(time_ns=np.nan).to_parquet(path)
    with pytest.raises(InputError, match="column time_ns has gaps"):
        read_event_table(path)
    with pytest.raises(InputError, match=r"a\.txt is of no known kind"):
        read_windows([tmp_path / "a.txt"])
    with pytest.raises(InputError, match="is a book file, expected its message file with it"):
        read_windows([tmp_path / "X_orderbook_5.csv"])


def test_lobster_days(real_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """15 windows of a day; volume and last price are those of the visible trades."""
    import zipfile

    with zipfile.ZipFile(real_data / "lobster/LOBSTER_SampleFile_AAPL_2012-06-21_1.zip") as archive:
        archive.extractall(tmp_path)
    message = next(tmp_path.rglob("*_message_*.csv"))
    book = message.with_name(message.name.replace("_message_", "_orderbook_"))
    found = read_windows([message, book]).minutes
    assert found.last.shape == (15, WINDOW) and set(found.symbol) == {"AAPL"}
    names = ["time", "type", "id", "size", "price", "direction"]
    rows: Any = pd.read_csv(message, header=None, names=names)
    traded = rows[rows["type"] == 4]
    bucket = (traded["time"] / 60).round()
    volume = traded.groupby(bucket)["size"].sum().reindex(found.minute.ravel(), fill_value=0)
    np.testing.assert_array_equal(found.volume.ravel(), volume)
    assert (found.minute[0] == 570 + np.arange(WINDOW)).all()
    returns = np.diff(np.log(found.last[:, 1:]), axis=1)
    assert 3e-4 < returns.std() < 1.5e-3
    assert np.corrcoef(found.last.ravel(), found.mid_last.ravel())[0, 1] > 0.999
