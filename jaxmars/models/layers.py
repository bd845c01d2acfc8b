"""Parts of the decoder: normalisation, rotary positions, attention, gated MLP.

The arithmetic is that of LLaMA as the release uses it (weights spec 1.2): no biases, rotary pairs
in half-split form, normalisation and softmax in float32 whatever the dtype of the parameters. Every
module takes one token `[d]` unless its docstring says otherwise; sequences and trajectories come
from `jax.vmap`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmars.config import OrderModelConfig
from jaxmars.models.scaled import Scaled, Stored, dtype_of, stored

ROPE_THETA = 10000.0
RMS_EPSILON = 1e-6
LAYER_NORM_EPSILON = 1e-5
MLP_RATIO = 4
INIT_STD = 0.02
QUERY_BLOCK = 128  # queries of a sequence that meet the keys at a time


class Rotation(NamedTuple):
    """Cosine and sine of the rotary angles of one position."""

    cos: jax.Array  # [head_dim // 2] float32
    sin: jax.Array  # [head_dim // 2] float32


def rotation(position: jax.Array, cfg: OrderModelConfig) -> Rotation:
    """Rotary angles position * frequency of one position, int32[]."""
    angles = position.astype(jnp.float32) * jnp.asarray(frequencies(cfg))
    return Rotation(jnp.cos(angles), jnp.sin(angles))


def frequencies(cfg: OrderModelConfig) -> np.ndarray:
    """theta^(-2i / head_dim), radians per position, float32[head_dim // 2]. With `rounded_rope`
    they are what a model served in half precision has left of them (weights spec 1.5)."""
    exponents = np.arange(0, cfg.head_dim, 2, dtype=np.float32) / np.float32(cfg.head_dim)
    exact = (1.0 / np.float32(ROPE_THETA) ** exponents).astype(np.float32)
    return exact.astype(np.float16).astype(np.float32) if cfg.rounded_rope else exact


def rotate(x: jax.Array, rope: Rotation) -> jax.Array:
    """Rotates each head of `x` [heads, head_dim]; dimension i is paired with i + head_dim / 2."""
    low, high = jnp.split(x, 2, axis=-1)
    cos, sin = rope.cos.astype(x.dtype)[None], rope.sin.astype(x.dtype)[None]
    return jnp.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)


def linear(inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """A projection without bias; its kernel is [inputs, outputs]."""
    init = jax.nn.initializers.normal(INIT_STD)
    return nnx.Linear(inputs, outputs, use_bias=False, kernel_init=init, rngs=rngs)


class Slots(NamedTuple):
    """Keys and values that a query may read. Narrow ones have a scale per slot and head."""

    keys: Stored  # [kv_heads, head_dim, slots]
    values: Stored  # [kv_heads, slots, head_dim]
    seen: jax.Array  # [slots] bool, those the query may read


def scores_of(query: jax.Array, keys: Stored) -> jax.Array:
    """Products [kv_heads, group, slots] float32 of a query [kv_heads, group, head_dim]."""
    if isinstance(keys, Scaled):
        return scores_of(query, keys.data.astype(query.dtype)) * keys.scale
    return jnp.einsum("kgd,kdw->kgw", query, keys, preferred_element_type=jnp.float32)


def mixed_by(weights: jax.Array, values: Stored, dtype: Any) -> jax.Array:
    """The sum [kv_heads, group, head_dim] of values by weights [kv_heads, group, slots] float32."""
    if isinstance(values, Scaled):
        return mixed_by(weights * values.scale.swapaxes(1, 2), values.data.astype(dtype), dtype)
    return jnp.einsum("kgw,kwd->kgd", weights.astype(values.dtype), values).astype(dtype)


def attention(query: jax.Array, parts: Sequence[Slots]) -> jax.Array:
    """One query against a context that may lie in several parts.

    The softmax runs over all parts together, so how a context is cut changes rounding only. Under
    `vmap` a part that is not batched is read by all queries in one matrix product.

    Args:
      query: [kv_heads, group, head_dim], already scaled.
      parts: at least one slot of them is seen.

    Returns:
      Values of the context, averaged for each head, [kv_heads, group, head_dim].
    """
    scores = [
        jnp.where(part.seen[None, None], scores_of(query, part.keys), -jnp.inf) for part in parts
    ]
    weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1)
    mixed, first = jnp.zeros(query.shape, query.dtype), 0
    for part in parts:
        end = first + part.seen.shape[0]
        mixed += mixed_by(weights[..., first:end], part.values, query.dtype)
        first = end
    return mixed


class RMSNorm(nnx.Module):
    """x / rms(x) in float32, cast back, then times the weight."""

    def __init__(self, width: int):
        self.weight = nnx.Param(jnp.ones((width,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises one vector [width]."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(wide * wide) + RMS_EPSILON)
        return (wide * scale).astype(x.dtype) * self.weight[...]


class LayerNorm(nnx.Module):
    """Layer normalisation with weight and bias, biased variance, epsilon 1e-5."""

    def __init__(self, width: int):
        self.weight = nnx.Param(jnp.ones((width,)))
        self.bias = nnx.Param(jnp.zeros((width,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises one vector [width]."""
        wide = x.astype(jnp.float32)
        centred = wide - jnp.mean(wide)
        scale = jax.lax.rsqrt(jnp.mean(centred * centred) + LAYER_NORM_EPSILON)
        return (centred * scale).astype(x.dtype) * self.weight[...] + self.bias[...]


class Attention(nnx.Module):
    """Causal self-attention; query head i reads key/value head i // (num_heads / kv_heads)."""

    def __init__(self, cfg: OrderModelConfig, *, rngs: nnx.Rngs):
        self.kv_heads = cfg.kv_heads
        self.group = cfg.num_heads // cfg.kv_heads
        self.head_dim = cfg.head_dim
        self.dropout = cfg.dropout
        kv_width = cfg.kv_heads * cfg.head_dim
        self.query = linear(cfg.emb_dim, cfg.emb_dim, rngs=rngs)
        self.key = linear(cfg.emb_dim, kv_width, rngs=rngs)
        self.value = linear(cfg.emb_dim, kv_width, rngs=rngs)
        self.out = linear(cfg.emb_dim, cfg.emb_dim, rngs=rngs)

    def project(self, x: jax.Array, rope: Rotation) -> tuple[jax.Array, jax.Array, jax.Array]:
        """One token [d] to query [kv_heads, group, head_dim], key and value [kv_heads, head_dim].

        The query carries the score scale head_dim^-0.5.
        """
        query = rotate(self.query(x).reshape(-1, self.head_dim), rope) * self.head_dim**-0.5
        key = rotate(self.key(x).reshape(-1, self.head_dim), rope)
        value = self.value(x).reshape(-1, self.head_dim)
        return query.reshape(self.kv_heads, self.group, self.head_dim), key, value

    def attend(self, query: jax.Array, parts: Sequence[Slots]) -> jax.Array:
        """`attention`, and the layer's projection of what it gives: [d]."""
        return self.out(attention(query, parts).reshape(-1))

    def attend_causally(
        self, query: jax.Array, keys: jax.Array, values: jax.Array, drops: jax.Array | None
    ) -> jax.Array:
        """Every query of a sequence against the keys up to its own position.

        Queries are taken `QUERY_BLOCK` at a time, each block against the keys up to its end, so
        that most of the masked half is never computed. The queries of a group are laid out as one
        matrix, so that each key/value head costs one matrix product. On 2 CPU cores the second
        made the gradient of a batch of windows 2.5 times as fast, the first another 1.2 times.

        Args:
          query: [length, kv_heads, group, head_dim], already scaled.
          keys: [kv_heads, head_dim, length].
          values: [kv_heads, length, head_dim].
          drops: key; with it every attention weight is zero with probability `dropout` and the
            others are larger by 1 / (1 - dropout), as in training.

        Returns:
          [length, d].
        """
        length = query.shape[0]
        mixed = []
        for first in range(0, length, QUERY_BLOCK):
            end = min(first + QUERY_BLOCK, length)
            drop = None if drops is None else jax.random.fold_in(drops, first)
            mixed.append(
                self._attend_block(query[first:end], keys[..., :end], values[:, :end], first, drop)
            )
        return jax.vmap(self.out)(jnp.concatenate(mixed))

    def _attend_block(
        self,
        query: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        first: int,
        drop: jax.Array | None,
    ) -> jax.Array:
        """Queries `[block, kv_heads, group, head_dim]` from position `first` on against the keys
        and values up to the last of them: [block, d], before the output projection."""
        block, end = query.shape[0], keys.shape[-1]
        rows = query.transpose(1, 2, 0, 3).reshape(self.kv_heads, -1, self.head_dim)
        scores = jnp.einsum("krd,kdw->krw", rows, keys, preferred_element_type=jnp.float32)
        scores = scores.reshape(self.kv_heads, self.group, block, end)
        seen = jnp.arange(end)[None] <= jnp.arange(first, end)[:, None]
        scores = jnp.where(seen[None, None], scores, -jnp.inf)
        weights = jax.nn.softmax(scores, axis=-1)
        if drop is not None and self.dropout:
            stays = jax.random.bernoulli(drop, 1 - self.dropout, weights.shape)
            weights = jnp.where(stays, weights / (1 - self.dropout), 0)
        weights = weights.astype(values.dtype).reshape(self.kv_heads, -1, end)
        mixed = jnp.einsum("krw,kwd->krd", weights, values)
        mixed = mixed.reshape(self.kv_heads, self.group, block, self.head_dim)
        return mixed.transpose(2, 0, 1, 3).reshape(block, -1)


class GatedMLP(nnx.Module):
    """down(silu(gate(x)) * up(x)), inner width 4d."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.gate = linear(width, MLP_RATIO * width, rngs=rngs)
        self.up = linear(width, MLP_RATIO * width, rngs=rngs)
        self.down = linear(MLP_RATIO * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """One token [d] to [d]."""
        return self.down(jax.nn.silu(self.gate(x)) * self.up(x))


class Block(nnx.Module):
    """One decoder layer: x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, cfg: OrderModelConfig, *, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(cfg.emb_dim)
        self.attention = Attention(cfg, rngs=rngs)
        self.mlp_norm = RMSNorm(cfg.emb_dim)
        self.mlp = GatedMLP(cfg.emb_dim, rngs=rngs)

    def sequence(
        self, x: jax.Array, rope: Rotation, drops: jax.Array | None = None
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """A whole sequence under the causal mask.

        Args:
          x: [length, d].
          rope: angles of positions 0 … length - 1, each field [length, head_dim // 2].
          drops: key of the attention dropout of training.

        Returns:
          (x [length, d], (keys [kv_heads, head_dim, length], values [kv_heads, length, head_dim])).
        """
        query, key, value = jax.vmap(self.attention.project)(jax.vmap(self.attention_norm)(x), rope)
        keys, values = key.transpose(1, 2, 0), value.transpose(1, 0, 2)
        x = x + self.attention.attend_causally(query, keys, values, drops)
        return x + jax.vmap(lambda token: self.mlp(self.mlp_norm(token)))(x), (keys, values)

    def decode(
        self, x: jax.Array, rope: Rotation, slot: jax.Array, own: Slots, before: Sequence[Slots]
    ) -> tuple[jax.Array, Stored, Stored]:
        """One token: writes a slot of its own part of the cache, reads that and the parts before.

        Args:
          x: [d].
          rope: angles of the token's position.
          slot: int32[], to write in `own`.
          own: the part that the token joins; `seen` holds for the token itself too.
          before: parts that come before it, only read.

        Returns:
          (x [d], keys, values of the part with the token in it).
        """
        query, key, value = self.attention.project(self.attention_norm(x), rope)
        key, value = stored(key, -1, dtype_of(own.keys)), stored(value, -1, dtype_of(own.values))
        keys = jax.tree.map(lambda old, new: old.at[:, :, slot].set(new), own.keys, key)
        values = jax.tree.map(lambda old, new: old.at[:, slot].set(new), own.values, value)
        x = x + self.attention.attend(query, (*before, Slots(keys, values, own.seen)))
        return x + self.mlp(self.mlp_norm(x)), keys, values

    def extend(
        self, x: jax.Array, rope: Rotation, own: Slots, among: jax.Array
    ) -> tuple[jax.Array, Stored, Stored]:
        """Several tokens at once: each reads what it may of a cache and of the others.

        Args:
          x: [tokens, d].
          rope: angles of their positions, each field [tokens, head_dim // 2].
          own: the cache, only read; its `seen` is [tokens, slots], one row per token.
          among: [tokens, tokens] bool, which tokens each reads; itself among them.

        Returns:
          (x [tokens, d], their keys [kv_heads, head_dim, tokens] and values
          [kv_heads, tokens, head_dim], as the cache would keep them).
        """
        query, key, value = jax.vmap(self.attention.project)(jax.vmap(self.attention_norm)(x), rope)
        keys = stored(key.transpose(1, 2, 0), 1, dtype_of(own.keys))
        values = stored(value.transpose(1, 0, 2), 2, dtype_of(own.values))

        def attend(query: jax.Array, seen: jax.Array, others: jax.Array) -> jax.Array:
            return self.attention.attend(
                query, (own._replace(seen=seen), Slots(keys, values, others))
            )

        x = x + jax.vmap(attend)(query, own.seen, among)
        return x + jax.vmap(lambda token: self.mlp(self.mlp_norm(token)))(x), keys, values
