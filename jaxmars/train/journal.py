"""What a build has finished, line by line, so that one that was killed loses a day at most.

The first line names the plan and the bins, each further line is a shard whose file is complete. A
line that was cut short by the kill is dropped.
"""

import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

from jaxmars.errors import InputError
from jaxmars.files import write_atomically
from jaxmars.tokens.bins import FILE_NAME, Converters, save_converters
from jaxmars.train.shards import (
    MANIFEST,
    Shard,
    check_shard,
    converters_digest,
    exactly,
    read_bins,
    read_entry,
    read_manifest,
    writing,
)

JOURNAL = "build.jsonl"
_HEADER = ("plan_sha256", "converters_sha256", "domain")


class Bins(NamedTuple):
    """What the first pass over the days found."""

    converters: Converters
    domain: dict[str, Any]  # of the training orders


class Finished(NamedTuple):
    """What an earlier run left in a folder."""

    bins: Bins | None
    shards: dict[str, Shard]  # by file name


def read_finished(out: pathlib.Path, plan: str) -> Finished:
    """What is there of a plan.

    Raises:
      InputError: the folder holds another dataset, or something that is none.
    """
    if (out / MANIFEST).exists():
        manifest = read_manifest(out)
        header = {name: getattr(manifest, name) for name in _HEADER}
        shards = list(manifest.shards)
    elif (out / JOURNAL).exists():
        header, shards = _read_journal(out / JOURNAL)
    else:
        return _nothing(out)
    if header["plan_sha256"] != plan:
        raise InputError(
            f"{out} holds a dataset of other days, bins or splits, expected an empty folder or a "
            "build of the same recipe"
        )
    bins = Bins(read_bins(out, header["converters_sha256"]), header["domain"])
    return Finished(bins, {shard.file: shard for shard in shards})


def sweep(out: pathlib.Path) -> None:
    """Removes what a killed run was in the middle of writing."""
    for path in _leftovers(out):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def start_journal(out: pathlib.Path, plan: str, bins: Bins) -> None:
    """Writes the bins, then the first line."""
    with writing(out / FILE_NAME):
        save_converters(out, bins.converters)
    header = dict(
        zip(_HEADER, (plan, converters_digest(bins.converters), bins.domain), strict=True)
    )
    line = json.dumps(header, allow_nan=False) + "\n"
    with writing(out / JOURNAL):
        write_atomically(out / JOURNAL, lambda path: path.write_text(line, encoding="utf-8"))


def note_shard(out: pathlib.Path, shard: Shard) -> None:
    """Adds a finished shard, and waits until the disk has it."""
    with writing(out / JOURNAL), (out / JOURNAL).open("a", encoding="utf-8") as file:
        file.write(json.dumps(shard._asdict(), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def is_whole(out: pathlib.Path, shard: Shard | None) -> bool:
    """Whether a shard is finished and its file is as it was written."""
    if shard is None:
        return False
    try:
        check_shard(out, shard)
    except InputError:
        return False
    return True


def _nothing(out: pathlib.Path) -> Finished:
    """A folder without a build: it must be empty, but for bins that nothing was built with yet."""
    if out.is_dir():
        ours = {out / FILE_NAME, *_leftovers(out)}
        others = sorted(path.name for path in out.iterdir() if path not in ours)
        if others:
            raise InputError(
                f"{out} holds {others[0]}, expected an empty folder or a build of the same recipe"
            )
    return Finished(None, {})


def _leftovers(out: pathlib.Path) -> list[pathlib.Path]:
    """Files and folders under the names that are written to before they are renamed."""
    return [] if not out.is_dir() else [*out.glob(".part*"), *out.glob(f".{FILE_NAME}.*.part")]


def _read_journal(path: pathlib.Path) -> tuple[dict[str, Any], list[Shard]]:
    """The first line, and the shards of the others."""
    whole, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    try:
        lines = [json.loads(line) for line in whole.split("\n")]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged, expected one JSON object a line: {error}") from None
    header = exactly(lines[0], f"{path}: line 1", _HEADER)
    shards = [read_entry(x, f"{path}: line {i}") for i, x in enumerate(lines[1:], 2)]
    return header, shards
