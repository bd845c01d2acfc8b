"""Markets run to a moment and stopped there, to go on later."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.agents.base import Agent
from jaxmars.config import SimConfig
from jaxmars.sim.lanes import real_events
from jaxmars.sim.rollout import Trajectory, simulate
from jaxmars.sim.state import MarketState
from jaxmars.types import Params, Time


def run_until(
    keys: jax.Array,
    markets: MarketState,
    params: tuple[Params, ...],
    until: Time,
    *,
    agents: tuple[Agent, ...],
    cfg: SimConfig,
) -> tuple[MarketState, list[Trajectory]]:
    """Runs a batch until everything up to a moment has happened; the clock then shows that moment.

    Args:
      keys: `[B]`, as in `simulate`.
      markets: `[B]`.
      params: one pytree per agent.
      until: `[]`, included; not before the markets' time.
      agents: who trades.
      cfg: its segment is the number of steps per compiled call.

    Returns:
      Markets `[B]`, and the events of each on the host; those of kind NONE and without status are
      left out.
    """
    return _go_on(keys, _bound_for(until, markets), params, agents, cfg, [])


def run_futures(
    keys: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    until: Time,
    *,
    agents: tuple[Agent, ...],
    cfg: SimConfig,
) -> tuple[MarketState, list[Trajectory]]:
    """`run_until` of several futures of one market.

    What the futures have in common is read once for all of them in their first segment, by agents
    that gain from it (`Agent.opening`).

    Args:
      keys: `[B]`, one per future.
      market: unbatched.
      params: one pytree per agent.
      until: `[]`, included; not before the market's time.
      agents: who trades.
      cfg: as for `run_until`.

    Returns:
      As `run_until`.
    """
    spread = lambda x: jnp.broadcast_to(x, (keys.shape[0], *x.shape))
    markets = _bound_for(until, jax.tree.map(spread, market))
    if all(agent.opening is None for agent in agents):
        return _go_on(keys, markets, params, agents, cfg, [])
    openers = tuple(agent.opening or agent for agent in agents)
    trios = zip(openers, params, market.agents, strict=True)
    common = tuple(agent.share(p, agent.recall(state)) for agent, p, state in trios)
    markets, events = simulate(
        keys, markets, common, agents=openers, cfg=cfg, num_events=cfg.segment
    )
    return _go_on(keys, markets, params, agents, cfg, [jax.device_get(events)])


def _bound_for(until: Time, markets: MarketState) -> MarketState:
    """Markets that stop at a moment."""
    num = markets.done.shape[0]
    moment = jax.tree.map(lambda x: jnp.broadcast_to(x, (num,)), until)
    return markets._replace(end=moment, done=jnp.zeros(num, bool))


def _go_on(
    keys: jax.Array,
    markets: MarketState,
    params: tuple[Params, ...],
    agents: tuple[Agent, ...],
    cfg: SimConfig,
    parts: list[Trajectory],
) -> tuple[MarketState, list[Trajectory]]:
    """Segment after segment until all markets have stopped; `parts` are those so far."""
    while not parts or not np.asarray(markets.done).all():
        markets, events = simulate(
            keys, markets, params, agents=agents, cfg=cfg, num_events=cfg.segment
        )
        parts.append(jax.device_get(events))
    whole = jax.tree.map(lambda *x: np.concatenate(x, 1), *parts)
    each = real_events(whole, np.full(keys.shape[0], whole.kind.shape[1]))
    return markets._replace(time=markets.end), each
