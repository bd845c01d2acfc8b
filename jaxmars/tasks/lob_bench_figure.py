"""Pictures of the benchmark: scores, drift, responses of the mid, discriminator."""

import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmars.tasks.lob_bench_discriminator import GRID, Discrimination
from jaxmars.tasks.lob_bench_impact import KINDS, LAGS, Response
from jaxmars.tasks.lob_bench_scores import UNCONDITIONAL

if TYPE_CHECKING:
    from jaxmars.tasks.lob_bench import LobBenchResult

DOTS_PER_INCH = 130
REAL_COLOUR, GENERATED_COLOUR, FLOOR_COLOUR = "#c4501b", "#1f5fa8", "#9aa0a6"
PAST_COLOUR = "#2b8a3e"
BAND_ALPHA = 0.2
SCORES_INCHES, RESPONSES_INCHES, ROC_INCHES = (12.0, 9.5), (12.0, 7.0), (5.6, 5.4)
PANEL_INCHES, PANEL_COLUMNS = (3.0, 2.0), 5
DECADES = (1, 10, 100)  # events
BAR, FLOOR_BAR = 0.62, 0.82
SMALL = 8


def draw_scores(path: pathlib.Path, result: "LobBenchResult") -> None:
    """Writes the distances of all scores with 99 % intervals, over their noise floors, as PNG."""

    def fill(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, metric in ((left, "l1"), (right, "wasserstein")):
            _bars(axes, result, metric)
        left.set_xlabel("L1: total variation, 0 to 1", fontsize=9)
        right.set_xlabel("Wasserstein-1, pooled standard deviations", fontsize=9)
        figure.suptitle(_sizes(result), fontsize=10)

    _save(path, SCORES_INCHES, fill)


def draw_divergence(path: pathlib.Path, result: "LobBenchResult") -> None:
    """Writes the drift of every unconditional score with messages generated, as PNG."""
    found, floor = result.divergence.generated, result.divergence.floor
    shown = [row for row in range(len(found)) if np.isfinite(found[row]).any()]
    panels = [(score.name, [row]) for row in shown if (score := UNCONDITIONAL[row])]
    rows = -(-(len(panels) + 1) // PANEL_COLUMNS)

    def fill(figure: Any) -> None:
        grid = figure.subplots(rows, PANEL_COLUMNS, sharex=True, squeeze=False)
        cells = list(grid.ravel())
        for axes, (name, some) in zip(cells, [("mean", shown), *panels], strict=False):
            axes.set_title(name, fontsize=9, loc="left")
            for table, colour, label in (
                (floor, FLOOR_COLOUR, "real, noise floor"),
                (found, GENERATED_COLOUR, "generated"),
            ):
                values = table[some].mean(0) if some else np.full(table.shape[1], np.nan)
                axes.plot(result.divergence.messages, values, ".-", color=colour, label=label)
            axes.set_ylim(bottom=0)
            _plain_axes(axes)
        for axes in cells[len(panels) + 1 :]:
            axes.axis("off")
        below = min(len(panels) + 1, len(cells)) - PANEL_COLUMNS
        for axes in cells[max(below, 0) : len(panels) + 1]:
            axes.set_xlabel("messages", fontsize=SMALL)
            axes.tick_params(labelbottom=True)
        cells[0].legend(frameon=False, fontsize=SMALL)
        figure.suptitle("L1 of each hundred messages against all real ones", fontsize=10)

    width, height = PANEL_INCHES
    _save(path, (width * PANEL_COLUMNS, height * rows + 0.6), fill)


def draw_responses(path: pathlib.Path, result: "LobBenchResult") -> None:
    """Writes the responses of the mid to the six kinds of events with 99 % bands, as PNG."""

    def fill(figure: Any) -> None:
        grid = figure.subplots(2, len(KINDS) // 2, sharex=True)
        for number, kind in enumerate(KINDS):
            axes = grid[number % 2, number // 2]
            _response(axes, result.impact.generated, number, GENERATED_COLOUR, "generated")
            _response(axes, result.impact.real, number, REAL_COLOUR, "real")
            axes.axhline(0, color="grey", lw=0.7, zorder=0)
            axes.set_xscale("log")
            axes.set_xticks(DECADES, [str(x) for x in DECADES])
            axes.set_title(
                f"{_event(kind)}   Σ|Δ| {result.impact.differences[number]:.2f}",
                fontsize=9,
                loc="left",
            )
            _plain_axes(axes)
            if number % 2:
                axes.set_xlabel("events at the touch", fontsize=9)
            if number < 2:
                axes.set_ylabel("move of the mid, ticks", fontsize=9)
        grid[0, 0].legend(frameon=False, fontsize=SMALL)
        score, floor = result.impact.score.value, result.floor_impact
        figure.suptitle(
            f"Responses of the mid: mean summed difference {score:.2f} ticks, noise floor "
            f"{np.nanmean(floor) if np.isfinite(floor).any() else np.nan:.2f}",
            fontsize=10,
        )

    _save(path, RESPONSES_INCHES, fill)


def draw_roc(path: pathlib.Path, result: "LobBenchResult") -> None:
    """Writes the ROC curves of the discriminator as PNG."""

    def fill(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], "--", color="grey", lw=0.8)
        for told, colour, label in (
            (result.floor_discriminator, FLOOR_COLOUR, "real from real, noise floor"),
            (result.discriminator, GENERATED_COLOUR, "generated from real"),
        ):
            axes.plot(GRID, told.roc.T, color=colour, lw=0.8, alpha=0.5)
            axes.plot(GRID, told.roc.mean(0), color=colour, lw=2, label=f"{label}: {area(told)}")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("real called generated", fontsize=9)
        axes.set_ylabel("generated called generated", fontsize=9)
        axes.set_title("Discriminator, sequences held out", fontsize=10, loc="left")
        axes.legend(frameon=False, fontsize=SMALL, loc="lower right")
        _plain_axes(axes)

    _save(path, ROC_INCHES, fill)


def area(told: Discrimination) -> str:
    """Area under the ROC curve over seeds, in words."""
    known = told.auc[np.isfinite(told.auc)]
    return f"AUC {known.mean():.3f} ± {known.std():.3f}" if len(known) else "not enough data"


def _save(path: pathlib.Path, inches: tuple[float, float], fill: Callable[[Any], None]) -> None:
    """Draws one figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=inches, layout="constrained")
    fill(figure)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _bars(axes: Any, result: "LobBenchResult", metric: str) -> None:
    """One bar per score, averages below them, noise floors behind."""
    table = result.table()
    names = table["score"].tolist()
    scores = len(result.scores)
    gap = np.arange(len(names)) + (np.arange(len(names)) >= scores)
    value, floor = table[metric].to_numpy(), table[f"{metric}_floor"].to_numpy()
    low, high = (table[f"{metric}_{end}"].to_numpy() for end in ("low", "high"))
    axes.barh(gap, floor, FLOOR_BAR, color=FLOOR_COLOUR, alpha=0.45, label="real, noise floor")
    errors = np.abs(np.stack([value - low, high - value]))
    axes.barh(
        gap,
        value,
        BAR / 2,
        color=GENERATED_COLOUR,
        xerr=errors,
        error_kw={"lw": 0.9, "capsize": 1.8},
        label="generated",
    )
    past = table[f"{metric}_conditioning"].to_numpy()
    if np.isfinite(past).any():
        axes.plot(past, gap, "D", ms=5, color=PAST_COLOUR, mec="white", label="conditioning")
    axes.set_yticks(gap, names, fontsize=SMALL)
    axes.axhline(scores, color="grey", lw=0.6)
    axes.set_ylim(gap[-1] + 0.7, -0.7)
    axes.legend(frameon=False, fontsize=SMALL, loc="lower right")
    _plain_axes(axes)


def _response(axes: Any, found: Response, kind: int, colour: str, label: str) -> None:
    axes.fill_between(LAGS, found.low[kind], found.high[kind], color=colour, alpha=BAND_ALPHA, lw=0)
    axes.plot(LAGS, found.mean[kind], ".-", color=colour, lw=1.2, ms=4, label=label)


def _event(kind: str) -> str:
    """A kind of event in words."""
    name, moved = kind.split()
    words = {"MO": "market order", "LO": "limit order", "CA": "cancel"}[name]
    return f"{words}, {'price changes' if moved == '1' else 'price stays'}"


def _plain_axes(axes: Any) -> None:
    axes.tick_params(labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)


def _sizes(result: "LobBenchResult") -> str:
    parts = (
        f"{size.sequences:,} {name} sequences of {size.messages / size.sequences:,.0f} messages"
        for name, size in (("real", result.real), ("generated", result.generated))
    )
    return f"{', '.join(parts)}, {result.levels} levels"
