"""What a machine could do at most with an order, from the arithmetic and the bytes it needs.

The bound is the slower of two: floating-point operations at the rate of a large matrix product, and
bytes at the rate of copying a large array. Both rates are measured here, except for the operations
of accelerators whose data sheet is known.
"""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import devices
from jaxmars.config import OrderModelConfig
from jaxmars.train.flops import BACKWARD, flops_per_order, kernel_weights, peak_flops

# Bytes per device of the array whose copy shows the bandwidth.
COPIED, COPIED_ELSEWHERE = 2**27, 2**31
COPIES = 5
READ_AND_WRITTEN = 2
PER_WEIGHT = 2  # operations
PER_SCORE = 4  # operations of one query and one key: score and mixing, a product and a sum each


class Machine(NamedTuple):
    """Rates of all devices together."""

    flops: float  # per second
    bandwidth: float  # bytes per second
    origin: str  # of the first


class Work(NamedTuple):
    """What one order takes."""

    flops: float
    bytes: float

    def most(self, machine: Machine) -> float:
        """Orders per second."""
        return 1 / max(self.flops / machine.flops, self.bytes / machine.bandwidth)


def measure_machine(bfloat16: bool) -> Machine:
    """The rates of this machine."""
    flops, origin = peak_flops(bfloat16)
    return Machine(flops, bandwidth(), origin)


def bandwidth() -> float:
    """Bytes per second that copying a large array reads and writes, on all devices together."""
    count = jax.device_count()
    copied = COPIED if jax.default_backend() == "cpu" else COPIED_ELSEWHERE
    x = jax.device_put(jnp.ones((count, copied // 4), jnp.float32), devices.split())
    copy = jax.jit(lambda x: x + 1)
    copy(x).block_until_ready()
    seconds = []
    for _ in range(COPIES):
        began = time.perf_counter()
        copy(x).block_until_ready()
        seconds.append(time.perf_counter() - began)
    return READ_AND_WRITTEN * count * copied / min(seconds)


def exact_work(cfg: OrderModelConfig, lanes: int, weight_bytes: int) -> Work:
    """The whole window for every order."""
    forward = flops_per_order(cfg) / (1 + BACKWARD)
    return Work(cfg.num_max_orders * forward, kernel_weights(cfg) * weight_bytes / lanes)


def anchored_work(
    cfg: OrderModelConfig, growth: int, lanes: int, weight_bytes: int, cache_bytes: int
) -> Work:
    """A decode at half grown context, and the share of an anchor."""
    kept = cfg.num_max_orders - growth
    context = kept + growth / 2
    anchor = kept / growth * flops_per_order(cfg) / (1 + BACKWARD)
    decode = _decode_flops(cfg, context)
    read = context * _slot_bytes(cfg, cache_bytes)
    return Work(decode + anchor, read + kernel_weights(cfg) * weight_bytes / lanes)


def shared_work(
    cfg: OrderModelConfig, growth: int, lanes: int, weight_bytes: int, cache_bytes: int
) -> Work:
    """A decode whose prefix is read once for all lanes."""
    kept = cfg.num_max_orders - growth
    slot = _slot_bytes(cfg, cache_bytes)
    read = growth / 2 * slot + (kept * slot + kernel_weights(cfg) * weight_bytes) / lanes
    return Work(_decode_flops(cfg, kept + growth / 2), read)


def _decode_flops(cfg: OrderModelConfig, context: float) -> float:
    attention = PER_SCORE * cfg.num_layers * context * cfg.emb_dim
    return PER_WEIGHT * kernel_weights(cfg) + attention


def _slot_bytes(cfg: OrderModelConfig, cache_bytes: int) -> int:
    """Keys and values of one order."""
    return 2 * cfg.num_layers * cfg.kv_heads * cfg.head_dim * cache_bytes
