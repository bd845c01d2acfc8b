"""Flows through our book, and what the report says of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.l3_tables import books, drawn_messages

import jaxmars.data.continuous as continuous
from jaxmars.book import book_from_levels, init_book
from jaxmars.data.agreement import book_levels
from jaxmars.data.continuous import ReplayReport, replay
from jaxmars.data.orderflow import NO_CHECK, OrderFlow, Recorded, host_order, host_time
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Side, Status

SLOTS, LEVELS, NUM, CHUNK = 96, 5, 400, 128
BUY, SELL = Side.BUY, Side.SELL
LIMIT, MARKET, CANCEL = Kind.LIMIT, Kind.MARKET, Kind.CANCEL


def flow_of(messages: Any, check: Any = None, seconds: Any = None) -> OrderFlow:
    """Messages (kind, side, price, size, id), one a second unless told."""
    columns = np.array(messages, np.int32).T[:5]
    num = columns.shape[1]
    seconds = np.arange(num) if seconds is None else seconds
    check = np.full(num, NO_CHECK) if check is None else check
    order = host_order(*columns)
    return OrderFlow(host_time(seconds, np.zeros(num)), order, np.asarray(check, np.int32))


def recorded_of(l2: np.ndarray, orders: np.ndarray | None, rounded_up: bool = False) -> Recorded:
    """Books `[rows, 2, levels, 2]`, all levels known."""
    price: Any = l2[..., 0].copy()
    size: Any = l2[..., 1].copy()
    return Recorded(L2(price, size), orders, np.ones(price.shape, bool), rounded_up)


@pytest.fixture(scope="module")
def day() -> tuple[OrderFlow, Recorded]:
    """A random day and the oracle's book after every event."""
    messages = drawn_messages(5, NUM, SLOTS)
    flow = flow_of(messages, np.arange(len(messages)))
    return flow, recorded_of(*books(messages, SLOTS, LEVELS))


def run(day: tuple[OrderFlow, Recorded | None], **changes: Any) -> ReplayReport:
    settings = {"levels": LEVELS, "resting": False, "chunk": CHUNK} | changes
    return replay(*day, settings.pop("start", init_book(SLOTS)), **settings)


def test_every_book_of_the_oracle_is_reproduced(day: tuple[OrderFlow, Recorded]) -> None:
    report = run(day)
    events = len(day[0].check)
    assert (report.events, report.checked, report.equal) == (events, events, events)
    assert report.first_rows == []
    table = report.table()
    assert table.shape == (2 * LEVELS, 5)
    assert set(table["compared"].tolist()) == {events}
    assert not table.drop(columns="compared").to_numpy().any()
    assert (report.crossed, report.locked) == (0, 0)


@pytest.mark.parametrize("chunk", [50])
def test_chunks_change_nothing(day: tuple[OrderFlow, Recorded], chunk: int) -> None:
    one, other = run(day, sample_seconds=3.0), run(day, chunk=chunk, sample_seconds=3.0)
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.array_equal(mine, theirs)


def test_all_chunks_use_one_program(day: tuple[OrderFlow, Recorded]) -> None:
    run(day)
    program: Any = continuous._run
    compiled = program._cache_size()
    done = []
    run(day, progress=lambda events, total: done.append((events, total)))
    assert program._cache_size() == compiled
    events = len(day[0].check)
    assert done == [(min(at + CHUNK, events), events) for at in range(0, events, CHUNK)]


@pytest.mark.parametrize("field", ["price", "size", "orders"])
def test_one_wrong_cell_is_found(day: tuple[OrderFlow, Recorded], field: str) -> None:
    flow, recorded = day
    side, level = SELL, 2
    row = int(np.flatnonzero(np.asarray(recorded.l2.size)[:, side, level])[7])
    if field == "orders":
        assert recorded.orders is not None
        wrong = recorded.orders.copy()
        wrong[row, side, level] += 1
        changed = recorded._replace(orders=wrong)
    else:
        wrong = np.array(getattr(recorded.l2, field))
        wrong[row, side, level] += 1
        changed = recorded._replace(l2=recorded.l2._replace(**{field: wrong}))
    report = run((flow, changed))
    assert report.first_rows == [row]
    assert report.equal == report.checked - 1
    table = report.table()
    assert sum(table[field].tolist()) == table[field]["ask", 3] == 1
    assert sum(table["missing"].tolist()) == (field != "orders")
    known = recorded.known.copy()
    known[row, side, level] = False
    report = run((flow, changed._replace(known=known)))
    assert report.equal == report.checked, "what is not known is not compared"
    assert report.table()["compared"].tolist().count(report.checked - 1) == 1


def test_a_lost_level_shifts_the_others_but_they_are_held() -> None:
    flow = flow_of([(LIMIT, BUY, 100 - i, 5, 1 + i) for i in range(4)], [NO_CHECK] * 3 + [0])
    l2 = np.zeros((1, 2, 4, 2), np.int32)
    l2[0, BUY] = [(100, 5), (98, 5), (97, 5), (96, 5)]
    report = run((flow, recorded_of(l2, None)))
    assert report.agreement.price[0, BUY].tolist() == [True, False, False, False]
    assert report.agreement.held[0, BUY].tolist() == [True, True, True, False]


@pytest.mark.parametrize(("size", "agrees"), [(6, False), (7, True), (8, True), (9, False)])
def test_sizes_rounded_up_agree_within_a_unit_per_further_order(size: int, agrees: bool) -> None:
    flow = flow_of([(LIMIT, BUY, 100, 4, 1), (LIMIT, BUY, 100, 4, 2)], [NO_CHECK, 0])
    l2 = np.zeros((1, 2, 1, 2), np.int32)
    l2[0, BUY, 0] = (100, size)
    assert run((flow, recorded_of(l2, None, rounded_up=True))).equal == agrees
    assert run((flow, recorded_of(l2, None))).equal == (size == 8)


def test_fewer_or_more_levels_than_recorded(day: tuple[OrderFlow, Recorded]) -> None:
    for levels in (2, LEVELS + 1):
        report = run(day, levels=levels)
        assert report.equal == report.checked
        assert report.agreement.known.shape[2] == min(levels, LEVELS)


def test_resting_orders_cross_and_lock() -> None:
    messages = [
        (LIMIT, BUY, 100, 5, 1),
        (LIMIT, SELL, 100, 5, 2),
        (LIMIT, SELL, 99, 3, 3),
        (CANCEL, SELL, 99, 3, 3),
        (CANCEL, BUY, 100, 5, 1),
    ]
    feed = run((flow_of(messages), None), resting=True)
    assert (feed.crossed, feed.locked, feed.status) == (1, 2, {})
    assert feed.filled.tolist() == [0] * 5
    assert np.asarray(feed.book.total).tolist() == [0, 5]
    sent = run((flow_of(messages), None))
    assert (sent.crossed, sent.locked) == (0, 0)
    assert sent.filled.tolist() == [0, 5, 0, 0, 0]
    assert sent.status == {Status.UNKNOWN_ORDER: 1}


def test_events_that_raise_a_bit_are_counted() -> None:
    messages = [(LIMIT, BUY, 100 - i, 1, i + 1) for i in range(5)]
    messages += [(MARKET, SELL, 0, 9, 20), (MARKET, SELL, 0, 9, 21), (CANCEL, BUY, 0, 1, 9)]
    report = run((flow_of(messages), None), start=init_book(3))
    assert report.status == {
        Status.BOOK_FULL: 2,
        Status.UNFILLED_MARKET: 2,
        Status.UNKNOWN_ORDER: 1,
    }
    assert report.filled.tolist() == [0] * 5 + [3, 0, 0]
    assert (report.checked, report.first_rows) == (0, [])
    assert set(report.table()["compared"].tolist()) == {0}


def test_it_starts_from_the_book_it_is_given() -> None:
    level: Any = np.array([[100], [103]], np.int32)
    l2 = L2(level, jnp.full((2, 1), 7, jnp.int32))
    start = book_from_levels(l2, SLOTS, jnp.int32(0))
    report = run((flow_of([(MARKET, BUY, 0, 3, 1)]), None), start=start)
    assert np.asarray(report.book.total).tolist() == [7, 4]


def test_samples_lie_on_a_grid_of_times() -> None:
    messages = [(LIMIT, BUY, 100 + i, 1, i + 1) for i in range(4)]
    report = run((flow_of(messages, seconds=np.array([10, 11, 11, 15])), None), sample_seconds=2.5)
    samples = report.samples
    assert samples is not None
    stamps = np.asarray(samples.time.sec) + np.asarray(samples.time.nsec) / 1e9
    assert stamps.tolist() == [10.0, 12.5, 15.0]
    assert samples.price[:, BUY, 0].tolist() == [100, 102, 103]
    assert samples.size[:, :, 0].tolist() == [[1, 0]] * 3
    assert samples.price[:, BUY].sum(1).tolist() == [100, 303, 406]
    assert run((flow_of(messages), None)).samples is None


def test_an_empty_flow() -> None:
    empty = flow_of(np.zeros((0, 5)))
    report = run((empty, None), sample_seconds=1.0)
    assert (report.events, report.checked, report.status) == (0, 0, {})
    assert report.samples is None


def test_levels_of_a_book_count_its_orders() -> None:
    messages = [(LIMIT, BUY, p, s, i) for i, (p, s) in enumerate([(9, 1), (9, 2), (7, 4)], 1)]
    levels = book_levels(run((flow_of(messages), None)).book, 3)
    assert np.asarray(levels.price).tolist() == [[9, 7, 0], [0, 0, 0]]
    assert np.asarray(levels.size).tolist() == [[3, 4, 0], [0, 0, 0]]
    assert np.asarray(levels.orders).tolist() == [[2, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "check", "sentence"),
    [
        ({"levels": 0}, 0, "a replay has 0 levels"),
        ({"chunk": 0}, 0, "chunks of 0"),
        ({"sample_seconds": 0.0}, 0, r"samples every 0.0 s, expected positive numbers"),
        ({"sample_seconds": 1e-10}, 0, "samples every 1e-10 s"),
        ({}, 1, "event 0 is checked against recorded book 1, expected -1 or 0 to 0"),
        ({}, -2, "recorded book -2"),
    ],
)
def test_it_refuses(changes: dict[str, Any], check: int, sentence: str) -> None:
    flow = flow_of([(LIMIT, BUY, 100, 1, 1)], [check])
    with pytest.raises(InputError, match=sentence):
        run((flow, recorded_of(np.zeros((1, 2, 1, 2), np.int32), None)), **changes)
