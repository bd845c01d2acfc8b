"""The order model as an agent beside a noise agent, with all it does and reads kept."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles.tiny_world import (
    PRICE,
    Past,
    history_after,
    loud_model,
    quick_jit,
    tiny_converters,
)

from jaxmars import clock
from jaxmars.agents.background import (
    BackgroundParams,
    BackgroundState,
    background_agent,
)
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.agents.policy import Cache, ContextPolicy, Prefix
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.models import OrderNet
from jaxmars.sim.market import step
from jaxmars.sim.state import MarketState, init_market, prepare
from jaxmars.tokens.window import Window
from jaxmars.types import L2, Event

CFG = MarketConfig(slots=128, levels=4)
MODEL = OrderModelConfig.tiny()
WINDOW = MODEL.num_max_orders
GROWTH = 12
SEGMENTS = 8
STEPS = GROWTH * SEGMENTS
RUNS = 3  # the last at temperature zero
MODEL_AGENT, NOISE_AGENT = 0, 1


class Run(NamedTuple):
    """Stacked steps of one run; host arrays."""

    event: Event
    after: L2
    market: MarketState
    hidden: jax.Array  # [STEPS, d], read with the context of that moment


def watched(policy: ContextPolicy) -> ContextPolicy:
    """The same policy with the hidden state it last gave kept beside its cache."""

    def anchor(net: OrderNet, prefix: Prefix, window: Window) -> tuple[Window, Cache]:
        window, cache = policy.anchor(net, prefix, window)
        return window, (cache, jnp.zeros(MODEL.emb_dim))

    def read(
        net: OrderNet, prefix: Prefix, window: Window, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        hidden, inner = policy.read(net, prefix, window, cache[0])
        return hidden, (inner, hidden)

    return policy._replace(anchor=anchor, read=read)


def play(policy: ContextPolicy, past: Past, cfg: OrderModelConfig = MODEL) -> list[Run]:
    """The model agent and a noise agent after a past, `RUNS` times."""
    model = loud_model(cfg)
    soon, late = clock.make_time(past.time.sec), clock.make_time(past.time.sec + 3_600)
    agents = (
        background_agent(model.graphdef, cfg, CFG, watched(policy)),
        noise_agent(soon, late),
    )
    history = history_after(past, WINDOW, CFG)
    crowd_params = BackgroundParams(model.params, tiny_converters().tables(), 1.0)

    @quick_jit
    @functools.partial(jax.vmap, in_axes=(0, 0, None))
    def run(key: jax.Array, temperature: jax.Array, crowd: BackgroundParams) -> Run:
        params = (crowd._replace(temperature=temperature), NoiseParams(PRICE, 0.5))
        market = init_market(
            key,
            params,
            past.book,
            past.time,
            late,
            past.last_price,
            (history, None),
            agents=agents,
            cfg=CFG,
        )
        ready = prepare(params, agents)

        def one(market: MarketState, _: None) -> tuple[MarketState, Run]:
            market, event = step(key, market, ready, agents=agents, cfg=CFG)
            crowd = market.agents[MODEL_AGENT]
            shown = crowd._replace(cache=())
            small = market._replace(agents=(shown, market.agents[NOISE_AGENT]))
            return market, Run(event, market.l2, small, crowd.cache[1])

        def with_crowd(market: MarketState, crowd: BackgroundState) -> MarketState:
            return market._replace(agents=(crowd, market.agents[NOISE_AGENT]))

        def segment(market: MarketState, _: None) -> tuple[MarketState, Run]:
            crowd = agents[MODEL_AGENT]
            refreshed = crowd.refresh(ready[MODEL_AGENT], market.agents[MODEL_AGENT])
            market, runs = jax.lax.scan(one, with_crowd(market, refreshed), None, length=GROWTH)
            return with_crowd(market, crowd.rest(market.agents[MODEL_AGENT])), runs

        found = jax.lax.scan(segment, market, None, length=SEGMENTS)[1]
        return jax.tree.map(lambda x: x.reshape(STEPS, *x.shape[2:]), found)

    temperatures = jnp.array([1.0, 1.0, 0.0])
    keys = jax.random.split(jax.random.key(2), RUNS)
    found = jax.tree.map(np.asarray, run(keys, temperatures, crowd_params))
    return [jax.tree.map(lambda x, i=i: x[i], found) for i in range(RUNS)]
