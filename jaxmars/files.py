"""Files written whole or not at all."""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from jaxmars.errors import InputError


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


def check_out(out: pathlib.Path, names: Iterable[str]) -> None:
    """Refuses, before anything is computed, a folder that files cannot be written to.

    Args:
      out: the folder; it need not exist.
      names: of the files.

    Raises:
      InputError: something in the way, or no permission.
    """
    there = out
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{there} is a file, expected a folder to write to")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there} may not be written to, expected a folder to write to")
    for name in names:
        if (out / name).is_dir():
            raise InputError(f"{out / name} is a folder, expected a file that may be replaced")


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Writes one file, whole or not at all; `write` is given the path to write to."""
    write_together(path.parent, {path.name: write})


def to_json(value: dict[str, Any]) -> str:
    """One JSON object, indented.

    Raises:
      ValueError: a number in it is not finite.
    """
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
