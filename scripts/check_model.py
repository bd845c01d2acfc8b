"""Compares an order model with the market that its training data came from (realism spec 2.3).

Both run for 26 minutes from the same warm moments of the reference market. Compared are the battery
of `jaxmars.tasks.verify_statistics`, Cont's facts, LOB-Bench (distances, discriminator, response
curves; its noise floor is the generator with other seeds) and, from the model's manifest, its
likelihood. Writes model.md and model.json. Exit code 1 if a rule fails.

    python scripts/check_model.py weights/default --paths 460 --out out/check_model
"""

import argparse
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

import pandas as pd

from jaxmars.agents.reference import ReferenceParams
from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import natural, positive
from jaxmars.convert.store import TENSOR_FILE, file_hash
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.models import OrderModel
from jaxmars.provenance import environment
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.facts_minutes import GROUP, WINDOW
from jaxmars.tasks.verify_files import report_files, write_report
from jaxmars.tasks.verify_model import Compared, Verdict, compare_markets, model_verdicts
from jaxmars.tasks.verify_starts import warm_starts
from jaxmars.tasks.verify_statistics import markdown_table
from jaxmars.tasks.verify_windows import MINUTE
from jaxmars.tasks.verify_worlds import generator_world, model_world, run_world

NAME = "model"
LIKELIHOOD = "reference_market"  # of a manifest: what evaluate_order_model.py found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=pathlib.Path, help="model folder")
    parser.add_argument(
        "--paths", type=positive, default=20 * GROUP, help="default 460: twenty groups"
    )
    parser.add_argument("--seed", type=natural, default=0, help="default 0")
    parser.add_argument("--lanes", type=positive, default=16, help="per device, default 16")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/check_model"))
    args = parser.parse_args(argv)
    prepare_jax()
    try:
        check_out(args.out, report_files(NAME))
        model = OrderModel.from_pretrained(args.model)
        compared = run(args, model)
    except InputError as error:
        print(f"\ncheck_model: {error}", file=sys.stderr)
        return 2
    found = model_verdicts(compared, model.manifest.get(LIKELIHOOD, {}))
    text = report(args, compared, found)
    numbers = {
        "verdicts": [verdict._asdict() for verdict in found],
        "battery": compared.battery,
        "facts": compared.facts,
        "lob_bench": compared.bench.table(),
        "windows": compared.windows,
        "status": compared.status,
    }
    write_report(args.out, NAME, text, numbers, describe(args))
    print(f"\n{text}")
    return int(any(verdict.passes is False for verdict in found))


def run(args: argparse.Namespace, model: OrderModel) -> Compared:
    """Both markets, and their comparison."""
    warm = warm_starts(args.seed, args.paths, reference_market(), ReferenceParams())
    span: Any = {"seconds": WINDOW * MINUTE, "others": 0, "lanes": args.lanes}
    worlds = {
        "generator": generator_world(warm, **span),
        "model": model_world(warm, model, **span),
    }
    runs = {}
    for name, world in worlds.items():
        watch = lambda pace, name=name: show_bar(pace.finished, pace.wanted, f"{name:10}")
        runs[name] = run_world(world, args.seed, watch)
    progress = lambda done, wanted, text: show_bar(done, wanted, f"{text:40.40}")
    return compare_markets(runs, worlds, seed=args.seed, progress=progress)


def report(args: argparse.Namespace, compared: Compared, found: list[Verdict]) -> str:
    """The tables as Markdown."""
    bench = compared.bench
    lines = [
        f"# {args.model} beside the reference market",
        "",
        f"* {args.paths} warm moments, {WINDOW} minutes; windows: {compared.windows}",
        f"* LOB-Bench: {bench.generated.sequences} sequences of the model, {bench.real.sequences} "
        f"of the generator, {bench.levels} levels",
        f"* status bits raised (trajectories): {compared.status}",
        "",
    ]
    rows = pd.DataFrame([verdict._asdict() for verdict in found])
    tables = (rows, compared.battery, bench.table())
    return "\n".join(lines) + "\n" + "\n".join(markdown_table(table) for table in tables)


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Provenance of the results."""
    weights = file_hash(args.model / TENSOR_FILE)
    config = {"paths": args.paths, "model": str(args.model), "lanes": args.lanes}
    return environment() | {"seed": args.seed, "weights_sha256": weights, "config": config}


if __name__ == "__main__":
    sys.exit(main())
