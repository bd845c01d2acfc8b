"""Markets run to a moment, and futures of one market side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lane_runs import AGENT, CFG, HEALTHY, SHARING, make_params, make_starts
from oracles.tiny_world import rows_equal

from jaxmars import clock
from jaxmars.agents.background import BackgroundParams
from jaxmars.agents.base import Agent
from jaxmars.sim.lane_programs import World, market_at
from jaxmars.sim.market import no_recorder
from jaxmars.sim.run import run_futures, run_until
from jaxmars.sim.state import MarketState
from jaxmars.tokens.window import History
from jaxmars.types import Time

FUTURES = 5
PARAMS = (make_params(),)


def later(market: MarketState, seconds: int) -> Time:
    return clock.plus(market.time, clock.make_time(seconds))


@pytest.fixture(scope="module")
def begun() -> MarketState:
    """A market of the model twelve seconds after its start, so in the middle of its orders."""
    start = jax.tree.map(lambda x: x[HEALTHY], make_starts())
    key = jax.random.key(1)
    market = market_at(World((AGENT,), CFG, no_recorder), key, start, PARAMS, ())
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], market)
    until = later(market, 12)
    ended, (events,) = run_until(key[None], one, PARAMS, until, agents=(AGENT,), cfg=CFG)
    assert len(events.order_id) > CFG.segment
    return jax.tree.map(lambda x: x[0], ended)


@pytest.mark.parametrize("agent", [AGENT, SHARING])
def test_futures_are_the_market_run_alone(begun: MarketState, agent: Agent) -> None:
    """With the past read once for all of them too: the draws are the same, the contexts alike."""
    keys = jax.random.split(jax.random.key(2), FUTURES)
    until = later(begun, 30)
    ended, found = run_futures(keys, begun, PARAMS, until, agents=(agent,), cfg=CFG)
    assert np.asarray(clock.same(ended.time, until)).all()
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (FUTURES, *x.shape)), begun)
    _, expected = run_until(keys, many, PARAMS, until, agents=(AGENT,), cfg=CFG)
    assert len({len(events.order_id) for events in found}) > 1, "the futures differ"
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine.order_id) > 2 * CFG.segment
        jax.tree.map(np.testing.assert_array_equal, mine, theirs)


def test_what_futures_share_is_what_the_market_remembers(begun: MarketState) -> None:
    asked, opening = [], SHARING.opening
    assert opening is not None
    alone = opening.share

    def share(params: BackgroundParams, memory: History) -> BackgroundParams:
        asked.append(memory)
        return alone(params, memory)

    agent = SHARING._replace(opening=opening._replace(share=share))
    keys = jax.random.split(jax.random.key(2), FUTURES)
    run_futures(keys, begun, PARAMS, later(begun, 3), agents=(agent,), cfg=CFG)
    assert len(asked) == 1 and rows_equal(asked[0], begun.agents[0].history)
