"""Replays every record of a data folder by its `jaxmars replay` command and writes one table.

Usage: python scripts/check_replays.py DATA_FOLDER --out benchmarks/results/replays.json

Beside the JSON file it writes the same table as text (suffix .md). Records are found by name:

| files | command |
|---|---|
| lobster/*.zip; *_message_* with its *_orderbook_* | lobster |
| lobster/*_message_* alone, with other records of the ticker | lobster-deep |
| databento/*mbo* and *mbp* | databento |
| bitstamp/*orders* and *.log* | bitstamp |
| ashare/*orders*, *trades* and *.toml | ashare |
| ashare/*transactions* and *ticks* | ashare-executions |

Files that no command takes are listed with the reason. Exit code 2 on bad input.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from jaxmars import cli
from jaxmars.errors import InputError
from jaxmars.files import to_json
from jaxmars.provenance import environment

TABLES = ("*.csv", "*.csv.gz", "*.csv.xz")
DRAWN_LEVELS = "10"
ORDERS_KNOWN = "00:50:00"  # when most orders from before the Bitstamp record are gone
NO_ORDERS = "snapshots and minute bars name no orders, so there is nothing to replay"
HEADINGS = (
    "record",
    "events",
    "books compared",
    "equal",
    "levels that differ, best to deepest",
    "checked besides",
    "seconds (of a processor)",
)


class Record(NamedTuple):
    """Files that one command takes."""

    command: str  # a source of `jaxmars replay`
    files: tuple[pathlib.Path, ...]
    flags: tuple[str | pathlib.Path, ...] = ()


def find_records(folder: pathlib.Path) -> Iterator[Record]:
    """Every record of a data folder."""
    yield from _lobster(folder / "lobster")
    for command, place, patterns in (
        ("databento", "databento", ("*mbo*", "*mbp*")),
        ("bitstamp", "bitstamp", ("*orders*", "*.log*")),
        ("ashare-executions", "ashare", ("*transactions*", "*ticks*")),
    ):
        pairs = (sorted((folder / place).glob(pattern)) for pattern in patterns)
        for pair in zip(*pairs, strict=False):
            yield Record(command, pair)
            if command == "bitstamp":
                yield Record(command, pair, ("--from", ORDERS_KNOWN))
    orders, trades, columns = (
        sorted((folder / "ashare").glob(x)) for x in ("*orders*", "*trades*", "*.toml")
    )
    for *pair, toml in zip(orders, trades, columns, strict=False):
        yield Record("ashare", tuple(pair), ("--columns", toml))


def _lobster(folder: pathlib.Path) -> Iterator[Record]:
    """Zips, pairs, and messages without books."""
    zips = sorted(folder.glob("*.zip"))
    messages = sorted(path for x in TABLES for path in folder.glob(f"*_message_*{x[1:]}"))
    pairs = {
        path: path.with_name(path.name.replace("_message_", "_orderbook_")) for path in messages
    }
    alone = [path for path, book in pairs.items() if not book.exists()]
    whole = [(path, book) for path, book in pairs.items() if book.exists()]
    yield from (Record("lobster", (path, path)) for path in zips)
    yield from (Record("lobster", pair) for pair in whole)
    for path in alone:
        ticker = path.name.partition("_")[0]
        starts = [pair for pair in whole if pair[0].name.startswith(ticker)]
        against = [x for x in zips if f"_{ticker}_" in x.name]
        if starts and against:
            books = ("--start", *starts[0], "--against", against[0], against[0])
            yield Record("lobster-deep", (path,), (*books, "--levels", DRAWN_LEVELS))


def replayed(record: Record, folder: pathlib.Path) -> dict[str, Any]:
    """What the command says of a record."""
    words = ["replay", record.command, *map(str, (*record.files, *record.flags))]
    with tempfile.TemporaryDirectory() as scratch:
        begun, busy = time.perf_counter(), time.process_time()
        if cli.main([*words, "--out", scratch]):
            raise InputError(f"jaxmars {' '.join(words)} was refused (its sentence is above)")
        seconds = {
            "seconds": round(time.perf_counter() - begun, 1),
            "processor_seconds": round(time.process_time() - busy, 1),
        }
        found = json.loads((pathlib.Path(scratch) / "replay.json").read_text())
        table = pd.read_csv(pathlib.Path(scratch) / "differences.csv")
    return {
        "command": " ".join(["jaxmars", *(word.replace(f"{folder}/", "") for word in words)]),
        "files": [path.relative_to(folder).as_posix() for path in dict.fromkeys(record.files)],
        "from": [f"from {flag}" for flag in record.flags if flag == ORDERS_KNOWN],
        "events": found["events"],
        "books": {name: found["books"][name] for name in ("compared", "equal")},
        "levels": _shares(table),
        "one_step": found.get("one_step"),
        "intervals": found.get("intervals"),
        "status": found.get("status", {}).get("events", {}),
    } | seconds


def _shares(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Per side and level: how many were compared, and the share that differs; none of intervals."""
    if "side" not in table:
        return []
    return [
        {"side": row["side"], "level": row["level"], "compared": row["compared"]}
        | {
            name: round(row[name] / max(row["compared"], 1), 6)
            for name in ("price", "size", "orders", "missing")
        }
        for row in table.to_dict("records")
    ]


def left_out(folder: pathlib.Path, taken: set[pathlib.Path]) -> list[dict[str, str]]:
    """Tables and documents of data that no command takes."""
    data = [path for x in (*TABLES, "*.zip", "*.json", "*.log*") for path in folder.rglob(x)]
    return [
        {
            "file": path.relative_to(folder).as_posix(),
            "why": NO_ORDERS if path.suffix == ".json" else "its counterpart is not in the folder",
        }
        for path in sorted(set(data) - taken)
    ]


def as_text(results: dict[str, Any]) -> str:
    """The table as markdown."""
    lines = ["# Replays of recorded data", ""]
    lines += [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    for row in results["records"]:
        cells = [
            ", ".join([*row["files"], *row["from"]]),
            f"{row['events']:,}",
            f"{row['books']['compared']:,}" if row["books"]["compared"] else "none recorded",
            f"{row['books']['equal']:,}" if row["books"]["compared"] else "",
            _worst(row["levels"]),
            _besides(row),
            f"{row['seconds']:.0f} ({row['processor_seconds']:.0f})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Commands:", "", "```", *(row["command"] for row in results["records"]), "```"]
    lines += ["", "Not replayed:", ""]
    grouped: dict[tuple[str, str], int] = {}
    for row in results["not_replayed"]:
        key = row["file"].rpartition("/")[0], row["why"]
        grouped[key] = grouped.get(key, 0) + 1
    lines += [f"- {place}, {count} files: {why}" for (place, why), count in grouped.items()]
    return "\n".join(lines) + "\n"


def _worst(levels: list[dict[str, Any]]) -> str:
    """Per level, the larger share of both sides that differs in price, size or orders."""
    shares: dict[int, float] = {}
    for row in levels:
        found = max(row["price"], row["size"], row["orders"])
        shares[row["level"]] = max(shares.get(row["level"], 0.0), found)
    if not any(shares.values()):
        return f"none of {len(shares)}" if shares else ""
    return ", ".join(f"{share:.3%}" for share in shares.values())


def _besides(row: dict[str, Any]) -> str:
    """What was checked where no book is, or besides the books."""
    if row["intervals"]:
        differ = ", ".join(f"{name} {count}" for name, count in row["intervals"]["differ"].items())
        return f"{row['intervals']['compared']:,} intervals between snapshots; differ: {differ}"
    if row["one_step"]:
        one = row["one_step"]
        return f"one step: {one['mismatched']} of {one['checked']:,} messages differ"
    return ""


def check_folder(folder: pathlib.Path) -> dict[str, Any]:
    """Replays every record of a folder.

    Raises:
      InputError: a folder without records, or a record that is refused.
    """
    records = list(find_records(folder))
    if not records:
        raise InputError(f"{folder} holds no record, expected folders such as lobster or databento")
    taken = {path for record in records for path in (*record.files, *record.flags)}
    return {
        "records": [replayed(record, folder) for record in records],
        "not_replayed": left_out(
            folder, {path for path in taken if isinstance(path, pathlib.Path)}
        ),
    } | environment()


def main(words: list[str] | None = None) -> int:
    """Command line entry."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="folder of recorded data")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="JSON file to write")
    args = parser.parse_args(words)
    try:
        results = check_folder(args.folder)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    text = as_text(results)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(to_json(results), encoding="utf-8")
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
