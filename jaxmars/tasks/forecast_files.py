"""A forecast on disk: picture, event table, summary."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxmars.data.start import StartPoint
from jaxmars.files import to_json, write_together
from jaxmars.tasks.forecast import BANDS, MINUTE, ForecastResult
from jaxmars.types import describe

FIGURE, EVENTS, SUMMARY = "fan.png", "trajectories.parquet", "summary.json"
SINGLE_PATHS = 12
FIGURE_INCHES = (9.0, 5.0)
DOTS_PER_INCH = 130
LEGEND_COLUMNS = 4


def write_forecast(
    out: pathlib.Path,
    result: ForecastResult,
    start: StartPoint,
    tick_size: float,
    made_by: dict[str, Any],
    title: str,
) -> None:
    """Writes fan.png, trajectories.parquet and summary.json: all three or none."""
    text = to_json(summary(result, tick_size, made_by))
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        FIGURE: lambda path: draw_fan(path, result, start, tick_size, title),
        EVENTS: lambda path: write_events(path, result, tick_size, made_by),
        SUMMARY: lambda path: path.write_text(text, encoding="utf-8"),
    }
    write_together(out, writers)


FILES = (FIGURE, EVENTS, SUMMARY)


def write_events(
    path: pathlib.Path, result: ForecastResult, tick_size: float, made_by: dict[str, Any]
) -> None:
    """One row per event as Parquet; prices in ticks; provenance in the file's metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(result.events(), preserve_index=False)
    note = {"jaxmars": json.dumps(made_by | {"tick_size": tick_size})}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **note})
    parquet.write_table(table, path)


def summary(result: ForecastResult, tick_size: float, made_by: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a forecast as JSON values; prices in currency."""
    table = result.table()
    prices = table.drop(columns="minute") * tick_size
    minutes = [
        {"minute": int(m), "mid": {k: round(float(v), 6) for k, v in row.items()}}
        for m, (_, row) in zip(table["minute"], prices.iterrows(), strict=True)
    ]
    events = sum(len(t.events.kind) for t in result.trajectories)
    bits = int(np.bitwise_or.reduce([t.status for t in result.trajectories]))
    score = result.score()
    return {
        "start_mid": round(result.start_mid * tick_size, 6),
        "minutes": minutes,
        "classes": _records(result.class_table()),
        "class_borders_bp": {
            "low": (1e4 * result.borders.low).tolist(),
            "high": (1e4 * result.borders.high).tolist(),
        },
        "score": None if score is None else _records(score),
        "trajectories": len(result.trajectories),
        "events": events,
        "orders_per_second": round(events / result.pace.run_seconds, 1),
        "run_seconds": round(result.pace.run_seconds, 3),
        "compile_seconds": round(result.pace.compile_seconds, 3),
        "status": {"trajectories": result.status_counts(), "meaning": describe(bits)},
        **made_by,
    }


def _records(frame: Any) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records"))


def draw_fan(
    path: pathlib.Path, result: ForecastResult, start: StartPoint, tick_size: float, title: str
) -> None:
    """History, median, central bands, some single paths and the record, in currency."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=FIGURE_INCHES, layout="constrained")
    minutes = result.seconds / MINUTE
    quantiles = result.quantiles()
    for band in sorted(BANDS, reverse=True):
        low, high = quantiles[(1 - band) / 2], quantiles[(1 + band) / 2]
        shade = 0.42 - 0.3 * band
        axes.fill_between(
            minutes,
            low * tick_size,
            high * tick_size,
            color="tab:blue",
            alpha=shade,
            linewidth=0,
            label=f"{band:.0%} of futures",
        )
    for number, line in enumerate(result.paths[:SINGLE_PATHS]):
        label = "single futures" if number == 0 else None
        axes.plot(minutes, line * tick_size, color="tab:blue", lw=0.6, alpha=0.55, label=label)
    axes.plot(minutes, quantiles[0.5] * tick_size, color="navy", lw=1.8, label="median")
    shown = start.past.seconds >= -result.seconds[-1]
    past_minutes = np.append(start.past.seconds[shown] / MINUTE, 0.0)
    past_mid = np.append(start.past.mid[shown], result.start_mid) * tick_size
    axes.step(past_minutes, past_mid, color="black", lw=1.1, where="post", label="history")
    if result.truth is not None:
        axes.plot(minutes, result.truth * tick_size, color="tab:red", lw=1.4, label="what happened")
    axes.axvline(0, color="grey", lw=0.8, ls=":")
    axes.set(xlabel="minutes from the start", ylabel="mid price", title=title)
    figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9, frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)
