"""The summary of rows against sums over all records."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import order_state
from oracles import summary as oracle
from oracles.tiny_world import LEVELS, quick_jit, replay, rows_equal, tiny_converters, wild_orders

from jaxmars.config import Calendar, MarketConfig
from jaxmars.tokens import summary
from jaxmars.tokens.order import NUM_FEATURES, ROW_WIDTH, init_features, is_record
from jaxmars.tokens.window import init_history, memories, push_event, rows_of
from jaxmars.types import L2, Event, Kind, Order, Side, Time

CFG = MarketConfig()
LENGTH = 160
OPEN = 34_200 * 10**9
SLOTS = 24
PRICE = 1_000  # ticks
OUTSIDER = 2  # one of the three owners
ROUNDING = 1  # float32 may round a number to the next unit


@quick_jit
def flow_of(times: Time, orders: Order) -> tuple[Event, L2]:
    return replay(SLOTS, times, orders)


@quick_jit
def rows(events: Event, snapshots: L2) -> tuple[jax.Array, jax.Array]:
    others = events.agent_id == OUTSIDER
    return rows_of(tiny_converters().tables(), CFG, events, snapshots, others)


@quick_jit
def memory_path(before: summary.Memory, events: Event, snapshots: L2) -> summary.Memory:
    return memories(CFG, before, events, snapshots)


def wild(seed: int) -> tuple[Event, L2]:
    """Orders with many equal times, rejected ones and pauses of minutes among them."""
    rng = np.random.default_rng(seed)
    times, orders = wild_orders(rng, LENGTH, OPEN)
    pauses = np.cumsum(np.where(rng.random(LENGTH) < 0.05, rng.integers(1, 600, LENGTH), 0))
    return flow_of(times._replace(sec=times.sec + jnp.asarray(pauses, jnp.int32)), orders)


@pytest.mark.parametrize("seed", range(4))
def test_columns_are_those_of_the_oracle(seed: int) -> None:
    events, snapshots = wild(seed)
    found = np.asarray(rows(events, snapshots)[0])[:, NUM_FEATURES:]
    taken = np.asarray(jax.vmap(lambda event: is_record(CFG, event))(events))
    records = order_state.records_of(events, snapshots)
    assert len(records) == LENGTH and 10 < (~taken).sum() < LENGTH / 2
    so_far, others = [], []
    for i, record in enumerate(records):
        if taken[i]:
            assert record is not None
            so_far.append(record)
            others.append(record.agent == OUTSIDER)
            expected = np.array(oracle.summary(so_far, others, CFG.lot_size)) * oracle.UNIT
            assert np.abs(found[i] - expected).max() <= ROUNDING / 2 + 0.1, f"event {i}"
    moved = found[taken].std(0) > 1
    assert moved[: summary.NUM_PAST].all() and moved[-3:].all(), "every column of the past moves"
    assert moved[summary.NUM_PAST : -3].sum() > 8, "so do several levels"


def deep_book(rng: np.random.Generator, levels: int) -> L2:
    """Levels at uneven distances, some of them empty at the far end."""
    gaps = rng.integers(1, 9, (2, levels)).cumsum(1)
    used = np.arange(levels) < rng.integers(1, levels + 1, (2, 1))
    price = np.stack([PRICE - gaps[0], PRICE + gaps[1]])
    size = rng.integers(1, 10_000, (2, levels))
    return L2(*(jnp.asarray(np.where(used, x, 0), jnp.int32) for x in (price, size)))


@pytest.mark.parametrize("levels", [1, 5, summary.LEVELS, 14])
def test_the_best_ten_levels_are_shown_and_the_size_of_all(levels: int) -> None:
    rng = np.random.default_rng(levels)
    memory = summary.init_memory()
    for _ in range(20):
        book = deep_book(rng, levels)
        columns = np.asarray(summary.summarise(memory, book, jnp.int32(PRICE), False))
        price, size = (np.asarray(x).tolist() for x in book)
        shown = range(min(levels, summary.LEVELS))
        expected = np.zeros((2, 2, summary.LEVELS))
        for side, level in itertools.product(range(2), shown):
            if size[side][level]:
                expected[0, side, level] = math.log1p(abs(price[side][level] - PRICE))
                expected[1, side, level] = math.log1p(size[side][level])
        total = [math.log1p(sum(one)) for one in size]
        found = columns[summary.NUM_PAST : -1] / summary.UNIT
        np.testing.assert_allclose(found, [*expected.ravel(), *total], atol=0.51 / summary.UNIT)


@pytest.mark.parametrize("cut", [1, 50, LENGTH - 1])
def test_a_day_in_two_parts_is_the_day(cut: int) -> None:
    flow = wild(9)
    whole = memory_path(summary.init_memory(), *flow)
    first = jax.tree.map(lambda x: x[:cut], flow)
    before = jax.tree.map(lambda x: x[-1], memory_path(summary.init_memory(), *first))
    rest = memory_path(before, *jax.tree.map(lambda x: x[cut:], flow))
    assert rows_equal(rest, jax.tree.map(lambda x: x[cut:], whole))


def test_history_has_the_memory_of_its_events() -> None:
    events, snapshots = wild(3)
    tables = tiny_converters().tables()
    push = quick_jit(lambda history, event, after: push_event(tables, CFG, history, event, after))
    history = init_history(8, LEVELS)
    path = memory_path(summary.init_memory(), events, snapshots)
    for i in range(LENGTH):
        history = push(history, *jax.tree.map(lambda x, i=i: x[i], (events, snapshots)))
    last = jax.tree.map(lambda x: x[-1], path)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), history.features.memory, last
    )


def event_at(sec: int, kind: int = Kind.LIMIT, status: int = 0) -> Event:
    events, _ = wild(0)
    one = jax.tree.map(lambda x: x[0], events)
    time = Time(jnp.int32(sec), jnp.int32(0))
    return one._replace(time=time, kind=jnp.int32(kind), status=jnp.int32(status))


def test_what_is_no_record_leaves_the_memory_alone() -> None:
    """Not even in a call auction, whose orders a model does not read."""
    book = L2(jnp.array([[99, 98], [101, 103]]), jnp.array([[5, 2], [1, 1]]))
    cfg = MarketConfig(calendar=Calendar.chinese_a_share())
    memory = summary.init_memory()
    for sec, kind, counts in (
        (9 * 3600 + 16 * 60, Kind.LIMIT, False),
        (9 * 3600 + 25 * 60, Kind.UNCROSS, False),
        (9 * 3600 + 31 * 60, Kind.NONE, False),
        (9 * 3600 + 32 * 60, Kind.LIMIT, True),
    ):
        event = event_at(sec, kind)
        following = summary.remember(
            memory, event, book, cfg.lot_size, is_record(cfg, event), False
        )
        assert rows_equal(following, memory) != counts
        memory = following


def test_a_lone_order_is_no_burst_and_no_price_is_far_away() -> None:
    book = L2(jnp.array([[99, 0], [104, 0]]), jnp.array([[5, 0], [1, 0]]))
    event = event_at(40_000)._replace(side=jnp.int32(Side.BUY), filled=jnp.int32(0))
    memory = summary.remember(summary.init_memory(), event, book, 100, jnp.array(True), False)
    columns = np.asarray(summary.summarise(memory, book, jnp.int32(101), True)) / summary.UNIT
    scales = len(summary.SCALES)
    expected = [0.0] * 4 * scales + [math.log(summary.STILL) / 2] * scales
    level = lambda bid, ask: [bid, *[0] * 9, ask, *[0] * 9]
    book_part = [math.log1p(x) for x in (*level(2, 3), *level(5, 1), 5, 1)]
    np.testing.assert_allclose(columns, [*expected, *book_part, 1.0], atol=0.5 / summary.UNIT)
    assert columns.shape == (summary.NUM_SUMMARY,) and ROW_WIDTH == 15 + summary.NUM_SUMMARY


def test_numbers_are_clipped_and_finite_whatever_comes() -> None:
    memory = init_features(2).memory._replace(
        orders=jnp.full(4, 1e30), squares=jnp.full(4, 1e38), away=jnp.full(4, -1e38)
    )
    book = L2(jnp.array([[1, 1], [2**30, 2**30]]), jnp.full((2, 2), 2**30))
    columns = np.asarray(summary.summarise(memory, book, jnp.int32(1), False))
    assert (np.abs(columns) <= summary.LIMIT).all()
