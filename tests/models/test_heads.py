"""Heads: draws against a float64 inverse CDF, exact probabilities, hostile logits."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jaxmars.config import OrderModelConfig
from jaxmars.models.embedding import join_slots, split_index
from jaxmars.models.heads import HEADS, Head, invert_cdf, invert_cdf_in_blocks, weights_of

CFG = OrderModelConfig.tiny()
BLOCKS = (24, 32)
LARGEST = np.nextafter(np.float32(1), np.float32(0))
EDGES = [0.0, np.finfo(np.float32).tiny, 0.5, LARGEST]
BOUNDARY = 2e-6  # uniforms this near a step of the CDF may fall on either side in float32

draw_in_blocks = jax.jit(jax.vmap(invert_cdf_in_blocks, in_axes=(None, 0)))
draw = jax.jit(jax.vmap(invert_cdf, in_axes=(None, 0)))


sample = jax.jit(
    lambda head, hidden, uniforms, temperature: jax.vmap(head.sample, in_axes=(None, 0, None))(
        hidden, uniforms, jnp.float32(temperature)
    )
)
limited = jax.jit(
    lambda head, hidden, uniforms, temperature, most: jax.vmap(
        head.sample, in_axes=(None, 0, None, None)
    )(hidden, uniforms, jnp.float32(temperature), most)
)
log_probs = jax.jit(lambda head, hidden, slots: jax.vmap(head.log_prob, (None, 0))(hidden, slots))
logits_of = jax.jit(lambda head, hidden: head.logits(hidden))


@pytest.fixture(scope="module", params=sorted(HEADS))
def head(request: pytest.FixtureRequest) -> Head:
    """Each head, with weights that make the probabilities uneven."""
    return make_head(request.param)


def make_head(name: str) -> Any:
    """A head of random weights, standard deviation 0.3."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: HEADS[name](CFG, rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32),
        nnx.to_pure_dict(state),
    )
    return nnx.merge(graphdef, params)


@pytest.fixture
def hidden() -> jax.Array:
    return jnp.asarray(np.random.default_rng(8).standard_normal(CFG.emb_dim), jnp.float32)


def oracle_draw(weights: np.ndarray, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries by float64 inverse CDF, and which uniforms lie clear of a step."""
    cdf = np.cumsum(weights.astype(np.float64).ravel())
    cdf /= cdf[-1]
    index = np.searchsorted(cdf, uniforms.astype(np.float64), side="right")
    clear = np.abs(cdf[:, None] - uniforms[None].astype(np.float64)).min(axis=0) > BOUNDARY
    return np.minimum(index, cdf.size - 1), clear


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_two_level_draw_is_the_inverse_cdf(spread: float):
    rng = np.random.default_rng(5)
    weights = np.exp(spread * rng.standard_normal(BLOCKS)).astype(np.float32)
    uniforms = rng.random(20_000, np.float32)
    expected, clear = oracle_draw(weights, uniforms)
    drawn = np.asarray(draw_in_blocks(jnp.asarray(weights), jnp.asarray(uniforms)))
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(drawn[clear], expected[clear])


def test_evenly_spaced_uniforms_give_every_entry_its_share():
    rng = np.random.default_rng(6)
    weights = np.exp(rng.standard_normal(BLOCKS)).astype(np.float32)
    num = 1 << 16
    uniforms = (np.arange(num) + 0.5).astype(np.float32) / num
    drawn = np.asarray(draw_in_blocks(jnp.asarray(weights), jnp.asarray(uniforms)))
    share = np.bincount(drawn, minlength=weights.size) / num
    exact = weights.ravel().astype(np.float64) / weights.sum(dtype=np.float64)
    assert np.abs(share - exact).max() <= 1.5 / num


@settings(max_examples=60, deadline=None)
@given(
    weights=npst.arrays(
        np.float32,
        BLOCKS,
        elements=st.sampled_from([0.0, 0.0, 1e-30, 1e-7, 0.3, 1.0]).map(np.float32),
    ),
    uniforms=st.lists(st.floats(0, float(LARGEST), width=32), min_size=4, max_size=4),
)
def test_a_draw_never_takes_an_impossible_entry(weights: np.ndarray, uniforms: list[float]):
    weights[7, 5] = 1.0
    given_uniforms = jnp.asarray([*EDGES, *uniforms], jnp.float32)
    drawn = np.asarray(draw_in_blocks(jnp.asarray(weights), given_uniforms))
    assert (weights.ravel()[drawn] > 0).all()
    index, share = draw(jnp.asarray(weights.ravel()), given_uniforms)
    assert (weights.ravel()[np.asarray(index)] > 0).all()
    assert (np.asarray(share) >= 0).all() and (np.asarray(share) <= 1).all()


@pytest.mark.parametrize("place", [(0, 0), (0, 31), (11, 17), (23, 0), (23, 31)])
def test_a_single_possible_entry_is_drawn_at_every_uniform(place: tuple[int, int]):
    weights = np.zeros(BLOCKS, np.float32)
    weights[place] = 1e-3
    drawn = draw_in_blocks(jnp.asarray(weights), jnp.asarray(EDGES, jnp.float32))
    np.testing.assert_array_equal(drawn, np.full(len(EDGES), np.ravel_multi_index(place, BLOCKS)))


def test_edges_of_the_unit_interval_give_the_first_and_last_possible_entry():
    weights = np.zeros(BLOCKS, np.float32)
    weights[2:20, 3:30] = 0.25
    first, last = draw_in_blocks(jnp.asarray(weights), jnp.asarray([0.0, LARGEST], jnp.float32))
    assert int(first) == np.ravel_multi_index((2, 3), BLOCKS)
    assert int(last) == np.ravel_multi_index((19, 29), BLOCKS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_weights_are_the_tempered_softmax(temperature: float):
    logits = np.random.default_rng(2).standard_normal(50).astype(np.float32) * 5
    weights = np.asarray(weights_of(jnp.asarray(logits), jnp.float32(temperature)), np.float64)
    expected = np.exp(logits.astype(np.float64) / temperature)
    np.testing.assert_allclose(weights / weights.sum(), expected / expected.sum(), rtol=2e-5)


def test_logits_sum_to_one_and_agree_with_every_log_prob(head: Any, hidden: jax.Array):
    everything = jax.nn.log_softmax(logits_of(head, hidden))
    combinations = list(itertools.product(*(range(n) for n in CFG.slot_shape)))
    every = log_probs(head, hidden, jnp.asarray(combinations, jnp.int32))
    np.testing.assert_allclose(every, everything, atol=2e-5)
    assert float(jnp.exp(every).sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(every.max() - every.min()) > 3.0


def test_factored_logits_are_normalised(hidden: jax.Array):
    head = make_head("factored")
    assert float(jax.nn.logsumexp(logits_of(head, hidden))) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_samples_follow_the_probabilities(head: Any, hidden: jax.Array, temperature: float):
    """With one attribute's uniform on a grid and the others fixed, or the joint one on a grid, the
    shares drawn are the conditional probabilities to the spacing of the grid."""
    num = 4096
    grid = (np.arange(num) + 0.5) / num
    stages = range(1) if head.__class__ is HEADS["joint"] else range(4)
    for stage in stages:
        uniforms = np.full((num, 4), 0.4, np.float32)
        uniforms[:, stage] = grid
        slots, finite = sample(head, hidden, uniforms, temperature)
        slots = np.asarray(slots)
        assert np.asarray(finite).all()
        exact = stage_probabilities(head, hidden, slots[0], stage, temperature)
        index = drawn_index(head, slots, stage)
        share = np.bincount(index, minlength=exact.size) / num
        assert np.abs(share - exact).max() <= 1.5 / num


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_limit_takes_volumes_and_nothing_else(head: Any, hidden: jax.Array, temperature: float):
    """Types and prices stay as they were drawn; no volume lies beyond its limit. A slack limit
    changes nothing at all."""
    uniforms = np.random.default_rng(1).random((2000, 4), np.float32)
    types, prices, volumes, _ = CFG.slot_shape
    free = np.asarray(sample(head, hidden, uniforms, temperature)[0])
    slack = jnp.full((types, prices), volumes - 1, jnp.int32)
    np.testing.assert_array_equal(limited(head, hidden, uniforms, temperature, slack)[0], free)
    most = np.random.default_rng(2).integers(0, volumes, (types, prices)).astype(np.int32)
    most[free[0][0], free[0][1]] = free[0][2] - 1 if temperature == 0 else 0
    drawn, finite = map(np.asarray, limited(head, hidden, uniforms, temperature, most))
    assert finite.all()
    clear = np.ones(len(drawn), bool)
    if head.__class__ is HEADS["joint"] and temperature:  # shares are rounded otherwise
        clear = (drawn[:, :2] == free[:, :2]).all(1)
        assert clear.mean() > 0.99
    np.testing.assert_array_equal(drawn[clear, :2], free[clear, :2])
    assert (drawn[:, 2] <= most[drawn[:, 0], drawn[:, 1]]).all()
    assert (free[:, 2] > most[free[:, 0], free[:, 1]]).mean() > 0.2


def stage_probabilities(
    head: Any, hidden: jax.Array, slots: np.ndarray, stage: int, temperature: float
) -> np.ndarray:
    """Float64 probabilities of what a stage (or the joint head) draws."""
    if head.__class__ is HEADS["joint"]:
        logits = head.logits(hidden)
    else:
        logits = head.stages[stage](hidden, jnp.asarray(slots[:stage]))
    logits = np.asarray(logits, np.float64) / temperature
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def drawn_index(head: Any, slots: np.ndarray, stage: int) -> np.ndarray:
    """The drawn entry of a stage, or the joint token."""
    if head.__class__ is HEADS["joint"]:
        return np.asarray(np.ravel_multi_index(tuple(slots.T), CFG.slot_shape))
    return slots[:, stage]


def test_temperature_zero_takes_the_most_probable(head: Any, hidden: jax.Array):
    uniforms = jnp.asarray([[0.0] * 4, [0.5] * 4, [LARGEST] * 4], jnp.float32)
    slots, finite = sample(head, hidden, uniforms, 0.0)
    assert np.asarray(finite).all()
    assert (np.asarray(slots) == np.asarray(slots)[0]).all()
    if head.__class__ is HEADS["joint"]:
        assert int(join_slots(slots[0], CFG)) == int(jnp.argmax(head.logits(hidden)))
    else:
        greedy: list[int] = []
        for stage in head.stages:
            greedy.append(int(jnp.argmax(stage(hidden, jnp.asarray(greedy, jnp.int32)))))
        np.testing.assert_array_equal(slots[0], greedy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_bad_logits_are_reported_and_slots_stay_in_range(head: Any, value: float, everywhere: bool):
    hidden = jnp.zeros((CFG.emb_dim,)).at[: CFG.emb_dim if everywhere else 1].set(value)
    uniforms = jnp.tile(jnp.asarray(EDGES, jnp.float32)[:, None], (1, 4))
    slots, finite = sample(head, hidden, uniforms, 1.0)
    assert not np.asarray(finite).any()
    assert (np.asarray(slots) >= 0).all()
    assert (np.asarray(slots) < np.array(CFG.slot_shape)).all()


def test_infinite_logit_in_one_column_is_reported(hidden: jax.Array):
    head = make_head("joint")
    head.out.kernel[...] = head.out.kernel[...].at[:, 7].set(jnp.inf)
    _, finite = sample(head, jnp.abs(hidden), jnp.full((3, 4), 0.5), 1.0)
    assert not np.asarray(finite).any()


def test_index_and_slots_are_inverse_for_every_token():
    tokens = jnp.arange(CFG.vocab, dtype=jnp.int32)
    slots = jax.vmap(lambda token: split_index(token, CFG))(tokens)
    np.testing.assert_array_equal(slots.T, np.unravel_index(np.asarray(tokens), CFG.slot_shape))
    np.testing.assert_array_equal(jax.vmap(lambda s: join_slots(s, CFG))(slots), tokens)
