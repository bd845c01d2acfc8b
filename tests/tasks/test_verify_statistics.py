"""Statistics of order flow and the tables of verifications, on processes with known answers."""

import json
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jaxmars.errors import InputError
from jaxmars.sim.lanes import Finished
from jaxmars.tasks.facts_minutes import GROUP, WINDOW, Groups, Minutes
from jaxmars.tasks.verify_files import plain, report_files, write_report
from jaxmars.tasks.verify_statistics import (
    BATTERY,
    LEAST_PAIRS,
    MEASURES,
    TARGET_GROUPS,
    Measure,
    battery_table,
    comparison_table,
    compute_flow,
    compute_statistics,
    estimate,
    group_mean,
    kurtosis_by_minute,
    markdown_table,
    sign_autocorrelation,
    variance_ratio,
)
from jaxmars.tasks.verify_windows import Observed, Sample, count_orders, observe, sample_of
from jaxmars.types import Event, Kind, Side, Time, no_trades

BEGINS = 36_000
LOT = 100
DAY = 1440


def minutes_of(price: np.ndarray) -> Minutes:
    """Windows of prices `[windows, 26]`, each a day of its own."""
    windows = len(price)
    minute = np.arange(windows)[:, None] * DAY + BEGINS // 60 + np.arange(WINDOW)
    volume = np.ones(price.shape)
    return Minutes(np.full(windows, "x"), minute, price, price, price, price, volume)


def window_of(signs: np.ndarray, counts: tuple[int, int, int] = (1, 1, 1)) -> Observed:
    price = minutes_of(np.full((1, WINDOW), 100.0))
    return Observed(price, signs, np.array(counts), 1.0)


def events_of(rows: list[tuple]) -> Event:
    """Events from rows (seconds, kind, side, filled)."""
    columns: Any = (np.array(x) for x in zip(*rows, strict=True))
    sec, kind, side, filled = columns
    zero: Any = np.zeros(len(rows), np.int32)
    whole: Any = np.floor(sec).astype(np.int32)
    nsec: Any = np.round((sec - whole) * 1e9).astype(np.int32)
    price: Any = np.where(filled > 0, 100, 0)
    return Event(
        time=Time(whole, nsec),
        kind=kind,
        side=side,
        price=zero + 100,
        size=zero + LOT,
        order_id=zero,
        agent_id=zero,
        filled=filled,
        first_price=price,
        last_price=zero + 100,
        best_bid=zero + 99,
        best_ask=zero + 101,
        status=zero,
        trades=no_trades(len(rows)),
    )


def finished_of(rows: list[tuple], number: int = 0) -> Finished:
    unused: Any = None
    return Finished(number, events_of(rows), 0, len(rows), unused, unused, unused)


def lively(minutes: int = WINDOW, missing: int | None = None) -> list[tuple]:
    """A trade of one lot every twenty seconds, and one before and after the window."""
    seconds = [s for s in range(5, 60 * minutes, 20) if missing is None or s // 60 != missing]
    inside = [(BEGINS + s, Kind.LIMIT, Side.SELL, LOT) for s in seconds]
    outside = (Kind.LIMIT, Side.BUY, LOT)
    return [(BEGINS - 40, *outside), *inside, (BEGINS + 60 * WINDOW + 1, *outside)]


@pytest.mark.parametrize("flip", [0.2, 0.5, 0.7])
def test_signs_that_flip_at_random_forget_geometrically(flip: float) -> None:
    rng = np.random.default_rng(0)
    signs = np.cumprod(np.where(rng.random(200_000) < flip, -1.0, 1.0))
    for lag in (1, 2, 5):
        found = sign_autocorrelation(window_of(signs), lag)
        assert found == pytest.approx((1 - 2 * flip) ** lag, abs=0.01)


def test_signs_without_a_correlation() -> None:
    assert np.isnan(sign_autocorrelation(window_of(np.ones(1000)), 1))
    alternating = np.tile([1.0, -1.0], 500)
    assert sign_autocorrelation(window_of(alternating), 1) == pytest.approx(-1.0)
    enough = LEAST_PAIRS + 2 * 1
    assert np.isnan(sign_autocorrelation(window_of(alternating[: enough - 1]), 1))
    assert np.isfinite(sign_autocorrelation(window_of(alternating[:enough]), 1))


def test_variance_ratio_of_trends_walks_and_reversals() -> None:
    rng = np.random.default_rng(1)
    groups = Groups(np.repeat([0, 1], 4000), ("a", "b"))
    slope = rng.standard_normal((8000, 1))
    trend = slope * np.arange(WINDOW)
    np.testing.assert_allclose(variance_ratio(trend, 5, groups), 5.0)
    walk = rng.standard_normal((8000, WINDOW)).cumsum(1)
    np.testing.assert_allclose(variance_ratio(walk, 20, groups), 1.0, atol=0.1)
    noise = rng.standard_normal((8000, WINDOW))
    np.testing.assert_allclose(variance_ratio(noise, 5, groups), 1 / 5, atol=0.01)
    assert np.isnan(variance_ratio(np.ones((8000, WINDOW)), 5, groups)).all()


def test_variance_ratio_pools_the_windows_of_a_group_only() -> None:
    rng = np.random.default_rng(2)
    walk = rng.standard_normal((40, WINDOW)).cumsum(1)
    order = rng.permutation(40)
    groups = Groups(np.arange(40) % 2, ("a", "b"))
    shuffled = Groups(groups.of_window[order], groups.names)
    np.testing.assert_allclose(
        variance_ratio(walk[order], 5, shuffled), variance_ratio(walk, 5, groups)
    )


def test_a_pattern_of_the_day_is_no_heavy_tail() -> None:
    rng = np.random.default_rng(3)
    scale = np.where(np.arange(WINDOW) % 5 == 0, 6.0, 1.0)
    price = 1000 * np.exp(1e-4 * (scale * rng.standard_normal((4600, WINDOW))).cumsum(1))
    groups = Groups(np.arange(4600) // 460, tuple("abcdefghij"))
    minutes = minutes_of(price)
    assert np.abs(kurtosis_by_minute(minutes, groups)).max() < 0.3
    found = compute_statistics(Sample(minutes, groups, [window_of(np.ones(2))] * 4600, 0))
    assert MEASURES["kurtosis 1 min"].value(found).min() > 4


def test_a_deviation_is_that_of_the_own_group() -> None:
    rng = np.random.default_rng(4)
    loud = np.repeat([1.0, 20.0], 500)[:, None]
    price = 1000 * np.exp(1e-4 * (loud * rng.standard_normal((1000, WINDOW))).cumsum(1))
    groups = Groups(np.repeat([0, 1], 500), ("a", "b"))
    assert np.abs(kurtosis_by_minute(minutes_of(price), groups)).max() < 0.3


def test_group_mean_leaves_out_what_is_no_number() -> None:
    groups = Groups(np.array([0, 0, 1, 1, 2]), ("a", "b", "c"))
    found = group_mean(np.array([1.0, np.nan, 2.0, 4.0, np.nan]), groups)
    np.testing.assert_equal(found, [1.0, 3.0, np.nan])


def test_cancels_of_one_moment_are_one_request() -> None:
    rows = [
        (1.0, Kind.LIMIT, Side.BUY, 0),
        (2.0, Kind.CANCEL, Side.BUY, 0),
        (2.0, Kind.CANCEL, Side.BUY, 0),
        (2.5, Kind.CANCEL, Side.SELL, 0),
        (3.0, Kind.LIMIT, Side.SELL, LOT),
        (3.0, Kind.CANCEL, Side.SELL, 0),
        (4.0, Kind.MARKET, Side.SELL, LOT),
    ]
    assert count_orders(events_of(rows)).tolist() == [1, 2, 3]


def test_a_window_is_what_lies_inside_it() -> None:
    found = observe(finished_of(lively()), BEGINS, LOT)
    assert found is not None
    assert found.counts.tolist() == [0, 3 * WINDOW, 0]
    assert (found.signs == -1).all()
    assert found.spread == 2.0
    assert found.minutes.last.shape == (1, WINDOW)
    assert found.minutes.minute[0, 0] == BEGINS // 60
    np.testing.assert_array_equal(found.minutes.volume[0, 1:], 3.0)
    np.testing.assert_array_equal(found.minutes.mid_last, 100.0)


def test_a_window_with_a_silent_minute_or_without_trades_is_none() -> None:
    assert observe(finished_of(lively(missing=12)), BEGINS, LOT) is not None  # rounding fills it
    quiet = [row for row in lively() if not 600 <= row[0] - BEGINS < 720]
    assert observe(finished_of(quiet), BEGINS, LOT) is None
    no_trade = [(s, kind, side, 0) for s, kind, side, _ in lively()]
    assert observe(finished_of(no_trade), BEGINS, LOT) is None
    assert observe(finished_of(lively()), BEGINS + DAY * 60, LOT) is None


def test_samples_are_in_the_order_of_numbers_and_large_enough() -> None:
    runs = [finished_of(lively(), number) for number in range(2 * GROUP + 1)]
    runs[3] = finished_of(lively(minutes=5), 3)
    sample = sample_of(runs[::-1], BEGINS, LOT)
    assert sample.quiet == 1 and len(sample.flow) == 2 * GROUP
    assert len(sample.groups.names) == 2
    with pytest.raises(InputError, match=r"45 of 46 trajectories .* at least 46"):
        sample_of(runs[1:], BEGINS, LOT)


def test_flow_of_a_group() -> None:
    signs = np.tile([1.0, 1.0, -1.0, -1.0], 100)
    flow = [window_of(signs, counts) for counts in ((26, 26, 52), (52, 0, 0))]
    minutes = minutes_of(np.full((2, WINDOW), 100.0))
    found = compute_flow(Sample(minutes, Groups(np.array([0, 0]), ("a",)), flow, 0))
    assert found.orders[0] == pytest.approx((104 + 52) / 2 / WINDOW)
    np.testing.assert_allclose(found.shares[0], [39 / 78, 13 / 78, 26 / 78])
    np.testing.assert_allclose(found.sign_memory[0, :2], [0.0, -1.0], atol=0.01)


def test_estimate_of_groups() -> None:
    mean, error, groups = estimate(np.array([1.0, 3.0, np.nan]))
    assert (mean, groups) == (2.0, 2) and error == pytest.approx(1.0)
    assert np.isnan(estimate(np.array([5.0])).error)
    assert estimate(np.array([np.nan])).groups == 0


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A battery of one measure whose statistics are its numbers of the groups."""
    battery = (Measure("level", lambda found: np.asarray(found), 2.0, 0.5),)
    monkeypatch.setattr("jaxmars.tasks.verify_statistics.BATTERY", battery)
    return battery


def test_battery_table(constant: Any) -> None:
    values: Any = np.array([2.0, 2.8])
    row: Any = battery_table(values).iloc[0]
    assert (row["value"], row["error"]) == (pytest.approx(2.4), pytest.approx(0.4))
    assert row["z"] == pytest.approx(1 / np.sqrt(1 + 2 / TARGET_GROUPS))
    assert row["passes"]
    beyond: Any = np.array([2.6, 2.6])
    assert battery_table(beyond)["passes"].tolist() == [False]


def test_comparison_table(constant: Any) -> None:
    values: Any = np.array

    def table(ours: list[float], theirs: list[float]) -> Any:
        return comparison_table(values(ours), values(theirs)).iloc[0]

    near: Any = table([1.0, 1.0], [1.4, 1.4])
    assert near["passes"] and near["difference"] == pytest.approx(-0.4)
    assert not table([1.0, 1.0], [1.6, 1.6])["passes"]
    noisy: Any = table([0.0, 2.0], [1.0, 4.0])  # 1.5 apart, errors 1 and 1.5
    assert noisy["passes"] and noisy["z"] == pytest.approx(-1.5 / np.hypot(1, 1.5))


def test_every_measure_has_a_name_of_its_own_and_a_target() -> None:
    assert len(MEASURES) == len(BATTERY)
    assert all(m.target is not None and m.tolerance > 0 for m in BATTERY)


def test_reports_on_disk(tmp_path: pathlib.Path) -> None:
    table = pd.DataFrame({"name": ["a", "b"], "value": [1 / 3, np.nan], "passes": [True, False]})
    text = markdown_table(table, digits=2)
    assert text.splitlines()[2:] == ["| a | 0.33 | yes |", "| b | - | **no** |"]
    unknown = pd.DataFrame({"rule": ["a", "b"], "passes": [True, None]})
    assert markdown_table(unknown).splitlines()[2:] == ["| a | yes |", "| b |  |"]
    numbers = {"table": table, "more": {1: np.arange(2), "none": None, "pair": (np.int64(3), 0.5)}}
    write_report(tmp_path / "out", "it", text, numbers, {"seed": 4})
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(report_files("it"))
    found = json.loads((tmp_path / "out" / "it.json").read_text())
    assert found["table"][1] == {"name": "b", "value": None, "passes": False}
    assert found["more"] == {"1": [0, 1], "none": None, "pair": [3, 0.5]} and found["seed"] == 4
    assert plain(np.float64("inf")) is None
