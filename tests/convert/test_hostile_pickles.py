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
from oracles.pickle_programs import (
    BLANK,
    ENCODE,
    HOLDER,
    NUMBERS,
    PLAIN,
    RECONSTRUCT,
    array,
    buffer,
    call,
    converter,
    data,
    dtype,
    dtype_state,
    fields,
    name,
    program,
    text,
    with_edges,
)
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


NO_ARRAY = "bins is not a numpy array"
NOT_PLAIN = "bins is not a plain numpy array"
BAD_DTYPE = "bins has a dtype other than"
BAD_STATE = "bins has a dtype with an unknown state"
ODD_DTYPE = "bins has a dtype that is not one of plain numbers"
BAD_SHAPE = "bins does not have the shape"
NO_BYTES = "bins has no bytes of data"

GADGETS = {  # the edges of an otherwise good converter, and why they are refused
    "object dtype": (array(dtype("O8")), BAD_DTYPE),
    "object dtype by buffer": (buffer(dtype("O8")), BAD_DTYPE),
    "record dtype": (array(dtype("f4,O")), BAD_DTYPE),
    "dtype of a list": (
        array(call(name("numpy", "dtype"), b"]", b"\x89", b"\x88") + dtype_state()),
        "bins has no numpy dtype",
    ),
    "dtype of nothing": (
        array(call(name("numpy", "dtype")) + dtype_state()),
        "bins has no numpy dtype",
    ),
    "dtype with fields": (
        array(dtype(state=dtype_state(rest=b"N" + text("f") + b"}K\x08K\x01K\x1b"))),
        ODD_DTYPE,
    ),
    "dtype with a subarray": (
        array(dtype(state=dtype_state(rest=dtype() + b"K\x02\x85\x86" + PLAIN[1:]))),
        ODD_DTYPE,
    ),
    "dtype with flags": (array(dtype(state=dtype_state(rest=PLAIN[:-1] + b"\x3f"))), ODD_DTYPE),
    "dtype in no byte order": (array(dtype(state=dtype_state("!"))), ODD_DTYPE),
    "dtype without state": (array(dtype(state=b"")), BAD_STATE),
    "dtype state of one number": (array(dtype(state=b"K\x03b")), BAD_STATE),
    "instance for a dtype": (array(HOLDER + b")\x81"), "bins has no numpy dtype"),
    "name for a dtype": (array(name("numpy", "dtype")), "bins has no numpy dtype"),
    "subclass of ndarray": (array(blank=(HOLDER, *BLANK[1:])), NOT_PLAIN),
    "blank array of a huge shape": (
        array(blank=(BLANK[0], b"J\xff\xff\xff\x7f\x85", BLANK[2])),
        NOT_PLAIN,
    ),
    "blank array of objects": (array(blank=(*BLANK[:2], data(b"O"))), NOT_PLAIN),
    "blank array of nothing": (array(blank=()), NOT_PLAIN),
    "array state version 9": (array(version=9), NOT_PLAIN),
    "array without state": (call(RECONSTRUCT, *BLANK), NO_ARRAY),
    "array state as a dict": (call(RECONSTRUCT, *BLANK) + b"}b", NO_ARRAY),
    "buffer in another order": (buffer(order="K"), NOT_PLAIN),
    "buffer with a state": (buffer() + b"}b", NOT_PLAIN),
    "huge shape": (array(shape=b"\x8a\x08" + b"\xff" * 7 + b"\x0f\x85"), BAD_SHAPE),
    "negative shape": (array(shape=b"J\xff\xff\xff\xff\x85"), BAD_SHAPE),
    "shape that is no integer": (array(shape=b"G" + struct.pack(">d", 2.0) + b"\x85"), BAD_SHAPE),
    "two axes": (array(shape=b"K\x02K\x01\x86"), BAD_SHAPE),
    "no axis": (array(shape=b")"), BAD_SHAPE),
    "half a number": (array(numbers=data(bytes(15))), "bins has 15 bytes"),
    "data as a list": (array(numbers=b"]"), NO_BYTES),
    "data as an array": (array(numbers=array()), NO_BYTES),
    "ndarray called": (call(name("numpy", "ndarray"), b"K\x01\x85"), NO_ARRAY),
    "scalar for an array": (
        call(name("numpy._core.multiarray", "scalar"), dtype(), data(NUMBERS)),
        NO_ARRAY,
    ),
    "codec other than latin1": (
        array(numbers=call(ENCODE, text("0" * 16), text("utf-8"))),
        NO_BYTES,
    ),
    "text that is not latin1": (
        array(numbers=call(ENCODE, text("\u20ac" * 16), text("latin1"))),
        "bins has text in place of bytes",
    ),
    "encode without a codec": (array(numbers=call(ENCODE, text("0" * 16))), NO_BYTES),
    "encode with a state": (
        array(numbers=call(ENCODE, text("0" * 16), text("latin1")) + b"}b"),
        NO_BYTES,
    ),
    "list in itself": (b"]q\x00h\x00a", NO_ARRAY),
}


def test_the_gadgets_sit_in_a_good_converter(tmp_path: pathlib.Path) -> None:
    text_numbers = call(ENCODE, text(NUMBERS.decode("latin-1")), text("latin1"))
    for edges in (array(), buffer(), array(numbers=text_numbers)):
        assert read_pickle(tmp_path, with_edges(edges))["bins"].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("gadget", GADGETS)
def test_gadgets_are_refused(tmp_path: pathlib.Path, gadget: str) -> None:
    edges, reason = GADGETS[gadget]
    assert_refused(tmp_path, with_edges(edges), reason)


NOT_THERE = "takes values that are not there"
NO_CONVERTER = "is not a BinConverter"
CHANGES = "its pickle changes a"

PROGRAMS = {  # whole pickles, and why they are refused
    "state on the class": (program(HOLDER + fields() + b"b"), CHANGES),
    "slot state on the class": (program(HOLDER + b"N}(" + text("a") + b"Nu\x86b"), CHANGES),
    "state on a function": (program(ENCODE + b"N}(" + text("__defaults__") + b")u\x86b"), CHANGES),
    "state on a number": (program(b"K\x01}b"), CHANGES),
    "items of a number": (program(b"K\x01]a"), CHANGES),
    "two states": (program(HOLDER + b")\x81}b" + fields() + b"b"), "one object twice"),
    "holder with arguments": (converter(fields(), args=b"K\x01\x85"), NO_CONVERTER),
    "holder with slot state": (converter(b"N" + fields() + b"\x86"), NO_CONVERTER),
    "holder without state": (program(HOLDER + b")\x81"), NO_CONVERTER),
    "dtype with the state of a converter": (
        converter(fields(), holder=name("numpy", "dtype")),
        NO_CONVERTER,
    ),
    "name alone": (program(HOLDER), NO_CONVERTER),
    "other object": (pickle.dumps([1, 2, 3], 4), NO_CONVERTER),
    "class of another module": (
        converter(fields(), holder=name("__main__", "BinConverter")),
        "names '__main__', 'BinConverter'",
    ),
    "result called": (program(call(call(HOLDER))), "calls something"),
    "number called": (program(call(b"K\x01")), "calls something"),
    "arguments as a list": (program(HOLDER + b"]R"), "calls something"),
    "keys that are not text": (program(b"}(K\x01K\x01u"), "dict key of type int"),
    "keys that cannot be hashed": (program(b"}]]s"), "dict key of type list"),
    "a key without a value": (program(b"}(" + text("bins") + b"u"), "is malformed"),
    "name that is not text": (program(b"K\x01K\x02\x93"), "name that is not text"),
    "name that is an array": (program(array() + text("x") + b"\x93"), "name that is not text"),
    "name with a suffix": (program(name("numpy", "dtype ")), "names 'numpy', 'dtype '"),
    "name with a dot": (program(name("numpy", "dtype.type")), "names 'numpy', 'dtype.type'"),
    "module by prefix": (program(name("numpy.core", "_reconstruct")), "names 'numpy.core'"),
    "long name": (program(name("a" * 10**6, "b")), "names 'a{60}', 'b'"),
    "empty bytes of protocol 2": (program(call(b"c__builtin__\nbytes\n")), "names '__builtin__'"),
    "empty stack": (program(b"R"), NOT_THERE),
    "below a mark": (program(b"K\x01(\x85"), NOT_THERE),
    "no mark": (program(b"t"), "is malformed"),
    "open mark": (program(b"K\x01("), "does not end in one value"),
    "two results": (program(b"NN"), "does not end in one value"),
    "no result": (program(b""), "does not end in one value"),
    "not remembered": (program(b"h\x00"), "is malformed"),
    "persistent id": (program(b"Pmarker\n"), "uses PERSID"),
    "persistent id from the stack": (program(text("marker") + b"Q"), "uses BINPERSID"),
    "extension": (program(b"\x82\x01"), "uses EXT1"),
    "out of band buffer": (program(b"\x97"), "uses NEXT_BUFFER"),
    "duplicate": (program(b"]2\x86"), "uses DUP"),
    "text integer": (program(b"I1\n"), "uses INT"),
    "keyword call": (program(HOLDER + b")}\x92"), "uses NEWOBJ_EX"),
    "set": (program(b"\x8f"), "uses EMPTY_SET"),
    "unknown opcode": (program(b"\xff"), "is malformed"),
    "something after the end": (converter(fields()) + b"N", "followed by 1 other bytes"),
    "two pickles": (converter(fields()) * 2, "followed by"),
    "nothing": (b"", "is malformed"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_programs_are_refused(tmp_path: pathlib.Path, case: str) -> None:
    assert_refused(tmp_path, *PROGRAMS[case])


BIG = 2**40
MANY = inert_pickle.MAX_OPCODES + 1
LONG_ARRAY = array(shape=b"J" + struct.pack("<i", 10**5) + b"\x85", numbers=data(bytes(8 * 10**5)))
MALFORMED = "its pickle is malformed"

BOMBS = {
    "bytearray": (program(b"\x96" + struct.pack("<Q", BIG) + b"x"), MALFORMED),
    "bytes": (program(b"\x8e" + struct.pack("<Q", BIG) + b"x"), MALFORMED),
    "text": (program(b"\x8d" + struct.pack("<Q", BIG) + b"x"), MALFORMED),
    "long": (program(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x"), MALFORMED),
    "negative long": (program(b"\x8b" + struct.pack("<i", -5)), MALFORMED),
    "decimal": (program(b"L" + b"9" * 10**5 + b"L\n"), MALFORMED),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", BIG) + b"N.", "announces a frame"),
    "frame one byte too long": (
        b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.",
        "announces a frame of 3 bytes",
    ),
    "far memo entry": (program(b"Nr" + b"\xff" * 4), NO_CONVERTER),
    "many opcodes": (program(b"]" * MANY), "more than 200000 opcodes"),
    "deep tuples": (program(b")" + b"\x85" * (MANY - 5)), NO_CONVERTER),
    "laughs": (program(b")" + b"q\x00h\x00\x86" * 60), NO_CONVERTER),
    "laughs as a name": (program(b")" + b"q\x00h\x00\x86" * 60 + b"N\x93"), "not text"),
    "laughs as a key": (program(b"})" + b"q\x00h\x00\x86" * 60 + b"Ns"), "key of type tuple"),
    "one array many times": (
        converter(fields(values=LONG_ARRAY + b"q\x07" + b"h\x07" * 10**4)),
        "bin_values has more data than the file",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_cost_little(tmp_path: pathlib.Path, bomb: str) -> None:
    stream, reason = BOMBS[bomb]
    tracemalloc.start()
    try:
        assert_refused(tmp_path, stream, reason)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


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
