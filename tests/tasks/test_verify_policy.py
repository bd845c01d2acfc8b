"""Distances per order from reading the whole window, against enumeration."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import loud_model, quick_jit
from scipy import stats
from scipy.special import softmax

from jaxmars.agents.policy import anchored
from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.models.precision import Precision, with_precision
from jaxmars.tasks.verify_policy import (
    Contexts,
    Distances,
    anchored_distances,
    anchored_weights,
    compare_readers,
    contexts_of,
    decoding_reader,
    distances,
    grid_lengths,
    growths,
    last_orders_readers,
    mean_over_flows,
    tempered,
    tempered_reader,
)
from jaxmars.tokens.order import APPEND, CHANGE, ELAPSED, NUM_FEATURES, ORDER_INDEX
from jaxmars.tokens.window import Window

PER_FLOW = 3
LENGTHS = (32, 20, 4)


@pytest.fixture(scope="module")
def contexts(model: OrderModel) -> Contexts:
    """Three of each of two flows of random orders."""
    rng, cfg = np.random.default_rng(2), model.config
    shape = (2, cfg.num_max_orders + 10)
    rows = rng.integers(0, 8, (*shape, NUM_FEATURES), np.int32)
    rows[..., ORDER_INDEX] = rng.integers(0, cfg.vocab, shape)
    rows[..., CHANGE] = rng.integers(-50, 50, shape)
    rows[..., ELAPSED] = np.sort(rng.integers(0, 10_000, shape))
    return contexts_of(list(rows), cfg.num_max_orders, PER_FLOW)


@pytest.fixture(scope="module")
def found(contexts: Contexts, model: OrderModel) -> dict[int, Distances]:
    readers = last_orders_readers(model, LENGTHS)
    return compare_readers(contexts, readers, model.config.slot_shape)


def test_contexts_are_followed_by_what_came() -> None:
    flows = [np.tile(np.arange(n, dtype=np.int32)[:, None], NUM_FEATURES) for n in (9, 14)]
    own = contexts_of(flows, 4, 3)
    assert own.came.tolist() == [4, 6, 8, 4, 8, 13] and own.flow.tolist() == [0, 0, 0, 1, 1, 1]
    for rows, came in zip(own.rows, own.came, strict=True):
        np.testing.assert_array_equal(rows[:, 0], np.arange(came - 4, came))


def test_a_flow_must_be_long_enough() -> None:
    with pytest.raises(InputError, match="flow 0 has 6 orders, expected at least 7 for 3"):
        contexts_of([np.zeros((6, NUM_FEATURES), np.int32)], 4, 3)


def test_distances_are_those_of_enumerated_distributions(
    contexts: Contexts, found: dict[int, Distances], model: OrderModel
) -> None:
    window = model.config.num_max_orders

    def enumerated(rows: np.ndarray, n: int) -> np.ndarray:
        """Probabilities after the last n rows; what follows them is not seen."""
        logits = model.logits(np.resize(rows[window - n :], rows.shape)[None])
        return softmax(np.asarray(logits, float)[0, n - 1])

    for n in LENGTHS:
        for i in (0, 4):
            full, part = (enumerated(contexts.rows[i], k) for k in (window, n))
            came = contexts.came[i]
            np.testing.assert_allclose(
                found[n].kl[i], sum(full * np.log(full / part)), rtol=1e-3, atol=1e-9
            )
            np.testing.assert_allclose(
                found[n].total_variation[i], sum(np.maximum(full - part, 0)), rtol=1e-3, atol=1e-6
            )
            np.testing.assert_allclose(
                found[n].loss_gap[i], np.log(full[came] / part[came]), rtol=1e-3, atol=1e-5
            )
            np.testing.assert_allclose(found[n].entropy[i], stats.entropy(part), rtol=1e-5)
            types = [x.reshape(3, -1).sum(1) for x in (full, part)]
            np.testing.assert_allclose(
                found[n].attribute_kl[i, 0], stats.entropy(*types), rtol=1e-3, atol=1e-9
            )


def test_kl_is_zero_for_the_whole_window_only(found: dict[int, Distances]) -> None:
    whole, *parts = (found[n] for n in LENGTHS)
    assert not whole.kl.any() and not whole.total_variation.any() and not whole.loss_gap.any()
    for part in parts:
        assert (part.kl > 1e-4).all()
        assert (part.attribute_kl >= 0).all()
        assert (part.attribute_kl <= part.kl[:, None] + 1e-12).all(), "marginals lose information"
        assert (part.total_variation <= np.sqrt(part.kl / 2)).all(), "Pinsker's inequality"


def test_the_expected_loss_gap_is_the_kl(rng: np.random.Generator) -> None:
    p, q = (np.log(rng.dirichlet(np.ones(24))) for _ in range(2))
    every = np.arange(24)
    own = distances(np.tile(p, (24, 1)), np.tile(q, (24, 1)), every, (3, 2, 2, 2))
    np.testing.assert_allclose((np.exp(p) * own.loss_gap).sum(), own.kl[0])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_factored_head_is_tempered_stage_by_stage(rng: np.random.Generator) -> None:
    cfg = dataclasses.replace(OrderModelConfig.tiny(), head="factored")
    model = loud_model(cfg)
    head: Any = model.net().head
    hidden = jnp.asarray(rng.normal(size=cfg.emb_dim), jnp.float32)
    slots = jnp.array([2, 5, 1, 3], jnp.int32)

    def both() -> tuple[jax.Array, jax.Array]:
        """Of every order at temperature one, and of one at another, as `Head.sample` draws it."""
        own = [jax.nn.log_softmax(s(hidden, slots[:i]) / 1.7) for i, s in enumerate(head.stages)]
        return head.logits(hidden), jnp.stack([x[k] for x, k in zip(own, slots, strict=True)]).sum()

    logits, drawn = quick_jit(both)()
    read = lambda rows: np.asarray(logits, float)[None]
    found = tempered_reader(read, model, 1.7)(np.zeros(0))
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)
    token = np.ravel_multi_index(tuple(map(int, slots)), cfg.slot_shape)
    np.testing.assert_allclose(found[0, token], drawn, rtol=1e-5)


def test_a_joint_head_is_tempered_as_a_whole(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(3, 24))
    found = tempered(np.log(softmax(logits, axis=1)), (24,), 0.4)
    np.testing.assert_allclose(np.exp(found), softmax(logits / 0.4, axis=1))


def test_batches_change_nothing(contexts: Contexts, model: OrderModel) -> None:
    reads = last_orders_readers(model, (32, 20))
    many = Contexts(*(np.concatenate([x] * 3) for x in contexts))
    calls: list[tuple[int, int]] = []
    watch = lambda done, wanted: calls.append((done, wanted))
    own = compare_readers(many, reads, model.config.slot_shape, watch)
    assert len(own[20].kl) == 6 * PER_FLOW
    np.testing.assert_allclose(own[20].kl[: 2 * PER_FLOW], own[20].kl[-2 * PER_FLOW :], rtol=1e-3)
    assert [done for done, _ in calls] == list(range(1, calls[0][1] + 1))


def test_lengths_halve_and_are_dense_near_the_window() -> None:
    assert grid_lengths(32) == [32, 31, 30, 28, 24, 20, 16, 12, 8, 4, 2, 1]
    assert growths(512) == [32, 64, 128, 256, 384, 480]
    assert grid_lengths(1) == [1] and growths(1) == []


def test_anchored_mean_by_hand() -> None:
    # Reads 5, 6, 7, 8 of a window of 8; 5, 6 and 7 lie between the measured 4 and 8.
    np.testing.assert_allclose(anchored_weights([8, 4, 1], 8, 4), [0.625, 0.375, 0])
    every = list(range(1, 9))
    np.testing.assert_allclose(anchored_weights(every, 8, 3), [0, 0, 0, 0, 0, 1 / 3, 1 / 3, 1 / 3])
    with pytest.raises(ValueError, match="are read"):
        anchored_weights([8, 4], 8, 6)


def test_an_anchored_context_is_read_at_every_length_once(
    contexts: Contexts, model: OrderModel
) -> None:
    net, policy, size = model.net(), anchored(model.config, 12), model.config.num_max_orders
    rows = jnp.asarray(contexts.rows[0])
    begin = quick_jit(lambda window: policy.anchor(net, policy.share(net, window), window)[0])
    window = begin(Window(rows, jnp.int32(size)))
    read = []
    for row in rows[: policy.segment]:
        window = policy.put(window, row, jnp.int32(APPEND))
        read.append(int(window.count))
    weights = anchored_weights(range(1, size + 1), size, policy.segment)
    np.testing.assert_allclose(weights, np.bincount(read, minlength=size + 1)[1:] / len(read))


def test_anchored_distances_average_every_column(found: dict[int, Distances]) -> None:
    own = anchored_distances(found, 32, 12)  # reads 21 ... 32
    part = np.mean([(32 - n) / 12 for n in range(21, 33)])
    for mean, short in zip(own[:4], found[20][:4], strict=True):
        np.testing.assert_allclose(mean, part * short)


def test_errors_are_between_flows() -> None:
    values = np.array([1.0, 3.0, 5.0, 7.0, 2.0, 2.0])
    mean = mean_over_flows(values, np.array([0, 0, 1, 1, 2, 2]))
    np.testing.assert_allclose(mean, (10 / 3, np.std([2, 6, 2], ddof=1) / np.sqrt(3)))
    assert np.isnan(mean_over_flows(values, np.zeros(6)).error)


def test_a_decoded_context_is_the_encoded_one_in_float32_only(
    contexts: Contexts, model: OrderModel
) -> None:
    """Up to rounding; a cache in fewer bits is seen."""
    window = model.config.num_max_orders
    readers = {
        "encoded": last_orders_readers(model, [window])[window],
        "decoded": decoding_reader(model),
        "narrow": decoding_reader(with_precision(model, Precision(cache=jnp.int8))),
    }
    found = compare_readers(contexts, readers, model.config.slot_shape)
    assert np.abs(found["decoded"].kl).max() < 1e-8
    assert found["narrow"].kl.min() > 1e-8
    assert found["narrow"].kl.max() < 0.05
