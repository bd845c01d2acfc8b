"""Value: a trader who believes in a fundamental and trades toward it.

The value agents of ABIDES (Byrd, Hybinette and Balch 2020), without their Bayesian filter. At
Poisson times the agent withdraws its old order and observes the fundamental F,

    estimate = F(now) + noise * N(0, 1).

More than `margin` ticks above the mid it buys, more than `margin` below it sells. With probability
`cross_prob` it takes the opposite best price, else it joins the best price of its own side; never
beyond its estimate.
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
from jaxmars.agents.fundamental import Fundamental, value_at
from jaxmars.agents.touch import order_or_nothing, touch_or, withdrawal
from jaxmars.agents.waiting import after_exponential
from jaxmars.types import Kind, Side, Time


class ValueParams(NamedTuple):
    """Numbers of the agent. A rate of n times that of one trader stands for n of them."""

    fundamental: Fundamental
    rate: jax.Array | float = 0.2  # wake-ups per second
    noise: jax.Array | float = 2.0  # [] float32, ticks, standard deviation of an observation
    margin: jax.Array | float = 0.5  # [] float32, ticks of mispricing that are not worth an order
    cross_prob: jax.Array | float = 0.5  # that an order crosses the spread
    size: jax.Array | int = 100  # [] int32, shares of every order


class ValueState(NamedTuple):
    """When it wakes next."""

    wake: Time


def value_agent() -> Agent:
    """The trader, from the start of the market to its end."""

    def init(
        params: ValueParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[ValueState, Time]:
        del memory
        wake = after_exponential(key, view.time, params.rate)
        return ValueState(wake), wake

    def act(
        params: ValueParams, key: jax.Array, state: ValueState, view: MarketView
    ) -> tuple[ValueState, Request]:
        del state
        noise_key, coin_key, wait_key = jax.random.split(key, 3)
        value = value_at(params.fundamental, view.time)
        estimate = value + params.noise * jax.random.normal(noise_key)
        crosses = jax.random.bernoulli(coin_key, params.cross_prob)
        wake = after_exponential(wait_key, view.time, params.rate)
        withdraw = withdrawal(view)
        order = _order(params, view, estimate, crosses)
        return ValueState(wake), one_after_another(withdraw, order)

    return Agent(init, act, sleep_on, keep, as_they_are)


def _order(
    params: ValueParams, view: MarketView, estimate: jax.Array, crosses: jax.Array
) -> Request:
    """An order toward the estimate, or none where the market is about right."""
    best = touch_or(view, jnp.round(estimate).astype(jnp.int32))
    gap = estimate - best.sum(dtype=jnp.int32).astype(jnp.float32) / 2
    side = jnp.where(gap > 0, Side.BUY, Side.SELL)
    price = jnp.where(crosses, best[1 - side], best[side])
    bound = jnp.where(gap > 0, jnp.floor(estimate), jnp.ceil(estimate)).astype(jnp.int32)
    price = jnp.where(gap > 0, jnp.minimum(price, bound), jnp.maximum(price, bound))
    size = jnp.where(jnp.abs(gap) > params.margin, params.size, 0)
    return order_or_nothing(Kind.LIMIT, side, price, size)
