"""A-share files: the recorded day, and days of the plain Python book in the same form."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.l3_tables import TICK, a_share_tables, books, drawn_messages

from jaxmars.book import init_book
from jaxmars.data.ashare import AShareColumns, AShareDay, read_ashare, read_ashare_orders
from jaxmars.data.continuous import ReplayReport, replay
from jaxmars.data.lobster import nanoseconds
from jaxmars.data.orderflow import NO_CHECK, L3Data, Recorded
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Side, Status

SLOTS, LEVELS, NUM = 96, 5, 300
SEQUENCED = AShareColumns(order_sequence="order_number", trade_sequence="sequence")


@pytest.fixture(scope="module")
def day(real_data: pathlib.Path) -> AShareDay:
    files = [
        sorted((real_data / "ashare").glob(f"*_{x}.csv.xz")) for x in ("transactions", "ticks")
    ]
    if not all(files):
        pytest.skip(f"no A-share day in {real_data}")
    return read_ashare(files[0][0], files[1][0])


def test_executions_sum_to_the_snapshots(day: AShareDay) -> None:
    """Realism spec 1.2, and beyond it: not only in all, but in each of 4,742 intervals."""
    trades = day.data.trades
    assert trades is not None
    assert len(trades.size) == 40_861
    assert int(trades.size.sum()) == int(day.snapshot_volume.sum()) == 53_723_019
    assert len(day.snapshot_volume) == 4742
    assert np.array_equal(day.executed_volume(), day.snapshot_volume)


def test_the_aggressor_is_the_later_order(day: AShareDay) -> None:
    """Realism spec 1.2: 22,484 marketable orders, median 400 shares, 99.4 % whole lots; long memory
    of signs 0.44/0.32/0.15/0.03 at lags 1/10/50/200."""
    order = day.data.flow.order
    size = np.asarray(order.size)
    assert len(size) == 22_484
    assert set(np.asarray(order.kind).tolist()) == {Kind.MARKET}
    assert np.median(size) == 400
    assert round(np.mean(size % 100 == 0), 3) == 0.994
    sign = np.where(np.asarray(order.side) == Side.BUY, 1.0, -1.0)
    memory = [np.corrcoef(sign[:-lag], sign[lag:])[0, 1] for lag in (1, 10, 50, 200)]
    assert np.round(memory, 2).tolist() == [0.44, 0.32, 0.15, 0.03]
    assert set(day.data.flow.check.tolist()) == {NO_CHECK}


def test_the_spread_is_one_tick(day: AShareDay) -> None:
    recorded = day.data.recorded
    assert recorded is not None
    price = np.asarray(recorded.l2.price)
    assert price.shape == (4742, 2, 5)
    assert np.mean(price[:, Side.SELL, 0] - price[:, Side.BUY, 0] == 1) > 0.98


EXECUTIONS = [  # clock, buyer, seller, price, shares
    ("09:25:00.000", 5, 9, 11.87, 100),
    ("10:00:00.010", 12, 3, 11.88, 200),
    ("10:00:00.010", 12, 4, 11.89, 300),
    ("10:00:00.020", 12, 6, 11.89, 50),
    ("10:00:00.020", 11, 13, 11.85, 70),
    ("14:57:00.000", 20, 21, 11.86, 900),
    ("15:00:00.000", 23, 22, 11.86, 800),
]
BACK = r"2022-09-30 09:00:00, expected 2022-09-30 10:00:00.010 \(the row before\) or later"
SNAPSHOTS = [("09:25:00", 100), ("10:00:03", 620), ("15:00:00", 1700)]


def hand_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    names = ["timestamp", "bid_uid", "ask_uid", "price", "volume"]
    executions = pd.DataFrame(EXECUTIONS, columns=names)
    ticks = pd.DataFrame(SNAPSHOTS, columns=["timestamp", "volume"])
    for frame in (executions, ticks):
        frame["timestamp"] = "2022-09-30 " + frame["timestamp"]
    for name, sign in (("bid", -1), ("ask", 1)):
        for level in range(1, 6):
            ticks[f"{name}_price_{level}"] = 11.86 + sign * level / 100
            ticks[f"{name}_volume_{level}"] = 100 * level
    return executions, ticks


def test_a_hand_made_day() -> None:
    day = read_ashare(*hand_tables())
    order = day.data.flow.order
    found = [np.asarray(x).tolist() for x in (order.side, order.size, order.order_id, order.price)]
    assert found == [
        [Side.BUY, Side.BUY, Side.SELL],
        [500, 50, 70],
        [12, 12, 13],
        [1189, 1189, 1185],
    ], "no aggressor in a call auction; a new time is a new order"
    assert day.executed_volume().tolist() == [100, 620, 1700]
    assert np.asarray(day.snapshot_time.sec).tolist() == [33_900, 36_003, 54_000]
    recorded: Any = day.data.recorded
    assert recorded.l2.price[0].tolist() == [
        [1185, 1184, 1183, 1182, 1181],
        [1187, 1188, 1189, 1190, 1191],
    ]


def test_missing_executions_show() -> None:
    executions, ticks = hand_tables()
    day = read_ashare(executions.drop(index=2), ticks)
    assert (day.snapshot_volume - day.executed_volume()).tolist() == [0, 300, 0]
    late = read_ashare(executions, ticks.drop(index=2))
    assert late.executed_volume().tolist() == [100, 620], "after the last snapshot"


def test_an_order_of_too_many_shares_is_refused() -> None:
    executions, ticks = hand_tables()
    executions.loc[[1, 2], "volume"] = 2**30
    with pytest.raises(InputError, match="row 3: the size of an order is 2147483648, expected at"):
        read_ashare(executions, ticks)


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "sentence"),
    [
        (0, 2, "volume", 0, "the table: row 3: volume is 0, expected a number from 1"),
        (0, 2, "price", -1.0, "row 3: price is -1.0, expected a positive price up to 214748"),
        (0, 2, "price", float("nan"), "row 3: price is nan, expected a positive price up to 2147"),
        (0, 2, "price", 11.875, "row 3: price is 11.875, expected a multiple of 1/100"),
        (0, 2, "bid_uid", 0, "row 3: bid_uid is 0"),
        (0, 2, "timestamp", "2022-09-30 09:00:00", f"row 3: timestamp is {BACK}"),
        (1, 1, "timestamp", "2022-09-30 09:00:00", "row 2: timestamp"),
        (1, 1, "ask_volume_3", -5, "row 2: ask_volume_3 is -5, expected a number from 0"),
        (1, 1, "ask_price_3", -5.5, "row 2: ask_price_3 is -5.5, expected a number from 0 to 2147"),
    ],
)
def test_a_bad_cell_is_refused(
    table: int, row: int, column: str, value: Any, sentence: str
) -> None:
    tables = hand_tables()
    tables[table][column] = tables[table][column].astype(object)
    tables[table].loc[row, column] = value
    with pytest.raises(InputError, match=sentence):
        read_ashare(*tables)


def replayed(data: L3Data, messages: np.ndarray) -> ReplayReport:
    """Compared with the oracle after the last event of each message (messages have own times)."""
    l2, orders = books(messages, SLOTS, LEVELS)
    price: Any = l2[..., 0]
    size: Any = l2[..., 1]
    stamp = nanoseconds(data.flow.time.sec, data.flow.time.nsec)
    last = np.append(np.flatnonzero(np.diff(stamp)), len(stamp) - 1)
    assert len(last) == len(messages)
    check = np.full(len(stamp), NO_CHECK, np.int32)
    check[last] = np.arange(len(last))
    return replay(
        data.flow._replace(check=check),
        Recorded(L2(price * TICK, size), orders, np.ones(price.shape, bool)),
        init_book(SLOTS),
        levels=LEVELS,
        resting=data.resting,
        chunk=128,
    )


@pytest.mark.parametrize("columns", [SEQUENCED, AShareColumns()], ids=["sequence", "time"])
@pytest.mark.parametrize("resting", [True, False])
def test_orders_and_executions_give_the_books(columns: AShareColumns, resting: bool) -> None:
    messages = drawn_messages(11, NUM, SLOTS)
    orders, trades = a_share_tables(messages, SLOTS)
    fills = np.asarray(trades["flag"] == "F")
    assert np.sum(fills) > 50
    data = read_ashare_orders(orders, trades, columns, resting=resting)
    report = replayed(data, messages)
    assert (report.checked, report.equal) == (len(messages), len(messages))
    assert set(report.status) <= {Status.UNFILLED_MARKET}
    assert data.trades is not None
    assert data.trades.size.tolist() == np.asarray(trades["size"])[fills].tolist()


def test_matching_implies_the_recorded_executions() -> None:
    """What each order takes in our book is what the table says it took."""
    messages = drawn_messages(12, NUM, SLOTS)
    orders, trades = a_share_tables(messages, SLOTS)
    data = read_ashare_orders(orders, trades, SEQUENCED, resting=False)
    report = replayed(data, messages)
    fills = np.asarray(trades["flag"] == "F")
    numbers = np.asarray(trades[["buy_number", "sell_number"]])
    taken = np.bincount(numbers.max(1)[fills], np.asarray(trades["size"])[fills])
    ours = np.zeros(len(taken))
    traded = np.flatnonzero(report.filled)
    ours[np.asarray(data.flow.order.order_id)[traded]] = report.filled[traded]
    assert np.array_equal(ours, taken)
    assert taken.sum() == report.filled.sum() > 0


def test_orders_that_cross_for_an_instant_trade_away() -> None:
    messages = drawn_messages(11, NUM, SLOTS)
    data = read_ashare_orders(*a_share_tables(messages, SLOTS), SEQUENCED, resting=True)
    report = replayed(data, messages)
    assert report.crossed > 0
    assert not report.filled.any()


@pytest.mark.parametrize(
    ("table", "column", "value", "sentence"),
    [
        (0, "side", "X", "row 1: side is 'X', expected one of B, S, 1, 2"),
        (0, "order_type", "9", "row 1: order_type is '9', expected one of 1, 2, U"),
        (0, "price", "0", "row 1: price is '0', expected a positive price of an order"),
        (0, "size", 0, "row 1: size is 0"),
        (0, "order_number", 10**5, "row 2: order_number is .*, expected 100000"),
        (1, "flag", "Z", "row 1: flag is 'Z', expected one of F, C"),
        (1, "size", -3, "row 1: size is -3"),
        (1, "time", "2025-01-01", r"time is .*, expected 2025-01-01 \(the row before\) or later"),
    ],
)
def test_a_bad_order_row_is_refused(table: int, column: str, value: Any, sentence: str) -> None:
    tables = a_share_tables(drawn_messages(11, 60, SLOTS), SLOTS)
    changed = tables[table]
    changed[column] = changed[column].astype(object)
    changed.loc[0, column] = value
    with pytest.raises(InputError, match=sentence):
        read_ashare_orders(*tables, SEQUENCED, resting=True)


@pytest.mark.parametrize(("flag", "numbers"), [("F", (0, 3)), ("C", (1, 2)), ("C", (0, 0))])
def test_a_fill_names_two_orders_and_a_cancel_one(flag: str, numbers: tuple[int, int]) -> None:
    orders, trades = a_share_tables(drawn_messages(11, 60, SLOTS), SLOTS)
    row = int(np.flatnonzero(trades["flag"] == flag)[0])
    trades.loc[row, ["buy_number", "sell_number"]] = numbers
    shown = f"{numbers[0]} and {numbers[1]}"
    with pytest.raises(InputError, match=f"buy_number and sell_number is '{shown}', expected two"):
        read_ashare_orders(orders, trades, SEQUENCED, resting=True)


def test_a_sequence_is_named_in_both_tables() -> None:
    with pytest.raises(ValueError, match="a sequence in both tables or in none, got one"):
        dataclasses.replace(SEQUENCED, trade_sequence=None)
