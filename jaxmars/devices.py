"""The devices of this process as one mesh axis along which work is split."""

import os
import pathlib
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
MODEL_AXIS = "model"
MATRIX = 2  # axes of an array that is worth dividing
HOST_SHARE = 0.5  # of the memory of a machine that its CPU devices may use
CONTAINER_LIMITS = (  # of control groups, version 2 and 1
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def use_all_cores() -> None:
    """Makes one CPU device per core, so that batches split over the cores.

    On CPU a compiled program runs many of its operations on one core; two devices on two cores
    ran both training and simulation about twice as fast as one. Call it before anything else
    touches JAX; the command line and the scripts do.
    """
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def mesh() -> Mesh:
    """All devices along one axis."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def local_mesh(model_devices: int = 1) -> Mesh:
    """The devices of this process: groups along one axis, the devices of a group along another.

    Args:
      model_devices: in a group; they hold one copy of the parameters between them.

    Raises:
      ValueError: the devices cannot be grouped so.
    """
    held = jax.local_devices()
    if len(held) % model_devices:
        raise ValueError(
            f"{len(held)} devices cannot be cut into groups of {model_devices}, expected a divisor"
        )
    shape = (len(held) // model_devices, model_devices)
    types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, (AXIS, MODEL_AXIS), axis_types=types, devices=held)


def divided(x: jax.Array, mesh: Mesh) -> NamedSharding:
    """A parameter divided over the devices of a group along its last axis, if that goes."""
    whole = x.ndim < MATRIX or x.shape[-1] % mesh.shape[MODEL_AXIS]
    axes = () if whole else (*[None] * (x.ndim - 1), MODEL_AXIS)
    return NamedSharding(mesh, PartitionSpec(*axes))


def split() -> NamedSharding:
    """The leading axis is divided over the devices."""
    return NamedSharding(mesh(), PartitionSpec(AXIS))


def everywhere() -> NamedSharding:
    """Every device holds the whole."""
    return NamedSharding(mesh(), PartitionSpec())


def memory_bytes() -> int:
    """Memory of one device, bytes. The devices of a CPU share `HOST_SHARE` of what the machine or
    its container allows; the rest is for what the host keeps."""
    limits = jax.local_devices()[0].memory_stats()
    if limits and "bytes_limit" in limits:
        return limits["bytes_limit"]
    return int(HOST_SHARE * host_bytes()) // jax.local_device_count()


def host_bytes(limits: Sequence[pathlib.Path] = CONTAINER_LIMITS) -> int:
    """Memory of the machine, or what its container may use of it.

    Args:
      limits: files with a number of bytes; absent ones and other words set no limit.
    """
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in limits:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():
            found = min(found, int(text))
    return found
