"""A model beside its generator: trajectories as sequences, and the rules."""

import types
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles.forecast_world import cache_folder, quick_compiles

from jaxmars.agents.base import make_request
from jaxmars.agents.script import Schedule, scripted_agent
from jaxmars.book import book_from_levels, l2_snapshot
from jaxmars.clock import make_time
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.sim.lanes import Finished, Start
from jaxmars.tasks.lob_bench_distances import Averages, Interval
from jaxmars.tasks.verify_model import (
    ABOVE_FLOOR,
    Compared,
    model_verdicts,
    sequences_of,
    status_counts,
)
from jaxmars.tasks.verify_worlds import World, run_world
from jaxmars.types import L2, Kind, Side, Status

OPENS, ORDERS, LENGTH = 36_000, 40, 15
MARKET = MarketConfig(slots=64)
HALVINGS = 4


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compiles(cache_folder(tmp_path_factory)):
        yield


def busy_world() -> World:
    """Two books of different depth, and a schedule of orders that rest and orders that trade."""
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, ORDERS)
    kind = np.where(np.arange(ORDERS) % 3 == 2, Kind.MARKET, Kind.LIMIT)
    away = rng.integers(1, 8, ORDERS)
    price = 1000 + np.where(side == Side.BUY, -away, away)
    size = 100 * rng.integers(1, 4, ORDERS)
    time = make_time(OPENS + np.arange(ORDERS))
    depth = np.arange(1, 21)
    prices = jnp.array([1000 - depth, 1000 + depth], jnp.int32)
    books = [
        book_from_levels(L2(prices, jnp.full((2, 20), size, jnp.int32)), MARKET.slots, jnp.int32(0))
        for size in (500, 900)
    ]
    return World(
        agent=scripted_agent(1),
        params=Schedule(time, make_request(kind, side, price, size)),
        starts=Start(
            book=jax.tree.map(lambda *x: jnp.stack(x), *books),
            time=make_time(jnp.full(2, OPENS)),
            end=make_time(jnp.full(2, OPENS + ORDERS)),
            last_price=jnp.full(2, 1000, jnp.int32),
            memories=(None,),
        ),
        start_mid=np.full(2, 1000.0),
        begins=OPENS,
        cfg=SimConfig(market=MARKET, segment=64, lanes=1, max_events=256),
    )


def test_trajectories_become_sequences(compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = busy_world()
    runs = run_world(world, seed=0)
    assert [run.number for run in runs] == [0, 1]
    monkeypatch.setattr("jaxmars.tasks.verify_model.MESSAGES", LENGTH)
    found = sequences_of(runs, world)
    assert all(len(s.type) == LENGTH for s in found)
    assert len(found) >= 2 * (ORDERS // LENGTH)  # an order that meets several makes several
    seconds = np.concatenate([s.sec for s in found[: len(found) // 2]])
    assert (np.diff(seconds) >= 0).all() and seconds[0] == OPENS
    monkeypatch.setattr("jaxmars.tasks.verify_model.MESSAGES", 1)
    for run in runs:
        last = sequences_of([run], world)[-1]
        book = jax.device_get(l2_snapshot(run.book, MARKET.levels))
        np.testing.assert_array_equal(last.l2.size[-1], book.size)
        np.testing.assert_array_equal(last.l2.price[-1], book.price)


def test_status_bits_are_counted() -> None:
    unused: Any = None
    run = lambda bits: Finished(0, unused, int(bits), 1, unused, unused, unused)
    runs = [run(0), run(Status.BOOK_FULL), run(Status.BOOK_FULL | Status.EVENT_BUDGET)]
    assert status_counts(runs) == {"BOOK_FULL": 2, "EVENT_BUDGET": 1}


def compared(distance: float, auc: float) -> Compared:
    """A comparison in which all distances and floors are alike."""
    level = Averages(*[Interval(distance, distance, distance)] * 3)
    floor = np.full((HALVINGS, 3), 0.1)
    told = lambda value: types.SimpleNamespace(auc=np.array([value - 0.01, value + 0.01]))
    bench: Any = types.SimpleNamespace(
        l1=level,
        wasserstein=level,
        floor_l1=floor,
        floor_wasserstein=floor,
        discriminator=told(auc),
        floor_discriminator=told(0.5),
        impact=types.SimpleNamespace(score=Interval(0.3, 0.2, 0.4)),
        floor_impact=np.full(HALVINGS, 0.25),
    )
    battery = pd.DataFrame({"passes": [True, False, True]})
    facts = {"model": {1: True, 2: None, 3: False}, "generator": {1: True, 2: True, 3: True}}
    return Compared(battery, facts, bench, {}, {})


def test_rules() -> None:
    near = model_verdicts(compared(0.1 + ABOVE_FLOOR - 1e-6, 0.64), None)
    rules = [v for v in near if v.passes is not None]
    assert len(rules) == 7 and all(v.passes for v in rules)
    said = {v.rule: v.found for v in near}
    assert said["battery within tolerance of the generator"] == "2 of 3"
    assert said["facts as expected, model"] == "1 of 3"
    assert said["AUC below 0.65"] == "0.640 (own 0.500)"
    far = model_verdicts(compared(0.2, 0.66), {"loss_nats": 8.3, "generator_nats": 8.1})
    assert [v.passes for v in far if v.passes is not None] == [False] * 7
    assert far[-1].found == "8.300 (generator's own 8.100)"
