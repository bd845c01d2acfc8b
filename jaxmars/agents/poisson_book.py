"""The order book of Cont, Stoikov and Talreja (2010), "A stochastic model for order book dynamics".

Everything arrives in independent Poisson processes, and every order is of one size, the unit:

* limit orders of each side, i ticks from the opposite best price, at rate lambda(i),
* market orders of each side at rate mu,
* cancels of a unit that rests i ticks from the opposite best price at rate theta(i) per unit.

So the book is a Markov chain, and it is the parametric baseline of LOB-Bench (arXiv 2502.09172).
Rates come from a record by `jaxmars.tasks.calibrate`. Where a start book has volumes that are no
multiples of the unit, what is left of an order counts, and is cancelled, as that part of a unit.

The agent is the whole crowd. The union of its processes is one whose rate depends on the book only,
and exponential waits have no memory, so the wait is drawn anew after every event.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.agents.base import (
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


class PoissonBookParams(NamedTuple):
    """Rates of the crowd; entry i of a table is for i + 1 ticks from the opposite best price."""

    limit_rate: jax.Array  # [distances] float32, limit orders per second and side
    trade_rate: jax.Array | float  # [] float32, market orders per second and side
    cancel_rate: jax.Array  # [distances] float32, cancels per second and unit; the last entry is
    # for everything farther as well
    unit: jax.Array | int  # [] int32, shares of every order
    price: jax.Array | int  # [] int32, ticks: while nothing rests and nothing has traded


class PoissonBookState(NamedTuple):
    """When it wakes next."""

    wake: Time


class _Rates(NamedTuple):
    """Events per second, each table as its running sum."""

    limit: jax.Array  # [distances] float32, of one side
    cancel: jax.Array  # [2 * slots] float32
    kinds: jax.Array  # [3] float32: limit orders, market orders, cancels


def poisson_book_agent() -> Agent:
    """The crowd, from the start of the market to its end."""

    def init(
        params: PoissonBookParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[PoissonBookState, Time]:
        del memory
        wake = after_exponential(key, view.time, _rates(params, view).kinds.sum())
        return PoissonBookState(wake), wake

    def act(
        params: PoissonBookParams, key: jax.Array, state: PoissonBookState, view: MarketView
    ) -> tuple[PoissonBookState, Request]:
        what_key, draw_key, wait_key = jax.random.split(key, 3)
        rates = _rates(params, view)
        place, coin = jax.random.uniform(draw_key, (2,))
        side = jnp.where(coin < 0.5, Side.BUY, Side.SELL)
        wishes = [
            _limit(params, rates, view, side, place),
            _trade(params, view, side),
            _cancel(params, rates, view, place),
        ]
        kind = jax.random.categorical(what_key, jnp.log(rates.kinds))
        request = jax.tree.map(lambda *x: jnp.stack(x)[kind], *wishes)
        wake = after_exponential(wait_key, view.time, rates.kinds.sum())
        return state._replace(wake=wake), request

    def update(
        params: PoissonBookParams,
        key: jax.Array,
        state: PoissonBookState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        del event, is_done
        wake = after_exponential(key, view.time, _rates(params, view).kinds.sum())
        return decide(state._replace(wake=wake), wake)

    return Agent(init, act, update, keep, as_they_are)


def _rates(params: PoissonBookParams, view: MarketView) -> _Rates:
    """What can happen now."""
    opposite = touch_or(view, params.price)[::-1, None]
    ticks = jnp.abs(jnp.abs(view.book.key) - opposite)
    entry = jnp.clip(ticks - 1, 0, params.cancel_rate.shape[0] - 1)
    units = view.book.size / jnp.asarray(params.unit, jnp.float32)
    each = jnp.where(own_orders(view), params.cancel_rate[entry] * units, 0.0)
    limit, cancel = jnp.cumsum(params.limit_rate), jnp.cumsum(each.reshape(-1))
    trade = jnp.asarray(params.trade_rate, jnp.float32)
    return _Rates(limit, cancel, jnp.stack([2 * limit[-1], 2 * trade, cancel[-1]]))


def _limit(
    params: PoissonBookParams, rates: _Rates, view: MarketView, side: jax.Array, place: jax.Array
) -> Request:
    """A limit order at one of the distances from the opposite best price, so that it rests."""
    ticks = 1 + _drawn(rates.limit, place)
    opposite = touch_or(view, params.price)[1 - side]
    price = opposite + jnp.where(side == Side.BUY, -ticks, ticks)
    return order_or_nothing(Kind.LIMIT, side, price, jnp.asarray(params.unit))


def _trade(params: PoissonBookParams, view: MarketView, side: jax.Array) -> Request:
    """A market order of a unit, or for what rests on the other side if that is less."""
    size = jnp.minimum(params.unit, view.book.total[1 - side])
    return make_request(jnp.where(size > 0, Kind.MARKET, Kind.NONE), side, 0, size)


def _cancel(
    params: PoissonBookParams, rates: _Rates, view: MarketView, place: jax.Array
) -> Request:
    """A cancel of a unit of one of the own orders, or of all of it if that is less."""
    slot = _drawn(rates.cancel, place)
    order_id = view.book.order_id.reshape(-1)[slot]
    kind = jnp.where(rates.cancel[-1] > 0, Ask.CANCEL_ORDER, Kind.NONE)
    return make_request(kind, Side.BUY, 0, params.unit, order_id)


def _drawn(running: jax.Array, uniform: jax.Array) -> jax.Array:
    """An index drawn with the weights whose running sum is given, `[]` int32; `uniform` < 1."""
    at = jnp.searchsorted(running, uniform * running[-1], side="right")
    last = jnp.searchsorted(running, running[-1])  # of those with a weight
    return jnp.minimum(at, last).astype(jnp.int32)
