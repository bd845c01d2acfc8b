"""The devices of this process as one mesh axis along which work is split."""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


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


def split() -> NamedSharding:
    """The leading axis is divided over the devices."""
    return NamedSharding(mesh(), PartitionSpec(AXIS))


def everywhere() -> NamedSharding:
    """Every device holds the whole."""
    return NamedSharding(mesh(), PartitionSpec())
