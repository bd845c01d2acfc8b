"""The reference market "splitting, value and activity" as one agent that is the whole crowd.

A synthetic market with known dynamics that shows nine of Cont's stylized facts. Order splitting
gives long memory of trade signs, value traders a diffusive price and concave impact, slow activity
volatility clustering, and feedback of squared trends the asymmetry of time scales. All rates are
constant between events, so waiting times are exponential and the exact likelihood of every event
is known (`agents.reference_likelihood`).

Prices are ticks, sizes lots, times seconds. Limit and cancel rates scale with the activity `A`, the
trade rate divided by its mean.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.agents.base import (
    Agent,
    Decision,
    MarketView,
    Request,
    as_they_are,
    decide,
    keep,
    no_request,
)
from jaxmars.types import L2, Event, Kind, Side, Time

NUM_PARENTS = 5
MAX_DEPTH = 100  # ticks from the best price a limit order may rest
MAX_LOTS = 500
MAX_PARENT = 1000.0  # child orders
MAX_TREND = 9.0  # clamp of the squared-trend feedback, times the mean trade rate
MAX_ACTIVITY = 8.0
MAX_VALUE_PULL = 6.0  # clamp of the squared mispricing
MAX_VOLUME_SHARE = 3.0  # clamp of a trade's volume over the average in the flow average
MEAN_VOLUME_RATE = 0.01  # weight of one trade in the average trade volume
START_VOLUME = 6.0  # lots, average trade volume at the start
MINUTE = 60.0
BLOCK = 32  # of the two-level choice of an order


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


def reference_agent(lot: int) -> Agent:
    """The reference market for lots of `lot` shares, as the agent that owns the resting orders."""

    def init(
        params: ReferenceParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[ReferenceState, Time]:
        del memory
        level_key, parent_key, plan_key = jax.random.split(key, 3)
        best = quotes(view.l2, view.last_price.astype(jnp.float32))
        spread = jnp.sqrt(jnp.array(params.level_variances))
        sign, left, weight = _new_parents(params, jax.random.uniform(parent_key, (3, NUM_PARENTS)))
        zero = jnp.zeros(())
        state = ReferenceState(
            time=view.time,
            mid=best.mid,
            level=spread * jax.random.normal(level_key, spread.shape),
            hawkes=params.hawkes_share * params.trade_rate * jnp.array(params.hawkes_weights),
            trend=zero,
            flow=zero,
            value=best.mid,
            mean_volume=jnp.full((), START_VOLUME),
            parent_sign=sign,
            parent_left=left,
            parent_weight=weight,
            plan=Plan(no_request(), view.time, jnp.int32(NUM_PARENTS)),
        )
        state = state._replace(plan=_plan(params, plan_key, state, view, lot))
        return state, state.plan.due

    def act(
        params: ReferenceParams, key: jax.Array, state: ReferenceState, view: MarketView
    ) -> Request:
        del params, key, view
        return state.plan.request

    def update(
        params: ReferenceParams,
        key: jax.Array,
        state: ReferenceState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        decay_key, parent_key, plan_key = jax.random.split(key, 3)
        own = event.agent_id == view.agent_id
        partial = own & ~is_done
        moved = _evolve(params, decay_key, state, view)
        moved = _react(params, moved, event, lot)
        moved = _finish_parent(params, parent_key, moved, own & is_done)
        plan = _plan(params, plan_key, moved, view, lot)
        plan = jax.tree.map(lambda new, old: jnp.where(partial, old, new), plan, state.plan)
        return decide(moved._replace(plan=plan), plan.due)

    return Agent(init, act, update, keep, as_they_are)


def _new_parents(
    params: ReferenceParams, uniforms: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sign, length and weight of parent orders from uniforms `[3, …]`."""
    sign = jnp.where(uniforms[0] < 0.5, 1.0, -1.0)
    left = jnp.minimum((1 - uniforms[1]) ** (-1 / params.parent_tail), MAX_PARENT)
    return sign, left, -jnp.log1p(-uniforms[2])


def _evolve(
    params: ReferenceParams, key: jax.Array, state: ReferenceState, view: MarketView
) -> ReferenceState:
    """Everything that drifts and decays between the last event and now."""
    normal_key, jump_key = jax.random.split(key)
    gap = clock.to_seconds(clock.minus(view.time, state.time))
    active = activity(params, state)
    times = jnp.array(params.level_times)
    keep_level = jnp.exp(-gap / times)
    noise = jax.random.normal(normal_key, (times.shape[0] + 1,))
    spread = jnp.sqrt(jnp.array(params.level_variances) * (1 - keep_level**2))
    value = state.value + (state.mid - state.value) * -jnp.expm1(-gap / params.value_time)
    value += params.value_noise * jnp.sqrt(active * gap / MINUTE) * noise[-1]
    jumps, size, side = jax.random.uniform(jump_key, (3,))
    jump = params.jump_size * jnp.log1p(-size) * jnp.where(side < 0.5, -1, 1)
    best = quotes(view.l2, state.mid)
    return state._replace(
        time=view.time,
        mid=best.mid,
        level=state.level * keep_level + spread * noise[:-1],
        hawkes=state.hawkes * jnp.exp(-gap / jnp.array(params.hawkes_times)),
        trend=state.trend * jnp.exp(-gap / params.trend_time) + best.mid - state.mid,
        flow=state.flow * jnp.exp(-gap / params.lean_time),
        value=value + jnp.where(jumps < params.jump_rate * active * gap / MINUTE, jump, 0),
    )


def _react(
    params: ReferenceParams, state: ReferenceState, event: Event, lot: int
) -> ReferenceState:
    """What a trade, anybody's, does to excitation and signed flow."""
    traded = event.filled > 0
    volume = event.filled.astype(jnp.float32) / lot
    sign = jnp.where(event.side == Side.BUY, 1.0, -1.0)
    mean = state.mean_volume + jnp.where(traded, MEAN_VOLUME_RATE * (volume - state.mean_volume), 0)
    share = jnp.minimum(volume / mean, MAX_VOLUME_SHARE)
    weight = -jnp.expm1(-1 / (params.lean_time * params.trade_rate))
    excite = params.hawkes_share * jnp.array(params.hawkes_weights) / jnp.array(params.hawkes_times)
    return state._replace(
        hawkes=state.hawkes + jnp.where(traded, excite, 0.0),
        flow=state.flow + jnp.where(traded, sign * share * weight, 0),
        mean_volume=mean,
    )


def _finish_parent(
    params: ReferenceParams, key: jax.Array, state: ReferenceState, own: jax.Array
) -> ReferenceState:
    """Takes one child off the parent that traded and replaces it when it is complete."""
    child = own & (jnp.arange(NUM_PARENTS) == state.plan.parent)
    left = state.parent_left - child
    over = left <= 0
    sign, length, weight = _new_parents(params, jax.random.uniform(key, (3,)))
    return state._replace(
        parent_sign=jnp.where(over, sign, state.parent_sign),
        parent_left=jnp.where(over, length, left),
        parent_weight=jnp.where(over, weight, state.parent_weight),
    )


def _plan(
    params: ReferenceParams, key: jax.Array, state: ReferenceState, view: MarketView, lot: int
) -> Plan:
    """Draws the next event: when, what, where, how much."""
    wait, which, *draws = jax.random.uniform(key, (10,))
    best = quotes(view.l2, state.mid)
    weights = cancel_weights(params, view, lot, best)
    rates = event_rates(params, state, best, weights.sum())
    gap = clock.from_seconds(-jnp.log1p(-wait) / rates.total)
    at = which * rates.total
    is_trade = at < rates.trade + rates.value
    is_value = is_trade & (at >= rates.trade)
    is_cancel = at >= rates.trade + rates.value + rates.limit
    lots = _lots(params, draws[0])
    trade, parent = _trade(params, state, view, best, is_value, lot, *draws[1:5])
    limit = _limit(params, state, best, lots * lot, *draws[1:5])
    cancel = _cancel(view, weights, lots * lot, draws[6], draws[7])
    pick = lambda a, b, c: jnp.where(is_trade, a, jnp.where(is_cancel, c, b))
    return Plan(
        request=jax.tree.map(pick, trade, limit, cancel),
        due=clock.plus(view.time, gap),
        parent=jnp.where(is_trade & ~is_value, parent, NUM_PARENTS),
    )


def _lots(params: ReferenceParams, uniform: jax.Array) -> jax.Array:
    """Size of a limit order or cancel: a rounded lognormal, `[]` int32 lots."""
    normal = jax.scipy.special.ndtri(jnp.maximum(uniform, jnp.finfo(jnp.float32).tiny))
    size = params.size_median * jnp.exp(params.size_sigma * normal)
    return jnp.clip(jnp.floor(size + 0.5), 1, MAX_LOTS).astype(jnp.int32)


def _trade(
    params: ReferenceParams,
    state: ReferenceState,
    view: MarketView,
    best: Quotes,
    is_value: jax.Array,
    lot: int,
    split: jax.Array,
    parent_draw: jax.Array,
    coin: jax.Array,
    share: jax.Array,
) -> tuple[Request, jax.Array]:
    """A marketable limit order at the best opposite price, and the parent it belongs to."""
    cumulative = jnp.cumsum(state.parent_weight)
    parent = (cumulative <= parent_draw * cumulative[-1]).sum(dtype=jnp.int32)
    parent = jnp.minimum(parent, NUM_PARENTS - 1)
    is_child = split < params.split_prob
    sign = jnp.where(is_child, state.parent_sign[parent], jnp.where(coin < 0.5, 1.0, -1.0))
    sign = jnp.where(is_value, jnp.where(state.value > best.mid, 1.0, -1.0), sign)
    buy = sign > 0
    queue = jnp.where(buy, view.l2.size[1, 0], view.l2.size[0, 0]).astype(jnp.float32) / lot
    lots = jnp.maximum(1, jnp.floor(share * queue + 0.5)).astype(jnp.int32)
    request = Request(
        kind=jnp.int32(Kind.LIMIT),
        side=jnp.where(buy, Side.BUY, Side.SELL).astype(jnp.int32),
        price=jnp.where(buy, best.ask, best.bid),
        size=lots * lot,
    )
    return request, jnp.where(is_child, parent, NUM_PARENTS)


def _limit(
    params: ReferenceParams,
    state: ReferenceState,
    best: Quotes,
    size: jax.Array,
    side: jax.Array,
    place: jax.Array,
    depth: jax.Array,
    inside: jax.Array,
) -> Request:
    """A passive order: inside the spread, at the best price, or behind it."""
    sell = side < (1 + params.lean * jnp.clip(state.flow, -1, 1)) / 2
    room = (best.ask - best.bid - 1).astype(jnp.float32)
    inside_prob = -jnp.expm1(-params.inside_rate * room)
    behind = jnp.minimum((1 - depth) ** (-1 / params.depth_tail), MAX_DEPTH).astype(jnp.int32)
    improve = 1 + jnp.minimum(jnp.floor(inside * room), room - 1).astype(jnp.int32)
    at_best = place < inside_prob + (1 - inside_prob) * params.best_prob
    away = jnp.where(place < inside_prob, -improve, jnp.where(at_best, 0, behind))
    return Request(
        kind=jnp.int32(Kind.LIMIT),
        side=jnp.where(sell, Side.SELL, Side.BUY).astype(jnp.int32),
        price=jnp.where(sell, best.ask + away, best.bid - away),
        size=size,
    )


def _cancel(
    view: MarketView, weights: jax.Array, size: jax.Array, block_draw: jax.Array, draw: jax.Array
) -> Request:
    """A cancel at the price of an order drawn by weight, at most the crowd's volume there."""
    flat = weights.reshape(-1)
    blocks = flat.reshape(-1, BLOCK) if flat.shape[0] % BLOCK == 0 else flat[None]
    block = _draw(blocks.sum(1), block_draw)
    row = blocks[block]
    slot = block * blocks.shape[1] + _draw(row, draw)
    key = view.book.key.reshape(-1)[slot]
    own = view.book.agent_id == view.agent_id
    level = jnp.where((view.book.key == key) & own, view.book.size, 0).sum(dtype=jnp.int32)
    return Request(
        kind=jnp.where(level > 0, Kind.CANCEL, Kind.NONE).astype(jnp.int32),
        side=jnp.where(key < 0, Side.BUY, Side.SELL).astype(jnp.int32),
        price=jnp.abs(key),
        size=jnp.minimum(size, level),
    )


def _draw(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """Index drawn in proportion to non-negative weights `[n]`; never one of weight 0 unless all
    are."""
    cumulative = jnp.cumsum(weights)
    index = (cumulative <= uniform * cumulative[-1]).sum(dtype=jnp.int32)
    last = weights.shape[0] - 1 - jnp.argmax(weights[::-1] > 0).astype(jnp.int32)
    return jnp.minimum(index, last)
