"""Weights in and out of the package."""

from jaxmars.convert.hub import fetch
from jaxmars.convert.store import TensorFile, open_tensors, read_config, read_manifest, write_model

__all__ = ["TensorFile", "fetch", "open_tensors", "read_config", "read_manifest", "write_model"]
