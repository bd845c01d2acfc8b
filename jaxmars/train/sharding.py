"""Which part of the training state lies on which device.

ZeRO stage 2 (paper, appendix B.3) with JAX's own sharding: the float32 weights, the optimizer's
moments and the gradients are divided over the devices, one part each; the copy of the weights that
the network computes with is gathered on every device, and the batch is divided. The compiler turns
the constraints into an all-gather of weights and a reduce-scatter of gradients.
"""

from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from jaxmars import devices


def divided(leaf: Any) -> NamedSharding:
    """The sharding of one array: cut along its longest axis that the devices divide evenly.

    Args:
      leaf: anything with a shape.

    Returns:
      That sharding; every device holds the whole where no axis can be cut.
    """
    mesh = devices.mesh()
    axes = [i for i, n in enumerate(leaf.shape) if n and n % mesh.size == 0]
    if not axes:
        return NamedSharding(mesh, PartitionSpec())
    cut = max(axes, key=lambda i: leaf.shape[i])
    return NamedSharding(mesh, PartitionSpec(*[None] * cut, devices.AXIS))


def divide(tree: Any) -> Any:
    """Inside compiled code: every array of a tree cut as `divided` says."""
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, divided(x)), tree)


def gather(tree: Any) -> Any:
    """Inside compiled code: every array of a tree whole on every device."""
    whole = devices.everywhere()
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, whole), tree)


def split_batches() -> NamedSharding:
    """Of `[parts, batch, …]` arrays: the batch is divided over the devices."""
    return NamedSharding(devices.mesh(), PartitionSpec(None, devices.AXIS))
