"""Forecasts end to end with a tiny random model."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from oracles.forecast_world import GROWTH, LANES
from oracles.tiny_world import same_history

from jaxmars import devices
from jaxmars.agents import policy
from jaxmars.config import SimConfig
from jaxmars.data.flow import slice_flow
from jaxmars.data.start import MidPath, StartPoint
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished, Pace
from jaxmars.tasks.forecast import (
    ForecastResult,
    is_recorded,
    memory_at,
    needed_orders,
    start_history,
    summarise,
)
from jaxmars.tasks.labels import HORIZONS
from jaxmars.tasks.lane_plan import USABLE, LanePlan
from jaxmars.tokens.summary import init_memory
from jaxmars.types import Kind, Status

Run = Callable[..., ForecastResult]
BUDGET = 20  # events; not a whole number of segments
NEEDED = 17  # orders before a start: half the window of 32, and the one that opens the record


def columns(trajectory: Finished) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(trajectory.events)]


def stamps(trajectory: Finished) -> np.ndarray:
    time = trajectory.events.time
    return np.asarray(time.sec, np.int64) * 10**9 + time.nsec


def test_a_future_depends_on_seed_and_number_only(run: Run, nine: ForecastResult) -> None:
    four = run(trajectories=4)
    assert [t.number for t in nine.trajectories] == list(range(9))
    for one, other in zip(nine.trajectories, four.trajectories, strict=False):
        assert (one.number, one.status, one.steps) == (other.number, other.status, other.steps)
        for a, b in zip(columns(one), columns(other), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(nine.paths[:4], four.paths)


def test_futures_and_seeds_differ(run: Run, nine: ForecastResult) -> None:
    other = run(trajectories=2, seed=1)
    seen = {tuple(stamps(t)[:20]) for t in [*nine.trajectories, *other.trajectories]}
    assert len(seen) == 11


def test_events_stay_between_start_and_end(nine: ForecastResult, builtin_start: StartPoint) -> None:
    begin = int(builtin_start.time.sec) * 10**9 + int(builtin_start.time.nsec)
    for trajectory in nine.trajectories:
        time = stamps(trajectory)
        assert len(time) > 30
        assert (np.diff(time) >= 0).all()
        assert begin <= time[0] and time[-1] <= begin + 60 * 10**9
        assert time[-1] > begin + 50 * 10**9, "the market went to the end"
        bid, ask = trajectory.events.best_bid, trajectory.events.best_ask
        assert ((bid < ask) | (bid == 0) | (ask == 0)).all()
        assert trajectory.status == 0


def test_event_table_holds_every_event(nine: ForecastResult) -> None:
    table = nine.events()
    assert len(table) == sum(len(t.events.kind) for t in nine.trajectories)
    assert table["trajectory"].is_monotonic_increasing
    part = table[table["trajectory"] == 5]
    assert part["time_ns"].tolist() == stamps(nine.trajectories[5]).tolist()
    kinds = [Kind(k).name for k in nine.trajectories[5].events.kind]
    assert part["kind"].tolist() == kinds and {"LIMIT", "CANCEL"} == set(kinds)


def test_paths_and_labels_follow_from_the_event_table(
    nine: ForecastResult, builtin_start: StartPoint
) -> None:
    """Recomputed slowly from the columns a user gets."""
    now = int(builtin_start.time.sec) * 10**9
    assert nine.start_mid == builtin_start.past.mid[-1]
    for number, part in nine.events().groupby("trajectory"):
        path = [nine.start_mid] * len(nine.seconds)
        total: list[float] = []
        names = ["time_ns", "best_bid", "best_ask", "last_price"]
        for stamp, bid, ask, last in part[names].to_numpy(np.int64).tolist():
            seconds = (stamp - now) / 1e9
            mid = (bid + ask) / 2 if bid and ask else bid or ask or last
            total += [mid] if seconds > 0 else []
            path = [
                mid if at >= seconds else old for at, old in zip(nine.seconds, path, strict=True)
            ]
        row = int(str(number))
        assert nine.paths[row].tolist() == path
        assert nine.labels[row, 0] == pytest.approx(np.mean(total) / nine.start_mid - 1)


def test_the_record_is_on_the_same_grid(nine: ForecastResult, builtin_start: StartPoint) -> None:
    future = builtin_start.future
    assert nine.truth is not None and nine.truth_labels is not None
    for at, mid in zip(nine.seconds, nine.truth, strict=True):
        before = future.mid[future.seconds <= at]
        assert mid == (before[-1] if len(before) else nine.start_mid)
    for k, label in zip(HORIZONS, nine.truth_labels, strict=True):
        inside = future.mid[(future.seconds > 0) & (future.seconds <= 60 * k)]
        assert label == pytest.approx(inside.mean() / nine.start_mid - 1)


def test_a_record_that_ends_early_is_no_truth(builtin_start: StartPoint) -> None:
    last = builtin_start.future.seconds[-1]
    assert is_recorded(builtin_start, last) and not is_recorded(builtin_start, last + 60)


def test_an_event_budget_cuts_every_future_and_says_so(
    run: Run, nine: ForecastResult, cfg: SimConfig
) -> None:
    short = run(trajectories=3, cfg=dataclasses.replace(cfg, max_events=BUDGET))
    assert short.status_counts() == {"EVENT_BUDGET": 3}
    for cut, whole in zip(short.trajectories, nine.trajectories, strict=False):
        assert cut.status == Status.EVENT_BUDGET
        for a, b in zip(columns(cut), columns(whole), strict=True):
            np.testing.assert_array_equal(a, b[: len(a)])
        assert len(cut.events.kind) <= cut.steps == BUDGET


def test_progress_is_reported_after_every_segment(run: Run) -> None:
    seen: list[Pace] = []
    result = run(trajectories=5, watch=seen.append)
    assert [p.finished for p in seen] == sorted(p.finished for p in seen)
    assert seen[-1] == result.pace and result.pace.finished == result.pace.wanted == 5
    assert result.pace.events == len(result.events())
    assert result.pace.compile_seconds > 0 and result.pace.run_seconds > 0
    assert len(seen) >= 5 / LANES


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trajectories": 0}, "0 futures of 1 minutes .* expected positive numbers"),
        ({"minutes": 0}, "9 futures of 0 minutes"),
        ({"temperature": 0.0}, "at temperature 0.0"),
        ({"temperature": math.nan}, "at temperature nan"),
        ({"temperature": math.inf}, "at temperature inf"),
    ],
)
def test_nothing_to_run_is_refused(run: Run, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run(**change)


def test_too_few_slots_are_refused(run: Run, cfg: SimConfig) -> None:
    few = dataclasses.replace(cfg, market=dataclasses.replace(cfg.market, slots=255))
    with pytest.raises(InputError, match="has 255 slots per side, expected at least 256"):
        run(cfg=few)


def test_lanes_that_do_not_fit_take_turns(
    run: Run, nine: ForecastResult, cfg: SimConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as fit run, the plan is told beforehand, and the futures are the same."""
    plans: list[LanePlan] = []
    run(tell=plans.append)
    (plan,) = plans
    assert plan.cfg.lanes == plan.asked.lanes == LANES
    there = int((plan.own.fixed + LANES * plan.own.lane) / USABLE) + 1
    monkeypatch.setattr(devices, "memory_bytes", lambda: there)
    other = dataclasses.replace(cfg, lanes=1_000_000, segment=cfg.segment + 7)
    found = run(cfg=other, tell=plans.append)
    assert plans[-1].cfg.segment == cfg.segment, "that of the policy"
    assert plans[-1].cfg.lanes == LANES
    assert "not enough for 1000000 lanes: they take turns" in str(plans[-1])
    np.testing.assert_array_equal(found.paths, nine.paths)
    monkeypatch.setattr(devices, "memory_bytes", lambda: there // LANES)
    with pytest.raises(InputError, match=r"one trajectory takes [\d,.]+ MiB, expected at most 80%"):
        run()


def test_a_model_without_bins_is_refused(run: Run, model: OrderModel) -> None:
    with pytest.raises(InputError, match="no converters"):
        run(model=dataclasses.replace(model, converters=None))


def test_a_model_with_other_bins_than_slots_is_refused(run: Run, model: OrderModel) -> None:
    other = OrderModel.init(model.config.with_released_bins(), jax.random.key(0))
    with pytest.raises(InputError, match="price_level has 8 bins, expected 32"):
        run(model=dataclasses.replace(other, converters=model.converters))


def test_a_start_without_any_price_is_refused(run: Run, builtin_start: StartPoint) -> None:
    flow = jax.tree.map(np.zeros_like, builtin_start.flow)
    with pytest.raises(InputError, match="expected a price to start from"):
        run(start=builtin_start._replace(flow=flow))


def test_too_few_orders_are_refused(run: Run, builtin_start: StartPoint) -> None:
    flow = slice_flow(builtin_start.flow, 0, NEEDED - 1)
    with pytest.raises(InputError, match=f"expected at least {NEEDED - 1} for this model"):
        run(start=builtin_start._replace(flow=flow))


def test_needed_orders(model: OrderModel) -> None:
    window = model.config.num_max_orders
    assert NEEDED == window - GROWTH + 1
    for growth in (1, GROWTH, window - 1):
        assert needed_orders(model, policy.anchored(model.config, growth)) == window - growth + 1


def test_the_last_orders_the_open_and_the_memory_are_all_the_past_a_model_needs(
    builtin_start: StartPoint, model: OrderModel, cfg: SimConfig
) -> None:
    count = len(builtin_start.flow.event.kind)
    assert int(builtin_start.open_price) > 0
    long = start_history(builtin_start, model, cfg.market, NEEDED)
    cut = builtin_start._replace(
        flow=slice_flow(builtin_start.flow, count - 100, count),
        memory=memory_at(builtin_start, cfg.market, count - 100),
    )
    short = start_history(cut, model, cfg.market, NEEDED)
    assert int(long.window.count) == model.config.num_max_orders
    assert same_history(long, short)
    forgetful = start_history(cut._replace(memory=init_memory()), model, cfg.market, NEEDED)
    assert not same_history(long, forgetful)
    another = cut._replace(open_price=cut.open_price + 100)
    moved = start_history(another, model, cfg.market, NEEDED)
    assert (np.asarray(moved.window.rows) != np.asarray(long.window.rows)).any()


def test_without_trades_or_orders_nothing_moves(
    builtin_start: StartPoint, nine: ForecastResult
) -> None:
    """A quiet quarter of an hour before the start: the mid is still known."""
    nothing = np.zeros(0)
    quiet = builtin_start._replace(past=MidPath(nothing, nothing), future=MidPath(nothing, nothing))
    silent = [t._replace(events=jax.tree.map(lambda x: x[:0], t.events)) for t in nine.trajectories]
    result = summarise(quiet, silent, 1, None, nine.pace)
    assert (result.paths == builtin_start.past.mid[-1]).all()
    assert not result.labels.any()
    assert result.truth is None and result.score() is None
    assert result.class_table()["P(flat)"].tolist() == [1.0]
    assert len(result.events()) == 0
