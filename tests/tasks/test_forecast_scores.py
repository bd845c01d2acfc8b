"""Tables and scores of a forecast, from paths written by hand or drawn at random."""

import json
from typing import Any

import numpy as np
import pytest

from jaxmars.book import empty_accounts, init_book
from jaxmars.sim.lanes import Finished, Pace
from jaxmars.tasks.forecast import BANDS, GRID_SECONDS, ForecastResult, crps, on_grid
from jaxmars.tasks.forecast_files import summary
from jaxmars.tasks.labels import CLASSES, HORIZONS, Thresholds
from jaxmars.types import Event, Status, Time, describe, no_trades

FUTURES = 37
NONE: Any = np.zeros(0, np.int32)
NO_EVENTS = Event(Time(NONE, NONE), *[NONE] * (len(Event._fields) - 2), trades=no_trades(0))
TROUBLE = Status.EVENT_BUDGET | Status.BAD_LOGITS


def finished(number: int, status: int, steps: int) -> Finished:
    """A trajectory without events."""
    return Finished(number, NO_EVENTS, status, steps, init_book(1), empty_accounts(0), ())


def some_result(minutes: int, seed: int = 0, with_truth: bool = True) -> ForecastResult:
    """Random walks and labels; two trajectories without events, one of them in trouble."""
    rng = np.random.default_rng(seed)
    grid = np.arange(0.0, 60 * minutes + 1, GRID_SECONDS)
    walk = lambda *shape: 1000 + np.cumsum(rng.choice([-0.5, 0, 0.5], shape), -1)
    return ForecastResult(
        trajectories=[finished(0, 0, 3), finished(1, int(TROUBLE), 9)],
        seconds=grid,
        paths=walk(FUTURES, len(grid)),
        start_mid=1000.0,
        labels=rng.normal(0, 1e-3, (FUTURES, len(HORIZONS))),
        borders=Thresholds(np.full(5, -4e-4), np.full(5, 4e-4)),
        truth=walk(len(grid)) if with_truth else None,
        truth_labels=rng.normal(0, 1e-3, len(HORIZONS)) if with_truth else None,
        pace=Pace(FUTURES, FUTURES, 100, 2.0, 1.0),
    )


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_crps_is_its_definition(n: int) -> None:
    """E|X - y| - E|X - X'| / 2 over all pairs; ties among them."""
    rng = np.random.default_rng(n)
    x, y = rng.integers(0, 9, n) / 2, 3.25
    pairs = abs(x[:, None] - x[None]).mean()
    assert crps(x, y) == pytest.approx(abs(x - y).mean() - pairs / 2, abs=1e-12)


def test_crps_is_proper_for_a_point() -> None:
    assert crps(np.full(9, 7.0), 7.0) == 0
    assert crps(np.full(9, 7.0), 4.5) == 2.5


def test_on_grid_is_the_last_mid_at_or_before() -> None:
    rng = np.random.default_rng(1)
    seconds = np.sort(rng.integers(0, 200, 60) / 4)  # many equal times
    mid = rng.normal(0, 1, 60)
    grid = np.arange(0, 60, 2.5)
    expected = []
    for t in grid:
        before = [m for s, m in zip(seconds, mid, strict=True) if s <= t]
        expected.append(before[-1] if before else 99.0)
    assert on_grid(seconds, mid, 99.0, grid).tolist() == expected
    assert on_grid(np.zeros(0), np.zeros(0), 99.0, grid).tolist() == [99.0] * len(grid)


def test_bands_are_nested_around_the_median() -> None:
    quantiles = some_result(3).quantiles()
    levels = list(quantiles)
    assert levels == sorted(levels) and 0.5 in levels and len(levels) == 1 + 2 * len(BANDS)
    values = np.stack(list(quantiles.values()))
    assert (np.diff(values, axis=0) >= 0).all()
    assert (values[0] < values[-1])[1:].all()


def test_each_band_holds_its_share() -> None:
    result = some_result(3)
    quantiles = result.quantiles()
    for band in BANDS:
        low, high = (quantiles[(1 + sign * band) / 2] for sign in (-1, 1))
        inside = ((result.paths >= low) & (result.paths <= high)).mean(0)
        assert (inside >= band - 2 / FUTURES).all()


@pytest.mark.parametrize("minutes", [1, 3, 7])
def test_the_table_has_a_row_per_minute(minutes: int) -> None:
    result = some_result(minutes)
    table = result.table()
    assert table["minute"].tolist() == list(range(1, minutes + 1))
    at = [12 * m for m in range(1, minutes + 1)]
    assert table["q50"].tolist() == np.median(result.paths, 0)[at].tolist()
    assert result.truth is not None
    assert table["recorded"].tolist() == result.truth[at].tolist()


@pytest.mark.parametrize("minutes", [1, 3, 7])
def test_class_probabilities_sum_to_one_for_horizons_inside(minutes: int) -> None:
    result = some_result(minutes)
    table = result.class_table()
    assert table["minutes"].tolist() == [k for k in HORIZONS if k <= minutes]
    shares = table[[f"P({name})" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1)
    up = [(result.labels[:, k] > 4e-4).mean() for k in range(len(table))]
    np.testing.assert_allclose(shares[:, CLASSES.index("up")], up)
    mean = result.labels.mean(0)[: len(table)]
    slow = ["up" if m > 4e-4 else "down" if m < -4e-4 else "flat" for m in mean]
    assert table["class"].tolist() == slow


def test_scores_by_hand() -> None:
    result = some_result(1)
    paths = np.full((4, 13), 1000.0)
    paths[:, 12] = [998, 1000, 1001, 1003]
    truth = np.full(13, 1000.0)
    truth[12] = 1001
    score = result._replace(paths=paths, truth=truth).score()
    assert score is not None and len(score) == 1
    row = score.iloc[0]
    assert row["median_error_ticks"] == 0.5
    assert row["crps_unchanged_ticks"] == 1
    assert row["rank"] == (2 + 0.5) / 4
    assert row["crps_ticks"] == pytest.approx((3 + 1 + 0 + 2) / 4 - 32 / 16 / 2)
    assert [bool(row[f"in_{band:.0%}"]) for band in BANDS] == [True, True, True]
    outside = result._replace(paths=paths, truth=truth + 5).score()
    assert outside is not None
    assert outside.iloc[0]["rank"] == 1
    assert not any(outside.iloc[0][f"in_{band:.0%}"] for band in BANDS)


def test_without_a_record_there_is_no_score() -> None:
    result = some_result(2, with_truth=False)
    assert result.score() is None
    assert "recorded" not in result.table()
    assert "recorded_class" not in result.class_table()


@pytest.mark.parametrize("with_truth", [True, False])
def test_the_summary_is_strict_json(with_truth: bool) -> None:
    result = some_result(2, with_truth=with_truth)
    value = summary(result, 0.01, {"seed": 3})
    read = json.loads(json.dumps(value, allow_nan=False))
    assert read == value
    assert read["seed"] == 3
    assert read["start_mid"] == 10.0
    assert read["minutes"][1]["mid"]["q50"] == round(np.median(result.paths[:, 24]) * 0.01, 6)
    assert (read["score"] is None) != with_truth
    assert read["status"] == {
        "trajectories": {"EVENT_BUDGET": 1, "BAD_LOGITS": 1},
        "meaning": describe(TROUBLE),
    }
    assert (read["events"], read["orders_per_second"], read["compile_seconds"]) == (0, 0, 1)
