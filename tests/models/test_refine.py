"""Finer bins for a trained model: the same function of what the old bins tell."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import tiny_converters

from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.models.refine import refined
from jaxmars.tokens.bins import BinConverter

PARTS = 2
COARSE = dataclasses.replace(OrderModelConfig.tiny(), head="factored")


def halves(bins: BinConverter) -> BinConverter:
    """Every bin cut in two at its middle."""
    edges = np.asarray(bins.edges)
    cuts = np.sort(np.concatenate([edges, (edges[1:] + edges[:-1]) / 2]))
    middles = (cuts[1:] + cuts[:-1]) / 2
    return BinConverter(cuts, tuple(np.array([x]) for x in middles), (np.ones(1),) * len(middles))


@pytest.fixture(scope="module")
def pair() -> tuple[OrderModel, OrderModel]:
    """A random model and the same with twice as many slots."""
    key, old = jax.random.key(1), tiny_converters()
    edges = lambda n: np.arange(n + 1.0)
    plain = lambda n: BinConverter(
        edges(n), tuple(np.array([x + 0.5]) for x in range(n)), (np.ones(1),) * n
    )
    coarse = old._replace(
        price_level=plain(COARSE.num_bins_price_level),
        order_interval=plain(COARSE.num_bins_order_interval),
    )
    model = OrderModel.init(COARSE, key)
    noise = lambda x: x + jax.random.normal(jax.random.fold_in(key, x.size), x.shape)
    params = jax.tree.map(noise, model.params)
    model = dataclasses.replace(model, params=params, converters=coarse)
    finer = coarse._replace(
        price_level=halves(coarse.price_level), order_interval=halves(coarse.order_interval)
    )
    return model, refined(model, finer)


def test_parts_of_a_slot_share_its_probability(
    pair: tuple[OrderModel, OrderModel], key: jax.Array
) -> None:
    """Given the same hidden state, whatever the parts picked before."""
    model, finer = pair
    types, prices, volumes, intervals = COARSE.slot_shape
    assert finer.config.slot_shape == (types, PARTS * prices, volumes, PARTS * intervals)
    hidden = jax.random.normal(key, (COARSE.emb_dim,))
    old = jax.nn.softmax(model.net().head.logits(hidden)).reshape(COARSE.slot_shape)
    new = jax.nn.softmax(finer.net().head.logits(hidden)).reshape(
        types, prices, PARTS, volumes, intervals, PARTS
    )
    np.testing.assert_allclose(new.sum((2, 5)), old, rtol=1e-4, atol=1e-9)
    first = new[:, :, :1, :, :, :1]
    np.testing.assert_allclose(np.broadcast_to(first, new.shape), new, rtol=1e-4)


def test_parts_of_a_slot_read_alike(pair: tuple[OrderModel, OrderModel]) -> None:
    model, finer = pair
    rng = np.random.default_rng(0)
    slots = rng.integers(0, finer.config.slot_shape, (10, 4))
    rows = rng.integers(0, [1, 10, 10, 200, 9_000, *[9] * 10], (10, 15)).astype(np.int32)
    coarse = slots // np.array([1, PARTS, 1, PARTS])
    of = lambda x, cfg: np.ravel_multi_index(tuple(x.T), cfg.slot_shape)
    first, second = rows.copy(), rows.copy()
    first[:, 0], second[:, 0] = of(coarse, model.config), of(slots, finer.config)
    encode = lambda model, rows: model.net().encode(jnp.asarray(rows))
    np.testing.assert_allclose(encode(finer, second), encode(model, first), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_refined(pair: tuple[OrderModel, OrderModel], key: jax.Array) -> None:
    model, _ = pair
    assert model.converters is not None
    for other in (
        OrderModel.init(OrderModelConfig.tiny(), key),
        dataclasses.replace(model, converters=None),
    ):
        with pytest.raises(InputError, match="no factored head or no bins, expected both"):
            refined(other, model.converters)
