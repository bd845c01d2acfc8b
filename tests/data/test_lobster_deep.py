"""Messages without books, against the books of another record of the same day."""

import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmars.book import book_from_levels
from jaxmars.data import LobsterData, MessageType, cut_levels
from jaxmars.data.continuous import ReplayReport, replay
from jaxmars.data.lobster import host_l2, read_lobster_messages
from jaxmars.data.lobster_continuous import ContinuousDay, Origin
from jaxmars.data.lobster_deep import lobster_deep, same_messages
from jaxmars.data.orderflow import NO_CHECK
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Status

SLOTS = 256


def run(day: ContinuousDay) -> ReplayReport:
    start = day.l3.start
    assert start is not None
    book = book_from_levels(L2(*(jnp.asarray(x) for x in start)), SLOTS, jnp.int32(0))
    return replay(day.l3.flow, day.l3.recorded, book, levels=1, resting=False)


def from_row(day: LobsterData, first: int) -> LobsterData:
    names = ("sec", "nsec", "type", "order_id", "size", "price", "direction")
    columns = {name: getattr(day, name)[first:] for name in names}
    return day._replace(**columns, l2=host_l2(*(np.asarray(x)[first:] for x in day.l2)))


@pytest.fixture(scope="module")
def messages(hand_files: tuple[pathlib.Path, pathlib.Path]) -> LobsterData:
    return read_lobster_messages(hand_files[0])


def test_messages_are_read_as_with_their_books(
    messages: LobsterData, hand_day: LobsterData
) -> None:
    for name in messages._fields:
        if name != "l2":
            assert np.array_equal(getattr(messages, name), getattr(hand_day, name)), name
    assert messages.l2.price.shape == (33, 2, 0)


def test_every_message_is_compared(messages: LobsterData, hand_day: LobsterData) -> None:
    """Each execution of a sweep, and those that do nothing, has a book after it."""
    day = lobster_deep(messages, hand_day, cut_levels(hand_day, 1))
    order, own = day.l3.flow.order, day.origin == Origin.MESSAGE
    kind = np.asarray(order.kind)
    assert (kind == Kind.IOC).sum() == (messages.type == MessageType.EXECUTION).sum() > 5
    assert (kind[own] == Kind.NONE).sum() == (messages.type > MessageType.EXECUTION).sum() > 2
    report = run(day)
    checked = same_messages(messages, cut_levels(hand_day, 1)) != NO_CHECK
    assert report.checked == checked.sum() == len(cut_levels(hand_day, 1).sec)
    assert report.equal == report.checked


def test_a_wrong_execution_is_found(messages: LobsterData, hand_day: LobsterData) -> None:
    """Both records say it, but the recorded books do not."""
    at = int(np.flatnonzero(messages.type == MessageType.EXECUTION)[0])
    size = messages.size.copy()
    size[at] -= 1
    wrong = lobster_deep(messages._replace(size=size), hand_day, hand_day._replace(size=size))
    assert run(wrong).first_rows[0] == at


def test_equal_messages_go_with_each_other_in_order(hand_day: LobsterData) -> None:
    """Row 20 twice, against row 20 thrice."""
    again = lambda times: hand_day._replace(
        **{
            name: np.repeat(getattr(hand_day, name)[20:22], [times, 1])
            for name in ("sec", "nsec", "type", "order_id", "size", "price", "direction")
        }
    )
    assert same_messages(again(2), again(3)).tolist() == [0, 1, 3]
    assert same_messages(again(3), again(2)).tolist() == [0, 1, NO_CHECK, 2]


def test_records_that_do_not_belong_together(messages: LobsterData, hand_day: LobsterData) -> None:
    with pytest.raises(InputError, match="ticks of 100, 50 and 100, expected one tick"):
        lobster_deep(messages, hand_day._replace(tick=50), hand_day)
    with pytest.raises(InputError, match="expected records that begin alike"):
        lobster_deep(messages, from_row(hand_day, 1), hand_day)
    other = hand_day._replace(order_id=hand_day.order_id + 1)
    with pytest.raises(InputError, match="no message is in both records"):
        lobster_deep(messages, hand_day, other)


def test_fifty_levels_of_aapl(
    aapl_day: LobsterData, aapl_best_day: LobsterData, real_data: pathlib.Path
) -> None:
    """Realism spec 1.1: an hour from the 10 levels of its first row, against the best prices of
    another file. The one book that differs lacks a bid that no message took away."""
    found = sorted((real_data / "lobster").glob("AAPL*_message_50.csv.xz"))
    if not found:
        pytest.skip(f"no AAPL messages of 50 levels in {real_data}")
    deep = read_lobster_messages(found[0], aapl_day.tick)
    day = lobster_deep(deep, aapl_day, aapl_best_day)
    report = run(day)
    assert (report.checked, report.equal) == (25_641, 25_640)
    assert (day.origin == Origin.PRUNE).sum() == 1
    assert report.status == {Status.UNKNOWN_ORDER: 41}
    assert (report.crossed, report.locked) == (0, 0)
