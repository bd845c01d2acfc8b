"""Files written whole or not at all."""

import contextlib
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any


def write_together(out: pathlib.Path, writers: dict[str, Callable[[pathlib.Path], object]]) -> None:
    """Writes several files of a folder: all of them, or none if a writer fails.

    Args:
      out: the folder, made if absent.
      writers: file name to what writes it at the path it is given.
    """
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".part") as name:
            part = pathlib.Path(name)
            for file, write in writers.items():
                write(part / file)
            for file in writers:
                (part / file).replace(out / file)
    except BaseException:
        if fresh:
            with contextlib.suppress(OSError):
                out.rmdir()
        raise


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Writes one file, whole or not at all; `write` is given the path to write to."""
    write_together(path.parent, {path.name: write})


def to_json(value: dict[str, Any]) -> str:
    """One JSON object, indented.

    Raises:
      ValueError: a number in it is not finite.
    """
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
