"""Sequences of messages and books, as LOB-Bench compares them.

A folder of sequences holds pairs of LOBSTER files whose names differ in one word only: `message`
in one is `orderbook` in the other. The benchmark's own layout is
`DATA_DIR/MODEL/STOCK/data_real`, `data_gen` and, if there is one, `data_cond`.
"""

import datetime
import hashlib
import pathlib
import tempfile
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import NamedTuple

import numpy as np

from jaxmars.data import LobsterData, cut_levels, read_lobster, write_lobster
from jaxmars.errors import InputError
from jaxmars.types import L2, Event

# Messages with the book after each of them: one recorded or generated stretch of a day.
Sequence = LobsterData

CENT = 100  # LOBSTER price units (1e-4 of the currency) per tick
MOST_LEVELS = 10  # of a book that are compared
# A hundred changes of the book and the move after them: what the scores of the flow need.
LEAST_MESSAGES = 102
LEAST_SEQUENCES = 4  # two halves, each in two parts
REAL, GENERATED, CONDITIONING = "data_real", "data_gen", "data_cond"

_MESSAGE, _BOOK = "message", "orderbook"
_NO_DATE = datetime.date(2000, 1, 1)

Progress = Callable[[int, int, str], object]  # done, wanted, what is being done


class BenchFolder(NamedTuple):
    """One generated set of sequences and the real one it belongs to."""

    name: str  # path of the set in the data folder: MODEL/STOCK
    real: pathlib.Path
    generated: pathlib.Path
    conditioning: pathlib.Path | None  # None where there is none


def find_folders(data_dir: pathlib.Path) -> list[BenchFolder]:
    """Every set of sequences in the benchmark's own layout, by name.

    Raises:
      InputError: no `data_real` anywhere in the folder, or one without `data_gen` beside it.
    """
    if not data_dir.is_dir():
        raise InputError(f"{data_dir} is not a folder, expected MODEL/STOCK/{REAL} in it")
    found = []
    for real in sorted(path for path in data_dir.rglob(REAL) if path.is_dir()):
        generated, conditioning = real.parent / GENERATED, real.parent / CONDITIONING
        if not generated.is_dir():
            raise InputError(f"{real.parent} holds {REAL} only, expected {GENERATED} beside it")
        some = conditioning.is_dir() and any(conditioning.iterdir())
        name = real.parent.relative_to(data_dir).as_posix()
        found.append(BenchFolder(name, real, generated, conditioning if some else None))
    if not found:
        raise InputError(f"{data_dir} holds no folder {REAL}, expected MODEL/STOCK/{REAL} in it")
    return found


def read_sequences(
    folder: pathlib.Path,
    tick: int = CENT,
    progress: Progress = lambda done, wanted, text: None,
) -> list[Sequence]:
    """Reads every pair of LOBSTER files of a folder, in the order of their names.

    Args:
      folder: of `*message*.csv` and `*orderbook*.csv`, plain or compressed as .gz, .xz or .zip.
      tick: LOBSTER price units (1e-4 of the currency) per tick.
      progress: told of every pair read.

    Returns:
      The sequences; prices in ticks.

    Raises:
      InputError: no such folder, no pair in it, a file without its partner, or a file that
        `read_lobster` refuses.
    """
    pairs = _pairs(folder)
    sequences = []
    for number, (messages, books) in enumerate(pairs, 1):
        sequences.append(read_lobster(messages, books, tick))
        progress(number, len(pairs), f"reading {folder}")
    return sequences


def content_hash(folder: pathlib.Path) -> str:
    """SHA-256 over names and contents of the pairs of a folder, in the order of their names."""
    found = hashlib.sha256()
    for path in (path for pair in _pairs(folder) for path in pair):
        found.update(f"{path.name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def sequence_of_events(event: Event, l2: L2, tick: int = CENT) -> Sequence:
    """A trajectory as the sequence that its LOBSTER files hold.

    Args:
      event: fields `[events]`, in time order.
      l2: price, size `[events, 2, levels]`, the book after each event.
      tick: LOBSTER price units (1e-4 of the currency) per tick.

    Raises:
      InputError: events that LOBSTER files cannot hold (see `write_lobster`).
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = write_lobster(pathlib.Path(folder), "EVENTS", _NO_DATE, event, l2, tick)
        return read_lobster(*paths, tick)


def cut_sequence(sequence: Sequence, length: int) -> list[Sequence]:
    """Consecutive sequences of `length` messages; what is left over at the end is dropped.

    Raises:
      InputError: a length that is not positive.
    """
    if length <= 0:
        raise InputError(f"the length of a sequence is {length}, expected a positive number")
    starts = range(0, len(sequence.type) - length + 1, length)
    return [_rows(sequence, slice(start, start + length)) for start in starts]


def check_sequences(sequences: Ordered[Sequence], name: str, tick: int) -> None:
    """Refuses a set that cannot be compared; `name` says which it is.

    Raises:
      InputError: too few sequences, a sequence with too few messages, or one with another tick.
    """
    if len(sequences) < LEAST_SEQUENCES:
        raise InputError(
            f"there are {len(sequences)} {name} sequences, expected at least {LEAST_SEQUENCES} "
            "(long ones can be cut)"
        )
    check_lengths(sequences, name)
    for number, sequence in enumerate(sequences, 1):
        if sequence.tick != tick:
            raise InputError(
                f"{name} sequence {number} has a tick of {sequence.tick} LOBSTER price units, "
                f"expected {tick} as in the first real sequence"
            )


def check_lengths(sequences: Ordered[Sequence], name: str, where: str = "") -> None:
    """Refuses a set with a sequence of too few messages.

    Args:
      sequences: the set.
      name: says which it is.
      where: says what was left out of it, if anything was.

    Raises:
      InputError: a sequence of fewer than `LEAST_MESSAGES` messages.
    """
    for number, sequence in enumerate(sequences, 1):
        found = len(sequence.type)
        if found < LEAST_MESSAGES:
            raise InputError(
                f"{name} sequence {number} has {found} messages{where}, expected at least "
                f"{LEAST_MESSAGES}"
            )


def common_levels(sets: Ordered[Ordered[Sequence]]) -> int:
    """Levels that the book of every sequence has, at most `MOST_LEVELS`."""
    depths = (np.shape(s.l2.price)[2] for sequences in sets for s in sequences)
    return min(MOST_LEVELS, *depths)


def with_levels(sequences: Ordered[Sequence], levels: int) -> list[Sequence]:
    """The sequences as LOBSTER records them with `levels` levels."""
    deeper = lambda s: np.shape(s.l2.price)[2] > levels
    return [cut_levels(s, levels) if deeper(s) else s for s in sequences]


def _rows(sequence: Sequence, rows: slice) -> Sequence:
    """Some consecutive messages of a sequence."""
    names = ("sec", "nsec", "type", "order_id", "size", "price", "direction")
    columns = {name: getattr(sequence, name)[rows] for name in names}
    return sequence._replace(**columns, l2=L2(*(x[rows] for x in sequence.l2)))


def _pairs(folder: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Message and book files of a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder, expected pairs of LOBSTER files in it")
    names = {path.name for path in folder.iterdir() if path.is_file() and ".csv" in path.name}
    messages = sorted(name for name in names if _MESSAGE in name)
    books = {name for name in names if _BOOK in name}
    for name in messages:
        partner = name.replace(_MESSAGE, _BOOK)
        if partner not in books:
            raise InputError(f"{folder / name} has no book file, expected {partner} beside it")
        books.discard(partner)
    for name in sorted(books):
        partner = name.replace(_BOOK, _MESSAGE)
        raise InputError(f"{folder / name} has no message file, expected {partner} beside it")
    if not messages:
        raise InputError(f"{folder} holds no file named *{_MESSAGE}*.csv, expected LOBSTER pairs")
    return [(folder / name, folder / name.replace(_MESSAGE, _BOOK)) for name in messages]
