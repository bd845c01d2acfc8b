"""Contexts encoded in turns against contexts encoded one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles.tiny_world import loud_model, quick_jit

from jaxmars.agents.policy import ENCODED_TOGETHER, ContextPolicy, anchored, exact
from jaxmars.config import OrderModelConfig
from jaxmars.tokens.order import NUM_FEATURES
from jaxmars.tokens.window import Window
from jaxmars.types import Params

MODEL = OrderModelConfig.tiny()
GROWTH = 8
TOLERANCE = 1e-5
SIZES = (1, 3, ENCODED_TOGETHER, 3 * ENCODED_TOGETHER)  # also one that is no multiple


def windows(num: int) -> Window:
    """Random windows of different lengths."""
    rng = np.random.default_rng(num)
    shape = (num, MODEL.num_max_orders, NUM_FEATURES)
    rows = jnp.asarray(rng.integers(0, 100, shape), jnp.int32)
    return Window(rows, jnp.asarray(rng.integers(1, MODEL.num_max_orders + 1, num), jnp.int32))


def context(policy: ContextPolicy, params: Params, window: Window) -> tuple:
    """What a policy makes of a window before any further order."""
    net = nnx.merge(loud_model(MODEL).graphdef, params)
    prefix = policy.share(net, window)
    window, cache = policy.anchor(net, prefix, window)
    return cache, policy.read(net, prefix, window, cache)[0]


@pytest.mark.parametrize("policy", [exact(GROWTH), anchored(MODEL, GROWTH)], ids=["exact", "grow"])
def test_a_context_does_not_depend_on_the_batch_it_is_in(policy: ContextPolicy) -> None:
    params = loud_model(MODEL).params
    alone = quick_jit(lambda window: context(policy, params, window))
    for num in SIZES:
        batch = windows(num)
        found = quick_jit(jax.vmap(lambda window: context(policy, params, window)))(batch)
        for i in range(num):
            expected = alone(jax.tree.map(lambda x, i=i: x[i], batch))
            mine = jax.tree.map(lambda x, i=i: x[i], found)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=TOLERANCE), mine, expected
            )


def test_models_can_differ_within_a_batch() -> None:
    """A batch over parameters, alone or with the windows, is encoded at once."""
    policy, batch = anchored(MODEL, GROWTH), windows(2)
    both = [loud_model(MODEL, seed).params for seed in (1, 2)]
    params = jax.tree.map(lambda *x: jnp.stack(x), *both)
    run = lambda params, window: context(policy, params, window)
    window = jax.tree.map(lambda x: x[0], batch)
    together = quick_jit(jax.vmap(run))(params, batch)
    shared = quick_jit(jax.vmap(run, (0, None)))(params, window)
    for i in range(2):
        expected = quick_jit(run)(both[i], jax.tree.map(lambda x, i=i: x[i], batch))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=TOLERANCE),
            together,
            expected,
        )
        alone = quick_jit(run)(both[i], window)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=TOLERANCE), shared, alone
        )
