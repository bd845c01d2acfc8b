"""Checks the reference market against its published statistics (realism spec 2.2).

Simulates independent 26-minute windows after a 30-minute warm-up through the real book, computes
the battery of `jaxmars.tasks.verify_statistics` on groups of 23 windows (as many as the paper has
per stock), and prints mean, standard error, target, tolerance and z-score of every statistic, and
which of Cont's eleven facts are as expected. Exit code 1 if a statistic is outside its tolerance.

    python scripts/check_reference.py --paths 1000
    python scripts/check_reference.py --paths 1000 --out out/reference
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

import numpy as np

from jaxmars.agents.reference import ReferenceParams
from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import natural, positive
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.provenance import environment
from jaxmars.sim.lanes import Pace
from jaxmars.tasks.facts_report import stylized_facts
from jaxmars.tasks.verify_files import report_files, write_report
from jaxmars.tasks.verify_statistics import battery_table, compute_statistics, markdown_table
from jaxmars.tasks.verify_windows import reference_sample

NAME = "reference"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=positive, default=460, help="windows (default 460)")
    parser.add_argument("--seed", type=natural, default=0, help="default 0")
    parser.add_argument("--lanes", type=positive, default=64, help="per device, default 64")
    parser.add_argument("--out", type=pathlib.Path, help="folder for reference.md and .json")
    args = parser.parse_args(argv)
    prepare_jax()
    try:
        if args.out is not None:
            check_out(args.out, report_files(NAME))
        sample = reference_sample(
            ReferenceParams(), paths=args.paths, seed=args.seed, lanes=args.lanes, watch=show
        )
    except InputError as error:
        print(f"\ncheck_reference: {error}", file=sys.stderr)
        return 2
    print(file=sys.stderr)
    table = battery_table(compute_statistics(sample))
    facts = stylized_facts(sample.minutes, seed=args.seed).verdicts()
    good = int(np.count_nonzero(table["passes"]))
    summary = (
        f"{good} of {len(table)} within tolerance, {len(sample.flow)} windows in "
        f"{len(sample.groups.names)} groups, {sample.quiet} left out (a minute without an event); "
        f"{sum(v is True for v in facts.values())} of {len(facts)} of Cont's facts as expected"
    )
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(summary)
    if args.out is not None:
        text = f"# The reference market\n\n{markdown_table(table)}\n{summary}\n"
        numbers = {"statistics": table, "facts": facts, "windows": len(sample.flow)}
        config = {"seed": args.seed, "config": {"paths": args.paths, "lanes": args.lanes}}
        write_report(args.out, NAME, text, numbers, environment() | config)
    return int(good < len(table))


def show(pace: Pace) -> None:
    """How far the run is."""
    show_bar(pace.finished, pace.wanted, f"{pace.finished}/{pace.wanted} windows")


if __name__ == "__main__":
    sys.exit(main())
