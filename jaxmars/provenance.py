"""What made a file: version, configuration, seed, weights."""

import pathlib
from typing import Any

import jax

from jaxmars import __version__
from jaxmars.book import MATCHING_VERSION
from jaxmars.convert import store


def environment() -> dict[str, Any]:
    """The facts every saved result carries."""
    return {
        "made_by": f"jaxmars {__version__}",
        "matching_version": MATCHING_VERSION,
        "jax": jax.__version__,
        "devices": [str(device.device_kind) for device in jax.devices()],
    }


def provenance(seed: int, weights: pathlib.Path, config: dict[str, Any]) -> dict[str, Any]:
    """The facts every result of a model carries."""
    return environment() | {
        "seed": seed,
        "weights": str(weights),
        "weights_sha256": store.file_hash(weights / store.TENSOR_FILE),
        "config": config,
    }
