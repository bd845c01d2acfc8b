"""Sends a recorded day through the book, order by order, and compares with the venue's own books.

    jaxmars replay lobster MESSAGE.csv BOOK.csv
    jaxmars replay databento MBO.csv MBP.csv
    jaxmars replay bitstamp ORDERS.csv LOG
    jaxmars replay ashare ORDERS.csv TRADES.csv --columns FILE.toml
    jaxmars replay l3 TABLE.csv --columns FILE.toml

Writes replay.json, differences.csv and depth.png.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import clock_end, clock_time, whole
from jaxmars.errors import InputError
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.book import Book
    from jaxmars.data.orderflow import L3Data
    from jaxmars.data.replay import OneStepReport
    from jaxmars.tasks.replay_files import ReplayRun

NAME = "replay"
HELP = "send a recorded day through the book and compare with the venue's own books"
MOST_SLOTS = 1_000_000
MOST_LEVELS = 1000
MOST_UNITS = 10**9  # of a tick
FIRST_SLOTS = 512  # orders a side can hold, until more are needed
GROWTH = 4  # factor to the next try
DEFAULT_LEVELS = 10  # where the venue recorded no books

Read = Callable[[argparse.Namespace], "tuple[L3Data, OneStepReport | None]"]


class _Source(NamedTuple):
    """A kind of record."""

    name: str
    help: str
    files: dict[str, str]  # argument to what it is
    flags: tuple[str, ...]  # flags of its own
    read: Read


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for source in SOURCES:
        sub = sources.add_parser(
            source.name, help=source.help, description=source.help, allow_abbrev=False
        )
        for name, text in source.files.items():
            sub.add_argument(name, metavar=name.upper(), type=pathlib.Path, help=text)
        sub.set_defaults(read=source.read, files=tuple(source.files))
        _add_common(sub)
        for flag in source.flags:
            sub.add_argument(flag, **_OWN_FLAGS[flag])


_OWN_FLAGS: dict[str, dict[str, Any]] = {
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
}


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Flags of every source."""
    add = parser.add_argument
    add(
        "--out",
        help="folder to write (default: %(default)s)",
        type=pathlib.Path,
        default=pathlib.Path("out/replay"),
    )
    add(
        "--levels",
        help="price levels to compare and to draw (default: those recorded)",
        type=whole(1, MOST_LEVELS),
    )
    add(
        "--slots",
        help=f"orders a side of the book can hold (default: {FIRST_SLOTS}, and more as needed)",
        type=whole(1, MOST_SLOTS),
    )
    begins: dict[str, Any] = {"dest": "begin", "type": clock_time, "metavar": "HH:MM:SS"}
    add("--from", help="compare and draw from this time on", **begins)
    add("--until", help="stop after this time", **begins | {"dest": "end", "type": clock_end})


def run(args: argparse.Namespace) -> None:
    """Record, replay, files."""
    prepare_jax()
    from jaxmars.tasks.replay_files import FILES, write_replay

    check_out(args.out, FILES)
    l3, one_step = args.read(args)
    result = replay_part(args, l3, one_step)
    name = getattr(args, args.files[0]).name.split(".")[0]
    write_replay(args.out, result, describe_run(args), f"{l3.venue}: {name}")
    report(result, args.out)


def replay_part(
    args: argparse.Namespace, l3: "L3Data", one_step: "OneStepReport | None"
) -> "ReplayRun":
    """Replays the record up to --until with as many slots as it takes; reports from --from on."""
    import jax.numpy as jnp

    from jaxmars.book import book_from_levels, init_book
    from jaxmars.data.orderflow import EVERYBODY
    from jaxmars.types import L2

    first, last = _part(args, l3)
    needed = 0 if l3.start is None else l3.start.size.size
    slots = max(FIRST_SLOTS, needed) if args.slots is None else args.slots
    if slots < needed:
        raise InputError(f"--slots is {slots}, expected at least {needed}, those of the first book")
    while True:
        book = init_book(slots)
        if l3.start is not None:
            start = L2(*(jnp.asarray(x) for x in l3.start))
            book = book_from_levels(start, slots, jnp.int32(EVERYBODY))
        found = _run(args, l3, book, first, last)
        if args.slots is not None or not _is_full(found) or slots >= MOST_SLOTS:
            return found._replace(one_step=one_step)
        slots *= GROWTH
        print(f"\nnote: the book was full, starting again with {slots} slots", file=sys.stderr)


def _is_full(found: "ReplayRun") -> bool:
    """Whether an order found no slot, before --from or after it."""
    from jaxmars.types import Status

    return bool(int(found.report.book.status) & Status.BOOK_FULL)


def _run(
    args: argparse.Namespace, l3: "L3Data", book: "Book", first: int, last: int
) -> "ReplayRun":
    """Events before `first` only lead there; those up to `last` are compared and sampled."""
    from jaxmars.data.continuous import replay
    from jaxmars.data.lobster import NANOS, nanoseconds
    from jaxmars.data.orderflow import cut_flow
    from jaxmars.tasks.replay_files import PICTURE_COLUMNS, ReplayRun, flow_trades

    depth = DEFAULT_LEVELS if l3.recorded is None else l3.recorded.known.shape[2]
    levels = depth if args.levels is None else args.levels
    how = {"levels": levels, "resting": l3.resting}
    if first:
        lead = cut_flow(l3.flow, 0, first)
        book = replay(lead, None, book, **how, progress=lambda n, _: show_pace(n, last)).book
    part = cut_flow(l3.flow, first, last)
    stamps = nanoseconds(*part.time)
    step = max(float(stamps[-1] - stamps[0]) / NANOS / PICTURE_COLUMNS, 1 / NANOS)
    shown = replay(
        part,
        l3.recorded,
        book,
        **how,
        sample_seconds=step,
        progress=lambda n, _: show_pace(first + n, last),
    )
    print(file=sys.stderr)
    kept = l3._replace(flow=part)
    return ReplayRun(kept, shown, flow_trades(kept, shown.filled), None, book.size.shape[1])


def _part(args: argparse.Namespace, l3: "L3Data") -> tuple[int, int]:
    """First and last (exclusive) event of what --from and --until leave."""
    import numpy as np

    from jaxmars.data.lobster import nanoseconds
    from jaxmars.tasks.replay_files import clock

    stamps = nanoseconds(*l3.flow.time)
    if not len(stamps):
        raise InputError("the record holds no change of the book, expected at least one")
    begin = stamps[0] if args.begin is None else int(nanoseconds(*args.begin))
    end = stamps[-1] if args.end is None else int(nanoseconds(*args.end))
    first = int(np.searchsorted(stamps, begin, "left"))
    last = int(np.searchsorted(stamps, end, "right"))
    if first >= last:
        raise InputError(
            f"no event lies from {clock(int(begin))} to {clock(int(end))}, expected times from "
            f"{clock(int(stamps[0]))} to {clock(int(stamps[-1]))}"
        )
    return first, last


def _read_lobster(args: argparse.Namespace) -> "tuple[L3Data, OneStepReport | None]":
    from jaxmars.data import one_step_mismatches, read_lobster
    from jaxmars.data.lobster_continuous import lobster_continuous

    data = read_lobster(args.message, args.book, args.tick)
    return lobster_continuous(data).l3, one_step_mismatches(data)


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


SOURCES = (
    _Source(
        "lobster",
        "a LOBSTER day; also checks every message on the recorded book before it",
        {"message": "message file", "book": "book file"},
        ("--tick",),
        _read_lobster,
    ),
    _Source(
        "databento",
        "a Databento market-by-order file against its market-by-price file",
        {"mbo": "market-by-order csv", "mbp": "market-by-price csv"},
        (),
        _read_databento,
    ),
    _Source(
        "bitstamp",
        "Bitstamp order events against the books of the websocket log",
        {"orders": "order events csv", "log": "websocket log"},
        (),
        _read_bitstamp,
    ),
    _Source(
        "ashare",
        "an A-share order table with its table of executions and cancels",
        {"orders": "order table", "trades": "table of executions and cancels"},
        ("--columns",),
        _read_ashare,
    ),
    _Source(
        "l3",
        "any order-by-order table",
        {"table": "csv, csv.gz, csv.xz or parquet"},
        ("--columns", "--orders", "--tick"),
        _read_l3,
    ),
)


def describe_run(args: argparse.Namespace) -> dict[str, Any]:
    """Provenance of the results."""
    from jaxmars.convert import store
    from jaxmars.provenance import environment

    files = [getattr(args, name) for name in args.files]
    columns = getattr(args, "columns", None)
    flags = {"levels": args.levels, "slots": args.slots, "from": args.begin, "until": args.end}
    flags |= {name: getattr(args, name) for name in ("tick",) if hasattr(args, name)}
    return environment() | {
        "config": {
            "source": args.source,
            "files_sha256": {
                str(path): store.file_hash(path)
                for path in [*files, *([] if columns is None else [columns])]
            },
            "flags": flags,
        },
    }


def show_pace(done: int, wanted: int) -> None:
    """How far the run is."""
    show_bar(done, wanted, f"{done:,}/{wanted:,} events")


def report(result: "ReplayRun", out: pathlib.Path) -> None:
    """The table of differences on stdout."""
    found = result.report
    if found.checked:
        print(found.table().to_string())
        print(f"{found.equal:,} of {found.checked:,} recorded books came out in every known level")
    else:
        print("no recorded book to compare with")
    if result.one_step is not None:
        one = result.one_step
        print(
            f"{one.checked - one.mismatched:,} of {one.checked:,} messages turn the recorded book "
            "before them into the one after them"
        )
    if found.status:
        named = (f"{bit.name} {count:,}" for bit, count in found.status.items())
        print("status:", ", ".join(named))
    print(f"wrote {out}/replay.json, differences.csv, depth.png")
