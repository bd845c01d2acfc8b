"""Signed 64-bit numbers out of 32-bit words, for sums of money on devices without int64.

Sums and products are exact as long as the result fits 64 bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

HALF = 16  # bits of a limb
LIMB = 2**HALF - 1
MAX_TERMS = 2**HALF - 1  # limbs a uint32 can add up


class Wide(NamedTuple):
    """A signed 64-bit number, `high * 2**32 + low`."""

    high: jax.Array  # [...] int32
    low: jax.Array  # [...] uint32


def wide_from_int(value: int | np.ndarray) -> Wide:
    """Numbers of the host, `[...]`, as `Wide`.

    Raises:
      OverflowError: a number does not fit 64 bits.
    """
    words = np.asarray(value, np.int64)
    low = (words & np.int64(2**32 - 1)).astype(np.uint32)
    return Wide(jnp.asarray((words >> np.int64(32)).astype(np.int32)), jnp.asarray(low))


def wide_to_int(wide: Wide) -> np.ndarray:
    """The numbers as int64, `[...]` (host only)."""
    return np.asarray(wide.high, np.int64) * 2**32 + np.asarray(wide.low, np.int64)


def wide_add(a: Wide, b: Wide) -> Wide:
    """a + b."""
    low = a.low + b.low
    return Wide(a.high + b.high + (low < b.low).astype(jnp.int32), low)


def wide_negate(a: Wide) -> Wide:
    """-a."""
    low = ~a.low + jnp.uint32(1)
    return Wide(~a.high + (low == 0).astype(jnp.int32), low)


def wide_product(a: jax.Array, b: jax.Array) -> Wide:
    """a * b of int32 arrays."""
    x, y = _bits(a), _bits(b)
    x_low, x_high, y_low, y_high = x & LIMB, x >> HALF, y & LIMB, y >> HALF
    cross, other = x_low * y_high, x_high * y_low
    middle = (x_low * y_low >> HALF) + (cross & LIMB) + (other & LIMB)
    high = x_high * y_high + (cross >> HALF) + (other >> HALF) + (middle >> HALF)
    signs = jnp.where(a < 0, b, 0) + jnp.where(b < 0, a, 0)
    return Wide(_signed(high) - signs, x * y)


def wide_dot(mask: jax.Array, size: jax.Array, price: jax.Array) -> tuple[Wide, jax.Array]:
    """Sums over the last axis of size * price and of size, where `mask`, in one reduction.

    Args:
      mask: `[..., terms]` bool.
      size: `[terms]` or as `mask`, int32; the sum must be below 2**31.
      price: as `size`, int32.

    Returns:
      The sum of the products `[...]` and that of the sizes, `[...]` int32.

    Raises:
      ValueError: there are more than `MAX_TERMS` terms.
    """
    if mask.shape[-1] > MAX_TERMS:
        raise ValueError(f"expected at most {MAX_TERMS} terms of a sum, got {mask.shape[-1]}")
    product = wide_product(size, price)
    words = (product.low, _bits(product.high))
    limbs = [limb for word in words for limb in (word & LIMB, word >> HALF)]
    spread = lambda x: jnp.where(mask, jnp.broadcast_to(x, mask.shape), 0)
    columns = (*map(spread, limbs), spread(size))
    start = (*(jnp.uint32(0) for _ in limbs), jnp.int32(0))
    add = lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))
    *sums, total = lax.reduce(columns, start, add, (mask.ndim - 1,))
    return _from_limbs(sums), total


def _from_limbs(sums: list[jax.Array]) -> Wide:
    """The number of four sums of 16-bit limbs, the least one first."""
    carried = [sums[0]]
    for limb in sums[1:]:
        carried.append(limb + (carried[-1] >> HALF))
    word = lambda low, high: (low & LIMB) | (high << HALF)
    return Wide(_signed(word(carried[2], carried[3])), word(carried[0], carried[1]))


def _bits(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.uint32)


def _signed(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.int32)
