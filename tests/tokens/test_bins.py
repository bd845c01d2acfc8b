"""Bin converters against the release spec, an independent oracle, numpy, and bad input."""

import collections
import json
import math
import pathlib
import tempfile

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles import bins as oracle
from oracles.released_files import write_released

from jaxmars.errors import InputError
from jaxmars.tokens import bins
from jaxmars.tokens.bins import BinConverter, Converters, load_converters, save_converters

NANO = 10**9
few = hypothesis.settings(max_examples=60, deadline=None)
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


def five(order_bins: int = 3, seed: int = 0) -> Converters:
    """Five different small converters."""
    rng = np.random.default_rng(seed)
    sizes = 100.0 * rng.integers(1, 50, 400)
    return Converters(
        price_level=BinConverter.fit(rng.integers(-40, 40, 400), 4),
        order_volume=BinConverter.fit(sizes, order_bins),
        pred_order_volume=BinConverter.fit(sizes, 3),
        order_interval=BinConverter.fit(rng.exponential(size=400), 5),
        lob_volume=BinConverter.fit(3 * sizes, 4),
    )


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
    slots = encode_all(with_edges(edges).table(), jnp.asarray(x), jnp.zeros(x.shape, jnp.int32))
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
def test_device_sample_is_the_inverse_cdf(tables, uniforms, random) -> None:
    width = 10**6 + 1
    edges = np.arange(5) * width / 1000
    values = [(np.array(t, np.float64) + k * width) / 1000 for k, t in enumerate(tables)]
    weights = [np.array([random.randint(1, 9) for _ in t], np.float64) for t in tables]
    probs = [w / w.sum() if len(w) else w for w in weights]
    converter = BinConverter.from_arrays(edges, values, probs)
    padded = np.concatenate((edges[1:], *values))
    slots = np.repeat(np.arange(4, dtype=np.int32), len(uniforms))
    draws = np.tile(np.array(uniforms, np.float32), 4)
    pairs = jax.vmap(bins.sample, in_axes=(None, 0, 0))(converter.table(), slots, draws)
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


ONE, TWO = np.array([1.0]), np.array([0.5, 0.5])


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
def test_impossible_converters(edges, values, probs, sentence: str) -> None:
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


def test_tables_of_all_five() -> None:
    converters = five()
    tables = converters.tables()
    assert tables._fields == converters._fields
    for table, converter in zip(tables, converters, strict=True):
        assert {leaf.dtype for leaf in table[:4]} == {jnp.dtype(jnp.int32)}
        assert table.cumulative.dtype == jnp.float32
        assert table.edge_whole.shape == (converter.num_bins + 1,)
        np.testing.assert_array_equal(table.cumulative[:, -1], 1.0)


@few
@hypothesis.given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4).map(sorted),
    st.floats(0.01, 0.99),
)
def test_file_round_trip_is_bit_exact(edges: list[float], prob: float) -> None:
    tables = [np.array([edges[0], -0.0]), np.array([5e-324]), np.array([])]
    probs = [np.array([prob, 1 - prob]), np.ones(1), np.array([])]
    odd = BinConverter.from_arrays(np.array(edges), tables, probs)
    converters = five()._replace(order_interval=odd)
    with tempfile.TemporaryDirectory() as folder:
        save_converters(folder, converters)
        loaded = load_converters(folder)
    assert loaded is not None
    for left, right in zip(converters, loaded, strict=True):
        assert_same(left, right)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_converters(tmp_path / "model", five())
    before = path.read_bytes()

    def broken(self: pathlib.Path, target: pathlib.Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "replace", broken)
    with pytest.raises(InputError, match=r"cannot write .* No space left"):
        save_converters(path.parent, five(seed=1))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_saving_under_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="cannot write converters"):
        save_converters(tmp_path / "taken", five())


def test_more_volume_bins_than_the_model_has(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="order_volume has 4 bins, expected at most the 3"):
        save_converters(tmp_path, five(order_bins=4))
    path = save_converters(tmp_path, five())
    content = json.loads(path.read_text())
    content["converters"]["order_volume"] = content["converters"]["lob_volume"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="order_volume has 4 bins, expected at most the 3"):
        load_converters(tmp_path)


DELETE = object()


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("version",), 2, "version is 2, expected 1"),
        (("version",), DELETE, "the file is not an object"),
        (("more",), 1, "the file is not an object"),
        (("converters",), [], "converters is not an object"),
        (("converters", "lob_volume"), DELETE, "converters is not an object"),
        (("converters", "lob_volume"), 3, "lob_volume is not an object"),
        (("converters", "lob_volume", "unit"), "lots", "lob_volume.unit is 'lots'"),
        (("converters", "lob_volume", "edges"), "x", "lob_volume.edges is not a list"),
        (("converters", "lob_volume", "edges", 1), True, "lob_volume.edges is not a list"),
        (("converters", "lob_volume", "edges", 1), "1", "lob_volume.edges is not a list"),
        (("converters", "lob_volume", "edges", 1), 10**400, "too large for a float64"),
        (("converters", "lob_volume", "edges", 1), math.nan, r"lob_volume: edges\[1\] is nan"),
        (("converters", "lob_volume", "edges", 1), -1e9, r"lob_volume: edges\[1\] is -1"),
        (("converters", "lob_volume", "edges"), [1, 2], "lob_volume: values has 4 bins"),
        (("converters", "lob_volume", "values"), 1, "lob_volume.values is not a list"),
        (("converters", "lob_volume", "values", 2), {}, r"lob_volume.values\[2\] is not a list"),
        (("converters", "lob_volume", "values", 2), [1], r"lob_volume: probs\[2\] has"),
        (("converters", "lob_volume", "probs", 0, 0), 0.9, r"lob_volume: probs\[0\] sums to"),
        (("converters", "lob_volume", "probs", 0, 0), -math.inf, r"probs\[0\]\[0\] is -inf"),
    ],
)
def test_malformed_fields(tmp_path: pathlib.Path, place: tuple, value, sentence: str) -> None:
    path = save_converters(tmp_path, five())
    content = json.loads(path.read_text())
    target = content
    for step in place[:-1]:
        target = target[step]
    if value is DELETE:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=sentence) as caught:
        load_converters(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"null", b'{"version": ' + b"9" * 5000]
)
def test_files_that_are_not_json(tmp_path: pathlib.Path, raw: bytes) -> None:
    (tmp_path / "converters.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"converters.json"):
        load_converters(tmp_path)


def test_a_giant_file_is_not_parsed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_converters(tmp_path, five())
    monkeypatch.setattr(bins.converter_file, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        load_converters(tmp_path)


def test_folders_without_converters(tmp_path: pathlib.Path) -> None:
    assert load_converters(tmp_path) is None
    with pytest.raises(InputError, match="not a folder"):
        load_converters(tmp_path / "absent")
    (tmp_path / "converters.json").mkdir()
    with pytest.raises(InputError, match="cannot read"):
        load_converters(tmp_path)


def released_folder(folder: pathlib.Path, converters: Converters, unit: int) -> None:
    """The same converters as released files, prices in `unit` per tick, as integers."""
    for name, converter in converters._asdict().items():
        edges, values = converter.edges, list(converter.values)
        if name == "price_level":
            edges = (edges * unit).astype(np.int64)
            values = [(x * unit).astype(np.int64) for x in values]
        fields = dict(
            num_bins=converter.num_bins,
            bins=edges,
            bin_values=values,
            bin_probs=list(converter.probs),
        )
        write_released(folder / "converters" / f"{name.replace('_', '-')}.zstd", fields)


def test_released_folder(tmp_path: pathlib.Path) -> None:
    converters = five()
    released_folder(tmp_path, converters, unit=100)
    loaded = load_converters(tmp_path)
    assert loaded is not None
    for left, right in zip(loaded, converters, strict=True):
        assert_same(left, right)
    finer = load_converters(tmp_path, price_unit=50)
    assert finer is not None
    np.testing.assert_array_equal(finer.price_level.edges, 2 * converters.price_level.edges)
    with pytest.raises(InputError, match="positive"):
        load_converters(tmp_path, price_unit=0)


def test_ours_wins_over_released(tmp_path: pathlib.Path) -> None:
    released_folder(tmp_path, five(seed=1), unit=100)
    ours = five(seed=2)
    save_converters(tmp_path, ours)
    loaded = load_converters(tmp_path)
    assert loaded is not None
    assert_same(loaded.order_interval, ours.order_interval)


def test_released_folder_with_a_bad_file(tmp_path: pathlib.Path) -> None:
    released_folder(tmp_path, five(), unit=100)
    path = tmp_path / "converters" / "lob-volume.zstd"
    fields = dict(num_bins=1, bins=np.array([2.0, 1.0]), bin_values=[ONE], bin_probs=[ONE])
    write_released(path, fields)
    with pytest.raises(InputError, match=r"lob-volume.zstd: lob_volume: edges\[1\] is 1.0"):
        load_converters(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"lob-volume.zstd: there is no such file"):
        load_converters(tmp_path)
