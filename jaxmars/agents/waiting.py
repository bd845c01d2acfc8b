"""Waiting times of agents that wake at random."""

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.types import Time

LONGEST = 1e9  # seconds, far past every trading day and still an int32


def after_exponential(key: jax.Array, now: Time, rate: jax.Array | float) -> Time:
    """The next arrival after `now` of a Poisson process.

    Args:
      key: consumed.
      now: `[]`.
      rate: `[]` float32, arrivals per second; without any, the answer is `clock.never()`.
    """
    rate = jnp.asarray(rate, jnp.float32)
    fires = rate > 0
    gap = jax.random.exponential(key) / jnp.where(fires, rate, 1.0)
    due = clock.plus(now, clock.from_seconds(jnp.minimum(gap, LONGEST)))
    return clock.choose(fires, due, clock.never())
