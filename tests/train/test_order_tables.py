"""Tables of orders as flow: what they trade, and the books after them, against a plain book."""

import pathlib

import numpy as np
import pytest
from oracles.shard_days import LEVELS, ORDER_COLUMNS, ORDER_TABLE, random_flow

from jaxmars.config import MarketConfig
from jaxmars.data import write_events
from jaxmars.data.flow import SMALLEST_PAD, padded, padded_rows
from jaxmars.errors import InputError
from jaxmars.train import flows
from jaxmars.train.flows import events_day, table_day
from jaxmars.types import Kind, Side

# event: kind, side, price, size, filled, first and last price, best bid and ask with their sizes
EXPECTED = [
    (Kind.LIMIT, Side.BUY, 1000, 100, 0, 0, 0, (1000, 100), (0, 0)),
    (Kind.LIMIT, Side.SELL, 1002, 50, 0, 0, 0, (1000, 100), (1002, 50)),
    (Kind.LIMIT, Side.SELL, 1003, 70, 0, 0, 0, (1000, 100), (1002, 50)),
    (Kind.LIMIT, Side.BUY, 1003, 80, 80, 1002, 1003, (1000, 100), (1003, 40)),
    (Kind.CANCEL, Side.SELL, 1003, 10, 0, 0, 1003, (1000, 100), (1003, 30)),
    (Kind.LIMIT, Side.BUY, 999, 40, 0, 0, 1003, (1000, 100), (1003, 30)),
    (Kind.MARKET, Side.SELL, 999, 120, 120, 1000, 999, (999, 20), (1003, 30)),
]
MARKET = MarketConfig(levels=2)


@pytest.fixture
def files(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    (tmp_path / "orders.csv").write_text(ORDER_TABLE)
    (tmp_path / "columns.toml").write_text(ORDER_COLUMNS)
    return tmp_path / "orders.csv", tmp_path / "columns.toml"


def test_a_table_by_hand(
    files: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a book that is too small at first."""
    monkeypatch.setattr(flows, "FIRST_SLOTS", 1)
    day = table_day(*files, 1, MARKET)
    event, l2 = day.flow
    for row, (*numbers, bid, ask) in enumerate(EXPECTED):
        names = ("kind", "side", "price", "size", "filled", "first_price", "last_price")
        assert [int(getattr(event, name)[row]) for name in names] == [int(x) for x in numbers]
        assert [(int(l2.price[row, s, 0]), int(l2.size[row, s, 0])) for s in Side] == [bid, ask]
        assert (event.best_bid[row], event.best_ask[row]) == (bid[0], ask[0])
    assert event.time.sec.tolist() == list(range(34_200, 34_207))
    assert (day.tick_size, day.lot_size) == (0.01, 10)


def test_a_table_that_no_book_holds(
    files: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "FIRST_SLOTS", 1)
    monkeypatch.setattr(flows, "MOST_SLOTS", 1)
    with pytest.raises(InputError, match="leaves more than 1 orders in one side of the book"):
        table_day(*files, 1, MARKET)


def test_auctions_are_not_matched(files: tuple[pathlib.Path, pathlib.Path]) -> None:
    with pytest.raises(InputError, match="expected a calendar without call auctions"):
        table_day(*files, 1, MarketConfig.chinese_a_share())


def test_events_without_books_are_refused(tmp_path: pathlib.Path) -> None:
    flow = random_flow(0, 20)
    write_events(tmp_path / "x.parquet", flow.event, None, {})
    with pytest.raises(InputError, match="holds no books"):
        events_day(tmp_path / "x.parquet", 0.01)
    write_events(tmp_path / "y.parquet", flow.event, flow.l2, {})
    day = events_day(tmp_path / "y.parquet", 0.05)
    assert np.array_equal(day.flow.l2.price, flow.l2.price)
    assert day.tick_size == 0.05


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, 1), (1, 1), (1024, 1), (1025, 2), (2048, 2), (2049, 4), (5000, 8)]
)
def test_few_sizes_of_programs(rows: int, expected: int) -> None:
    assert padded_rows(rows) == expected * SMALLEST_PAD


def test_padding_does_nothing_at_the_end() -> None:
    flow = random_flow(1, 20)
    whole = padded(flow)
    assert whole.event.kind.shape == (SMALLEST_PAD,)
    assert whole.l2.price.shape == (SMALLEST_PAD, 2, LEVELS)
    assert np.array_equal(whole.event.size[:20], flow.event.size)
    assert (np.asarray(whole.event.kind)[20:] == Kind.NONE).all()
