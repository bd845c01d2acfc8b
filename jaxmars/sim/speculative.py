"""Speculative decoding: a small model drafts several orders, the large one checks them in one pass.

The model's view of an order depends on what the order did to the book, so a draft cannot be checked
before it has been executed. A *round* therefore begins with a plan that is already the target's:

1. The planned order goes through the market (`sim.market.step`, with all other agents), the draft
   model reads the row it made and plans the next one, and so on, `drafts + 1` events in all.
2. The target reads the rows of all of them in one pass (`OrderNet.extend`).
3. After each event the drafted plan is kept or corrected (`sim.speculative_orders`). The market
   goes back to the first event after which the plan was corrected, and goes on with that plan.

So a round makes 1 to `drafts + 1` events, each distributed as if the target had planned alone: step
n draws from its key and n only, and what is thrown away is never looked at. Rows that merged
cancels rewrite, events without a row and events of other agents are steps without a draft to check.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxmars import clock
from jaxmars.agents.background import BackgroundState
from jaxmars.agents.base import Agent
from jaxmars.book import mid_price
from jaxmars.config import MarketConfig
from jaxmars.models.decoder import KVCache
from jaxmars.models.heads import NUM_SLOTS
from jaxmars.sim.market import step
from jaxmars.sim.speculative_crowd import (
    Crowd,
    Drafting,
    Net,
    Proposal,
    Ready,
    anchor_crowd,
    last_slot,
    make_crowd,
    planned,
    prepare_crowd,
    rest_crowd,
)
from jaxmars.sim.speculative_orders import VERIFY, Verdict
from jaxmars.sim.state import MarketState, queue_wake, row
from jaxmars.types import Event, Params, Status

CROWD = 0  # place among the agents
UNJUDGED = -1
"""In `Rounds.kept`: no draft was checked after this event."""


@dataclasses.dataclass(frozen=True)
class Speculation:
    """Everything static about a speculative run.

    Attributes:
      target: the model whose orders these are.
      draft: the model that proposes; it has the same window, slots and kind of head.
      market: the instrument.
      drafts: drafted orders that a round executes before they are checked, at least 1.
      growth: rows between anchors at most: contexts are the W - growth … W most recent orders, as
        with `agents.policy.anchored(growth)`.
      rounds: rounds between anchors. A trajectory without room for a whole round waits for the next
        anchor, so up to growth / (orders per round) of them do something.
    """

    target: Net
    draft: Net
    market: MarketConfig
    drafts: int
    growth: int
    rounds: int

    def __post_init__(self) -> None:
        target, draft = self.target.config, self.draft.config
        for name in ("num_max_orders", "slot_shape", "head"):
            if getattr(target, name) != getattr(draft, name):
                raise ValueError(
                    f"the models of a speculation must have the same {name}, got "
                    f"{getattr(target, name)} and {getattr(draft, name)}"
                )
        for name in ("drafts", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"speculation {name} must be positive, got {getattr(self, name)}")
        if self.growth < self.events:
            raise ValueError(
                f"speculation growth must hold a round of {self.events} events, got {self.growth}"
            )

    @property
    def events(self) -> int:
        """Events of a round in which everything is kept."""
        return self.drafts + 1


class Rounds(NamedTuple):
    """What happened, `[rounds, drafts + 1]`; the events of a trajectory are those that are real."""

    events: Event
    is_real: jax.Array  # bool, not thrown away
    kept: jax.Array  # int32, attributes (0 to 4) kept of the order drafted after this event


class _Last(NamedTuple):
    """The last slot of both contexts; those before it do not change any more."""

    row: jax.Array  # [columns] int32
    cache: KVCache  # of the draft, one slot


class _Carry(NamedTuple):
    """Between rounds. What a round adds to the target's cache is written before the next one reads
    it: written after being read, the cache would be copied every time."""

    market: MarketState
    last: _Last
    cache: KVCache  # of the target
    added: KVCache  # of the target, the rows of the last round, drafts + 1 slots
    slots: jax.Array  # [drafts + 1] int32, where they belong; beyond the cache if nowhere


def speculate(
    key: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    draft_params: Params,
    *,
    cfg: Speculation,
    num_rounds: int,
    others: tuple[Agent, ...] = (),
) -> tuple[MarketState, Rounds]:
    """Runs one trajectory for `num_rounds` rounds. Map over trajectories with `jax.vmap`.

    A logit of either model that is not finite stops the crowd for good and sets `BAD_LOGITS`.

    Args:
      key: the trajectory's key, as for `rollout`.
      market: a state that `init_market` or `rollout` made with `background_agent` of the target as
        its first agent.
      params: `BackgroundParams` of the target, then one pytree per other agent.
      draft_params: of the draft model.
      cfg: the run.
      num_rounds: a multiple of `cfg.rounds`, or fewer.
      others: the agents after the crowd. Each round keeps `drafts + 1` copies of their states.

    Returns:
      The market after them, and the rounds.

    Raises:
      ValueError: the first agent of the market is not the crowd, or `num_rounds` does not fit.
    """
    length = min(cfg.rounds, num_rounds)
    if num_rounds % length:
        raise ValueError(
            f"num_rounds must be a multiple of the {cfg.rounds} between anchors, got {num_rounds}"
        )
    if not isinstance(market.agents[CROWD], BackgroundState):
        raise ValueError("the first agent of a speculative market must be an order model")
    crowd = make_crowd(cfg.target, cfg.draft, cfg.market, cfg.growth)
    agents = (crowd.agent, *others)
    ready = (
        prepare_crowd(cfg.target, cfg.draft, params[CROWD], draft_params),
        *(agent.prepare(p) for agent, p in zip(others, params[1:], strict=True)),
    )

    def one(carry: _Carry, _: None) -> tuple[_Carry, Rounds]:
        return _round(key, carry, ready, agents, cfg)

    def segment(market: MarketState, _: None) -> tuple[MarketState, Rounds]:
        carry = _anchor(market, ready, crowd, others, cfg)
        carry, rounds = lax.scan(one, carry, None, length=length)
        return _rest(carry.market, others), rounds

    if num_rounds == length:
        return segment(market, None)
    market, rounds = lax.scan(segment, market, None, length=num_rounds // length)
    return market, jax.tree.map(lambda x: x.reshape(num_rounds, *x.shape[2:]), rounds)


def _anchor(
    market: MarketState,
    params: tuple[Params, ...],
    crowd: Crowd,
    others: tuple[Agent, ...],
    cfg: Speculation,
) -> _Carry:
    """The market with refreshed agents, and nothing to be written."""
    drafting, cache = anchor_crowd(crowd, params[CROWD], market.agents[CROWD])
    pairs = zip(others, params[1:], market.agents[1:], strict=True)
    fresh = (agent.refresh(p, state) for agent, p, state in pairs)
    market = market._replace(agents=(drafting, *fresh))
    nowhere = jnp.full((cfg.events,), cache.slots, jnp.int32)
    return _Carry(market, _last(market), cache, cache.cut(0, cfg.events), nowhere)


def _rest(market: MarketState, others: tuple[Agent, ...]) -> MarketState:
    """The market with what its agents keep between segments."""
    pairs = zip(others, market.agents[1:], strict=True)
    resting = (agent.rest(state) for agent, state in pairs)
    return market._replace(agents=(rest_crowd(market.agents[CROWD]), *resting))


def _round(
    key: jax.Array,
    carry: _Carry,
    params: tuple[Params, ...],
    agents: tuple[Agent, ...],
    cfg: Speculation,
) -> tuple[_Carry, Rounds]:
    """Drafts, checks, and goes back to the last event that stands."""
    market = carry.market
    window = market.agents[CROWD].history.window
    room = window.count + cfg.events <= window.rows.shape[0]

    def one(market: MarketState, _: None) -> tuple[MarketState, tuple]:
        market, event = step(key, market, params, agents=agents, cfg=cfg.market)
        return market, (_without_context(market), _last(market), event)

    end, (markets, lasts, events) = lax.scan(one, market, None, length=cfg.events)
    drafted: Drafting = markets.agents[CROWD]
    positions = last_slot(drafted.history)
    cache = carry.cache.written(carry.slots, carry.added)
    net = nnx.merge(*params[CROWD].target)
    hidden, added = net.extend(lasts.row, positions, cache)
    verdicts = _verdicts(params[CROWD], hidden, drafted.proposal, cfg)

    turn = jnp.arange(cfg.events)
    stands = ~drafted.proposal.is_new | ((verdicts.kept == NUM_SLOTS) & verdicts.finite)
    length = jnp.where(room, 1 + jnp.cumprod(stands[:-1]).sum(dtype=jnp.int32), 0)
    is_real = turn < length
    at = jnp.maximum(length - 1, 0)
    settled, last, verdict = jax.tree.map(lambda x: x[at], (markets, lasts, verdicts))
    settled, trouble = _settle(settled, verdict, params[CROWD], agents[CROWD], cfg)
    begun = _without_context(market), carry.last
    pick = lambda new, old: jnp.where(room, new, old)
    settled, last = jax.tree.map(pick, (settled, last), begun)
    market = _with_context(settled, end, last)

    final = is_real & ((turn == at) | (jnp.roll(positions, -1) != positions))
    slots = jnp.where(final, positions, cache.slots)
    status = events.status | jnp.where(is_real & (turn == at), trouble, 0)
    kept = jnp.where(is_real & drafted.proposal.is_new, verdicts.kept, UNJUDGED)
    rounds = Rounds(events._replace(status=status), is_real, kept)
    return _Carry(market, last, cache, added, slots), rounds


def _verdicts(params: Ready, hidden: jax.Array, proposals: Proposal, cfg: Speculation) -> Verdict:
    """On all proposals of a round, from the target's hidden states `[drafts + 1, d]`."""
    target = nnx.merge(*params.target).head
    draft = nnx.merge(*params.draft).head
    verify = VERIFY[cfg.target.config.head]

    def one(hidden: jax.Array, proposal: Proposal) -> Verdict:
        verdict = verify(
            target,
            draft,
            hidden,
            proposal.hidden,
            proposal.slots,
            proposal.verdict,
            params.temperature,
            proposal.most,
        )
        return verdict._replace(finite=verdict.finite & proposal.finite)

    return jax.vmap(one)(hidden, proposals)


def _settle(
    market: MarketState, verdict: Verdict, params: Ready, agent: Agent, cfg: Speculation
) -> tuple[MarketState, jax.Array]:
    """The market with the plan that the verdict leaves, if one was drafted in its last step, and
    status bits."""
    state: Drafting = market.agents[CROWD]
    is_new = state.proposal.is_new
    mid = mid_price(market.l2, market.last_price)
    plan, due = planned(
        params.tables, state.proposal, verdict.slots, verdict.finite, mid, market.time
    )
    delay = row(market.delay.communication, CROWD)
    wake = queue_wake(cfg.market, agent, market.time, due, delay)
    wake = clock.choose(is_new, wake, row(market.wake, CROWD))
    plan = jax.tree.map(lambda new, old: jnp.where(is_new, new, old), plan, state.plan)
    state = state._replace(plan=plan, wake=clock.choose(is_new, due, state.wake))
    trouble = jnp.where(is_new & ~verdict.finite, jnp.int32(Status.BAD_LOGITS), 0)
    market = market._replace(
        agents=(state, *market.agents[1:]),
        wake=jax.tree.map(lambda times, time: times.at[CROWD].set(time), market.wake, wake),
        status=market.status | trouble,
    )
    return market, trouble


def _last(market: MarketState) -> _Last:
    """The last slot of the crowd's contexts."""
    state: Drafting = market.agents[CROWD]
    at = last_slot(state.history)
    return _Last(state.history.window.rows[at], state.cache.taken(at[None]))


def _without_context(market: MarketState) -> MarketState:
    """The market without the arrays of the crowd that are as long as the window."""
    return _with_arrays(market, (), ())


def _with_context(market: MarketState, end: MarketState, last: _Last) -> MarketState:
    """A market of a round with its context again, from the one at the end of the round."""
    state: Drafting = end.agents[CROWD]
    at = last_slot(market.agents[CROWD].history)
    rows = state.history.window.rows.at[at].set(last.row)
    return _with_arrays(market, rows, state.cache.written(at[None], last.cache))


def _with_arrays(market: MarketState, rows: Any, cache: Any) -> MarketState:
    state: Drafting = market.agents[CROWD]
    window = state.history.window._replace(rows=rows)
    history = state.history._replace(window=window)
    return market._replace(
        agents=(state._replace(history=history, cache=cache), *market.agents[1:])
    )
