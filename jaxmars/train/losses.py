"""What training minimises: nats per order."""

import jax
import jax.numpy as jnp

from jaxmars.models.decoder import OrderNet
from jaxmars.models.embedding import split_index


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
