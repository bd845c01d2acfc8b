"""How much device memory trajectories take, computed from shapes before anything runs."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.agents.base import Agent
from jaxmars.config import SimConfig
from jaxmars.sim import lane_programs as programs
from jaxmars.sim.lane_programs import Start, World
from jaxmars.sim.market import no_recorder
from jaxmars.sim.state import MarketState, prepare
from jaxmars.types import Params

STATE_COPIES = 3  # of the state of a lane while one is refilled: old, fresh and new
EVENT_COPIES = 2  # of the events of a segment: those that the host has not fetched yet, and new


class LaneMemory(NamedTuple):
    """Bytes on one device."""

    state: int  # of one trajectory, kept between segments
    context: int  # of one trajectory within a segment: what agents make when they refresh
    events: int  # of one trajectory in a segment
    fixed: int  # of all: parameters as they come and as they are prepared, starts

    @property
    def lane(self) -> int:
        """All that one more trajectory takes."""
        return STATE_COPIES * self.state + self.context + EVENT_COPIES * self.events


def lane_memory(
    starts: Start, params: tuple[Params, ...], agents: tuple[Agent, ...], cfg: SimConfig
) -> LaneMemory:
    """Memory of trajectories with lanes of their own; nothing is allocated.

    Args:
      starts: leading axis `[starts]`.
      params: one pytree per agent.
      agents: who trades.
      cfg: the run.
    """
    return _memory(World(agents, cfg, no_recorder), agents, starts, params)


def opening_memory(
    starts: Start, params: tuple[Params, ...], agents: tuple[Agent, ...], cfg: SimConfig
) -> LaneMemory | None:
    """`lane_memory` of trajectories in the first segment they share; None if they share none."""
    world = World(agents, cfg, no_recorder)
    if world.opening is None:
        return None
    start = jax.eval_shape(lambda starts: jax.tree.map(lambda x: x[0], starts), starts)
    pairs = zip(world.opening, params, start.memories, strict=True)
    common = tuple(agent.share(p, memory) for agent, p, memory in pairs)
    return _memory(world, world.opening, starts, common)


def _memory(
    world: World, agents: tuple[Agent, ...], starts: Start, params: tuple[Params, ...]
) -> LaneMemory:
    key = jax.eval_shape(lambda: jax.random.key(0))

    def one(key: jax.Array, starts: Start, params: tuple[Params, ...]) -> MarketState:
        start = jax.tree.map(lambda x: x[0], starts)
        return programs.market_at(world, key, start, params, ())

    def refreshed(market: MarketState, params: tuple[Params, ...]) -> tuple[Any, ...]:
        triples = zip(agents, params, market.agents, strict=True)
        return tuple(agent.refresh(p, state) for agent, p, state in triples)

    market = jax.eval_shape(one, key, starts, params)
    ready = jax.eval_shape(functools.partial(prepare, agents=agents), params)
    active = jax.eval_shape(refreshed, market, ready)
    run = programs.one_segment(world, agents)
    events = jax.eval_shape(run, key, market, params)[1]
    return LaneMemory(
        state=_bytes(market),
        context=_bytes(active) - _bytes(market.agents),
        events=_bytes(events),
        fixed=_bytes((params, ready)) // world.cfg.model_devices + _bytes(starts),
    )


def _bytes(tree: Any) -> int:
    """Of all arrays or shapes in a tree."""
    shapes = jax.tree.leaves(jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), tree))
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in shapes)
