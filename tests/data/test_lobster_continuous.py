"""Whole days through one book: every recorded level that can be known must come out."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmars.book import book_from_levels
from jaxmars.data import LobsterData, MessageType, cut_levels, read_lobster
from jaxmars.data.continuous import ReplayReport, replay
from jaxmars.data.lobster import host_l2
from jaxmars.data.lobster_continuous import (
    ContinuousDay,
    Origin,
    lobster_continuous,
    lobster_messages,
)
from jaxmars.data.orderflow import NO_CHECK, Recorded
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Side, Status

SLOTS = 128
AMZN_ROWS = 20_000  # of 155,935


def run(day: ContinuousDay, levels: int, slots: int = SLOTS) -> ReplayReport:
    start = day.l3.start
    assert start is not None
    book = book_from_levels(L2(*(jnp.asarray(x) for x in start)), slots, jnp.int32(0))
    return replay(day.l3.flow, day.l3.recorded, book, levels=levels, resting=False)


def rows(day: LobsterData, first: int, last: int | None = None) -> LobsterData:
    """The record as if it held only these rows."""
    names = ("sec", "nsec", "type", "order_id", "size", "price", "direction")
    columns = {name: getattr(day, name)[first:last] for name in names}
    return day._replace(**columns, l2=host_l2(*(np.asarray(x)[first:last] for x in day.l2)))


def changed(day: LobsterData, column: str, row: int, value: int) -> LobsterData:
    copy = getattr(day, column).copy()
    copy[row] = value
    return day._replace(**{column: copy})


def test_hand_day(hand_day: LobsterData) -> None:
    day = lobster_continuous(hand_day)
    report = run(day, 3)
    assert (report.checked, report.equal, report.status) == (22, 22, {})
    assert np.bincount(day.origin).tolist() == [22, 2, 2]
    reveal = day.origin == Origin.REVEAL
    order = day.l3.flow.order
    assert list(zip(day.row[reveal], order.price[reveal], order.size[reveal], strict=True)) == [
        (12, 10005, 80),
        (16, 9998, 30),
    ]


@pytest.mark.parametrize("first", range(33))
def test_the_record_may_begin_at_any_message(hand_day: LobsterData, first: int) -> None:
    """Each kind of message is undone once."""
    part = rows(hand_day, first)
    report = run(lobster_continuous(part), 3)
    assert report.equal == report.checked
    assert report.status == {}


def test_the_start_is_the_book_before_the_first_message(hand_day: LobsterData) -> None:
    for row in range(1, 33):
        start = lobster_continuous(rows(hand_day, row)).l3.start
        assert start is not None
        for ours, recorded in zip(start, hand_day.l2, strict=True):
            known = min(3, int((start.size > 0).sum(1).min()))
            before = np.asarray(recorded)[row - 1]
            assert (ours[:, :known] == before[:, :known]).all(), row


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [("size", 3, 150), ("size", 6, 59), ("price", 1, 10002), ("size", 14, 11)],
)
def test_the_record_does_not_hide_a_wrong_message(
    hand_day: LobsterData, column: str, row: int, value: int
) -> None:
    report = run(lobster_continuous(changed(hand_day, column, row, value)), 3)
    assert report.first_rows[0] == row
    assert report.equal < report.checked


def test_only_what_came_into_sight_is_unknown(aapl_day: LobsterData) -> None:
    day = lobster_continuous(aapl_day)
    recorded = day.l3.recorded
    assert recorded is not None
    unknown = np.argwhere(~recorded.known)
    reveal = day.origin == Origin.REVEAL
    assert len(unknown) == reveal.sum() > 100
    assert (day.l3.flow.check[day.origin != Origin.MESSAGE] == NO_CHECK).all()
    own = day.l3.flow.check >= 0
    assert (day.l3.flow.check[own] == day.row[own]).all()


@pytest.mark.parametrize("levels", [10, 4, 1])
def test_aapl_excerpt(aapl_day: LobsterData, levels: int) -> None:
    report = run(lobster_continuous(cut_levels(aapl_day, levels)), levels)
    assert report.equal == report.checked > 300
    assert report.status == {}


def test_goog_day(goog_day: LobsterData) -> None:
    """Every level, the deepest included, wherever the window does not begin there."""
    report = run(lobster_continuous(goog_day), 10)
    assert (report.checked, report.equal) == (142_169, 142_169)
    assert (report.status, report.crossed, report.locked) == ({}, 0, 0)
    assert report.agreement.known.mean() > 0.98


def test_amzn_day(amzn_day: LobsterData) -> None:
    report = run(lobster_continuous(rows(amzn_day, 0, AMZN_ROWS)), 5)
    assert (report.checked, report.equal) == (19_366, 19_366)
    assert (report.status, report.crossed, report.locked) == ({}, 0, 0)
    assert report.agreement.known.mean() > 0.95


def test_executions_fill_as_many_shares_as_recorded(goog_day: LobsterData) -> None:
    part = rows(goog_day, 0, 20_000)
    report = run(lobster_continuous(part), 10)
    visible = part.type == MessageType.EXECUTION
    assert report.filled.sum() == part.size[visible].sum()


def test_large_ids_become_ranks(hand_day: LobsterData) -> None:
    large = hand_day._replace(order_id=hand_day.order_id.astype(np.int64) * 10**12)
    small, ranked = lobster_continuous(hand_day), lobster_continuous(large)
    assert not len(small.l3.ids)
    named = (ranked.origin == Origin.MESSAGE) & (small.l3.flow.order.order_id > 0)
    recorded = ranked.l3.ids[ranked.l3.flow.order.order_id[named] - 1]
    own = small.l3.flow.order.order_id[named].astype(np.int64)
    assert (recorded == own * 10**12).all()
    assert run(ranked, 3).equal == 22


def test_an_order_sent_twice_is_refused(hand_day: LobsterData) -> None:
    with pytest.raises(InputError, match="row 4: a new order has the id of one that rests"):
        lobster_continuous(changed(hand_day, "order_id", 3, 11))


def test_a_cancel_of_nothing_is_refused_by_the_book(hand_day: LobsterData) -> None:
    start = host_l2(np.zeros((2, 1), np.int32), np.zeros((2, 1), np.int32))
    recorded = Recorded(hand_day.l2, None, np.full(hand_day.l2.price.shape, True))
    no_check = np.full(33, NO_CHECK)
    cancels = np.flatnonzero(hand_day.type == MessageType.DELETE)[:1]
    report = run(lobster_messages(rows(hand_day, cancels[0]), start, recorded, no_check), 1)
    assert report.status[Status.UNKNOWN_ORDER] >= 1


def test_what_messages_show_to_be_gone_is_pruned(hand_day: LobsterData) -> None:
    """A bid at 10003 cannot rest where an ask of 10003 comes to rest, nor after a sale at 10000."""
    price, size = np.array([[10010, 10003], [0, 0]], np.int32), np.array([[7, 8], [0, 0]], np.int32)
    recorded = Recorded(hand_day.l2, None, np.full(hand_day.l2.price.shape, True))
    at = np.full(33, NO_CHECK)
    day = lobster_messages(rows(hand_day, 1), host_l2(price, size), recorded, at)
    prune = day.origin == Origin.PRUNE
    order = day.l3.flow.order
    assert (day.row[prune] == 0).all() and (order.kind[prune] == Kind.CANCEL).all()
    assert sorted(zip(order.price[prune], order.size[prune], strict=True)) == [
        (10003, 8),
        (10010, 7),
    ]
    assert (order.side[prune] == Side.BUY).all()


def test_files_give_the_same_flow(hand_files: tuple[pathlib.Path, pathlib.Path]) -> None:
    day = read_lobster(*hand_files)
    first, second = lobster_continuous(day), lobster_continuous(day)
    for one, other in zip(first.l3.flow.order, second.l3.flow.order, strict=True):
        assert (one == other).all()
