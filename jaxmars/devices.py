"""The devices of this process as one mesh axis along which work is split."""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
HOST_SHARE = 0.5  # of the memory of a machine that its CPU devices may use


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


def local_mesh() -> Mesh:
    """The devices of this process along one axis."""
    held = jax.local_devices()
    return jax.make_mesh((len(held),), (AXIS,), axis_types=(AxisType.Auto,), devices=held)


def local(spec: PartitionSpec) -> NamedSharding:
    """An array on the devices of this process, as `spec` says."""
    return NamedSharding(local_mesh(), spec)


def split() -> NamedSharding:
    """The leading axis is divided over the devices."""
    return NamedSharding(mesh(), PartitionSpec(AXIS))


def everywhere() -> NamedSharding:
    """Every device holds the whole."""
    return NamedSharding(mesh(), PartitionSpec())


def memory_bytes() -> int:
    """Memory of one device, bytes. The devices of a CPU share `HOST_SHARE` of the machine's; the
    rest is for what the host keeps."""
    limits = jax.local_devices()[0].memory_stats()
    if limits and "bytes_limit" in limits:
        return limits["bytes_limit"]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(HOST_SHARE * machine) // jax.local_device_count()
