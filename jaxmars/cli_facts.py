"""Compares simulated order flow with the market by Cont's eleven stylized facts.

    jaxmars simulate market.toml --out out/simulate
    jaxmars facts out/simulate/events.parquet --historical GOOG_2012-06-21_..._message_10.csv

Reads events of `jaxmars simulate` and `jaxmars forecast` (.parquet), LOBSTER days (the message
file; the book file lies beside it), minute bars (.csv with columns symbol, time, last_price,
mean_price, mean_mid, last_mid, volume and, if wanted, window) and the released rollout_info
(.zstd, which brings its own historical windows). Windows are 26 minutes long.

Writes facts.png, facts.md, facts.json and one CSV per fact.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars.cli_values import natural
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.tasks.facts_report import FactsResult

NAME = "facts"
HELP = "compare simulated order flow with the market by eleven stylized facts"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument(
        "simulated", nargs="+", type=pathlib.Path, help="files of simulated windows"
    )
    parser.add_argument(
        "--historical", nargs="+", type=pathlib.Path, help="files of windows of the market"
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("out/facts"),
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=natural,
        default=0,
        help="of the null band and of the bootstrap (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Files, statistics, files."""
    from jaxmars.tasks.facts_files import FILES, write_facts
    from jaxmars.tasks.facts_report import stylized_facts
    from jaxmars.tasks.facts_sources import read_windows

    check_out(args.out, FILES)
    simulated = read_windows(args.simulated)
    historical = simulated.replayed
    if args.historical is not None:
        historical = read_windows(args.historical, replayed=True).minutes
    result = stylized_facts(simulated.minutes, historical, seed=args.seed)
    write_facts(args.out, result, describe_run(args))
    report(result, args.out)


def describe_run(args: argparse.Namespace) -> dict[str, Any]:
    """Provenance of the results."""
    from jaxmars.convert.store import file_hash
    from jaxmars.provenance import environment

    hashed = lambda paths: {str(path): file_hash(path) for path in paths or ()}
    return environment() | {
        "config": {"simulated": hashed(args.simulated), "historical": hashed(args.historical)}
    }


def report(result: "FactsResult", out: pathlib.Path) -> None:
    """The table on stdout, what is not as expected or cannot be told on stderr."""
    from jaxmars.tasks.facts_files import FILES, markdown, undecided

    print(markdown(result))
    missing = [str(fact) for fact, verdict in result.verdicts().items() if verdict is False]
    if missing:
        print(f"note: not as expected: facts {', '.join(missing)}", file=sys.stderr)
    if result.undecided():
        print(f"note: undecided: {undecided(result)}", file=sys.stderr)
    print(f"wrote {out}/{', '.join(FILES)}")
