"""Released converter files: what the release writes is read, damaged files are refused."""

import os
import pathlib
import pickle
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zstandard
from oracles.released_files import (
    LEVEL,
    as_numpy_1,
    assert_refused,
    compressed,
    fields_of,
    pickled,
    plain_fields,
    read_pickle,
    release_installed,
    write_released,
)

from jaxmars.convert import released
from jaxmars.convert.released import read_converter
from jaxmars.errors import InputError

PROTOCOLS = (2, 3, 4, 5)


def assert_equal(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Same numbers of the same kinds."""
    assert left["num_bins"] == right["num_bins"]
    pairs = [(left["bins"], right["bins"])]
    for name in ("bin_values", "bin_probs"):
        pairs += zip(left[name], right[name], strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype.newbyteorder("=") == theirs.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("rename", [lambda stream: stream, as_numpy_1], ids=["numpy2", "numpy1"])
@pytest.mark.parametrize("dtype", ["f8", "i8", "f4", "u2", ">f8", "i1"])
def test_reads_what_the_release_writes(
    tmp_path: pathlib.Path, protocol: int, rename: Callable[[bytes], bytes], dtype: str
) -> None:
    fields = fields_of(dtype)
    stream = rename(pickled(fields, protocol))
    assert (b"numpy._core" in stream) == (rename is not as_numpy_1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert_equal(plain_fields(stream), fields)
    read = read_pickle(tmp_path, stream)
    assert_equal(read, fields)
    assert all(x.dtype.isnative for x in (read["bins"], *read["bin_values"], *read["bin_probs"]))


def test_reads_a_full_size_file(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    num_bins, width = 32, 100
    fields = dict(
        num_bins=num_bins,
        bins=np.sort(rng.normal(size=num_bins + 1)),
        bin_values=list(rng.normal(size=(num_bins, width))),
        bin_probs=list(rng.dirichlet(np.ones(width), num_bins)),
    )
    write_released(tmp_path / "x.zstd", fields)
    assert_equal(read_converter(tmp_path / "x.zstd"), fields)


@pytest.mark.parametrize("protocol", (3, 4, 5))
def test_reads_empty_bins(tmp_path: pathlib.Path, protocol: int) -> None:
    fields = fields_of()
    fields["bin_values"][1] = fields["bin_probs"][1] = np.array([])
    assert_equal(read_pickle(tmp_path, pickled(fields, protocol)), fields)


def test_reads_a_numpy_number_of_bins(tmp_path: pathlib.Path) -> None:
    stream = pickled(fields_of(num_bins=np.int64(3)))
    assert b"scalar" in stream
    assert read_pickle(tmp_path, as_numpy_1(stream))["num_bins"] == 3
    assert_refused(tmp_path, pickled(fields_of(num_bins=np.float64(3))), "num_bins is not")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(num_bins=4), "bins has 4 edges"),
        (dict(num_bins=3.0), "num_bins is not an integer"),
        (dict(num_bins=True), "num_bins is not an integer"),
        (dict(num_bins=0, bins=np.ones(1), bin_values=[], bin_probs=[]), "at least 1"),
        (dict(num_bins=10**500), "bins has 4 edges"),
        (dict(bins=[0.0, 1.0, 2.0, 3.0]), "bins is not a numpy array"),
        (dict(bins=np.array([0, 1, np.nan, 3])), "bins has a number that is not finite"),
        (dict(bins=np.array([0, 1, 2, np.inf])), "bins has a number that is not finite"),
        (dict(bins=np.ones((4, 1))), "bins does not have the shape"),
        (dict(bins=np.array(1.0)), "bins does not have the shape"),
        (dict(bins=np.ones(4, bool)), "bins has a dtype other than"),
        (dict(bins=np.ones(4, complex)), "bins has a dtype other than"),
        (dict(bins=np.array(["a"] * 4)), "bins has a dtype other than"),
        (dict(bins=np.ones(4, "f8,i4")), "bins has a dtype other than"),
        (dict(bins=np.ones(4, "M8[s]")), "bins has a dtype other than"),
        (dict(bins=np.ones(4, np.dtype("f8", metadata={"a": 1}))), "dtype with an unknown state"),
        (dict(bins=np.array([1, "a", None, []], object)), "bins has a dtype other than|no bytes"),
        (dict(bins=None), "bins is not a numpy array"),
        (dict(bin_values=(np.ones(1),) * 3), "bin_values is not a list"),
        (dict(bin_values=[np.ones(1)] * 2), "bin_values has 2 arrays, expected 3"),
        (dict(bin_probs=[np.ones(1)] * 4), "bin_probs has 4 arrays, expected 3"),
        (dict(bin_probs=[np.ones(1)] * 3), "bin 1 has 3 values but 1 prob"),
        (dict(bin_probs=[1.0, 1.0, 1.0]), r"bin_probs\[0\] is not a numpy array"),
        (dict(more=1), "fields are not exactly"),
        (dict(__class__="x"), "fields are not exactly"),
    ],
)
def test_other_contents_are_refused(
    tmp_path: pathlib.Path, changes: dict[str, Any], sentence: str
) -> None:
    fields = fields_of() | changes
    with release_installed() as converter:
        instance = converter()
        vars(instance).update(fields)
        assert_refused(tmp_path, pickle.dumps(instance, 4), sentence)


@pytest.mark.parametrize("name", released.FIELDS)
def test_missing_fields_are_refused(tmp_path: pathlib.Path, name: str) -> None:
    fields = fields_of()
    del fields[name]
    assert_refused(tmp_path, pickled(fields), "fields are not exactly")


def containers() -> dict[str, bytes]:
    """Files that are not one intact zstd frame of a known, moderate size."""
    good = compressed(pickled(fields_of()))
    zeros = compressed(bytes(10**6))
    size = struct.pack("<I", 10**6)
    assert zeros.count(size) == 1
    unsized = zstandard.ZstdCompressor(level=LEVEL, write_content_size=False)
    return {
        "empty": b"",
        "text": b"num_bins: 3",
        "bare pickle": pickled(fields_of()),
        "two frames": good * 2,
        "trailing byte": good + b"\0",
        "skippable frame": b"\x50\x2a\x4d\x18\x04\0\0\0abcd",
        "size not stated": unsized.compress(pickled(fields_of())),
        "zip bomb": compressed(bytes(released.MAX_BYTES + 1)),
        "bomb without a size": unsized.compress(bytes(released.MAX_BYTES + 1)),
        "states too little": zeros.replace(size, struct.pack("<I", 10**5)),
        "states too much": zeros.replace(size, struct.pack("<I", 10**7)),
        "states an absurd size": zeros.replace(size, struct.pack("<I", 2**32 - 1)),
    }


@pytest.mark.parametrize("container", containers())
def test_containers_are_refused(tmp_path: pathlib.Path, container: str) -> None:
    path = tmp_path / "bad.zstd"
    path.write_bytes(containers()[container])
    with pytest.raises(InputError, match="zstd frame") as caught:
        read_converter(path)
    assert str(path) in str(caught.value)


def test_a_giant_file_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "giant.zstd"
    with path.open("wb") as file:
        file.truncate(released.MAX_BYTES + 1)
    with pytest.raises(InputError, match="larger than"):
        read_converter(path)


def test_what_is_not_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "pipe"):
        with pytest.raises(InputError, match="there is no such file"):
            read_converter(path)


def test_truncation_anywhere_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cut.zstd"
    whole = compressed(pickled(fields_of()))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_converter(path)
    stream = pickled(fields_of())
    for length in range(len(stream)):
        path.write_bytes(compressed(stream[:length]))
        with pytest.raises(InputError):
            read_converter(path)
