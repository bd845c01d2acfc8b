"""Quantile bins of one order attribute, on the host, by the algorithm of the release.

Source: release `BinConverter`, spec "BinConverter" steps 1-6 (the paper names only the number of
bins, section 2.2). A value more frequent than 1/n of the data gets an edge of its own, so that it
closes a bin; the rest of the data is cut into pieces of equal count that never split a tie.

Differences, where the release depends on a global generator or fails later:

* the shuffle that picks the sample has its own seed;
* of several equally frequent values at the cut of a table the release keeps whichever it met
  first; here evenly spaced ranks are kept, which for continuous data are the bin's quantiles.
"""

import numpy as np

from jaxmars.errors import InputError

MIN_BINS = 2
SINGLE_MARGIN = 1.0  # how far the first edge lies below a smallest value that has its own edge


def slots_of(edges: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Slot of every value: bin k is (edges[k], edges[k + 1]], the ends are open.

    Args:
      edges: float64[n + 1], ascending; repeated edges make bins that no value reaches.
      x: [...] values. NaN and inf give n - 1, -inf gives 0, as in the release.

    Returns:
      int32[...] slots in [0, n).
    """
    smaller = np.searchsorted(edges, x, side="left")
    return np.clip(smaller - 1, 0, len(edges) - 2).astype(np.int32)


def draw_sample(values: np.ndarray, max_samples: int, seed: int) -> np.ndarray:
    """At most `max_samples` of the values, sorted; raises `InputError` for unusable ones."""
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not sample.size:
        raise InputError(
            f"values to fit bins to have shape {sample.shape}, expected one axis with at least one"
        )
    bad = np.flatnonzero(~np.isfinite(sample))
    if bad.size:
        raise InputError(
            f"value {bad[0]} to fit bins to is {sample[bad[0]]}, expected finite numbers"
        )
    if sample.size > max_samples:
        sample = np.random.default_rng(seed).permutation(sample)[:max_samples]
    return np.sort(sample)


def fit_edges(sample: np.ndarray, num_bins: int) -> np.ndarray:
    """Edges of `num_bins` bins.

    Args:
      sample: float64[N], sorted, finite.
      num_bins: n, at least 2.

    Returns:
      float64[n + 1], ascending; heavily tied data repeat edges (an empty bin each).

    Raises:
      InputError: too few bins, or every value is so frequent that none is left to cut.
    """
    if num_bins < MIN_BINS:
        raise InputError(f"cannot fit {num_bins} bins, expected at least {MIN_BINS}")
    distinct, counts = np.unique(sample, return_counts=True)
    is_single = counts * num_bins > len(sample)
    rest = np.repeat(distinct[~is_single], counts[~is_single])
    if not len(rest):
        raise InputError(
            f"cannot fit {num_bins} bins to {len(distinct)} distinct values that each make up "
            f"more than 1/{num_bins} of the data, expected more distinct values or fewer bins"
        )
    first = distinct[0] - SINGLE_MARGIN if is_single[0] else distinct[0]
    cuts = _equal_cuts(rest, num_bins - int(is_single.sum()))
    return np.sort(np.concatenate(([first], distinct[is_single], cuts)))


def _equal_cuts(rest: np.ndarray, pieces: int) -> list[float]:
    """Upper edges of `pieces` runs of equal count of sorted data, ties kept with their first."""
    cuts: list[float] = []
    start, last = 0, len(rest) - 1
    for left in range(pieces, 0, -1):
        past_ties = int(np.searchsorted(rest, rest[min(start, last)], side="right"))
        start = max(start + (len(rest) - start) // left, past_ties)
        cuts.append(float(rest[min(start, last)]))
    return cuts


def fit_tables(
    sample: np.ndarray, edges: np.ndarray, max_values: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The values of every bin, ascending, and their probabilities.

    Args:
      sample: float64[N], sorted.
      edges: float64[n + 1] from `fit_edges`.
      max_values: most values a table may hold; the most frequent are kept.

    Returns:
      n arrays float64[<= max_values] of values, n arrays of probabilities proportional to the
      counts of the values kept; both empty for an empty bin.
    """
    if max_values < 1:
        raise InputError(f"a bin table of {max_values} values was asked for, expected at least 1")
    distinct, counts = np.unique(sample, return_counts=True)
    slots = slots_of(edges, distinct)
    values, probs = [], []
    for slot in range(len(edges) - 1):
        here = slots == slot
        kept = _most_frequent(counts[here], max_values)
        values.append(distinct[here][kept])
        weight = counts[here][kept].astype(np.float64)
        probs.append(weight / weight.sum() if len(weight) else weight)
    return values, probs


def _most_frequent(counts: np.ndarray, max_values: int) -> np.ndarray:
    """Ascending indices of the `max_values` largest counts; ties at evenly spaced ranks."""
    if len(counts) <= max_values:
        return np.arange(len(counts))
    cut = np.sort(counts)[-max_values]
    above = np.flatnonzero(counts > cut)
    tied = np.flatnonzero(counts == cut)
    room = max_values - len(above)
    middle_ranks = (2 * np.arange(room) + 1) * len(tied) // (2 * room)
    return np.sort(np.concatenate((above, tied[middle_ranks])))
