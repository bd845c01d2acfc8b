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

from jaxmars import devices
from jaxmars.config import TrainConfig
from jaxmars.train.losses import Batch, mean_loss
from jaxmars.types import Params

BETAS = (0.9, 0.95)
STACKED = "layers/"  # parameters with a leading axis of layers


class Progress(NamedTuple):
    """One line of progress."""

    step: int
    loss: float  # nats per order, mean since the last line
    orders_per_second: float
    seconds: float  # since the start


def optimizer(cfg: TrainConfig) -> optax.GradientTransformation:
    """AdamW with clipping, linear warm-up and cosine decay; vectors are not decayed."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=cfg.learning_rate,
        warmup_steps=cfg.warmup,
        decay_steps=max(cfg.steps, cfg.warmup + 1),
        end_value=cfg.learning_rate * cfg.final_fraction,
    )
    matrices = lambda params: jax.tree_util.tree_map_with_path(_is_matrix, params)
    return optax.chain(
        optax.clip_by_global_norm(cfg.clip),
        optax.adamw(
            schedule, b1=BETAS[0], b2=BETAS[1], weight_decay=cfg.weight_decay, mask=matrices
        ),
    )


def _is_matrix(path: tuple, leaf: jax.Array) -> bool:
    """Whether a parameter has two axes or more besides the one along which layers are stacked."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    return leaf.ndim - name.startswith(STACKED) > 1


class TrainingError(RuntimeError):
    """Training cannot go on; says at which step and why."""


def fit(
    graphdef: nnx.GraphDef,
    params: Params,
    batches: Iterable[Batch],
    cfg: TrainConfig,
    report: Callable[[Progress, Params], None],
) -> Params:
    """Trains for `cfg.steps` steps or until the batches end.

    Args:
      graphdef: of an `OrderNet`.
      params: its parameters; they are left as they are.
      batches: windows of one length.
      cfg: the run; batches are divided over all devices.
      report: called every `cfg.report_every` steps with the progress and the parameters, which are
        given back to the next step: whoever wants to keep them copies them.

    Returns:
      The parameters after the last step.

    Raises:
      TrainingError: the loss is not finite.
    """
    tx = optimizer(cfg)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def train_step(params: Params, state: optax.OptState, windows: Batch):
        loss, grads = jax.value_and_grad(lambda p: mean_loss(nnx.merge(graphdef, p), windows))(
            params
        )
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    if cfg.batch % jax.device_count():
        raise ValueError(
            f"the batch of {cfg.batch} windows must be a multiple of the "
            f"{jax.device_count()} devices"
        )
    params = jax.device_put(jax.tree.map(jnp.copy, params), devices.everywhere())
    state = jax.jit(tx.init, out_shardings=devices.everywhere())(params)
    begin = mark = time.perf_counter()
    losses, orders, step = [], 0, 0
    for step, windows in enumerate(batches, start=1):
        params, state, loss = train_step(params, state, jax.device_put(windows, devices.split()))
        losses.append(loss)
        orders += windows.rows.shape[0] * (windows.rows.shape[1] - 1)
        if step % cfg.report_every == 0 or step == cfg.steps:
            mean = _mean_loss(losses, step)
            now = time.perf_counter()
            report(Progress(step, mean, orders / (now - mark), now - begin), params)
            losses, orders, mark = [], 0, now
        if step == cfg.steps:
            break
    if losses:
        _mean_loss(losses, step)
    return params


def _mean_loss(losses: list[jax.Array], step: int) -> float:
    """The mean of the losses up to a step; `TrainingError` unless it is finite."""
    mean = float(jnp.stack(losses).mean())
    if not np.isfinite(mean):
        raise TrainingError(f"the loss is {mean} at step {step}, expected a finite number")
    return mean
