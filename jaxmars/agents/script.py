"""Scripted orders: a schedule of requests, each sent at its time.

For what-if runs: the same orders in every trajectory of a batch. `agents.schedule_file` reads a
schedule from a file.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import clock
from jaxmars.agents.base import (
    Agent,
    MarketView,
    Request,
    keep,
    no_request,
    sleep_on,
)
from jaxmars.types import Time


class Schedule(NamedTuple):
    """What is sent when: the agent's params. Times must not go backwards."""

    time: Time  # [n]
    request: Request  # [n], any `Kind` of order and any `Ask`


class ScriptState(NamedTuple):
    """How far it is."""

    row: jax.Array  # [] int32, the next row
    wake: Time


def scripted_agent(num: int) -> Agent:
    """An agent that sends the rows of its `Schedule`, each at its time.

    It sends up to `num` rows at once: rows that are due at one moment go out back to back in their
    order, without another agent in between. `most_at_once` says how many that takes; with fewer,
    the rest goes out at the same moment, after whoever else is due. Rows from before the start of
    the market go out at its start.

    Args:
      num: rows sent at once.

    Raises:
      ValueError: `num` is not positive.
    """
    if num <= 0:
        raise ValueError(f"a scripted agent must send at least one row at once, got {num}")

    def init(
        params: Schedule, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[ScriptState, Time]:
        del key, view, memory
        row = jnp.zeros((), jnp.int32)
        wake = _time_of(params, row)
        return ScriptState(row, wake), wake

    def act(
        params: Schedule, key: jax.Array, state: ScriptState, view: MarketView
    ) -> tuple[ScriptState, Request]:
        del key
        rows = state.row + jnp.arange(num, dtype=jnp.int32)
        last = params.request.kind.shape[0]
        time = _time_of(params, rows)
        due = (rows < last) & ~clock.earlier(view.time, time)
        place = jnp.minimum(rows, last - 1)
        requests = jax.tree.map(
            lambda x, none: jnp.where(due, x[place], none), params.request, no_request()
        )
        row = state.row + due.sum(dtype=jnp.int32)
        wake = _time_of(params, row)
        return ScriptState(row, wake), requests

    return Agent(init, act, sleep_on, keep, _on_device, keeps_to_clock=True, modifies=True)


def most_at_once(schedule: Schedule) -> int:
    """The largest number of rows of one moment (host only); at least 1."""
    times = np.stack([np.asarray(part) for part in schedule.time], 1)
    return int(np.unique(times, axis=0, return_counts=True)[1].max(initial=1))


def _on_device(params: Schedule) -> Schedule:
    """The schedule as device arrays, which a traced row can index."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32), params)


def _time_of(params: Schedule, row: jax.Array) -> Time:
    """When rows `[...]` are due; `never` past the last one."""
    last = params.time.sec.shape[0]
    place = jnp.minimum(row, last - 1)
    time = Time(params.time.sec[place], params.time.nsec[place])
    return clock.choose(row < last, time, clock.never())
