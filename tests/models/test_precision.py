"""Models in fewer bits: quantised arrays, the model beside itself in float32, memory, a market."""

import dataclasses
import pathlib
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles.tiny_models import distance, make_rows, random_model
from oracles.tiny_world import history_after, loud_model, noise_past, quick_jit, tiny_converters

from jaxmars import clock
from jaxmars.agents.background import BackgroundParams, background_agent
from jaxmars.agents.policy import anchored, shared_prefix
from jaxmars.config import MarketConfig, OrderModelConfig, SimConfig
from jaxmars.errors import InputError
from jaxmars.models import (
    PRECISIONS,
    KVCache,
    OrderModel,
    OrderNet,
    Precision,
    init_cache,
    with_precision,
)
from jaxmars.models.layers import Slots
from jaxmars.models.scaled import Scaled, ScaledLinear, Stored, dtype_of, quantised, stored
from jaxmars.sim.lane_memory import LaneMemory, lane_memory
from jaxmars.sim.lanes import Start
from jaxmars.sim.rollout import rollout
from jaxmars.sim.state import init_market
from jaxmars.tokens.order import APPEND, REPLACE
from jaxmars.tokens.window import Window
from jaxmars.types import Event, Kind, Params, Status

WINDOW, FILLED, GROWTH = 16, 9, 4
CFG = SimConfig(MarketConfig(slots=128, levels=4), segment=8)
STEPS = 8
LARGEST = 127  # of int8
SIZES = 8.0  # outputs of a matrix differ by up to its square
ROUNDING = 1e-5
FLOAT8 = jnp.float8_e4m3fn
INT8_WEIGHTS = Precision(weights=jnp.int8)
INT8_CACHE = Precision(cache=jnp.int8)
FLOAT8_CACHE = Precision(cache=FLOAT8)


def spread(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Columns whose sizes differ by many powers of ten, one of them zero."""
    sizes = 10.0 ** rng.uniform(-6, 6, columns)
    sizes[rng.integers(columns)] = 0.0
    return (rng.normal(size=(rows, columns)) * sizes).astype(np.float32)


def wide(x: Stored) -> jax.Array:
    """The numbers that a narrow array stands for."""
    assert isinstance(x, Scaled)
    return x.data.astype(jnp.float32) * x.scale


to_int8 = jax.jit(lambda x, axis: quantised(x, axis, jnp.int8), static_argnums=1)


@hypothesis.given(seed=st.integers(0, 2**32 - 1), axis=st.sampled_from([0, 1, -1]))
@hypothesis.settings(deadline=None, max_examples=40)
def test_a_slice_is_kept_to_within_half_a_step(seed: int, axis: int) -> None:
    x = spread(np.random.default_rng(seed), 7, 5)
    x = x if axis == 0 else x.T
    found = to_int8(x, axis)
    most = np.abs(x).max(axis, keepdims=True)
    assert found.data.dtype == jnp.int8 and found.data.shape == x.shape
    np.testing.assert_allclose(found.scale, np.where(most == 0, 1, most / LARGEST), rtol=1e-6)
    assert (np.abs(found.data).max(axis, keepdims=True) == np.where(most == 0, 0, LARGEST)).all()
    assert (np.abs(wide(found) - x) <= found.scale / 2 * (1 + ROUNDING)).all()


def test_float8_keeps_four_bits_of_every_number_near_the_largest() -> None:
    x = spread(np.random.default_rng(0), 400, 5)
    found = quantised(jnp.asarray(x), 0, FLOAT8)
    assert found.data.dtype == FLOAT8 and (np.abs(found.data.astype(np.float32)).max() == 448)
    error = np.abs(wide(found) - x)
    assert (error <= np.maximum(2**-4 * np.abs(x), 2**-10 * found.scale) * (1 + ROUNDING)).all()
    assert (error > 2**-6 * np.abs(x)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [jnp.int8, FLOAT8])
def test_what_is_not_finite_stays_so(bad: float, dtype: Any) -> None:
    """A model with a bad number must still be stopped."""
    x = jnp.ones((3, 2)).at[1, 1].set(bad)
    again = wide(quantised(x, 0, dtype))
    assert not np.isfinite(again[:, 1]).all() and np.isfinite(again[:, 0]).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_projection_has_a_scale_per_output(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    matrix, x = spread(rng, 24, 9), jnp.asarray(rng.normal(size=24), dtype)
    own = quantised(jnp.asarray(matrix), 0, jnp.int8)
    found = ScaledLinear(own, jnp.float32)(x)
    exact = np.asarray(x, np.float64) @ matrix
    bound = np.abs(np.asarray(x, np.float64)).sum() * np.asarray(own.scale)[0] / 2
    assert found.dtype == jnp.float32 and ScaledLinear(own)(x).dtype == dtype
    assert (np.abs(found - exact) <= bound * (1 + ROUNDING)).all()
    assert (np.abs(found - exact) > bound / 1000)[exact != 0].any()


@pytest.mark.parametrize("dtype", [jnp.int8, FLOAT8])
def test_attention_over_a_narrow_cache_is_that_over_what_it_stands_for(dtype: Any) -> None:
    """In two parts, of slots and heads whose sizes differ."""
    model = random_model(num_max_orders=WINDOW, num_kv_heads=2)
    dim, rng = model.config.head_dim, np.random.default_rng(2)
    contexts = []
    for slots in (5, 3):
        sizes = 10.0 ** rng.uniform(-1, 1, (2, 1, slots))
        keys = rng.normal(size=(2, dim, slots)) * sizes
        values = rng.normal(size=(2, slots, dim)) * sizes.swapaxes(1, 2)
        seen = np.arange(slots) != 1
        contexts.append((keys.astype(np.float32), values.astype(np.float32), seen))
    query = rng.normal(size=(2, 2, dim)).astype(np.float32)

    @quick_jit
    def attend(net: OrderNet, query: jax.Array, contexts: list) -> tuple[jax.Array, jax.Array]:
        attention = net.layer_list()[0].attention
        parts = [Slots(stored(k, 1, dtype), stored(v, 2, dtype), seen) for k, v, seen in contexts]
        plain = [Slots(wide(part.keys), wide(part.values), part.seen) for part in parts]
        return attention.attend(query, parts), attention.attend(query, plain)

    found, expected = attend(model.net(), query, contexts)
    np.testing.assert_allclose(found, expected, atol=ROUNDING * float(np.abs(expected).max()))
    assert float(np.std(expected)) > 0.01


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"activations": jnp.float16}, "activations must be float32 or bfloat16, got .*float16"),
        ({"weights": jnp.bfloat16}, "weights must be float32 or int8, got .*bfloat16"),
        ({"cache": jnp.int32}, "cache must be float32 or bfloat16 or int8 or .*, got .*int32"),
    ],
)
def test_other_types_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Precision(**changes)


def test_float32_is_the_model_as_it_was() -> None:
    model = random_model()
    assert with_precision(model, Precision()) is model
    assert model.net().cache_dtype == jnp.float32


def shapes_by_name(params: Params) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of every parameter, names joined by "/"."""
    shapes = jax.tree_util.tree_leaves_with_path(jax.eval_shape(lambda: params))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in shapes}


@pytest.mark.parametrize("head", ["joint", "factored"])
def test_types_are_those_asked_for(head: str) -> None:
    """Tables and scales float32, matrices int8, the rest bfloat16."""
    model = random_model(head=head)
    original = shapes_by_name(model.params)

    def convert(params: Params) -> Params:
        given = dataclasses.replace(model, params=params)
        return with_precision(given, PRECISIONS["int8"]).params

    leaves = shapes_by_name(jax.eval_shape(convert, model.params))
    matrices = {name for name in original if name.endswith("kernel") and "book" not in name}
    tables = {name for name in original if name.endswith("weight") and "norm" not in name}
    scales = {name.replace("kernel", "scale"): name for name in matrices}
    assert set(leaves) == set(original) | set(scales)
    assert len(matrices) >= 8 and len(tables) >= 6
    for name, leaf in leaves.items():
        narrow = jnp.int8 if name in matrices else jnp.bfloat16
        assert leaf.dtype == (jnp.float32 if name in tables or name in scales else narrow), name
    for name, matrix in scales.items():
        shape = original[matrix].shape
        assert leaves[name].shape == (*shape[:-2], 1, shape[-1])


def test_a_model_is_converted_once_and_never_saved(tmp_path: pathlib.Path) -> None:
    narrow = with_precision(random_model(), PRECISIONS["bfloat16"])
    with pytest.raises(ValueError, match="in another precision already, expected one in float32"):
        with_precision(narrow, Precision())
    with pytest.raises(InputError, match="holds bfloat16 parameters, expected the float32 model"):
        narrow.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@quick_jit
def read(net: OrderNet, rows: jax.Array) -> tuple[jax.Array, jax.Array, KVCache, KVCache]:
    """Logits after each row, encoded at once and, from `FILLED` on, decoded after a prefill; the
    cache in the end, and that of a prefill of all rows."""
    hidden, whole = net.prefill(rows)
    cache = whole.cut(0, FILLED).widened(WINDOW)

    def one(cache: KVCache, item: tuple[jax.Array, jax.Array]) -> tuple[KVCache, jax.Array]:
        hidden, cache = net.decode(*item, cache)
        return cache, net.head.logits(hidden)

    rest = (rows[FILLED:], jnp.arange(FILLED, WINDOW))
    cache, decoded = jax.lax.scan(one, cache, rest)
    return jax.vmap(net.head.logits)(hidden), decoded, cache, whole


@pytest.fixture(scope="module")
def model() -> OrderModel:
    """Two key/value heads for four query heads; in every matrix outputs of different sizes."""
    made = random_model(num_max_orders=WINDOW, num_kv_heads=2)
    rng = np.random.default_rng(4)

    def sized(path: tuple, leaf: jax.Array) -> jax.Array:
        if "kernel" not in jax.tree_util.keystr(path):
            return leaf
        sizes = SIZES ** rng.uniform(-1, 1, leaf.shape[-1])
        return jnp.asarray(np.asarray(leaf) * sizes, jnp.float32)

    params = jax.tree_util.tree_map_with_path(sized, made.params)
    return dataclasses.replace(made, params=params)


@pytest.fixture(scope="module")
def plain(model: OrderModel) -> tuple[jax.Array, jax.Array, KVCache, KVCache]:
    return read(model.net(), make_rows(WINDOW))


@pytest.mark.parametrize(
    ("precision", "encoded", "decoded"),
    [
        (PRECISIONS["bfloat16"], 0.010, 0.010),
        (INT8_WEIGHTS, 0.018, 0.018),
        (INT8_CACHE, 0.0, 0.0035),
        (FLOAT8_CACHE, 0.0, 0.011),
        (PRECISIONS["int8"], 0.018, 0.018),
    ],
    ids=["bfloat16", "int8 weights", "int8 cache", "float8 cache", "int8"],
)
def test_logits_are_near_those_of_float32(
    precision: Precision,
    encoded: float,
    decoded: float,
    model: OrderModel,
    plain: tuple[jax.Array, jax.Array, KVCache, KVCache],
) -> None:
    """Closer than with one scale for a whole matrix or cache, which is 0.027 for int8 weights and
    0.0053 for an int8 cache; and decoding after a prefill is encoding up to what a cache rounds."""
    found = read(with_precision(model, precision).net(), make_rows(WINDOW))
    assert found[0].dtype == found[1].dtype == jnp.float32
    assert distance(found[0], plain[0]) <= encoded
    assert 0 < distance(found[1], plain[0][FILLED:]) < decoded
    assert distance(found[1], found[0][FILLED:]) < decoded
    for cache in found[2:]:
        assert {dtype_of(x) for x in (*cache.k, *cache.v)} == {jnp.dtype(precision.cache)}


def test_decode_keeps_what_prefill_keeps(model: OrderModel) -> None:
    """The first layer's keys and values do not depend on the cache, so they are the same."""
    _, _, decoded, prefilled = read(with_precision(model, INT8_CACHE).net(), make_rows(WINDOW))
    for a, b in ((decoded.k[0], prefilled.k[0]), (decoded.v[0], prefilled.v[0])):
        np.testing.assert_allclose(a.scale, b.scale, rtol=1e-4)
        assert np.abs(a.data.astype(int) - b.data.astype(int)).max() <= 1
        assert np.ptp(np.asarray(a.scale)) > 0.1 * np.mean(np.asarray(a.scale))
    empty = init_cache(model.config, jnp.int8)
    shapes = lambda cache: jax.tree.map(lambda x: (x.shape, x.dtype), cache)
    assert shapes(empty) == shapes(decoded) == shapes(prefilled)
    assert not any(np.asarray(wide(x)).any() for x in (*empty.k, *empty.v))


def test_trajectories_share_an_int8_prefix(model: OrderModel) -> None:
    """The prefix and their own slots are those of a cache of their own, read in two parts."""
    narrow = with_precision(model, INT8_CACHE)
    window = Window(make_rows(WINDOW), jnp.int32(WINDOW))

    sharing = shared_prefix(model.config, GROWTH).opening
    assert sharing is not None

    @quick_jit
    def hidden_after(params: Params, row: jax.Array) -> list[jax.Array]:
        net = nnx.merge(narrow.graphdef, params)
        found = []
        for policy in (anchored(model.config, GROWTH), sharing):
            prefix = policy.share(net, window)
            own, cache = policy.anchor(net, prefix, window)
            for action in (APPEND, APPEND, REPLACE):
                own = policy.put(own, row + own.count, jnp.int32(action))
                hidden, cache = policy.read(net, prefix, own, cache)
                found.append(hidden)
            assert {dtype_of(x) for x in cache.k} == {jnp.dtype(jnp.int8)}
        return found

    found = jnp.stack(hidden_after(narrow.params, window.rows[0]))
    alone, shared = jnp.split(found, 2)
    np.testing.assert_allclose(shared, alone, atol=1e-4)
    assert (jnp.abs(jnp.diff(alone, axis=0)).max(1) > 0.05).all()


@pytest.fixture(scope="module")
def start() -> Start:
    """One, with an hour to go."""
    past = noise_past(CFG.market)
    history = history_after(past, OrderModelConfig.tiny().num_max_orders, CFG.market)
    end = clock.make_time(past.time.sec + 3_600)
    return Start(past.book, past.time, end, past.last_price, (history,))


def memory_of(precision: Precision, start: Start) -> tuple[LaneMemory, int]:
    """Memory of lanes of the loud model, and bytes of its parameters."""
    starts = jax.tree.map(lambda x: jnp.asarray(x)[None], start)
    model = with_precision(loud_model(OrderModelConfig.tiny()), precision)
    cfg = model.config
    agent = background_agent(model.graphdef, cfg, CFG.market, anchored(cfg, CFG.segment))
    params = (BackgroundParams(model.params, tiny_converters().tables(), 1.0),)
    found = lane_memory(starts, params, (agent,), CFG)
    return found, sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))


def test_memory_shrinks_with_the_numbers(start: Start) -> None:
    cfg = OrderModelConfig.tiny()
    numbers = 2 * cfg.num_layers * cfg.num_max_orders * cfg.kv_heads * cfg.head_dim
    scales = numbers // cfg.head_dim
    full, full_params = memory_of(Precision(), start)
    small, small_params = memory_of(PRECISIONS["int8"], start)
    assert full.context == 4 * numbers
    assert small.context == numbers + 4 * scales
    assert full.state == small.state
    assert full.fixed - small.fixed > full_params - small_params > 0


def test_an_int8_model_runs_a_market(start: Start) -> None:
    model = with_precision(loud_model(OrderModelConfig.tiny()), PRECISIONS["int8"])
    agent = background_agent(
        model.graphdef, model.config, CFG.market, anchored(model.config, CFG.segment)
    )

    @quick_jit
    def run(params: BackgroundParams) -> Event:
        key = jax.random.key(5)
        state = init_market(key, (params,), *start[:5], agents=(agent,), cfg=CFG.market)
        return rollout(key, state, (params,), agents=(agent,), cfg=CFG, num_events=STEPS)[1]

    events = run(BackgroundParams(model.params, tiny_converters().tables(), 1.0))
    assert not (np.asarray(events.status) & Status.BAD_LOGITS).any()
    kinds = np.asarray(events.kind)
    assert (kinds == Kind.LIMIT).sum() > 2 and set(kinds) <= {Kind.NONE, Kind.LIMIT, Kind.CANCEL}
    assert len(set(np.asarray(events.price)[kinds == Kind.LIMIT])) > 1
