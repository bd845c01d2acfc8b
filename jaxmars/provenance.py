"""What made a file: version, configuration, seed, weights. Also atomic writing."""

import json
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax

from jaxmars import __version__
from jaxmars.book import MATCHING_VERSION
from jaxmars.convert import store


def provenance(seed: int, weights: pathlib.Path, config: dict[str, Any]) -> dict[str, Any]:
    """The facts every saved result carries."""
    return {
        "made_by": f"jaxmars {__version__}",
        "matching_version": MATCHING_VERSION,
        "jax": jax.__version__,
        "devices": [str(device.device_kind) for device in jax.devices()],
        "seed": seed,
        "weights": str(weights),
        "weights_sha256": store.file_hash(weights / store.TENSOR_FILE),
        "config": config,
    }


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Calls `write` with a temporary path beside `path`, then puts the result in its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=path.suffix)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    """One JSON object, indented, atomically."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
