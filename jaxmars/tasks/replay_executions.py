"""Executions without orders: the intervals between snapshots, and the snapshots as a heat map."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.data.ashare import AShareDay
from jaxmars.data.continuous import Samples
from jaxmars.data.lobster import NANOS, nanoseconds
from jaxmars.data.orderflow import host_time
from jaxmars.files import to_json, write_together
from jaxmars.tasks.replay_files import (
    DIFFERENCES,
    FIGURE,
    PICTURE_COLUMNS,
    SUMMARY,
    Picture,
    clock,
    draw_depth,
)

NO_BOOKS = (
    "no recorded book to compare with: executions do not say which orders rest, so no book follows "
    "from them"
)
NOTE = "recorded snapshots; no book follows from executions alone"


class ExecutionsRun(NamedTuple):
    """A day of executions and how far it agrees with its snapshots."""

    day: AShareDay
    table: pd.DataFrame  # per column: intervals compared, and how many differ


def write_executions(
    out: pathlib.Path, run: ExecutionsRun, made_by: dict[str, Any], title: str
) -> None:
    """Writes replay.json, differences.csv and depth.png: all three or none."""
    l3, trades = run.day.data, run.day.data.trades
    assert trades is not None, "the reader gives them"
    text = to_json(summary(run) | made_by)
    picture = Picture(l3, snapshot_samples(run.day), trades, title, NOTE)
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        SUMMARY: lambda path: path.write_text(text, encoding="utf-8"),
        DIFFERENCES: lambda path: run.table.to_csv(path),
        FIGURE: lambda path: draw_depth(path, picture),
    }
    write_together(out, writers)


def summary(run: ExecutionsRun) -> dict[str, Any]:
    """The numbers of a day as JSON values."""
    l3, trades = run.day.data, run.day.data.trades
    assert trades is not None, "the reader gives them"
    stamps = nanoseconds(*trades.time)
    return {
        "venue": l3.venue,
        "first_event": clock(int(stamps[0])),
        "last_event": clock(int(stamps[-1])),
        "events": len(stamps),
        "reading": "executions",
        "books": {"compared": 0, "equal": 0, "why": NO_BOOKS},
        "intervals": {
            "compared": len(run.day.snapshot_volume),
            "differ": dict(zip(run.table.index, run.table["differ"].tolist(), strict=True)),
        },
        "aggressors": len(l3.flow.check),
        "traded": {
            "trades": len(stamps),
            "size": int(trades.size.sum(dtype=np.int64)) / l3.size_scale,
        },
        "tick_size": l3.tick / l3.price_scale,
    }


def snapshot_samples(day: AShareDay) -> Samples:
    """The last snapshot at or before each column of the picture."""
    recorded = day.data.recorded
    assert recorded is not None, "the reader gives them"
    stamps = nanoseconds(*day.snapshot_time)
    step = max(int(stamps[-1] - stamps[0]) // PICTURE_COLUMNS, 1)
    grid = np.arange(stamps[0], stamps[-1] + 1, step)
    at = np.searchsorted(stamps, grid, "right") - 1
    price, size = (np.asarray(x)[at] for x in recorded.l2)
    return Samples(host_time(grid // NANOS, grid % NANOS), price, size)
