"""Makes converter files as the release does: really pickled, by numpy 2 or renamed to numpy 1."""

import contextlib
import pathlib
import pickle
import struct
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import pytest
import zstandard

from jaxmars.convert.released import read_converter
from jaxmars.errors import InputError

MODULE = "market_simulation.utils.bin_converter"
LEVEL = 8
FRAME_START = 2  # after the PROTO opcode
FRAME_END = 11


@contextlib.contextmanager
def release_installed() -> Iterator[type]:
    """A stand-in for the release's class under its real name, while pickling."""
    converter = type("BinConverter", (), {"__module__": MODULE})
    parts = MODULE.split(".")
    modules = {".".join(parts[: i + 1]): types.ModuleType(parts[i]) for i in range(len(parts))}
    modules[MODULE].__dict__["BinConverter"] = converter
    with mock.patch.dict(sys.modules, modules):
        yield converter


def pickled(fields: Mapping[str, Any], protocol: int = 4) -> bytes:
    """The pickle of a converter with these fields."""
    with release_installed() as converter:
        instance = converter()
        instance.__dict__.update(fields)
        return pickle.dumps(instance, protocol)


def plain_fields(stream: bytes) -> dict[str, Any]:
    """What plain pickle makes of a (trusted) stream."""
    with release_installed():
        return vars(pickle.loads(stream))


def as_numpy_1(stream: bytes) -> bytes:
    """The same pickle as numpy 1 writes it: module names without the underscore."""
    protocol = stream[1]
    for module in (b"multiarray", b"numeric"):
        new, old = b"numpy._core." + module, b"numpy.core." + module
        stream = stream.replace(b"c" + new + b"\n", b"c" + old + b"\n")
        stream = stream.replace(
            b"\x8c" + bytes([len(new)]) + new, b"\x8c" + bytes([len(old)]) + old
        )
    if protocol < 4:
        return stream
    body = stream[FRAME_END:]
    return stream[:FRAME_START] + b"\x95" + struct.pack("<Q", len(body)) + body


def compressed(content: bytes) -> bytes:
    """One zstd frame at the release's level, its size in the header."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(content)


def write_released(path: pathlib.Path, fields: Mapping[str, Any], protocol: int = 4) -> None:
    """One released converter file."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(compressed(pickled(fields, protocol)))


def fields_of(dtype: str = "f8", **changes: Any) -> dict[str, Any]:
    """The fields of a converter of three bins."""
    fields = dict(
        num_bins=3,
        bins=np.array([0, 1, 5, 9], dtype),
        bin_values=[np.array(x, dtype) for x in ([1], [2, 3, 5], [7, 9])],
        bin_probs=[np.array(x) for x in ([1.0], [0.2, 0.3, 0.5], [0.25, 0.75])],
    )
    return fields | changes


def read_pickle(folder: pathlib.Path, stream: bytes) -> dict[str, Any]:
    """`read_converter` of a file that holds this pickle."""
    path = folder / "price-level.zstd"
    path.write_bytes(compressed(stream))
    return read_converter(path)


def assert_refused(
    folder: pathlib.Path, stream: bytes, sentence: str = "cannot read a released converter"
) -> None:
    """The file is refused in one sentence that names it."""
    with pytest.raises(InputError, match=sentence) as caught:
        read_pickle(folder, stream)
    assert str(folder / "price-level.zstd") in str(caught.value)
    assert "\n" not in str(caught.value)
