"""Logits against the released architecture: a committed golden, and torch where it is installed."""

import dataclasses
import pathlib
import warnings

import numpy as np
import pytest
from oracles.released_folder import (
    golden_script,
    released_entries,
    unused_shapes,
    used_shapes,
    write_folder,
)
from safetensors.numpy import load_file

from jaxmars.models import OrderModel

TOLERANCE = 1e-4
golden = golden_script()


def test_logits_equal_the_golden(tmp_path: pathlib.Path):
    shapes = used_shapes(golden.CONFIG) | unused_shapes(golden.CONFIG)
    weights = golden.formula_weights(shapes)
    folder = write_folder(tmp_path, released_entries(golden.CONFIG), weights)
    expected = load_file(golden.GOLDEN)
    logits = OrderModel.from_pretrained(folder).logits(expected["features"])
    kept = logits[:, :: golden.POSITION_STEP, :: golden.TOKEN_STEP]
    np.testing.assert_allclose(kept, expected["logits"], atol=TOLERANCE)
    assert expected["logits"].std() > 1.0


def test_features_of_the_golden_come_from_its_script():
    expected = load_file(golden.GOLDEN)["features"]
    np.testing.assert_array_equal(golden.make_features(golden.CONFIG, golden.BATCH), expected)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("ratio_rows", [0, golden.RATIO_ROWS])
def test_logits_equal_torch(tmp_path: pathlib.Path, kv_heads: int, ratio_rows: int):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    cfg = dataclasses.replace(golden.CONFIG, num_layers=3, num_kv_heads=kv_heads)
    reference = golden.released_model(cfg, ratio_rows)
    tensors = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    entries = released_entries(cfg) | {"num_kv_heads": kv_heads}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if ratio_rows else "error")
        model = OrderModel.from_pretrained(write_folder(tmp_path, entries, tensors))
    features = golden.make_features(cfg, 3)
    expected = golden.released_logits(reference, cfg, features)
    np.testing.assert_allclose(model.logits(features), expected, atol=TOLERANCE)
    np.testing.assert_array_equal(model.logits(features.astype(np.int64)), model.logits(features))
    assert model.config.num_ratio_rows == ratio_rows and model.config.kv_heads == kv_heads
