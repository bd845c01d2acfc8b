"""Gives a model that was trained on the reference market finer bins of prices and intervals.

The bins are fitted anew on the reference market; training goes on from there
(`jaxmars.models.refine`). For models with the factored head.

    python scripts/finer_bins.py out/default_window/model out/default_bins --prices 64
"""

import argparse
import dataclasses
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

from jaxmars.cli_pace import prepare_jax
from jaxmars.cli_values import positive
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.models import OrderModel
from jaxmars.models.refine import refined
from jaxmars.provenance import environment
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.train_recipe import about_weights
from jaxmars.train.reference_data import ReferencePlan, fit_reference_bins
from jaxmars.train.sources import BINS_SEED


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=pathlib.Path, help="folder")
    parser.add_argument("out", type=pathlib.Path, help="folder for the new model")
    parser.add_argument("--prices", type=positive, default=64, help="slots (default 64)")
    parser.add_argument("--intervals", type=positive, default=64, help="slots (default 64)")
    args = parser.parse_args(argv)
    prepare_jax()
    try:
        check_out(args.out, ())
        model = OrderModel.from_pretrained(args.model)
        config = dataclasses.replace(
            model.config,
            num_bins_price_level=args.prices,
            num_bins_order_interval=args.intervals,
        )
        fitted, domain = fit_reference_bins(BINS_SEED, reference_market(), config, ReferencePlan())
        before = {"domain": domain._asdict(), "from": about_weights(model, args.model)}
        refined(model, fitted).save(args.out, {**environment(), **before})
    except InputError as error:
        print(f"finer_bins: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
