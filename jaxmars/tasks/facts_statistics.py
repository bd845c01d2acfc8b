"""The statistics of the eleven stylized facts, per group of windows.

Source: spec "Stylised-facts report" and the remarks of the realism spec 3.2. A window has 26 prices
p_0 ... p_25, and r(i, D) = ln(p_{i+D} / p_i). A pair (r(i, D), r(i+lag, D)) starts at i = 1, 2, ...
wherever both returns lie inside the window; bar 0 starts no first return. The pairs of all windows
of a group are one sample. A sample without variance gives nan.
"""

from typing import NamedTuple

import numpy as np

from jaxmars.tasks.facts_garch import garch_residuals
from jaxmars.tasks.facts_minutes import DAY_MINUTES, Groups, Minutes

FIRST = 1  # bar of the first return
RETURN_LAGS = np.arange(1, 11)  # minutes
LAGS = np.arange(1, 21)
VOLUME_LAGS = np.arange(-1, 21)  # -1: the minute of the volume itself, 0: the one after it
SPANS = np.arange(1, 21)  # minutes of a return
CROSS_LAGS = np.arange(-10, 11)
HALF_LAGS = np.arange(0, 11)
FINE_SPAN = 5  # minutes of a coarse return
LARGEST_RETURN = 0.5  # kurtosis leaves out what is larger: taken for an error of the data
LARGEST_SKEWED = 0.05  # and skewness what is larger than this
TAIL = 0.99  # quantile above which an absolute return is extreme
LEAST_RETURNS = 10  # of a time of day that has a deviation; the release asks for no number
HOUR = 60  # minutes


class Facts(NamedTuple):
    """Statistics of one source, `[groups, lags or spans]` float64; fact numbers are Cont's."""

    autocorrelation: np.ndarray  # 1: of last-price returns, at RETURN_LAGS
    autocorrelation_mean: np.ndarray  # 1: of mean-price returns
    autocorrelation_mid: np.ndarray  # 1: of last-mid returns
    kurtosis: np.ndarray  # 2, 4: excess, of returns over SPANS
    kurtosis_within: np.ndarray  # 2: span 1, each window divided by its own deviation, [groups, 1]
    skewness: np.ndarray  # 3: over SPANS
    fano_hour: np.ndarray  # 5: extreme returns per clock hour, variance / mean, [groups, 1]
    fano_window: np.ndarray  # 5: per window, [groups, 1]
    clustering: np.ndarray  # 6, 8: autocorrelation of absolute returns at LAGS
    clustering_within: np.ndarray  # 6, 8: each window relative to its own mean and deviation
    kurtosis_conditional: np.ndarray  # 7: after division by the deviation of the time of day, SPANS
    kurtosis_garch: np.ndarray  # 7: span 1, after division by GARCH(1,1) volatility, [groups, 1]
    leverage: np.ndarray  # 9: return with later absolute return, at LAGS
    volume: np.ndarray  # 10: volume with later absolute return, at VOLUME_LAGS
    coarse_fine: np.ndarray  # 11: fine volatility with coarse volatility CROSS_LAGS later
    asymmetry: np.ndarray  # 11: C(lag) - C(-lag) at HALF_LAGS


def compute_facts(minutes: Minutes, groups: Groups) -> Facts:
    """All statistics of one source.

    Args:
      minutes: windows of bars.
      groups: the sample of each window.
    """
    one = log_returns(minutes.last, 1)
    size = np.abs(one)
    by_lag = lambda a, b, lags: correlations(a, b, lags, groups)
    cross = coarse_fine(one, groups)
    middle = len(CROSS_LAGS) // 2
    fano_hour, fano_window = fano_factors(one, minutes.minute, groups)
    spans = [log_returns(minutes.last, int(span))[:, FIRST:] for span in SPANS]
    normal = [by_time_of_day(r, minutes.minute) for r in spans]
    mean, mid = (log_returns(price, 1) for price in (minutes.mean, minutes.mid_last))
    return Facts(
        autocorrelation=by_lag(one, one, RETURN_LAGS),
        autocorrelation_mean=by_lag(mean, mean, RETURN_LAGS),
        autocorrelation_mid=by_lag(mid, mid, RETURN_LAGS),
        kurtosis=_columns([kurtosis(r, small(r, LARGEST_RETURN), groups) for r in spans]),
        kurtosis_within=_columns([kurtosis_within(spans[0], groups)]),
        skewness=_columns([skewness(r, small(r, LARGEST_SKEWED), groups) for r in spans]),
        fano_hour=fano_hour[:, None],
        fano_window=fano_window[:, None],
        clustering=by_lag(size, size, LAGS),
        clustering_within=clustering_within(size[:, FIRST:], groups),
        kurtosis_conditional=_columns([kurtosis(z, np.isfinite(z), groups) for z in normal]),
        kurtosis_garch=_columns([kurtosis_garch(spans[0], groups)]),
        leverage=by_lag(one, size, LAGS),
        volume=by_lag(minutes.volume[:, :-1], size, VOLUME_LAGS),
        coarse_fine=cross,
        asymmetry=cross[:, middle:] - cross[:, middle::-1],
    )


def log_returns(price: np.ndarray, span: int) -> np.ndarray:
    """r(i, span) of every window, `[windows, 26 - span]` from `[windows, 26]`."""
    level = np.log(price)
    return level[:, span:] - level[:, :-span]


def small(returns: np.ndarray, limit: float) -> np.ndarray:
    """Which returns are below a limit in size, bool of the same shape."""
    return np.abs(returns) < limit


def lagged(first: np.ndarray, second: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs (first at i, second at i + lag) of the release, `[windows, pairs]` both.

    Args:
      first: `[windows, n]`, starts no earlier than at `FIRST`.
      second: `[windows, n]`.
      lag: bars; may be negative.
    """
    start, stop = max(FIRST, -lag), first.shape[1] - max(lag, 0)
    return first[:, start:stop], second[:, start + lag : stop + lag]


def correlations(
    first: np.ndarray, second: np.ndarray, lags: np.ndarray, groups: Groups
) -> np.ndarray:
    """Pooled Pearson correlations at several lags, `[groups, lags]`."""
    return _columns([correlation(*lagged(first, second, int(lag)), groups) for lag in lags])


def correlation(a: np.ndarray, b: np.ndarray, groups: Groups) -> np.ndarray:
    """Pearson correlation of the pooled pairs of each group, `[groups]`."""
    x, y = (v - _mean(v, np.ones(v.shape, bool), groups)[groups.of_window][:, None] for v in (a, b))
    total = lambda v: _sum(v.sum(1), groups)
    flat = np.zeros(len(groups.names), bool)
    for v in (a, b):
        flat |= _sum((v != _firsts(v, groups)[:, None]).any(1).astype(float), groups) == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        found = total(x * y) / np.sqrt(total(x * x) * total(y * y))
    return np.where(flat, np.nan, found)


def kurtosis(x: np.ndarray, keep: np.ndarray, groups: Groups) -> np.ndarray:
    """Sample excess kurtosis of the kept entries of each group, bias corrected (G2), `[groups]`."""
    n, m2, _, m4 = _moments(x, keep, groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = n * (n + 1) * (n - 1) / ((n - 2) * (n - 3))
        found = scale * m4 / m2**2 - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
    return np.where((n >= 4) & (m2 > 0), found, np.nan)


def skewness(x: np.ndarray, keep: np.ndarray, groups: Groups) -> np.ndarray:
    """Sample skewness of the kept entries of each group, bias corrected (G1), `[groups]`."""
    n, m2, m3, _ = _moments(x, keep, groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = n * np.sqrt(n - 1) / (n - 2) * m3 / m2**1.5
    return np.where((n >= 3) & (m2 > 0), found, np.nan)


def fano_factors(
    one: np.ndarray, minute: np.ndarray, groups: Groups
) -> tuple[np.ndarray, np.ndarray]:
    """Variance over mean of the number of extreme returns, per clock hour and per window.

    Args:
      one: one-minute returns `[windows, 25]`.
      minute: `[windows, 26]`; a return belongs to the bar that it starts from.
      groups: the threshold is the 99 % quantile of a group's absolute returns.

    Returns:
      `[groups]` each. Hours without a return do not count; one hour alone gives nan.
    """
    size = np.abs(one[:, FIRST:])
    limit = [np.quantile(size[groups.of_window == g], TAIL) for g in range(len(groups.names))]
    extreme = size > np.array(limit)[groups.of_window][:, None]
    hour = minute[:, FIRST:-1] // HOUR
    low = hour.min()
    key = groups.of_window[:, None] * (hour.max() - low + 1) + hour - low
    hours, place = np.unique(key, return_inverse=True)
    counts = np.bincount(place.ravel(), extreme.ravel(), len(hours))
    owner = hours // (hour.max() - low + 1)
    return (
        _dispersion(counts, Groups(owner, groups.names)),
        _dispersion(extreme.sum(1).astype(float), groups),
    )


def by_time_of_day(returns: np.ndarray, minute: np.ndarray) -> np.ndarray:
    """Returns divided by the deviation of all returns of their time of day.

    Args:
      returns: of one span, from bar `FIRST`, `[windows, n]`.
      minute: `[windows, 26]`.

    Returns:
      `[windows, n]`; nan where a return is too large or its time of day has no deviation. The
      release takes the deviation of however few returns; two or three that happen to be alike then
      make an extreme of each, so a time of day with fewer than `LEAST_RETURNS` has none here.
    """
    keep = small(returns, LARGEST_RETURN)
    width = returns.shape[1]
    time = minute[:, FIRST : FIRST + width] % DAY_MINUTES
    each = Groups(time[keep], tuple(map(str, range(DAY_MINUTES))))
    value = returns[keep][:, None]
    n, m2, _, _ = _moments(value, np.ones(value.shape, bool), each)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.where(n >= LEAST_RETURNS, np.sqrt(m2 / (n - 1)), np.nan)
        normal = returns / deviation[time]
    return np.where(keep & np.isfinite(normal), normal, np.nan)


def kurtosis_within(one: np.ndarray, groups: Groups) -> np.ndarray:
    """Kurtosis of returns, each window divided by its own deviation, `[groups]`."""
    z = _standard(one)
    return kurtosis(z, np.isfinite(z), groups)


def clustering_within(size: np.ndarray, groups: Groups) -> np.ndarray:
    """Autocorrelation of absolute returns about the mean of their own window.

    Pooled windows that differ in volatility look like clustering; these do not. Independent
    returns give about -1/24 instead of 0.

    Args:
      size: `[windows, 24]`.
      groups: samples.

    Returns:
      `[groups, lags]` at `LAGS`, mean product of standardised values; windows without variance are
      left out.
    """
    z = _standard(size)
    z = (z - z.mean(1, keepdims=True)) * np.sqrt(z.shape[1] / (z.shape[1] - 1))
    products = [(z[:, :-lag] * z[:, lag:]).mean(1, keepdims=True) for lag in LAGS]
    return _columns([_mean(x, np.isfinite(x), groups) for x in products])


def kurtosis_garch(one: np.ndarray, groups: Groups) -> np.ndarray:
    """Kurtosis of the residuals of a GARCH(1,1) model of all windows, `[groups]`."""
    kept = np.where(small(one, LARGEST_RETURN), one, 0.0)
    variance = _mean(kept**2, np.ones(kept.shape, bool), groups)
    z = garch_residuals(kept, variance[groups.of_window])
    return kurtosis(z, np.isfinite(z), groups)


def coarse_fine(one: np.ndarray, groups: Groups) -> np.ndarray:
    """Correlation of the fine volatility from bar i with the coarse one from bar i + lag.

    Fine is the sum of five absolute returns, coarse the absolute value of their sum.

    Returns:
      `[groups, lags]` at `CROSS_LAGS`.
    """
    spans = np.lib.stride_tricks.sliding_window_view(one, FINE_SPAN, axis=1)
    return correlations(np.abs(spans).sum(2), np.abs(spans.sum(2)), CROSS_LAGS, groups)


def _standard(x: np.ndarray) -> np.ndarray:
    """Each window divided by its own deviation; nan for a window without variance."""
    deviation = x.std(1, ddof=1, keepdims=True)
    moves = (x != x[:, :1]).any(1, keepdims=True)
    return np.where(moves, x / np.where(moves, deviation, 1.0), np.nan)


def _moments(
    x: np.ndarray, keep: np.ndarray, groups: Groups
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count and sums of the second to fourth powers about the mean of each group, `[groups]`."""
    n = _sum(keep.sum(1).astype(float), groups)
    centred = np.where(keep, x - _mean(x, keep, groups)[groups.of_window][:, None], 0.0)
    square = centred * centred
    powers = (square, square * centred, square * square)
    second, third, fourth = (_sum(power.sum(1), groups) for power in powers)
    return n, second, third, fourth


def _mean(x: np.ndarray, keep: np.ndarray, groups: Groups) -> np.ndarray:
    """Mean of the kept entries of each group, `[groups]`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = _sum(np.where(keep, x, 0.0).sum(1), groups)
        return total / _sum(keep.sum(1).astype(float), groups)


def _sum(x: np.ndarray, groups: Groups) -> np.ndarray:
    """Sums over the windows of each group, `[groups]` from `[windows]`."""
    return np.bincount(groups.of_window, x, len(groups.names))


def _firsts(x: np.ndarray, groups: Groups) -> np.ndarray:
    """The first value of the group of each window, `[windows]`."""
    found, at = np.unique(groups.of_window, return_index=True)
    first = np.zeros(len(groups.names))
    first[found] = x[at, 0]
    return first[groups.of_window]


def _dispersion(counts: np.ndarray, groups: Groups) -> np.ndarray:
    """Sample variance over mean of the counts of each group, `[groups]`."""
    n, m2, _, _ = _moments(counts[:, None], np.ones((len(counts), 1), bool), groups)
    mean = _mean(counts[:, None], np.ones((len(counts), 1), bool), groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = m2 / (n - 1) / mean
    return np.where((n > 1) & (mean > 0), found, np.nan)


def _columns(values: list[np.ndarray]) -> np.ndarray:
    return np.stack(values, axis=1)
