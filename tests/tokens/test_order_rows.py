"""Order rows against the release's golden run and against its rules in plain Python."""

import fractions
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import order_state as oracle
from oracles.tiny_world import LEVELS, bins_of, quick_jit, replay, time_of, wild_orders

from jaxmars.config import MarketConfig
from jaxmars.tokens import order as rows
from jaxmars.tokens.bins import Converters, TokenTables
from jaxmars.types import L2, Event, Kind, Order, Side, Status, Time, make_order, no_trades

CFG = MarketConfig.release()
SLOTS = 24
LENGTH = 700
NANO = 10**9
OPEN = 34_200
MANY = hypothesis.settings(max_examples=300, deadline=None)
PRICES = range(-17, 16)
SIZES = range(0, 3_300, 100)
INTERVALS = [-1, *(i / 2 for i in range(16))]
BINS = oracle.Bins(PRICES, SIZES, INTERVALS, SIZES)
TABLES = Converters(*map(bins_of, (PRICES, SIZES, SIZES, INTERVALS, SIZES))).tables()

B, S = Side.BUY, Side.SELL
NEW, CANCEL = Kind.LIMIT, Kind.CANCEL
GOLDEN = [  # seconds, kind, side, ticks, shares, id; action and row of the spec's table
    (0.0, NEW, S, 1002, 300, 1, rows.NO_ROW, []),
    (1.0, NEW, B, 1000, 500, 2, rows.APPEND, [23618, 9, 0, 0, 1, 0, 0, 0, 0, 5, 0, 3, 0, 0, 0]),
    (1.4, NEW, S, 1001, 200, 3, rows.APPEND, [8209, 9, 0, 0, 1, 0, 0, 0, 0, 0, 5, 2, 3, 0, 0]),
    (3.0, NEW, B, 1001, 300, 4, rows.APPEND, [25124, 5, 6, 0, 3, 0, 0, 0, 0, 5, 1, 3, 0, 0, 0]),
    (3.0, NEW, S, 1003, 700, 5, rows.APPEND, [9312, 9, 0, 0, 3, 0, 0, 0, 0, 5, 1, 3, 7, 0, 0]),
    (4.5, CANCEL, S, 1003, 200, 5, rows.APPEND, [42003, 2, 9, 0, 4, 0, 0, 0, 0, 5, 1, 3, 5, 0, 0]),
    (4.5, CANCEL, S, 1003, 100, 5, rows.REPLACE, [42019, 2, 9, 0, 4, 0, 0, 0, 0, 5, 1, 3, 4, 0, 0]),
    (9.0, NEW, S, 999, 250, 8, rows.APPEND, [7209, 9, 9, 0, 9, 0, 0, 0, 0, 4, 0, 3, 4, 0, 0]),
    (9.2, NEW, B, 1006, 1200, 9, rows.APPEND, [27313, 9, 5, 49, 9, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]),
]

change_to_open = jax.jit(rows.change_to_open)
lob_slots = jax.jit(rows.lob_slots)
advance = jax.jit(rows.advance, static_argnames="cfg")


@quick_jit
def feed(tables: TokenTables, times: Time, orders: Order) -> tuple[Event, L2, jax.Array, jax.Array]:
    """Orders through the book and into rows: events, snapshots, rows, actions."""
    events, snapshots = replay(SLOTS, times, orders)

    def one(state: rows.FeatureState, item: tuple[Event, L2]) -> tuple:
        state, row, action = rows.advance(tables, CFG, state, *item)
        return state, (row, action)

    _, (made, action) = jax.lax.scan(one, rows.init_features(LEVELS), (events, snapshots))
    return events, snapshots, made, action


def padded(times: Time, orders: Order) -> tuple[Time, Order]:
    """Filled up to `LENGTH` with orders that do nothing, so that all flows share one program."""
    pad = lambda x: jnp.pad(x, (0, LENGTH - x.shape[0]))
    return jax.tree.map(pad, times), jax.tree.map(pad, orders)


def test_golden_run_of_the_release() -> None:
    seconds, kind, side, price, size, order_id, actions, expected = zip(*GOLDEN, strict=True)
    times = time_of(OPEN * NANO + np.round(np.array(seconds) * NANO).astype(np.int64))
    owner = [7] * len(kind)
    orders = Order(*jnp.asarray([kind, side, price, size, order_id, owner], jnp.int32))
    events, _, made, action = feed(TABLES, *padded(times, orders))
    assert not np.asarray(events.status).any()
    assert action.tolist() == [*actions, *[rows.NO_ROW] * (LENGTH - len(GOLDEN))]
    for i, row in enumerate(expected):
        if row:
            assert made[i].tolist()[: rows.NUM_FEATURES] == row, f"order {i + 1}"


@pytest.mark.parametrize(
    "start",
    [OPEN, 11.4 * 3600, 11.5 * 3600 + 0.2, 12.99 * 3600, 14 * 3600],
    ids="from second {:.0f}".format,
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_flows_make_the_rows_of_the_oracle(seed: int, start: float) -> None:
    rng = np.random.default_rng([seed, int(start)])
    flow = wild_orders(rng, LENGTH, int(start * NANO))
    events, snapshots, made, action = feed(TABLES, *flow)
    records = oracle.records_of(events, snapshots)
    state = oracle.OrderState(BINS, CFG.late_hour, CFG.late_shift)
    steps = oracle.push_all(state, records)
    assert action.tolist() == [step[0] for step in steps]
    for i, (act, row) in enumerate(steps):
        if act != rows.NO_ROW:
            assert made[i].tolist()[: rows.NUM_FEATURES] == row, f"event {i}"
    counts = np.bincount(np.asarray(action), minlength=3)
    status = np.asarray(events.status)
    assert counts[rows.REPLACE] > 20  # merged cancels
    assert (status & int(Status.UNKNOWN_ORDER) != 0).sum() > 20  # rejected orders
    assert (np.asarray(events.filled) > 0).sum() > 50  # trades


def test_an_order_after_lunch_loses_the_break() -> None:
    open_at, later = 11.5 * 3600 - 60, 13 * 3600 + 90
    times = time_of(np.array([open_at * NANO, later * NANO]))
    orders = Order(*jnp.asarray([[NEW, B, 1000, 100, i, 0] for i in (1, 2)], jnp.int32).T)
    made = feed(TABLES, *padded(times, orders))[2]
    assert made[1, 4] == 60 + 90


def test_elapsed_seconds_are_truncated_toward_zero() -> None:
    """An order just after the break, less time after the open than the break lasts."""
    times = time_of(np.array([41_400 * NANO + 200_000_000, 46_800 * NANO + 100_000_000]))
    orders = Order(*jnp.asarray([[NEW, B, 1000, 100, i, 0] for i in (1, 2)], jnp.int32).T)
    made = feed(TABLES, *padded(times, orders))[2]
    assert made[1, 4] == 0


@pytest.mark.parametrize(
    ("cfg", "first", "second", "expected"),
    [
        (MarketConfig.release(), 34_200, 47_000, 7_400),
        (MarketConfig.release(), 46_900, 47_000, -5_300),  # the release's quirk
        (MarketConfig.chinese_a_share(), 34_200, 47_000, 7_400),
        (MarketConfig.chinese_a_share(), 46_900, 47_000, 100),
        (MarketConfig(), 34_200, 47_000, 12_800),
    ],
)
def test_breaks_are_left_out_of_the_elapsed_time(
    cfg: MarketConfig, first: int, second: int, expected: int
) -> None:
    event = lambda sec: _cancel_event([CANCEL, B, 999, 100, 1, 0], (sec - OPEN) * NANO)
    book = L2(jnp.array([[999, 0], [1001, 0]]), jnp.array([[500, 0], [300, 0]]))
    state, _, _ = rows.advance(TABLES, cfg, rows.init_features(2), event(first), book)
    made = rows.advance(TABLES, cfg, state, event(second), book)[1]
    assert int(made[rows.ELAPSED]) == expected


def test_events_of_a_call_auction_make_no_row() -> None:
    cfg = MarketConfig.chinese_a_share()
    book = L2(jnp.array([[999, 0], [1001, 0]]), jnp.array([[500, 0], [300, 0]]))
    event = _cancel_event([CANCEL, B, 999, 100, 1, 0], 0)
    state, _, _ = rows.advance(TABLES, cfg, rows.init_features(2), event, book)
    collected = _cancel_event([CANCEL, B, 999, 100, 2, 0], (53_900 - OPEN) * NANO)  # 14:58:20
    trade = event._replace(kind=jnp.int32(Kind.UNCROSS))
    assert int(rows.advance(TABLES, cfg, state, collected, book)[2]) == rows.NO_ROW
    assert int(rows.advance(TABLES, cfg, state, trade, book)[2]) == rows.NO_ROW
    later = _cancel_event([CANCEL, B, 999, 100, 2, 0], NANO)
    assert int(rows.advance(TABLES, cfg, state, later, book)[2]) == rows.APPEND


def test_cancels_merge_only_after_a_record_with_a_book_before_it() -> None:
    """A cancel that opens the day has no book before it: the next one makes a row of its own."""
    book = L2(jnp.array([[999, 0], [1001, 0]]), jnp.array([[500, 0], [300, 0]]))
    state, zero = rows.init_features(2), jnp.int32(0)
    event = Event(
        time=Time(jnp.int32(OPEN), zero),
        kind=jnp.int32(CANCEL),
        side=jnp.int32(B),
        price=jnp.int32(999),
        size=jnp.int32(100),
        order_id=jnp.int32(1),
        agent_id=zero,
        filled=zero,
        first_price=zero,
        last_price=zero,
        best_bid=jnp.int32(999),
        best_ask=jnp.int32(1001),
        status=zero,
        trades=no_trades(),
    )
    found = []
    for _ in range(4):
        state, row, action = advance(TABLES, CFG, state, event, book)
        found.append((int(action), row[0].item()))
    assert [action for action, _ in found] == [
        rows.NO_ROW,
        rows.APPEND,
        rows.REPLACE,
        rows.REPLACE,
    ]
    sizes = [np.unravel_index(index, (3, 32, 32, 16))[2] for _, index in found]
    assert sizes[1:] == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value"), [("time", None), ("price", 998), ("agent_id", 1), ("kind", Kind.LIMIT)]
)
def test_cancels_that_differ_do_not_merge(field: str, value: int | None) -> None:
    """One nanosecond, one tick, another owner, or another kind is enough."""
    first, second = [CANCEL, B, 999, 100, 1, 0], [CANCEL, B, 999, 100, 1, 0]
    later = 0
    if value is None:
        later = 1
    else:
        names = ("kind", "side", "price", "size", "order_id", "agent_id")
        second[names.index(field)] = value
    events = [
        _cancel_event([NEW, B, 990, 100, 0, 0], 0),
        _cancel_event(first, NANO),
        _cancel_event(second, NANO + later),
    ]
    book = L2(jnp.array([[999, 998], [1001, 0]]), jnp.array([[500, 500], [300, 0]]))
    state, actions = rows.init_features(2), []
    for event in events:
        state, _, action = advance(TABLES, CFG, state, event, book)
        actions.append(int(action))
    assert actions == [rows.NO_ROW, rows.APPEND, rows.APPEND]


def _cancel_event(order: list[int], nanoseconds: int) -> Event:
    kind, side, price, size, order_id, agent_id = make_order(*order)
    zero = jnp.int32(0)
    sec, nsec = divmod(OPEN * NANO + nanoseconds, NANO)
    return Event(
        Time(jnp.int32(sec), jnp.int32(nsec)),
        kind,
        side,
        price,
        size,
        order_id,
        agent_id,
        zero,
        zero,
        zero,
        jnp.int32(999),
        jnp.int32(1001),
        zero,
        no_trades(),
    )


def tenths_by_advance(part: int, rest: int) -> tuple[int, int]:
    """Both ratio slots of an order of `part` shares at a level of `rest`, `filled` = part."""
    book = L2(jnp.array([[999, 0], [1001, 0]]), jnp.array([[rest, 0], [1, 0]]))
    state, _, _ = advance(
        TABLES, CFG, rows.init_features(2), _cancel_event([NEW, B, 990, 1, 0, 0], 0), book
    )
    event = _cancel_event([NEW, B, 999, part, 1, 0], NANO)
    whole = min(part + rest, 2**31 - 1)
    traded = event._replace(size=jnp.int32(whole), filled=jnp.int32(part))
    _, volume, _ = advance(TABLES, CFG, state, event, book)
    _, trade, _ = advance(TABLES, CFG, state, traded, book)
    return int(volume[1]), int(trade[2])


BIG = 2**31 - 1
sizes = st.one_of(st.integers(1, BIG), st.integers(1, 400), st.integers(BIG - 200, BIG))


@MANY
@hypothesis.given(sizes, sizes)
@hypothesis.example(BIG, BIG)
@hypothesis.example(1, BIG)
@hypothesis.example(BIG, 1)
@hypothesis.example(10, 89)  # 9.9 * 10 / 99 is exactly 1
@hypothesis.example(200_000_000, 1_780_000_000)
def test_ratio_slots_are_exact_for_all_sizes(part: int, rest: int) -> None:
    volume, trade = tenths_by_advance(part, rest)
    assert volume == 99 * part // (10 * (part + rest))
    assert trade == 99 * part // (10 * min(part + rest, BIG))


@pytest.mark.parametrize("k", range(10))
def test_ratio_slots_at_their_borders(k: int) -> None:
    """Just below, at, and above the volume where slot k begins; there float64 agrees, too."""
    whole = 99_000_000
    border = max(-(-10 * k * whole // 99), 1)
    for part in {max(border - 1, 1), border, border + 1}:
        volume, _ = tenths_by_advance(part, whole - part)
        assert volume == 99 * part // (10 * whole) == int(9.9 * (part / whole))


prices = st.one_of(st.integers(1, 2**28 - 1), st.integers(1, 3_000))


@MANY
@hypothesis.given(prices, prices, st.integers(-2_001, 2_001))
@hypothesis.example(1_000, 1_200, 0)
@hypothesis.example(1_000, 801, 0)
@hypothesis.example(5, 4, 0)
def test_change_to_open_truncates_the_exact_fraction(open_price: int, mid: int, near: int) -> None:
    """Also for mids a few basis points from the open, where a random pair rarely lands."""
    beside = max(1, open_price + open_price * near // 10_000)
    for price in (mid, beside):
        found = int(change_to_open(jnp.int32(price), jnp.int32(open_price)))
        exact = fractions.Fraction(10_000 * (price - open_price), open_price)
        assert found == math.trunc(max(-2_000, min(2_000, exact)))
        rounded = 10_000 * min(max(price / open_price - 1, -0.2), 0.2)
        assert abs(found - int(rounded)) <= 1  # the release, in float64
        if abs(exact) < 2_000 and exact.denominator != 1:
            assert found == int(rounded)


def test_change_is_zero_while_the_open_is_unknown() -> None:
    assert int(change_to_open(jnp.int32(1_000), jnp.int32(0))) == 0


@MANY
@hypothesis.given(st.tuples(*(st.integers(1, 40) for _ in range(4))), st.data())
def test_the_order_index_counts_in_mixed_radix(shape: tuple[int, ...], data: st.DataObject) -> None:
    slots = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    index = rows.join_slots(tuple(map(jnp.int32, slots)), shape)
    assert int(index) == np.ravel_multi_index(slots, shape)


def test_lob_slots_cover_five_ticks_below_and_four_above_the_mid() -> None:
    """Ticks outside are left out; the middle of an odd spread is rounded down."""
    price = jnp.array([[999, 995, 994, 0], [1002, 1004, 1005, 1006]], jnp.int32)
    size = jnp.array([[100, 3200, 100, 0], [201, 100, 100, 100]], jnp.int32)
    table = bins_of(SIZES).table()
    found = lob_slots(table, L2(price, size), jnp.int32(1000))
    assert found.tolist() == [32, 0, 0, 0, 1, 0, 0, 3, 0, 1]
