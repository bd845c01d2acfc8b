"""When a stylized fact counts as present, and whether it should be (realism spec 3.2).

MarS finds nine of Cont's eleven facts in real and in simulated order flow; gain/loss asymmetry (3)
and the leverage effect (9) are absent in both, so they are as expected when they stay small.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxmars.tasks.facts_statistics import (
    FINE_SPAN,
    HALF_LAGS,
    LAGS,
    LEAST_RETURNS,
    RETURN_LAGS,
    SPANS,
    VOLUME_LAGS,
    Facts,
)

ENOUGH_WINDOWS = 1000  # below, a verdict is an indication only
LARGEST_SHARE = 0.6  # of the kurtosis over one minute that may be left over twenty

FACT_NAMES = {
    1: "absence of autocorrelation",
    2: "heavy tails",
    3: "gain/loss asymmetry",
    4: "aggregational Gaussianity",
    5: "intermittency",
    6: "volatility clustering",
    7: "conditional heavy tails",
    8: "slow decay of clustering",
    9: "leverage effect",
    10: "volume and volatility",
    11: "asymmetry of time scales",
}
VARIED = "volumes and returns that vary"
ABSENT = (3, 9)  # in MarS's data, real and simulated


class Statistic(NamedTuple):
    """One number of the report."""

    fact: int
    name: str
    value: Callable[[Facts], np.ndarray]  # of each group, [groups, lags]
    low: float | None = None  # the mean over groups must not be below, at any lag; None: no rule
    high: float | None = None  # nor above
    z_high: float | None = None  # mean over its standard error must not be above
    needs: str = "returns that vary"  # for a number

    @property
    def rule(self) -> str:
        """The rule in words, empty without one."""
        parts = []
        if self.low is not None and self.high is not None:
            parts.append(f"{self.low:g} to {self.high:g}")
        elif self.low is not None:
            parts.append(f"at least {self.low:g}")
        elif self.high is not None:
            parts.append(f"at most {self.high:g}")
        if self.z_high is not None:
            parts.append(f"z at most {self.z_high:g}")
        return ", ".join(parts)

    def passes(self, mean: float, error: float) -> bool | None:
        """Whether the rule holds; None without a rule or without what it needs.

        Args:
          mean: over groups.
          error: standard error of it; nan for one group.
        """
        if not self.rule or not np.isfinite(mean):
            return None
        if self.z_high is not None:
            if not np.isfinite(error):
                return None
            if mean > self.z_high * error:
                return False
        above = self.low is None or mean >= self.low
        return above and (self.high is None or mean <= self.high)

    def lacking(self, mean: float, error: float) -> str:
        """What the rule would need to be decided, empty if it is decided or there is none.

        Args:
          mean: over groups.
          error: standard error of it; nan for one group.
        """
        if not self.rule or self.passes(mean, error) is not None:
            return ""
        return "two groups of windows" if np.isfinite(mean) else self.needs


def _at(field: str, places: np.ndarray, *wanted: int) -> Callable[[Facts], np.ndarray]:
    """The columns of a field of `Facts` at some lags or spans."""
    columns = [int(np.flatnonzero(places == place)[0]) for place in wanted]
    return lambda facts: getattr(facts, field)[:, columns]


def _all(field: str) -> Callable[[Facts], np.ndarray]:
    return lambda facts: getattr(facts, field)


def _drop(first: int, second: int) -> Callable[[Facts], np.ndarray]:
    """How much larger the autocorrelation of absolute returns is at the first of two lags."""
    values = _at("clustering", LAGS, first, second)
    return lambda facts: -np.diff(values(facts))


def _excess_left(facts: Facts) -> np.ndarray:
    """Kurtosis over twenty minutes above the largest allowed share of that over one minute."""
    values = _at("kurtosis", SPANS, 1, SPANS[-1])(facts)
    return values[:, 1:] - LARGEST_SHARE * values[:, :1]


STATISTICS = (
    Statistic(1, "lag 1, last price", _at("autocorrelation", RETURN_LAGS, 1), -0.2, 0.05),
    Statistic(
        1,
        "largest of lags 2 to 10",
        _at("autocorrelation", RETURN_LAGS, *range(2, 11)),
        -0.05,
        0.05,
    ),
    Statistic(1, "lag 1, last mid", _at("autocorrelation_mid", RETURN_LAGS, 1)),
    Statistic(1, "lag 1, mean price", _at("autocorrelation_mean", RETURN_LAGS, 1)),
    Statistic(2, "excess kurtosis, 1 minute", _at("kurtosis", SPANS, 1), 1.0, 12.0),
    Statistic(2, "within windows", _all("kurtosis_within")),
    Statistic(3, "skewness, 1 minute", _at("skewness", SPANS, 1), -0.3, 0.3),
    Statistic(3, "skewness, 20 minutes", _at("skewness", SPANS, 20)),
    Statistic(4, "excess kurtosis, 5 minutes", _at("kurtosis", SPANS, 5)),
    Statistic(4, "excess kurtosis, 20 minutes", _at("kurtosis", SPANS, 20)),
    Statistic(4, f"20 minutes - {LARGEST_SHARE} x 1 minute", _excess_left, None, 0.0),
    Statistic(
        5,
        "Fano factor per window",
        _all("fano_window"),
        1.2,
        needs="two windows of a group, and returns that vary",
    ),
    Statistic(5, "Fano factor per hour", _all("fano_hour")),
    Statistic(6, "lag 1", _at("clustering", LAGS, 1), 0.1, 0.4),
    Statistic(6, "lag 1 within windows", _at("clustering_within", LAGS, 1)),
    Statistic(
        7,
        "kurtosis over time of day",
        _at("kurtosis_conditional", SPANS, 1),
        0.3,
        needs=f"{LEAST_RETURNS} returns at a time of day, and that they vary",
    ),
    Statistic(7, "kurtosis of GARCH residuals", _all("kurtosis_garch")),
    Statistic(8, "lag 5", _at("clustering", LAGS, 5), 0.05, None),
    Statistic(8, "lag 10", _at("clustering", LAGS, 10), 0.03, None),
    Statistic(8, "lag 1 - lag 5", _drop(1, 5), 0.0, None),
    Statistic(8, "lag 5 - lag 10", _drop(5, 10), 0.0, None),
    Statistic(9, "lag 1", _at("leverage", LAGS, 1), -0.05, 0.05),
    Statistic(10, "same minute", _at("volume", VOLUME_LAGS, -1), 0.2, needs=VARIED),
    Statistic(10, "next minute", _at("volume", VOLUME_LAGS, 0)),
    Statistic(10, "lag 1", _at("volume", VOLUME_LAGS, 1), 0.05, needs=VARIED),
    Statistic(11, "C(5) - C(-5)", _at("asymmetry", HALF_LAGS, FINE_SPAN), None, -0.03, z_high=-2.0),
)
