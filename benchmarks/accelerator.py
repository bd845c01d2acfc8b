"""Every measurement that waits for an accelerator, in the order of what it is worth.

Each stage is one benchmark in a process of its own; its result file and its log lie in the folder
given. A stage whose result is there already is left out, so that the same command goes on after an
interruption or when the time given is over.

    python benchmarks/accelerator.py --out benchmarks/results/gpu --minutes 9 --torch-python python3
    python benchmarks/accelerator.py --out benchmarks/results/gpu --list
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from jaxmars.cli_values import positive

HERE = pathlib.Path(__file__).parent
LEAST_SECONDS = 45  # less than that left, and no other stage is started
MINUTE = 60
# The rest is for torch, which runs while a benchmark of ours waits for it.
MEMORY = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.88"}
SIMULATION, BOOK, NOISE, TRAINING = (
    "simulation.py",
    "book.py",
    "noise_market.py",
    "training.py",
)
ATTENTION = "decode_attention.py"


class Stage(NamedTuple):
    """One benchmark with its flags."""

    name: str  # of the result file
    script: str
    flags: tuple[str, ...]
    beside_torch: bool = False  # whether it takes --torch-python


def simulation(
    name: str, size: str, precision: str, *lanes: int, torch: bool = False, growth: int = 0
) -> Stage:
    """The whole simulation at one size and precision; growth 0 for half a window."""
    flags = ["--size", size, "--precision", precision, "--lanes", *(str(n) for n in lanes)]
    if growth:
        flags += ["--growth", str(growth)]
    if size != "default":
        flags.append("--no-exact")
    return Stage(f"simulation_{name}", SIMULATION, (*flags, "--rounds", "3"), torch)


def attention(size: str) -> Stage:
    """Attention of a decoded order at one size, in both precisions."""
    flags = ("--size", size, "--lanes", "256", "1024", "4096")
    return Stage(f"decode_attention_{size}", ATTENTION, (*flags, "--rounds", "3"))


STAGES = (
    simulation("default", "default", "bfloat16", 256, 4096, 16_384, torch=True),
    simulation("xl", "xl", "bfloat16", 256, 1024, torch=True),
    Stage("book_128", BOOK, ("--slots", "128", "--books", "1024", "4096", "16384")),
    Stage("training", TRAINING, ("--batch", "256", "--rounds", "3"), True),
    attention("xl"),
    attention("default"),
    simulation("b", "b", "bfloat16", 256, 1024, torch=True),
    simulation("xl_short", "xl", "bfloat16", 1024, 4096, growth=128),
    simulation("xl_int8", "xl", "int8", 256, 1024),
    simulation("10m", "10m", "bfloat16", 256, 4096, torch=True),
    simulation("2m", "2m", "bfloat16", 256, 4096, torch=True),
    simulation("default_float32", "default", "float32", 256, 4096),
    Stage("book_512", BOOK, ("--slots", "512", "--books", "1024", "4096", "16384")),
    Stage("noise", NOISE, ("--hours", "1", "128", "1024")),
    attention("b"),
    attention("10m"),
)


def command(stage: Stage, out: pathlib.Path, torch_python: str | None) -> list[str]:
    """What a stage runs."""
    torch = ["--torch-python", torch_python] if stage.beside_torch and torch_python else []
    result = str(out / f"{stage.name}.json")
    return [sys.executable, str(HERE / stage.script), *stage.flags, *torch, "--out", result]


def run(stage: Stage, out: pathlib.Path, torch_python: str | None, seconds: float) -> str:
    """Runs a stage for so long at most; how it ended, in words."""
    began = time.monotonic()
    with (
        (out / f"{stage.name}.log").open("w") as log,
        subprocess.Popen(
            command(stage, out, torch_python),
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | MEMORY,
            start_new_session=True,
        ) as process,
    ):
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"not done after {seconds:.0f} s"
    spent = f"{time.monotonic() - began:.0f} s"
    return f"done, {spent}" if code == 0 else f"FAILED with exit code {code}, {spent}; see its log"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the results")
    parser.add_argument("--minutes", type=positive, default=60, help="at most (default 60)")
    parser.add_argument("--torch-python", help="a python that has torch and transformers")
    parser.add_argument("--only", action="append", choices=[stage.name for stage in STAGES])
    parser.add_argument("--list", action="store_true", help="show what would run, and stop")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + args.minutes * MINUTE
    left = 0
    for stage in STAGES:
        if args.only and stage.name not in args.only:
            continue
        seconds = ends - time.monotonic()
        if (args.out / f"{stage.name}.json").exists():
            told = "there already"
        elif args.list or seconds < LEAST_SECONDS:
            told, left = "to do", left + 1
        else:
            told = run(stage, args.out, args.torch_python, seconds)
            left += not told.startswith("done")
        print(f"{stage.name:28s} {told}", flush=True)
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
