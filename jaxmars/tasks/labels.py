"""Up, flat or down: the forecast label (paper spec 8.1).

The label of horizon k is l = (mean of the mids after each order in (t, t + k] - m0) / m0. Classes
are cut at the terciles of l on the training period, so that each is as likely as the others there.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxmars.errors import InputError

HORIZONS = (1, 2, 3, 4, 5)  # minutes
CLASSES = ("down", "flat", "up")
MINUTE = 60.0
TERCILES = (1 / 3, 2 / 3)


class Thresholds(NamedTuple):
    """Class borders per horizon: down below `low`, up above `high`."""

    low: np.ndarray  # [horizons] float64, relative change
    high: np.ndarray  # [horizons] float64


def labels(seconds: np.ndarray, mid: np.ndarray, start_mid: float) -> np.ndarray:
    """l for each horizon, `[HORIZONS]` float64; without an order in a horizon nothing moved: 0.

    Args:
      seconds: `[events]` since the start, rising.
      mid: `[events]` mids after the orders, ticks.
      start_mid: m0, ticks.
    """
    ends = np.searchsorted(seconds, np.array(HORIZONS) * MINUTE, "right")
    first = np.searchsorted(seconds, 0.0, "right")
    total = np.concatenate([[0.0], np.cumsum(mid)])
    count = ends - first
    mean = (total[ends] - total[first]) / np.maximum(count, 1)
    return np.where(count > 0, mean / start_mid - 1, 0.0)


def terciles(seconds: np.ndarray, mid: np.ndarray, spacing: float = MINUTE) -> Thresholds:
    """Borders from the labels of every start on a grid of `spacing` seconds of a training flow.

    Args:
      seconds: `[events]`, rising.
      mid: `[events]`, ticks.
      spacing: seconds between starts.
    """
    return cut(start_labels(seconds, mid, spacing))


def start_labels(seconds: np.ndarray, mid: np.ndarray, spacing: float = MINUTE) -> np.ndarray:
    """Labels `[starts, HORIZONS]` of the starts on a grid whose horizons lie inside the flow."""
    last = seconds[-1] - max(HORIZONS) * MINUTE
    starts = np.arange(seconds[0], last, spacing)
    at = np.searchsorted(seconds, starts, "right") - 1
    rows = [
        labels(seconds - t, mid, float(mid[i]))
        for t, i in zip(starts, at, strict=True)
        if mid[i] > 0
    ]
    return np.array(rows).reshape(-1, len(HORIZONS))


def cut(found: np.ndarray) -> Thresholds:
    """Terciles of labels `[starts, HORIZONS]`."""
    low, high = np.quantile(found, TERCILES, axis=0)
    return Thresholds(low, high)


def borders_from_json(value: Any) -> Thresholds:
    """Borders from what a manifest holds: {"low": [...], "high": [...]}, one number per horizon.

    Raises:
      InputError: anything else, or a low border above its high one.
    """
    try:
        low, high = (np.array(value[name], np.float64) for name in Thresholds._fields)
    except (KeyError, TypeError, ValueError):
        low = high = np.zeros(0)
    shape = (len(HORIZONS),)
    if low.shape != shape or high.shape != shape or not (np.isfinite(low + high)).all():
        raise InputError(
            f"got {value!r:.80}, expected low and high with {len(HORIZONS)} numbers each"
        )
    if (low > high).any():
        raise InputError(f"low is {low.tolist()}, expected at most high, {high.tolist()}")
    return Thresholds(low, high)


def classes(values: np.ndarray, borders: Thresholds) -> np.ndarray:
    """0 down, 1 flat, 2 up for labels `[…, HORIZONS]`."""
    return 1 + (values > borders.high).astype(int) - (values < borders.low)


def half_tick(start_mid: float) -> Thresholds:
    """Borders where no training terciles are known: half a tick either way is flat."""
    border = np.full(len(HORIZONS), 0.5 / start_mid)
    return Thresholds(-border, border)
