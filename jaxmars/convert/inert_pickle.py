"""Reads a pickle as data: nothing it names is imported, called or assigned to.

A pickle is a program for a small stack machine. Here `pickletools` only splits it into opcodes,
and `parse` turns those into plain values plus inert `Name` and `Call` records, which the caller
interprets. So a name on the caller's list means only what the caller makes of it; numpy's own
functions, say, are never handed arguments from the file. Everything the caller did not list is
refused, and so is every opcode beyond those that simple data needs.

Memory stays in proportion to the stream: sizes it announces are checked against the bytes that
are there, nothing is copied by reference, and the number of opcodes is bounded.
"""

import dataclasses
import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

MAX_OPCODES = 200_000
SHOWN_CHARS = 60  # of foreign text in an error message


class PickleError(Exception):
    """Why a stream was refused: part of a sentence, starting with "its pickle"."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A global name of the caller's list, by the meaning given there."""

    meaning: str


@dataclasses.dataclass(eq=False)
class Call:
    """A call the pickle asks for and the state it sets on the result. Never carried out."""

    meaning: str
    args: tuple[Any, ...]
    state: Any = None


def parse(
    stream: bytes, allowed: Mapping[tuple[str, str], str], max_opcodes: int = MAX_OPCODES
) -> Any:
    """The value a pickle of protocol 2 to 5 describes.

    Args:
      stream: the whole pickle and nothing else.
      allowed: meaning of every (module, name) that may occur, matched exactly.
      max_opcodes: longest pickle that is read.

    Returns:
      None, bool, int, float, str, bytes, bytearray, tuple, list, dict with str keys, `Name` or
      `Call`, nested at will; parts may be shared or contain themselves.

    Raises:
      PickleError: malformed, too long, an unlisted name or an opcode that data do not need.
    """
    machine = _Machine(allowed)
    source = io.BytesIO(stream)
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(source)):
            if count >= max_opcodes:
                _refuse(f"has more than {max_opcodes} opcodes")
            if opcode.name == "STOP":
                return machine.result(left=len(stream) - source.tell())
            machine.step(opcode.name, arg, left=len(stream) - source.tell())
    except (ValueError, IndexError, KeyError) as error:
        _refuse(f"is malformed ({error!s:.{SHOWN_CHARS}})")
    _refuse("has no end")


def _refuse(reason: str) -> NoReturn:
    raise PickleError(f"its pickle {reason}")


_PUSH_ARG = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES "
    "BINBYTES8 BYTEARRAY8".split()
)
_PUSH_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLE_SIZE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack machine; what it does not define is refused."""

    def __init__(self, allowed: Mapping[tuple[str, str], str]) -> None:
        self._allowed = allowed
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._actions: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "MARK": lambda _: self._marks.append(len(self._stack)),
            "TUPLE": lambda _: self._stack.append(tuple(self._take_marked())),
            "APPEND": lambda _: self._extend(self._take(1)),
            "APPENDS": lambda _: self._extend(self._take_marked()),
            "SETITEM": lambda _: self._set_items(self._take(2)),
            "SETITEMS": lambda _: self._set_items(self._take_marked()),
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "BINGET": self._recall,
            "LONG_BINGET": self._recall,
            "GLOBAL": lambda arg: self._name(*arg.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._take(2)),
            "REDUCE": lambda _: self._call(*self._take(2)),
            "NEWOBJ": lambda _: self._call(*self._take(2)),
            "BUILD": lambda _: self._set_state(*self._take(1)),
        }

    def step(self, opcode: str, arg: Any, left: int) -> None:
        """Carry out one opcode with its argument; `left` bytes follow them."""
        if opcode in _PUSH_ARG:
            self._stack.append(arg)
        elif opcode in _PUSH_NEW:
            self._stack.append(_PUSH_NEW[opcode]())
        elif opcode in _TUPLE_SIZE:
            self._stack.append(tuple(self._take(_TUPLE_SIZE[opcode])))
        elif opcode in self._actions:
            self._actions[opcode](arg)
        elif opcode != "FRAME":
            _refuse(f"uses {opcode}, which plain data do not need")
        elif arg > left:
            _refuse(f"announces a frame of {arg} bytes, more than there are")

    def result(self, left: int) -> Any:
        """The one value on the stack at the end; `left` bytes follow it."""
        if left:
            _refuse(f"is followed by {left} other bytes")
        if len(self._stack) != 1 or self._marks:
            _refuse("does not end in one value")
        return self._stack[0]

    def _take(self, count: int) -> list[Any]:
        """The last `count` values since the last mark, taken off the stack."""
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            _refuse("takes values that are not there")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _take_marked(self) -> list[Any]:
        """The values since the last mark, taken off with it."""
        taken = self._take(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return taken

    def _top(self, kind: type) -> Any:
        """The last value since the last mark, left in place, of exactly this type."""
        (value,) = self._take(1)
        if type(value) is not kind:
            _refuse(f"changes a {type(value).__name__} as if it were a {kind.__name__}")
        self._stack.append(value)
        return value

    def _extend(self, items: list[Any]) -> None:
        self._top(list).extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                _refuse(f"has a dict key of type {type(key).__name__}")
            target[key] = value

    def _remember(self, index: int) -> None:
        (value,) = self._take(1)
        self._stack.append(value)
        self._memo[index] = value

    def _recall(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            _refuse("has a global name that is not text")
        if (module, name) not in self._allowed:
            _refuse(f"names {module[:SHOWN_CHARS]!r}, {name[:SHOWN_CHARS]!r}, which is not allowed")
        self._stack.append(Name(self._allowed[module, name]))

    def _call(self, target: Any, args: Any) -> None:
        if type(target) is not Name or type(args) is not tuple:
            _refuse("calls something that is not a function")
        self._stack.append(Call(target.meaning, args))

    def _set_state(self, state: Any) -> None:
        call = self._top(Call)
        if call.state is not None:
            _refuse("sets the state of one object twice")
        call.state = state
