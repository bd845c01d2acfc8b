"""Any order-by-order table as a flow: round trips through files, meanings of rows, refusals."""

import dataclasses
import lzma
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.l3_tables import (
    COLUMNS,
    TICK,
    books,
    change_table,
    drawn_messages,
    order_table,
)

from jaxmars.book import init_book
from jaxmars.data.continuous import replay
from jaxmars.data.l3 import Action, L3Columns, read_l3
from jaxmars.data.orderflow import L3Data, Recorded
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Side, Status

SLOTS, LEVELS, NUM = 96, 5, 400
SEEDS = (1, 2, 3)
SUFFIXES = (".csv", ".csv.gz", ".csv.xz", ".parquet")
LEFT = {"n": Action.ADD, "d": Action.CANCEL, "r": Action.REPLACE}  # rows that say what is left


def written(frame: pd.DataFrame, path: pathlib.Path) -> pathlib.Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return path


def checked(data: L3Data, last: np.ndarray, messages: np.ndarray) -> tuple[int, int]:
    """Books compared and equal, when message k must leave the oracle's book after row last[k]."""
    l2, orders = books(messages, SLOTS, LEVELS)
    price: Any = l2[..., 0]
    size: Any = l2[..., 1]
    recorded = Recorded(L2(price, size), orders, np.ones(price.shape, bool))
    check = np.full(len(data.flow.check), -1, np.int32)
    check[last] = np.arange(len(last))
    report = replay(
        data.flow._replace(check=check),
        recorded,
        init_book(SLOTS),
        levels=LEVELS,
        resting=data.resting,
        chunk=128,
    )
    assert set(report.status) <= {Status.UNFILLED_MARKET}
    return report.checked, report.equal


@pytest.mark.parametrize("seed", SEEDS)
def test_orders_give_the_books_of_the_oracle(seed: int, tmp_path: pathlib.Path) -> None:
    messages = drawn_messages(seed, NUM, SLOTS)
    path = written(order_table(messages), tmp_path / f"orders{SUFFIXES[seed]}")
    data = read_l3(path, COLUMNS, resting=False, tick=TICK)
    sent = np.stack([np.asarray(x) for x in data.flow.order[:5]], 1)
    same = messages[:, :5].copy()
    same[messages[:, 0] != Kind.LIMIT, 2] = sent[messages[:, 0] != Kind.LIMIT, 2]
    assert np.array_equal(sent, same)
    num = len(messages)
    assert checked(data, np.arange(num), messages) == (num, num)


@pytest.mark.parametrize("seed", SEEDS)
def test_changes_give_the_books_of_the_oracle(seed: int, tmp_path: pathlib.Path) -> None:
    messages = drawn_messages(seed, NUM, SLOTS)
    frame, last = change_table(messages, SLOTS)
    path = written(frame, tmp_path / f"changes{SUFFIXES[seed - 1]}")
    data = read_l3(path, COLUMNS, resting=True, tick=TICK)
    assert checked(data, last, messages) == (len(messages), len(messages))


def test_frames_and_files_are_read_alike(tmp_path: pathlib.Path) -> None:
    frame, _ = change_table(drawn_messages(4, 60, SLOTS), SLOTS)
    typed = frame.assign(at=frame["at"].astype(float), when=pd.to_datetime(frame["when"]))
    from_frame = read_l3(typed, COLUMNS, resting=True)
    from_file = read_l3(written(frame, tmp_path / "a.csv"), COLUMNS, resting=True)
    for mine, theirs in zip(from_frame.flow.order, from_file.flow.order, strict=True):
        assert np.array_equal(mine, theirs)
    for mine, theirs in zip(from_frame.flow.time, from_file.flow.time, strict=True):
        assert np.array_equal(mine, theirs)
    assert (from_file.tick, from_file.price_scale, from_file.venue) == (TICK, 100, "L3 table")


def small(rows: list[tuple[Any, ...]], **changes: Any) -> L3Data:
    """Rows (action, side, price, size, id), times in ms since midnight, one second apart."""
    frame = pd.DataFrame(rows, columns=["a", "s", "p", "q", "i"], dtype=object)
    frame = frame.assign(t=(34_200_000 + 1000 * np.arange(len(rows))).astype(str))
    codes = {
        "n": Action.ADD,
        "m": Action.MARKET,
        "l": Action.REDUCE,
        "d": Action.CANCEL,
        "r": Action.REPLACE,
        "c": Action.CLEAR,
        "t": Action.TRADE,
        "x": Action.IGNORE,
    }
    sides = {"B": Side.BUY, "S": Side.SELL}
    settings: dict[str, Any] = {"actions": codes, "sides": sides, "time_unit": 10**6} | changes
    reading = {"resting": settings.pop("resting", True), "tick": settings.pop("tick", 1)}
    return read_l3(frame, L3Columns("t", "a", "s", "p", "q", "i", **settings), **reading)


def events_of(data: L3Data) -> list[tuple[int, ...]]:
    """(second, kind, side, price, size, id) of each event."""
    order = data.flow.order
    columns = (data.flow.time.sec, order.kind, order.side, order.price, order.size, order.order_id)
    return list(zip(*(np.asarray(column).tolist() for column in columns), strict=True))


BUY, SELL = Side.BUY, Side.SELL
LIMIT, CANCEL, NONE = Kind.LIMIT, Kind.CANCEL, Kind.NONE
ADDED = ("n", "B", "1.00", 9, 1)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("l", "B", "1.00", 4, 1), [(CANCEL, BUY, 100, 4, 1)]),
        (("d", "B", "", "", 1), [(CANCEL, BUY, 100, 9, 1)]),
        (("d", "B", "", "", 2), [(CANCEL, BUY, 0, 1, 2)]),
        (("r", "B", "1.00", 4, 1), [(CANCEL, BUY, 100, 5, 1)]),
        (("r", "B", "1.00", 0, 1), [(CANCEL, BUY, 100, 9, 1)]),
        (("r", "B", "1.00", 9, 1), [(NONE, BUY, 100, 9, 1)]),
        (("r", "B", "1.00", 12, 1), [(CANCEL, BUY, 100, 9, 1), (LIMIT, BUY, 100, 12, 1)]),
        (("r", "B", "1.01", 9, 1), [(CANCEL, BUY, 100, 9, 1), (LIMIT, BUY, 101, 9, 1)]),
        (("r", "S", "1.01", 7, 2), [(LIMIT, SELL, 101, 7, 2)]),
        (("r", "S", "1.01", 0, 2), [(NONE, SELL, 101, 0, 2)]),
        (("c", "", "", "", ""), [(CANCEL, BUY, 100, 9, 1)]),
        (("t", "", "1.02", 3, ""), [(NONE, BUY, 102, 3, 0)]),
        (("x", "?", "?", "?", "?"), [(NONE, BUY, 0, 0, 0)]),
    ],
)
def test_what_a_row_means(row: tuple[Any, ...], expected: list[tuple[int, ...]]) -> None:
    found = events_of(small([ADDED, row]))
    assert found[0] == (34200, LIMIT, BUY, 100, 9, 1)
    assert found[1:] == [(34201, *event) for event in expected]


def test_what_is_left_follows_all_rows() -> None:
    rows = [ADDED, ("l", "B", "", 2, 1), ("r", "B", "1.00", 5, 1), ("l", "B", "", 1, 1)]
    rows += [("r", "B", "0.99", 6, 1), ("d", "", "", "", 1)]
    with pytest.raises(InputError, match="row 6: s is '', expected one of B, S"):
        small(rows)
    rows[-1] = ("d", "B", "", "", 1)
    taken = [event[4] for event in events_of(small(rows)) if event[1] == CANCEL]
    assert taken == [2, 2, 1, 4, 6]


def test_a_reduction_by_more_than_is_left_changes_nothing() -> None:
    rows = [ADDED, ("l", "B", "", 10, 1), ("d", "B", "", "", 1)]
    assert [event[4] for event in events_of(small(rows))] == [9, 10, 9]


def test_late_rows_of_an_ended_order() -> None:
    rows = [("d", "B", "1.00", 4, 7), ("n", "B", "1.00", 4, 7), ("r", "B", "1.00", 2, 7)]
    late = events_of(small(rows, late_rows=True))
    assert [event[1] for event in late] == [CANCEL, NONE, NONE]
    assert [event[1] for event in events_of(small(rows))] == [CANCEL, LIMIT, CANCEL]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ((5, 2**31 - 1), [5, 2**31 - 1]),
        ((2**40, 5), [2, 1]),
        ((-3, 5), [1, 2]),
        ((2**52, 2**52 + 1), [1, 2]),
    ],
)
def test_ids_that_do_not_fit_become_ranks(ids: tuple[int, int], expected: list[int]) -> None:
    data = small([("n", "B", "1.00", 1, name) for name in ids])
    assert np.asarray(data.flow.order.order_id).tolist() == expected
    assert data.ids.tolist() == ([] if expected == list(ids) else sorted(ids))


def test_sizes_between_two_units() -> None:
    rows = [("n", "B", "1.00", "0.30001", 1), ("r", "B", "1.00", "0.2", 1)]
    data = small(rows, size_scale=1000, round_up=True, actions=LEFT)
    assert [event[4] for event in events_of(data)] == [301, 101]
    assert data.size_scale == 1000
    with pytest.raises(InputError, match=r"row 1: q is '0.30001', expected a multiple of 1/1000"):
        small(rows, size_scale=1000)
    with pytest.raises(ValueError, match="round_up must be off where rows REDUCE"):
        small(rows, round_up=True)


@pytest.mark.parametrize(
    ("cells", "unit", "zone", "sec", "nsec"),
    [
        (["34200.123456789"], 10**9, None, 34200, 123456789),
        (["57599.999999999"], 10**9, None, 57599, 999999999),
        (["1711954800123"], 10**6, "UTC", 7 * 3600, 123_000_000),
        (["1711954800123"], 10**6, "Asia/Shanghai", 15 * 3600, 123_000_000),
        (["2024-03-01T09:30:00.000000001"], None, None, 34200, 1),
        (["2024-03-01 09:30:00"], None, None, 34200, 0),
        (["2024-03-01T14:30:00.5Z"], None, "America/New_York", 34200, 500_000_000),
        (["2024-03-01T15:30:00+01:00"], None, "America/New_York", 34200, 0),
        (["2024-03-01 23:59:59", "2024-03-02 00:00:01"], None, None, 86401, 0),
    ],
)
def test_clocks(cells: list[str], unit: int | None, zone: str | None, sec: int, nsec: int) -> None:
    columns = dataclasses.replace(COLUMNS, time_unit=unit, zone=zone, sequence=None)
    rows = [(cell, "add", "buy", "1.00", 1, n + 1) for n, cell in enumerate(cells)]
    frame = pd.DataFrame(rows, columns=["when", "what", "way", "at", "shares", "number"])
    time = read_l3(frame, columns, resting=True).flow.time
    assert (int(time.sec[-1]), int(time.nsec[-1])) == (sec, nsec)


GOOD = ["2024-03-01 09:30:00,add,buy,10.05,100,1,1", "2024-03-01 09:30:01,less,buy,10.05,50,1,2"]
BACK = r"2024-03-01 09:29:59, expected 2024-03-01 09:30:00 \(the row before\) or later"


@pytest.mark.parametrize(
    ("row", "line", "sentence"),
    [
        (3, "2024-03-01 09:29:59,less,buy,1,5,1,2", f"row 3: when is {BACK}"),
        (3, "2024-03-01 09:30:01,less,buy,1,5,1,0", "row 3: line is 0, expected 1 .* or more"),
        (3, "noon,less,buy,1,5,1,2", "row 3: when is 'noon', expected an ISO 8601 time without"),
        (2, "2024-03-01T09:30:00Z,add,buy,1,5,1,1", "row 2: when is .*Z', expected .* without an"),
        (2, "9999-03-01 09:30:00,add,buy,1,5,1,1", "row 2: when is '9999.*, years 1900 to 2200"),
        (2, "2024-03-01 09:30:00+08,add,buy,1,5,1,1", "row 2: when is .*, expected .* without an"),
        (3, "2024-03-01 09:30:01,sold,buy,1,5,1,2", "what is 'sold', expected one of add, market"),
        (3, "2024-03-01 09:30:01,less,long,1,5,1,2", "way is 'long', expected one of buy, sell"),
        (2, "2024-03-01 09:30:00,add,buy,0,5,1,1", "row 2: at is '0', expected a positive price"),
        (2, "2024-03-01 09:30:00,add,buy,-1,5,1,1", "at is '-1', expected a positive price"),
        (2, "2024-03-01 09:30:00,add,buy,nan,5,1,1", "at is 'nan', expected a positive price"),
        (2, ",add,buy,1,5,1,1", "row 2: when is '', expected an ISO 8601 time without"),
        (
            2,
            "2024-03-01 09:30:00,add,buy,1.005,5,1,1",
            "at is '1.005', expected a multiple",
        ),
        (2, "2024-03-01 09:30:00,add,buy,x,5,1,1", "at is 'x', expected a positive price"),
        (2, "2024-03-01 09:30:00,add,buy,inf,5,1,1", "at is 'inf', expected a positive pr"),
        (2, "2024-03-01 09:30:00,add,buy,1e30,5,1,1", "at is '1e30', expected a number up to"),
        (2, "2024-03-01 09:30:00,add,buy,99999999,5,1,1", "price is 9999999900, expected fewer"),
        (2, "2024-03-01 09:30:00,add,buy,42949673.96,5,1,1", "price is 4294967396, expected fewer"),
        (2, "2024-03-01 09:30:00,add,buy,1,0,1,1", "shares is '0', expected a positive number"),
        (2, "2024-03-01 09:30:00,add,buy,1,2147483648,1,1", "size is 2147483648, expected at most"),
        (3, "2024-03-01 09:30:01,less,buy,1,,1,2", "row 3: shares is '', expected a number"),
        (3, "2024-03-01 09:30:01,less,buy,1,5,one,2", "number is 'one', expected a number"),
        (3, "2024-03-01 09:30:01,add,buy,1,5,1,2", "row 3: order id 1 is that of row 2, which"),
        (3, "2024-03-01 09:30:01,less,buy,1,5,1,2,3,4", "cannot be read as a table"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: pathlib.Path, row: int, line: str, sentence: str) -> None:
    lines = [",".join(("when", "what", "way", "at", "shares", "number", "line")), *GOOD]
    lines[row - 1] = line
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=sentence) as caught:
        read_l3(path, COLUMNS, resting=True, tick=1)
    assert str(caught.value).startswith(str(path))


def test_an_empty_time_in_numbers_and_an_id_that_was_ranked() -> None:
    frame = pd.DataFrame({"t": ["34200000", ""], "a": "n", "s": "B", "p": "1", "q": "2", "i": "7"})
    columns = L3Columns(
        "t", "a", "s", "p", "q", "i", {"n": Action.ADD}, {"B": Side.BUY}, time_unit=10**6
    )
    with pytest.raises(InputError, match=r"row 2: t is '', expected a time as a number$"):
        read_l3(frame, columns, resting=True)
    frame = frame.assign(t="34200000", i=str(2**40))
    with pytest.raises(InputError, match=f"row 2: order id {2**40} is that of row 1, which still"):
        read_l3(frame, columns, resting=True)


def test_the_good_rows_are_good(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "good.csv"
    path.write_text("\n".join(["when,what,way,at,shares,number,line", *GOOD]))
    data = read_l3(path, COLUMNS, resting=True)
    assert len(data.flow.check) == 2
    assert data.tick == 1005


def test_files_that_are_no_tables(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "table.csv.xz"
    read: Any = lambda: read_l3(path, COLUMNS, resting=True)
    with pytest.raises(InputError, match="does not exist, expected a table of orders"):
        read()
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"is not a whole \.xz file"):
        read()
    path.write_bytes(lzma.compress(b"0" * 2**26))
    with pytest.raises(InputError, match="expands to over"):
        read()
    path.write_bytes(lzma.compress(b"when,what\n1,2"))
    with pytest.raises(InputError, match="has no column 'way', expected it among when, what"):
        read()
    path.write_bytes(lzma.compress(b"when,what"))
    with pytest.raises(InputError, match="has no rows"):
        read()
    path.write_bytes(lzma.compress(b"when,what\n\xff\xfe,2"))
    with pytest.raises(InputError, match="cannot be read as a table"):
        read()
    parquet = tmp_path / "table.parquet"
    parquet.write_bytes(b"PAR1 no parquet")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read_l3(parquet, COLUMNS, resting=True)


def test_orders_must_say_what_a_cancel_takes() -> None:
    for row in (("d", "B", "", 9, 1), ("r", "B", "1.00", 9, 1)):
        with pytest.raises(InputError, match=r"row 2: action is .*, expected one that says what"):
            small([ADDED, row], resting=False)


@pytest.mark.parametrize(
    ("tick", "sentence"),
    [(7, "row 1: price is 100, expected a multiple of the tick 7"), (0, "tick is 0, expected")],
)
def test_a_tick_must_divide_all_prices(tick: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        small([ADDED], tick=tick)


@pytest.mark.parametrize("name", ["price_scale", "size_scale", "time_unit"])
def test_columns_refuse_units_that_are_not_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"columns {name} must be positive, got 0"):
        dataclasses.replace(COLUMNS, **{name: 0})


def test_a_record_does_not_span_a_lifetime(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "long.csv"
    lines = [GOOD[0].replace("2024", "1950"), GOOD[1]]
    path.write_text("\n".join(["when,what,way,at,shares,number,line", *lines]))
    with pytest.raises(InputError, match="row 3: time is 2335339801, expected less than 68 years"):
        read_l3(path, COLUMNS, resting=True)


def test_columns_refuse_a_zone_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="columns zone must be a time zone such as UTC, got 'EU'"):
        dataclasses.replace(COLUMNS, zone="EU")
