"""Model folders: every file that is missing, malformed, hostile or changed, and atomic writing."""

import dataclasses
import json
import pathlib
import re
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from oracles.released_folder import golden_script, released_entries, used_shapes, write_folder

from jaxmars.config import OrderModelConfig
from jaxmars.convert import keymap, store
from jaxmars.errors import InputError
from jaxmars.models import OrderModel

CFG = dataclasses.replace(OrderModelConfig.tiny(), max_change=20, num_time_rows=9)
ENTRIES = released_entries(CFG) | {"max_change": 20, "num_time_rows": 9}
WEIGHTS = golden_script().formula_weights(used_shapes(CFG))
HEAD = "decoder.lm_head.weight"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A good folder in the released form."""
    return write_folder(tmp_path / "model", ENTRIES, WEIGHTS)


def refuses(folder: pathlib.Path, sentence: str) -> None:
    """Loading ends in one `InputError` with this text."""
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        OrderModel.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_the_good_folder_loads(folder: pathlib.Path):
    model = OrderModel.from_pretrained(folder)
    assert model.config == CFG and model.manifest == {} and model.converters is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_experts": 8}, "has the unknown key 'num_experts', expected only dropout, emb_dim"),
        ({"emb_dim": "32"}, "emb_dim is '32', expected an integer in [1, 1048576]"),
        ({"emb_dim": 32.0}, "emb_dim is 32.0, expected an integer"),
        ({"num_layers": True}, "num_layers is true, expected an integer"),
        ({"num_layers": None}, "num_layers is None, expected an integer"),
        ({"emb_dim": 10**15}, "emb_dim is 1000000000000000, expected an integer in"),
        ({"num_layers": 2**20}, "holds 2 layers, expected the 1048576 of its config"),
        ({"num_heads": 0}, "num_heads is 0, expected an integer in [1"),
        ({"num_heads": 3}, "emb_dim 32 must be a multiple of twice num_heads 3"),
        ({"num_kv_heads": 3}, "num_heads 4 must be a multiple of num_kv_heads 3"),
        ({"num_kv_heads": 0}, "num_kv_heads is 0, expected an integer in [1"),
        ({"num_kv_heads": -4}, "num_kv_heads is -4, expected an integer in [1"),
        ({"dropout": 1.0}, "dropout is 1.0, expected a number in [0, 1)"),
        ({"dropout": float("nan")}, "dropout is nan, expected a number in [0, 1)"),
        ({"dropout": "none"}, "dropout is 'none', expected a number in [0, 1)"),
        ({"head": 1}, "head is 1, expected a string"),
        ({"num_max_orders": -1}, "num_max_orders is -1, expected an integer in [1"),
        ({"num_ratio_rows": -3}, "num_ratio_rows is -3, expected an integer in [1"),
        ({"num_ratio_rows": 11}, "lacks the tensors order_info_tokenizer.emb_volume_ratio.weight"),
        ({"num_bins_price_level": 9}, "tensor order_info_tokenizer.emb_price_level.weight has"),
    ],
)
def test_bad_configs_are_refused(folder: pathlib.Path, changes: dict[str, Any], sentence: str):
    (folder / store.CONFIG_FILE).write_text(json.dumps(ENTRIES | changes))
    refuses(folder, sentence)


@pytest.mark.parametrize("key", store.RELEASED_KEYS)
def test_every_released_key_is_needed(folder: pathlib.Path, key: str):
    kept = {name: value for name, value in ENTRIES.items() if name != key}
    (folder / store.CONFIG_FILE).write_text(json.dumps(kept))
    refuses(folder, f"lacks the key {key}")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a JSON file"),
        (b"{", "is not a JSON file"),
        (b"\xff\xfe\x00", "is not a JSON file"),
        (b"[1, 2]", "holds a list, expected a JSON object"),
        (b"null", "holds a NoneType, expected a JSON object"),
        (b"[" * 200_000, "is not a JSON file"),
        (b" " * (store.MAX_JSON_BYTES + 1), "is larger than 1048576 bytes"),
    ],
    ids=["empty", "cut", "binary", "list", "null", "deep", "large"],
)
def test_config_files_that_are_no_objects_are_refused(
    folder: pathlib.Path, content: bytes, sentence: str
):
    (folder / store.CONFIG_FILE).write_bytes(content)
    refuses(folder, sentence)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (store.CONFIG_FILE, "config.json: No such file"),
        (store.TENSOR_FILE, "has no model.safetensors"),
    ],
)
def test_missing_files_are_named(folder: pathlib.Path, name: str, sentence: str):
    (folder / name).unlink()
    refuses(folder, sentence)


def safetensors_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        safetensors_header(b"{}", 2**62),
        safetensors_header(b"not json"),
        safetensors_header(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}'),
        safetensors_header(b'{"a": {"dtype": "F32", "shape": [99999999999], "data_offsets": [0]}}'),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
    ids=["empty", "short", "long header", "no json", "no data", "absurd", "pickle"],
)
def test_files_that_are_not_safetensors_are_refused(folder: pathlib.Path, content: bytes):
    (folder / store.TENSOR_FILE).write_bytes(content)
    refuses(folder, "is not a readable safetensors file")


def test_a_truncated_file_is_refused(folder: pathlib.Path):
    path = folder / store.TENSOR_FILE
    path.write_bytes(path.read_bytes()[:-1])
    refuses(folder, "is not a readable safetensors file")


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_every_tensor_is_needed(tmp_path: pathlib.Path, name: str):
    kept = {other: tensor for other, tensor in WEIGHTS.items() if other != name}
    refuses(write_folder(tmp_path / "m", ENTRIES, kept), f"lacks the tensors {name}, which")


@pytest.mark.parametrize(
    "name",
    [
        "decoder.model.layers.1.self_attn.q_proj.bias",
        "decoder.model.layers.0.mlp.extra.weight",
        "decoder.lm_head.bias",
        "linear_head.2.weight",
        "order_info_tokenizer.emb_symbol.weight",
        "x" * 5000,
    ],
)
def test_unknown_tensors_are_named(tmp_path: pathlib.Path, name: str):
    extra = WEIGHTS | {name: np.zeros(3, np.float32)}
    folder = write_folder(tmp_path / "m", ENTRIES, extra)
    refuses(folder, f"holds the tensors {name[:200]}, which the model does not know")


def test_many_missing_tensors_are_counted(tmp_path: pathlib.Path):
    kept = {name: tensor for name, tensor in WEIGHTS.items() if "mlp" not in name}
    refuses(write_folder(tmp_path / "m", ENTRIES, kept), "and 3 more, which the model needs")


@pytest.mark.parametrize("layers", [1, 3])
def test_another_number_of_layers_is_refused(folder: pathlib.Path, layers: int):
    (folder / store.CONFIG_FILE).write_text(json.dumps(ENTRIES | {"num_layers": layers}))
    refuses(folder, f"holds 2 layers, expected the {layers} of its config")


@pytest.mark.parametrize(
    "name",
    [
        "decoder.model.embed_tokens.weight",
        "linear_head.0.weight",
        "linear_head.0.bias",
        "linear_head.1.weight",
        "linear_head.1.bias",
        "decoder.model.rotary_emb.inv_freq",
        "decoder.model.layers.0.self_attn.rotary_emb.inv_freq",
        "decoder.model.rotary_emb.original_inv_freq",
    ],
)
def test_tensors_the_release_never_uses_are_skipped_unread(tmp_path: pathlib.Path, name: str):
    extra = WEIGHTS | {name: np.full(3, np.nan, np.float32)}
    OrderModel.from_pretrained(write_folder(tmp_path / "m", ENTRIES, extra))


def test_wrong_shapes_name_both(tmp_path: pathlib.Path):
    name = "decoder.model.layers.1.mlp.down_proj.weight"
    swapped = WEIGHTS | {name: np.ascontiguousarray(WEIGHTS[name].T)}
    folder = write_folder(tmp_path / "m", ENTRIES, swapped)
    refuses(folder, f"tensor {name} has shape [128, 32], expected [32, 128]")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: pathlib.Path, value: float):
    bad = WEIGHTS[HEAD].copy()
    bad[5, 7] = value
    folder = write_folder(tmp_path / "m", ENTRIES, WEIGHTS | {HEAD: bad})
    refuses(folder, f"tensor {HEAD} holds values that are not finite")


def test_float64_values_beyond_float32_are_refused(tmp_path: pathlib.Path):
    wide = WEIGHTS[HEAD].astype(np.float64)
    wide[0, 0] = 1e300
    folder = write_folder(tmp_path / "m", ENTRIES, WEIGHTS | {HEAD: wide})
    refuses(folder, f"tensor {HEAD} holds values that are not finite")


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.uint8])
def test_tensors_of_another_type_are_refused(tmp_path: pathlib.Path, dtype: type):
    folder = write_folder(tmp_path / "m", ENTRIES, WEIGHTS | {HEAD: WEIGHTS[HEAD].astype(dtype)})
    refuses(folder, f"tensor {HEAD} has type")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_float_types_load_as_float32(tmp_path: pathlib.Path, dtype: type):
    tensors = {name: tensor.astype(dtype) for name, tensor in WEIGHTS.items()}
    model = OrderModel.from_pretrained(write_folder(tmp_path / "m", ENTRIES, tensors))
    kernel = model.params["head"]["out"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, tensors[HEAD].astype(np.float32).T)


@pytest.mark.parametrize(
    "names",
    [["volume_ratio"], ["a_ratio", "b_ratio"], ["trade_ratio", "trans_ratio"], list("abc")],
)
def test_ratio_tables_that_cannot_be_told_apart_are_refused(
    tmp_path: pathlib.Path, names: list[str]
):
    full = [f"order_info_tokenizer.emb_{name}.weight" for name in names]
    full = [name if "ratio" in name else name.replace(".weight", "_ratio.weight") for name in full]
    extra = {name: np.zeros((11, CFG.emb_dim), np.float32) for name in full}
    folder = write_folder(tmp_path / "m", ENTRIES, WEIGHTS | extra)
    refuses(folder, f"{full[0]}")


def test_the_key_map_balances():
    names = [rule.name for rule in keymap.ORDER_MODEL]
    paths = [rule.path for rule in keymap.ORDER_MODEL]
    assert len(set(names)) == len(names) and len(set(paths)) == len(paths)
    assert not any(keymap.UNUSED.fullmatch(name) for name in names)
    used = set()
    for head, ratio_rows, has_summary in (("joint", 0, False), ("factored", 11, True)):
        extra = {"num_ratio_rows": ratio_rows, "has_summary": has_summary}
        used |= set(used_shapes(dataclasses.replace(CFG, head=head, **extra)))
    templates = {re.sub(r"layers\.\d+\.", f"layers.{keymap.LAYER}.", name) for name in used}
    assert templates == set(names)


def test_a_parameter_without_a_name_is_an_error():
    with pytest.raises(ValueError, match="parameters without a tensor name: extra/weight"):
        keymap.to_tensors({"extra": {"weight": np.zeros(3)}})


@pytest.fixture
def saved(folder: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder written by us, with a manifest."""
    OrderModel.from_pretrained(folder).save(tmp_path / "saved", {"source": "formula"})
    return tmp_path / "saved"


def test_a_changed_file_is_noticed(saved: pathlib.Path):
    path = saved / store.TENSOR_FILE
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    refuses(saved, "differs from the sha256 in its manifest")


def test_a_listed_file_that_is_gone_is_noticed(saved: pathlib.Path):
    (saved / store.TENSOR_FILE).unlink()
    refuses(saved, "has no model.safetensors, which its manifest lists")


@pytest.mark.parametrize("hashes", [["a"], {"../../secret": "0"}, {"/etc/hostname": "0"}])
def test_manifests_may_only_list_the_files_of_a_model(saved: pathlib.Path, hashes: object):
    (saved / store.MANIFEST_FILE).write_text(json.dumps({store.HASHES: hashes}))
    refuses(saved, "sha256 must map only config.json, model.safetensors, converters.json")


def test_saving_over_a_model_replaces_it_and_leaves_nothing_else(
    saved: pathlib.Path, tmp_path: pathlib.Path
):
    model = OrderModel.from_pretrained(saved)
    model.save(saved, {"source": "second"})
    assert OrderModel.from_pretrained(saved).manifest["source"] == "second"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "saved"]
    assert sorted(p.name for p in saved.iterdir()) == [
        store.CONFIG_FILE,
        store.MANIFEST_FILE,
        store.TENSOR_FILE,
    ]


def test_whoever_may_read_one_file_may_read_all(saved: pathlib.Path):
    assert len({path.stat().st_mode for path in saved.iterdir()}) == 1


def test_a_failed_save_leaves_the_older_model(saved: pathlib.Path, tmp_path: pathlib.Path):
    model = OrderModel.from_pretrained(saved)
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises(InputError, match="is not plain JSON"):
        model.save(saved, {"source": object()})
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "saved"]


def test_a_folder_of_other_things_is_not_replaced(saved: pathlib.Path, tmp_path: pathlib.Path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds chapter\.tex, expected an empty folder or a mod"):
        OrderModel.from_pretrained(saved).save(other)
    assert (other / "chapter.tex").read_text() == "years of work"


def test_a_file_in_the_way_is_not_replaced(saved: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "note").write_text("kept")
    with pytest.raises(InputError, match="note is a file, expected a folder for the model"):
        OrderModel.from_pretrained(saved).save(tmp_path / "note")
    assert (tmp_path / "note").read_text() == "kept"
