"""The rules of matching, one by one, and the ways other books got them wrong."""

import ast
import pathlib

import jax
import numpy as np
import pytest
from oracles.book_desk import Desk, bits, trade_list

import jaxmars
from jaxmars.book import MAX_PRICE, NO_KEY, apply_order, init_book
from jaxmars.book.state import MAX_VOLUME
from jaxmars.config import MarketConfig
from jaxmars.types import STATUS_MEANING, Kind, Side, Status, describe, make_order

BUY, SELL = Side.BUY, Side.SELL
BOOK_BITS = (
    Status.BOOK_FULL, Status.UNKNOWN_ORDER, Status.BAD_SIZE, Status.BAD_PRICE,
    Status.DUPLICATE_ID, Status.VOLUME_OVERFLOW, Status.UNFILLED_MARKET, Status.TRADES_TRUNCATED,
    Status.BAD_KIND,
)  # fmt: skip


# Matching.


def test_release_walk_through_two_levels() -> None:
    """The recorded run of the release (specification of the order book, section 4)."""
    desk = Desk()
    desk.limit(SELL, 101, 200, order_id=1)
    desk.limit(SELL, 101, 300, order_id=2)
    desk.limit(SELL, 102, 100, order_id=3)
    desk.limit(BUY, 99, 100, order_id=4)
    fills = desk.limit(BUY, 102, 650, order_id=5)
    assert trade_list(fills) == [(101, 200, 1, 0), (101, 300, 2, 0), (102, 100, 3, 0)]
    assert (fills.filled, fills.first_price, fills.last_price) == (600, 101, 102)
    assert desk.orders(SELL) == []
    assert desk.orders(BUY) == [(102, 50, 5, 0), (99, 100, 4, 0)]


@pytest.mark.parametrize("side", [BUY, SELL])
@pytest.mark.parametrize(
    ("size", "filled", "left"),
    [(3, 3, [7, 5]), (10, 10, [5]), (12, 12, [3]), (15, 15, []), (20, 15, [])],
)
def test_crossing(side: Side, size: int, filled: int, left: list[int]) -> None:
    desk = Desk()
    better, worse = (100, 101) if side == BUY else (101, 100)
    desk.limit(1 - side, worse, 5, order_id=1)
    desk.limit(1 - side, better, 10, order_id=2)
    fills = desk.limit(side, worse, size, order_id=3)
    assert fills.filled == filled and bits(fills) == Status.OK
    assert [order[1] for order in desk.orders(Side(1 - side))] == left
    assert [order[1] for order in desk.orders(side)] == ([size - filled] if size > filled else [])


def test_partly_filled_order_keeps_its_place() -> None:
    desk = Desk()
    desk.limit(BUY, 100, 10, order_id=1)
    desk.limit(BUY, 100, 10, order_id=2)
    desk.market(SELL, 4, order_id=3)
    assert desk.orders(BUY) == [(100, 6, 1, 0), (100, 10, 2, 0)]


def test_partly_cancelled_order_keeps_its_place() -> None:
    desk = Desk()
    desk.limit(BUY, 100, 10, order_id=1)
    desk.limit(BUY, 100, 10, order_id=2)
    fills = desk.cancel(BUY, 4, order_id=1)
    assert (fills.cancelled, fills.price, fills.filled) == (4, 100, 0)
    assert desk.orders(BUY) == [(100, 6, 1, 0), (100, 10, 2, 0)]


def test_self_trade_is_allowed() -> None:
    desk = Desk()
    desk.limit(SELL, 100, 10, order_id=1, agent_id=7)
    fills = desk.limit(BUY, 100, 10, order_id=2, agent_id=7)
    assert trade_list(fills) == [(100, 10, 1, 7)]


def test_market_order_drops_what_it_cannot_fill() -> None:
    desk = Desk()
    desk.limit(SELL, 100, 10, order_id=1)
    fills = desk.market(BUY, 25, order_id=2)
    assert fills.filled == 10 and bits(fills) == Status.UNFILLED_MARKET
    assert desk.snapshot() == [[], []]


def test_none_changes_nothing() -> None:
    desk = Desk()
    desk.limit(SELL, 100, 10, order_id=1)
    before = desk.book
    fills = desk.send(Kind.NONE, 5, 100, 10, order_id=1)
    assert bits(fills) == Status.OK and fills.filled == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, desk.book, strict=True))


def test_order_is_rejected_whole_when_its_remainder_cannot_rest() -> None:
    desk = Desk(slots=1)
    desk.limit(BUY, 99, 1, order_id=1)
    desk.limit(SELL, 101, 1, order_id=2)
    fills = desk.limit(BUY, 101, 2, order_id=3)
    assert bits(fills) == Status.BOOK_FULL and fills.filled == 0
    assert desk.snapshot() == [[(99, 1, 1, 0)], [(101, 1, 2, 0)]]
    assert desk.limit(BUY, 101, 1, order_id=4).filled == 1  # without a remainder it trades


def test_side_may_hold_all_but_2_to_31_shares() -> None:
    desk = Desk()
    desk.limit(BUY, 10, MAX_VOLUME - 5, order_id=1)
    assert bits(desk.limit(BUY, 9, 6, order_id=2)) == Status.VOLUME_OVERFLOW
    assert bits(desk.limit(BUY, 9, 5, order_id=3)) == Status.OK
    assert int(desk.book.total[BUY]) == MAX_VOLUME
    fills = desk.limit(SELL, 9, MAX_VOLUME, order_id=4)
    assert fills.filled == MAX_VOLUME and desk.snapshot() == [[], []]


def test_extreme_prices_match() -> None:
    desk = Desk()
    desk.limit(SELL, MAX_PRICE - 1, 5, order_id=1)
    desk.limit(BUY, 1, 5, order_id=2)
    assert desk.market(BUY, 5, order_id=3).last_price == MAX_PRICE - 1
    assert desk.market(SELL, 5, order_id=4).last_price == 1


# Trade records.


def test_trade_records_are_truncated_with_a_bit_and_the_fill_is_not() -> None:
    desk = Desk(max_trades=2)
    for order_id in range(3):
        desk.limit(SELL, 100 + order_id, 5, order_id, agent_id=order_id)
    fills = desk.limit(BUY, 105, 15, order_id=9)
    assert bits(fills) == Status.TRADES_TRUNCATED
    assert Status(int(desk.book.status)) == Status.TRADES_TRUNCATED
    assert fills.filled == 15 and fills.last_price == 102
    assert trade_list(fills) == [(100, 5, 0, 0), (101, 5, 1, 1)]


def test_trade_records_may_be_more_than_slots() -> None:
    desk = Desk(slots=2, max_trades=5)
    desk.limit(SELL, 100, 5, order_id=1)
    assert trade_list(desk.market(BUY, 5, order_id=2)) == [(100, 5, 1, 0)]


# Faults.


def provoke(bit: Status) -> Status:
    """The status of an order that is wrong in one way, sent to a sound book."""
    desk = Desk(slots=2, max_trades=1)
    desk.limit(BUY, 99, 10, order_id=1)
    desk.limit(BUY, 98, 10, order_id=2)
    desk.limit(SELL, 101, 10, order_id=3)
    desk.limit(SELL, 102, 10, order_id=4)
    before = desk.snapshot()
    send = {
        Status.BOOK_FULL: lambda: desk.limit(BUY, 97, 1, 9),
        Status.UNKNOWN_ORDER: lambda: desk.cancel(BUY, 1, 9),
        Status.BAD_SIZE: lambda: desk.limit(BUY, 97, 0, 9),
        Status.BAD_PRICE: lambda: desk.limit(BUY, 0, 1, 9),
        Status.DUPLICATE_ID: lambda: desk.market(BUY, 1, 3),
        Status.VOLUME_OVERFLOW: lambda: Desk.limit(oversize(), BUY, 97, MAX_VOLUME, 9),
        Status.UNFILLED_MARKET: lambda: desk.market(BUY, 21, 9),
        Status.TRADES_TRUNCATED: lambda: desk.market(BUY, 11, 9),
        Status.BAD_KIND: lambda: desk.send(9, BUY, 99, 1, 9),
    }
    status = bits(send[bit]())
    traded = Status.UNFILLED_MARKET | Status.TRADES_TRUNCATED
    assert status & traded or desk.snapshot() == before
    return status


def oversize() -> Desk:
    desk = Desk(slots=2)
    desk.limit(BUY, 99, 10, order_id=1)
    return desk


@pytest.mark.parametrize("bit", BOOK_BITS, ids=lambda bit: bit.name)
def test_every_book_bit_can_be_reached(bit: Status) -> None:
    assert provoke(bit) & bit


@pytest.mark.parametrize("bit", [b for b in Status if b != Status.OK], ids=lambda bit: bit.name)
def test_every_bit_has_a_sentence(bit: Status) -> None:
    assert describe(bit) == [STATUS_MEANING[bit]]


def test_bits_gather_in_the_book() -> None:
    desk = Desk()
    desk.cancel(BUY, 1, order_id=1)
    desk.limit(BUY, 0, 1, order_id=1)
    desk.limit(BUY, 10, 1, order_id=1)
    assert Status(int(desk.book.status)) == Status.UNKNOWN_ORDER | Status.BAD_PRICE


def test_faults_seen_without_the_book_come_first() -> None:
    desk = Desk(slots=1)
    desk.limit(BUY, 99, 10, order_id=1)
    assert bits(desk.limit(BUY, -1, -1, order_id=1)) == Status.BAD_SIZE | Status.BAD_PRICE
    assert bits(desk.limit(2, -1, -1, order_id=1)) == Status.BAD_KIND
    assert bits(desk.limit(BUY, 98, 10, order_id=1)) == Status.DUPLICATE_ID


@pytest.mark.parametrize(
    ("side", "size", "order_id", "agent_id", "expected"),
    [
        (BUY, 11, 1, 7, Status.BAD_SIZE),
        (BUY, 10, 1, 8, Status.UNKNOWN_ORDER),
        (SELL, 10, 1, 7, Status.UNKNOWN_ORDER),
        (BUY, 10, 2, 7, Status.UNKNOWN_ORDER),
        (BUY, 0, 1, 7, Status.BAD_SIZE),
    ],
)
def test_cancel_that_names_the_wrong_thing_is_a_no_op(
    side: Side, size: int, order_id: int, agent_id: int, expected: Status
) -> None:
    desk = Desk()
    desk.limit(BUY, 99, 10, order_id=1, agent_id=7)
    fills = desk.cancel(side, size, order_id, agent_id)
    assert bits(fills) == expected and fills.cancelled == 0
    assert desk.orders(BUY) == [(99, 10, 1, 7)]


# Failures of other order books, as regressions.


def test_unknown_cancel_does_not_shrink_a_strangers_order() -> None:
    desk = Desk(slots=3)
    for order_id in (1, 2, 3):
        desk.limit(SELL, 554 + order_id, 10, order_id)
    before = desk.orders(SELL)
    assert bits(desk.send(Kind.CANCEL, SELL, 555, 4, order_id=999)) == Status.UNKNOWN_ORDER
    assert desk.orders(SELL) == before


def test_full_side_keeps_all_its_orders() -> None:
    desk = Desk(slots=4)
    for order_id, price in enumerate((103, 102, 100, 100)):
        desk.limit(BUY, price, 10, order_id)
    before = desk.orders(BUY)
    for price in (99, 101, 104):
        assert bits(desk.limit(BUY, price, 10, order_id=9)) == Status.BOOK_FULL
    assert desk.orders(BUY) == before


def test_arrival_decides_after_slot_reuse() -> None:
    desk = Desk(slots=3)
    for order_id in (1, 2, 3):
        desk.limit(BUY, 100, 10, order_id)
    desk.cancel(BUY, 10, order_id=1)  # frees the first slot for the youngest order
    desk.limit(BUY, 100, 10, order_id=4)
    assert [order[2] for order in desk.orders(BUY)] == [2, 3, 4]
    fills = desk.market(SELL, 25, order_id=5)
    assert [trade[2] for trade in trade_list(fills)] == [2, 3, 4]


@pytest.mark.parametrize("value", [-1, 0, -(2**31), NO_KEY])
def test_no_id_or_owner_means_empty(value: int) -> None:
    desk = Desk(slots=2)
    desk.limit(BUY, 100, 10, order_id=value, agent_id=value)
    desk.limit(BUY, 100, 10, order_id=5, agent_id=5)
    assert desk.orders(BUY) == [(100, 10, value, value), (100, 10, 5, 5)]
    assert bits(desk.limit(BUY, 100, 10, order_id=value)) == Status.DUPLICATE_ID
    assert desk.cancel(BUY, 10, order_id=value, agent_id=value).cancelled == 10
    assert desk.orders(BUY) == [(100, 10, 5, 5)]
    assert bits(desk.cancel(BUY, 10, order_id=value, agent_id=value)) == Status.UNKNOWN_ORDER


def test_configs_do_not_change_each_other() -> None:
    fresh = MarketConfig()
    MarketConfig.chinese_a_share()
    assert MarketConfig() == fresh
    with pytest.raises(AttributeError):
        setattr(fresh, "slots", 1)  # noqa: B010


def test_limits_are_those_of_int32() -> None:
    assert np.iinfo(np.int32).max == NO_KEY == MAX_VOLUME
    assert MAX_PRICE == 2**30


def test_every_module_parses_on_the_oldest_supported_python() -> None:
    root = pathlib.Path(jaxmars.__file__).parent
    sources = sorted(root.rglob("*.py"))
    assert sources
    for source in sources:
        ast.parse(source.read_text(), str(source), feature_version=(3, 11))


def test_book_runs_on_the_installed_jax_and_compiles_once() -> None:
    traces = []

    def counted(book, order):
        traces.append(None)
        return apply_order(book, order, max_trades=2)

    step = jax.jit(jax.vmap(counted, in_axes=(None, 0)))
    book = init_book(4)
    for kind in (Kind.LIMIT, Kind.MARKET, Kind.CANCEL, Kind.NONE):
        orders = [make_order(kind, side, 100, 10, 1, 1) for side in Side]
        batched = jax.tree.map(lambda *x: np.stack(x), *orders)
        after, _ = step(book, batched)
        assert after.size.shape == (2, 2, 4)
    assert len(traces) == 1


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_book_lowers_for_every_platform(platform: str) -> None:
    step = jax.jit(lambda book, order: apply_order(book, order, max_trades=2))
    order = make_order(Kind.LIMIT, BUY, 100, 10, 1, 1)
    exported = jax.export.export(step, platforms=(platform,))(init_book(4), order)
    assert exported.platforms == (platform,)
