"""The reference market and that of an order model, to go on from the same warm moments."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from jaxmars.agents.base import Agent
from jaxmars.agents.policy import anchored
from jaxmars.agents.reference import ReferenceParams
from jaxmars.book import with_slots
from jaxmars.config import SimConfig
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.forecast import crowd, needed_orders
from jaxmars.tasks.verify_starts import Warm, generator_start, model_start, resumed_agent
from jaxmars.types import Params

SEGMENT = 512  # events per compiled call of the reference market
MAX_EVENTS = 65_536  # of one trajectory; eight times the mean activity for 26 minutes

MODEL_SLOTS = 512  # orders a side of a model's book can hold: it may leave more than its generator


class World(NamedTuple):
    """A market and where it goes on from."""

    agent: Agent  # the crowd
    params: Params
    starts: Start  # memories of the crowd and of those who join it
    start_mid: np.ndarray  # [starts] float64, ticks
    begins: int  # seconds since midnight, of all starts
    cfg: SimConfig


def generator_world(
    warm: Warm, *, seconds: int, others: int, lanes: int, params: ReferenceParams | None = None
) -> World:
    """The reference market from its own hidden states.

    Args:
      warm: the moments.
      seconds: for how long.
      others: agents that join the crowd, without a memory.
      lanes: trajectories side by side on one device.
      params: of the market that was warmed up; the default ones without.
    """
    market = reference_market()
    return World(
        agent=resumed_agent(market.lot_size),
        params=params or ReferenceParams(),
        starts=generator_start(warm, seconds, others),
        start_mid=warm.mid,
        begins=int(warm.sec[0]),
        cfg=SimConfig(market=market, segment=SEGMENT, lanes=lanes, max_events=MAX_EVENTS),
    )


def model_world(warm: Warm, model: OrderModel, *, seconds: int, others: int, lanes: int) -> World:
    """The market of an order model that reads an anchored context of half its window or more.

    Args:
      warm: the moments.
      model: with converters.
      seconds: for how long.
      others: agents that join the crowd, without a memory.
      lanes: trajectories side by side on one device.

    Raises:
      InputError: no converters, or too few orders before a start.
    """
    market = dataclasses.replace(reference_market(), slots=MODEL_SLOTS)
    policy = anchored(model.config, model.config.num_max_orders // 2)
    agent, params = crowd(model, policy, market, 1.0)
    starts = model_start(warm, model, market, needed_orders(model, policy), seconds, others)
    wider = jax.jit(jax.vmap(lambda book: with_slots(book, MODEL_SLOTS)))
    return World(
        agent=agent,
        params=params,
        starts=starts._replace(book=wider(starts.book)),
        start_mid=warm.mid,
        begins=int(warm.sec[0]),
        cfg=SimConfig(market=market, segment=policy.segment, lanes=lanes, max_events=MAX_EVENTS),
    )


def run_world(
    world: World, seed: int, watch: Callable[[Pace], None] = lambda pace: None
) -> list[Finished]:
    """The crowd alone, one trajectory from each start, in their order.

    Args:
      world: without others.
      seed: of all draws.
      watch: called after every segment.
    """
    paths = np.arange(len(world.start_mid))
    run = run_lanes(
        seed,
        paths,
        paths.astype(np.int32),
        world.starts,
        (world.params,),
        agents=(world.agent,),
        cfg=world.cfg,
        watch=watch,
    )
    return sorted(run, key=lambda trajectory: trajectory.number)
