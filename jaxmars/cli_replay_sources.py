"""The kinds of records that `jaxmars replay` takes: their files, flags and readers."""

import argparse
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxmars.cli_values import clock_end, clock_time, whole

if TYPE_CHECKING:
    from jaxmars.data.orderflow import L3Data
    from jaxmars.data.replay import OneStepReport

FIRST_SLOTS = 512  # orders a side can hold, until more are needed
MOST_SLOTS = 1_000_000
MOST_LEVELS = 1000
MOST_UNITS = 10**9  # of a tick

Read = Callable[[argparse.Namespace], "tuple[L3Data, OneStepReport | None]"]


class Source(NamedTuple):
    """What a command takes."""

    name: str
    help: str
    files: dict[str, str]  # argument to what it is
    flags: tuple[str, ...]  # keys of `FLAGS`


class Record(NamedTuple):
    """Orders that can be sent through a book."""

    source: Source
    read: Read


_PAIR: dict[str, Any] = {
    "nargs": 2,
    "metavar": ("MESSAGE", "BOOK"),
    "type": pathlib.Path,
    "required": True,
}
_TIME: dict[str, Any] = {"metavar": "HH:MM:SS"}
FLAGS: dict[str, dict[str, Any]] = {
    "--levels": {
        "help": "price levels to compare and to draw (default: those recorded)",
        "type": whole(1, MOST_LEVELS),
    },
    "--slots": {
        "help": f"orders a side of the book can hold (default: {FIRST_SLOTS}, and more as needed)",
        "type": whole(1, MOST_SLOTS),
    },
    "--from": _TIME
    | {"help": "compare and draw from this time on", "dest": "begin", "type": clock_time},
    "--until": _TIME | {"help": "stop after this time", "dest": "end", "type": clock_end},
    "--tick": {
        "help": "price units of the file per tick (default: from its prices)",
        "type": whole(1, MOST_UNITS),
    },
    "--columns": {
        "help": "TOML file that names the columns and maps the codes",
        "type": pathlib.Path,
        "metavar": "FILE.toml",
        "required": True,
    },
    "--orders": {
        "help": "rows are the orders that were sent, and trades follow from matching "
        "(default: rows are the changes of the book)",
        "action": "store_true",
    },
    "--start": _PAIR
    | {"help": "files of a record that begins with the same message: its first book is the start"},
    "--against": _PAIR
    | {"help": "files of a record of fewer levels: compared after every message that both hold"},
}
_COMMON = ("--levels", "--slots", "--from", "--until")


def _read_lobster(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data import one_step_mismatches, read_lobster
    from jaxmars.data.lobster_continuous import lobster_continuous

    data = read_lobster(args.message, args.book, args.tick)
    return lobster_continuous(data).l3, one_step_mismatches(data)


def _read_lobster_deep(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data.lobster import read_lobster, read_lobster_messages
    from jaxmars.data.lobster_deep import lobster_deep

    deep = read_lobster_messages(args.message, args.tick)
    first = read_lobster(*args.start, tick=deep.tick)
    against = read_lobster(*args.against, tick=deep.tick)
    return lobster_deep(deep, first, against).l3, None


def _read_databento(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data.venues import read_databento_mbo

    return read_databento_mbo(args.mbo, args.mbp), None


def _read_bitstamp(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data.venues import read_bitstamp

    return read_bitstamp(args.orders, args.log), None


def _read_ashare(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data.ashare import AShareColumns, read_ashare_orders
    from jaxmars.data.columns_file import read_columns

    columns = read_columns(args.columns, AShareColumns)
    return read_ashare_orders(args.orders, args.trades, columns, resting=True), None


def _read_l3(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data.columns_file import read_columns
    from jaxmars.data.l3 import L3Columns, read_l3

    columns = read_columns(args.columns, L3Columns)
    return read_l3(args.table, columns, resting=not args.orders, tick=args.tick), None


RECORDS = (
    Record(
        Source(
            "lobster",
            "a LOBSTER day; also checks every message on the recorded book before it",
            {"message": "message file", "book": "book file"},
            ("--tick", *_COMMON),
        ),
        _read_lobster,
    ),
    Record(
        Source(
            "lobster-deep",
            "LOBSTER messages that come without books, against another record of the day",
            {"message": "message file"},
            ("--start", "--against", "--tick", *_COMMON),
        ),
        _read_lobster_deep,
    ),
    Record(
        Source(
            "databento",
            "a Databento market-by-order file against its market-by-price file",
            {"mbo": "market-by-order csv", "mbp": "market-by-price csv"},
            _COMMON,
        ),
        _read_databento,
    ),
    Record(
        Source(
            "bitstamp",
            "Bitstamp order events against the books of the websocket log",
            {"orders": "order events csv", "log": "websocket log"},
            _COMMON,
        ),
        _read_bitstamp,
    ),
    Record(
        Source(
            "ashare",
            "an A-share order table with its table of executions and cancels",
            {"orders": "order table", "trades": "table of executions and cancels"},
            ("--columns", *_COMMON),
        ),
        _read_ashare,
    ),
    Record(
        Source(
            "l3",
            "any order-by-order table",
            {"table": "csv, csv.gz, csv.xz or parquet"},
            ("--columns", "--orders", "--tick", *_COMMON),
        ),
        _read_l3,
    ),
)
EXECUTIONS = Source(
    "ashare-executions",
    "A-share executions without an order table: no book follows from them; compares what was "
    "traded between two snapshots, and draws the snapshots",
    {"transactions": "table of executions", "ticks": "table of snapshots"},
    (),
)
