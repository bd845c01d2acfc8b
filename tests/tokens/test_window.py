"""The rolling window against lists."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import order_state as oracle
from oracles.tiny_world import LEVELS, quick_jit, replay, same_history, tiny_converters, wild_orders

from jaxmars.config import MarketConfig
from jaxmars.tokens import window as windows
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.order import APPEND, NO_ROW, NUM_FEATURES, REPLACE
from jaxmars.tokens.summary import Memory, init_memory
from jaxmars.tokens.window import History, Window
from jaxmars.types import L2, Event, Order, Time

CFG = MarketConfig()
SIZE = 6
LENGTH = 160
OPEN = 34_200 * 10**9

put, put_sliding = jax.jit(windows.put), jax.jit(windows.put_sliding)
keep_last = jax.jit(windows.keep_last)
push_event = jax.jit(windows.push_event, static_argnums=1)
final_rows = jax.jit(jax.vmap(windows.final_rows))


@functools.partial(quick_jit, static_argnames="window")
def history_of(
    tables: TokenTables,
    window: int,
    events: Event,
    snapshots: L2,
    open_time: Time,
    open_price: jax.Array,
    memory: Memory,
) -> History:
    return windows.history_of(tables, CFG, window, events, snapshots, open_time, open_price, memory)


@quick_jit
def memories(before: Memory, events: Event, snapshots: L2) -> Memory:
    return windows.memories(CFG, before, events, snapshots)


@quick_jit
def flow_rows(tables: TokenTables, times: Time, orders: Order) -> tuple:
    """Events and snapshots of a flow, and `rows_of` them."""
    events, snapshots = replay(24, times, orders)
    return events, snapshots, *windows.rows_of(tables, CFG, events, snapshots)


def content(window: Window) -> list[int]:
    """The first number of each row in use; the others are the same."""
    rows = np.asarray(window.rows)[: int(window.count)]
    assert (rows == rows[:, :1]).all()
    return rows[:, 0].tolist()


def row_of(number: int) -> jax.Array:
    return jnp.full(NUM_FEATURES, number, jnp.int32)


@pytest.mark.parametrize("seed", range(4))
def test_put_keeps_what_a_list_would_keep(seed: int) -> None:
    """Rows enter by both ways of making room, and the window is cut now and then."""
    rng = np.random.default_rng(seed)
    empty = Window(jnp.full((SIZE, NUM_FEATURES), -1, jnp.int32), jnp.int32(0))
    plain, sliding = empty, empty
    plain_list: list[int] = []
    sliding_list: list[int] = []
    for number in range(120):
        action = int(rng.choice([NO_ROW, APPEND, REPLACE], p=[0.2, 0.5, 0.3]))
        if action == REPLACE and not plain_list:
            continue
        if len(plain_list) == SIZE:
            kept = int(rng.integers(1, SIZE))
            plain, plain_list = keep_last(plain, kept), plain_list[-kept:]
        plain = put(plain, row_of(number), jnp.int32(action))
        sliding = put_sliding(sliding, row_of(number), jnp.int32(action))
        for rows in (plain_list, sliding_list):
            if action == REPLACE:
                rows.pop()
            if action != NO_ROW:
                rows.append(number)
        sliding_list = sliding_list[-SIZE:]
        assert content(plain) == plain_list
        assert content(sliding) == sliding_list


def test_a_full_window_keeps_its_oldest_row_unless_one_is_appended() -> None:
    """The release's queue loses a row only to a new one, not to a rewritten or a missing one."""
    window = Window(jnp.tile(jnp.arange(SIZE)[:, None], (1, NUM_FEATURES)), jnp.int32(SIZE))
    assert content(put_sliding(window, row_of(9), jnp.int32(NO_ROW))) == [0, 1, 2, 3, 4, 5]
    assert content(put_sliding(window, row_of(9), jnp.int32(REPLACE))) == [0, 1, 2, 3, 4, 9]
    assert content(put_sliding(window, row_of(9), jnp.int32(APPEND))) == [1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize("kept", [1, 4, 5, SIZE, SIZE + 3])
@pytest.mark.parametrize("count", [0, 1, 5, SIZE])
def test_keep_last(count: int, kept: int) -> None:
    rows = jnp.tile(jnp.arange(SIZE)[:, None], (1, NUM_FEATURES))
    found = content(keep_last(Window(rows, jnp.int32(count)), kept))
    assert found == list(range(count))[-kept:]


def test_final_rows_are_made_and_not_replaced(key: jax.Array) -> None:
    actions = jax.random.randint(key, (400, 25), 0, 3)
    found = np.asarray(final_rows(actions))
    for action, final in zip(actions.tolist(), found.tolist(), strict=True):
        expected = [False] * len(action)
        last = None
        for i, act in enumerate(action):
            if act == REPLACE and last is not None:
                expected[last] = False
            if act != NO_ROW:
                expected[i], last = True, i
        assert final == expected


@pytest.fixture(scope="module")
def flow() -> tuple:
    """A wild flow: events, snapshots, rows, which are final; and the oracle's steps."""
    converters = tiny_converters()
    times, orders = wild_orders(np.random.default_rng(5), LENGTH, OPEN)
    events, snapshots, rows, final = flow_rows(converters.tables(), times, orders)
    edges = (
        getattr(converters, name).edges.tolist()
        for name in ("price_level", "order_volume", "order_interval", "lob_volume")
    )
    state = oracle.OrderState(oracle.Bins(*edges))
    steps = oracle.push_all(state, oracle.records_of(events, snapshots))
    return events, snapshots, np.asarray(rows), np.asarray(final), steps, state.rows


def test_rows_of_a_flow_are_the_text_of_the_oracle(flow: tuple) -> None:
    _, _, rows, final, steps, text = flow
    assert rows[final][:, :NUM_FEATURES].tolist() == text
    assert sum(action == oracle.REPLACE for action, _ in steps) > 5


def opening(events: Event, snapshots: L2) -> tuple[Time, jax.Array, Memory]:
    """What `history_of` is told of a flow that starts at the open."""
    found = memories(init_memory(), events, snapshots)
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    return first(events.time), jnp.int32(0), first(found)


def test_history_of_a_flow_is_pushing_it_event_by_event(flow: tuple) -> None:
    events, snapshots = jax.tree.map(np.asarray, flow[:2])
    tables = tiny_converters().tables()
    history = windows.init_history(SIZE, LEVELS)
    for i in range(LENGTH):
        event, after = jax.tree.map(lambda x, i=i: x[i], (events, snapshots))
        history = push_event(tables, CFG, history, event, after)
    found = history_of(tables, SIZE, events, snapshots, *opening(events, snapshots))
    assert same_history(found, history)


@pytest.mark.parametrize("window", [SIZE, LENGTH])
def test_history_holds_the_last_rows_of_the_text(flow: tuple, window: int) -> None:
    events, snapshots, *_, text = flow
    found = history_of(
        tiny_converters().tables(), window, events, snapshots, *opening(events, snapshots)
    ).window
    rows = np.asarray(found.rows)[: int(found.count), :NUM_FEATURES]
    assert rows.tolist() == text[-window:]


def test_history_of_the_end_of_a_flow_knows_the_open(flow: tuple) -> None:
    """Given the open's time and price and the memory, a late part of the day makes the rows of the
    whole day."""
    events, snapshots, whole, final, _, text = flow
    traded = np.flatnonzero(np.asarray(events.filled)[1:])[0] + 1
    accepted = np.flatnonzero(np.asarray(events.status) == 0)
    cut = int(accepted[accepted > LENGTH // 2][0])
    part, books = jax.tree.map(lambda x: x[cut:], (events, snapshots))
    open_time, *_ = opening(events, snapshots)
    open_price = events.first_price[traded]
    tables = tiny_converters().tables()
    memory = jax.tree.map(lambda x: x[cut], memories(init_memory(), events, snapshots))
    found = history_of(tables, LENGTH, part, books, open_time, open_price, memory).window
    made = np.asarray(found.rows)[: int(found.count)]
    np.testing.assert_array_equal(made, whole[final][-len(made) :])
    rows = made[:, :NUM_FEATURES].tolist()
    assert 20 < len(rows) < len(text)
    assert rows[1:] == text[-len(rows) + 1 :]  # the first one's interval is not known
