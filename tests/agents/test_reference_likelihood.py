"""The generator's likelihood is a distribution over slots, and the one its plans are drawn from."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmars import clock
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.reference_likelihood import OrderSlots, planned_slots, slot_nats
from jaxmars.agents.reference_plan import draw_plan
from jaxmars.sim.reference_market import open_session, reference_market
from jaxmars.sim.rollout import record
from jaxmars.sim.state import view_of
from jaxmars.tokens.bins import BinConverter, Converters

MARKET = reference_market()
EDGES = {
    "price_level": [-200.0, -4.0, -1.0, 0.0, 1.0, 3.0, 200.0],
    "order_volume": [99.0, 100.0, 300.0, 900.0, 50_000.0],
    "order_interval": [0.0, 0.1, 0.4, 10.0],
}
DRAWS = 20_000


def converter(edges: list[float]) -> BinConverter:
    """Bins whose only value is the upper edge."""
    values = [np.array([edge]) for edge in edges[1:]]
    return BinConverter.from_arrays(np.array(edges), values, [np.ones(1) for _ in values])


@pytest.fixture(scope="module")
def world():
    """A market after some hundred events, and coarse tables."""
    price, volume, interval = (converter(edges) for edges in EDGES.values())
    tables = Converters(price, volume, volume, interval, volume).tables()
    params = ReferenceParams()
    agents = (reference_agent(MARKET.lot_size),)
    key = jax.random.key(5)
    run = functools.partial(record, agents=agents, cfg=MARKET, num_events=400)
    market, _ = jax.jit(run)(key, open_session(key, params, MARKET), (params,))
    view = view_of(market, market.time, 0)
    return params, market.agents[0], view, tables


def probabilities(world, rival_rate: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Slots per attribute, and the probabilities of all their combinations."""
    params, state, view, tables = world
    sizes = (3, *(len(edges) - 1 for edges in EDGES.values()))
    combos = np.array(list(itertools.product(*map(range, sizes))), np.int32)

    def prob(slots):
        order = OrderSlots(*slots)
        nats = slot_nats(params, state, view, tables, MARKET.lot_size, order, rival_rate)
        return jnp.exp(-nats)

    return sizes, np.asarray(jax.jit(jax.vmap(prob))(combos))


@pytest.mark.parametrize("rival_rate", [0.0, 4.0])
def test_probabilities_sum_to_one(world, rival_rate: float) -> None:
    _, probs = probabilities(world, rival_rate)
    assert probs.sum() == pytest.approx(1.0, abs=2e-3)
    assert (probs >= 0).all()


@pytest.mark.parametrize("rival_rate", [0.0, 4.0])
def test_plans_that_nobody_overtakes_are_drawn_from_it(world, rival_rate: float) -> None:
    params, state, view, tables = world
    sizes, probs = probabilities(world, rival_rate)

    def draw(key):
        plan = draw_plan(params, key, state, view, MARKET.lot_size)
        wait = clock.to_seconds(clock.minus(plan.due, view.time))
        return jnp.stack(planned_slots(state._replace(plan=plan), view, tables)), wait

    slots, wait = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), DRAWS))
    if rival_rate:
        rival = np.random.default_rng(2).exponential(1 / rival_rate, DRAWS)
        slots = slots[np.asarray(wait) < rival]
        assert DRAWS / 10 < len(slots) < DRAWS * 9 / 10
    count = np.bincount(
        np.ravel_multi_index(tuple(np.asarray(slots).T), sizes), minlength=len(probs)
    )
    expected = len(slots) * probs
    spread = np.sqrt(np.maximum(expected * (1 - probs), 1.0))
    assert np.abs((count - expected) / spread).max() < 5
    assert count[expected < 1e-3].sum() <= 2
