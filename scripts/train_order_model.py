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
from jaxmars.tokens.domain import domain_from_json
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


def train(source: Source, cfg: TrainConfig, out: pathlib.Path, model: OrderModel) -> None:
    """Fits a model to a source and writes its folder, also at every line of progress."""
    print(f"{model.num_params:,} parameters, {source.text}", flush=True)
    rng = np.random.default_rng(cfg.seed)
    validation = list(itertools.islice(source.validation(cfg.batch), source.validation_batches))

    def save(progress: Progress, params) -> None:
        manifest = {
            "made_by": f"jaxmars {__version__}, scripts/train_order_model.py",
            "trained_on": source.text,
            "train": [*model.manifest.get("train", []), dataclasses.asdict(cfg)],
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


def new_source(args: argparse.Namespace, cfg: TrainConfig) -> Source:
    """The training flow the flags name."""
    if not args.lobster:
        return reference_source(cfg.seed, OrderModelConfig.default())
    if args.until is None:
        raise InputError("--lobster needs --until HH:MM:SS, the last moment to train on")
    message, book = args.lobster
    return lobster_source(message, book, args.until, OrderModelConfig.default())


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    devices.use_all_cores()
    try:
        values = {f.name: getattr(args, f.name) for f in dataclasses.fields(TrainConfig)}
        cfg = TrainConfig(**values)
        if args.init is not None:
            model = OrderModel.from_pretrained(args.init)
            if args.lobster or model.converters is None or "domain" not in model.manifest:
                raise InputError("--init goes on with a model this script trained on the reference")
            known = model.converters, domain_from_json(model.manifest["domain"])
            source = reference_source(cfg.seed, model.config, known)
        else:
            source = new_source(args, cfg)
            model = OrderModel.init(source.model, jax.random.key(cfg.seed))
            model = dataclasses.replace(model, converters=source.converters)
        train(source, cfg, args.out, model)
    except (InputError, TrainingError, ValueError) as error:
        print(f"train_order_model: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
