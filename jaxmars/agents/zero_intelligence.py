"""Zero intelligence: orders that arrive and vanish at fixed rates, whatever the market does.

The Santa Fe model of Daniels, Farmer, Gillemot, Iori and Smith (2003), with Poisson arrivals as in
Cont, Stoikov and Talreja (2010):

* limit orders of each side arrive at `limit_rate`, equally likely at each of the `window` ticks
  beyond the opposite best price,
* market orders of each side arrive at `trade_rate`,
* every resting order of the agent is cancelled whole at `cancel_rate`.

The agent is the whole crowd. The union of these Poisson processes is one whose rate depends on the
number of resting orders only, and exponential waits have no memory, so the wait is drawn anew after
every event.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.agents.base import (
    EVERYTHING,
    Agent,
    Ask,
    Decision,
    MarketView,
    Request,
    as_they_are,
    decide,
    keep,
    make_request,
)
from jaxmars.agents.touch import order_or_nothing, own_orders, touch_or
from jaxmars.agents.waiting import after_exponential
from jaxmars.types import Event, Kind, Side, Time


class ZeroIntelligenceParams(NamedTuple):
    """Numbers of the crowd."""

    price: jax.Array | int  # [] int32, ticks: while nothing rests and nothing has traded
    limit_rate: jax.Array | float = 1.0  # limit orders per second and side
    trade_rate: jax.Array | float = 0.25  # market orders per second and side
    cancel_rate: jax.Array | float = 0.05  # cancels per second and resting order
    window: jax.Array | int = 10  # [] int32, ticks a limit order may lie beyond the opposite best
    size: jax.Array | int = 100  # [] int32, shares of every order


class ZeroIntelligenceState(NamedTuple):
    """When it wakes next."""

    wake: Time


def zero_intelligence_agent() -> Agent:
    """The crowd, from the start of the market to its end."""

    def init(
        params: ZeroIntelligenceParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[ZeroIntelligenceState, Time]:
        del memory
        wake = after_exponential(key, view.time, _rates(params, view).sum())
        return ZeroIntelligenceState(wake), wake

    def act(
        params: ZeroIntelligenceParams,
        key: jax.Array,
        state: ZeroIntelligenceState,
        view: MarketView,
    ) -> tuple[ZeroIntelligenceState, Request]:
        del state
        what_key, draw_key, wait_key = jax.random.split(key, 3)
        rates = _rates(params, view)
        which, coin, place = jax.random.uniform(draw_key, (3,))
        side = jnp.where(coin < 0.5, Side.BUY, Side.SELL)
        wishes = [
            _limit(params, view, side, place),
            _trade(params, view, side),
            _cancel(view, which),
        ]
        kind = jax.random.categorical(what_key, jnp.log(rates))
        request = jax.tree.map(lambda *x: jnp.stack(x)[kind], *wishes)
        wake = after_exponential(wait_key, view.time, rates.sum())
        return ZeroIntelligenceState(wake), request

    def update(
        params: ZeroIntelligenceParams,
        key: jax.Array,
        state: ZeroIntelligenceState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        del state, event, is_done
        wake = after_exponential(key, view.time, _rates(params, view).sum())
        return decide(ZeroIntelligenceState(wake), wake)

    return Agent(init, act, update, keep, as_they_are)


def _rates(params: ZeroIntelligenceParams, view: MarketView) -> jax.Array:
    """Events per second: limit orders, market orders, cancels, `[3]` float32."""
    resting = own_orders(view).sum(dtype=jnp.int32).astype(jnp.float32)
    both = [2 * params.limit_rate, 2 * params.trade_rate, params.cancel_rate * resting]
    return jnp.stack([jnp.asarray(rate, jnp.float32) for rate in both])


def _limit(
    params: ZeroIntelligenceParams, view: MarketView, side: jax.Array, place: jax.Array
) -> Request:
    """A limit order 1 to `window` ticks beyond the opposite best price, so that it rests."""
    best = touch_or(view, params.price)[1 - side]
    ticks = 1 + jnp.floor(place * params.window).astype(jnp.int32)
    price = best + jnp.where(side == Side.BUY, -ticks, ticks)
    return order_or_nothing(Kind.LIMIT, side, price, jnp.asarray(params.size))


def _trade(params: ZeroIntelligenceParams, view: MarketView, side: jax.Array) -> Request:
    """A market order for no more than rests on the other side."""
    size = jnp.minimum(params.size, view.book.total[1 - side])
    return make_request(jnp.where(size > 0, Kind.MARKET, Kind.NONE), side, 0, size)


def _cancel(view: MarketView, which: jax.Array) -> Request:
    """A cancel of one of the own orders, each equally likely."""
    own = own_orders(view).reshape(-1)
    rank = jnp.cumsum(own.astype(jnp.int32))
    wanted = jnp.minimum(jnp.floor(which * rank[-1]).astype(jnp.int32), rank[-1] - 1) + 1
    order_id = view.book.order_id.reshape(-1)[jnp.argmax(own & (rank == wanted))]
    kind = jnp.where(rank[-1] > 0, Ask.CANCEL_ORDER, Kind.NONE)
    return make_request(kind, Side.BUY, 0, EVERYTHING, order_id)
