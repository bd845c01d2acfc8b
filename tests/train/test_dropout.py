"""Attention dropout: only in training, unbiased, one draw per window, layer and weight."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxmars.config import OrderModelConfig
from jaxmars.models import OrderModel
from jaxmars.models.layers import QUERY_BLOCK, Attention
from jaxmars.train.losses import Batch, all_own, order_loss, sum_loss

RATE = 0.25
MODEL = dataclasses.replace(OrderModelConfig.tiny(), dropout=RATE, num_kv_heads=2)
DRAWS = 4000
LENGTH = 3


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    limits = [MODEL.vocab, 10, 10, 200, 9_000, *[9] * 10]
    return np.random.default_rng(0).integers(0, limits, (4, 13, 15)).astype(np.int32)


def attention(key: jax.Array, length: int) -> tuple[Any, Any]:
    """(drops) -> mixed values before the output projection, and the same without dropout."""
    layer = Attention(MODEL, rngs=nnx.Rngs(0))
    layer.out.kernel[...] = jnp.eye(MODEL.emb_dim)
    kv, dim = MODEL.kv_heads, MODEL.head_dim
    a, b, c = jax.random.split(key, 3)
    query = jax.random.normal(a, (length, kv, MODEL.num_heads // kv, dim))
    keys, values = jax.random.normal(b, (kv, dim, length)), jax.random.normal(c, (kv, length, dim))
    run = lambda drops: layer.attend_causally(query, keys, values, drops)
    return run, run(None)


@pytest.mark.parametrize("rate", [1.0, -0.1, np.nan, True, "0.1"])
def test_a_rate_that_cannot_be(rate: Any) -> None:
    with pytest.raises(ValueError, match=r"model config dropout must be in \[0, 1\), got "):
        dataclasses.replace(MODEL, dropout=rate)


def test_weights_vanish_at_the_rate_and_keep_their_mean(key: jax.Array) -> None:
    run, whole = attention(key, LENGTH)
    found = np.asarray(jax.jit(jax.vmap(run))(jax.random.split(key, DRAWS)))
    by_head = found.reshape(DRAWS, LENGTH, MODEL.num_heads, MODEL.head_dim)
    # The first order reads only itself: a head's output is all of it or nothing.
    gone = (by_head[:, 0] == 0).all(-1)
    assert gone.mean() == pytest.approx(RATE, abs=4 * (RATE / gone.size) ** 0.5)
    stays = by_head[:, 0][~gone]
    expected = np.broadcast_to(np.asarray(whole).reshape(by_head.shape[1:])[0], by_head[:, 0].shape)
    np.testing.assert_allclose(stays, expected[~gone] / (1 - RATE), rtol=1e-5)
    error = found.std(0) / DRAWS**0.5
    assert (np.abs(found.mean(0) - whole) < 5 * error + 1e-6).all()
    assert (found.std(0) > 0).all()


def test_another_key_changes_every_block_of_queries(key: jax.Array) -> None:
    run, _ = attention(key, QUERY_BLOCK + LENGTH)
    gap = np.abs(np.asarray(run(key)) - np.asarray(run(jax.random.fold_in(key, 1)))).max(-1)
    assert (gap[1:] > 0).all()


def test_it_is_for_training_only(windows: np.ndarray, key: jax.Array) -> None:
    """Without a key nothing is dropped, and a model without dropout ignores the key."""
    model = OrderModel.init(MODEL, key)
    plain = dataclasses.replace(MODEL, dropout=0.0)
    none = OrderModel.init(plain, key)
    loss = jax.jit(order_loss)
    rows = jnp.asarray(windows[0])
    np.testing.assert_array_equal(loss(model.net(), rows), loss(none.net(), rows))
    np.testing.assert_array_equal(loss(none.net(), rows, key), loss(none.net(), rows))
    dropped = loss(model.net(), rows, key)
    assert (np.asarray(dropped) != np.asarray(loss(model.net(), rows))).any()
    np.testing.assert_array_equal(dropped, loss(model.net(), rows, key))


def test_windows_of_a_batch_are_dropped_apart(windows: np.ndarray, key: jax.Array) -> None:
    net = OrderModel.init(MODEL, key).net()
    twice = all_own(np.stack([windows[0]] * 2))
    halves = [Batch(twice.rows, np.arange(2)[:, None] == i) for i in range(2)]
    wide = [Batch(b.rows, np.broadcast_to(b.own, b.rows.shape[:2])) for b in halves]
    one, other = (float(sum_loss(net, half, key)) for half in wide)
    assert one != other
    assert one + other == pytest.approx(float(sum_loss(net, twice, key)), rel=1e-5)
