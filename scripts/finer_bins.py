"""Gives a model that was trained on the reference market finer bins of prices and intervals.

Every new slot begins as a copy of the old slot in which its middle lies, in the tables of learned
vectors and in the head, so that training goes on where it was but for the shares of the parts of a
slot. For models with the factored head.

    python scripts/finer_bins.py out/default_window/model out/default_bins --prices 64
"""

import argparse
import dataclasses
import pathlib
import sys

import jax.numpy as jnp
import numpy as np

from jaxmars.cli_pace import prepare_jax
from jaxmars.cli_values import positive
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.models import OrderModel
from jaxmars.models.order_model import shape_of
from jaxmars.provenance import environment
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.train_recipe import about_weights
from jaxmars.tokens.bins import BinConverter
from jaxmars.train.reference_data import ReferencePlan, fit_reference_bins
from jaxmars.train.sources import BINS_SEED


def parents(old: BinConverter, new: BinConverter) -> np.ndarray:
    """The old slot of the middle of every new one, `[new slots]`."""
    middles = [
        values[len(values) // 2] if len(values) else edge
        for values, edge in zip(new.values, new.edges[1:], strict=True)
    ]
    return old.encode(np.array(middles))


def finer(model: OrderModel, prices: int, intervals: int) -> OrderModel:
    """The model with bins fitted anew and its parameters copied to them."""
    if model.config.head != "factored" or model.converters is None:
        raise InputError("the model has no factored head or no bins, expected both")
    config = dataclasses.replace(
        model.config, num_bins_price_level=prices, num_bins_order_interval=intervals
    )
    fitted, domain = fit_reference_bins(BINS_SEED, reference_market(), config, ReferencePlan())
    old = model.converters
    converters = old._replace(price_level=fitted.price_level, order_interval=fitted.order_interval)
    price = parents(old.price_level, converters.price_level)
    interval = parents(old.order_interval, converters.order_interval)
    types, was, volumes, _ = model.config.slot_shape
    picks = np.concatenate([np.arange(types), types + price])
    more = np.concatenate([picks, types + was + np.arange(volumes)])
    embedding, head = dict(model.params["embedding"]), dict(model.params["head"])
    take = lambda table, rows: {"weight": jnp.asarray(table["weight"])[rows]}
    copied = lambda stage, slots: {"kernel": jnp.asarray(stage["out"]["kernel"])[:, slots]}
    embedding["price"] = take(embedding["price"], price)
    embedding["interval"] = take(embedding["interval"], interval)
    head["price"] = head["price"] | {"out": copied(head["price"], price)}
    head["volume"] = head["volume"] | {"picks": take(head["volume"]["picks"], picks)}
    head["interval"] = head["interval"] | {
        "picks": take(head["interval"]["picks"], more),
        "out": copied(head["interval"], interval),
    }
    return OrderModel(
        config,
        shape_of(config)[0],
        {**model.params, "embedding": embedding, "head": head},
        converters,
        {"domain": domain._asdict(), "orders_seen": model.manifest.get("orders_seen")},
    )


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
        grown = finer(model, args.prices, args.intervals)
        before = {"from": about_weights(model, args.model)}
        grown.save(args.out, {**grown.manifest, **environment(), **before})
    except InputError as error:
        print(f"finer_bins: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
