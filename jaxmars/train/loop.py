"""Fitting an order model: AdamW, warm-up and cosine, one compiled step."""

import functools
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxmars.errors import InputError
from jaxmars.train.losses import Batch, num_labels, sum_loss
from jaxmars.train.settings import TrainConfig
from jaxmars.train.sharding import divide, divided, gather, split_batches
from jaxmars.types import Params

BETAS = (0.9, 0.95)
STACKED = "layers/"  # parameters with a leading axis of layers
TABLE = "weight"  # last part of the name of a table of learned vectors
STEPS_AHEAD = 2  # steps handed to the devices before the host waits


class TrainState(NamedTuple):
    """What training goes on from. Arrays are divided over the devices (`train.sharding`)."""

    params: Params  # float32
    optimizer: optax.OptState
    step: jax.Array  # [] int32, steps done


class StepResult(NamedTuple):
    """What a step tells."""

    loss: jax.Array  # [] float32, nats per order, before the step
    gradient_norm: jax.Array  # [] float32, before clipping


class Progress(NamedTuple):
    """One line of progress."""

    step: int
    loss: float  # nats per order, mean since the last line
    gradient_norm: float  # mean since the last line
    learning_rate: float  # of the last step
    orders_per_second: float  # since the last line
    seconds: float  # since the start


class TrainingError(RuntimeError):
    """Training cannot go on; says at which step and why."""


def schedule(cfg: TrainConfig) -> optax.Schedule:
    """Learning rate by step: linear warm-up, then cosine decay."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=cfg.learning_rate,
        warmup_steps=cfg.warmup,
        decay_steps=max(cfg.steps, cfg.warmup + 1),
        end_value=cfg.learning_rate * cfg.final_fraction,
    )


def optimizer(cfg: TrainConfig) -> optax.GradientTransformation:
    """AdamW with clipping; vectors are not decayed."""
    matrices = lambda params: jax.tree_util.tree_map_with_path(_is_matrix, params)
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        optax.adamw(
            schedule(cfg), b1=BETAS[0], b2=BETAS[1], weight_decay=cfg.weight_decay, mask=matrices
        ),
    )


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_matrix(path: tuple, leaf: jax.Array) -> bool:
    """Whether a parameter has two axes or more besides the one along which layers are stacked."""
    return leaf.ndim - _name(path).startswith(STACKED) > 1


def to_bfloat16(params: Params) -> Params:
    """The weights to compute with in bfloat16. Tables of learned vectors stay float32: the gradient
    of a row is a sum over every order that reads it, too many for eight bits of mantissa."""

    def cast(path: tuple, leaf: jax.Array) -> jax.Array:
        table = _is_matrix(path, leaf) and _name(path).endswith(TABLE)
        return leaf if table else leaf.astype(jnp.bfloat16)

    return jax.tree_util.tree_map_with_path(cast, params)


def init_state(params: Params, cfg: TrainConfig) -> TrainState:
    """The state before the first step; `params` are left as they are."""

    def build(params: Params) -> TrainState:
        params = jax.tree.map(jnp.copy, params)
        return TrainState(params, optimizer(cfg).init(params), jnp.int32(0))

    shardings = jax.tree.map(divided, jax.eval_shape(build, params))
    return jax.jit(build, out_shardings=shardings)(params)


@functools.cache
def make_step(
    graphdef: nnx.GraphDef, cfg: TrainConfig
) -> Callable[[TrainState, Batch], tuple[TrainState, StepResult]]:
    """The compiled step, one per model and configuration. It takes the state's memory and batches
    `[accumulate, batch, …]`."""
    tx, parts = optimizer(cfg), cfg.accumulate

    def loss_of(params: Params, part: Batch, drops: jax.Array) -> jax.Array:
        return sum_loss(nnx.merge(graphdef, params), part, drops)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepResult]:
        used = gather(to_bfloat16(state.params) if cfg.bfloat16 else state.params)
        drops = jax.random.split(jax.random.fold_in(jax.random.key(cfg.seed), state.step), parts)

        def add(total: tuple, item: tuple[Batch, jax.Array]) -> tuple[tuple, None]:
            part, drop = item
            loss, grads = jax.value_and_grad(loss_of)(used, part, drop)
            grads = divide(jax.tree.map(lambda x: x.astype(jnp.float32), grads))
            return jax.tree.map(jnp.add, total, (loss, grads, num_labels(part))), None

        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params), jnp.zeros(()))
        (loss, grads, count), _ = jax.lax.scan(add, zero, (batch, drops))
        count = jnp.maximum(count, 1)
        grads = jax.tree.map(lambda x: x / count, grads)
        updates, moments = tx.update(grads, state.optimizer, state.params)
        params = divide(optax.apply_updates(state.params, updates))
        result = StepResult(loss / count, optax.tree.norm(grads))
        return TrainState(params, divide(moments), state.step + 1), result

    return jax.jit(step, donate_argnums=0)


def place(batch: Batch, cfg: TrainConfig) -> Batch:
    """A batch of `cfg.batch` windows cut into the parts of a step, on the devices.

    Raises:
      InputError: it does not fit the devices.
    """
    parts = jax.tree.map(lambda x: np.reshape(x, (cfg.accumulate, -1, *x.shape[1:])), batch)
    count = jax.device_count()
    if parts.rows.shape[1] % count:
        raise InputError(
            f"{parts.rows.shape[1]} windows are computed at a time, expected a multiple of the "
            f"{count} devices: change batch or accumulate"
        )
    return jax.device_put(parts, split_batches())


def fit(
    graphdef: nnx.GraphDef,
    state: TrainState,
    batches: Iterable[Batch],
    cfg: TrainConfig,
    report: Callable[[Progress, TrainState], bool],
) -> TrainState:
    """Trains up to step `cfg.steps` or until the batches end.

    Args:
      graphdef: of an `OrderNet`.
      state: from `init_state`, or where an earlier run stopped; its memory is taken.
      batches: windows of one length, those of step `state.step` + 1 first.
      cfg: the run; batches are divided over all devices.
      report: called at every step that `cfg.report_every` divides and after the last, with the
        progress and the state, whose memory the next step takes. Training ends when it returns
        False.

    Returns:
      The state after the last step.

    Raises:
      TrainingError: the loss or the gradient norm is not finite.
      InputError: batches that the devices cannot divide.
    """
    advance, rate = make_step(graphdef, cfg), schedule(cfg)
    step = int(state.step)
    begin = mark = time.perf_counter()
    results: list[StepResult] = []
    orders = 0
    for batch in batches if step < cfg.steps else ():
        state, result = advance(state, place(batch, cfg))
        step += 1
        results.append(result)
        orders += batch.rows.shape[0] * (batch.rows.shape[1] - 1)
        if len(results) > STEPS_AHEAD:
            jax.block_until_ready(results[-STEPS_AHEAD - 1])
        if step % cfg.report_every == 0 or step == cfg.steps:
            loss, norm = _means(results, step)
            now = time.perf_counter()
            speed = orders / (now - mark)
            line = Progress(step, loss, norm, float(np.asarray(rate(step - 1))), speed, now - begin)
            results, orders = [], 0
            if not report(line, state):
                break
            mark = time.perf_counter()
        if step == cfg.steps:
            break
    if results:
        _means(results, step)
    return state


def _means(results: list[StepResult], step: int) -> tuple[float, float]:
    """Mean loss and gradient norm; `TrainingError` unless those of every step are finite."""
    loss, norm = (float(np.mean([np.asarray(x) for x in xs])) for xs in zip(*results, strict=True))
    for name, value in (("loss", loss), ("gradient norm", norm)):
        if not np.isfinite(value):
            raise TrainingError(f"the {name} is {value} at step {step}, expected a finite number")
    return loss, norm


@jax.jit
def _all_finite(params: Params) -> jax.Array:
    return jnp.all(jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(params)]))


def check_finite(state: TrainState) -> None:
    """Refuses parameters that are not worth keeping.

    Raises:
      TrainingError: one of them is not finite.
    """
    if not bool(_all_finite(state.params)):
        raise TrainingError(
            f"a parameter is nan or infinite at step {int(state.step)}, expected finite numbers"
        )
