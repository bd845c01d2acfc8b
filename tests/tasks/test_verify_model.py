"""A model beside its generator: trajectories as sequences, and the rules."""

import types
from typing import Any

import numpy as np
import pandas as pd

from jaxmars.config import MarketConfig
from jaxmars.sim.lanes import Finished
from jaxmars.tasks.lob_bench_distances import Averages, Interval
from jaxmars.tasks.verify_model import (
    ABOVE_FLOOR,
    Compared,
    model_verdicts,
    status_counts,
)
from jaxmars.types import Status

OPENS, ORDERS, LENGTH = 36_000, 40, 15
MARKET = MarketConfig(slots=64)
HALVINGS = 4


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
    near = model_verdicts(compared(0.1 + ABOVE_FLOOR - 1e-6, 0.64), {})
    rules = [v for v in near if v.passes is not None]
    assert len(rules) == 7 and all(v.passes for v in rules)
    said = {v.rule: v.found for v in near}
    assert said["battery within tolerance of the generator"] == "2 of 3"
    assert said["facts as expected, model"] == "1 of 3"
    assert said["AUC below 0.65"] == "0.640 (own 0.500)"
    far = model_verdicts(compared(0.2, 0.66), {"plain": {"loss_nats": 8.3, "generator_nats": 8.1}})
    assert [v.passes for v in far if v.passes is not None] == [False] * 7
    assert far[-1].found == "8.300 (generator's own 8.100)"
