"""Switches the mechanisms of the reference market off, one after the other (realism spec 2.1).

Prints the statistics of every switched market beside the published ones, and whether the fact that
the mechanism makes is gone with it. Exit code 1 if a check fails.

    python scripts/check_mechanisms.py --paths 345 --out out/mechanisms
    python scripts/check_mechanisms.py --only "no splitting" --only "constant activity"
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

import numpy as np
import pandas as pd

from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import natural, positive
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.provenance import environment
from jaxmars.tasks.verify_files import report_files, write_report
from jaxmars.tasks.verify_mechanisms import SWITCHES, ablation_table, check_table, switch_table
from jaxmars.tasks.verify_statistics import compute_statistics, markdown_table
from jaxmars.tasks.verify_windows import reference_sample

NAME = "mechanisms"


def main(argv: list[str] | None = None) -> int:
    names = [switch.name for switch in SWITCHES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=positive, default=345, help="per market (default 345)")
    parser.add_argument("--seed", type=natural, default=0, help="default 0")
    parser.add_argument("--lanes", type=positive, default=64, help="per device, default 64")
    parser.add_argument("--only", action="append", choices=names, help="may be repeated")
    parser.add_argument("--out", type=pathlib.Path, help="folder for mechanisms.md and .json")
    args = parser.parse_args(argv)
    prepare_jax()
    tables, checks = {}, []
    try:
        if args.out is not None:
            check_out(args.out, report_files(NAME))
        for switch in SWITCHES:
            if args.only and switch.name not in args.only:
                continue
            sample = reference_sample(
                switch.params,
                paths=args.paths,
                seed=args.seed,
                lanes=args.lanes,
                watch=lambda p, name=switch.name: show_bar(p.finished, p.wanted, f"{name:20}"),
            )
            found = compute_statistics(sample)
            tables[switch.name] = switch_table(switch, found)
            checks.append(check_table(switch, found))
            print(file=sys.stderr)
            print(checks[-1].to_string(index=False, float_format="{:.3f}".format), flush=True)
    except InputError as error:
        print(f"\ncheck_mechanisms: {error}", file=sys.stderr)
        return 2
    verdicts = pd.concat(checks, ignore_index=True)
    good = int(np.count_nonzero(verdicts["passes"]))
    summary = f"{good} of {len(verdicts)} checks hold, {args.paths} windows per market"
    ablation = ablation_table(tables)
    print(ablation.to_string(index=False))
    print(summary)
    if args.out is not None:
        text = (
            f"# The reference market without its mechanisms\n\n{markdown_table(ablation)}\n"
            f"{markdown_table(verdicts)}\n{summary}\n"
        )
        config = {"seed": args.seed, "config": {"paths": args.paths, "lanes": args.lanes}}
        numbers = {"markets": tables, "checks": verdicts}
        write_report(args.out, NAME, text, numbers, environment() | config)
    return int(good < len(verdicts))


if __name__ == "__main__":
    sys.exit(main())
