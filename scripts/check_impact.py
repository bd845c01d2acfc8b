"""Measures the impact of an order executed at a fixed rate (realism spec 2.2 and 2.3).

Buys and sells in the reference market, and, if one is named, in a market whose crowd is an order
model, from the same warm states. Writes impact.png, impact.csv, impact.json and impact.md. Exit
code 1 if a rule fails.

    python scripts/check_impact.py --paths 256 --out out/impact
    python scripts/check_impact.py --paths 64 --model weights/default --out out/impact_model
"""

import argparse
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

from jaxmars.agents.reference import ReferenceParams
from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import natural, positive
from jaxmars.convert.store import TENSOR_FILE, file_hash
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.models import OrderModel
from jaxmars.provenance import environment
from jaxmars.sim.lanes import Pace
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.verify_impact import (
    HORIZON_SECONDS,
    LONG_ORDER,
    ORDER_LOTS,
    impact_curve,
    sized_order,
    summarise_impact,
)
from jaxmars.tasks.verify_impact_files import (
    FILES,
    MarketImpact,
    markdown,
    verdicts,
    write_impact,
)
from jaxmars.tasks.verify_starts import warm_starts
from jaxmars.tasks.verify_worlds import World, generator_world, model_world

TRADERS = 1  # that join the crowd


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    prepare_jax()
    try:
        if len(set(args.sizes)) < 2:
            raise InputError("--sizes names one size, expected two or more: their law is fitted")
        check_out(args.out, FILES)
        model = None if args.model is None else OrderModel.from_pretrained(args.model)
        warm = warm_starts(args.seed, args.paths, reference_market(), ReferenceParams())
        span: Any = {"seconds": HORIZON_SECONDS, "others": TRADERS}
        world = generator_world(warm, **span, lanes=args.lanes)
        markets = [measure("generator", world, args)]
        found = verdicts(markets[0], None)
        if model is not None:
            world = model_world(warm, model, **span, lanes=args.model_lanes)
            markets.append(measure("model", world, args))
            found += verdicts(markets[1], markets[0])
    except InputError as error:
        print(f"\ncheck_impact: {error}", file=sys.stderr)
        return 2
    write_impact(args.out, markets, found, describe(args))
    print(markdown(markets, found))
    return int(not all(verdict.passes for verdict in found))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = lambda flag, text, **options: parser.add_argument(flag, help=text, **options)
    add("--paths", "warm states, each bought and sold from (default 256)", type=positive)
    add("--sizes", "lots of the 5-minute orders", type=positive, nargs="+", default=ORDER_LOTS)
    add("--model", "folder of an order model to measure, too", type=pathlib.Path)
    add("--seed", "default 0", type=natural, default=0)
    add("--lanes", "per device in the reference market, default 16", type=positive, default=16)
    add("--model-lanes", "per device in the model's, default 16", type=positive, default=16)
    add("--out", "folder (default out/impact)", type=pathlib.Path)
    parser.set_defaults(paths=256, out=pathlib.Path("out/impact"))
    return parser.parse_args(argv)


def measure(name: str, world: World, args: argparse.Namespace) -> MarketImpact:
    """All orders in one market."""

    def curve(order: Any) -> Any:
        text = f"{name}: {order.name:10}"
        watch = lambda pace: show(pace, text)
        return impact_curve(world, order, seed=args.seed, watch=watch)

    long, *sized = (curve(order) for order in (LONG_ORDER, *map(sized_order, args.sizes)))
    print(file=sys.stderr)
    return MarketImpact(name, long, sized, summarise_impact(long, sized, args.seed))


def show(pace: Pace, text: str) -> None:
    """How far a run is."""
    show_bar(pace.finished, pace.wanted, text)


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """Provenance of the results."""
    weights = None if args.model is None else file_hash(args.model / TENSOR_FILE)
    config = {"paths": args.paths, "sizes": list(args.sizes), "model": str(args.model)}
    return environment() | {"seed": args.seed, "weights_sha256": weights, "config": config}


if __name__ == "__main__":
    sys.exit(main())
