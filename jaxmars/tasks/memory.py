"""Says before a run starts that it would not fit, instead of dying in it."""

import os

import jax

from jaxmars.errors import InputError

COPIES = 3  # of the state of a lane while one is refilled: old, fresh and new
GIB = 2**30


def check_memory(lanes: int, lane_bytes: int) -> None:
    """Refuses a run whose state does not fit.

    Args:
      lanes: trajectories side by side on a device.
      lane_bytes: state of one of them.

    Raises:
      InputError: the state of all lanes is larger than the memory of a device.
    """
    needed, there = COPIES * lanes * lane_bytes, device_bytes()
    if needed > there:
        raise InputError(
            f"{lanes} futures side by side take {needed / GIB:,.1f} GiB, expected at most the "
            f"{there / GIB:,.1f} GiB of a device: take fewer lanes or slots"
        )


def device_bytes() -> int:
    """Memory of one device, bytes; the devices of a CPU share what the machine has."""
    limits = jax.local_devices()[0].memory_stats()
    if limits and "bytes_limit" in limits:
        return limits["bytes_limit"]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // jax.local_device_count()
