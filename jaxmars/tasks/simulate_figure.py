"""The picture of a simulation: mid paths above, traded volume below, the trading day behind."""

import pathlib
from typing import Any

import numpy as np

from jaxmars.clock_text import clock_text
from jaxmars.config import PhaseKind
from jaxmars.tasks.simulate import MINUTE, SimulationResult

SINGLE_PATHS = 5
BANDS = (0.5, 0.8, 0.95)  # central shares of the trajectories
VOLUME_BAND = 0.8
FEW = 4  # trajectories without bands
FIGURE_INCHES = (9.0, 6.2)
HEIGHTS = (3.0, 1.0)  # of the two parts
DOTS_PER_INCH = 130
LEGEND_COLUMNS = 4
BAR_SHARE = 0.85  # of a minute
MOST_TICKS = 9  # of the time axis
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)  # seconds
AUCTION_COLOUR, CLOSED_COLOUR = "#f6e3b4", "#dcdcdc"


def draw(path: pathlib.Path, result: SimulationResult) -> None:
    """Writes the figure as PNG; prices in currency, times of the exchange's clock."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (upper, lower) = plt.subplots(
        2,
        1,
        sharex=True,
        figsize=FIGURE_INCHES,
        height_ratios=HEIGHTS,
        layout="constrained",
    )
    _shade(upper, lower, result)
    _draw_paths(upper, result)
    _draw_volume(lower, result)
    scenario = result.scenario
    num = len(result.trajectories)
    names = ", ".join(dict.fromkeys(trader.kind.replace("_", " ") for trader in scenario.traders))
    plural = "trajectory" if num == 1 else "trajectories"
    upper.set(ylabel="mid price, currency", title=f"{num} {plural} from {scenario.words}: {names}")
    upper.ticklabel_format(axis="y", useOffset=False)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.set(ylabel="shares per minute", xlabel="time of day", ylim=(0, None))
    _label_times(lower, result)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels()
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9, frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _draw_paths(axes: Any, result: SimulationResult) -> None:
    """Bands and median if there are many, and a few single paths."""
    tick, seconds = result.labels.tick_size, result.seconds
    many = len(result.paths) > FEW
    if many:
        for band in sorted(BANDS, reverse=True):
            low, high = result.quantiles(((1 - band) / 2, (1 + band) / 2)) * tick
            shade = 0.42 - 0.3 * band
            label = f"{band:.0%} of trajectories"
            axes.fill_between(
                seconds, low, high, color="tab:blue", alpha=shade, linewidth=0, label=label
            )
    width = {"color": "tab:blue", "lw": 0.7, "alpha": 0.75} if many else {"lw": 1.2}
    for number, line in enumerate(result.paths[:SINGLE_PATHS]):
        label = None if number else "single trajectories"
        axes.step(seconds, line * tick, where="post", label=label, **width)
    if many:
        (median,) = result.quantiles((0.5,)) * tick
        axes.plot(seconds, median, color="navy", lw=1.8, label="median")


def _draw_volume(axes: Any, result: SimulationResult) -> None:
    """Mean over trajectories, with a central band."""
    edges = np.append(result.minutes, result.minutes[-1] + 1) * MINUTE
    edges = np.clip(edges, result.seconds[0], result.seconds[-1])
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    mean = result.volume.mean(0)
    axes.bar(middle, mean, BAR_SHARE * width, color="tab:grey", label="volume, mean")
    if len(result.volume) > FEW:
        low, high = np.quantile(
            result.volume, [(1 - VOLUME_BAND) / 2, (1 + VOLUME_BAND) / 2], axis=0
        )
        label = f"volume, {VOLUME_BAND:.0%} of trajectories"
        axes.vlines(middle, low, high, color="black", lw=0.8, label=label)


def _shade(upper: Any, lower: Any, result: SimulationResult) -> None:
    """Call auctions and closed hours of the calendar."""
    first, last = result.seconds[0], result.seconds[-1]
    calendar = result.scenario.cfg.market.calendar
    opening, closing = calendar.phases[0].start, calendar.phases[-1].end
    auctions = [(p.start, p.end) for p in calendar.phases if p.kind == PhaseKind.AUCTION]
    closed = [*calendar.breaks, (first, opening), (closing, last)]
    parts = (
        (auctions, AUCTION_COLOUR, "call auction"),
        (closed, CLOSED_COLOUR, "market closed"),
    )
    for spans, colour, words in parts:
        inside = [(max(a, first), min(b, last)) for a, b in spans if max(a, first) < min(b, last)]
        for number, span in enumerate(inside):
            upper.axvspan(*span, color=colour, lw=0, label=None if number else words)
            lower.axvspan(*span, color=colour, lw=0)


def _label_times(axes: Any, result: SimulationResult) -> None:
    """Round moments of the clock."""
    first, last = result.seconds[0], result.seconds[-1]
    step = next((s for s in STEPS if (last - first) / s < MOST_TICKS), STEPS[-1])
    ticks = np.arange(np.ceil(first / step) * step, last + 1e-6, step).astype(int)
    shown = len("HH:MM:SS" if step % MINUTE else "HH:MM")
    axes.set_xticks(ticks, [clock_text(int(t))[:shown] for t in ticks])
    axes.set_xlim(first, last)
