"""Impact on disk: figure, curves, numbers and verdicts."""

import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.files import to_json, write_together
from jaxmars.tasks.verify_files import plain
from jaxmars.tasks.verify_impact import (
    DECAY_SECONDS,
    DURATIONS,
    FRACTIONS,
    MINUTE,
    ImpactCurve,
    ImpactSummary,
)
from jaxmars.tasks.verify_statistics import markdown_table

FIGURE, TABLE, NUMBERS, CURVES = "impact.png", "impact.md", "impact.json", "impact.csv"
FILES = (FIGURE, TABLE, NUMBERS, CURVES)
EXPONENTS = (0.5, 0.8)  # of the generator
FACTOR = 2.0  # between a model's impact and its generator's
CLEAR = 2.0  # standard errors that a sign must lie away from zero
# Measured by the realism spec 2.2: 1,500 paths per point.
PUBLISHED_DURATIONS = (1.14, 1.96, 3.39, 4.91, 6.02)
PUBLISHED_SIZES = (0.88, 1.80, 3.39, 5.00, 8.03, 11.9)
PUBLISHED_EXPONENTS = (0.61, 0.71)  # of duration, of size
PUBLISHED_PROFILE = (0.36, 0.60, 0.73, 0.88, 1.0)
PUBLISHED_LEFT = 0.6

DOTS_PER_INCH = 130
PANEL_INCHES = (4.6, 3.9)
COLOURS = {"generator": "#1f5fa8", "model": "#c4501b"}
BAND_ALPHA = 0.18


class MarketImpact(NamedTuple):
    """The impact of several orders in one market."""

    name: str  # "generator" or "model"
    long: ImpactCurve
    sized: list[ImpactCurve]
    summary: ImpactSummary


class Verdict(NamedTuple):
    """One rule."""

    market: str
    rule: str
    found: str
    passes: bool


def verdicts(market: MarketImpact, generator: MarketImpact | None) -> list[Verdict]:
    """The rules of the realism spec 2.2 (a generator) and 2.3 (a model beside its generator).

    Args:
      market: to judge.
      generator: of the model; None if `market` is the generator.
    """
    s, name = market.summary, market.name
    mark = lambda rule, found, passes: Verdict(name, rule, found, bool(passes))
    pairs = [(s.duration_ticks, s.duration_error), (s.size_ticks, s.size_error)]
    clear = min(float((ticks / error).min()) for ticks, error in pairs)
    rising = all((np.diff(ticks) > 0).all() for ticks, _ in pairs)
    found = [
        mark("positive at every size and duration", f"smallest z {clear:.1f}", clear > CLEAR),
        mark("rises with size and duration", "", rising),
        mark(
            "concave while executing",
            f"profile - straight line {s.bulge:.3f}±{s.bulge_error:.3f}",
            s.bulge > CLEAR * s.bulge_error,
        ),
    ]
    fits = {"duration": s.duration_fit, "size": s.size_fit}
    if generator is None:
        low, high = EXPONENTS
        for what, fit in fits.items():
            text = f"{fit.exponent:.2f}±{fit.error:.2f}"
            rule = f"exponent of {what} from {low} to {high}"
            found.append(mark(rule, text, low <= fit.exponent <= high))
        text = f"{s.left:.2f}±{s.left_error:.2f} left after {DECAY_SECONDS // MINUTE} min"
        return [*found, mark("decays", text, s.left + CLEAR * s.left_error < 1)]
    for what, fit in fits.items():
        text = f"{fit.exponent:.2f}±{fit.error:.2f}"
        found.append(mark(f"exponent of {what} below 1", text, fit.exponent < 1))
    theirs = generator.summary
    ratio = np.concatenate(
        [s.duration_ticks / theirs.duration_ticks, s.size_ticks / theirs.size_ticks]
    )
    text = f"ratios {ratio.min():.2f} to {ratio.max():.2f}"
    near = ratio.min() >= 1 / FACTOR and ratio.max() <= FACTOR
    return [*found, mark(f"within a factor {FACTOR:g} of the generator", text, near)]


def impact_table(markets: list[MarketImpact]) -> pd.DataFrame:
    """Impact by duration and by size, one row each; ticks with standard errors."""
    first = markets[0]
    rows = [
        {"order": f"{c.order.lots} lots in {c.order.seconds // MINUTE} min"} for c in first.sized
    ]
    rate = first.long.order.lots / first.long.order.seconds
    rows = [{"order": f"{rate:g} lot/s for {m} min"} for m in DURATIONS] + rows
    table = pd.DataFrame(rows)
    for market in markets:
        s = market.summary
        table[market.name] = np.concatenate([s.duration_ticks, s.size_ticks])
        table[f"{market.name}_error"] = np.concatenate([s.duration_error, s.size_error])
    return table


def curve_table(markets: list[MarketImpact]) -> pd.DataFrame:
    """Every curve: columns market, lots, execution_seconds, seconds, ticks, error."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "market": market.name,
                    "lots": curve.order.lots,
                    "execution_seconds": curve.order.seconds,
                    "seconds": curve.seconds,
                    "ticks": curve.mean,
                    "error": curve.error,
                }
            )
            for market in markets
            for curve in (market.long, *market.sized)
        ],
        ignore_index=True,
    )


def markdown(markets: list[MarketImpact], found: list[Verdict]) -> str:
    """The tables and what they rest on, as Markdown."""
    lines = ["# Impact of an order executed at a fixed rate", ""]
    for market in markets:
        s = market.summary
        profile = " / ".join(f"{x:.2f}" for x in s.profile)
        filled = min(c.filled for c in (market.long, *market.sized))
        lines += [
            f"* {market.name}: {s.paths} pairs of paths per order (bought and sold, half the "
            f"difference), {s.gain:.1f} or more times less variance than of two independent runs; "
            f"at least {filled:.1%} of every order filled",
            f"  * exponent of duration {s.duration_fit.exponent:.2f} ± {s.duration_fit.error:.2f}, "
            f"of size {s.size_fit.exponent:.2f} ± {s.size_fit.error:.2f}",
            f"  * at {', '.join(f'{f:.0%}' for f in FRACTIONS)} of the execution: {profile} of the "
            f"impact at its end; {s.left:.2f} ± {s.left_error:.2f} of it "
            f"{DECAY_SECONDS // MINUTE} minutes later",
        ]
    verdict_table = pd.DataFrame([verdict._asdict() for verdict in found])
    tables = (impact_table(markets), verdict_table)
    return "\n".join(lines) + "\n\n" + "\n".join(markdown_table(t, digits=2) for t in tables)


def write_impact(
    out: pathlib.Path, markets: list[MarketImpact], found: list[Verdict], made_by: dict[str, Any]
) -> None:
    """Writes figure, table, numbers and curves: all of them or none."""
    numbers = {
        "markets": {m.name: plain(m.summary) for m in markets},
        "published": {
            "durations": PUBLISHED_DURATIONS,
            "sizes": PUBLISHED_SIZES,
            "exponents": PUBLISHED_EXPONENTS,
            "profile": PUBLISHED_PROFILE,
            "left": PUBLISHED_LEFT,
        },
        "table": impact_table(markets),
        "verdicts": [plain(verdict) for verdict in found],
    }
    text, facts = markdown(markets, found), to_json(plain(numbers) | made_by)
    write_together(
        out,
        {
            FIGURE: lambda path: draw(path, markets),
            TABLE: lambda path: path.write_text(text, encoding="utf-8"),
            NUMBERS: lambda path: path.write_text(facts, encoding="utf-8"),
            CURVES: lambda path: curve_table(markets).to_csv(path, index=False),
        },
    )


def draw(path: pathlib.Path, markets: list[MarketImpact]) -> None:
    """Impact against duration, against size, and in time, as PNG."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(3 * PANEL_INCHES[0], PANEL_INCHES[1]))
    for market in markets:
        s, colour = market.summary, COLOURS[market.name]
        lots = np.array([curve.order.lots for curve in market.sized])
        minutes = np.array(DURATIONS, float)
        _points(axes[0], minutes, s.duration_ticks, s.duration_error, market.name, s.duration_fit)
        _points(axes[1], lots, s.size_ticks, s.size_error, market.name, s.size_fit)
        for curve in market.sized:
            shown = curve.seconds / MINUTE
            axes[2].plot(shown, curve.mean, color=colour, lw=1.2)
            low, high = curve.mean - curve.error, curve.mean + curve.error
            axes[2].fill_between(shown, low, high, color=colour, alpha=BAND_ALPHA, lw=0)
            axes[2].text(shown[-1], curve.mean[-1], f" {curve.order.lots}", fontsize=7, va="center")
    rate = markets[0].long.order.lots / markets[0].long.order.seconds
    titles = (
        f"{rate:g} lot/s, while it goes on",
        f"orders of {markets[0].sized[0].order.seconds // MINUTE} minutes, at their end",
        "the same orders in time (lots beside the lines)",
    )
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("impact, ticks")
    for axis, label in zip(axes, ("duration, minutes", "size, lots", "minutes"), strict=True):
        axis.set_xlabel(label)
    for axis in axes[:2]:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.legend(fontsize=8, frameon=False, loc="lower right")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter("")
    axes[2].axvline(markets[0].sized[0].order.seconds / MINUTE, color="#868e96", lw=0.8, ls=":")
    axes[2].axhline(0, color="#868e96", lw=0.8)
    figure.tight_layout()
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _points(
    axis: Any, size: np.ndarray, ticks: np.ndarray, error: np.ndarray, name: str, fit: Any
) -> None:
    """Points with error bars, and the power law through them."""
    label = f"{name}: exponent {fit.exponent:.2f} ± {fit.error:.2f}"
    axis.errorbar(size, ticks, error, fmt="o", ms=4, color=COLOURS[name], label=label)
    axis.plot(size, fit.scale * size**fit.exponent, color=COLOURS[name], lw=1, ls="--")
