"""How long does the first command take, and how much memory, with and without a compile cache?

Runs `jaxmars forecast` with its defaults (128 futures of 5 minutes, built-in weights) twice, in
fresh processes that share an empty cache folder: the first compiles, the second finds the programs.
The first run is the baseline of the second. Beside both: what torch's cached decode of a model of
the same size, as many futures at once, takes for the same number of orders, the network alone.

    python benchmarks/first_command.py --torch-python PATH \
      --out benchmarks/results/first_command_cpu.json
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import common
from simulation import torch_rates

from jaxmars.builtin import default_weights
from jaxmars.models import OrderModel

TORCH_REPEATS = 5
MIB = 1024  # ru_maxrss counts KiB


def run(folder: pathlib.Path) -> dict[str, Any]:
    """Wall seconds, and what the command says of itself."""
    out = folder / "forecast"
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    began = time.perf_counter()
    command = [sys.executable, "-m", "jaxmars.cli", "forecast", "--out", str(out)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    wall = time.perf_counter() - began
    said = json.loads((out / "summary.json").read_text())
    kept = ("events", "run_seconds", "compile_seconds", "orders_per_second", "trajectories")
    return {"wall_seconds": round(wall, 1), **{name: said[name] for name in kept}}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="result file (JSON)")
    parser.add_argument("--torch-python", help="a python that has torch and transformers")
    args = parser.parse_args(argv)
    taken = common.conditions()
    print(common.describe_conditions(taken))
    with tempfile.TemporaryDirectory() as name:
        cold = run(pathlib.Path(name))
        print("nothing compiled yet:", cold, flush=True)
        warm = run(pathlib.Path(name))
        print("compiled programs kept:", warm)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / MIB
    print(f"peak memory {peak:,.0f} MiB")
    theirs = None
    if args.torch_python:
        model = OrderModel.from_pretrained(default_weights())
        batch = cold["trajectories"]
        rates = torch_rates(args.torch_python, model, batch, TORCH_REPEATS, "float32")["cached"]
        theirs = common.Summary.of([cold["events"] / r for r in rates], high_is_good=False)
        print(f"torch's cached decode of as many orders, batch {batch}, seconds: {theirs}")
    if args.out:
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "conditions": taken,
            "cold": cold,
            "warm": warm,
            "peak_memory_mib": round(peak),
            "torch_cached_seconds": theirs,
        }
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
