"""Files written whole or not at all."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jaxmars.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CONFIG = "config.json"  # of a folder that a run claims
PART = ".part"  # how the names of files begin that are still being written


def write_together(out: pathlib.Path, writers: dict[str, Callable[[pathlib.Path], object]]) -> None:
    """Writes several files of a folder: all of them, or none if a writer fails.

    Args:
      out: the folder, made if absent.
      writers: file name to what writes it at the path it is given.
    """
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=PART) as name:
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


@contextlib.contextmanager
def alone(out: pathlib.Path, kind: str) -> Iterator[None]:
    """Keeps other processes out of a claimed folder (not on Windows); the system lets go of it when
    this process ends, however it does.

    Raises:
      InputError: another process is in it.
    """
    with (out / CONFIG).open() as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another process is at work on the {kind} in {out}, expected one at a time"
            ) from None
        yield


def claim(out: pathlib.Path, about: dict[str, Any], kind: str) -> None:
    """Makes a folder that of a run which may be interrupted and started again. Several processes of
    one run may do so at once.

    Args:
      out: the folder, made if absent.
      about: everything that makes the run what it is, as JSON values; kept as config.json.
      kind: of run, a noun.

    Raises:
      InputError: it holds another run or something else.
    """
    path = out / CONFIG
    # In this order, because another process of the run writes its other files after this one.
    others = out.exists() and (not out.is_dir() or any(_real_names(out)))
    if not path.exists():
        if others:
            raise InputError(f"{out} holds no {kind}, expected one or an empty or new folder")
        write_atomically(path, lambda part: part.write_text(to_json(about)))
    try:
        there = json.loads(path.read_text())
    except ValueError:
        raise InputError(f"{path} is damaged, expected the JSON of a {kind}") from None
    difference = first_difference(there, json.loads(to_json(about)))
    if difference is not None:
        name, old, new = difference
        raise InputError(
            f"{out} holds a {kind} with {name} {old!r:.80}, not {new!r:.80}: expected the same "
            "configuration to go on, or another folder"
        )


def first_difference(old: Any, new: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """Where two JSON values differ first: (dotted name, old, new); None if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            found = first_difference(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
            if found is not None:
                return found
        return None
    return None if old == new else (name, old, new)


def _real_names(folder: pathlib.Path) -> list[str]:
    """What a folder holds besides files that were being written when something stopped."""
    return [path.name for path in folder.iterdir() if not path.name.startswith(PART)]


def remove_parts(folder: pathlib.Path) -> None:
    """Removes what stopped processes left half written. Whoever writes to the folder at this moment
    would lose what it writes, so call it only when nobody does."""
    for path in folder.glob(f"{PART}*"):
        shutil.rmtree(path, ignore_errors=True)


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
