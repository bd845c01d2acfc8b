"""The release's noise agent (spec 7.1).

Distributions are the release's. The order of draws differs by necessity: the release draws type,
offset, volume, shuffle and gap one after the other from one generator; here each step has its own
key and the five draws are made at once from it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import clock
from jaxmars.agents.base import (
    Agent,
    MarketView,
    Request,
    as_they_are,
    keep,
    make_request,
    sleep_on,
)
from jaxmars.types import Kind, Side, Time

KINDS = ((Kind.LIMIT, Side.BUY, 0.4), (Kind.LIMIT, Side.SELL, 0.4), (Kind.CANCEL, Side.BUY, 0.2))
OFFSETS = tuple(range(-5, 6))  # ticks
OFFSET_PROBS = (0.025, 0.025, 0.05, 0.1, 0.2, 0.2, 0.2, 0.1, 0.05, 0.025, 0.025)
SIZES = (100, 200, 500, 1000, 2000)  # shares
SIZE_PROBS = (0.5, 0.3, 0.15, 0.025, 0.025)
GAP_RANGE = (0.5, 1.5)  # times the mean gap


class NoiseParams(NamedTuple):
    """Numbers of the noise agent."""

    price: jax.Array | int  # [] int32, ticks: base while nothing has traded
    gap: jax.Array | float  # [] float32, mean seconds between wake-ups


class NoiseState(NamedTuple):
    """When it wakes next."""

    wake: Time


def noise_agent(start: Time, end: Time) -> Agent:
    """Random orders around the last trade price from `start` to `end` (both inclusive)."""

    def stop_after_end(wake: Time) -> Time:
        return clock.choose(clock.earlier(end, wake), clock.never(), wake)

    def init(
        params: NoiseParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[NoiseState, Time]:
        del params, key, memory
        wake = stop_after_end(clock.choose(clock.earlier(view.time, start), start, view.time))
        return NoiseState(wake), wake

    def act(
        params: NoiseParams, key: jax.Array, state: NoiseState, view: MarketView
    ) -> tuple[NoiseState, Request]:
        del state
        draws = jax.random.uniform(key, (4,))
        kinds, sides, probs = zip(*KINDS, strict=True)
        which = _pick(draws[0], probs)
        offset = jnp.array(OFFSETS)[_pick(draws[1], OFFSET_PROBS)]
        size = jnp.array(SIZES)[_pick(draws[2], SIZE_PROBS)]
        base = jnp.where(view.last_price > 0, view.last_price, params.price)
        gap = params.gap * (GAP_RANGE[0] + draws[3] * (GAP_RANGE[1] - GAP_RANGE[0]))
        wake = stop_after_end(clock.plus(view.time, clock.from_seconds(gap)))
        return NoiseState(wake), make_request(
            jnp.array(kinds)[which], jnp.array(sides)[which], base + offset, size
        )

    return Agent(init, act, sleep_on, keep, as_they_are)


def _pick(uniform: jax.Array, probs: Sequence[float]) -> jax.Array:
    """Index drawn with the given probabilities, `[]` int32."""
    edges = jnp.array(np.cumsum(probs)[:-1], jnp.float32)
    return (uniform >= edges).sum(dtype=jnp.int32)
