"""The compiled loop: many events of one trajectory, many trajectories at once."""

import functools

import jax
from jax import lax

from jaxmars.agents.base import Agent
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.sim.market import Recorder, no_recorder, step
from jaxmars.sim.state import MarketState, prepare
from jaxmars.types import L2, Event, Params

Trajectory = Event  # stacked over a leading time axis


def rollout(
    key: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: SimConfig,
    num_events: int,
    recorder: Recorder = no_recorder,
) -> tuple[MarketState, Trajectory]:
    """Runs one trajectory for `num_events` steps in one scan.

    Agents refresh at the start and after every `cfg.segment` steps, and rest after each segment.

    Args:
      key: the trajectory's key; the same key gives the same events however the run is cut into
        segments of whole multiples of `cfg.segment`.
      market: start.
      params: one pytree per agent.
      agents: who trades.
      cfg: the run.
      num_events: steps; a multiple of `cfg.segment`, or fewer than it.
      recorder: `(record, event) -> record`, pure; starts from and ends in `MarketState.record`.

    Returns:
      The market after them and the events, `[num_events]`.
    """
    length = min(cfg.segment, num_events)
    if num_events % length:
        raise ValueError(
            f"num_events must be a multiple of the segment of {cfg.segment}, got {num_events}"
        )

    params = prepare(params, agents)

    def one(market: MarketState, _: None) -> tuple[MarketState, Event]:
        return step(key, market, params, agents=agents, cfg=cfg.market, recorder=recorder)

    def segment(market: MarketState, _: None) -> tuple[MarketState, Trajectory]:
        fresh = tuple(
            agent.refresh(p, state)
            for agent, p, state in zip(agents, params, market.agents, strict=True)
        )
        market, events = lax.scan(one, market._replace(agents=fresh), None, length=length)
        pairs = zip(agents, market.agents, strict=True)
        return market._replace(agents=tuple(agent.rest(state) for agent, state in pairs)), events

    if num_events == length:
        return segment(market, None)
    market, events = lax.scan(segment, market, None, length=num_events // length)
    return market, jax.tree.map(lambda x: x.reshape(num_events, *x.shape[2:]), events)


@functools.partial(jax.jit, static_argnames=("agents", "cfg", "num_events", "recorder"))
def simulate(
    keys: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: SimConfig,
    num_events: int,
    recorder: Recorder = no_recorder,
) -> tuple[MarketState, Trajectory]:
    """`rollout` for a batch: keys `[B]`, every leaf of `market` `[B, …]`, params shared.

    Returns:
      Markets `[B, …]` and events `[B, num_events]`.
    """
    run = functools.partial(
        rollout, agents=agents, cfg=cfg, num_events=num_events, recorder=recorder
    )
    return jax.vmap(run, in_axes=(0, 0, None))(keys, market, params)


def record(
    key: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
    num_events: int,
) -> tuple[MarketState, tuple[Trajectory, L2]]:
    """One scan of `num_events` steps that also keeps the snapshot after every event.

    Agents do not refresh: for agents that need none.

    Returns:
      The market, and events with snapshots, `[num_events, …]`.
    """

    params = prepare(params, agents)

    def one(market: MarketState, _: None) -> tuple[MarketState, tuple[Event, L2]]:
        market, event = step(key, market, params, agents=agents, cfg=cfg)
        return market, (event, market.l2)

    return lax.scan(one, market, None, length=num_events)
