"""The order model's trunk: a causal decoder over order rows, with a cache of keys and values."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmars.config import OrderModelConfig
from jaxmars.models.embedding import OrderEmbedding
from jaxmars.models.heads import HEADS
from jaxmars.models.layers import Block, RMSNorm, Slots, rotation
from jaxmars.models.scaled import Stored, stored
from jaxmars.tokens.order import NUM_FEATURES, ROW_WIDTH

UNROLLED_LAYERS = 4  # layers per trip of the loop over layers; unrolled, the gradient is 2x faster


class KVCache(NamedTuple):
    """Keys and values of a context, slot = position in it.

    One array per layer, and exactly these layouts. Measured on 2 CPU cores under `vmap` (128
    trajectories, d = 128, 4 layers, window 512, one key/value head): a tuple of arrays decodes 4 to
    5 times as fast as one stacked cache scanned over the layers (10.0k against 2.3k orders/s), and
    keys by [head_dim, slot] with values by [slot, head_dim] is the fastest of five layouts tried.
    """

    k: tuple[Stored, ...]  # per layer [kv_heads, head_dim, slots]
    v: tuple[Stored, ...]  # per layer [kv_heads, slots, head_dim]

    @property
    def slots(self) -> int:
        """Orders it has room for."""
        return jax.tree.leaves(self.k)[0].shape[-1]

    def cut(self, first: int, end: int) -> "KVCache":
        """Slots `first` to `end`, excluded."""
        keys = jax.tree.map(lambda k: k[..., first:end], self.k)
        return KVCache(keys, jax.tree.map(lambda v: v[:, first:end], self.v))

    def taken(self, slots: jax.Array) -> "KVCache":
        """Copies of slots int32[n], in the order given."""
        keys = jax.tree.map(lambda k: k[..., slots], self.k)
        return KVCache(keys, jax.tree.map(lambda v: v[:, slots], self.v))

    def written(self, slots: jax.Array, taken: "KVCache") -> "KVCache":
        """The same with what `taken` holds in slots int32[n], no two of them alike; those outside
        the cache are left out."""
        put = lambda old, new: old.at[..., slots].set(new, mode="drop")
        put_row = lambda old, new: old.at[:, slots].set(new, mode="drop")
        keys = jax.tree.map(put, self.k, taken.k)
        return KVCache(keys, jax.tree.map(put_row, self.v, taken.v))

    def widened(self, slots: int) -> "KVCache":
        """The same with empty slots behind, `slots` in all."""
        free = (0, slots - self.slots)
        keys = jax.tree.map(lambda k: jnp.pad(k, ((0, 0), (0, 0), free)), self.k)
        return KVCache(keys, jax.tree.map(lambda v: jnp.pad(v, ((0, 0), free, (0, 0))), self.v))


def init_cache(cfg: OrderModelConfig, dtype: Any = jnp.float32) -> KVCache:
    """An empty cache of `cfg.num_max_orders` slots, its numbers of this type."""
    keys = jnp.zeros((cfg.kv_heads, cfg.head_dim, cfg.num_max_orders))
    layer = _stored(keys, keys.swapaxes(1, 2), dtype)
    return KVCache((layer[0],) * cfg.num_layers, (layer[1],) * cfg.num_layers)


def _stored(keys: jax.Array, values: jax.Array, dtype: Any) -> tuple[Stored, Stored]:
    """Keys [kv_heads, head_dim, slots] and values [kv_heads, slots, head_dim] of a layer as a
    cache holds them: where a type is narrow, with a scale per slot and head."""
    return stored(keys, 1, dtype), stored(values, 2, dtype)


def _apart(layers: Stored) -> tuple[Stored, ...]:
    """What is stacked [num_layers, ...], layer by layer."""
    leaves, kind = jax.tree.flatten(layers)
    return tuple(kind.unflatten(layer) for layer in zip(*leaves, strict=True))


def _readable(positions: jax.Array, slots: int) -> tuple[jax.Array, jax.Array]:
    """What each of the rows that are decoded one after the other at `positions` int32[n] reads.

    Returns:
      (the slots [n, slots] that none of them has written by its turn; the rows [n, n] up to its own
      that none of them has written over by its turn), bool, none beyond its position.
    """
    turn = jnp.arange(positions.shape[0])
    by_turn = turn[None] <= turn[:, None]  # [reader, writer]
    over = jnp.tril(positions[None] == positions[:, None], -1)  # [writer, earlier writer]
    gone = (by_turn[:, :, None] & over[None]).any(1)
    among = by_turn & ~gone & (positions[None] <= positions[:, None])
    slot = jnp.arange(slots)[None]
    written = (by_turn[:, :, None] & (positions[:, None] == slot)[None]).any(1)
    return ~written & (slot <= positions[:, None]), among


def row_widths(cfg: OrderModelConfig) -> tuple[int, ...]:
    """Columns a row may have: those of the release are enough for a model without summary."""
    return (ROW_WIDTH,) if cfg.has_summary else (NUM_FEATURES, ROW_WIDTH)


class OrderNet(nnx.Module):
    """Order rows to hidden states; `head` turns a hidden state into the next order.

    Everything is unbatched: map over trajectories with `jax.vmap`. The layers' parameters are
    stacked, [num_layers, ...]; `encode` and `prefill` scan over them, `decode` unrolls them. A scan
    over `decode` should be given `unstack()`, see there.
    The dtype of the activations is that of the parameters; a cache may have another one, which
    `cache_dtype` names for `prefill` and which `decode` takes from the cache it is given.
    """

    def __init__(self, cfg: OrderModelConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.embedding = OrderEmbedding(cfg, rngs=rngs)
        graphdef, _ = nnx.split(nnx.eval_shape(lambda: Block(cfg, rngs=nnx.Rngs(0))))
        keys = jax.random.split(rngs.params(), cfg.num_layers)
        stacked = jax.vmap(lambda key: nnx.split(Block(cfg, rngs=nnx.Rngs(key)))[1])(keys)
        self.layers = nnx.merge(graphdef, stacked)
        self.unstacked = nnx.List([])
        self.norm = RMSNorm(cfg.emb_dim)
        self.head = HEADS[cfg.head](cfg, rngs=rngs)
        self.cache_dtype = jnp.dtype(jnp.float32)

    def encode(self, features: jax.Array, drops: jax.Array | None = None) -> jax.Array:
        """Hidden state after each order, computed in one pass over the window.

        Args:
          features: int32[length, columns] (`row_widths`), oldest order first, length <=
            `cfg.num_max_orders`.
          drops: key of the attention dropout of training, None for none.

        Returns:
          float32[length, d], after the final normalisation.
        """
        hidden, _ = self._forward(features, lambda keys, values: None, drops)
        return hidden

    def prefill(self, features: jax.Array) -> tuple[jax.Array, KVCache]:
        """`encode`, and the cache it leaves behind.

        Args:
          features: int32[length, columns] (`row_widths`), oldest order first, length <=
            `cfg.num_max_orders`.

        Returns:
          (hidden float32[length, d], cache of `length` slots).
        """
        keep = functools.partial(_stored, dtype=self.cache_dtype)
        hidden, (keys, values) = self._forward(features, keep)
        return hidden, KVCache(_apart(keys), _apart(values))

    def decode(
        self,
        row: jax.Array,
        position: jax.Array,
        cache: KVCache,
        prefix: KVCache | None = None,
    ) -> tuple[jax.Array, KVCache]:
        """Adds one order to the context, or overwrites the one at `position`.

        Args:
          row: int32[columns].
          position: int32[], of the order in the whole context. It is written to the slot of the
            cache that many places after those of the prefix; later slots are not read, so writing
            an old slot again takes back everything that followed it.
          cache: what `prefill` or an earlier `decode` returned, wide enough (`KVCache.widened`).
          prefix: the context before the cache's first slot; only read, so many caches can share it.

        Returns:
          (hidden float32[d], cache).
        """
        x = self.embedding(row)
        rope = rotation(position, self.cfg)
        length = 0 if prefix is None else prefix.slots
        slot, before = position - length, jnp.ones(length, bool)
        seen = jnp.arange(cache.slots) <= slot
        new_keys, new_values = [], []
        for i, layer in enumerate(self.unstacked or self.layer_list()):
            shared = () if prefix is None else (Slots(prefix.k[i], prefix.v[i], before),)
            x, k, v = layer.decode(x, rope, slot, Slots(cache.k[i], cache.v[i], seen), shared)
            new_keys.append(k)
            new_values.append(v)
        return self.norm(x), KVCache(tuple(new_keys), tuple(new_values))

    def extend(
        self, rows: jax.Array, positions: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """What successive `decode`s of `rows` give, in one pass that reads the cache once.

        A position may occur again: as with `decode`, a row takes the place of the row or slot that
        was there, for itself and for what follows.

        Args:
          rows: int32[n, columns].
          positions: int32[n], of the rows in the context, each inside the cache.
          cache: the context before them; only read.

        Returns:
          (hidden float32[n, d]; the rows' own keys and values, n slots, for `KVCache.written`).
        """
        seen, among = _readable(positions, cache.slots)
        rope = jax.vmap(lambda i: rotation(i, self.cfg))(positions)
        x = jax.vmap(self.embedding)(rows)
        new_keys, new_values = [], []
        for i, layer in enumerate(self.unstacked or self.layer_list()):
            x, k, v = layer.extend(x, rope, Slots(cache.k[i], cache.v[i], seen), among)
            new_keys.append(k)
            new_values.append(v)
        return jax.vmap(self.norm)(x), KVCache(tuple(new_keys), tuple(new_values))

    def unstack(self) -> "OrderNet":
        """The same network with the layers' parameters sliced apart for `decode`.

        Call it outside a scan over `decode`: the slices are copies, and inside they are made again
        for every order. On 2 CPU cores the built-in model decodes 3.1 times as fast with it for one
        trajectory, 1.4 times for 8 and 1.1 times for 128.
        """
        graphdef, state = nnx.split(self)
        net = nnx.merge(graphdef, state)
        net.unstacked = nnx.List(self.layer_list())
        return net

    def layer_list(self) -> tuple[Block, ...]:
        """The layers one by one, each with its slice of the stacked parameters."""
        graphdef, stacked = nnx.split(self.layers)
        return tuple(
            nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[i], stacked))  # noqa: B023
            for i in range(self.cfg.num_layers)
        )

    def _forward(
        self,
        features: jax.Array,
        keep: Callable[[jax.Array, jax.Array], Any],
        drops: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Hidden states [length, d], and what `keep` makes of each layer's keys and values."""
        length = features.shape[0]
        widths = row_widths(self.cfg)
        if features.shape[1:] not in [(x,) for x in widths] or length > self.cfg.num_max_orders:
            raise ValueError(
                f"features must be [length <= {self.cfg.num_max_orders}, "
                f"{' or '.join(map(str, widths))}], got {list(features.shape)}"
            )
        rope = jax.vmap(lambda i: rotation(i, self.cfg))(jnp.arange(length))
        graphdef, stacked = nnx.split(self.layers)

        def layer(x: jax.Array, item: tuple[nnx.State, jax.Array | None]) -> tuple[jax.Array, Any]:
            params, drop = item
            x, (keys, values) = nnx.merge(graphdef, params).sequence(x, rope, drop)
            return x, keep(keys, values)

        each = None if drops is None else jax.random.split(drops, self.cfg.num_layers)
        x, kept = jax.lax.scan(
            layer, jax.vmap(self.embedding)(features), (stacked, each), unroll=UNROLLED_LAYERS
        )
        return jax.vmap(self.norm)(x), kept
