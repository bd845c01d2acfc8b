"""Distances of two samples of one number: total variation and Wasserstein-1, with intervals.

Definitions and constants are those of LOB-Bench (arXiv 2502.09172). A bin is what lies between two
thresholds, the lower one included.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats

RESAMPLES = 100
OUTSIDE = 0.01  # share of resamples outside an interval
SUMMARY_DRAWS = 1000
MOST_BINS = 2**20  # of a histogram
SECONDS_PER_HOUR, HOURS = 3600, 24

Binning = Callable[[np.ndarray], np.ndarray]  # pooled sample -> ascending thresholds


class Interval(NamedTuple):
    """A number and where its resamples lie; nan where it is not defined."""

    value: float
    low: float
    high: float


class Distances(NamedTuple):
    """Of two samples. Entry 0 belongs to the samples themselves, the others to resamples."""

    l1: np.ndarray  # [1 + resamples] float64, total variation, 0 to 1
    wasserstein: np.ndarray  # [1 + resamples] float64, in pooled standard deviations


class Averages(NamedTuple):
    """Over scores."""

    mean: Interval
    median: Interval
    iqm: Interval  # mean of what lies between the quartiles


def freedman_diaconis(pooled: np.ndarray) -> np.ndarray:
    """Edges of equal bins, 2 IQR n^(-1/3) wide; Sturges' number of bins where the IQR is zero."""
    low, high = float(pooled.min()), float(pooled.max())
    first, third = np.percentile(pooled, (25, 75))
    width = 2.0 * (third - first) * len(pooled) ** (-1 / 3)
    if width == 0:
        return np.histogram_bin_edges(pooled, "sturges")
    bins = int(np.clip(np.ceil((high - low) / width), 1, MOST_BINS))
    return np.linspace(low, high, bins + 1)


def each_value(pooled: np.ndarray) -> np.ndarray:
    """Every value has its own bin."""
    return np.unique(pooled)


def deciles(pooled: np.ndarray) -> np.ndarray:
    """Ten bins of equal weight. A value that is several deciles gets a bin of its own."""
    found, times = np.unique(np.quantile(pooled, np.arange(1, 10) / 10), return_counts=True)
    return np.sort(np.concatenate([found, np.nextafter(found[times > 1], np.inf)]))


def hours(pooled: np.ndarray) -> np.ndarray:
    """Seconds since midnight at which an hour begins."""
    del pooled
    return np.arange(HOURS) * float(SECONDS_PER_HOUR)


def compare(
    real: np.ndarray,
    generated: np.ndarray,
    binning: Binning,
    rng: np.random.Generator | None = None,
) -> Distances:
    """Both distances of two samples and of bootstrap resamples of them.

    Bins and z-scores are those of the pooled sample, also for the resamples. If one sample is
    empty the total variation is 1 and there is no Wasserstein distance; if both are, there is
    neither.

    Args:
      real: `[n]` finite numbers.
      generated: `[m]` finite numbers.
      binning: of the pooled sample, for the total variation.
      rng: draws the resamples; without it there are none.
    """
    resamples = 0 if rng is None else RESAMPLES
    if not len(real) or not len(generated):
        l1 = 1.0 if len(real) or len(generated) else np.nan
        return Distances(np.full(1 + resamples, l1), np.full(1 + resamples, np.nan))
    pooled = np.concatenate([real, generated])
    values, place = np.unique(pooled, return_inverse=True)
    places = place[: len(real)], place[len(real) :]
    bins = np.searchsorted(binning(pooled), values, "right")
    gaps = np.diff(values) / _deviation(pooled)
    found = np.empty((2, 1 + resamples))
    for draw in range(1 + resamples):
        p, q = (_shares(_redrawn(x, rng if draw else None), len(values)) for x in places)
        found[0, draw] = min(np.abs(np.bincount(bins, p - q)).sum() / 2, 1.0)
        found[1, draw] = np.abs(np.cumsum(p - q)[:-1]) @ gaps
    return Distances(*found)


def compare_within(
    real: np.ndarray,
    generated: np.ndarray,
    conditions: tuple[np.ndarray, np.ndarray],
    binnings: tuple[Binning, Binning],
    rng: np.random.Generator | None = None,
) -> Distances:
    """Distances within groups of a condition, averaged with the sizes of the groups as weights.

    A group that only one sample has counts 1 in the total variation and is left out of the
    Wasserstein distance.

    Args:
      real: `[n]` finite numbers.
      generated: `[m]` finite numbers.
      conditions: `[n]` and `[m]`, the condition under which each number was found.
      binnings: of the numbers of one group, and of the conditions.
      rng: draws the resamples; without it there are none.
    """
    of_number, of_condition = binnings
    pooled = np.concatenate(conditions)
    if not len(pooled):
        return compare(real, generated, of_number, rng)
    groups = tuple(np.searchsorted(of_condition(pooled), c, "right") for c in conditions)
    found, sizes = [], []
    for group in np.unique(np.concatenate(groups)):
        parts = real[groups[0] == group], generated[groups[1] == group]
        found.append(compare(*parts, of_number, rng))
        sizes.append(sum(map(len, parts)))
    weights = np.array(sizes, float)[:, None]
    return Distances(*(_weighted(np.stack(x), weights) for x in zip(*found, strict=True)))


def interval(draws: np.ndarray) -> Interval:
    """The first entry, and the range that holds 99 % of all."""
    if not np.isfinite(draws[0]):
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.nanquantile(draws, (OUTSIDE / 2, 1 - OUTSIDE / 2))
    return Interval(float(draws[0]), float(low), float(high))


def averages(draws: np.ndarray, rng: np.random.Generator) -> Averages:
    """Mean, median and inter-quartile mean over scores, with intervals.

    Args:
      draws: `[scores, 1 + resamples]`; scores without a value are left out.
      rng: picks one resample of every score for each draw of the averages.
    """
    known = draws[np.isfinite(draws[:, 0])]
    if not len(known):
        return Averages(*(Interval(np.nan, np.nan, np.nan),) * 3)
    picks = rng.integers(known.shape[1], size=(SUMMARY_DRAWS, len(known)))
    table = np.concatenate([known[None, :, 0], known[np.arange(len(known)), picks]])
    return Averages(*(interval(x) for x in (table.mean(1), np.median(table, 1), iqm(table))))


def iqm(table: np.ndarray) -> np.ndarray:
    """Mean of the values of each row `[rows, values]` that lie between its quartiles."""
    low, high = np.quantile(table, (0.25, 0.75), axis=1, keepdims=True)
    inside = (table >= low) & (table <= high)
    return np.where(inside, table, 0).sum(1) / inside.sum(1)


def roc_auc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive has the higher score; ties count half (Mann-Whitney)."""
    ranks = scipy.stats.rankdata(np.concatenate([negative, positive]))[len(negative) :]
    above = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(above / (len(negative) * len(positive)))


def _deviation(pooled: np.ndarray) -> float:
    """Standard deviation of the pooled sample; 1 if all its values are equal."""
    return float(pooled.std(ddof=1)) or 1.0


def _redrawn(place: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """A bootstrap resample."""
    return place if rng is None else place[rng.integers(len(place), size=len(place))]


def _shares(place: np.ndarray, values: int) -> np.ndarray:
    """Share of the sample on each of the values."""
    return np.bincount(place, minlength=values) / len(place)


def _weighted(found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the rows of `found` that are defined."""
    known = np.isfinite(found)
    total = np.where(known, weights, 0).sum(0)
    mean = np.where(known, found * weights, 0).sum(0) / np.where(total > 0, total, 1)
    return np.where(total > 0, mean, np.nan)
