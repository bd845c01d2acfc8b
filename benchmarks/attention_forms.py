"""Ways to attend to a context, or to a prefix that all lanes share and a context of each lane.

Ours is the function that the model calls (`jaxmars.models.layers.attention`). The others are
kernels that JAX ships, each with keys and values laid out as it likes them best. They attend to
prefix and context apart: the queries of all lanes are rows of one call on the prefix, and log-sums
of exponentials merge the two.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu import decode_attention as pallas_ops

from jaxmars.models.layers import Slots, attention

QUERY_ROWS = 16  # of a program of the kernel, the least it takes
PREFIX_ROWS = 64  # the same where all lanes read one prefix
LEAST_BLOCK, MOST_BLOCK = 16, 128  # slots that a program of the kernel reads at a time
SPLITS = (1, 4)  # programs that share a context

Pair = tuple[jax.Array, jax.Array]


class Data(NamedTuple):
    """What a step is given; keys and values as a form lays them out."""

    query: jax.Array  # [lanes, kv_heads, group, head_dim], already scaled
    prefix: Pair | None  # keys and values [kv_heads, slots, head_dim] of all lanes
    own: Pair  # [lanes, kv_heads, slots, head_dim], of each
    slot: jax.Array  # [lanes] int32, of `own` to write; later ones are not read


class Form(NamedTuple):
    """One way to attend."""

    name: str
    lay_out: Callable[[Pair], Pair]
    """Keys and values [..., kv_heads, slots, head_dim] as the form wants them."""
    put: Callable[[Pair, Pair, jax.Array], Pair]
    """(keys and values of a lane, new ones [kv_heads, head_dim], slot) -> with the new ones."""
    read: Callable[[Data], jax.Array]
    """Values averaged for each head, [lanes, kv_heads, group, head_dim]."""
    lacks: Callable[[str], str]
    """dtype -> why it cannot run here; empty if it can."""


def merged(parts: Sequence[Pair]) -> jax.Array:
    """Attention over a whole context from that over its parts.

    Args:
      parts: of each, the average [..., head_dim] and the logarithm of the sum of the exponentials
        of its scores [...].
    """
    shares = jax.nn.softmax(jnp.stack([total.astype(jnp.float32) for _, total in parts]), axis=0)
    averages = jnp.stack([average.astype(jnp.float32) for average, _ in parts])
    return jnp.sum(shares[..., None] * averages, axis=0).astype(parts[0][0].dtype)


def plain() -> Form:
    """As the model does it."""

    def read(data: Data) -> jax.Array:
        before = ()
        if data.prefix is not None:
            keys, values = data.prefix
            before = (Slots(keys, values, jnp.ones(keys.shape[-1], bool)),)

        def one(query: jax.Array, own: Pair, slot: jax.Array) -> jax.Array:
            seen = jnp.arange(own[0].shape[-1]) <= slot
            return attention(query, (*before, Slots(*own, seen)))

        return jax.vmap(one)(data.query, data.own, data.slot)

    def put(own: Pair, new: Pair, slot: jax.Array) -> Pair:
        return own[0].at[:, :, slot].set(new[0]), own[1].at[:, slot].set(new[1])

    return Form("plain", lambda x: (x[0].swapaxes(-1, -2), x[1]), put, read, lambda dtype: "")


def library(implementation: Any, lacks: Callable[[str], str]) -> Form:
    """`jax.nn.dot_product_attention`; keys and values are [..., slots, kv_heads, head_dim]."""
    attend = functools.partial(
        jax.nn.dot_product_attention, scale=1.0, implementation=implementation
    )

    def read(data: Data) -> jax.Array:
        rows = data.query.reshape(data.query.shape[0], 1, -1, data.query.shape[-1])
        lengths = data.slot + 1
        if data.prefix is None:
            found = attend(rows, *data.own, key_value_seq_lengths=lengths)
            return found.reshape(data.query.shape)
        keys, values = data.prefix
        shared = attend(rows.swapaxes(0, 1), keys[None], values[None], return_residual=True)
        before = shared[0].swapaxes(0, 1), shared[1].swapaxes(0, 1)
        own = attend(rows, *data.own, key_value_seq_lengths=lengths, return_residual=True)
        return merged((before, own)).reshape(data.query.shape)

    swap = lambda x: (x[0].swapaxes(-2, -3), x[1].swapaxes(-2, -3))
    put = lambda own, new, slot: (own[0].at[slot].set(new[0]), own[1].at[slot].set(new[1]))
    return Form(f"dot_product_attention, {implementation}", swap, put, read, lacks)


def kernel(splits: int, interpret: bool = False) -> Form:
    """JAX's Pallas kernel for decoding; a key/value head of a lane is a batch row of it.

    Args:
      splits: programs that share a context of a lane.
      interpret: whether it is interpreted, which a CPU can do.
    """

    def attend(query: jax.Array, held: Pair, length: jax.Array, rows: int, splits: int) -> Pair:
        run = functools.partial(pallas_ops.mqa, sm_scale=1.0, return_residuals=True)
        slots = held[0].shape[1]
        block = block_of(slots, splits)
        setting = {"block_h": rows, "block_k": block, "k_splits": splits, "interpret": interpret}
        average, (total, largest) = run(query, *held, kv_seq_len=length, **setting)
        return average, largest + jnp.log(total)

    def read(data: Data) -> jax.Array:
        lanes, kv_heads, group, head_dim = data.query.shape
        flat = lambda x: x.reshape(-1, *x.shape[2:])
        lengths = jnp.repeat(data.slot + 1, kv_heads)
        held = (flat(data.own[0]), flat(data.own[1]))
        own = attend(flat(data.query), held, lengths, QUERY_ROWS, splits)
        if data.prefix is None:
            return own[0].reshape(data.query.shape)
        rows = data.query.swapaxes(0, 1).reshape(kv_heads, lanes * group, head_dim)
        whole = jnp.full(kv_heads, data.prefix[0].shape[1], jnp.int32)
        found = attend(rows, data.prefix, whole, PREFIX_ROWS, 1)
        back = lambda x: flat(x.reshape(kv_heads, lanes, group, *x.shape[2:]).swapaxes(0, 1))
        before = (back(found[0]), back(found[1]))
        return merged((before, own)).reshape(data.query.shape)

    put = lambda own, new, slot: (own[0].at[:, slot].set(new[0]), own[1].at[:, slot].set(new[1]))
    name = f"decode_attention, {splits} " + ("split" if splits == 1 else "splits")
    return Form(name, lambda x: x, put, read, lambda dtype: needs_gpu())


def block_of(slots: int, splits: int) -> int:
    """Slots that a program of the kernel reads at a time: the largest power of two that divides its
    share of a context.

    Raises:
      ValueError: there are too few.
    """
    share = slots // splits
    block = min(share & -share, MOST_BLOCK)
    if block < LEAST_BLOCK or slots % splits:
        raise ValueError(f"{splits} programs cannot share {slots} slots, {LEAST_BLOCK} at a time")
    return block


def needs_gpu() -> str:
    """Why a kernel for GPUs cannot run here; empty if it can."""
    here = jax.default_backend()
    return "" if here == "gpu" else f"it is for GPUs, and this is a {here.upper()}"


def cudnn_lacks(dtype: str) -> str:
    """Why cuDNN cannot run here; empty if it can."""
    wide = "it takes half precision only" if dtype == "float32" else ""
    return needs_gpu() or wide


FORMS = (
    plain(),
    library("xla", lambda dtype: ""),
    library("cudnn", cudnn_lacks),
    *(kernel(splits) for splits in SPLITS),
)
