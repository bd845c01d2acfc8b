"""The model users hold: sizes, names on disk, round trips, and every refusal of `logits`."""

import dataclasses
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.released_folder import (
    golden_script,
    released_entries,
    unused_shapes,
    used_shapes,
    write_folder,
)
from oracles.tiny_models import random_model
from safetensors.numpy import load_file

from jaxmars.config import OrderModelConfig
from jaxmars.convert import store
from jaxmars.errors import InputError
from jaxmars.models import HEADS, OrderModel, OrderNet
from jaxmars.tokens.bins import BinConverter, Converters
from jaxmars.tokens.order import NUM_FEATURES, ROW_WIDTH

TINY = OrderModelConfig.tiny()
RATIO_ROWS = 11
formula_weights = golden_script().formula_weights


def size_of(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def test_released_size_and_names_are_those_of_the_specification():
    cfg = OrderModelConfig.released()
    width, inner, vocab = 1024, 4096, 49152
    tables = {"order_type": 3, "price_level": 32, "pred_order_volume": 32, "order_interval": 16}
    tables |= {"chg_to_open": 4001, "time_to_open": 2881}
    expected: dict[str, tuple[int, ...]] = {
        f"order_info_tokenizer.emb_{name}.weight": (rows, width) for name, rows in tables.items()
    }
    expected |= {
        "order_info_tokenizer.lob_tokenizer.0.weight": (width, 10),
        "order_info_tokenizer.lob_tokenizer.0.bias": (width,),
        "order_info_tokenizer.lob_tokenizer.1.weight": (width,),
        "order_info_tokenizer.lob_tokenizer.1.bias": (width,),
        "decoder.model.norm.weight": (width,),
        "decoder.lm_head.weight": (vocab, width),
    }
    for layer in range(24):
        prefix = f"decoder.model.layers.{layer}"
        expected |= {f"{prefix}.self_attn.{n}_proj.weight": (width, width) for n in "qkvo"}
        expected |= {f"{prefix}.mlp.{n}_proj.weight": (inner, width) for n in ("gate", "up")}
        expected[f"{prefix}.mlp.down_proj.weight"] = (width, inner)
        expected[f"{prefix}.input_layernorm.weight"] = (width,)
        expected[f"{prefix}.post_attention_layernorm.weight"] = (width,)
    assert used_shapes(cfg) == expected
    assert size_of(expected) == 460_180_480
    assert len(expected) + len(unused_shapes(cfg)) == 233
    assert size_of(expected) + size_of(unused_shapes(cfg)) == 560_894_976


@pytest.mark.parametrize(
    ("width", "layers", "heads", "total"),
    [(16, 1, 2, 2_524_624), (32, 1, 2, 5_008_288), (64, 2, 2, 10_065_856)],
)
def test_published_sizes_are_reproduced(width: int, layers: int, heads: int, total: int):
    cfg = dataclasses.replace(
        OrderModelConfig.released(),
        emb_dim=width,
        num_layers=layers,
        num_heads=heads,
        num_ratio_rows=RATIO_ROWS,
    )
    used, unused = used_shapes(cfg), unused_shapes(cfg)
    assert size_of(used) + size_of(unused) == total
    assert len(used) + len(unused) == 19 + 9 * layers


@pytest.mark.parametrize("head", sorted(HEADS))
def test_saved_folder_loads_bit_for_bit(tmp_path: pathlib.Path, head: str):
    model = random_model(head=head, num_kv_heads=2)
    model.save(tmp_path / "model", {"source": "a test", "licence": "MIT"})
    loaded = OrderModel.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config and loaded.graphdef == model.graphdef
    jax.tree.map(np.testing.assert_array_equal, loaded.params, model.params)
    assert loaded.manifest["source"] == "a test" and loaded.converters is None
    assert loaded.num_params == model.num_params == size_of(used_shapes(model.config))

    loaded.save(tmp_path / "again")
    for name in (store.CONFIG_FILE, store.TENSOR_FILE, store.MANIFEST_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()


def test_bfloat16_file_is_half_the_size_and_loads_as_float32(tmp_path: pathlib.Path):
    model = random_model()
    model.save(tmp_path / "full")
    model.save(tmp_path / "half", dtype=jnp.bfloat16)
    sizes = [(tmp_path / n / store.TENSOR_FILE).stat().st_size for n in ("full", "half")]
    assert sizes[1] < 0.52 * sizes[0]
    loaded = OrderModel.from_pretrained(tmp_path / "half")
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {jnp.dtype("float32")}
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(leaf.dtype), model.params)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, rounded)


def test_saved_config_is_a_released_one_and_tensors_carry_released_names(tmp_path: pathlib.Path):
    random_model().save(tmp_path / "m")
    written = json.loads((tmp_path / "m" / store.CONFIG_FILE).read_text())
    assert written == released_entries(TINY)
    tensors = load_file(tmp_path / "m" / store.TENSOR_FILE)
    assert {name: tensor.shape for name, tensor in tensors.items()} == used_shapes(TINY)


def test_only_settings_that_differ_from_the_release_are_added(tmp_path: pathlib.Path):
    random_model(head="factored", num_kv_heads=1).save(tmp_path / "m")
    written = json.loads((tmp_path / "m" / store.CONFIG_FILE).read_text())
    assert written == released_entries(TINY) | {"head": "factored", "num_kv_heads": 1}


def test_loading_transposes_projections_and_stacks_layers(tmp_path: pathlib.Path):
    weights = formula_weights(used_shapes(TINY))
    folder = write_folder(tmp_path, released_entries(TINY), weights)
    params = OrderModel.from_pretrained(folder).params
    gate = params["layers"]["mlp"]["gate"]["kernel"]
    for layer in range(TINY.num_layers):
        tensor = weights[f"decoder.model.layers.{layer}.mlp.gate_proj.weight"]
        np.testing.assert_array_equal(gate[layer], tensor.T)
    book = weights["order_info_tokenizer.lob_tokenizer.0.weight"]
    np.testing.assert_array_equal(params["embedding"]["book"]["linear"]["kernel"], book.T)


@pytest.mark.parametrize(
    ("volume", "trade"),
    [("volume_ratio", "trans_ratio"), ("ratio", "trade_ratio"), ("vol_ratio", "transratio")],
)
def test_ratio_tables_are_recognised_by_name(tmp_path: pathlib.Path, volume: str, trade: str):
    cfg = dataclasses.replace(TINY, num_ratio_rows=RATIO_ROWS)
    weights = formula_weights(used_shapes(cfg))
    prefix = "order_info_tokenizer.emb_"
    tables = [weights.pop(f"{prefix}{name}.weight") for name in ("volume_ratio", "trade_ratio")]
    weights |= dict(zip((f"{prefix}{n}.weight" for n in (volume, trade)), tables, strict=True))
    folder = write_folder(tmp_path, released_entries(TINY), weights)
    with pytest.warns(UserWarning, match="ratio tables is not published"):
        model = OrderModel.from_pretrained(folder)
    model.save(tmp_path / "ours")
    with pytest.warns(UserWarning, match="ratio tables is not published"):
        again = OrderModel.from_pretrained(tmp_path / "ours")
    for loaded in (model, again):
        assert loaded.config == cfg
        embedding = loaded.params["embedding"]
        np.testing.assert_array_equal(embedding["volume_ratio"]["weight"], tables[0])
        np.testing.assert_array_equal(embedding["trade_ratio"]["weight"], tables[1])


def make_converters(prices: int, volumes: int, intervals: int) -> Converters:
    """Converters of the given numbers of bins; bin k is (k, k + 1] and holds k + 1."""

    def bins(num: int) -> BinConverter:
        edges = np.arange(num + 1.0)
        return BinConverter.from_arrays(edges, list(edges[1:, None]), [np.ones(1)] * num)

    return Converters(bins(prices), bins(volumes), bins(volumes), bins(intervals), bins(32))


def test_converters_travel_with_the_model(tmp_path: pathlib.Path):
    converters = make_converters(*TINY.slot_shape[1:])
    model = dataclasses.replace(random_model(), converters=converters)
    model.save(tmp_path / "m")
    loaded = OrderModel.from_pretrained(tmp_path / "m").converters
    assert loaded is not None
    for mine, theirs in zip(converters, loaded, strict=True):
        np.testing.assert_array_equal(mine.edges, theirs.edges)
    manifest = json.loads((tmp_path / "m" / store.MANIFEST_FILE).read_text())
    assert set(manifest[store.HASHES]) == {
        store.CONFIG_FILE,
        store.TENSOR_FILE,
        store.CONVERTER_FILE,
    }


@pytest.mark.parametrize(
    ("position", "name"), [(0, "price_level"), (1, "pred_order_volume"), (2, "order_interval")]
)
def test_converters_of_another_model_are_refused(tmp_path: pathlib.Path, position: int, name: str):
    slots = list(TINY.slot_shape[1:])
    slots[position] += 1
    wrong = dataclasses.replace(random_model(), converters=make_converters(*slots))
    wrong.save(tmp_path / "m")
    expected = f"converter {name} has {slots[position]} bins, expected {slots[position] - 1}"
    with pytest.raises(InputError, match=expected):
        OrderModel.from_pretrained(tmp_path / "m")


def test_unknown_heads_are_refused(tmp_path: pathlib.Path, key: jax.Array):
    sentence = "model head 'both' is unknown, expected joint or factored"
    with pytest.raises(InputError, match=sentence):
        OrderModel.init(dataclasses.replace(TINY, head="both"), key)
    weights = formula_weights(used_shapes(TINY))
    folder = write_folder(tmp_path, released_entries(TINY) | {"head": "both"}, weights)
    with pytest.raises(InputError, match=sentence):
        OrderModel.from_pretrained(folder)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int32, "float64"])
def test_other_dtypes_are_not_saved(tmp_path: pathlib.Path, dtype: object):
    with pytest.raises(InputError, match="saved as float32 or bfloat16"):
        random_model().save(tmp_path / "m", dtype=dtype)
    assert not (tmp_path / "m").exists()


def test_logits_shape_and_second_call(monkeypatch: pytest.MonkeyPatch):
    """Another model of the same shape, and int64 features, use what is compiled already."""
    traces = []
    encode = OrderNet.encode

    def counted(net: OrderNet, features: jax.Array) -> jax.Array:
        traces.append(features.shape)
        return encode(net, features)

    monkeypatch.setattr(OrderNet, "encode", counted)
    features = np.zeros((2, 7, 15), np.int32)
    logits = random_model().logits(features)
    assert logits.shape == (2, 7, TINY.vocab) and logits.dtype == jnp.float32
    random_model().logits(features.astype(np.int64) + 1)
    assert traces == [(7, 15)]


def test_ratio_columns_are_free_without_ratio_tables():
    features = np.zeros((1, 3, 15), np.int32)
    features[..., 1:3] = 99
    assert np.isfinite(np.asarray(random_model().logits(features))).all()


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (np.zeros((5, 15), np.int32), "features have shape [5, 15], expected [batch, length, 15]"),
        (np.zeros((1, 5, 14), np.int32), "expected [batch, length, 15]"),
        (np.zeros((1, 0, 15), np.int32), "features hold 0 orders, expected 1 to 32"),
        (np.zeros((1, 33, 15), np.int32), "features hold 33 orders, expected 1 to 32"),
        (np.zeros((1, 5, 15), np.float32), "dtype float32, expected int32 or int64"),
        (np.zeros((1, 5, 15), np.int16), "dtype int16, expected int32 or int64"),
        (np.zeros((1, 5, 15), bool), "dtype bool, expected int32 or int64"),
    ],
)
def test_features_of_another_form_are_refused(features: np.ndarray, sentence: str):
    with pytest.raises(InputError, match=re.escape(sentence)):
        random_model().logits(features)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        (0, -1, "features[1, 2, 0] is -1, expected a value in [0, 768)"),
        (0, 768, "features[1, 2, 0] is 768, expected a value in [0, 768)"),
        (1, 11, "features[1, 2, 1] is 11, expected a value in [0, 11)"),
        (2, -1, "features[1, 2, 2] is -1, expected a value in [0, 11)"),
        (3, 2**31, "features[1, 2, 3] is 2147483648, expected a value in [-2147483648"),
        (4, -1, "features[1, 2, 4] is -1, expected a value in [0, 14405)"),
        (4, 14405, "features[1, 2, 4] is 14405, expected a value in [0, 14405)"),
        (9, 2**40, "features[1, 2, 9] is 1099511627776"),
    ],
)
def test_features_out_of_range_are_refused(column: int, value: int, sentence: str):
    features = np.zeros((2, 4, 15), np.int64)
    features[1, 2, column] = value
    with pytest.raises(InputError, match=re.escape(sentence)):
        random_model(num_ratio_rows=RATIO_ROWS).logits(features)


def test_a_summary_begins_as_nothing_and_is_saved(tmp_path: pathlib.Path, key: jax.Array):
    """A model that is given a summary is the function it was until it learns; then it reads it."""
    model = random_model()
    grown = model.with_summary(key)
    assert grown.with_summary(key) is grown
    rows = np.asarray(jax.random.randint(key, (2, 6, ROW_WIDTH), 0, 3))
    short = model.logits(rows[..., :NUM_FEATURES])
    np.testing.assert_array_equal(model.logits(rows), short)
    np.testing.assert_array_equal(grown.logits(rows), short)
    projection = grown.params["embedding"]["summary"]
    projection["out"]["kernel"] = jnp.ones_like(projection["out"]["kernel"])
    grown.save(tmp_path / "m")
    loaded = OrderModel.from_pretrained(tmp_path / "m")
    assert loaded.config == dataclasses.replace(model.config, has_summary=True)
    np.testing.assert_array_equal(loaded.logits(rows), grown.logits(rows))
    other = rows.copy()
    other[:, -1, NUM_FEATURES:] += 64
    gap = np.abs(np.asarray(loaded.logits(other) - loaded.logits(rows))).max(-1)
    assert (gap[:, :-1] == 0).all() and (gap[:, -1] > 1e-3).all()
    sentence = f"features have shape [2, 6, 15], expected [batch, length, {ROW_WIDTH}]"
    with pytest.raises(InputError, match=re.escape(sentence)):
        loaded.logits(rows[..., :NUM_FEATURES])
