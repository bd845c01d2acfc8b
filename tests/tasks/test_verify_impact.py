"""The impact of orders: schedules, estimators on markets with known impact, one tiny run."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxmars.agents.base import make_request
from jaxmars.agents.script import Schedule, scripted_agent
from jaxmars.book import book_from_levels
from jaxmars.clock import make_time
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.sim.lanes import Start
from jaxmars.sim.reference_market import OPEN_SEC
from jaxmars.tasks.verify_impact import (
    CHILD_SECONDS,
    DECAY_SECONDS,
    DURATIONS,
    FRACTIONS,
    GRID_SECONDS,
    HORIZON_SECONDS,
    LONG_ORDER,
    ORDER_LOTS,
    Execution,
    ImpactCurve,
    Metaorder,
    children,
    curve_of,
    fit_power,
    impact_curve,
    schedule,
    sized_order,
    summarise_impact,
)
from jaxmars.tasks.verify_impact_files import FILES, MarketImpact, verdicts, write_impact
from jaxmars.tasks.verify_worlds import World
from jaxmars.types import L2, Kind, Side

GRID = np.arange(0.0, HORIZON_SECONDS + 1, GRID_SECONDS)
PATHS = 40
WARM_SECONDS = 60
STARTS = 2


@pytest.mark.parametrize(("lots", "seconds"), [(30, 300), (150, 300), (1200, 300), (7, 20), (0, 4)])
def test_children_add_up_at_a_steady_pace(lots: int, seconds: int) -> None:
    found = children(Metaorder("x", lots, seconds))
    assert len(found) == seconds // CHILD_SECONDS and found.sum() == lots
    assert found.max() - found.min() <= 1
    straight = lots * np.arange(1, len(found) + 1) / len(found)
    assert (np.abs(found.cumsum() - straight) < 1).all()


def test_schedule_wakes_to_the_end_of_the_horizon() -> None:
    plan = schedule(Metaorder("x", 3, 6), Side.SELL, 36_000, 20, 100)
    assert plan.time.sec.tolist() == list(range(36_001, 36_021, CHILD_SECONDS))
    assert plan.request.kind.tolist() == [Kind.MARKET] * 3 + [Kind.NONE] * 7
    assert plan.request.size.tolist() == [100] * 3 + [0] * 7
    assert (np.asarray(plan.request.side) == Side.SELL).all()


def test_the_long_order_is_every_duration_of_its_rate() -> None:
    assert LONG_ORDER.seconds == 60 * max(DURATIONS)
    assert (np.unique(children(LONG_ORDER)) == [1]).all()


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_power_law_is_found(exponent: float) -> None:
    size = np.array(ORDER_LOTS, float)
    found = fit_power(size, 0.3 * size**exponent)
    np.testing.assert_allclose(found, (exponent, 0.3))


def test_power_law_needs_two_points_above_zero() -> None:
    size = np.array([1.0, 10.0, 100.0])
    assert fit_power(size, np.array([1.0, -5.0, 10.0])) == pytest.approx((0.5, 1.0))
    assert np.isnan(fit_power(size, np.array([1.0, -1.0, 0.0]))).all()


def linear(order: Metaorder, power: float, left: float, noise: float, seed: int) -> ImpactCurve:
    """A market that moves by the power of what has been traded, and falls back to a share of it.

    Its drift is the same whichever side is traded."""
    rng = np.random.default_rng(seed)
    done = np.clip(GRID / order.seconds, 0, 1)
    after = np.clip((GRID - order.seconds) / DECAY_SECONDS, 0, 1)
    move = 0.1 * (order.lots * done) ** power * (1 - (1 - left) * after)
    drift = 50 * rng.standard_normal((PATHS, 1)) * GRID / GRID[-1]
    sides = []
    for sign in (1, -1):
        error = noise * rng.standard_normal((PATHS, len(GRID)))
        mids = 1000 + drift + sign * move + error
        sides.append(Execution(mids, np.full(PATHS, order.lots)))
    return curve_of(order, GRID, *sides)


def impact_of(name: str, power: float, left: float, noise: float = 0.05) -> MarketImpact:
    orders = [LONG_ORDER, *map(sized_order, ORDER_LOTS)]
    long, *sized = (linear(order, power, left, noise, i) for i, order in enumerate(orders))
    return MarketImpact(name, long, sized, summarise_impact(long, sized, 0))


@pytest.mark.parametrize(("power", "left"), [(1.0, 1.0), (0.5, 0.4)])
def test_summary_of_known_markets(power: float, left: float) -> None:
    found = impact_of("generator", power, left).summary
    for fit in (found.duration_fit, found.size_fit):
        assert fit.exponent == pytest.approx(power, abs=0.03) and 0 < fit.error < 0.05
    np.testing.assert_allclose(found.size_ticks, 0.1 * np.array(ORDER_LOTS) ** power, atol=0.05)
    np.testing.assert_allclose(found.profile, np.array(FRACTIONS) ** power, atol=0.01)
    straight = np.mean(np.array(FRACTIONS) ** power - FRACTIONS)
    assert found.bulge == pytest.approx(straight, abs=0.005)
    assert found.left == pytest.approx(left, abs=0.01) and found.left_error < 0.02
    assert found.paths == PATHS and found.gain > 100  # the drift is gone


def test_errors_shrink_with_paths_and_grow_with_noise() -> None:
    order = sized_order(150)
    few = linear(order, 1.0, 1.0, 0.5, 0)
    assert few.error[few.end] == pytest.approx(0.5 / np.sqrt(2 * PATHS), rel=0.3)
    quiet = linear(order, 1.0, 1.0, 0.0, 0)
    assert quiet.mean[quiet.end] == pytest.approx(15.0) and quiet.filled == 1.0


def test_verdicts_of_good_and_bad_markets() -> None:
    good, straight = impact_of("generator", 0.6, 0.6), impact_of("generator", 1.0, 1.0)
    assert all(v.passes for v in verdicts(good, None))
    failed = [v.rule for v in verdicts(straight, None) if not v.passes]
    assert failed == [
        "concave while executing",
        "exponent of duration from 0.5 to 0.8",
        "exponent of size from 0.5 to 0.8",
        "decays",
    ]
    assert all(v.passes for v in verdicts(impact_of("model", 0.62, 0.6), good))
    failed = [v.rule for v in verdicts(impact_of("model", 0.9, 0.6), good) if not v.passes]
    assert failed == ["within a factor 2 of the generator"]
    silent = impact_of("model", 0.0, 0.0)
    rules = {v.rule: v.passes for v in verdicts(silent, good)}
    assert not rules["rises with size and duration"]


def test_files(tmp_path: pathlib.Path) -> None:
    markets = [impact_of("generator", 0.6, 0.6), impact_of("model", 0.5, 0.6)]
    found = [*verdicts(markets[0], None), *verdicts(markets[1], markets[0])]
    write_impact(tmp_path, markets, found, {"seed": 7})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    numbers = json.loads((tmp_path / "impact.json").read_text())
    assert numbers["seed"] == 7 and len(numbers["verdicts"]) == len(found)
    assert numbers["markets"]["model"]["paths"] == PATHS
    curves = pd.read_csv(tmp_path / "impact.csv")
    assert set(curves["market"]) == {"generator", "model"}
    assert len(curves) == 2 * (1 + len(ORDER_LOTS)) * len(GRID)
    assert (tmp_path / "impact.png").read_bytes().startswith(b"\x89PNG")


def ladder() -> World:
    """Books with one lot at every tick, and nobody who trades."""
    market = MarketConfig(slots=64)
    depth = np.arange(1, 31)
    price = jnp.array([1000 - depth, 1000 + depth], jnp.int32)
    book = book_from_levels(L2(price, jnp.full((2, 30), 100, jnp.int32)), 64, jnp.int32(0))
    both = lambda tree: jax.tree.map(lambda x: jnp.stack([x, x]), tree)
    time = make_time(jnp.full(2, OPEN_SEC))
    nothing = Schedule(make_time(jnp.full(1, OPEN_SEC)), make_request(jnp.zeros(1, jnp.int32)))
    return World(
        agent=scripted_agent(1),
        params=nothing,
        starts=Start(
            book=both(book),
            time=time,
            end=make_time(jnp.full(2, OPEN_SEC + 60)),
            last_price=jnp.full(2, 1000, jnp.int32),
            memories=(None, None),
        ),
        start_mid=np.full(2, 1000.0),
        begins=OPEN_SEC,
        cfg=SimConfig(market=market, segment=64, lanes=1, max_events=256),
    )


def test_a_lot_moves_a_ladder_by_half_a_tick() -> None:
    """Each lot takes a level, so the mid follows by half a tick, and nobody brings it back."""
    curve = impact_curve(ladder(), Metaorder("climb", 20, 30), horizon=60, seed=0)
    assert curve.filled == 1.0
    sent = np.append(0, children(curve.order).cumsum())
    bought = [sent[min(int(t + 1) // CHILD_SECONDS, len(sent) - 1)] for t in curve.seconds]
    np.testing.assert_array_equal(curve.moves, [np.array(bought) / 2] * 2)
