"""A replay on disk: numbers, differences per level, and the book as a depth heat map."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxmars.data.continuous import ReplayReport, Samples
from jaxmars.data.lobster import NANOS, nanoseconds
from jaxmars.data.orderflow import L3Data, TradeReports, host_time
from jaxmars.data.replay import OneStepReport
from jaxmars.files import to_json, write_together
from jaxmars.types import Kind, Side, describe

FILES = SUMMARY, DIFFERENCES, FIGURE = "replay.json", "differences.csv", "depth.png"
PICTURE_COLUMNS = 900  # moments of the heat map
PICTURE_ROWS = 320  # prices of the heat map, at most
SHOWN = (0.005, 0.995)  # quantiles of the prices that the picture covers
MARGIN = 0.25  # of their range that is added above and below
ENOUGH_TRADES = 20  # to show the prices around them, and not around all quotes
FAINT = 0.05  # quantile of the sizes that are drawn faintest
VOLUME_BARS = 90

FIGURE_INCHES = (11.0, 7.0)
PANELS = (5, 1)  # heights of the heat map and of the traded volume
DOTS_PER_INCH = 130
COLOURS = "inferno"
FAINTEST = 0.22  # of the colour map: below, it cannot be told from the background
SHADES = 256
BACKGROUND = "#0b1026"
BID_COLOUR, ASK_COLOUR, TRADE_COLOUR = "#5ad1ff", "#7dff8a", "white"
MOST_DOTS = 250  # trades drawn, the largest
DOT_AREA = (4.0, 45.0)  # square points, smallest and largest trade

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400)  # seconds
_MOST_TICKS = 12


class ReplayRun(NamedTuple):
    """A replay and what it was made from."""

    l3: L3Data  # the part that was replayed
    report: ReplayReport
    trades: TradeReports  # of that part
    one_step: OneStepReport | None  # LOBSTER only
    slots: int  # orders a side of the book could hold


class Picture(NamedTuple):
    """What the depth heat map shows."""

    l3: L3Data  # its units
    samples: Samples | None  # books at times of equal distance; None draws none
    trades: TradeReports
    title: str
    note: str  # on the right of the title


def write_replay(out: pathlib.Path, run: ReplayRun, made_by: dict[str, Any], title: str) -> None:
    """Writes replay.json, differences.csv and depth.png: all three or none."""
    text, report = to_json(summary(run) | made_by), run.report
    equal = f"{report.equal:,} of {report.checked:,} recorded books equal in all levels"
    note = equal if report.checked else ""
    picture = Picture(run.l3, report.samples, run.trades, title, note)
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        SUMMARY: lambda path: path.write_text(text, encoding="utf-8"),
        DIFFERENCES: lambda path: run.report.table().to_csv(path),
        FIGURE: lambda path: draw_depth(path, picture),
    }
    write_together(out, writers)


def flow_trades(l3: L3Data, filled: np.ndarray) -> TradeReports:
    """The trades of a flow: those the venue reports, or those it had events for, or ours.

    Args:
      l3: the record, or a part of it; only trades between its first and last event are kept.
      filled: `[events]` int32, size units each event traded as an incoming order.
    """
    order, time = l3.flow.order, l3.flow.time
    if l3.trades is not None:
        stamps, known = nanoseconds(*l3.trades.time), nanoseconds(*time)
        inside = (stamps >= known[0]) & (stamps <= known[-1])
        when = l3.trades.time
        return TradeReports(
            host_time(when.sec[inside], when.nsec[inside]),
            l3.trades.price[inside],
            l3.trades.size[inside],
        )
    reported = (order.kind == Kind.NONE) & (np.asarray(order.size) > 0)
    traded = np.flatnonzero(reported if l3.resting else (filled > 0))
    size = np.asarray(order.size) if l3.resting else filled
    return TradeReports(
        host_time(time.sec[traded], time.nsec[traded]),
        np.asarray(order.price)[traded],
        size[traded],
    )


def summary(run: ReplayRun) -> dict[str, Any]:
    """The numbers of a replay as JSON values."""
    report, flow = run.report, run.l3.flow
    table = report.table()
    totals = dict(zip(table.columns, table.to_numpy().sum(0).tolist(), strict=True))
    stamps = nanoseconds(*flow.time)
    status = {str(bit.name): count for bit, count in report.status.items()}
    return {
        "venue": run.l3.venue,
        "first_event": clock(int(stamps[0])),
        "last_event": clock(int(stamps[-1])),
        "events": report.events,
        "reading": "book changes" if run.l3.resting else "orders",
        "books": {
            "compared": report.checked,
            "equal": report.equal,
            "first_rows_that_differ": report.first_rows,
        },
        "levels": totals,
        "one_step": None if run.one_step is None else run.one_step._asdict(),
        "status": {
            "events": status,
            "meaning": [line for bit in report.status for line in describe(bit)],
        },
        "events_leaving_the_book": {"crossed": report.crossed, "locked": report.locked},
        "traded": {
            "trades": len(run.trades.size),
            "size": int(run.trades.size.sum(dtype=np.int64)) / run.l3.size_scale,
        },
        "tick_size": run.l3.tick / run.l3.price_scale,
        "slots": run.slots,
    }


def clock(stamp: int) -> str:
    """Nanoseconds since midnight as HH:MM:SS.nnnnnnnnn; days are left out."""
    seconds, nanos = divmod(stamp, NANOS)
    return f"{_hms(seconds)}.{nanos:09d}"


def _hms(seconds: float) -> str:
    whole = int(seconds) % _DAY
    return f"{whole // _HOUR:02d}:{whole // _MINUTE % _MINUTE:02d}:{whole % _MINUTE:02d}"


def draw_depth(path: pathlib.Path, picture: Picture) -> None:
    """Sizes resting at each price over time, best prices and trades, and what was traded.

    Args:
      path: of the picture, PNG.
      picture: prices and sizes are drawn in currency and in shares or coins.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (axes, below) = plt.subplots(
        2, 1, figsize=FIGURE_INCHES, height_ratios=PANELS, sharex=True, layout="constrained"
    )
    axes.set_title(picture.title, loc="left", fontsize=11)
    axes.set_title(picture.note, loc="right", fontsize=9, color="dimgrey")
    axes.set_facecolor(BACKGROUND)
    axes.set_ylabel("price")
    below.set(xlabel="time of the day, clock of the record", ylabel="traded")
    samples = picture.samples
    if samples is not None and samples.size.any():
        seconds = nanoseconds(*samples.time) / NANOS
        step = seconds[1] - seconds[0] if len(seconds) > 1 else 1.0
        span = (float(seconds[0]), float(seconds[-1] + step))
        _heat_map(figure, axes, picture, samples, span)
        _volume(below, picture, span)
        _clock_axis(below, span)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _heat_map(
    figure: Any, axes: Any, shown: Picture, samples: Samples, span: tuple[float, float]
) -> None:
    """The heat map with its lines, dots, price axis and colour bar."""
    import matplotlib
    from matplotlib import colors, ticker

    unit = shown.l3.tick / shown.l3.price_scale
    seconds = nanoseconds(*samples.time) / NANOS
    low, high, per_row = _price_rows(samples, shown.trades)
    grid = _heat(samples, low, high, per_row) / shown.l3.size_scale
    seen = grid[grid > 0]
    edges = ((low - 0.5) * unit, (low - 0.5 + per_row * len(grid)) * unit)
    shades = matplotlib.colormaps[COLOURS](np.linspace(FAINTEST, 1, SHADES))
    if seen.size:
        picture = axes.imshow(
            np.ma.masked_equal(grid, 0),
            origin="lower",
            aspect="auto",
            extent=(*span, *edges),
            cmap=colors.ListedColormap(shades),
            norm=colors.LogNorm(np.quantile(seen, FAINT), seen.max()),
            interpolation="nearest",
        )
        bar = figure.colorbar(picture, ax=axes, pad=0.01, fraction=0.04, extend="min")
        bar.set_label("size resting at the price")
        bar.ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.12g}"))
        bar.outline.set_visible(False)
    for side, colour, name in (
        (Side.SELL, ASK_COLOUR, "best ask"),
        (Side.BUY, BID_COLOUR, "best bid"),
    ):
        best = np.where(samples.size[:, side, 0] > 0, samples.price[:, side, 0] * unit, np.nan)
        axes.step(seconds, best, where="post", color=colour, lw=0.8, label=name)
    _dots(axes, shown.trades, unit, span)
    axes.set(xlim=span, ylim=edges)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.2f}"))
    axes.legend(loc="best", fontsize=8, facecolor=BACKGROUND, labelcolor="white", framealpha=0.7)


def _price_rows(samples: Samples, trades: TradeReports) -> tuple[int, int, int]:
    """Lowest and highest tick of the picture, and ticks per row."""
    shown = trades.price[trades.price > 0]
    if len(shown) < ENOUGH_TRADES:
        shown = samples.price[:, :, 0][samples.size[:, :, 0] > 0]
    low, high = (float(np.quantile(shown, q)) for q in SHOWN)
    there = samples.price[samples.size > 0]
    margin = max(MARGIN * (high - low), float(np.median(_depth(samples))))
    low = max(int(low - margin), int(there.min()))
    high = max(low, min(int(np.ceil(high + margin)), int(there.max())))
    return low, high, 1 + (high - low) // PICTURE_ROWS


def _depth(samples: Samples) -> np.ndarray:
    """Ticks from the best price to the last sampled level, of both sides at all times."""
    price = np.where(samples.size > 0, samples.price, samples.price[:, :, :1])
    return abs(price - price[:, :, :1]).max(2)


def _heat(samples: Samples, low: int, high: int, per_row: int) -> np.ndarray:
    """Largest size of a level in each cell, `[rows, samples]` float64."""
    rows = 1 + (high - low) // per_row
    row = (samples.price - low) // per_row
    inside = (samples.size > 0) & (row >= 0) & (row < rows)
    column = np.broadcast_to(np.arange(len(row))[:, None, None], row.shape)
    grid = np.zeros((rows, len(row)))
    np.maximum.at(grid, (row[inside], column[inside]), samples.size[inside])
    return grid


def _dots(axes: Any, trades: TradeReports, unit: float, span: tuple[float, float]) -> None:
    """The largest trades, by size."""
    seconds = nanoseconds(*trades.time) / NANOS
    inside = np.flatnonzero((seconds >= span[0]) & (seconds <= span[1]) & (trades.price > 0))
    drawn = inside[np.argsort(trades.size[inside], stable=True)[-MOST_DOTS:]]
    if not len(drawn):
        return
    share = trades.size[drawn] / trades.size[drawn].max()
    axes.scatter(
        seconds[drawn],
        trades.price[drawn] * unit,
        s=DOT_AREA[0] + (DOT_AREA[1] - DOT_AREA[0]) * share,
        color=TRADE_COLOUR,
        edgecolors="black",
        linewidths=0.4,
        alpha=0.8,
        zorder=3,
        label="trades" if len(drawn) == len(inside) else f"{MOST_DOTS} largest trades",
    )


def _volume(axes: Any, shown: Picture, span: tuple[float, float]) -> None:
    """Size traded per bar."""
    from matplotlib import ticker

    seconds = nanoseconds(*shown.trades.time) / NANOS
    size = shown.trades.size / shown.l3.size_scale
    height, edges = np.histogram(seconds, bins=VOLUME_BARS, range=span, weights=size)
    axes.bar(edges[:-1], height, width=np.diff(edges), align="edge", color="slategrey")
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.12g}"))
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)


def _clock_axis(axes: Any, span: tuple[float, float]) -> None:
    """Round clock times."""
    from matplotlib import ticker

    length = span[1] - span[0]
    step = next((s for s in _TICK_STEPS if length / s <= _MOST_TICKS), _TICK_STEPS[-1])
    axes.set_xticks(np.arange(np.ceil(span[0] / step) * step, span[1], step))
    shown = (lambda s, _: _hms(s)[:5]) if step >= _MINUTE else (lambda s, _: _hms(s))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(shown))
