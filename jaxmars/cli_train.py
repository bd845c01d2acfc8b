"""Trains an order model on a dataset or on the reference market.

    jaxmars train --example > train.toml
    jaxmars train --config train.toml --out out/train

Writes into the folder: model/ (the weights, for --model of the other commands), checkpoints/,
metrics.jsonl, metrics.csv, loss.png, and tensorboard/ for `tensorboard --logdir`. A run that was
stopped, by Ctrl-C or by anything else, goes on from its last checkpoint when it is started again
with the same file and folder.
"""

import argparse
import contextlib
import math
import pathlib
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jaxmars.cli_pace import prepare_jax
from jaxmars.errors import InputError
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.train.run import Line, Run

NAME = "train"
HELP = "train an order model on order tokens or on the reference market"
STOPPING = (signal.SIGINT, signal.SIGTERM)
MINUTE = 60


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add = parser.add_argument
    add("--config", type=pathlib.Path, metavar="FILE", help="TOML file of the run")
    add("--example", action="store_true", help="print a commented file and stop")
    add(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("out/train"),
        metavar="FOLDER",
        help="folder of the run, gone on with if it holds this run (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """File, run, files."""
    from jaxmars.tasks.train_recipe import example, read_run

    if args.example:
        print(example(), end="")
        return
    if args.config is None:
        raise InputError("--config is missing; jaxmars train --example prints a file for it")
    check_out(args.out, ("config.json", "metrics.jsonl", "metrics.csv", "loss.png"))
    prepare_jax()
    from jaxmars.provenance import environment
    from jaxmars.tasks.train_files import write_losses
    from jaxmars.train.loop import TrainingError
    from jaxmars.train.run import train

    job = read_run(args.config, args.out, environment())
    announce(job)
    title = f"{model_text(job)}, {job.source.text}"
    with stop_softly() as stopped:
        try:
            model = train(job, lambda line: show(line) and not stopped)
        except TrainingError as error:
            write_losses(args.out, title)
            raise InputError(str(error)) from None
    write_losses(args.out, title)
    done = model.manifest["steps_done"]
    if done < job.cfg.steps:
        print(f"stopped at step {done}; the same command goes on from there", file=sys.stderr)
    report(job, model.manifest)


@contextlib.contextmanager
def stop_softly() -> Iterator[list[int]]:
    """While it is open, the first signal to stop is only noted in the list it gives; a second one
    stops at once."""
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)
        print("\nstopping at the next line of progress, with a checkpoint", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def model_text(job: "Run") -> str:
    """The model in a few words."""
    config = job.model.config
    return (
        f"{job.model.num_params:,} parameters ({config.num_layers} layers of {config.emb_dim}, "
        f"{config.head} head, window {config.num_max_orders})"
    )


def announce(job: "Run") -> None:
    """What is trained on what, before the first step."""
    import jax

    from jaxmars.train.flops import flops_per_order, peak_flops

    peak, where = peak_flops(job.cfg.bfloat16)
    orders = job.cfg.steps * job.cfg.batch * job.model.config.num_max_orders
    print(f"{model_text(job)} on {job.source.text}")
    print(
        f"{job.cfg.steps:,} steps of {job.cfg.batch} windows, {orders:,} orders, "
        f"{flops_per_order(job.model.config) / 1e6:.3g} MFLOP each; {jax.device_count()} devices, "
        f"peak {peak / 1e9:,.0f} GFLOP/s ({where})",
        flush=True,
    )


def show(line: "Line") -> bool:
    """A line of progress on stderr; True."""
    progress = line.progress
    per_step = progress.seconds / max(progress.step - line.first, 1)
    left = (line.steps - progress.step) * per_step / MINUTE
    held_out = ""
    if line.validation is not None:
        held_out = f"  validation {with_error(line.validation, line.validation_error)}"
    print(
        f"step {progress.step:,}/{line.steps:,}  loss {progress.loss:.4f} nats/order  "
        f"{progress.orders_per_second:,.0f} orders/s  utilisation {line.utilisation:.1%}  "
        f"{left:,.0f} min left{held_out}",
        file=sys.stderr,
        flush=True,
    )
    return True


def report(job: "Run", manifest: Mapping[str, Any]) -> None:
    """The result on stdout."""
    loss, error = manifest["validation_loss_nats"], manifest["validation_loss_standard_error"]
    if loss is not None:
        print(f"validation loss {with_error(loss, error)} nats per order")
    print(f"wrote {job.out}/model, metrics.csv, loss.png")


def with_error(loss: float, error: float | None) -> str:
    """A loss with its standard error, if that is known: one window does not tell."""
    return f"{loss:.4f}" if error is None or math.isnan(error) else f"{loss:.4f} ± {error:.4f}"
