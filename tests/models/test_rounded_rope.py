"""Rotary frequencies rounded as in the served models."""

import dataclasses
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_models import distance, make_rows, random_model
from oracles.tiny_world import quick_jit

from jaxmars.config import OrderModelConfig
from jaxmars.convert.store import CONFIG_FILE, MANIFEST_FILE
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.models.layers import frequencies, rotation

WINDOW = 16


def test_rounded_rope_is_as_far_off_as_the_served_models() -> None:
    """The figures of weights spec 1.5, at head width 64 and position 1023."""
    exact = OrderModelConfig.released()
    rounded = dataclasses.replace(exact, rounded_rope=True)
    assert exact.head_dim == 64 and not exact.rounded_rope
    a, b = frequencies(exact).astype(np.float64), frequencies(rounded).astype(np.float64)
    np.testing.assert_allclose(a, 10_000.0 ** -(np.arange(32) / 32), rtol=1e-6)
    assert (b == b.astype(np.float16)).all()
    assert np.abs(b / a - 1).max() == pytest.approx(4.1e-4, abs=5e-6)
    off = 1023 * np.abs(b - a)
    assert off.max() == pytest.approx(0.162, abs=5e-4)
    assert (off > 0.1).sum() == 2
    last = rotation(jnp.int32(1023), rounded)
    np.testing.assert_allclose(last.cos, np.cos(1023 * b), atol=1e-4)
    np.testing.assert_allclose(last.sin, np.sin(1023 * b), atol=1e-4)


def test_rounded_rope_changes_a_model_and_is_kept_with_it(tmp_path: pathlib.Path) -> None:
    exact, rounded = random_model(), random_model(rounded_rope=True)
    rows = make_rows(WINDOW)
    encode = quick_jit(lambda net, rows: net.encode(rows))
    a, b = (encode(model.net(), rows) for model in (exact, rounded))
    assert 1e-6 < distance(b, a) < 0.05
    exact.save(tmp_path / "exact")
    rounded.save(tmp_path / "rounded")
    entries = [
        json.loads((tmp_path / name / CONFIG_FILE).read_text()) for name in ("exact", "rounded")
    ]
    assert entries[1] == entries[0] | {"rounded_rope": True} and "rounded_rope" not in entries[0]
    assert OrderModel.from_pretrained(tmp_path / "rounded").config == rounded.config
    path = tmp_path / "exact" / CONFIG_FILE
    (tmp_path / "exact" / MANIFEST_FILE).unlink()
    path.write_text(json.dumps(entries[0] | {"rounded_rope": 1}))
    with pytest.raises(InputError, match="rounded_rope is 1, expected true or false"):
        OrderModel.from_pretrained(tmp_path / "exact")
