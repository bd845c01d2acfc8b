"""Makes a dataset of order tokens from recorded days, and looks at one.

    jaxmars data build --example > days.toml
    jaxmars data build days.toml --out data/tokens --validation-from 2023-03-01
    jaxmars data build days.toml --out data/tokens --validation-after 15:00:00
    jaxmars data inspect data/tokens --out out/data

A build that was stopped goes on when it is run again. inspect reads every shard through, compares
checksums, and writes inspect.json, shards.csv and orders.png.
"""

import argparse
import datetime
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import clock_time
from jaxmars.errors import InputError
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.tasks.data_files import Inspection
    from jaxmars.tokens.bins import Converters
    from jaxmars.train.splits import Split

NAME = "data"
HELP = "make a dataset of order tokens from recorded days, or look at one"
MOST_LINES = 40  # of the printed table


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="recorded days to token shards", allow_abbrev=False)
    add = build.add_argument
    add("config", nargs="?", type=pathlib.Path, help="TOML file that lists the days")
    add("--example", action="store_true", help="print a commented file and stop")
    add("--out", type=pathlib.Path, metavar="FOLDER", help="folder of the dataset")
    add(
        "--bins",
        type=pathlib.Path,
        metavar="FOLDER",
        help="use the bins of this model or dataset (default: fitted on the training part)",
    )
    day = {"type": date, "metavar": "YYYY-MM-DD"}
    add("--validation-from", help="first date that validates (default: none)", **day)
    add("--test-from", help="first date that tests (default: none)", **day)
    when = {"type": clock_time, "metavar": "HH:MM:SS"}
    text = "for data of one date: orders of a day after this time {} (default: none)"
    add("--validation-after", help=text.format("validate"), **when)
    add("--test-after", help=text.format("test"), **when)
    build.set_defaults(act=run_build)
    look = actions.add_parser("inspect", help="what a dataset holds", allow_abbrev=False)
    look.add_argument("folder", type=pathlib.Path, help="folder of the dataset")
    look.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("out/data"),
        help="folder to write (default: %(default)s)",
    )
    look.set_defaults(act=run_inspect)


def date(text: str) -> datetime.date:
    """A day of the calendar."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a date YYYY-MM-DD, got {text!r:.80}") from error


def run(args: argparse.Namespace) -> None:
    """The action that was asked for."""
    args.act(args)


def run_build(args: argparse.Namespace) -> None:
    """Days to shards."""
    from jaxmars.tasks.data_recipe import EXAMPLE, read_recipe

    if args.example:
        print(EXAMPLE, end="")
        return
    if args.config is None:
        raise InputError("CONFIG.toml is missing; jaxmars data build --example prints one")
    if args.out is None:
        raise InputError("--out is missing, expected the folder of the dataset")
    split = choose_split(args)
    prepare_jax()
    from jaxmars.provenance import environment
    from jaxmars.train.build import build_dataset

    recipe = read_recipe(args.config, split, given_bins(args.bins))
    manifest = build_dataset(recipe, args.out, environment(), show_pace)
    print(file=sys.stderr)
    for name in dict.fromkeys(shard.split for shard in manifest.shards):
        mine = [shard for shard in manifest.shards if shard.split == name]
        print(f"{name}: {len(mine):,} shards, {sum(x.rows for x in mine):,} orders")
    print(f"wrote {args.out}/manifest.json, converters.json and the shards")


def choose_split(args: argparse.Namespace) -> "Split":
    """The rule that the flags ask for."""
    from jaxmars.train.splits import DateSplit, TimeSplit

    dates = (args.validation_from, args.test_from)
    times = (args.validation_after, args.test_after)
    if any(dates) and any(times):
        raise InputError(
            "--validation-from and --test-from split by date, --validation-after and --test-after "
            "by time of the day, expected flags of one kind"
        )
    return TimeSplit(*times) if any(times) else DateSplit(*dates)


def given_bins(folder: pathlib.Path | None) -> "Converters | None":
    """The bins of a model or dataset, None without one."""
    from jaxmars.tokens.bins import load_converters

    if folder is None:
        return None
    converters = load_converters(folder)
    if converters is None:
        raise InputError(f"{folder} holds no converters, expected the folder of a model or dataset")
    return converters


def run_inspect(args: argparse.Namespace) -> None:
    """Shards to a table and a picture."""
    prepare_jax()
    from jaxmars.provenance import environment
    from jaxmars.tasks.data_files import FILES, inspect_dataset, write_inspection
    from jaxmars.train.shards import read_bins, read_manifest

    check_out(args.out, FILES)
    manifest = read_manifest(args.folder)
    read_bins(args.folder, manifest.converters_sha256)
    found = inspect_dataset(args.folder, manifest, lambda *x: show_pace("shards", *x))
    print(file=sys.stderr)
    made_by: dict[str, Any] = {"dataset": str(args.folder), "built_by": manifest.made_by}
    write_inspection(args.out, found, environment() | made_by)
    report(found, args.out)


def report(found: "Inspection", out: pathlib.Path) -> None:
    """The table of shards on stdout, and the sums of the splits."""
    from jaxmars.tasks.data_files import FILES

    shares = ("sell", "buy", "cancel", "outside_bins")
    formats: dict[Any, Any] = {name: (lambda x: f"{x:.1%}") for name in shares}
    formats |= {"rows": lambda x: f"{x:,}", "orders_per_minute": lambda x: f"{x:,.1f}"}
    formats |= {name: (lambda x: f"{x:g}") for name in ("spread", "size", "tick_size")}
    table = found.table
    print(table.head(MOST_LINES).to_string(index=False, na_rep="-", formatters=formats))
    if len(table) > MOST_LINES:
        print(f"and {len(table) - MOST_LINES:,} more shards, all of them in shards.csv")
    print("\nspread in ticks and size in shares are medians; all checksums are right")
    for name, part in table.groupby("split", sort=False):
        print(f"{name}: {len(part):,} shards, {part['rows'].sum():,} orders")
    print(f"wrote {out}/{', '.join(FILES)}")


def show_pace(stage: str, done: int, wanted: int) -> None:
    """A progress bar on stderr."""
    show_bar(done, wanted, f"{stage}: {done:,}/{wanted:,}")
