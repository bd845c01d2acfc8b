"""What training minimises: nats per order."""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmars.models.decoder import OrderNet
from jaxmars.models.embedding import split_index
from jaxmars.types import Params


def order_loss(net: OrderNet, rows: jax.Array) -> jax.Array:
    """Negative log-likelihood of each next order of a window, `[length - 1]` float32 nats.

    Args:
      net: the model.
      rows: `[length, 15]` int32; row i + 1 is the label of position i.
    """
    hidden = net.encode(rows[:-1])
    labels = jax.vmap(split_index, (0, None))(rows[1:, 0], net.cfg)
    return -jax.vmap(net.head.log_prob)(hidden, labels)


def mean_loss(net: OrderNet, windows: jax.Array) -> jax.Array:
    """Mean `order_loss` of a batch of windows `[batch, length, 15]`."""
    return jnp.mean(jax.vmap(order_loss, (None, 0))(net, windows))


@functools.partial(jax.jit, static_argnums=0)
def position_losses(graphdef: nnx.GraphDef, params: Params, windows: jax.Array) -> jax.Array:
    """`order_loss` of a batch of windows `[batch, length, 15]`: `[batch, length - 1]` nats."""
    net = nnx.merge(graphdef, params)
    return jax.vmap(order_loss, (None, 0))(net, windows)


def evaluate(
    graphdef: nnx.GraphDef, params: Params, batches: Iterable[np.ndarray]
) -> tuple[float, float]:
    """Mean loss over batches of windows, and its standard error over windows, nats per order."""
    means = [
        np.asarray(position_losses(graphdef, params, jnp.asarray(windows, jnp.int32))).mean(1)
        for windows in batches
    ]
    losses = np.concatenate(means)
    return float(losses.mean()), float(losses.std(ddof=1) / np.sqrt(len(losses)))
