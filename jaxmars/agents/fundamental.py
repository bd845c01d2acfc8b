"""What an instrument is worth: a path that value agents observe with noise."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.types import Time


class Fundamental(NamedTuple):
    """Values on a grid in time; several agents share one."""

    start: Time  # of the first value
    spacing: jax.Array | float  # [] float32, seconds between two values
    value: jax.Array  # [n] float32, ticks


def mean_reverting(
    key: jax.Array,
    start: Time,
    spacing: jax.Array | float,
    num: int,
    *,
    mean: jax.Array | float,
    first: jax.Array | float,
    reversion: jax.Array | float,
    volatility: jax.Array | float,
) -> Fundamental:
    """A path of the Ornstein-Uhlenbeck process dF = reversion (mean - F) dt + volatility dW.

    The steps are exact, so the law of the values does not depend on the spacing. (Mean-reverting
    fundamentals are those of the ABIDES market configurations.)

    Args:
      key: consumed.
      start: of the path.
      spacing: `[]` float32, seconds between two values.
      num: values.
      mean: `[]` float32, ticks.
      first: `[]` float32, ticks, value at the start.
      reversion: `[]` float32, per second, positive.
      volatility: `[]` float32, ticks per square root of a second.
    """
    decay = jnp.exp(-reversion * jnp.asarray(spacing, jnp.float32))
    spread = volatility * jnp.sqrt(-jnp.expm1(-2 * reversion * spacing) / (2 * reversion))
    noise = spread * jax.random.normal(key, (num - 1,))

    def one(away: jax.Array, shock: jax.Array) -> tuple[jax.Array, jax.Array]:
        away = decay * away + shock
        return away, away

    begin = jnp.asarray(first, jnp.float32) - mean
    _, later = jax.lax.scan(one, begin, noise)
    return Fundamental(start, spacing, mean + jnp.concatenate([begin[None], later]))


def value_at(path: Fundamental, time: Time) -> jax.Array:
    """The value at a moment, `[]` float32 ticks: a straight line between two values of the grid,
    the first value before it and the last one after it."""
    place = clock.to_seconds(clock.minus(time, path.start)) / path.spacing
    grid = jnp.arange(path.value.shape[0], dtype=jnp.float32)
    return jnp.interp(place, grid, path.value)
