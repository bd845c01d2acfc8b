"""Trains an order model on the reference market, or on the earlier hours of a LOBSTER day.

python scripts/train_order_model.py --out weights/default
python scripts/train_order_model.py --lobster MESSAGE.csv BOOK.csv --until 10:30:00 --out DIR
"""

import argparse
import dataclasses
import itertools
import pathlib
import sys

import jax
import numpy as np

from jaxmars import __version__, devices
from jaxmars.cli_values import clock_time
from jaxmars.config import OrderModelConfig, TrainConfig
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.tokens.bins import Converters
from jaxmars.train.loop import Progress, TrainingError, fit
from jaxmars.train.losses import evaluate
from jaxmars.train.sources import Source, lobster_source, reference_source


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Formatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="model folder to write")
    parser.add_argument(
        "--lobster",
        nargs=2,
        metavar=("MESSAGE", "BOOK"),
        help="recorded day; without it the reference market is the teacher",
    )
    parser.add_argument("--init", help="model folder to go on from, with its bins")
    parser.add_argument("--until", type=clock_time, help="last moment used of the recorded day")
    for field in dataclasses.fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        kind = type(field.default)
        parser.add_argument(flag, type=kind, default=field.default, help=f"{field.default}")
    return parser.parse_args(argv)


class Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the usage lines of the docstring and prints defaults."""


def first_model(source: Source, cfg: TrainConfig, init: str | None) -> OrderModel:
    """A model with random parameters, or the one to go on from."""
    if init is None:
        model = OrderModel.init(source.model, jax.random.key(cfg.seed))
        return dataclasses.replace(model, converters=source.converters)
    model = OrderModel.from_pretrained(init)
    if model.converters is None or not same_bins(model.converters, source.converters):
        raise InputError(f"{init} has other bins than this training flow, expected the same")
    return model


def same_bins(a: Converters, b: Converters) -> bool:
    """Whether two sets of converters encode alike."""
    pairs = zip(a, b, strict=True)
    return all(np.array_equal(x.edges, y.edges) for x, y in pairs)


def train(source: Source, cfg: TrainConfig, out: pathlib.Path, init: str | None) -> None:
    """Fits a model to a source and writes its folder, also at every line of progress."""
    model = first_model(source, cfg, init)
    print(f"{model.num_params:,} parameters, {source.text}", flush=True)
    rng = np.random.default_rng(cfg.seed)
    validation = list(itertools.islice(source.validation(cfg.batch), source.validation_batches))

    def save(progress: Progress, params) -> None:
        manifest = {
            "made_by": f"jaxmars {__version__}, scripts/train_order_model.py",
            "trained_on": source.text,
            "went_on_from": init,
            "train": dataclasses.asdict(cfg),
            "steps_done": progress.step,
            "train_loss_nats": progress.loss,
            "domain": source.domain._asdict(),
            "tick_size": source.market.tick_size,
            "licence": source.licence,
        }
        if progress.step == cfg.steps:
            loss, error = evaluate(model.graphdef, params, validation)
            manifest["validation_loss_nats"] = loss
            manifest["validation_loss_standard_error"] = error
            print(f"validation loss {loss:.4f} +- {error:.4f} nats per order", flush=True)
        params = jax.tree.map(np.asarray, params)
        dataclasses.replace(model, params=params).save(out, manifest)

    def report(progress: Progress, params) -> None:
        print(
            f"step {progress.step}/{cfg.steps}  loss {progress.loss:.4f}  "
            f"{progress.orders_per_second:,.0f} orders/s  {progress.seconds:.0f} s",
            flush=True,
        )
        save(progress, params)

    fit(model.graphdef, model.params, source.training(cfg.batch, rng), cfg, report)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    devices.use_all_cores()
    try:
        values = {f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig)}
        cfg = TrainConfig(**values)
        if args.lobster:
            if args.until is None:
                raise InputError("--lobster needs --until HH:MM:SS, the last moment to train on")
            source = lobster_source(*args.lobster, args.until, OrderModelConfig.default())
        else:
            source = reference_source(cfg.seed, OrderModelConfig.default())
        train(source, cfg, args.out, args.init)
    except (InputError, TrainingError, ValueError) as error:
        print(f"train_order_model: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
