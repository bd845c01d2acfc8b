"""A model folder: config.json, model.safetensors, manifest.json. Read strictly, written atomically.

    config.json         the released keys, and ours where they differ from the released model
    model.safetensors   tensors under their released names
    converters.json     (or a released converters/) bins, see `tokens.bins`
    manifest.json       where the weights come from, and the sha256 of the files beside it

A released folder has no manifest. Where there is one, every file it lists is checked against it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError, quote

CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"
CONVERTER_FILE = "converters.json"
MANIFEST_FILE = "manifest.json"
HASHES = "sha256"  # key of the manifest: {file name: hex digest}

RELEASED_KEYS = (
    "dropout",
    "emb_dim",
    "num_bins_order_interval",
    "num_bins_pred_order_volume",
    "num_bins_price_level",
    "num_heads",
    "num_layers",
    "num_max_orders",
)
MAX_JSON_BYTES = 1 << 20
MAX_SIZE = 1 << 20  # largest integer config.json may hold
FLOAT_TYPES = ("F32", "F16", "BF16", "F64")

_HASHED = (CONFIG_FILE, TENSOR_FILE, CONVERTER_FILE)
_CHUNK_BYTES = 1 << 22


class TensorFile:
    """An open safetensors file: names and shapes at once, tensors when they are asked for."""

    def __init__(self, path: pathlib.Path, handle: Any):
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._handle = handle
        for name in handle.keys():
            self.shapes[name] = tuple(handle.get_slice(name).get_shape())

    def read(self, name: str) -> np.ndarray:
        """One tensor as float32.

        Raises:
          InputError: it is not of a float type or holds a value that is not finite.
        """
        kind = self._handle.get_slice(name).get_dtype()
        if kind not in FLOAT_TYPES:
            raise InputError(
                f"{self.path}: tensor {name} has type {kind}, "
                f"expected one of {', '.join(FLOAT_TYPES)}"
            )
        with np.errstate(over="ignore"):
            tensor = np.asarray(self._handle.get_tensor(name)).astype(np.float32)
        if not np.isfinite(tensor).all():
            raise InputError(f"{self.path}: tensor {name} holds values that are not finite")
        return tensor


@contextmanager
def open_tensors(folder: pathlib.Path) -> Iterator[TensorFile]:
    """The tensors of a model folder, as a context.

    Raises:
      InputError: the file is absent, truncated or not a safetensors file.
    """
    path = folder / TENSOR_FILE
    try:
        with safe_open(path, framework="np") as handle:
            yield TensorFile(path, handle)
    except FileNotFoundError as error:
        raise InputError(f"{folder} has no {TENSOR_FILE}, expected the tensors there") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error


def read_config(folder: pathlib.Path) -> OrderModelConfig:
    """The configuration of a model folder.

    Raises:
      InputError: no file, not an object, an unknown or missing key, a value of the wrong type or
        out of its range.
    """
    path = folder / CONFIG_FILE
    raw = _read_object(path)
    fields = {field.name: type(field.default) for field in dataclasses.fields(OrderModelConfig)}
    unknown = [key for key in raw if key not in fields]
    if unknown:
        raise InputError(
            f"{path} has the unknown key {quote(unknown[0])}, expected only {', '.join(fields)}"
        )
    missing = [key for key in RELEASED_KEYS if key not in raw]
    if missing:
        raise InputError(f"{path} lacks the key {missing[0]}")
    for key, value in raw.items():
        _check_value(path, key, value, fields[key])
    try:
        return OrderModelConfig(**raw)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def config_entries(cfg: OrderModelConfig) -> dict[str, Any]:
    """What config.json holds: released keys always, ours where they differ from the release."""
    entries = dataclasses.asdict(cfg)
    released = dataclasses.asdict(OrderModelConfig.released())
    return {
        key: entries[key]
        for key in sorted(entries)
        if key in RELEASED_KEYS or entries[key] != released[key]
    }


def read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a model folder, {} without one; files listed in it are checked.

    Raises:
      InputError: not an object, or a listed file is absent or has changed.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        return {}
    manifest = _read_object(path)
    hashes = manifest.get(HASHES, {})
    if not isinstance(hashes, dict) or not set(hashes) <= set(_HASHED):
        raise InputError(f"{path}: {HASHES} must map only {', '.join(_HASHED)} to hex digests")
    for name, digest in hashes.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}, which its manifest lists")
        if file_hash(folder / name) != digest:
            raise InputError(f"{folder / name} differs from the sha256 in its manifest")
    return manifest


def write_model(
    path: pathlib.Path,
    cfg: OrderModelConfig,
    tensors: Mapping[str, np.ndarray],
    manifest: Mapping[str, Any],
    write_converters: Callable[[pathlib.Path], object],
) -> None:
    """Writes a model folder, whole or not at all. An older model there is replaced.

    Args:
      path: the folder.
      cfg: goes to config.json.
      tensors: released name to array, contiguous.
      manifest: JSON object; its key `sha256` is set here.
      write_converters: writes the converters into the folder it is given.

    Raises:
      InputError: `path` holds something other than a model, the manifest is not JSON, or the disk
        refuses.
    """
    path = path.resolve()
    _check_replaceable(path)

    def fill(folder: pathlib.Path) -> None:
        _write_object(folder / CONFIG_FILE, config_entries(cfg))
        save_file(dict(tensors), folder / TENSOR_FILE)
        shutil.copymode(folder / CONFIG_FILE, folder / TENSOR_FILE)  # written for its owner only
        write_converters(folder)
        hashes = {name: file_hash(folder / name) for name in _HASHED if (folder / name).exists()}
        _write_object(folder / MANIFEST_FILE, {**manifest, HASHES: hashes})

    try:
        _replace_folder(path, fill)
    except TypeError as error:
        raise InputError(f"the manifest for {path} is not plain JSON: {error}") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot write a model to {path}: {error}") from error


def file_hash(path: pathlib.Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check_value(path: pathlib.Path, key: str, value: Any, kind: type) -> None:
    """One value of config.json against the type of its field."""
    wanted = {
        int: f"an integer in [1, {MAX_SIZE}]",
        float: "a number in [0, 1)",
        str: "a string",
        bool: "true or false",
    }
    right = {
        int: type(value) is int and 1 <= value <= MAX_SIZE,
        float: type(value) in (int, float) and 0 <= value < 1,
        str: type(value) is str,
        bool: type(value) is bool,
    }
    if not right[kind]:
        raise InputError(f"{path}: {key} is {quote(value)}, expected {wanted[kind]}")


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    """A small JSON file that holds an object."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_JSON_BYTES + 1)
        if len(raw) > MAX_JSON_BYTES:
            raise InputError(f"{path} is larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(raw)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a JSON object")
    return content


def _write_object(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """A JSON object, indented, keys in the given order."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _check_replaceable(path: pathlib.Path) -> None:
    """A model may go where nothing is, into an empty folder, or over another model."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, expected a folder for the model")
    known = {*_HASHED, MANIFEST_FILE}
    strangers = (
        sorted(p.name for p in path.iterdir() if p.name not in known) if path.exists() else []
    )
    if strangers:
        raise InputError(
            f"{path} holds {strangers[0]}, expected an empty folder or a model that may be replaced"
        )


def _replace_folder(path: pathlib.Path, fill: Callable[[pathlib.Path], None]) -> None:
    """Fills a new folder beside `path` and renames it there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.mkdir()
        fill(part)
        if path.exists():
            path.rename(old)
        part.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
