"""A simulation on disk: events, fills, accounts, picture, summary."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from jaxmars.files import to_json, write_together
from jaxmars.tasks.simulate import SimulationResult
from jaxmars.tasks.simulate_tables import status_table
from jaxmars.types import Kind, Status, describe

EVENTS, FILLS, ACCOUNTS = "events.parquet", "fills.parquet", "accounts.csv"
FIGURE, SUMMARY = "paths.png", "summary.json"
FILES = (EVENTS, FILLS, ACCOUNTS, FIGURE, SUMMARY)
SCHEMA_VERSION = 1  # of the columns of the tables
FINE = 6  # decimals of a mean


def write_simulation(out: pathlib.Path, result: SimulationResult, made_by: dict[str, Any]) -> None:
    """Writes the five files: all of them or none.

    Args:
      out: folder.
      result: what to write.
      made_by: provenance; in the summary and in the metadata of the Parquet files.
    """
    note = made_by | {
        "schema_version": SCHEMA_VERSION,
        "tick_size": result.labels.tick_size,
        "prices": "currency",
    }
    text = to_json(summary(result) | note)
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        EVENTS: lambda path: _write_table(path, result.events(), note),
        FILLS: lambda path: _write_table(path, result.fills(), note),
        ACCOUNTS: lambda path: result.accounts().to_csv(path, index=False),
        FIGURE: result.plot,
        SUMMARY: lambda path: path.write_text(text, encoding="utf-8"),
    }
    write_together(out, writers)


def summary(result: SimulationResult) -> dict[str, Any]:
    """The numbers of a simulation as JSON values; prices in currency, shares, seconds."""
    trajectories, pace = result.trajectories, result.pace
    events = sum(len(t.events.kind) for t in trajectories)
    bits = int(np.bitwise_or.reduce([t.status for t in trajectories]))
    return {
        "trajectories": len(trajectories),
        "events": events,
        "events_per_second": round(events / max(pace.run_seconds, 1e-9), 1),
        "run_seconds": round(pace.run_seconds, 3),
        "compile_seconds": round(pace.compile_seconds, 3),
        "events_by_kind": _kind_counts(result),
        "agents": _records(result.table()),
        "mid": _records(result.price_table()),
        "shares_traded": int(result.volume.sum()),
        "shares_missing_in_fills": missing_fills(result),
        "status": {
            "meaning": describe(bits),
            **{name: counts for name, counts in status_table(trajectories).items()},
        },
    }


def missing_fills(result: SimulationResult) -> int:
    """Shares traded by orders with more fills than there was room to record."""
    missing = 0
    for trajectory in result.trajectories:
        event = trajectory.events
        sides = np.where(np.asarray(event.kind) == Kind.UNCROSS, 2, 1)
        cut = (np.asarray(event.status) & Status.TRADES_TRUNCATED) != 0
        recorded = np.asarray(event.trades.size, np.int64).sum(1)
        missing += int((np.asarray(event.filled, np.int64) * sides - recorded)[cut].sum())
    return missing


def _kind_counts(result: SimulationResult) -> dict[str, int]:
    """Events of every kind, in all trajectories."""
    kinds = np.concatenate([np.asarray(t.events.kind) for t in result.trajectories])
    counts = np.bincount(kinds, minlength=len(Kind))
    return {kind.name: int(counts[kind]) for kind in Kind if counts[kind]}


def _write_table(path: pathlib.Path, frame: pd.DataFrame, note: dict[str, Any]) -> None:
    """A table as Parquet, with provenance in the file's metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), "jaxmars": json.dumps(note)}
    parquet.write_table(table.replace_schema_metadata(metadata), path)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records", double_precision=FINE) or "[]")
