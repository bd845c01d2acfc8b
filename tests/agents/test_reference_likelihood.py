"""The generator's likelihood is a distribution over slots, and the one its plans are drawn from."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmars.agents.reference import ReferenceParams
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
    from jaxmars.agents.reference import reference_agent

    agents = (reference_agent(MARKET.lot_size),)
    key = jax.random.key(5)
    run = functools.partial(record, agents=agents, cfg=MARKET, num_events=400)
    market, _ = jax.jit(run)(key, open_session(key, params, MARKET), (params,))
    view = view_of(market, market.time, 0)
    return params, market.agents[0], view, tables


@pytest.fixture(scope="module")
def table(world):
    """All slot combinations and their probabilities."""
    params, state, view, tables = world
    sizes = (3, *(len(edges) - 1 for edges in EDGES.values()))
    combos = np.array(list(itertools.product(*map(range, sizes))), np.int32)

    def prob(slots):
        nats = slot_nats(params, state, view, tables, MARKET.lot_size, OrderSlots(*slots))
        return jnp.exp(-nats)

    return sizes, combos, np.asarray(jax.jit(jax.vmap(prob))(combos))


def test_probabilities_sum_to_one(table) -> None:
    _, _, probs = table
    assert probs.sum() == pytest.approx(1.0, abs=2e-3)
    assert (probs >= 0).all()


def test_plans_are_drawn_from_it(world, table) -> None:
    params, state, view, tables = world
    sizes, _, probs = table

    def draw(key):
        plan = draw_plan(params, key, state, view, MARKET.lot_size)
        return jnp.stack(planned_slots(state._replace(plan=plan), view, tables))

    slots = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), DRAWS)))
    count = np.bincount(np.ravel_multi_index(tuple(slots.T), sizes), minlength=len(probs))
    expected = DRAWS * probs
    spread = np.sqrt(np.maximum(expected * (1 - probs), 1.0))
    assert np.abs((count - expected) / spread).max() < 5
    assert count[expected < 1e-3].sum() <= 2
