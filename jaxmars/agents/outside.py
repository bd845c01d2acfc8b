"""A trader from outside the crowd, for training: parent orders of random shape at random times.

A model that is to react to orders injected into its market must have read such orders. This agent
sends them: now and then a parent order of random side, size and duration, worked off child by child
with marketable orders, passive orders and cancels of them, or a single large order. Waiting times
are exponential with a rate that is constant between events (`outside_rate`), so the chance that the
crowd moves first is known exactly (`agents.reference_likelihood`).

Prices are ticks, sizes lots, times seconds.
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
    choose_request,
    decide,
    keep,
    make_request,
)
from jaxmars.agents.touch import own_orders, own_size, touch, withdrawal
from jaxmars.agents.waiting import after_exponential
from jaxmars.types import Event, Kind, Side, Time

ABSENT_SHARE = 0.2  # of sessions, without any such trader
PAUSES = (20.0, 2000.0)  # s, range of the mean time between two parent orders
DURATIONS = (20.0, 1800.0)  # s
CHILD_RATES = (1 / 5, 1.0)  # children per second
LOTS_PER_SECOND = (0.1, 6.0)  # up to about three times what the crowd trades
SINGLE_SHARE = 0.25  # of parent orders that are one order at once
SINGLE_LOTS = (2.0, 150.0)
MARKET_SHARE = 0.3  # of orders that trade at once without a price limit
MAX_REACH = 5  # ticks beyond the best price that a marketable limit order goes at most
MAX_DEPTH = 4  # ticks behind the best price that a passive order rests at most
IMPROVE_SHARE = 0.5  # of passive orders that go inside a spread of more than one tick
CANCEL_SHARE = 0.3  # of passive children that cancel instead, if anything rests
MOST_RESTING = 16  # orders; from there on passive children cancel
WITHDRAW_RATE = 0.2  # 1/s, after the last child, while something rests


class OutsideParams(NamedTuple):
    """Numbers of the agent."""

    start_rate: jax.Array | float  # [] float32, parent orders per second of idle time; 0 for none


class OutsideState(NamedTuple):
    """The parent order at work."""

    left: jax.Array  # [] int32, children to come
    side: jax.Array  # [] int32, Side
    lots: jax.Array  # [] float32, mean lots per child
    pace: jax.Array  # [] float32, children per second
    boldness: jax.Array  # [] float32, share of children that trade at once


def absent() -> OutsideParams:
    """No such trader."""
    return OutsideParams(jnp.zeros(()))


def random_outside(key: jax.Array) -> OutsideParams:
    """A trader for one session; `ABSENT_SHARE` of sessions have none."""
    absence, pause = jax.random.uniform(key, (2,))
    return OutsideParams(jnp.where(absence < ABSENT_SHARE, 0.0, 1 / _between(PAUSES, pause)))


def outside_rate(params: OutsideParams, state: OutsideState, view: MarketView) -> jax.Array:
    """Its actions per second until the next event, `[]` float32."""
    idle = jnp.where(own_size(view) > 0, WITHDRAW_RATE, params.start_rate)
    return jnp.where(state.left > 0, state.pace, idle)


def outside_agent(lot: int) -> Agent:
    """A trader that sends parent orders in lots of `lot` shares.

    It withdraws what rests after the last child before it starts another parent order, so it never
    meets its own orders, and it only acts where it has something to send.
    """

    def init(
        params: OutsideParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[OutsideState, Time]:
        del memory
        zero = jnp.zeros(())
        state = OutsideState(jnp.int32(0), jnp.int32(Side.BUY), zero, zero, zero)
        return state, after_exponential(key, view.time, outside_rate(params, state, view))

    def act(
        params: OutsideParams, key: jax.Array, state: OutsideState, view: MarketView
    ) -> tuple[OutsideState, Request]:
        del params
        parent_key, child_key = jax.random.split(key)
        idle, rests = state.left <= 0, own_size(view) > 0
        begins, withdraws = idle & ~rests, idle & rests
        parent = _new_parent(parent_key)
        state = jax.tree.map(lambda new, old: jnp.where(begins, new, old), parent, state)
        request = choose_request(withdraws, withdrawal(view), _child(child_key, state, view, lot))
        return state._replace(left=jnp.maximum(state.left - 1, 0)), request

    def update(
        params: OutsideParams,
        key: jax.Array,
        state: OutsideState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        del event, is_done
        return decide(state, after_exponential(key, view.time, outside_rate(params, state, view)))

    return Agent(init, act, update, keep, as_they_are)


def _between(bounds: tuple[float, float], uniform: jax.Array) -> jax.Array:
    """A log-uniform number."""
    low, high = bounds
    return low * (high / low) ** uniform


def _new_parent(key: jax.Array) -> OutsideState:
    """A parent order before its first child."""
    side, single, size, duration, rate, bold = jax.random.uniform(key, (6,))
    seconds = _between(DURATIONS, duration)
    lots = seconds * _between(LOTS_PER_SECOND, size)
    children = jnp.clip(jnp.ceil(seconds * _between(CHILD_RATES, rate)), 1, jnp.floor(lots))
    at_once = single < SINGLE_SHARE
    children = jnp.where(at_once, 1, children)
    return OutsideState(
        left=children.astype(jnp.int32),
        side=jnp.where(side < 0.5, jnp.int32(Side.BUY), jnp.int32(Side.SELL)),
        lots=jnp.where(at_once, _between(SINGLE_LOTS, size), lots / children),
        pace=children / seconds,
        boldness=jnp.where(at_once, 1.0, jnp.clip(2 * bold - 0.5, 0, 1)),
    )


def _child(key: jax.Array, state: OutsideState, view: MarketView, lot: int) -> Request:
    """One order of a parent order: trades at once, rests, or takes out what rests."""
    bold, extra, market, reach, depth, improve, cancel = jax.random.uniform(key, (7,))
    best = touch(view)
    other = 1 - state.side
    toward = jnp.where(state.side == Side.BUY, 1, -1)
    lots = jnp.maximum(jnp.floor(state.lots + extra), 1).astype(jnp.int32)
    visible = view.l2.size[other].sum(dtype=jnp.int32)
    trade = make_request(
        kind=jnp.where(market < MARKET_SHARE, Kind.MARKET, Kind.LIMIT),
        side=state.side,
        price=best[other] + toward * jnp.floor(reach * (MAX_REACH + 1)).astype(jnp.int32),
        size=jnp.minimum(lots * lot, visible),
    )
    behind = jnp.floor(depth**2 * (MAX_DEPTH + 1)).astype(jnp.int32)
    inside = (best[Side.SELL] - best[Side.BUY] > 1) & (improve < IMPROVE_SHARE)
    away = jnp.where(inside, 1, -behind)
    rest = make_request(Kind.LIMIT, state.side, best[state.side] + toward * away, lots * lot)
    resting = own_orders(view).sum(dtype=jnp.int32)
    crowded = resting >= MOST_RESTING
    takes_out = ((cancel < CANCEL_SHARE) & (resting > 0)) | crowded
    how = jnp.where(crowded, Ask.CANCEL_OLDEST, Kind.CANCEL)
    take = make_request(how, state.side, best[state.side], lots * lot)
    passive = choose_request(takes_out, take, rest)
    return choose_request((bold < state.boldness) & (visible > 0), trade, passive)
