"""Days that evaluation sequences start from, and the script that makes them."""

import importlib.util
import pathlib
from types import ModuleType

import numpy as np
from oracles.forecast_world import SLOTS, write_day

from jaxmars.data import LobsterData, MessageType, read_lobster
from jaxmars.tasks.sequences import take_rows

NAMED = "TEST_2024-05-06"
HIDDEN_EVERY = 9  # rows
FIELDS = ("sec", "nsec", "type", "order_id", "size", "price", "direction")
MESSAGES, COND, STARTS = 40, 30, 3
_SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "make_sequences.py"


def named_day(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A synthetic day, named as LOBSTER names days."""
    message, book = write_day(folder)
    return (
        message.rename(folder / f"{NAMED}_36000000_36330000_message_10.csv"),
        book.rename(folder / f"{NAMED}_36000000_36330000_orderbook_10.csv"),
    )


def hidden_day(message: pathlib.Path, book: pathlib.Path) -> LobsterData:
    """The day with a hidden execution after every few messages."""
    data = read_lobster(message, book)
    place = np.arange(len(data.sec))
    rows = np.repeat(place, 1 + (place % HIDDEN_EVERY == 0))
    again = np.append(False, np.diff(rows) == 0)
    data = take_rows(data, rows)
    return data._replace(type=np.where(again, MessageType.HIDDEN_EXECUTION, data.type))


def same(one: LobsterData, other: LobsterData) -> bool:
    """Whether messages and books are equal."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in FIELDS]
    pairs += zip(one.l2, other.l2, strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def script() -> ModuleType:
    """scripts/make_sequences.py as a module."""
    spec = importlib.util.spec_from_file_location("make_sequences", _SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def good_flags(files: tuple[pathlib.Path, pathlib.Path], out: pathlib.Path) -> list[str]:
    """Flags of the script, but for who makes the sequences."""
    flags = ["--lobster", *map(str, files), "--from", "10:03:20", "--until", "10:05:20"]
    flags += ["--starts", str(STARTS), "--messages", str(MESSAGES), "--cond", str(COND)]
    return [*flags, "--lanes", "1", "--slots", str(SLOTS), "--out", str(out)]
