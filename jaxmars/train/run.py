"""A training run in a folder: checkpoints, validation, logs and weights; it goes on where it was.

The folder holds `config.json` (what the run is), `checkpoints/`, `metrics.jsonl`, `tensorboard/`
and `model/`, the weights of the newest checkpoint. A run that was stopped, by whatever, is started
again with the same call; its losses are those it would have had, on the same devices to the last
bit or nearly so (a program compiled anew may round one order's loss differently).
"""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmars import devices
from jaxmars.files import alone, claim
from jaxmars.models import OrderModel
from jaxmars.train.checkpoint import Checkpoints
from jaxmars.train.flops import flops_per_order, peak_flops
from jaxmars.train.log import Log
from jaxmars.train.loop import (
    Progress,
    TrainingError,
    TrainState,
    check_finite,
    fit,
    init_state,
)
from jaxmars.train.losses import Batch, evaluate
from jaxmars.train.settings import TrainConfig
from jaxmars.train.sources import Source
from jaxmars.train.streams import Stream

CONFIG, CHECKPOINTS, WEIGHTS = "config.json", "checkpoints", "model"
KIND = "training run"
LOSS, ERROR = "validation_loss_nats", "validation_loss_standard_error"  # in the manifest


class Run(NamedTuple):
    """What to train and where."""

    source: Source
    model: OrderModel  # the first parameters, with the converters of the source
    cfg: TrainConfig
    out: pathlib.Path
    about: dict[str, Any]  # what the run is, JSON; a folder goes on only with an equal one
    made_by: dict[str, Any]  # kept in the manifest of the weights


class Line(NamedTuple):
    """One line of progress, as shown."""

    progress: Progress
    first: int  # steps done before this process began
    steps: int  # of the whole run
    utilisation: float  # of the machine's peak
    validation: float | None  # nats per order, at checkpoints
    validation_error: float | None  # standard error over windows, nan for one window


def train(run: Run, watch: Callable[[Line], bool]) -> OrderModel:
    """Trains, or goes on, until `run.cfg.steps`; the weights are those of the newest checkpoint.

    Args:
      run: see there.
      watch: shown every line of progress; when it returns False, training stops there with a
        checkpoint.

    Returns:
      The model as written to `run.out / "model"`.

    Raises:
      InputError: the data or the folder's run are damaged, the folder holds another run, cannot be
        written to, or another process is at work in it.
      TrainingError: the loss, the gradient norm or a parameter is not finite; the last good
        checkpoint stays.
    """
    run.source.verify()
    claim(run.out, run.about, KIND)
    with alone(run.out, KIND), contextlib.closing(Checkpoints(run.out / CHECKPOINTS)) as kept:
        stream = run.source.training(run.cfg.batch, run.cfg.seed)
        state = _first_state(run, kept, stream)
        with contextlib.closing(Log(run.out, int(state.step))) as log:
            return _train_on(run, state, stream, kept, log, watch)


def _first_state(run: Run, checkpoints: Checkpoints, stream: Stream) -> TrainState:
    """The newest checkpoint, with the stream at its place, or the beginning."""
    if checkpoints.latest is None:
        return init_state(run.model.params, run.cfg)
    template = jax.eval_shape(lambda params: init_state(params, run.cfg), run.model.params)
    state, place = checkpoints.restore(template)
    stream.restore(place)
    return state


def _train_on(
    run: Run,
    state: TrainState,
    stream: Stream,
    checkpoints: Checkpoints,
    log: Log,
    watch: Callable[[Line], bool],
) -> OrderModel:
    """`train` with everything open."""
    cfg, first = run.cfg, int(state.step)
    held_out = _held_out(run)
    cost = flops_per_order(run.model.config)
    peak, _ = peak_flops(cfg.bfloat16)

    def report(progress: Progress, state: TrainState) -> bool:
        used = progress.orders_per_second * cost / peak
        numbers = {
            "loss": progress.loss,
            "gradient_norm": progress.gradient_norm,
            "learning_rate": progress.learning_rate,
            "orders_per_second": progress.orders_per_second,
            "utilisation": used,
        }
        line = Line(progress, first, cfg.steps, used, None, None)
        due = progress.step % cfg.save_every == 0 or progress.step == cfg.steps
        if due:
            loss, error = validate(run.model, state, held_out, progress.step)
            numbers |= {"validation": loss, "validation_error": error}
            line = line._replace(validation=loss, validation_error=error)
        log.add(progress.step, numbers)
        goes_on = watch(line)
        if due or not goes_on:
            check_finite(state)
            export(run, state, line)
            checkpoints.save(state, stream.state())  # no batch of a later step is taken yet
        return goes_on

    try:
        fit(run.model.graphdef, state, stream, cfg, report)
    except TrainingError as error:
        last = checkpoints.latest
        kept = "no checkpoint was written yet" if last is None else f"step {last} is kept"
        raise TrainingError(f"{error}; {kept} in {run.out / CHECKPOINTS}") from None
    return _trained(run)


def _trained(run: Run) -> OrderModel:
    """The model as written; an error that is not known, null in the file, is nan."""
    model = OrderModel.from_pretrained(run.out / WEIGHTS)
    loss, error = (model.manifest.get(name) for name in (LOSS, ERROR))
    if loss is None or error is not None:
        return model
    return dataclasses.replace(model, manifest={**model.manifest, ERROR: math.nan})


def _held_out(run: Run) -> list[Batch]:
    """The windows that validate, on the devices."""
    batch = run.cfg.batch // run.cfg.accumulate
    found = run.source.validation(batch, run.cfg.validation_windows)
    even = lambda x: len(x.rows) % jax.device_count() == 0
    place = lambda x: devices.split() if even(x) else devices.everywhere()
    return [jax.device_put(x, place(x)) for x in found]


def validate(
    model: OrderModel, state: TrainState, held_out: list[Batch], step: int
) -> tuple[float, float]:
    """Loss on windows that are not trained on, in float32, and its standard error.

    Raises:
      TrainingError: it is not finite.
    """
    params = jax.device_put(state.params, devices.everywhere())
    loss, error = evaluate(model.graphdef, params, held_out)
    if not np.isfinite(loss):
        raise TrainingError(
            f"the validation loss is {loss} at step {step}, expected a finite number"
        )
    return loss, error


def export(run: Run, state: TrainState, line: Line) -> None:
    """Writes the weights with everything that made them."""
    params = jax.tree.map(np.asarray, state.params)
    error = line.validation_error
    known = error is not None and math.isfinite(error)
    manifest = {
        **run.made_by,
        "trained_on": run.source.text,
        "licence": run.source.licence,
        "train": dataclasses.asdict(run.cfg),
        "steps_done": line.progress.step,
        "orders_seen": line.progress.step * run.cfg.batch * run.model.config.num_max_orders,
        "train_loss_nats": line.progress.loss,
        LOSS: line.validation,
        ERROR: error if known else None,
        "domain": run.source.domain._asdict(),
        "tick_size": run.source.market.tick_size,
    }
    dataclasses.replace(run.model, params=params).save(run.out / WEIGHTS, manifest)
