"""Arithmetic of training and how much of the machine it uses."""

import functools
import time

import jax
import jax.numpy as jnp

from jaxmars import devices
from jaxmars.config import OrderModelConfig
from jaxmars.models.order_model import shape_of

KERNEL = "kernel"  # last part of the name of a matrix that meets every order
BACKWARD = 2  # a backward pass costs two forward passes
FLOPS_PER_WEIGHT = 2  # a multiplication and an addition
PROBE_SIZE = 1024  # matrices whose product shows the rate of a device
PROBES = 5

# Dense bfloat16 rate of one device in FLOP/s, from the makers' data sheets.
DATA_SHEETS = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}


def kernel_weights(config: OrderModelConfig) -> int:
    """Weights of the matrices that every order meets: layers, head and projected book."""
    _, params = shape_of(config)
    return sum(
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if jax.tree_util.keystr(path, simple=True, separator="/").endswith(KERNEL)
    )


def flops_per_order(config: OrderModelConfig) -> float:
    """Floating-point operations that training one order costs, without recomputation.

    Three forward passes: two per weight of every matrix, and the scores and the mixing of attention
    over a whole window (the causal half is not taken off). Tables of vectors cost nothing.
    """
    attention = 2 * config.num_layers * config.num_max_orders * config.emb_dim
    return (1 + BACKWARD) * FLOPS_PER_WEIGHT * float(kernel_weights(config) + attention)


@functools.cache
def peak_flops(bfloat16: bool) -> tuple[float, str]:
    """FLOP/s of all devices together, and where the number comes from.

    A known accelerator's bfloat16 rate is its data sheet's. Any other machine is measured: a
    product of two square matrices of `PROBE_SIZE` on every device at once, in the dtype asked for,
    the fastest of a few.
    """
    kind = jax.devices()[0].device_kind
    for name, rate in DATA_SHEETS.items():
        if bfloat16 and kind.startswith(name):
            return rate * jax.device_count(), f"data sheet of {name}"
    count = jax.device_count()
    dtype = jnp.bfloat16 if bfloat16 else jnp.float32
    shape = (count, PROBE_SIZE, PROBE_SIZE)
    x = jax.device_put(jnp.ones(shape, dtype), devices.split())
    product = jax.jit(lambda a, b: jnp.einsum("nij,njk->nik", a, b))
    product(x, x).block_until_ready()
    times = []
    for _ in range(PROBES):
        begin = time.perf_counter()
        product(x, x).block_until_ready()
        times.append(time.perf_counter() - begin)
    rate = FLOPS_PER_WEIGHT * count * PROBE_SIZE**3 / min(times)
    return rate, f"measured product of {PROBE_SIZE} x {PROBE_SIZE} matrices"
