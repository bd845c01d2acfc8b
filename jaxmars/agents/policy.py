"""How much of the past the order model reads: context policies (DESIGN 2.5).

The released model reads its last W orders and recomputes everything for each new one. Once the
window slides, a key-value cache is no longer that function (deeper layers would still see what has
left), so the choice is between recomputing and letting the context grow and start again.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxmars.config import OrderModelConfig
from jaxmars.models.decoder import KVCache, OrderNet
from jaxmars.tokens.window import Put, Window, keep_last, put, put_sliding

Cache = Any  # a pytree of float arrays
ENCODED_TOGETHER = 4  # contexts that a CPU device encodes side by side


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
        last = jnp.maximum(window.count - 1, 0)
        return _encode_in_turns(_hidden_at, net, window.rows, last), cache

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
        return window, _encode_in_turns(_cache_of, net, window.rows[:kept])

    def read(net: OrderNet, window: Window, cache: Cache) -> tuple[jax.Array, Cache]:
        last = jnp.maximum(window.count - 1, 0)
        row = lax.dynamic_index_in_dim(window.rows, last, 0, keepdims=False)
        return net.decode(row, last, cache)

    return ContextPolicy(growth, anchor, put, read)


def _cache_of(net: OrderNet, rows: jax.Array) -> KVCache:
    """The cache of rows `[length, 15]`."""
    return net.prefill(rows)[1]


def _hidden_at(net: OrderNet, rows: jax.Array, position: jax.Array) -> jax.Array:
    """Hidden state `[d]` after the row at `position`."""
    return lax.dynamic_index_in_dim(net.encode(rows), position, 0, keepdims=False)


def _encode_in_turns(encode: Callable[..., Any], net: OrderNet, *contexts: jax.Array) -> Any:
    """`encode(net, *contexts)`; under `vmap` a CPU runs `ENCODED_TOGETHER` contexts at a time.

    The attention scores of more do not fit its caches: 64 contexts of the built-in model are
    anchored twice as fast in turns, with a seventh of the memory. Each turn takes its contexts from
    all over the batch, so that a batch split over devices stays split.
    """
    graphdef, params = nnx.split(net)

    def alone(params: nnx.State, *contexts: jax.Array) -> Any:
        return encode(nnx.merge(graphdef, params), *contexts)

    def many(num: int, batched: list[Any], params: nnx.State, *contexts: jax.Array) -> Any:
        axes = jax.tree.map(lambda has_axis: 0 if has_axis else None, tuple(batched))
        together = jax.vmap(alone, in_axes=axes)
        width = math.gcd(num, ENCODED_TOGETHER * jax.device_count())

        def in_turns(params: nnx.State, *contexts: jax.Array) -> Any:
            cut = lambda x: x.reshape(width, -1, *x.shape[1:]).swapaxes(0, 1)
            join = lambda x: x.swapaxes(0, 1).reshape(num, *x.shape[2:])
            turns = tuple(cut(x) for x in contexts)
            return jax.tree.map(join, lax.map(lambda turn: together(params, *turn), turns))

        if any(jax.tree.leaves(batched[0])) or not all(batched[1:]):
            found = together(params, *contexts)
        else:
            found = lax.platform_dependent(params, *contexts, cpu=in_turns, default=together)
        return found, jax.tree.map(lambda _: True, found)

    called = jax.custom_batching.custom_vmap(alone)
    called.def_vmap(many)
    return called(params, *contexts)
