"""Converter files: exact round trips, released folders, and every malformed field."""

import json
import math
import pathlib
import tempfile
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.released_files import write_released

from jaxmars.errors import InputError
from jaxmars.tokens import converter_file
from jaxmars.tokens.bins import BinConverter, Converters, load_converters, save_converters

ONE = np.array([1.0])


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


def test_tables_of_all_five() -> None:
    converters = five()
    tables = converters.tables()
    assert tables._fields == converters._fields
    for table, converter in zip(tables, converters, strict=True):
        assert {leaf.dtype for leaf in table[:4]} == {jnp.dtype(jnp.int32)}
        assert table.cumulative.dtype == jnp.float32
        assert table.edge_whole.shape == (converter.num_bins + 1,)
        np.testing.assert_array_equal(table.cumulative[:, -1], 1.0)


@hypothesis.settings(max_examples=60, deadline=None)
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
def test_malformed_fields(
    tmp_path: pathlib.Path, place: tuple[str | int, ...], value: Any, sentence: str
) -> None:
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
    monkeypatch.setattr(converter_file, "MAX_BYTES", 100)
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
