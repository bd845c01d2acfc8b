"""Trajectories through lanes: what they depend on, budgets, and trouble that stays in its lane."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lane_runs import (
    AGENT,
    CFG,
    HEALTHY,
    LATE,
    POISONED,
    SEGMENT,
    SHARING,
    digest,
    make_params,
    make_starts,
    run,
)
from oracles.tiny_world import OPEN, PRICE, rows_equal

from jaxmars import clock
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.book import init_book
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.sim import lanes
from jaxmars.sim.lane_memory import lane_memory, opening_memory
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.tokens.order import ROW_WIDTH
from jaxmars.types import Kind, Status

NUMBERS = [3, 0, 8, 1, 5, 4, 2]
FEW = [5, 3]


@pytest.fixture(scope="module")
def whole_run() -> dict[int, Finished]:
    """Seven trajectories through two lanes."""
    return run(NUMBERS)


def test_every_trajectory_ends_and_none_is_lost(whole_run: dict[int, Finished]) -> None:
    assert sorted(whole_run) == sorted(NUMBERS)
    for finished in whole_run.values():
        orders = finished.events.kind != Kind.NONE
        assert finished.status & ~int(Status.NOTHING_TO_CANCEL) == 0
        assert (orders | (finished.events.status != 0)).all()
        assert 2 * SEGMENT < orders.sum() <= finished.steps  # several segments
    assert len({digest(finished) for finished in whole_run.values()}) == len(NUMBERS)


def test_a_trajectory_depends_on_its_number_only(whole_run: dict[int, Finished]) -> None:
    """Not on how many others there are, nor on their order, nor on its lane."""
    for number, finished in run(FEW).items():
        assert rows_equal(finished, whole_run[number])


@pytest.mark.parametrize("model_devices", [1, 2])
def test_eight_devices_compute_the_same(
    model_devices: int, shared_run: dict[int, Finished]
) -> None:
    """In a process with eight virtual devices, each with two lanes, or in four pairs that hold the
    model between them."""
    tests = pathlib.Path(__file__).parents[1]
    flags = "--xla_force_host_platform_device_count=8"
    paths = os.pathsep.join([str(tests), str(tests.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "sim.lane_runs", str(model_devices), *map(str, NUMBERS)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == 8
    assert 1 / model_devices <= found["share"] < 1 / model_devices + 0.01
    expected = {str(number): digest(finished) for number, finished in shared_run.items()}
    assert found["digests"] == expected


def test_trouble_stays_in_its_lane(whole_run: dict[int, Finished]) -> None:
    """A start at which the model gives NaN, and one outside its time table, beside sound ones."""
    found = run([0, 1, 2, 3], [HEALTHY, POISONED, LATE, HEALTHY])
    for number in (0, 3):
        assert rows_equal(found[number], whole_run[number])
    stopped = found[1]
    assert stopped.status & ~int(Status.NOTHING_TO_CANCEL) == Status.BAD_LOGITS
    assert stopped.steps < whole_run[1].steps
    at = np.flatnonzero(stopped.events.status & int(Status.BAD_LOGITS))
    assert at.tolist() == [len(stopped.events.kind) - 1]
    late = found[2]
    assert late.status & ~int(Status.NOTHING_TO_CANCEL) == Status.FEATURE_RANGE
    outside = late.events.status & int(Status.FEATURE_RANGE) != 0
    assert outside[-1]
    assert late.steps > 2 * SEGMENT  # it goes on


def test_the_event_budget_ends_a_trajectory(whole_run: dict[int, Finished]) -> None:
    """After exactly that many steps, though a segment is longer; the events are the same."""
    budget = SEGMENT + 3
    for number, finished in run(FEW, cfg=dataclasses.replace(CFG, max_events=budget)).items():
        whole = whole_run[number]
        assert finished.status & Status.EVENT_BUDGET
        assert finished.steps == budget
        count = len(finished.events.kind)
        assert budget - 2 <= count <= budget
        same = jax.tree.map(lambda x, n=count: x[:n], whole.events)
        assert rows_equal(finished.events, same)


NOISE_SECONDS = 40


def noise_run(num_lanes: int, segment: int) -> tuple[dict[int, Finished], list[Pace]]:
    """Five trajectories of a noise agent, two of them from a later start."""
    cfg = SimConfig(MarketConfig(slots=32, levels=2), segment, num_lanes)
    last = OPEN + NOISE_SECONDS
    start_times = jnp.array([OPEN, OPEN + NOISE_SECONDS // 2])
    copies = lambda x: jnp.stack([x, x])
    starts = Start(
        jax.tree.map(copies, init_book(32)),
        clock.make_time(start_times, jnp.zeros(2, jnp.int32)),
        jax.tree.map(copies, clock.make_time(last)),
        jnp.zeros(2, jnp.int32),
        (None,),
    )
    agents = (noise_agent(clock.make_time(OPEN), clock.make_time(last)),)
    paces: list[Pace] = []
    found = run_lanes(
        1,
        np.arange(5),
        np.array([0, 1, 0, 1, 0]),
        starts,
        (NoiseParams(PRICE, 0.5),),
        agents=agents,
        cfg=cfg,
        watch=paces.append,
    )
    return {finished.number: finished for finished in found}, paces


def test_lanes_and_segments_do_not_matter_to_agents_without_context() -> None:
    few, paces = noise_run(2, 16)
    many, _ = noise_run(6, 9)
    for number in range(5):
        assert rows_equal(few[number], many[number])
        end = OPEN + NOISE_SECONDS
        assert few[number].events.time.sec[-1] in (end - 1, end)
        begin = OPEN + (NOISE_SECONDS // 2 if number % 2 else 0)
        assert begin <= few[number].events.time.sec[0] <= begin + 2
    assert paces[-1].finished == paces[-1].wanted == 5
    assert paces[-1].events == sum(len(f.events.kind) for f in few.values())
    assert [p.finished for p in paces] == sorted(p.finished for p in paces)


def test_the_host_works_while_the_next_segment_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of a segment are searched and handed out once the next one is under way; at most one
    segment waits for the host."""
    told: list[str] = []
    run_segment, search = lanes._Run.segment, lanes.real_events

    def segment(self: lanes._Run, *given: Any) -> Any:
        told.append("run")
        return run_segment(self, *given)

    def searched(*given: Any) -> Any:
        told.append("search")
        return search(*given)

    monkeypatch.setattr(lanes._Run, "segment", segment)
    monkeypatch.setattr(lanes, "real_events", searched)
    noise_run(2, 16)
    count = told.count("run")
    assert count > 3
    assert told == ["run", *["run", "search"] * (count - 1), "search"]


def test_no_trajectories_are_no_work() -> None:
    empty = np.zeros(0, np.int64)
    assert list(run_lanes(0, empty, empty, make_starts(), (), agents=(), cfg=CFG)) == []


def test_memory_of_a_lane_is_known_beforehand() -> None:
    """The context's keys and values, the rows of its window, the book, and little else."""
    window, layers, width = 32, 2, 32
    slot = 2 * layers * width * 4
    own = lane_memory(make_starts(), (make_params(),), (AGENT,), CFG)
    assert own.context == window * slot
    known = 2 * 128 * 5 * 4 + window * ROW_WIDTH * 4  # the book, and the rows
    assert known < own.state < known + 1_024
    shared = opening_memory(make_starts(), (make_params(),), (SHARING,), CFG)
    assert shared is not None
    assert shared.context == (SEGMENT + 1) * slot
    assert shared.state == own.state
    assert shared.fixed - own.fixed >= (window - SEGMENT) * slot
    assert opening_memory(make_starts(), (make_params(),), (AGENT,), CFG) is None


@pytest.fixture(scope="module")
def shared_run() -> dict[int, Finished]:
    """The same seven, which share their first contexts."""
    return run(NUMBERS, agent=SHARING)


def test_sharing_a_prefix_changes_no_trajectory(
    whole_run: dict[int, Finished], shared_run: dict[int, Finished]
) -> None:
    """The hidden states are equal up to rounding, and no draw falls between."""
    assert sorted(shared_run) == sorted(NUMBERS)
    for number, finished in shared_run.items():
        assert rows_equal(finished, whole_run[number])


def test_starts_may_be_mixed_when_prefixes_are_shared(whole_run: dict[int, Finished]) -> None:
    """Groups that are not full, a start whose model gives NaN, a group that ends in its opening."""
    starts = [HEALTHY, POISONED, HEALTHY, LATE, HEALTHY, POISONED, HEALTHY]
    found = run(NUMBERS, starts, agent=SHARING)
    assert sorted(found) == sorted(NUMBERS)
    plain = run(NUMBERS, starts)
    for number in NUMBERS:
        assert rows_equal(found[number], plain[number])
    short = run(NUMBERS, agent=SHARING, cfg=dataclasses.replace(CFG, max_events=SEGMENT))
    for number, finished in short.items():
        assert finished.steps == SEGMENT
        count = len(finished.events.kind)
        same = jax.tree.map(lambda x, n=count: x[:n], whole_run[number].events)
        assert rows_equal(finished.events, same)


def test_how_many_share_an_opening_does_not_matter(shared_run: dict[int, Finished]) -> None:
    wide = run(FEW, agent=SHARING, cfg=dataclasses.replace(CFG, opening_lanes=3))
    for number in FEW:
        assert rows_equal(wide[number], shared_run[number])
