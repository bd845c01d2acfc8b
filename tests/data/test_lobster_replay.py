"""Recorded books against ours, start books, and mid paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmars.book import apply_order, book_from_levels, l2_snapshot
from jaxmars.config import MarketConfig
from jaxmars.data import (
    LobsterData,
    MessageType,
    cut_levels,
    event_mids,
    lobster_flow,
    mid_path,
    nanoseconds,
    one_step_mismatches,
    start_book,
)
from jaxmars.errors import InputError
from jaxmars.types import L2, Fills, Order

MARKET = MarketConfig(levels=3)


def changed(day: LobsterData, column: str, row: int, value: int) -> LobsterData:
    copy = getattr(day, column).copy()
    copy[row] = value
    return day._replace(**{column: copy})


def changed_book(day: LobsterData, field: str, at: tuple[int, int, int], value: int) -> LobsterData:
    copy = np.array(getattr(day.l2, field))
    copy[at] = value
    return day._replace(l2=day.l2._replace(**{field: copy}))


def rows_of(day: LobsterData) -> dict[str, list[int]]:
    return {reason: rows for reason, rows in one_step_mismatches(day).first_rows.items() if rows}


def test_hand_day_has_no_mismatch(hand_day: LobsterData) -> None:
    report = one_step_mismatches(hand_day)
    assert (report.checked, report.mismatched) == (32, 0)
    assert report.revealed == 2, "an ask by row 8, a bid by row 16"


@pytest.mark.parametrize("levels", [10, 5, 1])
def test_aapl_excerpt_has_no_mismatch(aapl_day: LobsterData, levels: int) -> None:
    data = cut_levels(aapl_day, levels)
    report = one_step_mismatches(data)
    assert (report.checked, report.mismatched) == (len(data.sec) - 1, 0)


def test_goog_day_has_no_mismatch(goog_day: LobsterData) -> None:
    report = one_step_mismatches(goog_day)
    assert (report.checked, report.mismatched) == (147_915, 0)
    assert 0.30 < report.revealed / report.checked < 0.31


@pytest.mark.parametrize("chunk", [7, 32, 33])
def test_chunks_change_nothing(hand_day: LobsterData, chunk: int) -> None:
    wrong = changed(hand_day, "size", 14, 11)
    assert one_step_mismatches(wrong, chunk=chunk) == one_step_mismatches(wrong)
    assert one_step_mismatches(wrong, chunk=chunk).mismatched == 1


@pytest.mark.parametrize(
    ("column", "row", "value", "reasons"),
    [
        ("size", 1, 51, {"ask size": [1]}),  # new order
        ("size", 14, 11, {"bid size": [14]}),  # execution
        ("size", 6, 59, {"bid size": [6]}),  # partial cancel
        ("size", 6, 999, {"bid size": [6], "refused": [6]}),  # more than rests
        ("price", 6, 9997, {"bid size": [6], "refused": [6]}),  # cancel where nothing rests
        ("price", 1, 10002, {"ask price": [1]}),
        ("price", 14, 10000, {}),  # trades at the best whatever its limit
        ("direction", 1, 1, {"bid price": [1], "bid size": [1], "ask price": [1], "ask size": [1]}),
        ("type", 14, MessageType.HIDDEN_EXECUTION, {"bid size": [14]}),
        ("type", 11, MessageType.NEW, {"bid price": [11], "bid size": [11]}),
    ],
)
def test_a_wrong_message_is_found(
    hand_day: LobsterData, column: str, row: int, value: int, reasons: dict[str, list[int]]
) -> None:
    assert rows_of(changed(hand_day, column, row, value)) == reasons


def test_a_wrong_book_is_found_before_and_after_it(hand_day: LobsterData) -> None:
    assert rows_of(changed_book(hand_day, "size", (20, 0, 1), 141)) == {"bid size": [20, 21]}
    assert rows_of(changed_book(hand_day, "price", (20, 1, 0), 10006)) == {"ask price": [20, 21]}


def test_only_an_uncovered_level_is_unknown(hand_day: LobsterData) -> None:
    uncovered = (8, 1, 2)  # row 8 takes the best of three asks away
    assert np.asarray(hand_day.l2.price)[uncovered] == 10005
    assert rows_of(changed_book(hand_day, "price", uncovered, 10009)) == {"ask price": [9]}
    never_there = (12, 1, 1)  # row 12 takes the second-last ask of an incomplete side
    assert np.asarray(hand_day.l2.price)[never_there] == 0
    assert 12 in rows_of(changed_book(hand_day, "size", never_there, 5))["ask size"]


@pytest.mark.parametrize("day_name", ["goog_day", "hand_day"])
def test_a_sweep_does_what_was_recorded(day_name: str, request: pytest.FixtureRequest) -> None:
    """Merged executions, sent as one order into the book before the first of them."""
    day: LobsterData = request.getfixturevalue(day_name)
    flow = lobster_flow(day)
    event = flow.event
    sweep = np.flatnonzero(np.asarray(event.filled)[1:]) + 1
    levels = flow.l2.price.shape[2]

    def send(before: L2, order: Order) -> tuple[L2, Fills]:
        book, fills = apply_order(book_from_levels(before, 2 * levels, jnp.int32(0)), order)
        return l2_snapshot(book, levels), fills

    columns = (event.kind, event.side, event.price, event.size)
    ones = jnp.ones(len(sweep), jnp.int32)
    order = Order(*(jnp.asarray(x[sweep]) for x in columns), order_id=ones, agent_id=ones)
    before = L2(*(jnp.asarray(x[sweep - 1]) for x in flow.l2))
    ours, fills = jax.jit(jax.vmap(send))(before, order)
    for name, recorded in (("filled", event.size), ("first_price", event.first_price)):
        assert np.array_equal(getattr(fills, name), recorded[sweep]), name
    assert np.array_equal(fills.last_price, event.price[sweep])
    known = np.asarray((before.size[:, :, -1:] == 0) | (ours.size > 0))
    for mine, recorded in zip(ours, flow.l2, strict=True):
        assert np.array_equal(np.asarray(mine)[known], np.asarray(recorded)[sweep][known])


def test_start_book_is_the_last_row_at_or_before(hand_day: LobsterData) -> None:
    for sec, nsec, row in [
        (34200, 0, 0),
        (34202, 122, 7),
        (34202, 123, 13),
        (34801, 123456789, 32),
    ]:
        found, l2 = start_book(hand_day, sec, nsec, MARKET)
        assert found == row
        assert np.array_equal(l2.price, hand_day.l2.price[row])
        assert np.array_equal(l2.size, hand_day.l2.size[row])


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_start_book_has_the_levels_of_the_market(hand_day: LobsterData, levels: int) -> None:
    _, l2 = start_book(hand_day, 34202, 123, MarketConfig(levels=levels))
    assert l2.price.shape == l2.size.shape == (2, levels)
    both = min(levels, 3)
    assert np.array_equal(l2.price[:, :both], np.asarray(hand_day.l2.price)[13, :, :both])
    assert not np.asarray(l2.size)[:, both:].any()
    through = jax.jit(lambda x: l2_snapshot(book_from_levels(x, 2 * levels, jnp.int32(0)), levels))
    ours = through(L2(*l2))
    assert np.array_equal(ours.price, l2.price)


def test_start_book_refuses(hand_day: LobsterData) -> None:
    with pytest.raises(InputError, match=r"09:29:59 lies outside .* 09:30:00 to 09:40:01"):
        start_book(hand_day, 34199, 999_999_999, MARKET)
    with pytest.raises(InputError, match=r"09:40:01 lies outside"):
        start_book(hand_day, 34801, 123_456_790, MARKET)
    assert start_book(hand_day, 34202, 123, MARKET, needed=10)[0] == 13
    with pytest.raises(InputError, match=r"10 orders lie at or before 09:30:02, expected at least"):
        start_book(hand_day, 34202, 123, MARKET, needed=11)
    with pytest.raises(InputError, match=r"tick of 0.05, expected that of the record, 0.01"):
        start_book(hand_day, 34202, 123, MarketConfig(tick_size=0.05))


def test_mid_path(hand_day: LobsterData) -> None:
    path = mid_path(hand_day, 34200, 3, 1)
    assert path.tolist() == [10000.0, 10001.5, 10001.0, 10004.5]
    fine = mid_path(hand_day, 34202, 1e-6, 1e-7)
    assert fine.tolist() == [10001.0] * 2 + [10004.5] * 9
    assert mid_path(hand_day, 34800, 1.1, 0.45).tolist() == [10002.5, 10003.0, 10002.5]
    assert mid_path(hand_day, 34800, 0.3, 0.3).tolist() == [10002.5, 10000.0], "one-sided book"
    assert mid_path(hand_day, 34200, 0, 1, nsec=1).tolist() == [10001.5]


def test_mid_of_an_empty_book_is_the_last_execution(hand_day: LobsterData) -> None:
    price = np.array(hand_day.l2.price)
    price[[0, 31]] = 0
    day = hand_day._replace(l2=hand_day.l2._replace(price=price))
    assert event_mids(day, 34800, 1.123456789)[-2] == 9999.0
    assert np.isnan(mid_path(day, 34200, 0, 1)).all()


def test_event_mids(hand_day: LobsterData) -> None:
    mids = event_mids(hand_day, 34202, 2e-7)
    assert mids.tolist() == [10002.5, 10004.5, 10004.5, 10004.5]
    assert event_mids(hand_day, 34202, 1e-7).tolist() == []
    assert event_mids(hand_day, 34202, 1.23e-7).tolist() == [10002.5, 10004.5]
    assert event_mids(hand_day, 34202, 1e-9, nsec=123).tolist() == [10004.5], "(t, t + k]"
    flow = lobster_flow(hand_day)
    after = nanoseconds(flow.event.time.sec, flow.event.time.nsec) > nanoseconds(34200, 0)
    assert len(event_mids(hand_day, 34200, 601.123456789)) == after.sum()


@pytest.mark.parametrize(
    ("sec", "horizon", "step", "sentence"),
    [
        (34199, 1, 1, "09:29:59 lies outside the record, expected 09:30:00 to 09:40:01"),
        (34801, 1, 1, "09:40:02 lies outside"),
        (34201, 1, 0, "expected a positive step"),
        (34201, -1, 1, "horizon that is not negative"),
    ],
)
def test_mid_path_refuses(
    hand_day: LobsterData, sec: int, horizon: float, step: float, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        mid_path(hand_day, sec, horizon, step)


def test_mid_path_of_a_real_day(goog_day: LobsterData) -> None:
    path = mid_path(goog_day, 34260, 300, 60)
    stamps = nanoseconds(goog_day.sec, goog_day.nsec)
    for k, mid in enumerate(path):
        row = np.flatnonzero(stamps <= nanoseconds(34260 + 60 * k, 0))[-1]
        assert mid == np.asarray(goog_day.l2.price)[row, :, 0].mean()
    mids = event_mids(goog_day, 34260, 60)
    rows = (stamps > nanoseconds(34260, 0)) & (stamps <= nanoseconds(34320, 0))
    assert 0 < len(mids) <= rows.sum()
    assert mids[-1] == path[1]
