"""Market making: a ladder of quotes on both sides that leans against the inventory.

The ladder is that of the ABIDES market makers, the lean the reservation price of Avellaneda and
Stoikov (2008) with its risk term as one number. At Poisson times the agent withdraws its quotes and
sends new ones, i = 0, 1, … levels - 1:

    centre = mid of the others' quotes - skew * inventory / lot
    bid_i  = floor(centre - half_spread) - i * step
    ask_i  = ceil(centre + half_spread) + i * step

with `inventory` the shares bought less sold, and at least a tick between bid_0 and ask_0. Bids stay
below the others' best ask and asks above their best bid, so that quotes never trade on arrival. A
side on which the inventory has reached `max_inventory` is not quoted.
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
    sleep_on,
)
from jaxmars.agents.touch import order_or_nothing, touch_of_others, withdrawal
from jaxmars.agents.waiting import after_exponential
from jaxmars.types import Kind, Side, Time


class MarketMakerParams(NamedTuple):
    """Numbers of the agent."""

    price: jax.Array | int  # [] int32, ticks: while nobody quotes and nothing has traded
    rate: jax.Array | float = 0.5  # wake-ups per second
    half_spread: jax.Array | float = 1.0  # [] float32, ticks from the centre to the first quote
    step: jax.Array | int = 1  # [] int32, ticks between two quotes of a side
    size: jax.Array | int = 100  # [] int32, shares of every quote
    skew: jax.Array | float = 0.1  # [] float32, ticks the centre moves per lot of inventory
    lot: jax.Array | int = 100  # [] int32, shares
    max_inventory: jax.Array | int = 10_000  # [] int32, shares, either way


class MarketMakerState(NamedTuple):
    """When it wakes next."""

    wake: Time


def market_maker_agent(levels: int = 5) -> Agent:
    """The market maker with `levels` quotes per side, from the start of the market to its end."""
    if levels <= 0:
        raise ValueError(f"a market maker needs at least one level, got {levels}")

    def init(
        params: MarketMakerParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[MarketMakerState, Time]:
        del params, key, memory
        return MarketMakerState(view.time), view.time

    def act(
        params: MarketMakerParams, key: jax.Array, state: MarketMakerState, view: MarketView
    ) -> tuple[MarketMakerState, Request]:
        del state
        withdraw = withdrawal(view)
        requests = jax.tree.map(
            lambda first, rest: jnp.append(first, rest), withdraw, _ladder(params, view, levels)
        )
        wake = after_exponential(key, view.time, params.rate)
        return MarketMakerState(wake), requests

    return Agent(init, act, sleep_on, keep, as_they_are)


def _ladder(params: MarketMakerParams, view: MarketView, levels: int) -> Request:
    """Quotes `[2 * levels]`, from the inside out, bid and ask in turns."""
    best = touch_of_others(view)
    known = (best > 0).all()
    inventory = view.account.bought - view.account.sold
    mid = jnp.where(known, best.sum(dtype=jnp.int32).astype(jnp.float32) / 2, params.price)
    centre = mid - params.skew * inventory.astype(jnp.float32) / params.lot
    apart = known & (best[Side.BUY] < best[Side.SELL])
    bid = jnp.floor(centre - params.half_spread).astype(jnp.int32)
    ask = jnp.ceil(centre + params.half_spread).astype(jnp.int32)
    bid = jnp.where(apart, jnp.minimum(bid, best[Side.SELL] - 1), bid)
    ask = jnp.where(apart, jnp.maximum(ask, best[Side.BUY] + 1), ask)
    ask = jnp.maximum(ask, bid + 1)
    away = jnp.arange(levels, dtype=jnp.int32) * params.step
    price = jnp.stack([bid - away, ask + away], 1).reshape(-1)
    room = jnp.stack([params.max_inventory - inventory, params.max_inventory + inventory])
    size = jnp.tile(jnp.where(room > 0, params.size, 0), levels)
    side = jnp.tile(jnp.array([Side.BUY, Side.SELL], jnp.int32), levels)
    return order_or_nothing(Kind.LIMIT, side, price, size)
