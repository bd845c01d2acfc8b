"""A dataset of order rows on disk.

    manifest.json    what the dataset is, and of every shard its symbol, date, split, rows, sha256
    converters.json  the bins of the rows
    SYMBOL_DATE_SPLIT.npy   one shard: the final rows of one day or of one part of it, [rows,
                     ROW_WIDTH] int32, 4 * ROW_WIDTH bytes an order, read through a memory map

A row is what `tokens.order.advance` makes; rows that a later merged cancel replaced are left out.
A shard is complete once a line of the manifest (while it is built, of its journal) says so.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxmars.config import Calendar, MarketConfig, OrderModelConfig, Phase, PhaseKind
from jaxmars.convert.store import file_hash
from jaxmars.errors import InputError
from jaxmars.files import to_json, write_atomically
from jaxmars.tokens.bins import FILE_NAME, Converters, load_converters
from jaxmars.tokens.domain import Domain, domain_from_json
from jaxmars.tokens.order import ROW_WIDTH

VERSION = 3  # raised whenever the meaning of a file changes
MANIFEST = "manifest.json"
SPLITS = TRAIN, VALIDATION, TEST = "train", "validation", "test"
SYMBOL = re.compile(r"[A-Za-z0-9.\-]{1,20}")
BINS = ("num_bins_price_level", "num_bins_pred_order_volume", "num_bins_order_interval")
SHARD_TYPE = np.dtype("<i4")

_MOST_BYTES = 2**30  # of a manifest; about a kilobyte a shard
_FILE = re.compile(r"[A-Za-z0-9.\-]{1,20}_\d{4}-\d\d-\d\d_(train|validation|test)\.npy")


class Shard(NamedTuple):
    """One line of the manifest."""

    file: str
    symbol: str
    date: str  # ISO
    split: str  # one of `SPLITS`
    rows: int
    sha256: str  # of the file
    source: list[str]  # names of the files it was made from
    source_sha256: list[str]
    tick_size: float  # currency
    lot_size: int  # shares
    open_time: list[int]  # seconds and nanoseconds of the first record of the day
    open_price: int  # ticks of the first trade of the day, 0 if it has none
    last_elapsed: int  # seconds of trading since the open at the last row
    domain: dict[str, Any]  # `tokens.domain.Domain` of its orders


class Manifest(NamedTuple):
    """What a dataset is."""

    plan_sha256: str  # of everything that decides its content
    converters_sha256: str  # `converters_digest`
    market: dict[str, Any]  # calendar and elapsed time, see `market_entries`
    bins: dict[str, int]  # number of bins by name of `OrderModelConfig`
    split: dict[str, Any]  # the rule
    domain: dict[str, Any]  # of the training orders
    made_by: dict[str, Any]  # provenance
    shards: tuple[Shard, ...]


def shard_name(symbol: str, date: datetime.date, split: str) -> str:
    """File name of a shard."""
    return f"{symbol}_{date.isoformat()}_{split}.npy"


def write_shard(path: pathlib.Path, rows: np.ndarray) -> str:
    """Writes rows `[n, ROW_WIDTH]` whole or not at all, and returns the sha256 of the file.

    Raises:
      InputError: it cannot be written.
    """
    rows = np.ascontiguousarray(rows, SHARD_TYPE)
    header = np.lib.format.header_data_from_array_1_0(rows)

    def fill(part: pathlib.Path) -> None:
        with part.open("wb") as file:  # not by `np.save`, which does not say why it failed
            np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.data)

    with writing(path):
        write_atomically(path, fill)
        return file_hash(path)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """While a file is written: what goes wrong is said in one sentence.

    Raises:
      InputError: names the file and the reason.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def open_shard(folder: pathlib.Path, shard: Shard) -> np.ndarray:
    """The rows of a shard, `[rows, ROW_WIDTH]` int32, as a read-only memory map.

    Raises:
      InputError: the file is missing, damaged, truncated, or does not hold what the manifest says.
    """
    path = folder / shard.file
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{folder} has no {shard.file}, which its manifest lists") from None
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise InputError(
            f"{path} is damaged or truncated, expected a shard of {shard.rows} rows ({error})"
        ) from None
    if rows.dtype != SHARD_TYPE or rows.shape != (shard.rows, ROW_WIDTH):
        raise InputError(
            f"{path} holds {rows.dtype}{list(rows.shape)}, expected int32[{shard.rows}, "
            f"{ROW_WIDTH}] as its manifest says"
        )
    return rows


def check_shard(folder: pathlib.Path, shard: Shard) -> None:
    """Reads a shard through and compares its checksum.

    Raises:
      InputError: as in `open_shard`, or the file has changed.
    """
    open_shard(folder, shard)
    if file_hash(folder / shard.file) != shard.sha256:
        raise InputError(
            f"{folder / shard.file} differs from the sha256 in its manifest: it is damaged, "
            "build the dataset again to repair it"
        )


def converters_digest(converters: Converters) -> str:
    """Hex sha256 of the numbers of the converters; equal digests mean equal bins."""
    digest = hashlib.sha256()
    for name, bins in converters._asdict().items():
        parts = [bins.edges, *bins.values, *bins.probs]
        digest.update(json.dumps([name, [len(x) for x in parts]]).encode())
        for part in parts:
            digest.update(np.ascontiguousarray(part, "<f8").tobytes())
    return digest.hexdigest()


def read_bins(folder: pathlib.Path, digest: str) -> Converters:
    """The converters of a dataset.

    Raises:
      InputError: none there, or others than those its rows were made with.
    """
    converters = load_converters(folder)
    if converters is None:
        raise InputError(f"{folder} has no {FILE_NAME}, expected the bins of its rows")
    if converters_digest(converters) != digest:
        raise InputError(f"{folder / FILE_NAME} holds other bins than the rows were made with")
    return converters


def check_bins(name: str, converters: Converters, other: str, theirs: Converters) -> None:
    """Refuses two sets of converters that are not equal in every bin.

    Raises:
      InputError: names what has the bins, and the converter that differs.
    """
    for field in Converters._fields:
        ours, found = (getattr(x, field) for x in (converters, theirs))
        if not _same_bins(ours, found):
            raise InputError(
                f"the {field} bins of {other} ({found.num_bins}) are not those of {name} "
                f"({ours.num_bins}), expected data made with the bins of the model"
            )


def _same_bins(ours: Any, theirs: Any) -> bool:
    if not np.array_equal(ours.edges, theirs.edges):
        return False
    pairs = zip((*ours.values, *ours.probs), (*theirs.values, *theirs.probs), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def market_entries(market: MarketConfig) -> dict[str, Any]:
    """What of a market the rows depend on, as JSON."""
    phases = [[phase.kind.name, phase.start, phase.end] for phase in market.calendar.phases]
    return {"calendar": phases, "late_hour": market.late_hour, "late_shift": market.late_shift}


def market_of(manifest: Manifest, path: pathlib.Path) -> MarketConfig:
    """The market of a dataset, with the tick and the lot of its first shard.

    Raises:
      InputError: the manifest describes no market.
    """
    entries = exactly(manifest.market, f"{path}: market", ("calendar", "late_hour", "late_shift"))
    first = manifest.shards[0]
    try:
        phases = tuple(Phase(PhaseKind[kind], a, b) for kind, a, b in entries["calendar"])
        return MarketConfig(
            tick_size=first.tick_size,
            lot_size=first.lot_size,
            late_hour=entries["late_hour"],
            late_shift=entries["late_shift"],
            calendar=Calendar(phases),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: market is {entries!r:.80}, expected phases: {error}") from None


def model_of(manifest: Manifest, model: OrderModelConfig) -> OrderModelConfig:
    """A model with the bins of a dataset and a time table that reaches its last row."""
    last = max(shard.last_elapsed for shard in manifest.shards)
    rows = last // model.seconds_per_row + 1
    times = {"num_time_rows": max(rows, model.num_time_rows)}
    return dataclasses.replace(model, **manifest.bins, **times)


def write_manifest(folder: pathlib.Path, manifest: Manifest) -> None:
    """Writes manifest.json, whole or not at all.

    Raises:
      InputError: it cannot be written.
    """
    shards = [shard._asdict() for shard in manifest.shards]
    text = to_json({"version": VERSION, **manifest._asdict(), "shards": shards})
    with writing(folder / MANIFEST):
        write_atomically(folder / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))


def read_manifest(folder: pathlib.Path) -> Manifest:
    """The manifest of a dataset, read strictly; shards are not opened.

    Raises:
      InputError: no dataset, another version, an unknown or missing key, a value of the wrong type.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        content = json.loads(raw[: _MOST_BYTES + 1]) if len(raw) <= _MOST_BYTES else None
    except FileNotFoundError:
        raise InputError(f"{folder} has no {MANIFEST}, expected a dataset that is built") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a JSON file: {error}") from None
    content = exactly(content, str(path), ("version", *Manifest._fields))
    if content.pop("version") != VERSION:
        raise InputError(
            f"{path} is of another version, expected version {VERSION}: build the dataset again"
        )
    for key, kind in Manifest.__annotations__.items():
        wanted = list if key == "shards" else getattr(kind, "__origin__", kind)
        if not isinstance(content[key], wanted):
            raise InputError(f"{path}: {key} is {content[key]!r:.80}, expected {wanted.__name__}")
    shards = tuple(read_entry(x, f"{path}: shard {i}") for i, x in enumerate(content["shards"], 1))
    if not shards:
        raise InputError(f"{path} lists no shard, expected at least one")
    for name, count in exactly(content["bins"], f"{path}: bins", BINS).items():
        if not _is_count(count) or count < 1:
            raise InputError(f"{path}: bins: {name} is {count!r:.80}, expected a positive number")
    domain_from_json(content["domain"])
    return Manifest(**{**content, "shards": shards})


def read_entry(raw: Any, where: str) -> Shard:
    """One shard of a manifest or of a journal, read strictly.

    Raises:
      InputError: an unknown or missing key, or a value out of its range.
    """
    entry = exactly(raw, where, Shard._fields)
    good = {
        "file": lambda x: isinstance(x, str) and _FILE.fullmatch(x),
        "split": lambda x: x in SPLITS,
        "rows": _is_count,
        "tick_size": lambda x: type(x) in (int, float) and x > 0,
        "lot_size": lambda x: _is_count(x) and x > 0,
        "last_elapsed": _is_count,
        "open_time": lambda x: isinstance(x, list) and len(x) == 2 and all(map(_is_count, x)),
        "open_price": lambda x: type(x) is int,
        "domain": lambda x: isinstance(x, dict),
    } | {key: lambda x: isinstance(x, str) for key in ("symbol", "date", "sha256")}
    for key, is_good in good.items():
        if not is_good(entry[key]):
            raise InputError(f"{where}: {key} is {entry[key]!r:.80}, expected another value")
    return Shard(**entry)


def domain_entries(domain: Domain) -> dict[str, Any]:
    """A domain as JSON."""
    return {"end_bins": domain.end_bins, "spread": [*domain.spread], "size": [*domain.size]}


def shard_domain(shard: Shard) -> Domain:
    """The summary of a shard's orders."""
    return domain_from_json(shard.domain)


def _is_count(x: Any) -> bool:
    return type(x) is int and x >= 0


def exactly(raw: Any, where: str, keys: Sequence[str]) -> dict[str, Any]:
    """`raw`, checked to be a JSON object with exactly these keys.

    Raises:
      InputError: names the key that is unknown or missing.
    """
    if not isinstance(raw, dict):
        raise InputError(f"{where} holds {type(raw).__name__}, expected a JSON object")
    unknown, missing = sorted(set(raw) - set(keys)), sorted(set(keys) - set(raw))
    if unknown:
        raise InputError(
            f"{where} has the unknown key {unknown[0]!r:.80}, expected only {', '.join(keys)}"
        )
    if missing:
        raise InputError(f"{where} lacks the key {missing[0]}")
    return raw
