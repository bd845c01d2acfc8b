"""Warm moments of the reference market: what is kept of them, and what goes on from them."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from oracles.forecast_world import small_model

from jaxmars.agents.reference import ReferenceParams
from jaxmars.book import l2_snapshot
from jaxmars.sim.lanes import Finished, trajectory_keys
from jaxmars.sim.reference_market import OPEN_SEC, opening_book, reference_market
from jaxmars.sim.state import START_DRAWS, init_market
from jaxmars.tasks.verify_model import sequences_of
from jaxmars.tasks.verify_starts import (
    WARM_SALT,
    Warm,
    resumed_agent,
    start_histories,
    warm_starts,
)
from jaxmars.tasks.verify_worlds import MODEL_SLOTS, generator_world, model_world
from jaxmars.types import Kind

SEED, STARTS, WARM_SECONDS = 3, 2, 60
LENGTH = 50


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxmars.tasks.verify_starts.CHUNK", 512)
        yield warm_starts(SEED, STARTS, reference_market(), ReferenceParams(), seconds=WARM_SECONDS)


def test_warm_starts(warm: Warm) -> None:
    event, l2 = warm.flow
    assert (warm.sec == OPEN_SEC + WARM_SECONDS).all()
    for i in range(STARTS):
        real = np.flatnonzero(event.kind[i] != Kind.NONE)
        assert (real == np.arange(len(real))).all() and len(real) > 50
        assert OPEN_SEC + WARM_SECONDS - 10 < event.time.sec[i, real[-1]] <= warm.sec[i]
        book = jax.device_get(l2_snapshot(jax.tree.map(lambda x, i=i: x[i], warm.book), 10))
        np.testing.assert_array_equal(book.price, l2.price[i, real[-1]])
        np.testing.assert_array_equal(book.size, l2.size[i, real[-1]])
        assert warm.mid[i] == (book.price[0, 0] + book.price[1, 0]) / 2
        traded = real[event.filled[i, real] > 0]
        assert warm.last_price[i] == event.last_price[i, traded[-1]]
        assert warm.open_price[i] == event.first_price[i, traded[0]]
        assert warm.hidden.mid[i] == warm.mid[i]


def test_resumed_agent_keeps_its_hidden_state(warm: Warm) -> None:
    world = generator_world(warm, seconds=30, others=1, lanes=1)
    hidden = jax.tree.map(lambda x: x[0], world.starts.memories[0])
    start = jax.tree.map(lambda x: x[0], (world.starts.book, world.starts.time))

    def state(key: jax.Array) -> Any:
        market = init_market(
            key,
            (world.params,),
            start[0],
            start[1],
            start[1],
            world.starts.last_price[0],
            (hidden,),
            agents=(resumed_agent(100),),
            cfg=world.cfg.market,
        )
        return market.agents[0]

    found = jax.device_get(jax.jit(state)(jax.random.key(0)))
    assert found.plan.due.sec >= warm.sec[0]
    same = jax.tree.map(np.array_equal, found._replace(plan=None), hidden._replace(plan=None))
    assert all(jax.tree.leaves(same))


def test_histories_do_not_see_the_padding(warm: Warm) -> None:
    model = small_model()
    padding = warm.flow.event.kind == Kind.NONE
    event = warm.flow.event
    other = event._replace(price=np.where(padding, 7, event.price), size=event.size + 7 * padding)
    other = warm._replace(flow=warm.flow._replace(event=other))
    found, again = (
        jax.device_get(start_histories(x, model, reference_market())) for x in (warm, other)
    )
    assert (found.window.count == model.config.num_max_orders).all()
    world = model_world(warm, model, seconds=30, others=1, lanes=1)
    history, trader = world.starts.memories
    assert trader is None
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, jax.device_get(history), found)))
    assert world.starts.book.size.shape == (STARTS, 2, MODEL_SLOTS)
    np.testing.assert_array_equal(world.starts.book.size.sum((1, 2)), warm.book.size.sum((1, 2)))
    last = np.argmax(padding, 1) - 1
    np.testing.assert_array_equal(
        found.features.time.sec, warm.flow.event.time.sec[np.arange(STARTS), last]
    )
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, found, again)))


def test_a_session_becomes_sequences(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its opening book through all its orders to the book it ended with."""
    monkeypatch.setattr("jaxmars.tasks.verify_model.MESSAGES", LENGTH)
    market = reference_market()

    def opening(key: jax.Array) -> Any:
        return opening_book(jax.random.split(jax.random.fold_in(key, START_DRAWS))[0], market)

    books = jax.jit(jax.vmap(opening))(trajectory_keys(SEED + WARM_SALT, np.arange(STARTS)))
    world = generator_world(warm, seconds=30, others=0, lanes=1)
    world = world._replace(starts=world.starts._replace(book=books))
    unused: Any = None
    real = warm.flow.event.kind[1] != Kind.NONE
    events = jax.tree.map(lambda x: x[1][real], warm.flow.event)
    run = Finished(1, events, 0, len(events.kind), unused, unused, unused)
    found = sequences_of([run], world)
    assert len(found) >= 2 and all(len(s.type) == LENGTH for s in found)
    time = np.concatenate([s.sec for s in found])
    assert (np.diff(time) >= 0).all() and time[0] == events.time.sec[0]
    monkeypatch.setattr("jaxmars.tasks.verify_model.MESSAGES", 1)
    last, end = sequences_of([run], world)[-1], np.flatnonzero(real)[-1]
    np.testing.assert_array_equal(last.l2.size[-1], warm.flow.l2.size[1, end])
    np.testing.assert_array_equal(last.l2.price[-1], warm.flow.l2.price[1, end])
