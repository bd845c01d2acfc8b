"""What a program compiled for a GPU launches, read from XLA's text of it.

Every instruction of the program that computes or copies is one kernel; kernels follow each other,
so their number bounds from below how long a program takes however small its arrays are. A loop
whose number of rounds is not known at compile time, and a branch, make the host wait for the
device.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

FREE = {  # of an instruction that names memory only
    "parameter",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "constant",
    "after-all",
    "copy-done",
    "async-done",
}
BEGINS = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
ROUNDS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
CALLED = re.compile(r"(?:body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


class Loop(NamedTuple):
    """A loop, or the whole program as one that goes round once."""

    rounds: int | None  # None where the compiler does not know it
    kernels: int  # of a round, without those of loops in it
    branches: int  # of a round
    loops: tuple["Loop", ...]

    def launches(self) -> int:
        """Kernels of all rounds, those of loops in it among them. A loop of unknown length counts
        as one round, a branch as all of its sides."""
        inside = self.kernels + sum(loop.launches() for loop in self.loops)
        return (self.rounds or 1) * inside

    def waits(self) -> int:
        """Places where the host waits for the device: branches, and loops of unknown length."""
        return self.branches + sum((loop.rounds is None) + loop.waits() for loop in self.loops)


def read_program(text: str) -> Loop:
    """The program of `jax.stages.Compiled.as_text`.

    Raises:
      ValueError: the text has no entry.
    """
    parts: dict[str, list[str]] = {}
    lines: list[str] = []
    entry = None
    for line in text.splitlines():
        begins = BEGINS.match(line)
        if begins:
            parts[begins["name"]] = lines = []
            entry = begins["name"] if begins["entry"] else entry
        elif line.startswith("  "):
            lines.append(line)
    if entry is None:
        raise ValueError("the text holds no entry computation")
    return _loop(parts, entry, 1)


def _loop(parts: dict[str, list[str]], name: str, rounds: int | None) -> Loop:
    kernels, branches, loops = 0, 0, []
    for line in parts[name]:
        kind = opcode(line)
        if kind == "while":
            known = ROUNDS.search(line)
            for body in _called(line):
                loops.append(_loop(parts, body, int(known[1]) if known else None))
        elif kind in ("conditional", "call"):
            branches += kind == "conditional"
            loops += [_loop(parts, body, 1) for body in _called(line)]
        elif kind not in FREE:
            kernels += 1
    return Loop(rounds, kernels, branches, tuple(loops))


def _called(line: str) -> Iterator[str]:
    """The computations that an instruction runs; the condition of a loop is none of them."""
    yield from CALLED.findall(line)
    for names in BRANCHES.findall(line):
        yield from (name.strip().lstrip("%") for name in names.split(","))


def opcode(line: str) -> str:
    """Of an instruction `name = type opcode(...)`, whose type may be a tuple of types."""
    after = line.split(" = ", 1)[1]
    depth = 0
    for place, sign in enumerate(after):
        depth += (sign in "([{") - (sign in ")]}")
        if depth == 0 and sign == " ":
            found = re.match(r"[\w\-]+", after[place + 1 :])
            return found[0] if found else ""
    return ""
