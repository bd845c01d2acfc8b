"""Numbers of one byte: arrays with a scale for every slice, and projections made of them.

A slice, an output channel of a matrix or one slot's key of one head, is divided by a scale that
takes its largest entry to the end of the type's range. Quantisation is symmetric, so zero stays
zero and a product with such an array is a product with its numbers, scaled afterwards: nothing is
ever turned back into a wide array.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

NARROW_BYTES = 1  # of a number that needs a scale


class Scaled(NamedTuple):
    """`data * scale`."""

    data: jax.Array  # int8 or float8
    scale: jax.Array  # float32, same axes, of length 1 along the one of a slice


Stored = jax.Array | Scaled
"""An array of a wide type as it is, of a narrow one with its scales."""


def is_narrow(dtype: Any) -> bool:
    """Whether arrays of this type are kept with scales."""
    return jnp.dtype(dtype).itemsize == NARROW_BYTES


def quantised(x: jax.Array, axis: int, dtype: Any) -> Scaled:
    """`x` to within half a step of each slice along `axis` (of an integer type: a step is the
    slice's largest entry over the type's largest number). What is not finite makes the scale of
    its slice not finite either.

    Args:
      x: of a float type.
      axis: the one a scale is common to.
      dtype: narrow.
    """
    whole = jnp.issubdtype(dtype, jnp.integer)
    largest = float(jnp.iinfo(dtype).max if whole else jnp.finfo(dtype).max)
    wide = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(wide), axis, keepdims=True) / largest
    scale = jnp.where(scale == 0, 1.0, scale)
    steps = wide / scale
    return Scaled((jnp.round(steps) if whole else steps).astype(dtype), scale)


def stored(x: jax.Array, axis: int, dtype: Any) -> Stored:
    """`x` in another type, with a scale per slice along `axis` if that is narrow."""
    return quantised(x, axis, dtype) if is_narrow(dtype) else x.astype(dtype)


def dtype_of(x: Stored) -> Any:
    """The type its numbers have."""
    return x.data.dtype if isinstance(x, Scaled) else x.dtype


class ScaledLinear(nnx.Module):
    """A projection without bias whose matrix has a scale per output."""

    def __init__(self, matrix: Scaled, result: Any = None):
        """`matrix` is [..., inputs, outputs] with scales [..., 1, outputs]; `result` is the type
        of what comes out, by default that of what comes in."""
        self.kernel = nnx.Param(matrix.data)
        self.scale = nnx.Param(matrix.scale)
        self.result = result

    def __call__(self, x: jax.Array) -> jax.Array:
        """One vector [inputs] to [outputs]; the sum over inputs is float32."""
        kernel = self.kernel[...].astype(x.dtype)
        summed = jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
        return (summed * self.scale[...][0]).astype(self.result or x.dtype)
