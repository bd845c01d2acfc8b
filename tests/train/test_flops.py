"""Arithmetic of a model: against the count a compiler makes, and sizes known by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from jaxmars.config import OrderModelConfig
from jaxmars.train.flops import flops_per_order, kernel_weights, peak_flops
from jaxmars.train.settings import SIZES
from jaxmars.train.sharding import divided


def test_weights_that_every_order_meets() -> None:
    """A layer of width d with all heads: 4 d^2 of attention and 12 d^2 of the gated MLP; the joint
    head d x vocabulary; the projected book 10 x d."""
    config = SIZES["s"]
    d = config.emb_dim
    expected = config.num_layers * 16 * d * d + d * config.vocab + 10 * d
    assert kernel_weights(config) == expected


def test_sizes_of_the_published_ladder() -> None:
    """In millions, tables included (choice C-OM-1)."""
    from jaxmars.models.order_model import shape_of

    millions = lambda name: round(
        sum(leaf.size for leaf in jax.tree.leaves(shape_of(SIZES[name])[1])) / 1e6, 1
    )
    assert {name: millions(name) for name in ("xs", "s", "m", "b", "l", "xl", "xxl")} == {
        "xs": 3.7,
        "s": 18.6,
        "m": 62.3,
        "b": 156.4,
        "l": 258.8,
        "xl": 460.2,
        "xxl": 920.3,
    }


def test_attention_costs_its_window() -> None:
    """Doubling the window adds 4 d per position and layer, three times for the gradient."""
    config = OrderModelConfig.tiny()
    longer = dataclasses.replace(config, num_max_orders=2 * config.num_max_orders)
    added = 3 * 4 * config.num_layers * config.num_max_orders * config.emb_dim
    assert flops_per_order(longer) - flops_per_order(config) == added
    assert flops_per_order(config) == 6 * kernel_weights(config) + added


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_machine_without_a_data_sheet_is_measured(bfloat16: bool) -> None:
    rate, where = peak_flops(bfloat16)
    assert rate > 1e6
    assert "measured" in where or jax.devices()[0].platform != "cpu"


@pytest.mark.parametrize("shape", [(), (3,), (4, 6), (0, 2)])
def test_one_device_holds_everything(shape: tuple[int, ...]) -> None:
    """Whatever the sharding says, the shard of the only device is the array."""
    array = jnp.zeros(shape)
    sharding = divided(array)
    assert sharding.shard_shape(shape) == shape or jax.device_count() > 1
    cut = [axis for axis in sharding.spec if axis is not None]
    assert len(cut) <= 1
    assert shape != () or sharding.spec == PartitionSpec()
