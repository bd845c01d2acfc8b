"""The reference market "splitting, value and activity" as one agent that is the whole crowd.

A synthetic market with known dynamics that shows nine of Cont's stylized facts. Order splitting
gives long memory of trade signs, value traders a diffusive price and concave impact, slow activity
volatility clustering, and feedback of squared trends the asymmetry of time scales. All rates are
constant between events, so waiting times are exponential and the exact likelihood of every event
is known (`agents.reference_likelihood`).

Prices are ticks, sizes lots, times seconds. Limit and cancel rates scale with the activity `A`, the
trade rate divided by its mean.
"""

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
from jaxmars.agents.reference_plan import draw_plan
from jaxmars.agents.reference_state import (
    NUM_PARENTS,
    Plan,
    ReferenceParams,
    ReferenceState,
    activity,
    quotes,
)
from jaxmars.types import Event, Side, Time

MAX_PARENT = 1000.0  # child orders
MAX_VOLUME_SHARE = 3.0  # clamp of a trade's volume over the average in the flow average
MEAN_VOLUME_RATE = 0.01  # weight of one trade in the average trade volume
START_VOLUME = 6.0  # lots, average trade volume at the start
MINUTE = 60.0


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
        state = state._replace(plan=draw_plan(params, plan_key, state, view, lot))
        return state, state.plan.due

    def act(
        params: ReferenceParams, key: jax.Array, state: ReferenceState, view: MarketView
    ) -> tuple[ReferenceState, Request]:
        del params, key, view
        waiting = state._replace(plan=state.plan._replace(due=clock.never()))
        return waiting, state.plan.request

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
        plan = draw_plan(params, plan_key, moved, view, lot)
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
