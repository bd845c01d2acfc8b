"""Momentum: a trader who follows the trend.

The momentum agents of ABIDES (Byrd, Hybinette and Balch 2020). At Poisson times the agent withdraws
its old order, notes the mid price and compares the means of its latest `short` and `long` notes:

    mean of short > mean of long: buys at the best ask
    mean of short < mean of long: sells at the best bid

It does nothing before it has `long` notes, nor when its position has reached `max_position`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.agents.base import (
    Agent,
    MarketView,
    Request,
    as_they_are,
    keep,
    one_after_another,
    sleep_on,
)
from jaxmars.agents.touch import order_or_nothing, touch, withdrawal
from jaxmars.agents.waiting import after_exponential
from jaxmars.types import Kind, Side, Time


class MomentumParams(NamedTuple):
    """Numbers of the agent."""

    rate: jax.Array | float = 0.2  # wake-ups per second
    size: jax.Array | int = 100  # [] int32, shares of every order
    max_position: jax.Array | int = 10_000  # [] int32, shares bought less sold, either way


class MomentumState(NamedTuple):
    """What it has seen."""

    notes: jax.Array  # [long] int32, half ticks: bid + ask at its wake-ups, latest last
    taken: jax.Array  # [] int32, notes taken, at most `long`
    wake: Time


def momentum_agent(short: int = 20, long: int = 50) -> Agent:
    """The trader, from the start of the market to its end.

    Args:
      short: notes of the fast average.
      long: notes of the slow average, more than `short`.

    Raises:
      ValueError: the averages are not as said.
    """
    if not 0 < short < long:
        raise ValueError(f"momentum needs 0 < short < long, got short {short} and long {long}")

    def init(
        params: MomentumParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[MomentumState, Time]:
        del memory
        wake = after_exponential(key, view.time, params.rate)
        return MomentumState(jnp.zeros(long, jnp.int32), jnp.zeros((), jnp.int32), wake), wake

    def act(
        params: MomentumParams, key: jax.Array, state: MomentumState, view: MarketView
    ) -> tuple[MomentumState, Request]:
        best = touch(view)
        note = best.sum(dtype=jnp.int32)
        seen = note > 0
        notes = jnp.where(seen, jnp.append(state.notes[1:], note), state.notes)
        taken = jnp.minimum(state.taken + seen, long)
        trend = jnp.where(taken == long, _trend(notes, short), 0)
        wake = after_exponential(key, view.time, params.rate)
        withdraw = withdrawal(view)
        order = _order(params, view, best, trend)
        return MomentumState(notes, taken, wake), one_after_another(withdraw, order)

    return Agent(init, act, sleep_on, keep, as_they_are)


def _trend(notes: jax.Array, short: int) -> jax.Array:
    """Sign of the fast less the slow average, `[]` int32; 0 when all notes are equal."""
    change = (notes - notes[0]).astype(jnp.float32)
    return jnp.sign(change[-short:].mean() - change.mean()).astype(jnp.int32)


def _order(params: MomentumParams, view: MarketView, best: jax.Array, trend: jax.Array) -> Request:
    """An order at the opposite best price with the trend, within the position limit."""
    side = jnp.where(trend > 0, Side.BUY, Side.SELL)
    position = (view.account.bought - view.account.sold) * trend
    room = jnp.maximum(params.max_position - position, 0)
    size = jnp.where(trend != 0, jnp.minimum(params.size, room), 0)
    return order_or_nothing(Kind.LIMIT, side, best[1 - side], size)
