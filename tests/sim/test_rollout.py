"""Rollouts: batches against single runs, segments, keys, and what `record` keeps."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import OPEN, PRICE, quick_jit, rows_equal

from jaxmars import clock
from jaxmars.agents.base import Agent
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.book import init_book, l2_snapshot
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.sim.rollout import record, rollout, simulate
from jaxmars.sim.state import MarketState, init_market
from jaxmars.types import Params

CFG = SimConfig(MarketConfig(slots=32, levels=2), segment=10)
EVENTS = 40
END = OPEN + 60
PARAMS = (NoiseParams(PRICE, 1.0),)
PLAIN = noise_agent(clock.make_time(OPEN), clock.make_time(END))


def count_refreshes(agent: Agent) -> Agent:
    """The same agent with the number of its refreshes in its state."""

    def init(*args: Params) -> tuple:
        state, wake = agent.init(*args)
        return (state, jnp.int32(0)), wake

    def update(params: Params, key: jax.Array, state: tuple, *rest: Params) -> Params:
        decision = agent.update(params, key, state[0], *rest)
        return decision._replace(state=(decision.state, state[1]))

    def act(params: Params, key: jax.Array, state: tuple, view: Params) -> tuple:
        inner, request = agent.act(params, key, state[0], view)
        return (inner, state[1]), request

    return agent._replace(
        init=init,
        act=act,
        update=update,
        refresh=lambda params, state: (state[0], state[1] + 1),
    )


AGENTS = (count_refreshes(PLAIN),)


def start(key: jax.Array, seconds: jax.Array) -> MarketState:
    """A market that opens `seconds` after the agent does."""
    return init_market(
        key,
        PARAMS,
        init_book(CFG.market.slots),
        clock.make_time(OPEN + seconds),
        clock.make_time(END),
        jnp.int32(0),
        (None,),
        agents=AGENTS,
        cfg=CFG.market,
    )


batch = jax.jit(jax.vmap(start))
KEYS = jax.random.split(jax.random.key(6), 3)
run = functools.partial(simulate, agents=AGENTS, cfg=CFG, num_events=EVENTS)


@pytest.fixture(scope="module")
def markets() -> MarketState:
    """Three different starts."""
    return batch(KEYS, jnp.array([0, 40, 20]))


@pytest.fixture(scope="module")
def mixed(markets: MarketState) -> tuple:
    return jax.tree.map(np.asarray, run(KEYS, markets, PARAMS))


@pytest.fixture(scope="module")
def single(markets: MarketState) -> tuple:
    """The first row alone, without a batch axis, and its snapshots."""
    alone = jax.tree.map(lambda x: x[0], (KEYS, markets))
    kept = functools.partial(record, agents=AGENTS, cfg=CFG.market, num_events=EVENTS)
    one = functools.partial(rollout, agents=AGENTS, cfg=CFG, num_events=EVENTS)

    @quick_jit
    def both(key: jax.Array, market: MarketState) -> tuple:
        return one(key, market, PARAMS), kept(key, market, PARAMS)

    return jax.tree.map(np.asarray, both(*alone))


def test_a_row_of_a_batch_equals_its_run_alone(mixed: tuple, single: tuple) -> None:
    row = jax.tree.map(lambda x: x[0], mixed)
    assert rows_equal(row, single[0])


def test_the_same_key_gives_the_same_and_another_key_does_not(
    markets: MarketState, mixed: tuple
) -> None:
    again = run(KEYS, markets, PARAMS)
    assert rows_equal(again, mixed)
    swapped = jax.tree.map(np.asarray, run(KEYS[::-1], markets, PARAMS))
    for i in range(3):
        old, new = (jax.tree.map(lambda x, i=i: x[i], events) for events in (mixed[1], swapped[1]))
        assert rows_equal(old, new) == (i == 1)  # the middle one kept its key


def test_other_rows_do_not_matter(markets: MarketState, mixed: tuple) -> None:
    """The first row stays, the others change places."""
    order = np.array([0, 2, 1])
    moved = run(KEYS[order], jax.tree.map(lambda x: x[order], markets), PARAMS)
    assert rows_equal(moved, jax.tree.map(lambda x: x[order], mixed))


def test_agents_refresh_once_per_segment(mixed: tuple, single: tuple) -> None:
    assert mixed[0].agents[0][1].tolist() == [EVENTS // CFG.segment] * 3
    assert single[1][0].agents[0][1] == 0  # `record` does not


def test_segments_do_not_matter_to_agents_that_keep_nothing(single: tuple) -> None:
    whole = dataclasses.replace(CFG, segment=2 * EVENTS)
    one = functools.partial(rollout, agents=AGENTS, cfg=whole, num_events=EVENTS)
    market = start(KEYS[0], jnp.int32(0))
    _, events = quick_jit(lambda key, market: one(key, market, PARAMS))(KEYS[0], market)
    assert rows_equal(events, single[0][1])


def test_record_keeps_the_snapshot_after_every_event(single: tuple) -> None:
    (market, events), (again, (recorded, snapshots)) = single
    assert rows_equal(events, recorded)
    assert rows_equal(market.book, again.book)
    assert snapshots.price[:, 0, 0].tolist() == events.best_bid.tolist()
    assert snapshots.price[:, 1, 0].tolist() == events.best_ask.tolist()
    last = l2_snapshot(jax.tree.map(jnp.asarray, market.book), CFG.market.levels)
    assert rows_equal(jax.tree.map(lambda x: x[-1], snapshots), last)


def test_the_number_of_events_is_whole_segments() -> None:
    with pytest.raises(ValueError, match="multiple of the segment of 10, got 25"):
        rollout(
            KEYS[0],
            start(KEYS[0], jnp.int32(0)),
            PARAMS,
            agents=AGENTS,
            cfg=CFG,
            num_events=25,
        )
