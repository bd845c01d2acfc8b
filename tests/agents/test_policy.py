"""Contexts encoded in turns against contexts encoded one by one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles.tiny_world import loud_model, quick_jit

from jaxmars.agents.policy import (
    ENCODED_TOGETHER,
    POLICIES,
    SHARED_BY,
    SHARED_SEGMENTS,
    Cache,
    ContextPolicy,
    anchored,
    choose,
    exact,
    shared_prefix,
)
from jaxmars.config import Context, OrderModelConfig
from jaxmars.tokens.order import APPEND, NUM_FEATURES, REPLACE
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


def test_anchoring_many_contexts_takes_no_second_copy_of_their_caches() -> None:
    """The memory planner counts one; of the rest a turn of a few contexts must do."""
    policy, params, batch = anchored(MODEL, 4), loud_model(MODEL).params, 512

    def anchor(window: Window) -> Cache:
        return policy.anchor(nnx.merge(loud_model(MODEL).graphdef, params), (), window)[1]

    compiled = jax.jit(jax.vmap(anchor)).lower(windows(batch)).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < memory.output_size_in_bytes / 4


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


@pytest.mark.parametrize(
    ("alike", "orders", "name"),
    [
        (SHARED_BY, SHARED_SEGMENTS * GROWTH, "shared_prefix(8)"),
        (SHARED_BY - 1, 1, "anchored(8)"),
        (1_000, SHARED_SEGMENTS * GROWTH + 1, "anchored(8)"),
    ],
)
def test_sharing_is_chosen_for_many_short_trajectories(
    alike: int, orders: float, name: str
) -> None:
    assert choose(MODEL, GROWTH, alike, orders).name == name


def test_every_name_has_a_policy() -> None:
    assert {str(name) for name in Context} == set(POLICIES)
    names = [make(MODEL, GROWTH).name for make in POLICIES.values()]
    assert names == ["exact", "anchored(8)", "shared_prefix(8)"]
    assert all(make(MODEL, GROWTH).segment == GROWTH for make in POLICIES.values())


@pytest.mark.parametrize("growth", [0, MODEL.num_max_orders])
@pytest.mark.parametrize("make", [anchored, shared_prefix])
def test_a_growth_outside_the_window_is_refused(make: Callable[..., Any], growth: int) -> None:
    with pytest.raises(ValueError, match=rf"must lie in \[1, 31\] .* got {growth}"):
        make(MODEL, growth)


@pytest.mark.parametrize("growth", [1, GROWTH, MODEL.num_max_orders - 1])
def test_a_shared_prefix_reads_what_an_anchored_context_reads(growth: int) -> None:
    """At every order of a segment, also after the last order before it was rewritten."""
    params = loud_model(MODEL).params
    kept = MODEL.num_max_orders - growth
    rows = windows(1).rows[0]
    start = Window(rows, jnp.int32(kept))
    steps = [(rows[kept - 1] + 1, REPLACE), *((rows[kept + i], APPEND) for i in range(growth))]

    def readings(policy: ContextPolicy) -> jax.Array:
        net = nnx.merge(loud_model(MODEL).graphdef, params)
        prefix = policy.share(net, start)
        window, cache = policy.anchor(net, prefix, start)

        def step(carry: tuple, item: tuple) -> tuple[tuple, jax.Array]:
            window, cache = carry
            window = policy.put(window, *item)
            hidden, cache = policy.read(net, prefix, window, cache)
            return (window, cache), hidden

        items = (jnp.stack([s[0] for s in steps]), jnp.asarray([s[1] for s in steps]))
        return jax.lax.scan(step, (window, cache), items)[1]

    opening = shared_prefix(MODEL, growth).opening
    assert opening is not None
    mine, theirs = (
        quick_jit(lambda p=p: readings(p))() for p in (opening, anchored(MODEL, growth))
    )
    np.testing.assert_allclose(mine, theirs, atol=TOLERANCE)
    assert np.std(theirs, axis=0).max() > 0.1
