"""Bin converters against runs of the release, an independent oracle, numpy, and bad input."""

import collections
import math
import pathlib
import random

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles import bins as oracle

from jaxmars.errors import InputError
from jaxmars.tokens import bins
from jaxmars.tokens.bins import BinConverter

NANO = 10**9
few = hypothesis.settings(max_examples=60, deadline=None)
ONE, TWO = np.array([1.0]), np.array([0.5, 0.5])
encode_all = jax.jit(jax.vmap(bins.encode, in_axes=(None, 0, 0)))
sample_all = jax.jit(jax.vmap(bins.sample, in_axes=(None, 0, 0)))

RELEASE_RUNS = [  # values, bins, edges, {value: slot}
    (
        list(range(1, 21)),
        4,
        [1, 6, 11, 16, 20],
        {0: 0, 6: 0, 10: 1, 11: 1, 25: 3},
    ),
    (
        [100] * 60 + [200] * 10 + [300] * 10 + [400] * 10 + [500] * 10,
        4,
        [99, 100, 300, 400, 500],
        {50: 0, 100: 0, 101: 1, 300: 1, 400: 2, 900: 3},
    ),
    (
        [-5] * 5 + [-3] * 10 + [-1] * 10 + [0] * 50 + [1] * 10 + [3] * 10 + [5] * 5,
        5,
        [-5, -3, -1, 0, 3, 5],
        {-0.5: 2, 0: 2, 0.5: 3},
    ),
    ([1] * 5 + [2] * 5, 2, [1, 2, 2], {1: 0, 2: 0}),
]


def to_pairs(x: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Nearest (whole, nano) of numbers with at most nine decimals."""
    units = [divmod(round(value * NANO), NANO) for value in map(float, x)]
    whole, nano = np.array(units, np.int32).reshape(-1, 2).T
    return jnp.asarray(whole), jnp.asarray(nano)


def to_float(whole: np.ndarray, nano: np.ndarray) -> np.ndarray:
    """The float64 nearest to each pair."""
    pairs = zip(np.asarray(whole).tolist(), np.asarray(nano).tolist(), strict=True)
    return np.array([(w * NANO + n) / NANO for w, n in pairs])


def device_slots(converter: BinConverter, x: np.ndarray) -> np.ndarray:
    return np.asarray(encode_all(converter.table(), *to_pairs(x)))


def with_edges(edges: list[float]) -> BinConverter:
    """A converter whose bins hold nothing but their upper edge."""
    ones = [np.ones(1)] * (len(edges) - 1)
    return BinConverter.from_arrays(np.array(edges), [np.array([e]) for e in edges[1:]], ones)


def assert_same(left: BinConverter, right: BinConverter) -> None:
    """Equal bit for bit."""
    assert left.edges.tobytes() == right.edges.tobytes()
    assert [x.tobytes() for x in left.values] == [x.tobytes() for x in right.values]
    assert [x.tobytes() for x in left.probs] == [x.tobytes() for x in right.probs]


@pytest.mark.parametrize(("values", "num_bins", "edges", "slots"), RELEASE_RUNS)
def test_release_runs(
    values: list[float], num_bins: int, edges: list[float], slots: dict[float, int]
) -> None:
    converter = BinConverter.fit(np.array(values), num_bins)
    assert converter.edges.tolist() == edges
    x = np.array(list(slots), np.float64)
    assert converter.encode(x).tolist() == list(slots.values())
    assert device_slots(converter, x).tolist() == list(slots.values())


def test_release_tables() -> None:
    assert BinConverter.fit(np.arange(1, 21), 4).values[1].tolist() == [7, 8, 9, 10, 11]
    heavy = BinConverter.fit(np.array(RELEASE_RUNS[1][0]), 4)
    assert heavy.values[1].tolist() == [200, 300]
    assert heavy.probs[1].tolist() == [0.5, 0.5]
    tied = BinConverter.fit(np.array(RELEASE_RUNS[3][0]), 2)
    assert [len(x) for x in tied.values] == [2, 0]


VALUES = st.one_of(
    st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=60),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 1e-9, -2.5]), min_size=1, max_size=60),
)


@few
@hypothesis.given(VALUES, st.integers(2, 9))
def test_fit_equals_the_oracle(values: list[float], num_bins: int) -> None:
    edges = oracle.fit_edges(values, num_bins)
    if edges is None:
        with pytest.raises(InputError, match=f"cannot fit {num_bins} bins"):
            BinConverter.fit(np.array(values), num_bins)
        return
    converter = BinConverter.fit(np.array(values), num_bins)
    assert converter.edges.tolist() == edges
    for counts, table, probs in zip(
        oracle.counts_per_bin(values, edges), converter.values, converter.probs, strict=True
    ):
        assert table.tolist() == sorted(counts)
        expected = [counts[v] / counts.total() for v in sorted(counts)]
        np.testing.assert_allclose(probs, expected, rtol=1e-15)


def test_fit_of_real_flow_equals_the_oracle(real_data: pathlib.Path) -> None:
    path = real_data / "lobster" / "AAPL_2012-06-21_34200000_37800000_message_50.csv.xz"
    rows = pd.read_csv(path, header=None, nrows=20_000)
    intervals = np.diff(rows[0].to_numpy()).clip(0)
    for values, num_bins in ((rows[3].to_numpy(np.float64), 32), (intervals, 16)):
        converter = BinConverter.fit(values, num_bins)
        assert converter.edges.tolist() == oracle.fit_edges(values.tolist(), num_bins)
        slots = converter.encode(values)
        again = converter.encode(converter.sample(slots, np.random.default_rng(0)))
        np.testing.assert_array_equal(again, slots)


@few
@hypothesis.given(
    st.lists(st.integers(0, 30).map(float), min_size=5, max_size=200), st.integers(1, 12)
)
def test_long_tables_keep_the_most_frequent(values: list[float], max_values: int) -> None:
    hypothesis.assume(oracle.fit_edges(values, 2) is not None)
    converter = BinConverter.fit(np.array(values), 2, max_values=max_values)
    for counts, table, probs in zip(
        oracle.counts_per_bin(values, converter.edges.tolist()),
        converter.values,
        converter.probs,
        strict=True,
    ):
        kept = [counts[v] for v in table]
        dropped = [count for v, count in counts.items() if v not in set(table.tolist())]
        assert len(table) == min(len(counts), max_values)
        assert min(kept, default=0) >= max(dropped, default=0)
        np.testing.assert_allclose(probs * sum(kept), kept, rtol=1e-12)


def test_ties_at_the_cut_are_evenly_spaced_ranks() -> None:
    continuous = np.arange(1000.0)
    table = BinConverter.fit(continuous, 2, max_values=10).values[0]
    assert table.tolist() == [25.0 + 50 * i for i in range(10)]
    heavy = np.concatenate((continuous, [7.0, 7.0]))
    table = BinConverter.fit(heavy, 2, max_values=3).values[0]
    assert 7.0 in table and len(table) == 3


def test_fit_draws_a_seeded_subset_and_leaves_its_input() -> None:
    values = np.random.default_rng(1).normal(size=500)
    before = values.copy()
    fits = [BinConverter.fit(values, 4, max_samples=100, seed=seed) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(values, before)
    assert_same(fits[0], fits[1])
    assert fits[0].edges.tolist() != fits[2].edges.tolist()
    kept = np.concatenate(fits[0].values)
    assert len(kept) == 100 and np.isin(kept, values).all()
    assert_same(BinConverter.fit(values, 4, seed=3), BinConverter.fit(values, 4, seed=4))


@pytest.mark.parametrize(
    ("values", "num_bins", "options", "sentence"),
    [
        ([2.0] * 10, 4, {}, "cannot fit 4 bins to 1 distinct"),
        ([1.0, 2.0] * 5, 3, {}, "cannot fit 3 bins to 2 distinct"),
        ([], 4, {}, r"shape \(0,\)"),
        ([[1.0, 2.0]], 2, {}, r"shape \(1, 2\)"),
        ([1.0, math.nan], 2, {}, "value 1 .* nan"),
        ([-math.inf, 1.0], 2, {}, "value 0 .* -inf"),
        ([1.0, 2.0, 3.0], 1, {}, "expected at least 2"),
        ([1.0, 2.0, 3.0], 2, {"max_values": 0}, "table of 0 values"),
    ],
)
def test_fit_refuses(
    values: list[float], num_bins: int, options: dict[str, int], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        BinConverter.fit(np.array(values), num_bins, **options)


WHOLE = st.integers(-3, 3).map(float)
DECIMAL = st.integers(-3 * NANO, 3 * NANO).map(lambda n: n / NANO)
EDGES = st.lists(st.one_of(WHOLE, DECIMAL), min_size=7, max_size=7).map(sorted)


@few
@hypothesis.given(EDGES, st.lists(DECIMAL, min_size=4, max_size=4))
def test_device_encode_is_the_float64_rule(edges: list[float], others: list[float]) -> None:
    near = [edge + step / NANO for edge in edges for step in (-1, 0, 1)]
    whole, nano = to_pairs(np.array([*near, *others, -5.0, 5.0]))
    x = to_float(np.asarray(whole), np.asarray(nano))
    converter = with_edges(edges)
    slots = np.asarray(encode_all(converter.table(), whole, nano))
    assert slots.tolist() == [oracle.encode(edges, v) for v in x.tolist()]
    np.testing.assert_array_equal(slots, converter.encode(x))


@few
@hypothesis.given(
    st.lists(st.floats(-1e6, 1e6), min_size=7, max_size=7).map(sorted), st.integers(-2, 2)
)
def test_device_encode_with_edges_between_nanoseconds(edges: list[float], step: int) -> None:
    whole, nano = to_pairs(np.array([edge + step / NANO for edge in edges]))
    x = to_float(np.asarray(whole), np.asarray(nano))
    slots = np.asarray(encode_all(with_edges(edges).table(), whole, nano))
    assert slots.tolist() == [oracle.encode(edges, v) for v in x.tolist()]


def test_a_fitted_interval_closes_its_bin() -> None:
    edges = [0.0, 0.1, 0.3, 0.7, 4.35]  # the float64 of 0.3 and of 4.35 lie below the decimal
    slots = device_slots(with_edges(edges), np.array(edges[1:]))
    assert slots.tolist() == [0, 1, 2, 3]


@few
@hypothesis.given(
    st.lists(st.integers(-(2**31), 2**31 - 1).map(float), min_size=5, max_size=5).map(sorted)
)
def test_device_encode_of_any_int32(edges: list[float]) -> None:
    x = np.array([*edges, -(2**31), 2**31 - 1, 0, 2**24 + 1, -(2**24) - 1], np.int32)
    table = with_edges(edges).table()
    assert not table.value_nano.any()
    np.testing.assert_array_equal(table.value_whole[:, 0], edges[1:])
    slots = encode_all(table, jnp.asarray(x), jnp.zeros(x.shape, jnp.int32))
    assert np.asarray(slots).tolist() == [oracle.encode(edges, float(v)) for v in x]


def test_host_encode_beyond_the_numbers() -> None:
    x = np.array([math.nan, math.inf, -math.inf])
    assert with_edges([0.0, 1.0, 2.0, 3.0]).encode(x).tolist() == [2, 2, 0]


@pytest.mark.parametrize("edge", [2.0**31, -(2.0**31) - 1])
def test_table_refuses_what_int32_cannot_hold(edge: float) -> None:
    with pytest.raises(InputError, match="does not fit the device"):
        with_edges(sorted([0.0, edge])).table()


@few
@hypothesis.given(
    st.lists(
        st.lists(st.integers(1, 10**6), min_size=0, max_size=5, unique=True).map(sorted),
        min_size=4,
        max_size=4,
    ),
    st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6),
    st.randoms(use_true_random=False),
)
def test_device_sample_is_the_inverse_cdf(
    tables: list[list[int]], uniforms: list[float], picker: random.Random
) -> None:
    width = 10**6 + 1
    edges = np.arange(5) * width / 1000
    values = [(np.array(t, np.float64) + k * width) / 1000 for k, t in enumerate(tables)]
    weights = [np.array([picker.randint(1, 9) for _ in t], np.float64) for t in tables]
    probs = [w / w.sum() if len(w) else w for w in weights]
    converter = BinConverter.from_arrays(edges, values, probs)
    padded = np.concatenate((edges[1:], *values))
    slots = np.repeat(np.arange(4, dtype=np.int32), len(uniforms))
    draws = np.tile(np.array(uniforms, np.float32), 4)
    sampled = jax.vmap(bins.sample, in_axes=(None, 0, 0))
    pairs = sampled(converter.table(), jnp.asarray(slots), jnp.asarray(draws))
    drawn = to_float(*map(np.asarray, pairs))
    assert np.isin(drawn, padded).all()
    np.testing.assert_array_equal(converter.encode(drawn), slots)
    for slot, uniform, value in zip(slots, draws, drawn, strict=True):
        if not len(values[slot]):
            assert value == edges[slot + 1]
            continue
        exact = [oracle.inverse_cdf(probs[slot].tolist(), u) for u in _around(uniform)]
        assert value in values[slot][exact]


def _around(uniform: np.float32) -> list[float]:
    """A uniform and its neighbours: cumulative probabilities are rounded to float32."""
    reach = np.spacing(np.float32(1.0))
    return [float(np.clip(uniform + step * reach, 0, 1)) for step in (-1, 0, 1)]


def test_device_sample_has_the_probabilities() -> None:
    values = np.array([1.0, 2.0, 5.0, 9.0])
    probs = np.array([0.1, 0.55, 0.05, 0.3])
    converter = BinConverter.from_arrays(
        np.array([0.0, 10.0, 11.0]), [values, np.array([11.0])], [probs, np.ones(1)]
    )
    count = 10_000
    uniforms = (jnp.arange(count, dtype=jnp.float32) + 0.5) / count
    whole, nano = sample_all(converter.table(), jnp.zeros(count, jnp.int32), uniforms)
    assert not np.asarray(nano).any()
    seen = collections.Counter(np.asarray(whole).tolist())
    np.testing.assert_allclose([seen[v] for v in values], probs * count, atol=1)
    tail = sample_all(converter.table(), jnp.ones(2, jnp.int32), jnp.array([0.0, 1.0]))
    assert np.asarray(tail[0]).tolist() == [11, 11]


def test_a_cumulative_probability_belongs_to_the_next_value() -> None:
    halves = BinConverter.from_arrays(np.array([0.0, 2.0]), [np.array([1.0, 2.0])], [TWO])
    below = np.nextafter(np.float32(0.5), np.float32(0))
    uniforms = jnp.array([0.0, below, 0.5, 1.0], jnp.float32)
    whole, _ = sample_all(halves.table(), jnp.zeros(4, jnp.int32), uniforms)
    assert np.asarray(whole).tolist() == [1, 1, 2, 2]


def test_host_sample_has_the_probabilities() -> None:
    probs = np.array([0.2, 0.7, 0.1])
    converter = BinConverter.from_arrays(
        np.array([0.0, 3.0, 3.0]), [np.array([1.0, 2.0, 3.0]), np.array([])], [probs, np.array([])]
    )
    count = 20_000
    slots = np.tile([0, 1], (count, 1))
    drawn = converter.sample(slots, np.random.default_rng(5))
    assert (drawn[:, 1] == 3.0).all()
    seen = np.array([(drawn[:, 0] == v).mean() for v in (1.0, 2.0, 3.0)])
    assert (abs(seen - probs) < 5 * np.sqrt(probs * (1 - probs) / count)).all()
    for slot in (-1, 2):
        with pytest.raises(InputError, match=f"slot {slot} "):
            converter.sample(np.array([0, slot]), np.random.default_rng(0))


@few
@hypothesis.given(
    st.lists(st.integers(-2000, 2000), min_size=8, max_size=80), st.sampled_from([1, 100, 7])
)
def test_scaling_by_a_divisor_is_exact(ticks: list[int], unit: int) -> None:
    hypothesis.assume(oracle.fit_edges([float(t) for t in ticks], 3) is not None)
    fine = BinConverter.fit(np.array(ticks) * unit, 3)
    coarse = fine.scaled(1.0, divisor=unit)
    np.testing.assert_array_equal(coarse.edges * unit, fine.edges)
    for left, right in zip(coarse.values, fine.values, strict=True):
        np.testing.assert_array_equal(left * unit, right)
    back = coarse.scaled(unit)
    assert_same(back, fine)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_scaling_refuses(factor: float) -> None:
    with pytest.raises(InputError, match="expected positive numbers"):
        with_edges([0.0, 1.0]).scaled(factor)


@pytest.mark.parametrize(
    ("edges", "values", "probs", "sentence"),
    [
        ([0.0], [], [], "edges has 1 number"),
        ([0.0, math.nan], [ONE], [ONE], r"edges\[1\] is nan"),
        ([0.0, 2.0, 1.0], [ONE, ONE], [ONE, ONE], r"edges\[2\] is 1.0"),
        ([0.0, 1.0], [ONE, ONE], [ONE], "values has 2 bins, expected 1"),
        ([0.0, 1.0], [ONE], [], "probs has 0 bins, expected 1"),
        ([0.0, 1.0], [ONE], [TWO], r"probs\[0\] has 2 numbers, expected 1"),
        ([0.0, 1.0], [TWO], [np.array([0.5, 0.4])], r"probs\[0\] sums to 0.9"),
        ([0.0, 1.0], [TWO], [np.array([1.5, -0.5])], "expected positive"),
        ([0.0, 1.0], [np.array([math.inf])], [ONE], r"values\[0\]\[0\] is inf"),
        ([0.0, 1.0], [np.ones((1, 1))], [ONE], r"float64\[1, 1\]"),
    ],
)
def test_impossible_converters(
    edges: list[float], values: list[np.ndarray], probs: list[np.ndarray], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        BinConverter.from_arrays(np.array(edges), values, probs)


def test_converters_cannot_be_changed_and_share_nothing() -> None:
    edges = np.array([0.0, 1.0])
    converter = BinConverter.from_arrays(edges, [ONE], [ONE])
    edges[0] = 9.0
    assert converter.edges[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        converter.values[0][0] = 2.0
    with pytest.raises(InputError, match="float64"):
        BinConverter(np.array([0, 1]), (ONE,), (ONE,))
