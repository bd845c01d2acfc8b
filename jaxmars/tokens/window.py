"""The rolling window of order rows that a model reads."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.config import MarketConfig
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.order import (
    APPEND,
    NO_ROW,
    REPLACE,
    ROW_WIDTH,
    FeatureState,
    advance,
    init_features,
    is_record,
)
from jaxmars.tokens.summary import Memory, remember
from jaxmars.types import L2, Event, Time


class Window(NamedTuple):
    """The most recent rows, oldest first; entries at and after `count` mean nothing."""

    rows: jax.Array  # [window, ROW_WIDTH] int32
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  [] int32, rows in use


Put = Callable[[Window, jax.Array, jax.Array], Window]
"""(window, row, action) -> window with the row in it, as the action says."""


class History(NamedTuple):
    """All a model knows of the orders so far."""

    features: FeatureState
    window: Window


def init_history(window: int, levels: int) -> History:
    """No orders yet."""
    rows = jnp.zeros((window, ROW_WIDTH), jnp.int32)
    return History(init_features(levels), Window(rows, jnp.zeros((), jnp.int32)))


def keep_last(window: Window, num_rows: int) -> Window:
    """Keeps at most the last `num_rows` rows, moved to the front."""
    drop = jnp.maximum(window.count - num_rows, 0)
    return Window(jnp.roll(window.rows, -drop, axis=0), window.count - drop)


def put(window: Window, row: jax.Array, action: jax.Array) -> Window:
    """Appends a row, or replaces the last one, or does nothing, as `action` says.

    The caller keeps room: appending to a full window overwrites its last row.
    """
    last = window.rows.shape[0] - 1
    at = jnp.clip(window.count - (action == REPLACE), 0, last)
    old = lax.dynamic_index_in_dim(window.rows, at, 0, keepdims=False)
    rows = lax.dynamic_update_index_in_dim(
        window.rows, jnp.where(action == NO_ROW, old, row), at, 0
    )
    return Window(rows, jnp.minimum(window.count + (action == APPEND), last + 1))


def put_sliding(window: Window, row: jax.Array, action: jax.Array) -> Window:
    """`put` that drops the oldest row of a full window, but only where a row is appended."""
    drop = (action == APPEND) & (window.count == window.rows.shape[0])
    rows = jnp.where(drop, jnp.roll(window.rows, -1, axis=0), window.rows)
    return put(Window(rows, window.count - drop), row, action)


def push_event(
    tables: TokenTables,
    cfg: MarketConfig,
    history: History,
    event: Event,
    after: L2,
    put_row: Put = put_sliding,
    is_other: jax.Array | bool = False,
) -> History:
    """Takes one event into the history; `put_row` says how its row enters the window, `is_other`
    whether it is of another trader than those the model stands for."""
    features, row, action = advance(tables, cfg, history.features, event, after, is_other)
    return History(features, put_row(history.window, row, action))


def history_of(
    tables: TokenTables,
    cfg: MarketConfig,
    window: int,
    events: Event,
    snapshots: L2,
    open_time: Time,
    open_price: jax.Array,
    memory: Memory,
) -> History:
    """The history after a recorded flow, whose first record only opens it.

    Args:
      tables: bins.
      cfg: the instrument.
      window: rows to keep.
      events: stacked, `[T]` leading axis.
      snapshots: after each event, `[T, 2, levels]`.
      open_time: of the first record of the day, which may lie before the flow.
      open_price: `[]` int32 ticks of the first trade of the day; 0 if it lies in the flow.
      memory: of the day up to the first event of the flow, which included (`memories`).
    """
    first = jax.tree.map(lambda x: x[0], (events, snapshots))
    rest = jax.tree.map(lambda x: x[1:], (events, snapshots))
    history = init_history(window, snapshots.price.shape[-1])
    history = push_event(tables, cfg, history, *first)
    features = history.features._replace(open_time=open_time, open_price=open_price, memory=memory)

    def step(history: History, item: tuple[Event, L2]) -> tuple[History, None]:
        return push_event(tables, cfg, history, *item), None

    return lax.scan(step, history._replace(features=features), rest)[0]


def memories(cfg: MarketConfig, before: Memory, events: Event, snapshots: L2) -> Memory:
    """The memory after each event of a recorded flow, `[T]`; it needs no bins.

    Args:
      cfg: the instrument.
      before: of what lies before the flow; `init_memory()` at the open.
      events: `[T]`.
      snapshots: after each event, `[T, 2, levels]`.
    """

    def step(memory: Memory, item: tuple[Event, L2]) -> tuple[Memory, Memory]:
        event, after = item
        memory = remember(memory, event, after, cfg.lot_size, is_record(cfg, event), False)
        return memory, memory

    return lax.scan(step, before, (events, snapshots))[1]


def rows_of(
    tables: TokenTables,
    cfg: MarketConfig,
    events: Event,
    snapshots: L2,
    is_other: jax.Array | bool = False,
) -> tuple[jax.Array, jax.Array]:
    """Rows of a whole flow and whether each is final; `is_other` `[T]` bool as for `advance`.

    Returns:
      rows `[T, ROW_WIDTH]` int32 and final `[T]` bool: False where an event made no row or where a
      later merged cancel replaced its row. The model's text is `rows[final]`.
    """

    def step(state: FeatureState, item: tuple[Event, L2, jax.Array]) -> tuple[FeatureState, tuple]:
        state, row, action = advance(tables, cfg, state, *item)
        return state, (row, action)

    others = jnp.broadcast_to(is_other, events.kind.shape)
    _, (rows, action) = lax.scan(
        step, init_features(snapshots.price.shape[-1]), (events, snapshots, others)
    )
    return rows, final_rows(action)


def final_rows(action: jax.Array) -> jax.Array:
    """Which of a stream of rows stay: made, and not replaced by the next one made. `[T]` bool."""
    made = action != NO_ROW
    position = jnp.where(made, jnp.arange(action.shape[0]), action.shape[0])
    following = lax.associative_scan(jnp.minimum, position[::-1])[::-1]
    next_made = jnp.concatenate([following[1:], jnp.full((1,), action.shape[0])])
    next_action = jnp.append(action, NO_ROW)[next_made]
    return made & (next_action != REPLACE)
