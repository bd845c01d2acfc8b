"""Tiny models with random weights, made without compiling anything, and what they read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.config import OrderModelConfig
from jaxmars.models import OrderModel
from jaxmars.models.order_model import shape_of

STD = 0.15  # of the weights: large enough that every part of every layer changes the output


def random_model(**changes: object) -> OrderModel:
    """`OrderModelConfig.tiny()` with `changes`; normal weights, norms around one."""
    cfg = dataclasses.replace(OrderModelConfig.tiny(), **changes)
    graphdef, template = shape_of(cfg)
    rng = np.random.default_rng(1)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        mean = 1.0 if "norm" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(rng.normal(mean, STD, leaf.shape), jnp.float32)

    return OrderModel(cfg, graphdef, jax.tree_util.tree_map_with_path(fill, template))


def make_rows(num: int) -> jax.Array:
    """Random feature rows int32[num, 15]."""
    limits = [OrderModelConfig.tiny().vocab, 10, 10, 200, 9000, *[33] * 10]
    return jnp.asarray(np.random.default_rng(3).integers(0, limits, (num, 15)), jnp.int32)


def distance(found: jax.Array, expected: jax.Array) -> float:
    """Root mean square of the difference over the spread of what is expected."""
    return float(jnp.sqrt(jnp.mean((found - expected) ** 2)) / jnp.std(expected))
