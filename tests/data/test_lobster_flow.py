"""Order flow from a record: the hand-written day line by line, and conservation on real days."""

import pathlib

import jax
import numpy as np
import pytest

from jaxmars.data import (
    Flow,
    LobsterData,
    MessageType,
    flow_until,
    lobster_flow,
    nanoseconds,
    order_rows,
    read_lobster,
    split_flow,
)
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side

LIMIT, CANCEL, BUY, SELL = Kind.LIMIT, Kind.CANCEL, Side.BUY, Side.SELL

# row completing it, kind, side, price, size, order id, filled, first price, last price
HAND_ORDERS = [
    (0, LIMIT, BUY, 10000, 100, 11, 0, 0, 0),
    (1, LIMIT, SELL, 10003, 50, 12, 0, 0, 0),
    (2, LIMIT, SELL, 10004, 70, 13, 0, 0, 0),
    (3, LIMIT, BUY, 9999, 200, 14, 0, 0, 0),
    (4, LIMIT, BUY, 9998, 30, 15, 0, 0, 0),
    (5, LIMIT, SELL, 10005, 80, 17, 0, 0, 0),
    (6, CANCEL, BUY, 9999, 60, 14, 0, 0, 0),
    (7, LIMIT, SELL, 10002, 40, 20, 0, 0, 0),
    (12, LIMIT, BUY, 10004, 160, 0, 160, 10002, 10004),  # four executions around a hidden one
    (13, LIMIT, BUY, 10004, 25, 18, 0, 0, 10004),  # its remainder
    (14, LIMIT, SELL, 10004, 10, 0, 10, 10004, 10004),
    (15, LIMIT, SELL, 10004, 5, 0, 5, 10004, 10004),  # a nanosecond later: another order
    (16, LIMIT, SELL, 10004, 10, 0, 10, 10004, 10004),
    (17, LIMIT, BUY, 10005, 10, 0, 10, 10005, 10005),  # same time, other side: another order
    (22, CANCEL, BUY, 9998, 30, 15, 0, 0, 10005),
    (23, LIMIT, BUY, 9997, 15, 21, 0, 0, 10005),
    (24, LIMIT, BUY, 10005, 70, 0, 70, 10005, 10005),
    (25, LIMIT, SELL, 10006, 35, 22, 0, 0, 10005),
    (26, LIMIT, SELL, 10007, 35, 23, 0, 0, 10005),
    (30, LIMIT, SELL, 9999, 200, 0, 200, 10000, 9999),
    (31, CANCEL, SELL, 10006, 3, 22, 0, 0, 9999),
    (32, CANCEL, SELL, 10006, 32, 22, 0, 0, 9999),
]


def stamps(flow: Flow) -> np.ndarray:
    return nanoseconds(flow.event.time.sec, flow.event.time.nsec)


def with_ids(day: LobsterData, ids: list[int]) -> LobsterData:
    return day._replace(order_id=np.resize(np.array(ids), len(day.sec)))


def test_hand_orders(hand_day: LobsterData) -> None:
    flow = lobster_flow(hand_day)
    event = flow.event
    columns = (
        order_rows(hand_day),
        *(event.kind, event.side, event.price, event.size, event.order_id),
        *(event.filled, event.first_price, event.last_price),
    )
    assert list(zip(*(np.asarray(x).tolist() for x in columns), strict=True)) == HAND_ORDERS
    assert not np.asarray(event.agent_id).any()
    assert not np.asarray(event.status).any()


def test_snapshot_is_that_of_the_last_message(hand_day: LobsterData) -> None:
    flow = lobster_flow(hand_day)
    sweep = 8
    assert np.asarray(flow.l2.price)[sweep].tolist() == [[10000, 9999, 9998], [10005, 0, 0]]
    assert np.asarray(flow.l2.size)[sweep].tolist() == [[100, 140, 30], [80, 0, 0]]
    assert (flow.event.best_bid[sweep], flow.event.best_ask[sweep]) == (10000, 10005)
    assert (flow.event.best_bid[0], flow.event.best_ask[0]) == (10000, 0)
    assert flow.event.best_ask[16] == 0, "the sell side is empty"


def test_a_flow_is_int32_on_the_host(hand_day: LobsterData) -> None:
    flow = lobster_flow(hand_day)
    arrays = jax.tree.leaves(flow)
    assert all(isinstance(x, np.ndarray) and x.dtype == np.int32 for x in arrays)
    assert all(len(x) == len(HAND_ORDERS) for x in arrays)


@pytest.mark.parametrize("ids", [[2**31, 7, 2**40], [-3, 5, 9]])
def test_large_ids_become_ranks(hand_day: LobsterData, ids: list[int]) -> None:
    day = with_ids(hand_day, ids)
    flow = lobster_flow(day)
    given = day.order_id[order_rows(day)]
    got = np.asarray(flow.event.order_id)
    resting = got != 0
    assert (resting == (np.asarray(flow.event.filled) == 0)).all()
    assert set(got[resting]) <= {1, 2, 3}
    pairs = set(zip(given[resting].tolist(), got[resting].tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_ids_that_fit_stay(hand_day: LobsterData) -> None:
    flow = lobster_flow(with_ids(hand_day, [2**31 - 1]))
    assert set(np.asarray(flow.event.order_id).tolist()) == {0, 2**31 - 1}


def test_a_day_of_halts_has_no_orders(tmp_path: pathlib.Path) -> None:
    (tmp_path / "m.csv").write_text("34200,7,0,0,-1,-1\n34300,7,0,0,1,-1\n")
    (tmp_path / "b.csv").write_text("1000100,5,1000000,5\n" * 2)
    day = read_lobster(tmp_path / "m.csv", tmp_path / "b.csv")
    flow = lobster_flow(day)
    assert len(stamps(flow)) == len(flow.l2.price) == 0
    assert flow.l2.price.shape == (0, 2, 1)


def test_a_sweep_too_large_for_int32_is_refused(hand_day: LobsterData) -> None:
    size = hand_day.size.copy()
    size[28:30] = 2**31 - 1
    with pytest.raises(InputError, match="an order trades 4294967394 shares"):
        lobster_flow(hand_day._replace(size=size))


@pytest.mark.parametrize(
    ("sec", "nsec", "count"),
    [
        (34199, 0, 0),
        (34200, 0, 1),
        (34200, 1, 3),
        (34202, 122, 8),
        (34202, 123, 10),
        (40000, 0, 22),
    ],
)
def test_split(hand_day: LobsterData, sec: int, nsec: int, count: int) -> None:
    flow = lobster_flow(hand_day)
    before, after = split_flow(flow, sec, nsec)
    assert len(stamps(before)) == count
    assert len(stamps(flow_until(flow, sec, nsec))) == count
    assert (stamps(before) <= nanoseconds(sec, nsec)).all()
    assert (stamps(after) > nanoseconds(sec, nsec)).all()
    for head, tail, expected in zip(*map(jax.tree.leaves, (before, after, flow)), strict=True):
        assert np.array_equal(np.concatenate([head, tail]), expected)


@pytest.mark.parametrize("day_name", ["goog_day", "aapl_day", "hand_day"])
def test_shares_are_conserved(day_name: str, request: pytest.FixtureRequest) -> None:
    day: LobsterData = request.getfixturevalue(day_name)
    event = lobster_flow(day).event
    kind, size, filled = (np.asarray(x, np.int64) for x in (event.kind, event.size, event.filled))
    recorded = lambda *types: int(day.size[np.isin(day.type, types)].astype(np.int64).sum())
    cancelled = (MessageType.PARTIAL_CANCEL, MessageType.DELETE)
    assert filled.sum() == recorded(MessageType.EXECUTION)
    assert size[kind == Kind.CANCEL].sum() == recorded(*cancelled)
    assert size[(kind == Kind.LIMIT) & (filled == 0)].sum() == recorded(MessageType.NEW)
    assert set(np.unique(filled - np.where(filled > 0, size, 0))) == {0}


@pytest.mark.parametrize("day_name", ["goog_day", "aapl_day"])
def test_flow_of_a_real_day_is_coherent(day_name: str, request: pytest.FixtureRequest) -> None:
    day: LobsterData = request.getfixturevalue(day_name)
    flow = lobster_flow(day)
    event = flow.event
    assert (np.diff(stamps(flow)) >= 0).all()
    assert (np.diff(order_rows(day)) > 0).all()
    side, price, filled = (np.asarray(x) for x in (event.side, event.price, event.filled))
    best = np.asarray(flow.l2.price)[:-1, :, 0]
    sweep = np.flatnonzero(filled[1:]) + 1
    opposite = best[sweep - 1, 1 - side[sweep]]
    assert (np.asarray(event.first_price)[sweep] == opposite).all(), "a sweep starts at the best"
    sign = np.where(side[sweep] == Side.BUY, 1, -1)
    assert (sign * (price[sweep] - opposite) >= 0).all(), "and walks away from it"
    rests = np.flatnonzero((np.asarray(event.kind) == Kind.LIMIT)[1:] & (filled[1:] == 0)) + 1
    sign = np.where(side[rests] == Side.BUY, 1, -1)
    met = best[rests - 1, 1 - side[rests]]
    assert (sign * (price[rests] - met) < 0).all(), "an order that rests does not cross"
    trade = np.where(filled > 0, np.arange(len(filled)), -1)
    latest = np.maximum.accumulate(trade)
    assert (np.asarray(event.last_price) == np.where(latest < 0, 0, price[latest])).all()


def test_goog_counts(goog_day: LobsterData) -> None:
    event = lobster_flow(goog_day).event
    kind, filled = np.asarray(event.kind), np.asarray(event.filled)
    assert (kind == Kind.CANCEL).sum() == 64_980
    assert ((kind == Kind.LIMIT) & (filled == 0)).sum() == 71_258
    assert (filled > 0).sum() == 5_931
