"""What training minimises: nats per order."""

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmars.models.decoder import OrderNet
from jaxmars.models.embedding import split_index
from jaxmars.types import Params


class Batch(NamedTuple):
    """Windows to learn from."""

    rows: (
        np.ndarray | jax.Array
    )  # int32[batch, length + 1, columns], row i + 1 is the label of row i
    # bool[batch, length + 1]: whether the row is an order the model should learn to write; orders
    # of outside traders are read as context only
    own: np.ndarray | jax.Array


def all_own(rows: np.ndarray) -> Batch:
    """Windows `[batch, length + 1, columns]` of which every order is to be learnt."""
    return Batch(rows, np.ones(rows.shape[:2], bool))


def order_loss(net: OrderNet, rows: jax.Array, drops: jax.Array | None = None) -> jax.Array:
    """Negative log-likelihood of each next order of a window, `[length - 1]` float32 nats.

    Args:
      net: the model.
      rows: `[length, columns]` int32; row i + 1 is the label of position i.
      drops: key of the attention dropout of training, None for none.
    """
    hidden = net.encode(rows[:-1], drops)
    labels = jax.vmap(split_index, (0, None))(rows[1:, 0], net.cfg)
    return -jax.vmap(net.head.log_prob)(hidden, labels)


def sum_loss(net: OrderNet, batch: Batch, drops: jax.Array | None = None) -> jax.Array:
    """Sum of the `order_loss` of the orders to be learnt, float32[] nats.

    Args:
      net: the model.
      batch: windows.
      drops: key of the attention dropout of training, None for none.
    """
    each = None if drops is None else jax.random.split(drops, len(batch.rows))
    losses = jax.vmap(order_loss, (None, 0, 0))(net, jnp.asarray(batch.rows), each)
    return jnp.sum(losses * batch.own[:, 1:])


def num_labels(batch: Batch) -> jax.Array:
    """Orders to be learnt in a batch, float32[]."""
    return jnp.sum(batch.own[:, 1:], dtype=jnp.float32)


def mean_loss(net: OrderNet, batch: Batch) -> jax.Array:
    """Mean `order_loss` of the orders to be learnt, float32[] nats per order; 0 without any."""
    return sum_loss(net, batch) / jnp.maximum(num_labels(batch), 1)


@functools.partial(jax.jit, static_argnums=0)
def position_losses(graphdef: nnx.GraphDef, params: Params, windows: jax.Array) -> jax.Array:
    """`order_loss` of a batch of windows `[batch, length, columns]`: `[batch, length - 1]` nats."""
    net = nnx.merge(graphdef, params)
    return jax.vmap(order_loss, (None, 0))(net, windows)


def evaluate(
    graphdef: nnx.GraphDef, params: Params, batches: Iterable[Batch]
) -> tuple[float, float]:
    """Mean loss over the orders to be learnt, and its standard error over windows, nats per order.

    The error is that of a ratio of sums over windows, which are taken as independent; nan for one
    window, which does not tell.
    """
    sums, counts = [], []
    for batch in batches:
        own = np.asarray(batch.own)[:, 1:]
        losses = np.asarray(position_losses(graphdef, params, jnp.asarray(batch.rows, jnp.int32)))
        sums.append((losses * own).sum(1, dtype=np.float64))
        counts.append(own.sum(1))
    total, count = np.concatenate(sums), np.concatenate(counts)
    mean = total.sum() / max(count.sum(), 1)
    if len(total) == 1:
        return float(mean), math.nan
    spread = (total - mean * count).std(ddof=1) / max(count.mean(), 1)
    return float(mean), float(spread / np.sqrt(len(total)))
