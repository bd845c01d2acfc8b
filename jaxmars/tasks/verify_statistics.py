"""The battery of statistics a market is verified by (realism spec 2.2 and 2.3).

Those of Cont's facts are computed by `tasks.facts_statistics`. Here are those of the order flow,
their names, and what the reference market has been measured to have.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.tasks.facts_minutes import WINDOW, Groups, Minutes
from jaxmars.tasks.facts_statistics import (
    FINE_SPAN,
    FIRST,
    HALF_LAGS,
    LAGS,
    RETURN_LAGS,
    SPANS,
    VOLUME_LAGS,
    Facts,
    by_time_of_day,
    compute_facts,
    kurtosis,
    log_returns,
)
from jaxmars.tasks.verify_windows import Observed, Sample

SIGN_LAGS = np.array([1, 2, 5, 10, 20, 50])  # trades
RATIO_SPANS = np.array([5, 20])  # minutes
LEAST_PAIRS = 26  # pairs of trade signs that a window's autocorrelation needs beyond the lag
TARGET_GROUPS = 100  # groups of windows that the targets were measured on


class Flow(NamedTuple):
    """Statistics of the order flow, `[groups]` float64 unless said otherwise."""

    orders: np.ndarray  # per minute
    shares: np.ndarray  # [groups, 3] of limit orders that rest, trades, cancels
    spread: np.ndarray  # ticks
    sign_memory: np.ndarray  # [groups, SIGN_LAGS] autocorrelation of trade signs
    variance_ratio: np.ndarray  # [groups, RATIO_SPANS] of mids
    kurtosis_by_minute: np.ndarray  # of returns over the deviation of their minute in the group


class Statistics(NamedTuple):
    """Everything that is measured of a sample."""

    facts: Facts
    flow: Flow


class Measure(NamedTuple):
    """One number of the battery."""

    name: str
    value: Callable[[Statistics], np.ndarray]  # of each group, [groups]
    target: float | None = None  # of the reference market, 2,300 windows; None if not published
    tolerance: float = 0.0  # by which a mean may differ from it


class Estimate(NamedTuple):
    """A mean over groups."""

    mean: float
    error: float  # standard error
    groups: int  # that have a number


def compute_statistics(sample: Sample) -> Statistics:
    """The statistics of every group of a sample."""
    return Statistics(compute_facts(sample.minutes, sample.groups), compute_flow(sample))


def compute_flow(sample: Sample) -> Flow:
    """Statistics of the order flow of every group."""
    groups = sample.groups
    counts = np.stack([window.counts for window in sample.flow]).astype(float)
    spread = np.array([window.spread for window in sample.flow])
    total = np.stack([group_mean(column, groups) for column in counts.T], 1)
    memory = [[sign_autocorrelation(w, lag) for lag in SIGN_LAGS] for w in sample.flow]
    mid = sample.minutes.mid_last
    return Flow(
        orders=total.sum(1) / WINDOW,
        shares=total / total.sum(1, keepdims=True),
        spread=group_mean(spread, groups),
        sign_memory=np.stack([group_mean(x, groups) for x in np.array(memory).T], 1),
        variance_ratio=np.stack([variance_ratio(mid, int(h), groups) for h in RATIO_SPANS], 1),
        kurtosis_by_minute=kurtosis_by_minute(sample.minutes, groups),
    )


def group_mean(value: np.ndarray, groups: Groups) -> np.ndarray:
    """Mean over the windows of each group that have a number, `[groups]` from `[windows]`."""
    known = np.isfinite(value)
    add = lambda x: np.bincount(groups.of_window, x, len(groups.names))
    with np.errstate(invalid="ignore", divide="ignore"):
        return add(np.where(known, value, 0.0)) / add(known.astype(float))


def sign_autocorrelation(window: Observed, lag: int) -> float:
    """Pearson correlation of the signs of trades with those `lag` trades later.

    Returns:
      nan for a window with few trades or with trades of one sign only.
    """
    before, after = window.signs[:-lag], window.signs[lag:]
    if len(before) < LEAST_PAIRS + lag or (before == before[0]).all() or (after == after[0]).all():
        return np.nan
    return float(np.corrcoef(before, after)[0, 1])


def variance_ratio(price: np.ndarray, span: int, groups: Groups) -> np.ndarray:
    """Variance of changes over `span` minutes over `span` times that over one, `[groups]`.

    One for a random walk; above it trends, below it reversals.

    Args:
      price: `[windows, minutes]`, ticks.
      span: minutes.
      groups: whose windows are pooled.
    """
    found = []
    for group in range(len(groups.names)):
        own = price[groups.of_window == group]
        change = lambda h, own=own: (own[:, h:] - own[:, :-h]).var()
        short = change(1)
        found.append(change(span) / (span * short) if short > 0 else np.nan)
    return np.array(found)


def kurtosis_by_minute(minutes: Minutes, groups: Groups) -> np.ndarray:
    """Excess kurtosis of one-minute returns, each over the deviation of its minute, `[groups]`.

    The deviation is that of the windows of the group. Taken over all windows, as the release does
    with all its symbols, it leaves the differences between groups in.
    """
    normal = np.full((len(minutes.last), WINDOW - 1 - FIRST), np.nan)
    one = log_returns(minutes.last, 1)[:, FIRST:]
    for group in range(len(groups.names)):
        own = groups.of_window == group
        normal[own] = by_time_of_day(one[own], minutes.minute[own])
    return kurtosis(normal, np.isfinite(normal), groups)


def estimate(values: np.ndarray) -> Estimate:
    """Mean of `[groups]` numbers; those that are not finite are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Estimate(np.nan, np.nan, 0)
    deviation = known.std(ddof=1) if len(known) > 1 else np.nan
    return Estimate(float(known.mean()), float(deviation / np.sqrt(len(known))), len(known))


def _fact(field: str, places: np.ndarray, place: int) -> Callable[[Statistics], np.ndarray]:
    column = int(np.flatnonzero(places == place)[0])
    return lambda found: getattr(found.facts, field)[:, column]


def _flow(field: str, column: int | None = None) -> Callable[[Statistics], np.ndarray]:
    pick = lambda values: values if column is None else values[:, column]
    return lambda found: pick(getattr(found.flow, field))


def _returns(lag: int) -> Callable[[Statistics], np.ndarray]:
    return _fact("autocorrelation", RETURN_LAGS, lag)


def _kurtosis(span: int) -> Callable[[Statistics], np.ndarray]:
    return _fact("kurtosis", SPANS, span)


def _clustering(lag: int) -> Callable[[Statistics], np.ndarray]:
    return _fact("clustering", LAGS, lag)


def _signs(lag: int) -> Callable[[Statistics], np.ndarray]:
    return _flow("sign_memory", int(np.flatnonzero(SIGN_LAGS == lag)[0]))


BATTERY = (
    Measure("orders per minute", _flow("orders"), 288, 35),
    Measure("share of limit orders", _flow("shares", 0), 0.46, 0.02),
    Measure("share of trades", _flow("shares", 1), 0.12, 0.02),
    Measure("share of cancels", _flow("shares", 2), 0.42, 0.02),
    Measure("spread", _flow("spread"), 1.14, 0.05),
    Measure("return acf 1", _returns(1), -0.033, 0.04),
    Measure("return acf 2", _returns(2), 0.0, 0.04),
    Measure("return acf 5", _returns(5), 0.0, 0.04),
    Measure("kurtosis 1 min", _kurtosis(1), 6.6, 2.5),
    Measure("kurtosis 5 min", _kurtosis(5), 7.0, 3.0),
    Measure("kurtosis 20 min", _kurtosis(20), 2.9, 2.0),
    Measure("skewness", _fact("skewness", SPANS, 1), -0.05, 0.35),
    Measure("Fano factor", lambda found: found.facts.fano_window[:, 0], 1.84, 0.4),
    Measure("abs return acf 1", _clustering(1), 0.250, 0.05),
    Measure("abs return acf 2", _clustering(2), 0.192, 0.05),
    Measure("abs return acf 5", _clustering(5), 0.133, 0.05),
    Measure("abs return acf 10", _clustering(10), 0.095, 0.05),
    Measure("abs return acf 20", _clustering(20), 0.070, 0.06),
    Measure("conditional kurtosis", _flow("kurtosis_by_minute"), 1.74, 0.9),
    Measure("volume with abs return", _fact("volume", VOLUME_LAGS, -1), 0.52, 0.06),
    Measure("volume with next abs return", _fact("volume", VOLUME_LAGS, 0), 0.39, 0.06),
    Measure("coarse-fine asymmetry", _fact("asymmetry", HALF_LAGS, FINE_SPAN), -0.086, 0.045),
    Measure("leverage", _fact("leverage", LAGS, 1), 0.006, 0.04),
    Measure("variance ratio 5", _flow("variance_ratio", 0), 1.07, 0.12),
    Measure("variance ratio 20", _flow("variance_ratio", 1), 1.06, 0.2),
    Measure("trade sign acf 1", _signs(1), 0.217, 0.03),
    Measure("trade sign acf 10", _signs(10), 0.078, 0.03),
    Measure("trade sign acf 50", _signs(50), 0.020, 0.02),
)
MEASURES = {measure.name: measure for measure in BATTERY}


def battery_table(found: Statistics) -> pd.DataFrame:
    """A market beside the published reference market, one row per measure.

    Returns:
      Columns: statistic; value and error, mean over groups and its standard error; target;
      tolerance; z, the difference over its standard error, that of the target included; passes.
    """
    rows = []
    for measure in BATTERY:
        mean, error, groups = estimate(measure.value(found))
        assert measure.target is not None
        both = error * np.sqrt(1 + groups / TARGET_GROUPS)
        rows.append(
            {
                "statistic": measure.name,
                "value": mean,
                "error": error,
                "target": measure.target,
                "tolerance": measure.tolerance,
                "z": _score(mean - measure.target, both),
                "passes": bool(abs(mean - measure.target) <= measure.tolerance),
            }
        )
    return pd.DataFrame(rows)


def comparison_table(ours: Statistics, theirs: Statistics) -> pd.DataFrame:
    """Two markets, one row per measure.

    Returns:
      Columns: statistic; `model`, `model_error`, `generator`, `generator_error`; difference; z,
      the difference over its standard error; tolerance; passes: the difference is within the
      tolerance of the battery or, for want of windows, within two standard errors.
    """
    rows = []
    for measure in BATTERY:
        (a, a_error, _), (b, b_error, _) = (estimate(measure.value(x)) for x in (ours, theirs))
        both = np.hypot(a_error, b_error)
        rows.append(
            {
                "statistic": measure.name,
                "model": a,
                "model_error": a_error,
                "generator": b,
                "generator_error": b_error,
                "difference": a - b,
                "z": _score(a - b, both),
                "tolerance": measure.tolerance,
                "passes": bool(abs(a - b) <= max(measure.tolerance, 2 * both)),
            }
        )
    return pd.DataFrame(rows)


def _score(difference: float, error: float) -> float:
    """A difference in standard errors; nan without an error."""
    return float(difference / error) if error > 0 else np.nan


def markdown_table(table: pd.DataFrame, digits: int = 3) -> str:
    """A table as Markdown; numbers with some decimals, verdicts in words."""
    head = [str(name).replace("_", " ") for name in table.columns]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in table.to_dict("records"):
        lines.append(f"| {' | '.join(_cell(value, digits) for value in row.values())} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "**no**"
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}f}" if np.isfinite(value) else "-"
    return str(value)
