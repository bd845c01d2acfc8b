"""How much of the past the order model reads: context policies (DESIGN 2.5).

The released model reads its last W orders and recomputes everything for each new one. Once the
window slides, a key-value cache is no longer that function (deeper layers would still see what has
left), so the choice is between recomputing and letting the context grow and start again.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxmars.config import Context, OrderModelConfig
from jaxmars.models.decoder import KVCache, OrderNet
from jaxmars.tokens.window import Put, Window, keep_last, put, put_sliding

Cache = Any  # a pytree of arrays, of one trajectory
Prefix = Any  # a pytree of arrays, of a start
SHARED_BY = 16  # trajectories; fewer gain less than the second program takes to compile
SHARED_SEGMENTS = 2  # of a trajectory; in a longer one the first matters little
ENCODED_TOGETHER = 4  # contexts that a CPU device encodes side by side
# Numbers in the hidden states of the contexts that another device encodes side by side: enough to
# keep it busy, few enough for the fifth of its memory that is left to programs (`tasks.lane_plan`).
TURN_ELSEWHERE = 2**22


class ContextPolicy(NamedTuple):
    """Pure functions, and how often contexts are anchored."""

    name: str
    """For people."""
    segment: int
    """Orders between two calls of `anchor`."""
    share: Callable[[OrderNet, Window], Prefix]
    """(net, window) -> what all trajectories with this window have in common."""
    anchor: Callable[[OrderNet, Prefix, Window], tuple[Window, Cache]]
    """(net, prefix, window) -> window with room for `segment` orders, cache of it."""
    put: Put
    """How the row of an order enters the window."""
    read: Callable[[OrderNet, Prefix, Window, Cache], tuple[jax.Array, Cache]]
    """(net, prefix, window, cache) -> hidden state after the last order, `[d]`; cache with it.
    Reading twice, or after the last row was rewritten, is fine."""
    opening: "ContextPolicy | None" = None
    """For the first segment of trajectories that begin alike; the same contexts at less cost."""


@functools.cache
def exact(segment: int) -> ContextPolicy:
    """The whole window is encoded for every order: the released model's function.

    Args:
      segment: orders per compiled segment; no influence on results.
    """

    def anchor(net: OrderNet, prefix: Prefix, window: Window) -> tuple[Window, Cache]:
        del net, prefix
        return window, ()

    def read(
        net: OrderNet, prefix: Prefix, window: Window, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        del prefix
        last = jnp.maximum(window.count - 1, 0)
        return _encode_in_turns(_hidden_at, net, window.rows, last), cache

    return ContextPolicy("exact", segment, _share_nothing, anchor, put_sliding, read)


@functools.cache
def anchored(cfg: OrderModelConfig, growth: int) -> ContextPolicy:
    """The last W - growth orders are encoded, then up to `growth` are decoded with the cache, then
    the context is anchored again. Every hidden state is the model's on a contiguous run of the
    W - growth … W most recent orders.

    Args:
      cfg: the model; W = `num_max_orders`.
      growth: orders between anchors, 1 … W - 1.
    """
    kept = _kept(cfg, growth)
    cache_of = functools.partial(_cache_of, slots=cfg.num_max_orders)

    def anchor(net: OrderNet, prefix: Prefix, window: Window) -> tuple[Window, Cache]:
        del prefix
        window = keep_last(window, kept)
        return window, _encode_in_turns(cache_of, net, window.rows[:kept])

    def read(
        net: OrderNet, prefix: Prefix, window: Window, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        del prefix
        return net.decode(*_last_row(window), cache)

    return ContextPolicy(f"anchored({growth})", growth, _share_nothing, anchor, put, read)


@functools.cache
def shared_prefix(cfg: OrderModelConfig, growth: int) -> ContextPolicy:
    """`anchored`, where trajectories that begin alike share the keys and values of their first
    W - growth orders: one copy for all of them, read in one matrix product, and `growth` slots for
    each. The contexts, and so the hidden states up to rounding, are those of `anchored`.

    Once a trajectory has `growth` orders of its own its past is its own, and it goes on as
    `anchored`. Whoever does not run trajectories that begin alike never leaves `anchored`.

    Args:
      cfg: the model; W = `num_max_orders`.
      growth: orders between anchors, 1 … W - 1.
    """
    kept = _kept(cfg, growth)
    common = kept - 1  # a cancel merged into the last order before the start rewrites that order

    def share(net: OrderNet, window: Window) -> Prefix:
        cache = net.prefill(keep_last(window, kept).rows[:kept])[1]
        return (cache.cut(0, common) if common else None), cache.cut(common, kept)

    def anchor(net: OrderNet, prefix: Prefix, window: Window) -> tuple[Window, Cache]:
        del net
        return keep_last(window, kept), prefix[1].widened(growth + 1)

    def read(
        net: OrderNet, prefix: Prefix, window: Window, cache: Cache
    ) -> tuple[jax.Array, Cache]:
        return net.decode(*_last_row(window), cache, prefix[0])

    name = f"shared_prefix({growth})"
    opening = ContextPolicy(name, growth, share, anchor, put, read)
    return anchored(cfg, growth)._replace(name=name, opening=opening)


POLICIES: dict[str, Callable[[OrderModelConfig, int], ContextPolicy]] = {
    Context.EXACT: lambda cfg, growth: exact(growth),
    Context.ANCHORED: anchored,
    Context.SHARED: shared_prefix,
}
"""(model, orders between anchors) -> policy, by the name that users give."""


def choose(cfg: OrderModelConfig, growth: int, alike: int, orders: float) -> ContextPolicy:
    """The cheaper of `anchored` and `shared_prefix`, whose contexts are the same.

    Sharing gains in the first `growth` orders of a trajectory only and costs one more compiled
    program, so it is for short trajectories of which many begin alike.

    Args:
      cfg: the model.
      growth: orders between anchors, 1 … W - 1.
      alike: trajectories that begin alike.
      orders: about how many each will have.
    """
    if alike >= SHARED_BY and orders <= SHARED_SEGMENTS * growth:
        return shared_prefix(cfg, growth)
    return anchored(cfg, growth)


def _kept(cfg: OrderModelConfig, growth: int) -> int:
    """Orders that an anchor encodes."""
    if not 1 <= growth < cfg.num_max_orders:
        raise ValueError(
            f"the growth of an anchored context must lie in [1, {cfg.num_max_orders - 1}] "
            f"(the model's window less one), got {growth}"
        )
    return cfg.num_max_orders - growth


def _share_nothing(net: OrderNet, window: Window) -> Prefix:
    del net, window
    return ()


def _last_row(window: Window) -> tuple[jax.Array, jax.Array]:
    """The last row `[columns]` and its position."""
    last = jnp.maximum(window.count - 1, 0)
    return lax.dynamic_index_in_dim(window.rows, last, 0, keepdims=False), last


def _cache_of(net: OrderNet, rows: jax.Array, *, slots: int) -> KVCache:
    """The cache of rows `[length, columns]`, with empty slots behind them. They are made in each
    turn: added to the caches of all, they would cost a copy of them."""
    return net.prefill(rows)[1].widened(slots)


def _hidden_at(net: OrderNet, rows: jax.Array, position: jax.Array) -> jax.Array:
    """Hidden state `[d]` after the row at `position`."""
    return lax.dynamic_index_in_dim(net.encode(rows), position, 0, keepdims=False)


def _encode_in_turns(
    encode: Callable[..., Any], net: OrderNet, rows: jax.Array, *others: jax.Array
) -> Any:
    """`encode(net, rows, *others)`; under `vmap` a device takes a few contexts `rows` at a time.

    On a CPU the attention scores of more do not fit its caches: 64 contexts of the built-in model
    are anchored twice as fast in turns, with a seventh of the memory. Elsewhere a turn has
    `TURN_ELSEWHERE` numbers at most. It is the largest divisor of the number of contexts.
    """
    elsewhere = max(TURN_ELSEWHERE // (len(rows) * net.cfg.emb_dim), 1)
    graphdef, params = nnx.split(net)

    def alone(params: nnx.State, *contexts: jax.Array) -> Any:
        return encode(nnx.merge(graphdef, params), *contexts)

    def many(num: int, batched: list[Any], params: nnx.State, *contexts: jax.Array) -> Any:
        axes = jax.tree.map(lambda has_axis: 0 if has_axis else None, tuple(batched))
        together = jax.vmap(alone, in_axes=axes)

        def in_turns(most: int, params: nnx.State, *contexts: jax.Array) -> Any:
            width = max(x for x in range(1, min(most, num) + 1) if num % x == 0)
            cut = lambda x: x.reshape(-1, width, *x.shape[1:])
            join = lambda x: x.reshape(num, *x.shape[2:])
            turns = tuple(cut(x) for x in contexts)
            return jax.tree.map(join, lax.map(lambda turn: together(params, *turn), turns))

        if any(jax.tree.leaves(batched[0])) or not all(batched[1:]):
            found = together(params, *contexts)
        else:
            found = lax.platform_dependent(
                params,
                *contexts,
                cpu=functools.partial(in_turns, ENCODED_TOGETHER),
                default=functools.partial(in_turns, elsewhere),
            )
        return found, jax.tree.map(lambda _: True, found)

    called = jax.custom_batching.custom_vmap(alone)
    called.def_vmap(many)
    return called(params, rows, *others)
