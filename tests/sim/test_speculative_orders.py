"""The parts of speculative decoding: verdicts on drafts, and several orders decoded at once."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_models import random_model
from oracles.tiny_world import loud_model, quick_jit
from scipy import stats

from jaxmars.config import OrderModelConfig
from jaxmars.models import KVCache
from jaxmars.sim.speculative_orders import VERDICT_DRAWS, VERIFY, Verdict
from jaxmars.types import Params

TINY = OrderModelConfig.tiny()
WINDOW = TINY.num_max_orders
NUM_SLOTS = 4
TOLERANCE = 1e-4
BY_CHANCE = 1e-3  # largest p-value that is taken for a difference; the keys are fixed
CERTAIN = 1e-12  # of a difference that is there


def on_host(tree: Params) -> Params:
    return jax.tree.map(np.asarray, tree)


DRAWS = 20_000
KEYS_OF_DRAWS = jax.random.split(jax.random.key(2), DRAWS)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("head", ["joint", "factored"])
def test_a_verdict_s_orders_have_the_target_s_distribution(head: str, limited: bool) -> None:
    """All 768 orders, against their enumerated probabilities; how often a draft is kept too."""
    config = dataclasses.replace(TINY, head=head)
    nets = [loud_model(config, seed).net() for seed in (1, 2)]
    sure, quick = nets
    hidden = jax.random.normal(jax.random.key(1), (2, TINY.emb_dim)) * jnp.array([[0.7], [0.4]])
    pairs, volumes = TINY.slot_shape[:2], TINY.slot_shape[2]
    limits = np.random.default_rng(4).integers(0, volumes, pairs)
    most = jnp.asarray(limits, jnp.int32) if limited else None

    @quick_jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def draw(key: jax.Array, temperature: jax.Array) -> tuple[jax.Array, Verdict]:
        uniforms = jax.random.uniform(key, (NUM_SLOTS + VERDICT_DRAWS,))
        drafted, _ = quick.head.sample(hidden[1], uniforms[:NUM_SLOTS], temperature, most)
        heads, rest = (sure.head, quick.head), uniforms[NUM_SLOTS:]
        return drafted, VERIFY[head](*heads, *hidden, drafted, rest, temperature, most)

    found = quick_jit(lambda: [net.head.logits(x) for net, x in zip(nets, hidden, strict=True)])()
    logits = [np.asarray(x, np.float64) for x in found]
    p, q = (np.exp(x - np.logaddexp.reduce(x)) for x in logits)
    if limited:
        p, q = within(p, limits), within(q, limits)
    drafted, verdict = on_host(draw(KEYS_OF_DRAWS, 1.0))
    counts = np.bincount(np.ravel_multi_index(verdict.slots.T, TINY.slot_shape), minlength=p.size)
    rare = p * DRAWS < 10
    lumped = lambda x: np.append(x[~rare], x[rare].sum() + 1e-9)
    for share, is_like in ((p, True), (q, False)):
        cells, expected = lumped(counts), lumped(share) * DRAWS
        p_value = stats.chisquare(cells, expected * cells.sum() / expected.sum()).pvalue
        assert p_value > BY_CHANCE if is_like else p_value < CERTAIN

    same = (drafted == verdict.slots).cumprod(1).sum(1)
    assert (same >= verdict.kept).all() and verdict.finite.all()
    overlap = np.minimum(p, q) if head == "joint" else first_overlap(p, q)
    kept = (verdict.kept == NUM_SLOTS) if head == "joint" else (verdict.kept > 0)
    spread = np.sqrt(overlap.sum() * (1 - overlap.sum()) / DRAWS)
    assert abs(kept.mean() - overlap.sum()) < 4 * spread

    _, sharp = on_host(draw(KEYS_OF_DRAWS[::-1], 0.0))
    assert (sharp.slots == sharp.slots[0]).all()
    if head == "joint" and not limited:
        assert np.ravel_multi_index(sharp.slots[0], TINY.slot_shape) == p.argmax()


def within(p: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Probabilities of all orders given that no volume is beyond `most` of its type and price."""
    whole = p.reshape(TINY.slot_shape)
    volume = np.arange(TINY.slot_shape[2])[:, None]
    kept = np.where(volume <= most[..., None, None], whole, 0.0)
    return (kept / kept.sum((2, 3), keepdims=True) * whole.sum((2, 3), keepdims=True)).ravel()


def first_overlap(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """min(p, q) of the first attribute."""
    marginals = (x.reshape(TINY.slot_shape).sum((1, 2, 3)) for x in (p, q))
    return np.minimum(*marginals)


POSITIONS = {
    "appended": [8, 9, 10, 11],
    "replaced at the end": [7, 8, 8, 8],
    "each twice": [8, 8, 9, 9],
    "the last before": [7, 7, 7, 8],
    "taken back": [8, 5, 6, 5],
}


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_extend_equals_one_decode_after_the_other(dtype: str) -> None:
    """Hidden states, and the cache once the rows that stay are written."""
    net = random_model(num_kv_heads=2).net()
    net.cache_dtype = jnp.dtype(dtype)
    rows = jax.random.randint(jax.random.key(7), (12, 15), 0, 200)
    start, new = rows[:8], rows[8:]
    positions = np.array(list(POSITIONS.values()), np.int32)
    later = np.triu(positions[:, :, None] == positions[:, None], 1).any(2)

    @quick_jit
    @jax.vmap
    def both(at: jax.Array, is_last: jax.Array) -> tuple[tuple[jax.Array, KVCache], ...]:
        begun = net.prefill(start)[1].widened(WINDOW)
        hidden, added = net.extend(new, at, begun)
        ours = begun.written(jnp.where(is_last, at, WINDOW), added)
        cache, theirs = begun, []
        for row, position in zip(new, at, strict=True):
            state, cache = net.decode(row, position, cache)
            theirs.append(state)
        return (hidden, ours), (jnp.stack(theirs), cache)

    (hidden, ours), (expected, theirs) = both(positions, ~later)
    np.testing.assert_allclose(hidden, expected, atol=TOLERANCE)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(np.float32(a), np.float32(b), atol=TOLERANCE)
    assert np.abs(np.diff(expected, axis=0)).max((1, 2)).min() > 100 * TOLERANCE
