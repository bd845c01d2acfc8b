"""Labels, terciles and classes against slow definitions."""

import numpy as np
import pytest

from jaxmars.errors import InputError
from jaxmars.tasks import labels as rules
from jaxmars.tasks.labels import CLASSES, HORIZONS, Thresholds


def slow_labels(seconds: np.ndarray, mid: np.ndarray, first: float) -> list[float]:
    """(mean of the mids after each order in (0, k] - m0) / m0, for each k; 0 without an order."""
    found = []
    for minutes in HORIZONS:
        inside = [m for s, m in zip(seconds, mid, strict=True) if 0 < s <= 60 * minutes]
        found.append((sum(inside) / len(inside) - first) / first if inside else 0.0)
    return found


def random_flow(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Times from before the start to after the last horizon, some on a border; a random walk."""
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.uniform(-30, 360, count))
    border = rng.integers(0, count, 12)
    seconds[border] = np.repeat([0.0, 60.0, 120.0, 300.0], 3)
    return np.sort(seconds), 1000 + np.cumsum(rng.choice([-0.5, 0, 0.5], count))


@pytest.mark.parametrize("seed", range(5))
def test_labels_are_the_definition(seed: int) -> None:
    seconds, mid = random_flow(seed)
    found = rules.labels(seconds, mid, 1003.5)
    np.testing.assert_allclose(found, slow_labels(seconds, mid, 1003.5), rtol=1e-9, atol=1e-15)


def test_a_horizon_without_an_order_has_not_moved() -> None:
    late = np.array([-5.0, 0.0, 60.001, 130.0])
    found = rules.labels(late, np.array([50.0, 60.0, 110.0, 130.0]), 100.0)
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.2, 0.2], atol=1e-15)
    assert rules.labels(np.zeros(0), np.zeros(0), 100.0).tolist() == [0.0] * len(HORIZONS)


def test_start_labels_are_those_of_every_minute_with_a_full_horizon() -> None:
    rng = np.random.default_rng(3)
    seconds = 34_200 + np.sort(rng.uniform(0, 900, 700))
    mid = 1000 + np.cumsum(rng.choice([-1.0, 0, 1.0], 700))
    mid[:40] = 0  # no price yet: no label
    found = rules.start_labels(seconds, mid)
    expected = []
    at = seconds[0]
    while at < seconds[-1] - 300:
        first = mid[seconds <= at][-1]
        if first > 0:
            expected.append(slow_labels(seconds - at, mid, first))
        at += 60
    assert 5 < len(expected) < 10
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)


def test_terciles_make_equal_classes_on_their_own_flow() -> None:
    rng = np.random.default_rng(4)
    seconds = np.sort(rng.uniform(0, 4 * 3600, 8000))
    mid = 2000 + np.cumsum(rng.normal(0, 0.3, 8000))
    found = rules.start_labels(seconds, mid)
    votes = rules.classes(found, rules.terciles(seconds, mid))
    assert len(found) > 200
    for horizon in range(len(HORIZONS)):
        share = np.bincount(votes[:, horizon], minlength=3) / len(found)
        assert abs(share - 1 / 3).max() <= 1 / len(found)


def test_a_label_on_a_border_is_flat() -> None:
    low, high = np.full(5, -0.25), np.full(5, 0.5)
    down, up = np.nextafter(-0.25, -1), np.nextafter(0.5, 1)
    votes = rules.classes(np.array([-0.25, down, 0.5, up, 0.0]), Thresholds(low, high))
    assert [CLASSES[v] for v in votes] == ["flat", "down", "flat", "up", "flat"]


def test_half_a_tick_either_way_is_flat() -> None:
    borders = rules.half_tick(200.0)
    moves = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]) / 200
    assert [CLASSES[v] for v in rules.classes(moves, borders)] == [
        "down",
        "flat",
        "flat",
        "flat",
        "up",
    ]


def test_borders_travel_as_json() -> None:
    value = {"low": [-3e-4, -2e-4, -1e-4, 0, 0], "high": [0, 0, 1e-4, 2e-4, 3e-4]}
    borders = rules.borders_from_json(value)
    assert {"low": borders.low.tolist(), "high": borders.high.tolist()} == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "low",
        {},
        {"low": [0] * 5},
        {"low": [0] * 5, "high": [0] * 4},
        {"low": [0] * 5, "high": ["x"] * 5},
        {"low": [0] * 5, "high": [float("nan")] * 5},
        {"low": [0] * 5, "high": [[0]] * 5},
        {"low": [1] * 5, "high": [0] * 5},
    ],
)
def test_other_json_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="expected"):
        rules.borders_from_json(value)
