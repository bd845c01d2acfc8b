"""Writes model folders in the released form, and loads the script that makes the golden file."""

import importlib.util
import json
import pathlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jaxmars.config import OrderModelConfig
from jaxmars.convert import keymap, store
from jaxmars.models.order_model import shape_of

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"


def golden_script() -> ModuleType:
    """scripts/make_golden.py as a module."""
    spec = importlib.util.spec_from_file_location("make_golden", SCRIPTS / "make_golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def used_shapes(cfg: OrderModelConfig) -> dict[str, tuple[int, ...]]:
    """Released names and shapes of the tensors that a model uses."""
    return keymap.tensor_shapes(shape_of(cfg)[1])


def unused_shapes(cfg: OrderModelConfig) -> dict[str, tuple[int, ...]]:
    """Released names and shapes of the tensors that a model stores and never uses."""
    return {
        "decoder.model.embed_tokens.weight": (cfg.vocab, cfg.emb_dim),
        "linear_head.0.weight": (cfg.emb_dim,),
        "linear_head.0.bias": (cfg.emb_dim,),
        "linear_head.1.weight": (cfg.vocab, cfg.emb_dim),
        "linear_head.1.bias": (cfg.vocab,),
    }


def released_entries(cfg: OrderModelConfig) -> dict[str, Any]:
    """A released config.json."""
    return {key: getattr(cfg, key) for key in store.RELEASED_KEYS}


def write_folder(
    folder: pathlib.Path, entries: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """config.json and model.safetensors in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / store.CONFIG_FILE).write_text(json.dumps(entries))
    save_file(dict(tensors), folder / store.TENSOR_FILE)
    return folder
