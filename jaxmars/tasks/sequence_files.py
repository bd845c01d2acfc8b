"""Evaluation sequences on disk, as LOB-Bench reads them (realism spec 3.1).

    OUT/MODEL/STOCK/data_cond/STOCK_DATE_message_real_id_0007.csv
    OUT/MODEL/STOCK/data_real/STOCK_DATE_message_real_id_0007.csv
    OUT/MODEL/STOCK/data_gen/STOCK_DATE_message_real_id_0007_gen_id_0.csv
    OUT/MODEL/STOCK/sequences.json

and an `_orderbook_` file beside every `_message_` file. Rows are LOBSTER rows.
"""

import contextlib
import datetime
import pathlib
import re
import tempfile
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv

from jaxmars.clock_text import DIGITS, clock_text
from jaxmars.data.lobster import LobsterData
from jaxmars.errors import InputError
from jaxmars.files import check_out, to_json
from jaxmars.tasks.sequences import Sequence
from jaxmars.types import Side, describe

SUMMARY = "sequences.json"
FOLDERS = ("data_cond", "data_real", "data_gen")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,79}")
_LOBSTER = re.compile(r"([A-Za-z0-9.\-]{1,20})_(\d{4}-\d\d-\d\d)_.*")
_NUMBER_DIGITS = 4
_NO_PRICE = 9_999_999_999  # of a level that does not exist, negative on the bid side


class Recorded(NamedTuple):
    """What a record is of."""

    stock: str
    date: datetime.date


def recorded_of(message: pathlib.Path) -> Recorded:
    """Stock and date from the name of a LOBSTER message file.

    Raises:
      InputError: LOBSTER names no file so.
    """
    found = _LOBSTER.fullmatch(message.name)
    if found:
        with contextlib.suppress(ValueError):
            return Recorded(found[1], datetime.date.fromisoformat(found[2]))
    raise InputError(
        f"{message.name} does not tell stock and date, expected a name such as "
        "GOOG_2012-06-21_34200000_57600000_message_10.csv"
    )


def check_target(out: pathlib.Path, model: str, stock: str) -> pathlib.Path:
    """The folder of the sequences, refused before anything is computed if it cannot be written.

    Raises:
      InputError: a model name that no folder may have, a file in the way, or a folder that holds
        something else than sequences.
    """
    if not _MODEL.fullmatch(model):
        raise InputError(
            f"the model is named {model!r:.80}, expected up to 80 letters, digits, dots, hyphens "
            "and underscores, the first a letter or digit"
        )
    target = out / model / stock
    check_out(target, (SUMMARY,))
    if target.exists() and any(target.iterdir()) and not (target / SUMMARY).exists():
        raise InputError(f"{target} holds something else than sequences, expected none or these")
    return target


def write_sequences(
    target: pathlib.Path,
    recorded: Recorded,
    sequences: Iterable[Sequence],
    gen_id: int,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Writes all files of a folder, or none; what was there before is replaced.

    Args:
      target: from `check_target`.
      recorded: names the files.
      sequences: taken one by one.
      gen_id: number of the generated continuation: the seed.
      made_by: provenance, JSON.

    Returns:
      What it wrote to `SUMMARY`: provenance, and the start, rows and troubles of each sequence.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part") as name:
        part = pathlib.Path(name) / target.name
        for folder in FOLDERS:
            (part / folder).mkdir(parents=True)
        summary = made_by | {"sequences": [_write(part, recorded, x, gen_id) for x in sequences]}
        (part / SUMMARY).write_text(to_json(summary))
        if target.exists():
            target.rename(pathlib.Path(name) / "before")
        part.rename(target)
    return summary


def write_rows(message: pathlib.Path, book: pathlib.Path, data: LobsterData) -> None:
    """Writes rows of a day, types 1 to 4, as a pair of LOBSTER files."""
    time = [f"{s}.{n:0{DIGITS}d}" for s, n in zip(data.sec, data.nsec, strict=True)]
    cells: dict[str, Any] = {"time": time, "type": data.type, "order_id": data.order_id}
    cells |= {"size": data.size, "price": data.price.astype(np.int64) * data.tick}
    _write_table(message, cells | {"direction": data.direction})
    price, size = (np.asarray(x, np.int64) for x in data.l2)
    missing = np.array([-_NO_PRICE, _NO_PRICE])[:, None]
    price = np.where(size > 0, price * data.tick, missing)
    _write_table(
        book,
        {
            f"{what} {side} {level}": np.ascontiguousarray(column[:, side, level])
            for level in range(price.shape[2])
            for side in (Side.SELL, Side.BUY)
            for what, column in (("price", price), ("size", size))
        },
    )


def _write(
    part: pathlib.Path, recorded: Recorded, sequence: Sequence, gen_id: int
) -> dict[str, Any]:
    """The six files of a sequence; returns what the summary says of it."""
    number = f"real_id_{sequence.number:0{_NUMBER_DIGITS}d}"
    ends = (number, number, f"{number}_gen_id_{gen_id}")
    rows = (sequence.cond, sequence.real, sequence.gen)
    stem = f"{recorded.stock}_{recorded.date.isoformat()}"
    for folder, end, data in zip(FOLDERS, ends, rows, strict=True):
        message, book = (f"{stem}_{kind}_{end}.csv" for kind in ("message", "orderbook"))
        write_rows(part / folder / message, part / folder / book, data)
    last = sequence.cond
    return {
        "number": sequence.number,
        "start": clock_text(int(last.sec[-1]), int(last.nsec[-1])),
        "cond": len(sequence.cond.sec),
        "real": len(sequence.real.sec),
        "gen": len(sequence.gen.sec),
        "troubles": describe(sequence.status),
    }


def _write_table(path: pathlib.Path, cells: dict[str, Any]) -> None:
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(pa.table(cells), path, options)
