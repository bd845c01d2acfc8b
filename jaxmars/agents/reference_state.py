"""Numbers, hidden state and event rates of the reference market (see `agents.reference`)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.agents.base import MarketView, Request
from jaxmars.types import L2, Time

NUM_PARENTS = 5
MAX_TREND = 9.0  # clamp of the squared-trend feedback, times the mean trade rate
MAX_ACTIVITY = 8.0
MAX_VALUE_PULL = 6.0  # clamp of the squared mispricing


class ReferenceParams(NamedTuple):
    """Numbers of the reference market; the defaults are the recommended ones. Each may be traced,
    so presets and jittered parameters need no recompilation."""

    limit_rate: jax.Array | float = 1.2  # limit orders per second and side at activity 1
    trade_rate: jax.Array | float = 0.5  # market orders per second at activity 1
    cancel_rate: jax.Array | float = 0.02  # cancels per second and lot at the best price
    cancel_decay: jax.Array | float = 1.0  # 1 / (1 + decay * ticks from best)
    best_prob: jax.Array | float = 0.25  # limit orders at the best price
    depth_tail: jax.Array | float = 0.9  # P(depth >= k) = k ** -tail
    inside_rate: jax.Array | float = 0.6  # 1 - exp(-rate * (spread - 1)) goes inside the spread
    size_median: jax.Array | float = 3.0  # lots
    size_sigma: jax.Array | float = 1.0  # of log size
    split_prob: jax.Array | float = 0.85  # trades that are children of a parent order
    parent_tail: jax.Array | float = 1.4  # Pareto exponent of parent lengths
    lean: jax.Array | float = 0.12  # how far liquidity leans against signed flow
    lean_time: jax.Array | float = 20.0  # s, memory of signed flow
    value_width: jax.Array | float = 8.0  # ticks of mispricing that count as one
    value_rate: jax.Array | float = 0.6  # value trades per trade at one unit of mispricing
    value_time: jax.Array | float = 400.0  # s, how fast the fundamental follows the price
    value_noise: jax.Array | float = 3.0  # ticks per square-root minute
    jump_rate: jax.Array | float = 0.02  # fundamental jumps per minute
    jump_size: jax.Array | float = 5.0  # ticks, Laplace scale
    hawkes_share: jax.Array | float = 0.35  # trade rate that earlier trades excite
    hawkes_times: tuple = (3.0, 40.0, 600.0)  # s
    hawkes_weights: tuple = (0.3, 0.3, 0.4)
    trend_share: jax.Array | float = 0.35  # trade rate that squared trends excite
    trend_time: jax.Array | float = 180.0  # s
    trend_scale: jax.Array | float = 0.2  # ticks**2 per trade, normal squared move
    level_variances: tuple = (0.1, 0.4, 0.4)  # of log activity
    level_times: tuple = (20.0, 240.0, 2400.0)  # s


class Plan(NamedTuple):
    """The next event, drawn when the previous one was over."""

    request: Request
    due: Time
    parent: jax.Array  # [] int32, parent order the trade is a child of; NUM_PARENTS if none


class ReferenceState(NamedTuple):
    """Hidden state of the crowd."""

    time: Time  # of the last event seen
    mid: jax.Array  # [] float32, ticks
    level: jax.Array  # [3] float32, log activity components
    hawkes: jax.Array  # [3] float32, excited trade rate per second
    trend: jax.Array  # [] float32, ticks, weighted sum of mid changes
    flow: jax.Array  # [] float32, weighted sum of trade signs
    value: jax.Array  # [] float32, ticks, the fundamental
    mean_volume: jax.Array  # [] float32, lots per trade
    parent_sign: jax.Array  # [NUM_PARENTS] float32, +1 buys
    parent_left: jax.Array  # [NUM_PARENTS] float32, children to come
    parent_weight: jax.Array  # [NUM_PARENTS] float32
    plan: Plan


class Rates(NamedTuple):
    """Event rates per second, given the state; their sum is the total rate."""

    activity: jax.Array  # [] float32, A
    trade: jax.Array  # [] float32
    value: jax.Array  # [] float32
    limit: jax.Array  # [] float32, both sides
    cancel: jax.Array  # [] float32

    @property
    def total(self) -> jax.Array:
        """All events per second."""
        return self.trade + self.value + self.limit + self.cancel


class Quotes(NamedTuple):
    """Best prices with a substitute for an empty side, and the crowd's own best volumes."""

    bid: jax.Array  # [] int32, ticks
    ask: jax.Array  # [] int32, ticks

    @property
    def mid(self) -> jax.Array:
        """Float mid, ticks."""
        return (self.bid + self.ask).astype(jnp.float32) / 2


def quotes(l2: L2, last_mid: jax.Array) -> Quotes:
    """Best bid and ask; an empty side is put one tick beyond the other, or beside `last_mid`."""
    bid, ask = l2.price[0, 0], l2.price[1, 0]
    has_bid, has_ask = l2.size[0, 0] > 0, l2.size[1, 0] > 0
    fallback = jnp.floor(last_mid).astype(jnp.int32)
    bid = jnp.where(has_bid, bid, jnp.where(has_ask, ask - 1, fallback))
    return Quotes(bid, jnp.where(has_ask, ask, bid + 1))


def activity(params: ReferenceParams, state: ReferenceState) -> jax.Array:
    """A: the trade rate over its mean, from levels, excitation and squared trend, clamped."""
    mean = params.trade_rate
    variance = sum(params.level_variances)
    base = mean * (1 - params.hawkes_share - params.trend_share)
    squared = state.trend**2 * 2 / (params.trend_time * params.trend_scale * mean)
    rate = (
        base * jnp.exp(state.level.sum() - variance / 2)
        + state.hawkes.sum()
        + params.trend_share * mean * jnp.minimum(squared, MAX_TREND)
    )
    return jnp.minimum(rate, MAX_ACTIVITY * mean) / mean


def cancel_weights(params: ReferenceParams, view: MarketView, lot: int, best: Quotes) -> jax.Array:
    """Chance of each of the crowd's resting orders to be cancelled, `[2, slots]` float32 lots."""
    own = (view.book.size > 0) & (view.book.agent_id == view.agent_id)
    price = jnp.abs(view.book.key)
    near = jnp.stack([best.bid, best.ask])[:, None]
    depth = jnp.abs(price - near).astype(jnp.float32)
    lots = view.book.size.astype(jnp.float32) / lot
    return jnp.where(own, lots / (1 + params.cancel_decay * depth), 0.0)


def event_rates(
    params: ReferenceParams, state: ReferenceState, best: Quotes, weight: jax.Array
) -> Rates:
    """Rates given the state and the total cancel weight in lots."""
    active = activity(params, state)
    pull = jnp.minimum(((state.value - best.mid) / params.value_width) ** 2, MAX_VALUE_PULL)
    return Rates(
        activity=active,
        trade=params.trade_rate * active,
        value=params.trade_rate * active * params.value_rate * pull,
        limit=2 * params.limit_rate * active,
        cancel=params.cancel_rate * active * weight,
    )
