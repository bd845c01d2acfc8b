"""Statistics of the stylized facts: a slow oracle, and processes with known answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from jaxmars.tasks.facts_garch import conditional_variance, garch_residuals
from jaxmars.tasks.facts_minutes import WINDOW, Groups, Minutes
from jaxmars.tasks.facts_statistics import (
    CROSS_LAGS,
    HALF_LAGS,
    LAGS,
    LEAST_RETURNS,
    RETURN_LAGS,
    SPANS,
    Facts,
    compute_facts,
    correlation,
    kurtosis,
    skewness,
)

SYMBOLS, PER_SYMBOL = 100, 23
WINDOWS = SYMBOLS * PER_SYMBOL
STEPS = WINDOW - 1  # returns of a window
SCALE = 1e-3  # of a one-minute return
DAY = 1440
ERRORS = 4.5  # standard errors that a mean may be off


def windows_of(
    returns: np.ndarray, volume: np.ndarray | None = None, symbols: int = SYMBOLS
) -> tuple[Minutes, Groups]:
    """Windows with these one-minute returns `[windows, 25]`, one day each."""
    count = len(returns)
    path = np.concatenate([np.zeros((count, 1)), np.cumsum(SCALE * returns, 1)], 1)
    price = 20 * np.exp(path)
    minute = np.arange(count)[:, None] * DAY + 600 + np.arange(WINDOW)
    index = np.arange(count) * symbols // count
    traded = np.ones(price.shape) if volume is None else volume
    minutes = Minutes(index.astype(str), minute, price, price, price, price, traded)
    return minutes, Groups(index, tuple(map(str, range(symbols))))


def facts_of(returns: np.ndarray, volume: np.ndarray | None = None) -> Facts:
    return compute_facts(*windows_of(returns, volume))


def check(values: np.ndarray, expected: Any, bias: float = 0.0) -> None:
    """Means over groups `[groups, lags]` agree with known answers `[lags]`."""
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    assert (np.abs(values.mean(0) - expected) <= ERRORS * error + bias).all(), (
        values.mean(0),
        expected,
        error,
    )


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or (WINDOWS, STEPS))


@pytest.fixture(scope="module")
def gaussian() -> Facts:
    return facts_of(normal(0), np.exp(normal(1, WINDOWS, WINDOW)))


EDGE = 0.004  # bias of a correlation of a few hundred pairs


@pytest.mark.parametrize(
    "name",
    ["autocorrelation", "clustering", "leverage", "volume", "kurtosis_garch", "skewness"],
)
def test_independent_gaussian_returns_have_no_facts(gaussian: Facts, name: str) -> None:
    check(getattr(gaussian, name), 0.0, 0.03 if name == "kurtosis_garch" else 2 * EDGE)


def test_independent_gaussian_returns_have_thin_tails(gaussian: Facts) -> None:
    check(gaussian.kurtosis[:, :5], 0.0, 0.05)
    check(gaussian.kurtosis_conditional[:, :5], 0.0, 0.05)
    check(gaussian.fano_window, 1.0, 0.02)
    check(gaussian.clustering_within, -1 / (STEPS - 1), 2 * EDGE)
    check(gaussian.asymmetry, 0.0, 0.02)
    apart = np.abs(CROSS_LAGS) >= 5
    check(gaussian.coarse_fine[:, apart], 0.0, 0.02)
    assert (gaussian.coarse_fine[:, CROSS_LAGS == 0] > 0.2).all()


def test_autoregression() -> None:
    noise, phi = normal(2, WINDOWS, STEPS + 30), 0.4
    path = np.zeros(noise.shape)
    for t in range(1, noise.shape[1]):
        path[:, t] = phi * path[:, t - 1] + noise[:, t]
    check(facts_of(path[:, -STEPS:]).autocorrelation, phi**RETURN_LAGS, EDGE)


def test_sums_of_independent_returns_lose_kurtosis_and_skewness() -> None:
    spans = SPANS[:10]
    laplace = np.random.default_rng(3).laplace(size=(WINDOWS, STEPS))
    check(facts_of(laplace).kurtosis[:, :10], 3 / spans, 0.08)
    exponential = np.random.default_rng(4).exponential(size=(WINDOWS, STEPS))
    check(facts_of(0.3 * exponential).skewness[:, :10], 2 / np.sqrt(spans), 0.05)


def test_student_tails() -> None:
    freedom = 12
    t = np.random.default_rng(5).standard_t(freedom, (WINDOWS, STEPS))
    check(facts_of(t).kurtosis[:, 0], 6 / (freedom - 4), 0.03)


def test_stochastic_volatility() -> None:
    """r = exp(h / 2) e with a Gaussian autoregression h has known moments."""
    variance, phi = 0.5, 0.9
    noise, h = normal(6, WINDOWS, STEPS), np.zeros((WINDOWS, STEPS))
    step = normal(7, WINDOWS, STEPS) * np.sqrt(variance)
    h[:, 0] = step[:, 0]
    for t in range(1, STEPS):
        h[:, t] = phi * h[:, t - 1] + np.sqrt(1 - phi**2) * step[:, t]
    found = facts_of(np.exp(h / 2) * noise)
    top = np.exp(variance * phi**LAGS / 4) - 1
    check(found.clustering, top / (np.pi / 2 * np.exp(variance / 4) - 1), 0.02)
    check(found.kurtosis[:, 0], 3 * np.exp(variance) - 3, 0.1)
    check(found.leverage, 0.0, 2 * EDGE)
    assert found.kurtosis_garch.mean() < 0.85 * found.kurtosis[:, 0].mean()


def test_windows_of_different_volatility_cluster_only_when_pooled() -> None:
    level = np.where(np.arange(WINDOWS) % 2 == 0, 1.0, 3.0)[:, None]
    found = facts_of(level * normal(8))
    ratio = 2 / np.pi  # E|e|^2
    known = ratio * 1.0 / (5.0 - ratio * 4.0)  # variance of the levels over that of |r|
    check(found.clustering[:, :10], known, 0.01)
    check(found.clustering_within, -1 / (STEPS - 1), 2 * EDGE)
    assert found.kurtosis[:, 0].mean() > 1.5 and found.kurtosis_within.mean() < 0
    assert found.fano_window.mean() > 1.15


def test_volatility_of_the_time_of_day_is_divided_out() -> None:
    pattern = np.where(np.arange(STEPS) % 3 == 0, 3.0, 1.0)
    found = facts_of(pattern * normal(9))
    assert found.kurtosis[:, 0].mean() > 1.0
    check(found.kurtosis_conditional[:, 0], 0.0, 0.03)


def test_garch_residuals_are_gaussian_again() -> None:
    a, b = 0.25, 0.6
    noise, path = normal(10), np.ones((WINDOWS, STEPS))
    for t in range(1, STEPS):
        path[:, t] = (1 - a - b) + path[:, t - 1] * (a * noise[:, t - 1] ** 2 + b)
    returns = np.sqrt(path) * noise
    assert np.allclose(conditional_variance(returns, a, b), path)
    residuals = garch_residuals(returns, np.ones(WINDOWS))
    one = Groups(np.zeros(WINDOWS, np.int64), ("all",))
    everything = np.ones(returns.shape, bool)
    assert kurtosis(returns, everything, one)[0] > 1.0
    assert abs(kurtosis(residuals, everything, one)[0]) < 0.15
    assert np.isnan(garch_residuals(0 * returns, np.zeros(WINDOWS))).all()


def test_leverage() -> None:
    """The deviation is 2 after a fall and 1 after a rise."""
    noise = normal(11)
    deviation = np.ones((WINDOWS, STEPS))
    deviation[:, 0] = np.where(normal(12, WINDOWS) < 0, 2.0, 1.0)
    deviation[:, 1:] = np.where(noise[:, :-1] < 0, 2.0, 1.0)
    found = facts_of(deviation * noise).leverage
    ratio = 2 / np.pi
    known = -0.75 * ratio / np.sqrt(2.5 * (2.5 - 2.25 * ratio))
    check(found[:, 0], known, EDGE)
    check(found[:, 1:], 0.0, 2 * EDGE)


@pytest.mark.parametrize(("shift", "column"), [(1, 0), (0, 1), (-1, 2)])
def test_volume_that_is_the_size_of_one_return(shift: int, column: int) -> None:
    """Of the same minute, the next one and the one after it (the release's lag 1)."""
    returns = normal(13)
    size = np.abs(np.concatenate([returns[:, :1], returns, returns[:, -1:]], 1))
    start = 1 - shift
    found = facts_of(returns, size[:, start : start + WINDOW]).volume
    assert np.allclose(found[:, column], 1.0)
    check(np.delete(found, column, 1), 0.0, 2 * EDGE)


def test_trends_that_raise_later_volatility_are_asymmetric_in_time() -> None:
    noise, returns = normal(14, WINDOWS, STEPS + 40), np.zeros((WINDOWS, STEPS + 40))
    for t in range(5, returns.shape[1]):
        trend = np.abs(returns[:, t - 5 : t].sum(1))
        returns[:, t] = noise[:, t] * (0.5 + 0.3 * np.minimum(trend, 4.0))
    returns = returns[:, -STEPS:]
    at = int(np.flatnonzero(HALF_LAGS == 5)[0])
    forward, backward = facts_of(returns).asymmetry, facts_of(returns[:, ::-1]).asymmetry
    assert forward[:, at].mean() < -0.05 and backward[:, at].mean() > 0.05
    assert (forward[:, 0] == 0).all()


def test_bursts_raise_the_fano_factor() -> None:
    """Of 552 returns six are beyond the 99 % quantile: two in each of three windows."""
    burst = np.arange(WINDOWS) % PER_SYMBOL < 3
    returns = 0.01 * normal(15)
    extreme = 5.0 + 0.1 * normal(18, int(burst.sum()), 2)
    returns[burst, 3], returns[burst, 7] = extreme.T
    counts = np.where(np.arange(PER_SYMBOL) < 3, 2.0, 0.0)
    found = facts_of(returns)
    assert np.allclose(found.fano_window, counts.var(ddof=1) / counts.mean())
    assert np.allclose(found.fano_hour, found.fano_window)  # each window lies in an hour of its own


def test_one_hour_has_no_fano_factor_and_windows_without_variance_no_statistics() -> None:
    minutes, groups = windows_of(np.zeros((4, STEPS)), symbols=1)
    found = compute_facts(minutes, groups)
    for name in Facts._fields:
        values = getattr(found, name)
        assert np.isnan(values[:, 1:] if name == "asymmetry" else values).all(), name
    together = minutes._replace(minute=np.broadcast_to(minutes.minute[0], (4, WINDOW)))
    assert np.isnan(compute_facts(together, groups).fano_hour).all()


def test_moments_agree_with_pandas_on_kept_entries() -> None:
    rng = np.random.default_rng(16)
    x, keep = rng.gamma(0.7, size=(12, 9)), rng.random((12, 9)) < 0.7
    groups = Groups(np.arange(12) % 3, ("a", "b", "c"))
    for g in range(3):
        sample = pd.Series(x[groups.of_window == g][keep[groups.of_window == g]])
        assert np.isclose(kurtosis(x, keep, groups)[g], sample.kurtosis())
        assert np.isclose(skewness(x, keep, groups)[g], sample.skew())
    few = keep & (np.arange(9) < 1) & (np.arange(12) < 6)[:, None]
    assert np.isnan(kurtosis(x, few, groups)).all() and np.isnan(skewness(x, few, groups)).all()


def test_a_correlation_without_variance_is_nan() -> None:
    x = normal(17, 4, 5)
    groups = Groups(np.array([0, 0, 1, 1]), ("a", "b"))
    y = np.where(np.arange(4)[:, None] < 2, 0.1, x)
    found = correlation(x, y, groups)
    assert np.isnan(found[0]) and np.isclose(found[1], 1.0)


# The release's computations once more, pair by pair and with pandas, from the spec.


def pairs(minutes: Minutes, spans: list[int], lags: list[int], field: str = "last") -> Any:
    """Every pair of returns as one row."""
    rows = []
    for w, symbol in enumerate(minutes.symbol):
        p = getattr(minutes, field)[w]
        change = lambda i, span, p=p: np.log(p[i + span] / p[i])
        for span in spans:
            for lag in lags:
                for i in range(1, WINDOW):
                    if i + lag < 0 or i + span > STEPS or i + lag + span > STEPS:
                        continue
                    ones = [change(i + k, 1) for k in range(span)]
                    later = [change(i + lag + k, 1) for k in range(span)]
                    rows.append(
                        {
                            "symbol": symbol,
                            "span": span,
                            "lag": lag,
                            "minute": minutes.minute[w, i],
                            "volume": minutes.volume[w, i],
                            "r1": change(i, span),
                            "r2": change(i + lag, span),
                            "fine": np.abs(ones).sum(),
                            "coarse": abs(np.sum(later)),
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def awkward() -> tuple[Minutes, Groups, Facts]:
    """Windows of unequal symbols, hours and days, with returns too large to count."""
    rng = np.random.default_rng(20)
    count = 24
    returns = rng.standard_t(3, (count, STEPS))
    returns[2, 8], returns[5, 11] = 80.0, 600.0
    minutes, groups = windows_of(returns, rng.exponential(size=(count, WINDOW)), 3)
    symbol = np.array(list("aaaaaabbbbbbbbbbcccccccc"))
    start = rng.integers(0, 3, count)[:, None] * DAY + rng.choice(
        [600, 600, 600, 575, 640], (count, 1)
    )
    other = minutes.last * np.exp(1e-3 * rng.standard_normal(minutes.last.shape))
    minutes = minutes._replace(symbol=symbol, minute=start + np.arange(WINDOW), mean=other)
    index = np.unique(symbol, return_inverse=True)[1].astype(np.int64)
    groups = Groups(index, ("a", "b", "c"))
    return minutes, groups, compute_facts(minutes, groups)


def agrees(found: np.ndarray, frame: Any, key: str, statistic: Any) -> None:
    """`found` `[symbols, lags]` is the statistic of each symbol and lag."""
    each = {at: statistic(part) for at, part in frame.groupby(["symbol", key])}
    lags = sorted({lag for _, lag in each})
    expected = np.array([[each[s, lag] for lag in lags] for s in "abc"], np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_correlations_agree_with_the_oracle(awkward: tuple[Minutes, Groups, Facts]) -> None:
    minutes, _, found = awkward
    corr = lambda a, b: lambda x: np.corrcoef(a(x), b(x))[0, 1]
    r1, r2, volume = (lambda x, n=n: x[n] for n in ("r1", "r2", "volume"))
    size1, size2 = (lambda x, n=n: x[n].abs() for n in ("r1", "r2"))
    table = pairs(minutes, [1], list(range(-1, 21)))
    later = table[table["lag"] > 0]
    agrees(found.autocorrelation, later[later["lag"] <= 10], "lag", corr(r1, r2))
    agrees(found.clustering, later, "lag", corr(size1, size2))
    agrees(found.leverage, later, "lag", corr(r1, size2))
    agrees(found.volume, table, "lag", corr(volume, size2))
    mean = pairs(minutes, [1], list(range(1, 11)), "mean")
    agrees(found.autocorrelation_mean, mean, "lag", corr(r1, r2))


def test_time_scales_agree_with_the_oracle(awkward: tuple[Minutes, Groups, Facts]) -> None:
    minutes, _, found = awkward
    table = pairs(minutes, [5], CROSS_LAGS.tolist())
    agrees(found.coarse_fine, table, "lag", lambda x: x["coarse"].corr(x["fine"]))
    c = dict(zip(CROSS_LAGS.tolist(), found.coarse_fine.T, strict=True))
    for lag, column in zip(HALF_LAGS.tolist(), found.asymmetry.T, strict=True):
        assert np.allclose(column, c[lag] - c[-lag])


def test_moments_agree_with_the_oracle(awkward: tuple[Minutes, Groups, Facts]) -> None:
    minutes, _, found = awkward
    table = pairs(minutes, SPANS.tolist(), [0])
    tame = table[table["r1"].abs() < 0.5].copy()
    assert len(tame) < len(table)
    agrees(found.kurtosis, tame, "span", lambda x: x["r1"].kurtosis())
    skewed = table[table["r1"].abs() < 0.05]
    assert len(skewed) < len(tame)
    agrees(found.skewness, skewed, "span", lambda x: x["r1"].skew())
    time = tame["minute"] % DAY
    alike = tame.groupby([tame["span"], time])["r1"]
    tame["normal"] = tame["r1"] / alike.transform("std")
    enough = tame[alike.transform("count") >= LEAST_RETURNS]
    assert 0 < len(enough) < len(tame)
    agrees(found.kurtosis_conditional, enough, "span", lambda x: x["normal"].kurtosis())


def test_intermittency_agrees_with_the_oracle(awkward: tuple[Minutes, Groups, Facts]) -> None:
    minutes, _, found = awkward
    table: Any = pairs(minutes, [1], [0])
    for row, (_, part) in enumerate(table.groupby("symbol")):
        size: Any = part["r1"].abs()
        counts: Any = (size > size.quantile(0.99)).groupby(part["minute"] // 60).sum()
        expected = counts.var() / counts.mean()
        np.testing.assert_allclose(found.fano_hour[row, 0], expected, rtol=1e-12)
