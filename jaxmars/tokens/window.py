"""The rolling window of order rows that a model reads."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.config import MarketConfig
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.order import (
    APPEND,
    NO_ROW,
    NUM_FEATURES,
    REPLACE,
    FeatureState,
    advance,
    init_features,
)
from jaxmars.types import L2, Event


class Window(NamedTuple):
    """The most recent rows, oldest first; entries at and after `count` mean nothing."""

    rows: jax.Array  # [window, 15] int32
    count: jax.Array  # [] int32, rows in use


class History(NamedTuple):
    """All a model knows of the orders so far."""

    features: FeatureState
    window: Window


def init_history(window: int, levels: int) -> History:
    """No orders yet."""
    rows = jnp.zeros((window, NUM_FEATURES), jnp.int32)
    return History(init_features(levels), Window(rows, jnp.zeros((), jnp.int32)))


def slide(window: Window) -> Window:
    """Drops the oldest row if the window is full."""
    size = window.rows.shape[0]
    full = window.count == size
    rows = jnp.where(full, jnp.roll(window.rows, -1, axis=0), window.rows)
    return Window(rows, window.count - full)


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


def push_event(
    tables: TokenTables, cfg: MarketConfig, history: History, event: Event, after: L2
) -> History:
    """Takes one event into the history. The window must have room (`slide` or `keep_last`)."""
    features, row, action = advance(tables, cfg, history.features, event, after)
    return History(features, put(history.window, row, action))


def history_of(
    tables: TokenTables, cfg: MarketConfig, window: int, events: Event, snapshots: L2
) -> History:
    """The history after a recorded flow.

    Args:
      tables: bins.
      cfg: the instrument.
      window: rows to keep.
      events: stacked, `[T]` leading axis.
      snapshots: after each event, `[T, 2, levels]`.
    """
    levels = snapshots.price.shape[-1]

    def step(history: History, item: tuple[Event, L2]) -> tuple[History, None]:
        history = history._replace(window=slide(history.window))
        return push_event(tables, cfg, history, *item), None

    history, _ = lax.scan(step, init_history(window, levels), (events, snapshots))
    return history


def rows_of(
    tables: TokenTables, cfg: MarketConfig, events: Event, snapshots: L2
) -> tuple[jax.Array, jax.Array]:
    """Rows of a whole flow and whether each is final.

    Returns:
      rows `[T, 15]` int32 and final `[T]` bool: False where an event made no row or where a later
      merged cancel replaced its row. The model's text is `rows[final]`.
    """

    def step(state: FeatureState, item: tuple[Event, L2]) -> tuple[FeatureState, tuple]:
        state, row, action = advance(tables, cfg, state, *item)
        return state, (row, action)

    _, (rows, action) = lax.scan(
        step, init_features(snapshots.price.shape[-1]), (events, snapshots)
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
