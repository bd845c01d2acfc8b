"""Reads the converter files of the release: a pickled `BinConverter` inside one zstd frame.

Source: spec "BinConverter pickle". The pickle is read as data by `convert.inert_pickle`: nothing
in it is executed. Only the exact global names of `ALLOWED` may occur, and each means only what
the functions below make of it. Bounds: the size of the file, compressed and decompressed, the
number of pickle opcodes, and the bytes of the arrays of a field, which cannot exceed the pickle.

Written by numpy 1 or 2 in pickle protocol 2 to 5. (Protocol 2 writes an empty bin with
`__builtin__.bytes`, which is not on the list; the released files use protocol 4.)
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import zstandard

from jaxmars.convert.inert_pickle import Call, Name, PickleError, parse
from jaxmars.errors import InputError

MAX_BYTES = 64 * 2**20  # of a file, compressed or not; real ones are below 1 MB

FIELDS = ("num_bins", "bins", "bin_values", "bin_probs")
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
BYTE_ORDERS = ("<", ">", "|")
DTYPE_STATE = (3, None, None, None, -1, -1, 0)  # version; no subarray, names, fields; sizes, flags
ARRAY_VERSION = 1

CONVERTER = "converter"
NDARRAY = "ndarray"
DTYPE = "dtype"
RECONSTRUCT = "reconstruct"
FROM_BUFFER = "from buffer"
SCALAR = "scalar"
ENCODE = "encode"
ALLOWED = {
    ("market_simulation.utils.bin_converter", "BinConverter"): CONVERTER,
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): FROM_BUFFER,
    ("numpy.core.multiarray", "scalar"): SCALAR,
    ("numpy._core.multiarray", "scalar"): SCALAR,
    ("_codecs", "encode"): ENCODE,
}


class _BadFileError(Exception):
    """What is wrong with a file, without its path; never leaves this module."""


def read_converter(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of one released converter file.

    Args:
      path: a `.zstd` file.

    Returns:
      `num_bins` int; `bins` [num_bins + 1] edges; `bin_values` and `bin_probs`, lists of num_bins
      vectors of equal lengths. Finite numbers of the dtype they were saved in, native byte order.

    Raises:
      InputError: the file cannot be read, is not one intact zstd frame of bounded size, or holds
        anything but such a converter. Nothing in the file has been executed.
    """
    file = pathlib.Path(path)
    try:
        stream = _decompress(_read_bounded(file))
        return _converter(parse(stream, ALLOWED), budget=len(stream))
    except (_BadFileError, PickleError) as error:
        raise InputError(f"cannot read a released converter from {file}: {error}") from error


def _refuse(reason: str) -> NoReturn:
    raise _BadFileError(reason)


def _read_bounded(file: pathlib.Path) -> bytes:
    """The bytes of a regular file of bounded size."""
    try:
        if not file.is_file():
            _refuse("there is no such file")
        with file.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size > MAX_BYTES:
                _refuse(f"it is larger than {MAX_BYTES} bytes")
            return handle.read(size)
    except OSError as error:
        _refuse(f"{error.strerror}")


def _decompress(raw: bytes) -> bytes:
    """The content of one whole zstd frame that states its size and keeps to it.

    The output buffer has the stated size, so a frame that holds more fails instead of growing.
    """
    try:
        size = zstandard.get_frame_parameters(raw).content_size
        if size > MAX_BYTES:  # so is the code for "not stated"
            _refuse(f"its zstd frame does not state a size of at most {MAX_BYTES} bytes")
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_BYTES)
        return decompressor.decompress(raw, allow_extra_data=False)
    except zstandard.ZstdError as error:
        _refuse(f"it is not one intact zstd frame ({error})")


def _converter(value: Any, budget: int) -> dict[str, Any]:
    """The fields of a converter, checked; `budget` bounds the array bytes of each."""
    if not _is_call(value, CONVERTER) or value.args or type(value.state) is not dict:
        _refuse("its pickle is not a BinConverter")
    fields = value.state
    if set(fields) != set(FIELDS):
        _refuse(f"its fields are not exactly {', '.join(FIELDS)}")
    num_bins = _integer(fields["num_bins"])
    bins = _array(fields["bins"], "bins")
    tables = {name: _arrays(fields[name], name, budget) for name in ("bin_values", "bin_probs")}
    if num_bins < 1 or len(bins) != num_bins + 1:
        _refuse(f"bins has {len(bins)} edges, expected num_bins + 1 with num_bins at least 1")
    for name, rows in tables.items():
        if len(rows) != num_bins:
            _refuse(f"{name} has {len(rows)} arrays, expected {num_bins}, one per bin")
    for slot, (values, probs) in enumerate(zip(*tables.values(), strict=True)):
        if len(values) != len(probs):
            _refuse(f"bin {slot} has {len(values)} values but {len(probs)} probabilities")
    return {"num_bins": num_bins, "bins": bins, **tables}


def _arrays(value: Any, name: str, budget: int) -> list[np.ndarray]:
    """A list of vectors; one vector listed so often that it outgrows the file is refused."""
    if type(value) is not list:
        _refuse(f"{name} is not a list of arrays")
    rows = []
    for slot, item in enumerate(value):
        rows.append(_array(item, f"{name}[{slot}]"))
        budget -= rows[-1].nbytes
        if budget < 0:
            _refuse(f"{name} has more data than the file")
    return rows


def _array(value: Any, name: str) -> np.ndarray:
    """A finite vector, from either of the two ways numpy pickles one."""
    if _is_call(value, RECONSTRUCT) and _has_types(value.state, (int, tuple, None, bool, None)):
        version, shape, dtype, _, data = value.state
        is_plain = version == ARRAY_VERSION and _is_blank_array(value.args)
    elif _is_call(value, FROM_BUFFER) and _has_types(value.args, (None, None, tuple, str)):
        data, dtype, shape, order = value.args
        is_plain = value.state is None and order in ("C", "F")
    else:
        _refuse(f"{name} is not a numpy array")
    if not is_plain:
        _refuse(f"{name} is not a plain numpy array")
    vector = _vector(_data(data, name), _dtype(dtype, name), name)
    if len(shape) != 1 or type(shape[0]) is not int or shape[0] != len(vector):
        _refuse(f"{name} does not have the shape of its {len(vector)} numbers")
    if not np.isfinite(vector).all():
        _refuse(f"{name} has a number that is not finite")
    return vector


def _is_blank_array(args: tuple[Any, ...]) -> bool:
    """Whether these are the arguments of the empty array that a pickled one starts from."""
    if not _has_types(args, (Name, tuple, None)):
        return False
    return args[:2] == (Name(NDARRAY), (0,)) and _data(args[2], "array") == b"b"


def _vector(data: bytes, dtype: np.dtype, name: str) -> np.ndarray:
    """Bytes as numbers in native byte order."""
    if len(data) % dtype.itemsize:
        _refuse(f"{name} has {len(data)} bytes, expected a multiple of {dtype.itemsize}")
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def _dtype(value: Any, name: str) -> np.dtype:
    """A dtype of plain numbers; objects, records, subarrays and metadata are refused."""
    if not _is_call(value, DTYPE) or not _has_types(value.args, (str, bool, bool)):
        _refuse(f"{name} has no numpy dtype")
    if value.args[0] not in DTYPES:
        _refuse(f"{name} has a dtype other than {', '.join(DTYPES)}")
    if not _has_types(value.state, (int, str, *[None] * (len(DTYPE_STATE) - 1))):
        _refuse(f"{name} has a dtype with an unknown state")
    version, byte_order, *rest = value.state
    if (version, *rest) != DTYPE_STATE or byte_order not in BYTE_ORDERS:
        _refuse(f"{name} has a dtype that is not one of plain numbers")
    return np.dtype(value.args[0]).newbyteorder(byte_order)


def _integer(value: Any) -> int:
    """`num_bins`: an int, or a numpy scalar of an integer type."""
    if _is_call(value, SCALAR) and value.state is None and _has_types(value.args, (None, None)):
        dtype, data = value.args
        numbers = _vector(_data(data, "num_bins"), _dtype(dtype, "num_bins"), "num_bins")
        if len(numbers) == 1 and numbers.dtype.kind in "iu":
            return int(numbers[0])
    if type(value) is not int:
        _refuse("num_bins is not an integer")
    return value


def _data(value: Any, name: str) -> bytes:
    """Bytes, or the latin-1 text that protocol 2 writes for them."""
    if _is_call(value, ENCODE) and value.state is None and _has_types(value.args, (str, str)):
        text, codec = value.args
        try:
            value = text.encode("latin-1") if codec == "latin1" else None
        except UnicodeEncodeError:
            _refuse(f"{name} has text in place of bytes")
    if type(value) not in (bytes, bytearray):
        _refuse(f"{name} has no bytes of data")
    return bytes(value)


def _is_call(value: Any, meaning: str) -> bool:
    """Whether the value is a call of this meaning."""
    return type(value) is Call and value.meaning == meaning


def _has_types(values: Any, types: Sequence[type | None]) -> bool:
    """Whether `values` is a tuple of exactly these types, None standing for any."""
    return (
        type(values) is tuple
        and len(values) == len(types)
        and all(kind is None or type(v) is kind for v, kind in zip(values, types, strict=True))
    )
