"""The picture of a report of stylized facts: one panel per fact, historical x simulated."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxmars.tasks.facts_report import FactsResult, Source
from jaxmars.tasks.facts_rules import ABSENT, FACT_NAMES
from jaxmars.tasks.facts_statistics import (
    CROSS_LAGS,
    FIRST,
    HALF_LAGS,
    LAGS,
    RETURN_LAGS,
    SPANS,
    VOLUME_LAGS,
    Facts,
    log_returns,
)

ROWS, COLUMNS = 3, 4
FIGURE_INCHES = (15.0, 9.6)
DOTS_PER_INCH = 130
COLOURS = {"historical": "#c4501b", "simulated": "#1f5fa8"}
MARKERS = {"historical": "s", "simulated": "o"}
NULL_COLOUR = "#d9d9d9"
VERDICTS = {True: ("✓", "#2b8a3e"), False: ("✗", "#c92a2a"), None: ("?", "#868e96")}
BAND_ALPHA = 0.2
DEVIATIONS = 8.0  # standard deviations that the tails are shown to
POINTS = 401  # of them
LEAST_SHOWN = 0.005  # of an autocorrelation on a logarithmic axis
LAG, SPAN = "lag, minutes", "return over, minutes"
SHORT_TICKS, LONG_TICKS = (1, 2, 4, 6, 8, 10), (1, 5, 10, 15, 20)  # minutes
VOLUME_TICKS = (-1, 5, 10, 15, 20)
CROSS_TICKS = (-10, -5, 0, 5, 10)
DOUBLING = (1, 2, 5, 10, 20)
BOX_WIDTH = 0.55

Value = Callable[[Facts], np.ndarray]


def draw(path: pathlib.Path, result: FactsResult) -> None:
    """Writes the figure as PNG.

    Curves are means over groups with 95 % bootstrap bands; the grey band is that of the mean under
    independent Gaussian returns.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(ROWS, COLUMNS, figsize=FIGURE_INCHES, layout="constrained")
    panels = grid.ravel()
    verdicts = result.verdicts()
    for fact, axes in zip(FACT_NAMES, panels, strict=False):
        mark, colour = VERDICTS[verdicts[fact]]
        absent = " (absent)" if fact in ABSENT else ""
        words = f"{fact}  {FACT_NAMES[fact]}{absent}"
        axes.set_title(words, loc="left", fontsize=10, fontweight="bold")
        axes.set_title(mark, loc="right", fontsize=13, color=colour)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        PANELS[fact](axes, result)
    _key(panels[len(FACT_NAMES)], result)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _curves(
    axes: Any,
    result: FactsResult,
    x: np.ndarray,
    value: Value,
    *,
    style: str = "-",
    bands: bool = True,
) -> None:
    """One curve per source, and the null behind them."""
    if bands:
        axes.fill_between(x, *result.null_band(value), color=NULL_COLOUR, lw=0, zorder=0)
    for source in result.sources:
        known, colour = result.estimate(value, source), COLOURS[source.name]
        if bands:
            axes.fill_between(x, known.low, known.high, color=colour, alpha=BAND_ALPHA, lw=0)
        marker = {"marker": MARKERS[source.name], "ms": 3.2} if bands else {}
        axes.plot(x, known.mean, style, color=colour, lw=1.4 if bands else 1.1, **marker)


def _note(axes: Any, text: str) -> None:
    """What the thin lines of a panel are."""
    axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=8)


def _zero(axes: Any, label: str, words: str, ticks: tuple[int, ...] = LONG_TICKS) -> None:
    """A line at zero, ticks in whole minutes and the names of the axes."""
    axes.axhline(0, color="grey", lw=0.7, zorder=1)
    axes.set_xticks(ticks)
    axes.set_xlabel(label, fontsize=8)
    axes.set_ylabel(words, fontsize=8)


def _autocorrelation(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, RETURN_LAGS, lambda f: f.autocorrelation)
    _curves(axes, result, RETURN_LAGS, lambda f: f.autocorrelation_mean, style=":", bands=False)
    _note(axes, "dotted: mean price\nof the minute")
    _zero(axes, LAG, "correlation of returns", SHORT_TICKS)


def _tails(axes: Any, result: FactsResult) -> None:
    """Share of one-minute returns beyond a size in units of their deviation."""
    from scipy.special import erfc

    reach = np.linspace(0, DEVIATIONS, POINTS)
    least = 1.0
    for source in result.sources:
        r = log_returns(source.minutes.last, 1)[:, FIRST:].ravel()
        size = np.sort(np.abs(r)) / max(float(r.std()), np.finfo(float).tiny)
        beyond = 1 - np.searchsorted(size, reach, "right") / len(size)
        least = min(least, 1 / len(size))
        axes.plot(reach, np.where(beyond > 0, beyond, np.nan), color=COLOURS[source.name], lw=1.4)
    axes.plot(reach, erfc(reach / np.sqrt(2)), "--", color="grey", lw=1.0)
    _note(axes, "dashed: Gaussian")
    axes.set(yscale="log", ylim=(least, 1.5), xlim=(0, DEVIATIONS))
    axes.set_xlabel("size of a one-minute return, deviations", fontsize=8)
    axes.set_ylabel("share of returns beyond", fontsize=8)


def _skewness(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, SPANS, lambda f: f.skewness)
    _zero(axes, SPAN, "skewness")


def _kurtosis(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, SPANS, lambda f: f.kurtosis)
    _zero(axes, SPAN, "excess kurtosis")


def _intermittency(axes: Any, result: FactsResult) -> None:
    """Fano factors of the groups as boxes: of hours above, of windows below."""
    rows, labels = [], []
    fields: tuple[tuple[str, Value], ...] = (
        ("window", lambda f: f.fano_window[:, 0]),
        ("hour", lambda f: f.fano_hour[:, 0]),
    )
    for words, value in fields:
        for source in result.sources:
            known = value(source.facts)
            rows.append((known[np.isfinite(known)], COLOURS[source.name]))
            labels.append(f"per {words}")
    for place, (known, colour) in enumerate(rows):
        axes.boxplot(
            [known],
            positions=[place],
            widths=BOX_WIDTH,
            orientation="horizontal",
            showmeans=True,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.35, "lw": 0.8},
            medianprops={"color": colour, "lw": 1.6},
            meanprops={"marker": "D", "ms": 4, "mfc": colour, "mec": "white"},
        )
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.axvline(1, color="grey", lw=1.0, ls="--")
    axes.set_xlabel("Fano factor of extreme returns (Poisson: 1)", fontsize=8)


def _clustering(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, LAGS, lambda f: f.clustering)
    _curves(axes, result, LAGS, lambda f: f.clustering_within, style=":", bands=False)
    _note(axes, "dotted: within windows")
    _zero(axes, LAG, "correlation of |returns|")


def _conditional(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, SPANS, lambda f: f.kurtosis_conditional)
    for source in result.sources:
        known = result.estimate(lambda f: f.kurtosis_garch, source)
        axes.plot([1], known.mean, "*", ms=10, color=COLOURS[source.name], mec="white")
    _note(axes, "star: GARCH residuals")
    _zero(axes, SPAN, "kurtosis over time of day")


def _decay(axes: Any, result: FactsResult) -> None:
    """Clustering on logarithmic axes, where a power law is a line."""
    for source in result.sources:
        known, colour = result.estimate(lambda f: f.clustering, source), COLOURS[source.name]
        band = (np.maximum(x, LEAST_SHOWN) for x in (known.low, known.high))
        axes.fill_between(LAGS, *band, color=colour, alpha=BAND_ALPHA, lw=0)
        shown = np.where(known.mean > LEAST_SHOWN, known.mean, np.nan)
        axes.plot(LAGS, shown, color=colour, lw=1.4, marker=MARKERS[source.name], ms=3.2)
    high = np.maximum(result.null_band(lambda f: f.clustering)[1], LEAST_SHOWN)
    axes.fill_between(LAGS, LEAST_SHOWN, high, color=NULL_COLOUR, lw=0, zorder=0)
    axes.set(xscale="log", yscale="log", ylim=(LEAST_SHOWN, 1.0))
    axes.set_xticks(DOUBLING, [str(x) for x in DOUBLING])
    axes.minorticks_off()
    axes.set_xlabel(LAG, fontsize=8)
    axes.set_ylabel("correlation of |returns|", fontsize=8)


def _leverage(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, LAGS, lambda f: f.leverage)
    _zero(axes, LAG, "return with later |return|")


def _volume(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, VOLUME_LAGS, lambda f: f.volume)
    _note(axes, "-1: same minute, 0: next minute")
    _zero(axes, LAG, "volume with later |return|", VOLUME_TICKS)


def _time_scales(axes: Any, result: FactsResult) -> None:
    _curves(axes, result, CROSS_LAGS, lambda f: f.coarse_fine)
    _curves(axes, result, HALF_LAGS, lambda f: f.asymmetry, style="--", bands=False)
    _note(axes, "dashed: C(lag) - C(-lag)")
    axes.axvline(0, color="grey", lw=0.7, zorder=1)
    _zero(axes, "coarse later by, minutes", "fine with coarse volatility", CROSS_TICKS)


def _key(axes: Any, result: FactsResult) -> None:
    """Legend and size of the sample, in the free panel."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes.axis("off")
    lines = [
        Line2D([], [], color=COLOURS[s.name], marker=MARKERS[s.name], label=_words(s))
        for s in result.sources
    ]
    null = Patch(color=NULL_COLOUR, label="95 % of such means, Gaussian returns")
    axes.legend(handles=[*lines, null], loc="upper left", frameon=False, fontsize=9)
    good = sum(verdict is True for verdict in result.verdicts().values())
    text = (
        f"{good} of {len(FACT_NAMES)} facts of the simulated windows\n"
        "are as expected (3 and 9: absent): ✓.\n\n"
        "Lines: means over groups; bands: 95 % bootstrap\nintervals of them."
    )
    axes.text(0.03, 0.42, text, transform=axes.transAxes, va="top", fontsize=9)


def _words(source: Source) -> str:
    windows, groups = len(source.minutes.symbol), len(source.groups.names)
    return f"{source.name}: {windows:,} windows, {groups:,} group" + ("" if groups == 1 else "s")


PANELS: dict[int, Callable[[Any, FactsResult], None]] = {
    1: _autocorrelation,
    2: _tails,
    3: _skewness,
    4: _kurtosis,
    5: _intermittency,
    6: _clustering,
    7: _conditional,
    8: _decay,
    9: _leverage,
    10: _volume,
    11: _time_scales,
}
