"""A backtest on disk: moments in, finished chunks, what they say together."""

import csv
import json
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import pandas as pd

from jaxmars.builtin import default_starts
from jaxmars.clock_text import parse_clock
from jaxmars.convert.store import CONFIG_FILE, file_hash
from jaxmars.errors import InputError
from jaxmars.files import to_json, write_together
from jaxmars.models import OrderModel
from jaxmars.tasks.backtest import ChunkResult, Moment
from jaxmars.tasks.forecast import BANDS
from jaxmars.tasks.labels import CLASSES
from jaxmars.train.shards import converters_digest

CHUNKS, PATHS, HORIZONS = "chunks", "paths", "horizons"
TABLE, SUMMARY, FIGURE = "horizons.csv", "summary.json", "backtest.png"
FILES = (TABLE, SUMMARY, FIGURE)
COLUMNS = ("message", "book", "at")
RANK_BINS = 10
FIGURE_INCHES = (13.0, 4.2)
DOTS_PER_INCH = 130


def read_moments(path: pathlib.Path) -> list[Moment]:
    """The moments of a CSV table with the columns message, book (files of a LOBSTER day, relative
    to the table) and at (HH:MM:SS).

    Raises:
      InputError: no such file, other columns, a day that is not there, no time of the day.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise InputError(
                    f"{path} has the columns {', '.join(reader.fieldnames or ()) or 'none'}, "
                    f"expected {', '.join(COLUMNS)}"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    if not rows:
        raise InputError(f"{path} names no moment, expected at least one row")
    return [_moment_of(path, number, row) for number, row in enumerate(rows)]


def _moment_of(path: pathlib.Path, number: int, row: dict[str, str]) -> Moment:
    where = f"{path}, row {number + 1}"
    files = [path.parent / (row[name] or "") for name in COLUMNS[:2]]
    for file in files:
        if not file.is_file():
            raise InputError(f"{where}: {file} is not a file, expected one of a LOBSTER day")
    try:
        at = parse_clock(row["at"] or "")
    except ValueError:
        raise InputError(
            f"{where}: at is {row['at']!r:.40}, expected a time of the day such as 10:30:00"
        ) from None
    return Moment(number, files[0], files[1], at)


def builtin_moments(numbers: Sequence[int]) -> list[Moment]:
    """Moments at built-in starts."""
    return [Moment(n, None, None, (start, 0)) for n, start in enumerate(numbers)]


def describe_moments(moments: Sequence[Moment], folder: pathlib.Path) -> dict[str, Any]:
    """What the moments are, as JSON values: where each lies, and the hex sha256 of every file that
    one of them lies in.

    Args:
      moments: of the backtest.
      folder: files are named relative to it.
    """
    files = [[path or default_starts() for path in one[1:3]] for one in moments]
    names = {path: os.path.relpath(path, folder) for pair in files for path in pair}
    return {
        "moments": [
            [*(names[path] for path in pair), *one.at]
            for one, pair in zip(moments, files, strict=True)
        ],
        "starts_sha256": {name: file_hash(path) for path, name in names.items()},
    }


def describe_model(model: OrderModel, folder: pathlib.Path) -> dict[str, Any]:
    """What of a model decides results besides its tensors, as JSON values.

    Args:
      model: with converters.
      folder: it was read from.
    """
    assert model.converters is not None
    return {
        "model_config_sha256": file_hash(folder / CONFIG_FILE),
        "converters_sha256": converters_digest(model.converters),
        "label_terciles": model.manifest.get("label_terciles"),
    }


def chunk_files(out: pathlib.Path, number: int) -> tuple[pathlib.Path, pathlib.Path]:
    """The two files of a chunk; it is finished when the second is there."""
    folder = out / CHUNKS
    return folder / f"{number:05d}-{PATHS}.parquet", folder / f"{number:05d}-{HORIZONS}.parquet"


def is_finished(out: pathlib.Path, number: int) -> bool:
    """Whether an earlier run has written a chunk."""
    return chunk_files(out, number)[1].exists()


def write_chunk(
    out: pathlib.Path, number: int, result: ChunkResult, made_by: dict[str, Any]
) -> None:
    """Writes a finished chunk; what made it is in the files' metadata."""
    paths, horizons = chunk_files(out, number)
    write_together(
        paths.parent,
        {
            paths.name: lambda path: _write_frame(path, result.paths, made_by),
            horizons.name: lambda path: _write_frame(path, result.horizons, made_by),
        },
    )


def _write_frame(path: pathlib.Path, frame: pd.DataFrame, made_by: dict[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pandas(frame, preserve_index=False)
    note = {"jaxmars": json.dumps(made_by)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **note})
    parquet.write_table(table, path)


def read_horizons(out: pathlib.Path, chunks: int) -> pd.DataFrame:
    """The rows of all chunks, in the order of their moments.

    Raises:
      InputError: a chunk that is damaged.
    """
    frames = []
    for number in range(chunks):
        path = chunk_files(out, number)[1]
        try:
            frames.append(pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is damaged ({error}), expected a finished chunk: delete it to compute it "
                "again"
            ) from error
    return pd.concat(frames, ignore_index=True)


def summarise_horizons(rows: pd.DataFrame) -> pd.DataFrame:
    """How good the forecasts are, one row per horizon.

    Columns: moments scored; accuracy of the class with its standard error, and of always naming the
    most frequent class; mean CRPS and that of the unchanged mid; share of moments inside each band.
    """
    if "recorded_class" not in rows:
        return pd.DataFrame()
    found = []
    scored = rows.dropna(subset=["recorded_class"])
    for minutes in sorted(set(scored["minutes"].tolist())):
        part: Any = scored[scored["minutes"] == minutes]
        accuracy = float((part["class"] == part["recorded_class"]).mean())
        row = {
            "minutes": minutes,
            "moments": len(part),
            "accuracy": accuracy,
            "accuracy_error": math.sqrt(accuracy * (1 - accuracy) / len(part)),
            "most_frequent_class": part["recorded_class"].value_counts(normalize=True).max(),
            "crps_ticks": part["crps_ticks"].mean(),
            "crps_unchanged_ticks": part["crps_unchanged_ticks"].mean(),
        }
        found.append(row | {f"in_{band:.0%}": part[f"in_{band:.0%}"].mean() for band in BANDS})
    return pd.DataFrame(found)


def write_backtest(out: pathlib.Path, rows: pd.DataFrame, made_by: dict[str, Any]) -> pd.DataFrame:
    """Writes horizons.csv, summary.json and backtest.png; returns the summary table."""
    table = summarise_horizons(rows)
    numbers = {
        "moments": len(set(rows["moment"].tolist())),
        "horizons": json.loads(table.to_json(orient="records") or "[]"),
        **made_by,
    }
    text = to_json(numbers)
    write_together(
        out,
        {
            TABLE: lambda path: rows.to_csv(path, index=False),
            SUMMARY: lambda path: path.write_text(text, encoding="utf-8"),
            FIGURE: lambda path: draw(path, rows, table),
        },
    )
    return table


def draw(path: pathlib.Path, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Accuracy by horizon, how often bands hold, and where what came lies among the futures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=FIGURE_INCHES, layout="constrained")
    share = {"xlabel": "minutes", "ylabel": "share of moments", "ylim": (0, 1)}
    left.set(title="class named rightly", **share)
    middle.set(title="record inside the band", **share)
    right.set(title="calibration", xlabel="rank of the record", ylabel="moments x horizons")
    if len(table):
        _draw_accuracy(left, table)
        for axes in (left, middle):
            axes.set_xticks(table["minutes"])
        for band in BANDS:
            middle.plot(table["minutes"], table[f"in_{band:.0%}"], "o-", label=f"{band:.0%} band")
            middle.axhline(band, color="grey", lw=0.8, ls=":")
        middle.legend(frameon=False)
        ranks = rows["rank"].dropna()
        right.hist(ranks, bins=[i / RANK_BINS for i in range(RANK_BINS + 1)], color="tab:blue")
        right.axhline(len(ranks) / RANK_BINS, color="grey", lw=0.8, ls=":")
    else:
        middle.text(0.5, 0.5, "nothing recorded", ha="center", transform=middle.transAxes)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _draw_accuracy(axes: Any, table: pd.DataFrame) -> None:
    minutes, error = table["minutes"], table["accuracy_error"]
    axes.errorbar(minutes, table["accuracy"], error, fmt="o-", capsize=3, label="forecast")
    usual = table["most_frequent_class"]
    axes.plot(minutes, usual, "s--", color="grey", label="most frequent class")
    axes.axhline(1 / len(CLASSES), color="grey", lw=0.8, ls=":", label="chance")
    axes.legend(frameon=False)
