"""Databento and Bitstamp files against the books they recorded themselves."""

import json
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jaxmars.book import init_book
from jaxmars.data.continuous import replay
from jaxmars.data.orderflow import L3Data, Recorded
from jaxmars.data.venues import read_bitstamp, read_databento_mbo
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side, Status

SLOTS = 1024
LEVELS_OF_A_BOOK = 20


def folder(real_data: pathlib.Path, name: str, pattern: str) -> list[pathlib.Path]:
    found = sorted((real_data / name).glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {real_data / name}")
    return found


@pytest.fixture(scope="module")
def databento(real_data: pathlib.Path) -> L3Data:
    (mbo,) = folder(real_data, "databento", "*_mbo.csv.xz")
    (mbp,) = folder(real_data, "databento", "*_mbp10_expected.csv.xz")
    return read_databento_mbo(mbo, mbp)


@pytest.fixture(scope="module")
def bitstamp(real_data: pathlib.Path) -> L3Data:
    (orders,) = folder(real_data, "bitstamp", "*_orders.csv.xz")
    (log,) = folder(real_data, "bitstamp", "*.log.xz")
    return read_bitstamp(orders, log)


def test_every_databento_book_is_reproduced(databento: L3Data) -> None:
    """Realism spec 1.2: prices, sizes and order counts of 3,882 books."""
    assert (databento.tick, databento.price_scale) == (10_000_000, 10**9)
    assert databento.recorded is not None
    assert databento.recorded.orders is not None
    report = replay(databento.flow, databento.recorded, init_book(SLOTS), levels=10, resting=True)
    assert (report.checked, report.equal) == (3882, 3882)
    assert (report.status, report.crossed, report.locked) == ({}, 0, 0)
    assert set(report.table()["compared"].tolist()) == {3882}


def test_bitstamp_books_are_reproduced_as_far_as_orders_are_known(bitstamp: L3Data) -> None:
    """Realism spec 1.2, from an empty book: 93 % of the best prices in the first 50 minutes, 99.9 %
    later; levels 62/85 % (bid/ask) at first, 98-100 % after three hours."""
    report = replay(
        bitstamp.flow, bitstamp.recorded, init_book(SLOTS), levels=LEVELS_OF_A_BOOK, resting=True
    )
    assert report.checked == 5011
    seconds = np.asarray(bitstamp.flow.time.sec)[report.agreement.event]
    at_first = seconds < seconds[0] + 3000
    at_last = seconds >= seconds[0] + 3 * 3600
    best = report.agreement.price[:, :, 0].all(1)
    assert np.mean(best, where=at_first) > 0.93
    assert np.mean(best, where=~at_first) > 0.999
    held = report.agreement.held
    assert (held[at_first].mean((0, 2)) > (0.62, 0.85)).all()
    assert (held[at_last].mean((0, 2)) > (0.98, 0.99)).all()
    assert report.status == {Status.UNKNOWN_ORDER: 184}, "orders from before the record"
    assert (report.crossed + report.locked) / report.events < 0.02


def test_bitstamp_trades(bitstamp: L3Data) -> None:
    trades = bitstamp.trades
    assert trades is not None
    assert len(trades.price) == 575
    assert (int(trades.time.sec[0]), int(trades.time.nsec[0])) == (4, 645_000_000)
    assert (trades.price[0], trades.size[0]) == (23647, 21145), "0.21144331 rounded up"


def test_bitstamp_sizes_are_rounded_up_to_units(bitstamp: L3Data) -> None:
    """The finest unit of which int32 holds the largest order; each is within one unit."""
    order = bitstamp.flow.order
    assert (bitstamp.price_scale, bitstamp.size_scale) == (100, 10**5)
    assert bitstamp.recorded is not None
    assert bitstamp.recorded.rounded_up
    assert np.asarray(order.size).max() == 200 * 10**5
    assert (int(order.price[0]), int(order.size[0])) == (23647, 200_000)


MBO_NAMES = ["ts_event", "action", "side", "price", "size", "order_id", "sequence"]
MBO = [
    ("07:00:00.000000001", "R", "N", "", 0, 0, 0),
    ("07:00:00.000000002", "A", "B", "5.51", 100, 7, 1),
    ("07:00:00.000000003", "A", "A", "5.60", 80, 8, 2),
    ("07:00:01.000000000", "T", "B", "5.60", 30, 0, 3),
    ("07:00:01.000000000", "F", "A", "5.60", 30, 8, 3),
    ("07:00:01.000000000", "C", "A", "5.60", 30, 8, 3),
    ("07:00:02.000000000", "M", "B", "5.52", 100, 7, 4),
    ("07:00:03.000000000", "R", "N", "", 0, 0, 5),
]
# books (bid price, size, count, ask price, size, count) after some of the rows
BOOKS = {
    0: ("", 0, 0, "", 0, 0),
    1: ("5.51", 100, 1, "", 0, 0),
    3: ("1.23", 1, 1, "1.24", 2, 2),
    5: ("5.51", 100, 1, "5.60", 50, 1),
    6: ("5.52", 100, 1, "5.60", 50, 1),
    7: ("", 0, 0, "", 0, 0),
}
MBP_CELLS = [f"{side}_{field}_00" for side in ("bid", "ask") for field in ("px", "sz", "ct")]


def mbo_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    mbo = pd.DataFrame(MBO, columns=MBO_NAMES, dtype=object)
    mbo["ts_event"] = "2025-07-17T" + mbo["ts_event"] + "Z"
    books = pd.DataFrame(BOOKS.values(), columns=MBP_CELLS, index=list(BOOKS), dtype=object)
    return mbo, mbo.join(books, how="inner").drop(columns="order_id")


def read_mbo(tmp_path: pathlib.Path, mbo: pd.DataFrame, mbp: pd.DataFrame) -> L3Data:
    mbo.to_csv(tmp_path / "mbo.csv", index=False)
    mbp.to_csv(tmp_path / "mbp.csv", index=False)
    return read_databento_mbo(tmp_path / "mbo.csv", tmp_path / "mbp.csv")


def test_what_databento_records_mean(tmp_path: pathlib.Path) -> None:
    data = read_mbo(tmp_path, *mbo_tables())
    found = np.stack([np.asarray(x) for x in data.flow.order[:5]], 1).tolist()
    none, limit, cancel = Kind.NONE, Kind.LIMIT, Kind.CANCEL
    assert found == [
        [none, 0, 0, 0, 0],
        [limit, Side.BUY, 551, 100, 7],
        [limit, Side.SELL, 560, 80, 8],
        [none, Side.BUY, 560, 30, 0],
        [none, Side.SELL, 0, 0, 0],
        [cancel, Side.SELL, 560, 30, 8],
        [cancel, Side.BUY, 551, 100, 7],
        [limit, Side.BUY, 552, 100, 7],
        [cancel, Side.SELL, 560, 50, 8],
        [cancel, Side.BUY, 552, 100, 7],
    ]
    assert data.flow.check.tolist() == [0, 1, -1, -1, -1, 3, -1, 4, -1, 5]
    assert (int(data.flow.time.sec[1]), int(data.flow.time.nsec[1])) == (7 * 3600, 2)
    report = replay(data.flow, data.recorded, init_book(8), levels=1, resting=True)
    assert (report.checked, report.equal) == (5, 5)


@pytest.mark.parametrize(
    ("row", "column", "value", "sentence"),
    [
        (1, "bid_px_00", "5.513", r"mbp.csv: row 3: a price is 5513000000, expected multiples of"),
        (1, "bid_px_00", "", "mbp.csv: row 3: bid_px_00 is '', expected a number"),
        (1, "bid_ct_00", 0, "mbp.csv: row 3: bid_ct_00 is 0, expected a positive number"),
        (1, "bid_sz_00", -1, "mbp.csv: row 3: bid_sz_00 is -1, expected a positive number"),
        (6, "sequence", 9, r"mbp.csv: row 6: the record is .*, expected one of .*mbo.csv"),
        (6, "side", "A", "mbp.csv: row 6: the record is"),
    ],
)
def test_a_book_that_does_not_belong_is_refused(
    tmp_path: pathlib.Path, row: int, column: str, value: Any, sentence: str
) -> None:
    mbo, mbp = mbo_tables()
    mbp.loc[row, column] = value
    with pytest.raises(InputError, match=sentence):
        read_mbo(tmp_path, mbo, mbp)


def test_books_need_their_columns(tmp_path: pathlib.Path) -> None:
    mbo, mbp = mbo_tables()
    with pytest.raises(InputError, match="has no columns bid_px_00 and so on"):
        read_mbo(tmp_path, mbo, mbp.drop(columns=MBP_CELLS))
    with pytest.raises(InputError, match="has no column 'ask_ct_00'"):
        read_mbo(tmp_path, mbo, mbp.drop(columns="ask_ct_00"))
    with pytest.raises(InputError, match="has no column 'sequence'"):
        read_mbo(tmp_path, mbo, mbp.drop(columns="sequence"))


ORDERS = [  # id, ms, price, volume, action, direction
    (1, 1000, "236.47", 200000000, "created", "bid"),
    (1, 1100, "236.47", 178855669, "changed", "bid"),
    (9, 1200, "236.50", 0, "deleted", "ask"),
    (9, 1201, "236.50", 100000000, "created", "ask"),
    (2, 1300, "236.60", 7, "created", "ask"),
]
BOOK = {"bids": [["236.47", "1.78855669"]], "asks": [["236.60", "0.00000007"]]}
NAMES = ["id", "timestamp", "price", "volume", "action", "direction"]


def bitstamp_files(tmp_path: pathlib.Path, log: list[str]) -> tuple[pathlib.Path, pathlib.Path]:
    orders, path = tmp_path / "orders.csv", tmp_path / "day.log"
    pd.DataFrame(ORDERS, columns=NAMES).to_csv(orders, index=False)
    path.write_text("\n".join(log))
    return orders, path


def log_lines() -> list[str]:
    lines = [f'{ms} order_{what} {{"id": {name}}}' for name, ms, _, _, what, _ in ORDERS]
    trade = '1150 trade {"price": 236.47, "amount": 0.21144331, "id": 5}'
    book = f"1400 order_book {json.dumps(BOOK)}"
    return [*lines[:2], trade, *lines[2:], book]


def test_what_bitstamp_events_mean(tmp_path: pathlib.Path) -> None:
    data = read_bitstamp(*bitstamp_files(tmp_path, log_lines()))
    assert np.asarray(data.flow.order.kind).tolist() == [
        Kind.LIMIT,
        Kind.CANCEL,
        Kind.CANCEL,
        Kind.NONE,
        Kind.LIMIT,
    ], "an order created after it was deleted does not rest"
    assert np.asarray(data.flow.order.size).tolist()[:2] == [200_000, 21_144]
    assert int(data.flow.order.size[4]) == 1
    recorded, trades = data.recorded, data.trades
    assert isinstance(recorded, Recorded)
    assert trades is not None
    assert recorded.l2.price.tolist() == [[[23647], [23660]]]
    assert recorded.l2.size.tolist() == [[[178_856], [1]]]
    assert data.flow.check.tolist() == [-1, -1, -1, -1, 0]
    assert (trades.size.tolist(), np.asarray(trades.time.nsec).tolist()) == ([21145], [150_000_000])
    report = replay(data.flow, recorded, init_book(8), levels=1, resting=True)
    assert (report.checked, report.equal, report.crossed) == (1, 1, 0)


@pytest.mark.parametrize(
    ("line", "text", "sentence"),
    [
        (0, '1000 order_created {"id": 3}', "has 5 order events, expected the 5 of"),
        (0, '1000 order_vanished {"id": 1}', "line 1 is not a line of a Bitstamp log .unknown"),
        (1, "1000 order_created {", "line 2 is not"),
        (1, "1000", "line 2 is not"),
        (1, "1000 order_created 7", "line 2 is not"),
        (2, '1150 trade {"price": "x", "amount": 1}', "line 3 is not"),
        (2, '1150 trade {"price": 1.001, "amount": 1}', "row 3: price is 1.001, expected a mult"),
        (2, '1150 trade {"price": 1, "amount": -1}', "row 3: size is -100000, expected 0 to"),
        (6, '1400 order_book {"bids": [], "asks": [[1]]}', "line 7 is not"),
        (6, '1400 order_book {"bids": []}', "line 7 is not"),
        (6, "1400 order_book " + "[" * 10**5, "line 7 is not"),
    ],
)
def test_a_bad_log_is_refused(tmp_path: pathlib.Path, line: int, text: str, sentence: str) -> None:
    lines = log_lines()
    lines[line] = text
    with pytest.raises(InputError, match=sentence):
        read_bitstamp(*bitstamp_files(tmp_path, lines))
