"""A look at a dataset: what each shard holds, and how busy the market is over the day."""

import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.clock_text import clock_text
from jaxmars.config import MarketConfig
from jaxmars.files import to_json, write_together
from jaxmars.tokens.domain import QUANTILES
from jaxmars.tokens.order import ELAPSED, NUM_TYPES, ORDER_INDEX, TYPE_BUY, TYPE_CANCEL, TYPE_SELL
from jaxmars.train.shards import (
    MANIFEST,
    Manifest,
    Shard,
    check_shard,
    market_of,
    open_shard,
    shard_domain,
)

FILES = SUMMARY, SHARDS, FIGURE = "inspect.json", "shards.csv", "orders.png"
SMOOTH_MINUTES = 15  # of the smoothed profile
FEW_DAYS = 5  # below, no band of quantiles is drawn
BAND = (0.1, 0.9)
FIGURE_INCHES = (10.0, 4.8)
DOTS_PER_INCH = 130
LINE_COLOUR, BAR_COLOUR = "#1f4e9c", "#b9c8e6"
_MINUTE, _HOUR, _DAY_MINUTES = 60, 3600, 24 * 60
_MEDIAN = QUANTILES.index(0.5)
_TYPES = {"sell": TYPE_SELL, "buy": TYPE_BUY, "cancel": TYPE_CANCEL}


class Inspection(NamedTuple):
    """What a dataset holds."""

    manifest: Manifest
    table: pd.DataFrame  # one row per shard
    minutes: np.ndarray  # [days, 1440] int64, orders per minute of the clock, a day per symbol-date
    first: np.ndarray  # [days] int64, first minute with orders
    last: np.ndarray  # [days] int64, last minute with orders


def inspect_dataset(
    folder: pathlib.Path, manifest: Manifest, report: Callable[[int, int], None]
) -> Inspection:
    """Reads every shard through, one at a time.

    Args:
      folder: of the dataset.
      manifest: its manifest.
      report: called with shards done and shards in all.

    Raises:
      InputError: a shard that is missing, damaged, or has another checksum.
    """
    rows, days = [], {}
    market = market_of(manifest, folder / MANIFEST)
    breaks = _breaks(market)
    is_open = open_minutes([*breaks, *market.calendar.breaks])
    slots = int(np.prod([manifest.bins[name] for name in manifest.bins]))
    for done, shard in enumerate(manifest.shards, 1):
        check_shard(folder, shard)
        content = open_shard(folder, shard)
        clock = clock_seconds(content[:, ELAPSED], shard.open_time[0], breaks)
        minutes = np.bincount(clock // _MINUTE % _DAY_MINUTES, minlength=_DAY_MINUTES)
        day = (shard.symbol, shard.date)
        days[day] = days.get(day, 0) + minutes
        kinds = np.bincount(content[:, ORDER_INDEX] // slots, minlength=NUM_TYPES)
        rows.append(_row(shard, minutes, is_open, kinds))
        report(done, len(manifest.shards))
    minutes = np.stack(list(days.values()))
    busy = minutes > 0
    last = _DAY_MINUTES - 1 - busy[:, ::-1].argmax(1)
    return Inspection(manifest, pd.DataFrame(rows), minutes, busy.argmax(1), last)


def clock_seconds(elapsed: np.ndarray, opened: int, breaks: list[tuple[int, int]]) -> np.ndarray:
    """Second of the day of rows, from their seconds of trading since the day's first record.

    Args:
      elapsed: `[rows]` seconds.
      opened: second of the first record.
      breaks: (start, end) of the breaks of the day, seconds, in time order.
    """
    clock = opened + np.asarray(elapsed, np.int64)
    for begin, end in breaks:
        clock = clock + np.where((opened <= begin) & (clock > begin), end - begin, 0)
    return clock


def open_minutes(breaks: Iterable[tuple[int, int]]) -> np.ndarray:
    """`[1440]` bool: the minutes of the day that do not lie wholly within a break, in seconds."""
    is_open = np.ones(_DAY_MINUTES, bool)
    for begin, end in breaks:
        is_open[-(-begin // _MINUTE) : end // _MINUTE] = False
    return is_open


def summary(found: Inspection) -> dict[str, Any]:
    """The dataset in numbers."""
    shards = found.manifest.shards
    splits: dict[str, dict[str, int]] = {}
    for shard in shards:
        part = splits.setdefault(shard.split, {"shards": 0, "rows": 0})
        part["shards"] += 1
        part["rows"] += shard.rows
    return {
        "shards": len(shards),
        "rows": sum(shard.rows for shard in shards),
        "splits": splits,
        "split": found.manifest.split,
        "bins": found.manifest.bins,
        "converters_sha256": found.manifest.converters_sha256,
        "domain": found.manifest.domain,
        "orders_per_minute": _profile(found),
    }


def write_inspection(out: pathlib.Path, found: Inspection, made_by: dict[str, Any]) -> None:
    """Writes inspect.json, shards.csv and orders.png: all three or none."""
    text = to_json(summary(found) | made_by)
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        SUMMARY: lambda path: path.write_text(text, encoding="utf-8"),
        SHARDS: lambda path: found.table.to_csv(path, index=False),
        FIGURE: lambda path: draw_orders(path, found),
    }
    write_together(out, writers)


def draw_orders(path: pathlib.Path, found: Inspection) -> None:
    """Orders per minute over the day: the mean over symbols and days, smoothed, and its spread.

    Args:
      path: of the picture, PNG.
      found: days of all splits count.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=FIGURE_INCHES, layout="constrained")
    first, last = int(found.first.min()), int(found.last.max())
    hours = (np.arange(first, last + 1) + 0.5) / _MINUTE
    days = found.minutes[:, first : last + 1]
    mean = days.mean(0)
    width = 1 / _MINUTE
    axes.bar(hours, mean, width=width, color=BAR_COLOUR, label="mean of the minute")
    smooth = _smooth(mean, mean > 0)
    axes.plot(hours, smooth, color=LINE_COLOUR, lw=2, label=f"mean of {SMOOTH_MINUTES} minutes")
    if len(days) >= FEW_DAYS:
        low, high = np.quantile(days, BAND, axis=0)
        label = f"{BAND[0]:.0%} to {BAND[1]:.0%} of the days"
        axes.fill_between(hours, low, high, color=LINE_COLOUR, alpha=0.15, lw=0, label=label)
    symbols = sorted(set(found.table["symbol"]))
    axes.set_title("Orders per minute over the day", loc="left", fontsize=11)
    named = ", ".join(symbols) if len(symbols) <= FEW_DAYS else f"{len(symbols)} symbols"
    note = f"{named}: {len(days)} symbol-days, {int(days.sum()):,} orders"
    axes.set_title(note, loc="right", fontsize=9, color="dimgrey")
    axes.set(xlabel="time of the day, clock of the record", ylabel="orders per minute and symbol")
    axes.set(xlim=(first / _MINUTE, (last + 1) / _MINUTE), ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda hour, _: clock_text(round(hour * _HOUR))[:5])
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _breaks(market: MarketConfig) -> list[tuple[int, int]]:
    """(start, end) of what is taken off the elapsed time, seconds."""
    if market.has_late_shift:
        late = market.late_hour * _HOUR
        return [(late - market.late_shift, late)]
    return list(market.calendar.breaks)


def per_minute(minutes: np.ndarray, is_open: np.ndarray) -> float:
    """Mean orders of the minutes from the first order to the last, without those of breaks.

    Args:
      minutes: `[1440]` orders.
      is_open: `[1440]` bool; a minute with orders counts whatever it says.
    """
    busy = np.flatnonzero(minutes)
    if not len(busy):
        return 0.0
    counted = is_open | (minutes > 0)
    return float(minutes.sum() / counted[busy[0] : busy[-1] + 1].sum())


def _row(
    shard: Shard, minutes: np.ndarray, is_open: np.ndarray, kinds: np.ndarray
) -> dict[str, Any]:
    """One line of the table."""
    domain = shard_domain(shard)
    share = {name: kinds[at] / max(shard.rows, 1) for name, at in _TYPES.items()}
    return {
        "symbol": shard.symbol,
        "date": shard.date,
        "split": shard.split,
        "rows": shard.rows,
        "orders_per_minute": per_minute(minutes, is_open),
        **share,
        "spread": domain.spread[_MEDIAN] if domain.spread else np.nan,
        "size": domain.size[_MEDIAN] if domain.size else np.nan,
        "outside_bins": domain.end_bins,
        "tick_size": shard.tick_size,
        "lot_size": shard.lot_size,
    }


def _profile(found: Inspection) -> dict[str, float]:
    """Mean orders of every minute that has any, by its clock time."""
    mean = found.minutes.mean(0)
    return {
        clock_text(int(at) * _MINUTE)[:5]: round(float(mean[at]), 3) for at in np.flatnonzero(mean)
    }


def _smooth(mean: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Running means over the open minutes around each; NaN where there are no orders."""
    window = np.ones(SMOOTH_MINUTES)
    total = np.convolve(np.where(is_open, mean, 0), window, "same")[: len(mean)]
    count = np.convolve(is_open, window, "same")[: len(mean)]
    return np.where(is_open, total / np.maximum(count, 1), np.nan)
