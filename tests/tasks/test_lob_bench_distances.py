"""Distances of samples with known answers, and against SciPy and NumPy."""

import numpy as np
import pytest
import scipy.stats

from jaxmars.tasks.lob_bench_distances import (
    RESAMPLES,
    Binning,
    averages,
    compare,
    compare_within,
    deciles,
    each_value,
    freedman_diaconis,
    hours,
    interval,
    iqm,
    roc_auc,
)

NOTHING = np.empty(0)


def normal(seed: int, size: int, shift: float = 0.0) -> np.ndarray:
    return shift + np.random.default_rng(seed).normal(size=size)


def test_a_sample_is_no_distance_from_itself() -> None:
    x = normal(0, 500)
    for binning in (freedman_diaconis, each_value, deciles):
        found = compare(x, x[::-1], binning)
        assert found.l1 == 0 and found.wasserstein == 0


@pytest.mark.parametrize("binning", [freedman_diaconis, each_value])
def test_disjoint_samples_are_as_far_as_can_be(binning: Binning) -> None:
    assert compare(normal(0, 400), normal(1, 300, 50), binning).l1 == pytest.approx(1)


def test_total_variation_of_values_by_hand() -> None:
    found = compare(np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 2, 4, 4]), each_value)
    assert found.l1 == pytest.approx((0.3 + 0.15 + 0.25 + 0.4) / 2)


def test_total_variation_of_bins_is_that_of_numpy() -> None:
    a, b = normal(0, 3000), normal(1, 2000, 0.4)
    edges = np.histogram_bin_edges(np.concatenate([a, b]), "fd")
    assert np.allclose(freedman_diaconis(np.concatenate([a, b])), edges)
    p, q = (np.histogram(x, edges)[0] / len(x) for x in (a, b))
    # The largest value has a bin of its own.
    assert compare(a, b, freedman_diaconis).l1[0] == pytest.approx(abs(p - q).sum() / 2, abs=1e-3)


def test_wasserstein_is_that_of_scipy() -> None:
    a, b = normal(0, 800), np.round(normal(1, 500, 0.7), 1)
    both = np.concatenate([a, b])
    a_z, b_z = ((x - both.mean()) / both.std(ddof=1) for x in (a, b))
    expected = scipy.stats.wasserstein_distance(a_z, b_z)
    assert compare(a, b, each_value).wasserstein[0] == pytest.approx(expected)


def test_wasserstein_of_a_shift_is_the_shift_in_deviations() -> None:
    x = normal(0, 2000)
    both = np.concatenate([x, x + 3])
    found = compare(x, x + 3, freedman_diaconis).wasserstein[0]
    assert found == pytest.approx(3 / both.std(ddof=1))
    assert compare(5 * x, 5 * x + 15, freedman_diaconis).wasserstein[0] == pytest.approx(found)


def test_samples_of_one_value() -> None:
    same = compare(np.ones(5), np.ones(7), freedman_diaconis)
    assert same.l1[0] == 0 and same.wasserstein[0] == 0
    mostly = np.concatenate([np.zeros(90), np.arange(10.0)])  # no inter-quartile range
    assert compare(mostly, np.concatenate([mostly, np.full(50, 9.0)]), freedman_diaconis).l1 > 0.2


def test_an_absent_sample() -> None:
    rng = np.random.default_rng(0)
    for pair in ((NOTHING, np.ones(3)), (np.ones(3), NOTHING)):
        found = compare(*pair, freedman_diaconis, rng)
        assert (found.l1 == 1).all() and len(found.l1) == 1 + RESAMPLES
        assert np.isnan(found.wasserstein).all()
    assert np.isnan(compare(NOTHING, NOTHING, deciles).l1).all()


def test_resamples_spread_as_theory_has_it() -> None:
    """Share of a value with two outcomes: its total variation is the difference of the shares."""
    a, b = np.repeat([0.0, 1.0], (700, 300)), np.repeat([0.0, 1.0], (400, 600))
    found = compare(a, b, each_value, np.random.default_rng(0)).l1
    assert found[0] == pytest.approx(0.3)
    expected = np.sqrt((0.7 * 0.3 + 0.4 * 0.6) / 1000)
    assert found[1:].std() == pytest.approx(expected, rel=0.25)
    low, high = interval(found)[1:]
    assert 0.2 < low < 0.3 < high < 0.4


def test_deciles_give_a_repeated_value_its_own_bin() -> None:
    pooled = np.concatenate([np.arange(20.0), np.full(60, 30.0), np.arange(40.0, 60)])
    thresholds = deciles(pooled)
    bins = np.searchsorted(thresholds, pooled, "right")
    assert (np.diff(thresholds) > 0).all()
    assert len(np.unique(bins[pooled == 30])) == 1
    assert not set(bins[pooled == 30]) & set(bins[pooled != 30])
    even = np.searchsorted(deciles(np.arange(1000.0)), np.arange(1000.0), "right")
    assert (np.bincount(even) == 100).all()


def test_hours_begin_on_the_hour() -> None:
    seconds = np.array([0.0, 3599.9, 3600, 9.5 * 3600, 86_399])
    assert np.searchsorted(hours(seconds), seconds, "right").tolist() == [1, 1, 2, 10, 24]


def test_conditional_distances_are_weighted_by_group() -> None:
    real, generated = np.array([1.0, 1, 2, 2, 5]), np.array([1.0, 1, 2, 3, 3, 3])
    conditions = np.array([0.0, 0, 7, 7, 9]), np.array([0.0, 0, 7, 7, 7, 7])
    found = compare_within(real, generated, conditions, (each_value, each_value))
    # Groups: equal (4 observations), shares 1 and 1/4 of the value 2 (6), and one without partner.
    assert found.l1[0] == pytest.approx((4 * 0 + 6 * 0.75 + 1 * 1) / 11)
    part = compare(real[2:4], generated[2:], each_value).wasserstein[0]
    assert found.wasserstein[0] == pytest.approx(6 * part / 10)
    none = compare_within(NOTHING, NOTHING, (NOTHING, NOTHING), (each_value, each_value))
    assert np.isnan(none.l1[0])


def test_a_condition_can_hide_and_show_a_difference() -> None:
    """Two equal marginals with opposite dependence on the condition."""
    value, condition = np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0], 50)
    same = compare(value, value, each_value).l1[0]
    within = compare_within(value, value, (condition, condition[::-1]), (each_value, each_value))
    assert same == 0 and within.l1[0] == 1


def test_averages_over_scores() -> None:
    values = np.array([0.0, 1, 2, 3, 4, 100, np.nan])
    found = averages(np.repeat(values[:, None], 5, 1), np.random.default_rng(0))
    assert found.mean.value == pytest.approx(110 / 6)
    assert found.median.value == 2.5
    assert found.iqm.value == pytest.approx(2.5)  # of 2 and 3
    assert found.mean.low == found.mean.high == found.mean.value
    assert iqm(np.array([[5.0, 5, 5]])) == 5
    none = averages(np.full((2, 4), np.nan), np.random.default_rng(0))
    assert all(np.isnan(x.value) for x in none)


def test_the_interval_of_an_average_covers_its_resamples() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(np.arange(6)[:, None], 0.1, (6, 101))
    found = averages(draws, rng).mean
    assert 2.3 < found.low < found.value < found.high < 2.7


def test_roc_auc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(2, 8, 30).astype(float)
    pairs = (b[:, None] > a).mean() + (b[:, None] == a).mean() / 2
    assert roc_auc(a, b) == pytest.approx(pairs)
