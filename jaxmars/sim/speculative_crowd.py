"""The crowd inside a speculative run: an order model's agent whose plans are a small model's.

What `agents.background` keeps, and beside each plan what a verdict on it needs. Both models read
the same window.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmars import clock
from jaxmars.agents.background import (
    BackgroundParams,
    BackgroundState,
    background_agent,
    decode_order,
    largest_volumes,
)
from jaxmars.agents.base import Agent, Decision, MarketView, Request
from jaxmars.agents.policy import ContextPolicy, anchored
from jaxmars.book import mid_price
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.models.decoder import KVCache
from jaxmars.models.heads import NUM_SLOTS
from jaxmars.sim.speculative_orders import VERDICT_DRAWS
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.order import ELAPSED
from jaxmars.tokens.window import History, push_event
from jaxmars.types import Event, Params, Status, Time

PLAN_DRAWS = 7  # uniforms of a plan: four slots, three values inside bins
VERDICT = 1  # folded into the crowd's key of a step


class Net(NamedTuple):
    """A model without its parameters; hashable."""

    graphdef: nnx.GraphDef
    config: OrderModelConfig


class Ready(NamedTuple):
    """The crowd's parameters inside the loop."""

    target: tuple[nnx.GraphDef, nnx.State]  # with the layers' parameters apart
    draft: tuple[nnx.GraphDef, nnx.State]  # likewise
    tables: TokenTables
    temperature: jax.Array  # [] float32


class Proposal(NamedTuple):
    """What a verdict on a drafted plan needs."""

    hidden: jax.Array  # [d of the draft]
    slots: jax.Array  # [4] int32
    values: jax.Array  # [3] float32, uniforms for the values inside bins
    verdict: jax.Array  # [8] float32, uniforms
    most: jax.Array | None  # [types, prices] int32, largest volume slots; None without a limit
    is_new: jax.Array  # [] bool, made in the last step
    finite: jax.Array  # [] bool


class Drafting(NamedTuple):
    """`BackgroundState` inside the loop."""

    history: History
    cache: KVCache  # of the draft
    plan: Request
    wake: Time
    proposal: Proposal


class Crowd(NamedTuple):
    """The agent that drafts, and what belongs to it."""

    agent: Agent
    policies: tuple[ContextPolicy, ContextPolicy]  # of the target, of the draft


def make_crowd(target: Net, draft: Net, market: MarketConfig, growth: int) -> Crowd:
    """The crowd of two models whose contexts grow by `growth` rows."""
    latest = target.config.num_time_rows * target.config.seconds_per_row
    policies = anchored(target.config, growth), anchored(draft.config, growth)

    def update(
        params: Ready,
        key: jax.Array,
        state: Drafting,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        net = nnx.merge(*params.draft)
        is_other = event.agent_id != view.agent_id
        put = policies[0].put
        history = push_event(params.tables, market, state.history, event, view.l2, put, is_other)
        at = last_slot(history)
        last = history.window.rows[at]
        hidden, cache = net.decode(last, at, state.cache)
        uniforms = jax.random.uniform(key, (PLAN_DRAWS,))
        verdict = jax.random.uniform(jax.random.fold_in(key, VERDICT), (VERDICT_DRAWS,))
        mid = mid_price(view.l2, view.last_price)
        limited = target.config.never_sweeps
        most = largest_volumes(params.tables, view.l2, mid) if limited else None
        slots, finite = net.head.sample(hidden, uniforms[:NUM_SLOTS], params.temperature, most)
        proposal = Proposal(hidden, slots, uniforms[NUM_SLOTS:], verdict, most, is_done, finite)
        plan, wake = planned(params.tables, proposal, slots, finite, mid, view.time)
        wake = clock.choose(is_done, wake, state.wake)
        plan = jax.tree.map(lambda new, old: jnp.where(is_done, new, old), plan, state.plan)
        outside = (last[ELAPSED] < 0) | (last[ELAPSED] >= latest)
        status = jnp.where(finite | ~is_done, 0, jnp.int32(Status.BAD_LOGITS))
        status |= jnp.where(outside, jnp.int32(Status.FEATURE_RANGE), 0)
        return Decision(Drafting(history, cache, plan, wake, proposal), wake, status)

    agent = background_agent(target.graphdef, target.config, market, policies[0])
    return Crowd(agent._replace(update=update), policies)


def planned(
    tables: TokenTables,
    proposal: Proposal,
    slots: jax.Array,
    finite: jax.Array,
    mid: jax.Array,
    now: Time,
) -> tuple[Request, Time]:
    """The plan of `slots` with the values that the proposal's uniforms choose, and when it is due:
    never where the logits were not finite."""
    plan, gap = decode_order(tables, slots, proposal.values, mid)
    return plan, clock.choose(finite, clock.plus(now, gap), clock.never())


def prepare_crowd(target: Net, draft: Net, params: BackgroundParams, quick: Params) -> Ready:
    """Parameters of the target and of the draft (`quick`) as the loop takes them."""
    apart = lambda net, p: nnx.split(nnx.merge(net.graphdef, p).unstack())
    temperature = jnp.asarray(params.temperature)
    return Ready(apart(target, params.model), apart(draft, quick), params.tables, temperature)


def anchor_crowd(crowd: Crowd, params: Ready, state: BackgroundState) -> tuple[Drafting, KVCache]:
    """The crowd with fresh contexts, and the target's cache."""
    sure, quick = nnx.merge(*params.target), nnx.merge(*params.draft)
    before = state.history.window
    window, target_cache = crowd.policies[0].anchor(sure, (), before)
    _, cache = crowd.policies[1].anchor(quick, (), before)
    history = state.history._replace(window=window)
    hidden = jax.eval_shape(quick.decode, window.rows[0], window.count, cache)[0]
    zeros = lambda size, dtype: jnp.zeros((size,), dtype)
    config = sure.cfg
    proposal = Proposal(
        hidden=jnp.zeros(hidden.shape, hidden.dtype),
        slots=zeros(NUM_SLOTS, jnp.int32),
        values=zeros(PLAN_DRAWS - NUM_SLOTS, jnp.float32),
        verdict=zeros(VERDICT_DRAWS, jnp.float32),
        most=jnp.zeros(config.slot_shape[:2], jnp.int32) if config.never_sweeps else None,
        is_new=jnp.array(False),
        finite=jnp.array(True),
    )
    return Drafting(history, cache, state.plan, state.wake, proposal), target_cache


def rest_crowd(state: Drafting) -> BackgroundState:
    """What is kept between segments."""
    return BackgroundState(state.history, (), state.plan, state.wake)


def last_slot(history: History) -> jax.Array:
    """Position of the last row, `[]` int32."""
    return jnp.maximum(history.window.count - 1, 0)
