"""A report of stylized facts on disk: figure, table, numbers of every group."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from jaxmars.files import to_json, write_together
from jaxmars.tasks.facts_report import FactsResult, Source
from jaxmars.tasks.facts_rules import ABSENT, ENOUGH_WINDOWS, FACT_NAMES
from jaxmars.tasks.facts_statistics import (
    CROSS_LAGS,
    HALF_LAGS,
    LAGS,
    RETURN_LAGS,
    SPANS,
    VOLUME_LAGS,
)

FIGURE, TABLE, NUMBERS = "facts.png", "facts.md", "facts.json"
DIGITS = 3  # decimals of the table
FINE = 6  # decimals of the numbers

_ONE = np.array([1])
# file name -> fields of `Facts` in it, with their lags or spans in minutes
CURVES: dict[str, dict[str, np.ndarray]] = {
    "fact_01_autocorrelation.csv": {
        "autocorrelation": RETURN_LAGS,
        "autocorrelation_mean": RETURN_LAGS,
        "autocorrelation_mid": RETURN_LAGS,
    },
    "fact_02_04_kurtosis.csv": {"kurtosis": SPANS, "kurtosis_within": _ONE},
    "fact_03_skewness.csv": {"skewness": SPANS},
    "fact_05_intermittency.csv": {"fano_hour": _ONE, "fano_window": _ONE},
    "fact_06_08_clustering.csv": {"clustering": LAGS, "clustering_within": LAGS},
    "fact_07_conditional_kurtosis.csv": {"kurtosis_conditional": SPANS, "kurtosis_garch": _ONE},
    "fact_09_leverage.csv": {"leverage": LAGS},
    "fact_10_volume.csv": {"volume": VOLUME_LAGS},
    "fact_11_time_scales.csv": {"coarse_fine": CROSS_LAGS, "asymmetry": HALF_LAGS},
}
FILES = (FIGURE, TABLE, NUMBERS, *CURVES)


def write_facts(out: pathlib.Path, result: FactsResult, made_by: dict[str, Any]) -> None:
    """Writes the figure, the table, the numbers and one CSV per fact: all of them or none.

    Args:
      out: folder.
      result: what to write.
      made_by: provenance, in facts.json.
    """
    text = to_json(summary(result) | made_by)
    table = markdown(result)
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        FIGURE: result.plot,
        TABLE: lambda path: path.write_text(table, encoding="utf-8"),
        NUMBERS: lambda path: path.write_text(text, encoding="utf-8"),
    }
    for name in CURVES:
        frame = curve_frame(result, name)
        writers[name] = lambda path, frame=frame: frame.to_csv(path, index=False)
    write_together(out, writers)


def curve_frame(result: FactsResult, name: str) -> pd.DataFrame:
    """The numbers of one CSV: columns source, statistic, lag (or span, minutes), group, value."""
    parts = []
    for source in result.sources:
        names = np.array(source.groups.names)
        for field, lags in CURVES[name].items():
            values = getattr(source.facts, field)
            parts.append(
                pd.DataFrame(
                    {
                        "source": source.name,
                        "statistic": field,
                        "lag": np.tile(lags, len(names)),
                        "group": np.repeat(names, len(lags)),
                        "value": values.ravel(),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def summary(result: FactsResult) -> dict[str, Any]:
    """The numbers of a report as JSON values; None where there is none."""
    return {
        "sources": {source.name: _size(source) for source in result.sources},
        "as_expected": {
            source.name: {str(fact): verdict for fact, verdict in result.verdicts(source).items()}
            for source in result.sources
        },
        "statistics": [
            {key: _plain(value) for key, value in row.items()}
            for row in result.table().to_dict("records")
        ],
        "curves": {
            field: _curve(result, field, lags)
            for curves in CURVES.values()
            for field, lags in curves.items()
        },
        "seed": result.seed,
    }


def markdown(result: FactsResult) -> str:
    """The table and what it rests on, as Markdown."""
    verdicts, unknown = result.verdicts(), len(result.undecided())
    good = sum(verdict is True for verdict in verdicts.values())
    lines = [
        "# Stylized facts",
        "",
        *(f"* {_words(source)}" for source in result.sources),
        f"* {good} of {len(verdicts)} facts as expected in the simulated windows"
        f"{f', {unknown} undecided' if unknown else ''}; facts {' and '.join(map(str, ABSENT))} "
        "are expected to be absent",
        "",
        "| fact | | statistic | historical | simulated | null band | rule | pass |",
        "|---:|---|---|---:|---:|---:|---|:---:|",
    ]
    before = 0
    for row in result.table().to_dict("records"):
        fact = row["fact"]
        head = (str(fact), FACT_NAMES[fact]) if fact != before else ("", "")
        before = fact
        cells = (
            *head,
            row["statistic"],
            number(row["historical"], row["historical_error"]),
            number(row["simulated"], row["simulated_error"]),
            band(row["null_low"], row["null_high"]),
            row["rule"],
            {True: "yes", False: "**no**", None: "?" if row["rule"] else ""}[_plain(row["passes"])],
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_remarks(result)]) + "\n"


def undecided(result: FactsResult) -> str:
    """Facts without a verdict and what each lacks, empty if there are none."""
    return ", ".join(f"fact {fact} (needs {lack})" for fact, lack in result.undecided().items())


def number(mean: float, error: float) -> str:
    """A mean with its standard error, if they are known."""
    if not np.isfinite(mean):
        return "-"
    return f"{mean:.{DIGITS}f}" + (f" ± {error:.{DIGITS}f}" if np.isfinite(error) else "")


def band(low: float, high: float) -> str:
    """A band in words."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "-"
    return f"{low:.{DIGITS}f} to {high:.{DIGITS}f}"


def _remarks(result: FactsResult) -> list[str]:
    """What a reader must know to use the table."""
    lines = [
        "Means over groups of windows, ± one standard error. The null band holds 95 % of such "
        "means if returns are independent and Gaussian. Correlations of fact 10 are with the "
        "volume of a minute, those of fact 11 with five-minute volatility.",
    ]
    if result.undecided():
        lines += ["", f"Undecided (?): {undecided(result)}."]
    few = len(result.simulated.minutes.symbol) < ENOUGH_WINDOWS
    if few:
        lines += ["", f"Fewer than {ENOUGH_WINDOWS:,} simulated windows: an indication only."]
    if any(len(source.groups.names) == 1 for source in result.sources):
        lines += ["", "A source of one group has no standard error."]
    return lines


def _words(source: Source) -> str:
    """How much a source holds."""
    groups, windows = len(source.groups.names), len(source.minutes.symbol)
    symbols = len(np.unique(source.minutes.symbol))
    count = lambda n, name: f"{n:,} {name}" + ("" if n == 1 else "s")
    return (
        f"{source.name}: {count(windows, 'window')} of {source.minutes.minute.shape[1]} minutes, "
        f"{count(symbols, 'symbol')}, {count(groups, 'group')}"
    )


def _size(source: Source) -> dict[str, Any]:
    """Windows and groups of a source as JSON values."""
    symbols, windows = np.unique(source.minutes.symbol, return_counts=True)
    return {
        "windows": len(source.minutes.symbol),
        "groups": len(source.groups.names),
        "windows_of_symbol": dict(zip(symbols.tolist(), windows.tolist(), strict=True)),
    }


def _curve(result: FactsResult, field: str, lags: np.ndarray) -> dict[str, Any]:
    """Means and bands of one field of `Facts` as JSON values."""
    value = lambda facts: getattr(facts, field)
    found: dict[str, Any] = {"lag": lags.tolist()}
    for source in result.sources:
        known = result.estimate(value, source)
        found[source.name] = {name: _plain(part) for name, part in known._asdict().items()}
    low, high = result.null_band(value)
    return found | {"null": {"low": _plain(low), "high": _plain(high)}}


def _plain(value: Any) -> Any:
    """A JSON value: numbers rounded, None for what is not finite."""
    if isinstance(value, np.ndarray):
        return [_plain(float(x)) for x in value]
    if isinstance(value, float):
        return round(value, FINE) if np.isfinite(value) else None
    return value
