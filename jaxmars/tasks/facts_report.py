"""The stylized facts of simulated order flow, beside those of the market."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.tasks.facts_minutes import Groups, Minutes, group_windows
from jaxmars.tasks.facts_rules import FACT_NAMES, STATISTICS, Statistic
from jaxmars.tasks.facts_statistics import Facts, compute_facts

LEVEL = 0.95  # of all bands
NORMAL_QUANTILE = 1.959964  # of that level, two-sided
RESAMPLES = 1000  # of the groups, for the bands of the curves
NULL_WINDOWS = 5000  # simulated, about
NULL_GROUPS = (40, 200)  # of them, fewest and most
NULL_DEVIATION = 1e-3  # of a one-minute log return; no statistic depends on it


class Source(NamedTuple):
    """One kind of order flow and its statistics."""

    name: str  # for tables and figures
    minutes: Minutes
    groups: Groups
    facts: Facts


class Estimate(NamedTuple):
    """Mean over groups of one curve, `[lags]` float64 each; groups without a number left out."""

    mean: np.ndarray
    error: np.ndarray  # standard error; nan for a single group
    low: np.ndarray  # 95 % bootstrap interval; nan for a single group
    high: np.ndarray


class FactsResult(NamedTuple):
    """The statistics of simulated and, if given, historical windows."""

    simulated: Source
    historical: Source | None
    null: Facts  # of independent Gaussian returns, in groups like the simulated ones
    seed: int  # of the null and the bootstrap

    @property
    def sources(self) -> list[Source]:
        """Historical before simulated."""
        return [s for s in (self.historical, self.simulated) if s is not None]

    def table(self) -> pd.DataFrame:
        """One row per statistic.

        Returns:
          Columns: fact (number), name, statistic; for both sources the mean over groups and its
          standard error (`historical`, `historical_error`, `simulated`, `simulated_error`);
          `null_low`, `null_high`, the 95 % band of the mean under independent Gaussian returns in
          groups like the simulated ones; rule; `passes`, of the simulated mean: True, False, or
          None where there is no rule. A statistic of several lags shows the largest in size.
        """
        return pd.DataFrame([self._row(statistic) for statistic in STATISTICS])

    def verdicts(self, source: Source | None = None) -> dict[int, bool | None]:
        """Whether each fact is as expected in a source (default: the simulated one).

        Returns:
          For facts 1 to 11 True if all its rules hold, False if one does not, None where one has
          no number.
        """
        found: dict[int, list[bool | None]] = {fact: [] for fact in FACT_NAMES}
        for statistic in STATISTICS:
            if statistic.rule:
                mean, error, _ = _shown(statistic, (source or self.simulated).facts)
                found[statistic.fact].append(statistic.passes(mean, error))
        return {
            fact: False if False in marks else None if None in marks else True
            for fact, marks in found.items()
        }

    def undecided(self) -> dict[int, str]:
        """What each fact without a verdict in the simulated source lacks, by the fact's number."""
        found: dict[int, str] = {}
        for statistic in STATISTICS:
            mean, error, _ = _shown(statistic, self.simulated.facts)
            lack = statistic.lacking(mean, error)
            if lack:
                found.setdefault(statistic.fact, lack)
        verdicts = self.verdicts()
        return {fact: lack for fact, lack in found.items() if verdicts[fact] is None}

    def estimate(self, value: Callable[[Facts], np.ndarray], source: Source) -> Estimate:
        """Mean and band of a curve.

        Args:
          value: takes `[groups, lags]` out of `Facts`.
          source: whose.
        """
        return estimate(value(source.facts), self.seed)

    def null_band(self, value: Callable[[Facts], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """95 % band of the mean over as many groups as were simulated under the null, `[lags]`
        each; it is wider by the error of the null's own mean."""
        values = value(self.null)
        mean, deviation = _mean(values), _deviation(values)
        error = np.sqrt(1 / len(self.simulated.groups.names) + 1 / len(values))
        half = NORMAL_QUANTILE * deviation * error
        return mean - half, mean + half

    def plot(self, path: pathlib.Path) -> None:
        """Writes the figure of eleven panels as PNG."""
        from jaxmars.tasks.facts_figure import draw

        draw(path, self)

    def _row(self, statistic: Statistic) -> dict[str, Any]:
        """One row of the table."""
        mean, error, place = _shown(statistic, self.simulated.facts)
        low, high = (band[place] for band in self.null_band(statistic.value))
        old, old_error = np.nan, np.nan
        if self.historical is not None:
            old, old_error, _ = _shown(statistic, self.historical.facts)
        return {
            "fact": statistic.fact,
            "name": FACT_NAMES[statistic.fact],
            "statistic": statistic.name,
            "historical": old,
            "historical_error": old_error,
            "simulated": mean,
            "simulated_error": error,
            "null_low": low,
            "null_high": high,
            "rule": statistic.rule,
            "passes": statistic.passes(mean, error),
        }


def stylized_facts(
    simulated: Minutes, historical: Minutes | None = None, *, seed: int = 0
) -> FactsResult:
    """Cont's eleven stylized facts, computed as the MarS release does.

    Each statistic is computed on the pooled windows of a group and averaged over groups. Groups
    are symbols; if there is one symbol only, 23 of its windows at a time stand for one. Unlike the
    release, fact 7 leaves out times of day with fewer than ten returns (why:
    `facts_statistics.by_time_of_day`).

    Args:
      simulated: windows to judge.
      historical: windows of the real market to compare with.
      seed: of the null and of the bootstrap; not negative.

    Source: spec "Stylised-facts report", realism spec 3.2; Cont (2001), Ratliff-Crain et al.
    (arXiv 2311.07738).
    """
    sources = [
        None if minutes is None else _source(name, minutes)
        for name, minutes in (("historical", historical), ("simulated", simulated))
    ]
    old, new = sources
    assert new is not None
    return FactsResult(new, old, gaussian_null(new.minutes, new.groups, seed), seed)


def _source(name: str, minutes: Minutes) -> Source:
    groups = group_windows(minutes)
    return Source(name, minutes, groups, compute_facts(minutes, groups))


def gaussian_null(minutes: Minutes, groups: Groups, seed: int) -> Facts:
    """Statistics of independent Gaussian returns and independent volumes.

    Args:
      minutes: whose clock the windows of the null have.
      groups: of them; the groups of the null have the median of their sizes.
      seed: of the returns.
    """
    size = int(np.median(np.bincount(groups.of_window, minlength=len(groups.names))))
    count = int(np.clip(NULL_WINDOWS // size, *NULL_GROUPS))
    rng = np.random.default_rng(seed)
    rows = np.resize(np.arange(len(minutes.minute)), count * size)
    shape = (count * size, minutes.minute.shape[1])
    price = np.exp(np.cumsum(NULL_DEVIATION * rng.standard_normal(shape), axis=1))
    index = np.repeat(np.arange(count), size)
    windows = Minutes(
        symbol=index.astype(str),
        minute=minutes.minute[rows],
        last=price,
        mean=price,
        mid_last=price,
        mid_mean=price,
        volume=np.exp(rng.standard_normal(shape)),
    )
    return compute_facts(windows, Groups(index, tuple(map(str, range(count)))))


def estimate(values: np.ndarray, seed: int) -> Estimate:
    """Mean over groups with its error and 95 % bootstrap interval.

    Args:
      values: `[groups, lags]`; nan is left out.
      seed: of the bootstrap.
    """
    mean, groups = _mean(values), len(values)
    known = np.isfinite(values)
    count = known.sum(0)
    error = _deviation(values) / np.sqrt(np.maximum(count, 1))
    rng = np.random.default_rng(seed)
    weight = rng.multinomial(groups, np.full(groups, 1 / groups), RESAMPLES).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (weight @ np.where(known, values, 0.0)) / (weight @ known.astype(float))
    low, high = (_quantile(means, edge) for edge in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    many = count > 1
    return Estimate(mean, error, np.where(many, low, np.nan), np.where(many, high, np.nan))


def _shown(statistic: Statistic, facts: Facts) -> tuple[float, float, int]:
    """Mean, standard error and place of the largest mean of a statistic; nan without a number."""
    values = statistic.value(facts)
    mean = _mean(values)
    if not np.isfinite(mean).all():
        return np.nan, np.nan, 0
    place = int(np.abs(mean).argmax())
    count = int(np.isfinite(values[:, place]).sum())
    return float(mean[place]), float(_deviation(values)[place] / np.sqrt(count)), place


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over groups of what is finite, `[lags]`; nan if nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0.0).sum(0) / known.sum(0)


def _deviation(values: np.ndarray) -> np.ndarray:
    """Sample deviation over groups of what is finite, `[lags]`; nan for fewer than two."""
    known = np.isfinite(values)
    squares = np.where(known, values - _mean(values), 0.0) ** 2
    freedom = known.sum(0) - 1
    return np.where(freedom > 0, np.sqrt(squares.sum(0) / np.maximum(freedom, 1)), np.nan)


def _quantile(values: np.ndarray, q: float) -> np.ndarray:
    """Quantile over resamples, `[lags]`, leaving out resamples without a number."""
    full = np.where(np.isfinite(values).any(0), values, 0.0)
    return np.nanquantile(full, q, axis=0)
