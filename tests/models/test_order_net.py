"""The decoder: cached decoding against the full forward, batching, gradients, compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles.tiny_models import random_model

from jaxmars.config import OrderModelConfig
from jaxmars.models import KVCache, OrderModel, OrderNet, init_cache, layers
from jaxmars.tokens.order import ROW_WIDTH

TINY = OrderModelConfig.tiny()
TOLERANCE = 1e-4
DIFFERENCE = 1e-3  # length of the step of the finite difference
WINDOW, FILLED = 16, 9

encode = jax.jit(lambda net, rows: net.encode(rows))
prefill = jax.jit(lambda net, rows: net.prefill(rows))
widened = jax.jit(lambda cache: cache.widened(WINDOW))
decode = jax.jit(lambda net, row, position, cache: net.decode(row, position, cache))


def make_rows(cfg: OrderModelConfig, key: jax.Array, *shape: int) -> jax.Array:
    """Random feature rows int32[*shape, 15]."""
    limits = [cfg.vocab, 10, 10, 200, 9000, *[33] * 10]
    rows = jax.random.uniform(key, (*shape, 15)) * jnp.asarray(limits).reshape(
        *[1] * len(shape), 15
    )
    return rows.astype(jnp.int32)


@pytest.fixture(scope="module")
def net() -> OrderNet:
    """Two key/value heads for four query heads."""
    return random_model(num_max_orders=WINDOW, num_kv_heads=2).net()


@pytest.fixture
def rows(key: jax.Array) -> jax.Array:
    return make_rows(TINY, key, WINDOW)


@jax.jit
def decode_all(net: OrderNet, rows: jax.Array) -> tuple[jax.Array, object]:
    """Decodes row after row from an empty cache."""
    net = net.unstack()

    def step(cache: KVCache, inputs: tuple[jax.Array, jax.Array]) -> tuple[KVCache, jax.Array]:
        hidden, cache = net.decode(*inputs, cache)
        return cache, hidden

    cache, hidden = jax.lax.scan(step, init_cache(net.cfg), (rows, jnp.arange(rows.shape[0])))
    return hidden, cache


@pytest.mark.parametrize("block", [1, 5, 8, WINDOW, 2 * WINDOW])
def test_a_sequence_may_be_attended_in_blocks(
    block: int, net: OrderNet, rows: jax.Array, monkeypatch: pytest.MonkeyPatch
):
    """Of any size, one that does not divide the window too: each query sees what it saw."""
    expected, _ = decode_all(net, rows)
    monkeypatch.setattr(layers, "QUERY_BLOCK", block)
    found = jax.jit(lambda net, rows: net.encode(rows))(net, rows)
    assert jnp.abs(found - expected).max() < TOLERANCE


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_decode_equals_the_full_forward_at_every_position(kv_heads: int, rows: jax.Array):
    net = random_model(num_max_orders=WINDOW, num_kv_heads=kv_heads).net()
    hidden, cache = decode_all(net, rows)
    expected, prefilled = prefill(net, rows)
    np.testing.assert_allclose(hidden, expected, atol=TOLERANCE)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=TOLERANCE), cache, prefilled)
    assert float(jnp.std(expected)) > 0.5


def test_prefill_is_encode_and_a_wider_cache_is_empty_behind(net: OrderNet, rows: jax.Array):
    hidden, cache = prefill(net, rows[:FILLED])
    assert cache.slots == FILLED
    cache = widened(cache)
    np.testing.assert_allclose(hidden, encode(net, rows)[:FILLED], atol=TOLERANCE)
    kv, dim, window = net.cfg.kv_heads, net.cfg.head_dim, net.cfg.num_max_orders
    for keys, values in zip(cache.k, cache.v, strict=True):
        assert keys.shape == (kv, dim, window) and values.shape == (kv, window, dim)
        assert (
            not np.asarray(keys[:, :, FILLED:]).any() and not np.asarray(values[:, FILLED:]).any()
        )
        assert np.asarray(keys[:, :, :FILLED]).all() and np.asarray(values[:, :FILLED]).all()
    assert len(cache.k) == net.cfg.num_layers


def test_decode_continues_a_prefill(net: OrderNet, rows: jax.Array):
    cache = widened(prefill(net, rows[:FILLED])[1])
    expected = encode(net, rows)
    for position in range(FILLED, WINDOW):
        hidden, cache = decode(net, rows[position], jnp.int32(position), cache)
        np.testing.assert_allclose(hidden, expected[position], atol=TOLERANCE)


@pytest.mark.parametrize("common", [1, FILLED - 1, FILLED])
def test_a_cache_may_continue_a_prefix(common: int, net: OrderNet, rows: jax.Array):
    """Which is only read, and shared by caches that go on differently; with the cache `common`
    orders long or wherever it is cut."""
    whole = prefill(net, rows[:FILLED])[1]
    prefix, cache = whole.cut(0, common), whole.cut(common, FILLED).widened(WINDOW - common)
    both = jax.tree.map(lambda x: jnp.stack([x, x]), cache)
    run = jax.jit(jax.vmap(net.decode, in_axes=(0, None, 0, None)))
    other = rows.at[FILLED:].set(rows[FILLED:][::-1])
    expected = encode(net, rows), encode(net, other)
    for position in range(FILLED, WINDOW):
        pair = jnp.stack([rows[position], other[position]])
        hidden, both = run(pair, jnp.int32(position), both, prefix)
        for mine, whole in zip(hidden, expected, strict=True):
            np.testing.assert_allclose(mine, whole[position], atol=TOLERANCE)


@pytest.mark.parametrize("slot", [8, 3, 0], ids=["last", "older", "first"])
def test_overwriting_a_slot_takes_back_what_followed_it(
    net: OrderNet, rows: jax.Array, key: jax.Array, slot: int
):
    cache = widened(prefill(net, rows[:FILLED])[1])
    merged = make_rows(TINY, jax.random.fold_in(key, 1), 1)[0]
    history = jnp.concatenate([rows[:slot], merged[None], rows[FILLED:], rows[:FILLED]])[:WINDOW]
    expected = encode(net, history)
    for position in range(slot, slot + 4):
        hidden, cache = decode(net, history[position], jnp.int32(position), cache)
        np.testing.assert_allclose(hidden, expected[position], atol=TOLERANCE)


def test_later_orders_do_not_change_earlier_states(net: OrderNet, rows: jax.Array):
    changed = rows.at[10:].set(rows[10:][::-1] + 1)
    before, after = encode(net, rows), encode(net, changed)
    np.testing.assert_allclose(before[:10], after[:10], atol=1e-6)
    assert float(jnp.abs(before[10:] - after[10:]).max()) > 0.1


def test_mapped_decode_is_the_loop_over_trajectories(net: OrderNet, key: jax.Array):
    """Every lane holds another history and stands at another position."""
    lanes = 3
    rows = make_rows(TINY, key, lanes, WINDOW)
    positions = jnp.asarray([5, FILLED, 2], jnp.int32)
    lane_caches = [widened(prefill(net, rows[lane, :FILLED])[1]) for lane in range(lanes)]
    caches = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lane_caches)
    mapped, mapped_cache = jax.jit(jax.vmap(net.decode))(rows[:, 0], positions, caches)
    for lane in range(lanes):
        hidden, cache = decode(net, rows[lane, 0], positions[lane], lane_caches[lane])
        np.testing.assert_allclose(mapped[lane], hidden, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[lane], b, atol=1e-5),  # noqa: B023
            mapped_cache,
            cache,
        )


def test_unstacked_layers_change_nothing(net: OrderNet, rows: jax.Array):
    _, cache = prefill(net, rows[:FILLED])
    plain, _ = decode(net, rows[4], jnp.int32(4), cache)
    unstacked, _ = decode(net.unstack(), rows[4], jnp.int32(4), cache)
    np.testing.assert_allclose(unstacked, plain, atol=1e-6)


@pytest.mark.parametrize("head", ["joint", "factored"])
def test_gradients_reach_every_parameter_and_match_differences(head: str, key: jax.Array):
    model = random_model(num_max_orders=WINDOW, head=head, num_kv_heads=2, num_ratio_rows=11)
    windows = make_rows(TINY, key, 2, WINDOW)
    targets = jnp.asarray([[0, 1, 2, 3], [2, 7, 5, 0]], jnp.int32)

    def loss(params):
        net = nnx.merge(model.graphdef, params)

        def one(window, slots):
            return -jax.vmap(lambda h: net.head.log_prob(h, slots))(net.encode(window)).mean()

        return jax.vmap(one)(windows, targets).mean()

    value_and_grad = jax.jit(jax.value_and_grad(loss))
    _, grads = value_and_grad(model.params)
    norms = jax.tree.map(lambda leaf: float(np.linalg.norm(leaf)), grads)
    squared = sum(norm**2 for norm in jax.tree.leaves(norms))
    assert all(np.isfinite(norm) and norm > 0 for norm in jax.tree.leaves(norms)), norms

    step = DIFFERENCE / np.sqrt(squared)

    def loss_along_gradient(distance: float) -> float:
        moved = jax.tree.map(lambda p, g: p + distance * g, model.params, grads)
        return float(value_and_grad(moved)[0])

    low, high = loss_along_gradient(-step), loss_along_gradient(step)
    assert (high - low) / (2 * step) == pytest.approx(squared, rel=0.02)


def test_second_calls_do_not_compile(rows: jax.Array):
    model = random_model(num_max_orders=WINDOW)
    traces = []

    @jax.jit
    def step(params, row, position, cache):
        traces.append(1)
        return nnx.merge(model.graphdef, params).decode(row, position, cache)

    cache = init_cache(model.config)
    for position in range(3):
        _, cache = step(model.params, rows[position], jnp.int32(position), cache)
    assert len(traces) == 1


def test_bfloat16_parameters_give_nearby_states(rows: jax.Array):
    model = random_model(num_max_orders=WINDOW)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
    narrow = nnx.merge(model.graphdef, half)
    hidden = encode(narrow, rows)
    assert hidden.dtype == jnp.bfloat16
    error = jnp.abs(hidden.astype(jnp.float32) - encode(model.net(), rows))
    assert 0 < float(error.max()) < 0.2
    decoded, cache = decode(narrow, rows[0], jnp.int32(0), init_cache(model.config))
    assert decoded.dtype == jnp.bfloat16 and cache.k[0].dtype == jnp.float32
    assert narrow.head.logits(hidden[0]).dtype == jnp.float32


@pytest.mark.parametrize("shape", [(WINDOW + 1, 15), (4, 14), (2, 4, 15)])
def test_wrong_feature_shapes_are_named(shape: tuple[int, ...]):
    net = random_model(num_max_orders=WINDOW).net()
    said = rf"features must be \[length <= 16, 15 or {ROW_WIDTH}\], got \["
    with pytest.raises(ValueError, match=said):
        encode(net, jnp.zeros(shape, jnp.int32))


def test_rows_never_trained_add_nothing(rows: jax.Array):
    """Fresh change and time tables are zero, so those two columns do not matter."""
    net = OrderModel.init(TINY, jax.random.key(0)).net()
    other = rows.at[:, 3].set(-1999).at[:, 4].set(14_000)
    np.testing.assert_array_equal(encode(net, rows), encode(net, other))


def test_changes_are_clipped_and_other_indices_clamped(rows: jax.Array):
    net = random_model(num_max_orders=WINDOW, num_ratio_rows=11).net()
    row = rows[0]
    last = row.at[0].set(TINY.vocab - 1)
    pairs = [
        (row.at[3].set(2000), row.at[3].set(2500)),
        (row.at[3].set(-2000), row.at[3].set(-(2**31))),
        (row.at[4].set(14_404), row.at[4].set(20_000)),
        (row.at[4].set(0), row.at[4].set(-7)),
        (row.at[2].set(10), row.at[2].set(12)),
        (last, last.at[0].set(TINY.vocab + 100)),
    ]
    for inside, outside in pairs:
        np.testing.assert_array_equal(net.embedding(inside), net.embedding(outside))
    assert float(jnp.abs(net.embedding(row) - net.embedding(row.at[3].set(-5))).max()) > 1e-3


@pytest.mark.parametrize("rows_used", [0, 11])
def test_ratio_columns_count_only_with_ratio_tables(rows: jax.Array, rows_used: int):
    net = random_model(num_max_orders=WINDOW, num_ratio_rows=rows_used).net()
    for column in (1, 2):
        other = rows[0].at[column].set((rows[0, column] + 1) % 10)
        moved = float(jnp.abs(net.embedding(rows[0]) - net.embedding(other)).max())
        assert (moved > 1e-3) == bool(rows_used)
