"""Pickles put together by hand, opcode by opcode, for what `pickle.dumps` would never write."""

import struct

from oracles.released_files import MODULE


def text(value: str) -> bytes:
    """Pushes a string."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def data(raw: bytes) -> bytes:
    """Pushes bytes."""
    return b"B" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """Pushes a global; STACK_GLOBAL also follows dots in the attribute."""
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *args: bytes) -> bytes:
    """Calls a function with arguments."""
    return function + b"(" + b"".join(args) + b"tR"


def program(body: bytes) -> bytes:
    """A whole pickle of protocol 4."""
    return b"\x80\x04" + body + b"."


HOLDER = name(MODULE, "BinConverter")
ENCODE = name("_codecs", "encode")
RECONSTRUCT = name("numpy._core.multiarray", "_reconstruct")
BUFFER = name("numpy._core.numeric", "_frombuffer")
BLANK = (name("numpy", "ndarray"), b"K\x00\x85", data(b"b"))
PLAIN = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00"  # a dtype without structure
NUMBERS = struct.pack("<2d", 0.25, 0.75)
SHAPE = b"K\x02\x85"


def dtype_state(order: str = "<", rest: bytes = PLAIN) -> bytes:
    """Sets the state of a dtype."""
    return b"(K\x03" + text(order) + rest + b"tb"


def dtype(code: str = "f8", state: bytes | None = None) -> bytes:
    """A numpy dtype."""
    made = call(name("numpy", "dtype"), text(code), b"\x89", b"\x88")
    return made + (dtype_state() if state is None else state)


def array(
    kind: bytes | None = None,
    shape: bytes = SHAPE,
    numbers: bytes | None = None,
    blank: tuple[bytes, ...] = BLANK,
    version: int = 1,
) -> bytes:
    """The array [0.25, 0.75] as protocol 4 writes it, unless told otherwise."""
    state = shape + (kind or dtype()) + b"\x89" + (numbers or data(NUMBERS))
    return call(RECONSTRUCT, *blank) + b"(K" + bytes([version]) + state + b"tb"


def buffer(kind: bytes | None = None, order: str = "C") -> bytes:
    """The same array as protocol 5 writes it."""
    return call(BUFFER, data(NUMBERS), kind or dtype(), SHAPE, text(order))


def fields(edges: bytes | None = None, values: bytes | None = None) -> bytes:
    """The fields of a converter of one bin, [0.25, 0.75] for every array not given."""
    return (
        b"}(" + text("num_bins") + b"K\x01" + text("bins") + (edges or array())
        + text("bin_values") + b"](" + (values or array()) + b"e"
        + text("bin_probs") + b"](" + array() + b"eu"
    )  # fmt: skip


def converter(state: bytes, args: bytes = b")", holder: bytes = HOLDER) -> bytes:
    """A converter with this state."""
    return program(holder + args + b"\x81" + state + b"b")


def with_edges(edges: bytes) -> bytes:
    """A good converter but for its edges."""
    return converter(fields(edges))
