"""A model in fewer bits: bfloat16, matrices of int8, caches of int8 or float8.

Normalisation, softmax, logits and sampling stay float32, and so do the tables of learned vectors,
of which an order reads a row each. Matrices are quantised once, with a scale per output; keys and
values when they enter a cache, with a scale per slot and head.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmars.config import PrecisionName
from jaxmars.models.decoder import OrderNet
from jaxmars.models.embedding import Table
from jaxmars.models.heads import JointHead, Stage
from jaxmars.models.order_model import OrderModel
from jaxmars.models.scaled import ScaledLinear, quantised

ACTIVATIONS = (jnp.float32, jnp.bfloat16)
CACHES = (jnp.float32, jnp.bfloat16, jnp.int8, jnp.float8_e4m3fn)
INPUTS = -2  # axis of a matrix that its products sum over


@dataclasses.dataclass(frozen=True)
class Precision:
    """What a model computes with and what it keeps.

    Attributes:
      activations: float32 or bfloat16; also of vectors and of matrices that are not quantised.
      weights: of the matrices: int8, or the type of the activations.
      cache: of keys and values: float32, bfloat16, int8 or float8_e4m3fn.
    """

    activations: Any = jnp.float32
    weights: Any = jnp.float32
    cache: Any = jnp.float32

    def __post_init__(self) -> None:
        for name, types in (
            ("activations", ACTIVATIONS),
            ("weights", (self.activations, jnp.int8)),
            ("cache", CACHES),
        ):
            if getattr(self, name) not in types:
                allowed = " or ".join(jnp.dtype(x).name for x in types)
                raise ValueError(f"{name} must be {allowed}, got {getattr(self, name)!r:.80}")

    @property
    def has_scales(self) -> bool:
        """Whether matrices are quantised."""
        return jnp.dtype(self.weights) == jnp.int8


PRECISIONS: dict[str, Precision] = {
    PrecisionName.FLOAT32: Precision(),
    PrecisionName.BFLOAT16: Precision(jnp.bfloat16, jnp.bfloat16, jnp.bfloat16),
    PrecisionName.INT8: Precision(jnp.bfloat16, jnp.int8, jnp.int8),
}
"""By the name that users give."""


def with_precision(model: OrderModel, precision: Precision) -> OrderModel:
    """The same model computing in another precision, wherever it is used. It cannot be saved.

    Args:
      model: in float32, as it was loaded or trained.
      precision: of the new one; `Precision()` changes nothing.

    Raises:
      ValueError: the model is not in float32.
    """
    if any(leaf.dtype != jnp.float32 for leaf in jax.tree.leaves(model.params)):
        raise ValueError("the model is in another precision already, expected one in float32")
    if precision == Precision():
        return model
    net = model.net()
    for _, module in list(nnx.iter_modules(net)):
        if isinstance(module, JointHead | Stage):
            module.out.preferred_element_type = jnp.float32
        if precision.has_scales:
            _scale_matrices(module)
    _cast(net, precision.activations)
    net.cache_dtype = jnp.dtype(precision.cache)
    graphdef, state = nnx.split(net)
    return dataclasses.replace(model, graphdef=graphdef, params=nnx.to_pure_dict(state))


def _scale_matrices(module: nnx.Module) -> None:
    """Puts int8 projections in the place of those among a module's children."""
    for name, child in list(nnx.iter_children(module)):
        if isinstance(child, nnx.Linear) and child.bias is None:
            matrix = quantised(child.kernel[...], INPUTS, jnp.int8)
            setattr(module, str(name), ScaledLinear(matrix, child.preferred_element_type))


def _cast(net: OrderNet, dtype: Any) -> None:
    """All parameters but tables and quantised matrices, in place."""
    for _, module in nnx.iter_modules(net):
        if not isinstance(module, Table | ScaledLinear):
            for value in vars(module).values():
                if isinstance(value, nnx.Param):
                    value.set_value(value[...].astype(dtype))
