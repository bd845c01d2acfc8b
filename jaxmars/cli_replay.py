r"""Sends a recorded day through the book, order by order, and compares with the venue's own books.

    jaxmars replay lobster MESSAGE.csv BOOK.csv
    jaxmars replay lobster-deep MESSAGE.csv --start MESSAGE.csv BOOK.csv --against MESSAGE.csv \
        BOOK.csv
    jaxmars replay databento MBO.csv MBP.csv
    jaxmars replay bitstamp ORDERS.csv LOG
    jaxmars replay ashare ORDERS.csv TRADES.csv --columns FILE.toml
    jaxmars replay ashare-executions TRANSACTIONS.csv TICKS.csv
    jaxmars replay l3 TABLE.csv --columns FILE.toml

Writes replay.json, differences.csv and depth.png.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_replay_sources import EXECUTIONS, FIRST_SLOTS, FLAGS, MOST_SLOTS, RECORDS, Source
from jaxmars.errors import InputError
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.book import Book
    from jaxmars.data.orderflow import L3Data
    from jaxmars.data.replay import OneStepReport
    from jaxmars.tasks.replay_executions import ExecutionsRun
    from jaxmars.tasks.replay_files import ReplayRun

NAME = "replay"
JSON = ".json"
HELP = "send a recorded day through the book and compare with the venue's own books"
GROWTH = 4  # factor to the next try
DEFAULT_LEVELS = 10  # where the venue recorded no books


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for record in RECORDS:
        sub = _add_source(sources, record.source)
        sub.set_defaults(replay=_replay_record, read=record.read)
    _add_source(sources, EXECUTIONS).set_defaults(replay=_replay_executions)


def _add_source(sources: Any, source: Source) -> argparse.ArgumentParser:
    """The command of a source."""
    sub = sources.add_parser(
        source.name, help=source.help, description=source.help, allow_abbrev=False
    )
    for name, text in source.files.items():
        sub.add_argument(name, metavar=name.upper(), type=pathlib.Path, help=text)
    sub.set_defaults(files=tuple(source.files))
    sub.add_argument(
        "--out",
        help="folder to write (default: %(default)s)",
        type=pathlib.Path,
        default=pathlib.Path("out/replay"),
    )
    for flag in source.flags:
        sub.add_argument(flag, **FLAGS[flag])
    return sub


def run(args: argparse.Namespace) -> None:
    """Record, replay, files."""
    prepare_jax()
    from jaxmars.tasks.replay_files import FILES

    for path in (getattr(args, name) for name in args.files):
        if path.suffix.lower() == JSON:
            raise InputError(
                f"{path} is JSON, expected a table of orders or executions: snapshots and minute "
                "bars name no orders, so there is nothing to replay"
            )
    check_out(args.out, FILES)
    args.replay(args)


def _replay_record(args: argparse.Namespace) -> None:
    """A record order by order."""
    from jaxmars.tasks.replay_files import write_replay

    l3, one_step = args.read(args)
    result = replay_part(args, l3, one_step)
    write_replay(args.out, result, describe_run(args), f"{l3.venue}: {_name(args)}")
    report(result, args.out)


def _replay_executions(args: argparse.Namespace) -> None:
    """Executions without orders, against what the snapshots say of the time between them."""
    from jaxmars.data.ashare import read_ashare
    from jaxmars.data.ashare_intervals import interval_differences
    from jaxmars.tasks.replay_executions import ExecutionsRun, write_executions

    day = read_ashare(args.transactions, args.ticks)
    result = ExecutionsRun(day, interval_differences(day, args.ticks))
    write_executions(args.out, result, describe_run(args), f"{day.data.venue}: {_name(args)}")
    report_executions(result, args.out)


def _name(args: argparse.Namespace) -> str:
    """The record, for titles."""
    return getattr(args, args.files[0]).name.split(".")[0]


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


def describe_run(args: argparse.Namespace) -> dict[str, Any]:
    """Provenance of the results."""
    from jaxmars.convert import store
    from jaxmars.provenance import environment

    named = [getattr(args, name) for name in args.files]
    for pair in ("start", "against"):
        named += getattr(args, pair, [])
    named += [args.columns] if hasattr(args, "columns") else []
    written = {"from": "begin", "until": "end"} | {x: x for x in ("levels", "slots", "tick")}
    flags = {flag: getattr(args, name) for flag, name in written.items() if hasattr(args, name)}
    return environment() | {
        "config": {
            "source": args.source,
            "files_sha256": {str(path): store.file_hash(path) for path in named},
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


def report_executions(result: "ExecutionsRun", out: pathlib.Path) -> None:
    """The table of intervals on stdout."""
    from jaxmars.tasks.replay_executions import NO_BOOKS

    day = result.day
    volume = day.executed_volume()
    print(result.table.to_string())
    print(NO_BOOKS)
    print(
        f"the executions between two snapshots sum to what the later one says in "
        f"{int((volume == day.snapshot_volume).sum()):,} of {len(volume):,} intervals"
    )
    print(f"wrote {out}/replay.json, differences.csv, depth.png")
