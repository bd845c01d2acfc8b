"""Pickles made to do harm: all are refused, none acts.

Every live payload is also shown to act under plain `pickle.loads`, after ours did nothing.
"""

import pathlib
import pickle
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import hypothesis
import hypothesis.strategies as st
import pytest
from oracles.released_files import (
    MODULE,
    assert_refused,
    fields_of,
    pickled,
    read_pickle,
    release_installed,
)

from jaxmars.convert import inert_pickle, released

PROTOCOLS = (2, 3, 4, 5)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL, which allows dots in the attribute."""
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *args: bytes) -> bytes:
    return function + b"(" + b"".join(args) + b"tR"


def program(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def touch(marker: pathlib.Path) -> bytes:
    return text(f"touch {marker}")


def write(marker: pathlib.Path) -> bytes:
    return text(f"open({str(marker)!r}, 'w').close()")


LIVE: dict[str, Callable[[pathlib.Path], bytes]] = {
    "os.system": lambda m: call(b"cos\nsystem\n", touch(m)),
    "posix.system": lambda m: call(b"cposix\nsystem\n", touch(m)),
    "eval": lambda m: call(b"cbuiltins\neval\n", write(m)),
    "exec": lambda m: call(name("builtins", "exec"), write(m)),
    "python 2 name": lambda m: b"\x80\x02" + call(b"c__builtin__\neval\n", write(m)),
    "getattr chain": lambda m: call(
        call(
            name("builtins", "getattr"),
            call(name("builtins", "__import__"), text("os")),
            text("system"),
        ),
        touch(m),
    ),
    "dotted in numpy": lambda m: call(name("numpy", "f2py.os.system"), touch(m)),
    "dotted in an allowed module": lambda m: call(
        name("numpy._core.numeric", "builtins.eval"), write(m)
    ),
    "numpy gadget": lambda m: call(
        name("numpy.testing._private.utils", "runstring"), write(m), b"}"
    ),
    "old opcode INST": lambda m: b"(" + touch(m) + b"ios\nsystem\n",
    "old opcode OBJ": lambda m: b"(" + name("os", "system") + touch(m) + b"o",
    "importing": lambda m: name("hostile_module", "anything"),
    "before a good converter": lambda m: (
        call(b"cos\nsystem\n", touch(m)) + b"0" + pickled(fields_of())[11:-1]
    ),
    "inside a good converter": lambda m: (
        pickled(fields_of())[11:-2] + call(b"cos\nsystem\n", touch(m)) + b"0b"
    ),
    "as an array": lambda m: (
        name(MODULE, "BinConverter") + b")\x81}(" + text("bins")
        + call(b"cos\nsystem\n", touch(m)) + b"ub"
    ),
}  # fmt: skip


@pytest.fixture
def marker(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A file that payloads create; a module that creates it when imported is within reach."""
    path = tmp_path / "marker"
    (tmp_path / "hostile_module.py").write_text(f"anything = open({str(path)!r}, 'w').close()")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("hostile_module", None)


@pytest.mark.parametrize("payload", LIVE)
def test_live_payloads_do_nothing(
    tmp_path: pathlib.Path, marker: pathlib.Path, payload: str
) -> None:
    stream = program(LIVE[payload](marker))
    modules = set(sys.modules)
    assert_refused(tmp_path, stream, "its pickle (names|uses)")
    assert not marker.exists()
    assert set(sys.modules) == modules
    with release_installed():
        pickle.loads(stream)
    assert marker.exists(), "the payload is not live, so the test shows nothing"


BYTE = b"C\x08" + bytes(8)
F8 = call(name("numpy", "dtype"), text("f8"), b"\x89", b"\x88")
F8_STATE = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ARRAY = name("numpy._core.multiarray", "_reconstruct")
BUFFER = name("numpy._core.numeric", "_frombuffer")
BLANK = (name("numpy", "ndarray"), b"K\x00\x85", b"C\x01b")
HOLDER = name(MODULE, "BinConverter")


def with_bins(array: bytes) -> bytes:
    """A converter whose edges are the given object."""
    rest = b"".join((text("num_bins"), b"K\x00", text("bin_values"), b"]", text("bin_probs"), b"]"))
    return program(HOLDER + b")\x81}(" + text("bins") + array + rest + b"ub")


def array(dtype: bytes = F8 + F8_STATE, shape: bytes = b"K\x01\x85", data: bytes = BYTE) -> bytes:
    return call(ARRAY, *BLANK) + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


def dtype_of(code: str, state: bytes = F8_STATE) -> bytes:
    return call(name("numpy", "dtype"), text(code), b"\x89", b"\x88") + state


GADGETS = {
    "object dtype": with_bins(array(dtype_of("O8"))),
    "object dtype by buffer": with_bins(
        call(BUFFER, BYTE, dtype_of("O8"), b"K\x01\x85", text("C"))
    ),
    "record dtype": with_bins(array(dtype_of("f4,O"))),
    "dtype of a list": with_bins(
        array(call(name("numpy", "dtype"), b"]", b"\x89", b"\x88") + F8_STATE)
    ),
    "dtype of nothing": with_bins(array(call(name("numpy", "dtype")) + F8_STATE)),
    "dtype without state": with_bins(array(F8)),
    "dtype with fields": with_bins(
        array(F8 + b"(K\x03" + text("<") + b"N" + text("f") + b"}K\x08K\x01K\x1btb")
    ),
    "dtype with a subarray": with_bins(
        array(F8 + F8_STATE.replace(b"NNN", F8 + b"K\x02\x85\x86NN"))
    ),
    "dtype with flags": with_bins(array(F8 + F8_STATE[:-4] + b"K\x3ftb")),
    "dtype with another byte order": with_bins(array(F8 + F8_STATE.replace(b"<", b"!"))),
    "dtype state of one number": with_bins(array(F8 + b"K\x03b")),
    "instance for a dtype": with_bins(array(HOLDER + b")\x81")),
    "name for a dtype": with_bins(array(name("numpy", "dtype"))),
    "subclass of ndarray": with_bins(
        call(ARRAY, HOLDER, *BLANK[1:]) + b"(K\x01K\x01\x85"
        + F8 + F8_STATE + b"\x89" + BYTE + b"tb"
    ),
    "blank array of another shape": with_bins(
        call(ARRAY, BLANK[0], b"J\xff\xff\xff\x7f\x85", BLANK[2]) + b"(K\x01K\x01\x85"
        + F8 + F8_STATE + b"\x89" + BYTE + b"tb"
    ),
    "array without state": with_bins(call(ARRAY, *BLANK)),
    "array state version 9": with_bins(array().replace(b"(K\x01K\x01\x85", b"(K\x09K\x01\x85")),
    "array state as a dict": with_bins(call(ARRAY, *BLANK) + b"}b"),
    "huge shape": with_bins(array(shape=b"\x8a\x08" + b"\xff" * 7 + b"\x0f\x85")),
    "negative shape": with_bins(array(shape=b"J\xff\xff\xff\xff\x85")),
    "shape that is no integer": with_bins(array(shape=b"G" + struct.pack(">d", 1.0) + b"\x85")),
    "two axes": with_bins(array(shape=b"K\x01K\x01\x86")),
    "half a number": with_bins(array(data=b"C\x07" + bytes(7))),
    "data as a list": with_bins(array(data=b"]")),
    "data as an array": with_bins(array(data=array())),
    "buffer in another order": with_bins(
        call(BUFFER, BYTE, F8 + F8_STATE, b"K\x01\x85", text("K"))
    ),
    "buffer with a state": with_bins(
        call(BUFFER, BYTE, F8 + F8_STATE, b"K\x01\x85", text("C")) + b"}b"
    ),
    "ndarray called": with_bins(call(name("numpy", "ndarray"), b"K\x01\x85")),
    "scalar for an array": with_bins(
        call(name("numpy._core.multiarray", "scalar"), F8 + F8_STATE, BYTE)
    ),
    "codec other than latin1": with_bins(
        array(data=call(b"c_codecs\nencode\n", text("00"), text("hex")))
    ),
    "text that is not latin1": with_bins(
        array(data=call(b"c_codecs\nencode\n", text("\u20ac" * 8), text("latin1")))
    ),
    "encode without a codec": with_bins(array(data=call(b"c_codecs\nencode\n", text("a" * 8)))),
    "state on the class": program(HOLDER + b"}(" + text("__setstate__") + b"Nub"),
    "slot state on the class": program(HOLDER + b"N}(" + text("__init__") + b"Nu\x86b"),
    "state on a function": program(ARRAY + b"N}(" + text("__defaults__") + b")u\x86b"),
    "state on a number": program(b"K\x01}b"),
    "two states": program(HOLDER + b")\x81}b}b"),
    "holder with arguments": program(HOLDER + b"K\x01\x85\x81}b"),
    "holder with slot state": program(HOLDER + b")\x81N}\x86b"),
    "holder without state": program(HOLDER + b")\x81"),
    "result called": program(call(call(HOLDER))),
    "arguments as a list": program(HOLDER + b"]R"),
    "keys that are not text": program(HOLDER + b")\x81}(K\x01K\x01ub"),
    "keys that cannot be hashed": program(HOLDER + b")\x81}]]sb"),
    "a key without a value": program(HOLDER + b")\x81}(" + text("bins") + b"ub"),
    "items of a number": program(b"K\x01]a"),
    "name that is not text": program(b"K\x01K\x02\x93"),
    "name that is an array": program(array() + text("x") + b"\x93"),
    "class of another module": program(name("__main__", "BinConverter") + b")\x81}b"),
    "name with a suffix": program(name("numpy", "dtype ")),
    "name with a dot": program(name("numpy", "ndarray.__reduce__")),
    "module by prefix": program(name("numpy.core.multiarray.x", "_reconstruct")),
    "empty bytes of protocol 2": program(call(b"c__builtin__\nbytes\n")),
    "empty stack": program(b"R"),
    "below a mark": program(b"K\x01(\x85"),
    "no mark": program(b"t"),
    "open mark": program(b"K\x01("),
    "two results": program(b"NN"),
    "no result": program(b""),
    "not remembered": program(b"h\x00"),
    "persistent id": program(b"Pmarker\n"),
    "persistent id from the stack": program(text("marker") + b"Q"),
    "extension": program(b"\x82\x01"),
    "out of band buffer": program(b"\x97"),
    "duplicate": program(b"]2\x86"),
    "text integer": program(b"I1\n"),
    "keyword call": program(HOLDER + b")}\x92"),
    "set": program(b"\x8f"),
    "unknown opcode": program(b"\xff"),
    "other object": pickle.dumps([1, 2, 3], 4),
    "plain number": program(b"K\x01"),
    "something after the end": pickled(fields_of()) + b"N",
    "two pickles": pickled(fields_of()) * 2,
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_are_refused(tmp_path: pathlib.Path, gadget: str) -> None:
    assert_refused(tmp_path, GADGETS[gadget])


def test_the_gadgets_differ_from_a_good_file_only_by_the_gadget(tmp_path: pathlib.Path) -> None:
    good = with_bins(array())
    assert_refused(tmp_path, good, "bins has 1 edges")  # every array was read before this
    good = good.replace(text("num_bins") + b"K\x00", text("num_bins") + b"K\x01").replace(
        b"K\x01\x85" + F8, b"K\x02\x85" + F8
    )
    good = good.replace(BYTE, b"C\x10" + bytes(16)).replace(b"]", b"](" + array() + b"e")
    assert read_pickle(tmp_path, good)["bins"].tolist() == [0.0, 0.0]


BIG = 2**40
MANY = inert_pickle.MAX_OPCODES + 1
BOMBS = {
    "bytearray": program(b"\x96" + struct.pack("<Q", BIG) + b"x"),
    "bytes": program(b"\x8e" + struct.pack("<Q", BIG) + b"x"),
    "text": program(b"\x8d" + struct.pack("<Q", BIG) + b"x"),
    "negative long": program(b"\x8b" + struct.pack("<i", -5)),
    "long": program(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x"),
    "decimal": program(b"L" + b"9" * 10**5 + b"L\n"),
    "frame": b"\x80\x04\x95" + struct.pack("<Q", BIG) + b"N.",
    "frame one byte too long": b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.",
    "far memo entry": program(b"Nr" + b"\xff" * 4 + b"0"),
    "many opcodes": program(b"]" * MANY),
    "deep tuples": program(b")" + b"\x85" * (MANY - 5)),
    "laughs": program(b"]" + b"\x94h\x00\x86" * 40),
    "laughs as a name": program(b")" + b"q\x00h\x00\x86" * 60 + text("x") + b"\x93"),
    "list in itself": program(HOLDER + b")\x81}(" + text("bins") + b"]q\x00h\x00aub"),
    "one array many times": with_bins(
        array().replace(BYTE, b"B" + struct.pack("<I", 8 * 10**5) + bytes(8 * 10**5))
        .replace(b"K\x01\x85", b"J" + struct.pack("<i", 10**5) + b"\x85") + b"q\x07"
    ).replace(text("bin_values") + b"]", text("bin_values") + b"](" + b"h\x07" * 10**5 + b"e"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_cost_little(tmp_path: pathlib.Path, bomb: str) -> None:
    tracemalloc.start()
    try:
        assert_refused(tmp_path, BOMBS[bomb])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


def test_one_array_many_times_is_refused_for_its_size(tmp_path: pathlib.Path) -> None:
    assert_refused(tmp_path, BOMBS["one array many times"], "more data than the file")


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(
    st.sampled_from(PROTOCOLS),
    st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_pickles_raise_nothing_else(protocol: int, changes: list[tuple[int, int]]) -> None:
    stream = bytearray(pickled(fields_of(), protocol))
    for place, value in changes:
        stream[place % len(stream)] = value
    try:
        tree = inert_pickle.parse(bytes(stream), released.ALLOWED)
        fields = released._converter(tree, budget=len(stream))
    except (inert_pickle.PickleError, released._BadFileError):
        return
    assert set(fields) == set(released.FIELDS)
    assert len(fields["bins"]) == fields["num_bins"] + 1


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(
    st.lists(st.sampled_from(list(b"(])}KNtRb\x81\x85\x86\x93\x94haeu0q.")), max_size=30)
)
def test_random_programs_raise_nothing_else(opcodes: list[int]) -> None:
    body = b"".join(bytes([op]) + (b"\x00" if op in b"Khq" else b"") for op in opcodes)
    try:
        inert_pickle.parse(program(HOLDER + body), released.ALLOWED)
    except inert_pickle.PickleError as error:
        assert str(error).startswith("its pickle ")
