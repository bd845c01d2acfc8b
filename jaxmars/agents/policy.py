"""How much of the past the order model reads: context policies (DESIGN 2.5).

The released model reads its last W orders and recomputes everything for each new one. Once the
window slides, a key-value cache is no longer that function (deeper layers would still see what has
left), so the choice is between recomputing and letting the context grow and start again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.config import OrderModelConfig
from jaxmars.models.decoder import OrderNet
from jaxmars.tokens.window import Put, Window, keep_last, put, put_sliding

Cache = Any  # a pytree


class ContextPolicy(NamedTuple):
    """Three pure functions, and how often contexts are anchored."""

    segment: int
    """Orders between two calls of `anchor`."""
    anchor: Callable[[OrderNet, Window], tuple[Window, Cache]]
    """(net, window) -> window with room for `segment` orders, cache of it."""
    put: Put
    """How the row of an order enters the window."""
    read: Callable[[OrderNet, Window, Cache], tuple[jax.Array, Cache]]
    """(net, window, cache) -> hidden state after the last order, `[d]`; cache with it. Reading
    twice, or after the last row was rewritten, is fine."""


def exact(segment: int) -> ContextPolicy:
    """The whole window is encoded for every order: the released model's function.

    Args:
      segment: orders per compiled segment; no influence on results.
    """

    def anchor(net: OrderNet, window: Window) -> tuple[Window, Cache]:
        del net
        return window, ()

    def read(net: OrderNet, window: Window, cache: Cache) -> tuple[jax.Array, Cache]:
        hidden = net.encode(window.rows)
        last = jnp.maximum(window.count - 1, 0)
        return lax.dynamic_index_in_dim(hidden, last, 0, keepdims=False), cache

    return ContextPolicy(segment, anchor, put_sliding, read)


def anchored(cfg: OrderModelConfig, growth: int) -> ContextPolicy:
    """The last W - growth orders are encoded, then up to `growth` are decoded with the cache, then
    the context is anchored again. Every hidden state is the model's on a contiguous run of the
    W - growth … W most recent orders.

    Args:
      cfg: the model; W = `num_max_orders`.
      growth: orders between anchors, 1 … W - 1.
    """
    if not 1 <= growth < cfg.num_max_orders:
        raise ValueError(
            f"the growth of an anchored context must lie in [1, {cfg.num_max_orders - 1}] "
            f"(the model's window less one), got {growth}"
        )
    kept = cfg.num_max_orders - growth

    def anchor(net: OrderNet, window: Window) -> tuple[Window, Cache]:
        window = keep_last(window, kept)
        _, cache = net.prefill(window.rows[:kept])
        return window, cache

    def read(net: OrderNet, window: Window, cache: Cache) -> tuple[jax.Array, Cache]:
        last = jnp.maximum(window.count - 1, 0)
        row = lax.dynamic_index_in_dim(window.rows, last, 0, keepdims=False)
        return net.decode(row, last, cache)

    return ContextPolicy(growth, anchor, put, read)
