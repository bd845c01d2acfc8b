"""A crowd that drafts its orders beside one that does not, in one world."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from oracles.tiny_world import (
    PRICE,
    Past,
    history_after,
    loud_model,
    quick_jit,
    tiny_converters,
)

from jaxmars import clock
from jaxmars.agents.background import BackgroundParams, background_agent
from jaxmars.agents.base import Agent
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.agents.policy import anchored
from jaxmars.config import MarketConfig, OrderModelConfig, SimConfig
from jaxmars.sim.rollout import rollout
from jaxmars.sim.speculative import Rounds, Speculation, speculate
from jaxmars.sim.speculative_crowd import Net
from jaxmars.sim.state import MarketState, init_market
from jaxmars.types import Event, Params

CFG = MarketConfig(slots=128, levels=4)
TINY = OrderModelConfig.tiny()
FACTORED = dataclasses.replace(TINY, head="factored")
WINDOW = TINY.num_max_orders
GROWTH, DRAFTS, ROUNDS = 12, 2, 8
RUNS = 384
CROWD, NOISE = 0, 1


class Model(NamedTuple):
    """A model as compiled code sees it."""

    params: Params
    net: Net


def loud(config: OrderModelConfig, seed: int) -> Model:
    model = loud_model(config, seed)
    return Model(model.params, Net(model.graphdef, config))


TARGET, OTHER = loud(FACTORED, 1), loud(FACTORED, 5)
KEYS = jax.random.split(jax.random.key(4), RUNS)


class World(NamedTuple):
    """Compiled calls; a crowd and, if it is awake, a noise agent."""

    others: tuple[Agent, ...]
    begin: Callable[..., MarketState]  # (keys, awake) -> markets
    plain: Callable[..., tuple[MarketState, Event]]  # (keys, markets, params), one segment
    drafted: Callable[..., tuple[MarketState, Rounds]]  # (keys, markets, params, draft's), one too


def params_of(model: Params, temperature: float = 1.0) -> tuple[Params, ...]:
    crowd = BackgroundParams(model, tiny_converters().tables(), jnp.float32(temperature))
    return crowd, NoiseParams(PRICE, 0.5)


def world_of(past: Past) -> World:
    soon, late = clock.make_time(past.time.sec), clock.make_time(past.time.sec + 3_600)
    noise = noise_agent(soon, late)
    agents = (
        background_agent(TARGET.net.graphdef, FACTORED, CFG, anchored(FACTORED, GROWTH)),
        noise,
    )
    history = history_after(past, WINDOW, CFG)
    spec = Speculation(TARGET.net, OTHER.net, CFG, DRAFTS, GROWTH, ROUNDS)
    cfg = SimConfig(CFG, segment=GROWTH)

    def begin(key: jax.Array, awake: jax.Array) -> MarketState:
        market = init_market(
            key,
            params_of(TARGET.params),
            past.book,
            past.time,
            late,
            past.last_price,
            (history, None),
            agents=agents,
            cfg=CFG,
        )
        crowd, other = market.agents
        wake = clock.choose(awake, other.wake, clock.never())
        wakes = jax.tree.map(lambda x, y: x.at[NOISE].set(y), market.wake, wake)
        return market._replace(wake=wakes, agents=(crowd, other._replace(wake=wake)))

    plain = functools.partial(rollout, agents=agents, cfg=cfg, num_events=GROWTH)
    drafted = functools.partial(speculate, cfg=spec, num_rounds=ROUNDS, others=(noise,))
    return World(
        (noise,),
        quick_jit(jax.vmap(begin, (0, None))),
        quick_jit(jax.vmap(plain, (0, 0, None))),
        quick_jit(jax.vmap(drafted, (0, 0, None, None))),
    )
