"""How does the rate of the whole simulation grow with devices?

The same lanes per device on 1, 2, 4 ... devices of one process ("together"), and, because a
machine's cores share caches, memory and heat, on as many processes of one device each that run at
the same time ("apart"): what the machine itself allows. Every run is `simulation.py` in a process
of its own that sees only its share of the cores, and only its devices of an accelerator.

    python benchmarks/more_devices.py --out benchmarks/results/more_devices_cpu.json
    python benchmarks/more_devices.py --devices 1 2 4 8 --lanes 1024 --precision bfloat16 --out FILE
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import common

from jaxmars.cli_values import positive

WORKER = pathlib.Path(__file__).with_name("simulation.py")


def start(places: Sequence[int], most: int, flags: list[str], out: str) -> subprocess.Popen[bytes]:
    """`simulation.py` on the devices `places` of `most`, with their share of the cores."""
    cores = sorted(os.sched_getaffinity(0))
    share = max(len(cores) // most, 1)
    mine = {cores[(place * share + i) % len(cores)] for place in places for i in range(share)}
    return subprocess.Popen(
        [sys.executable, str(WORKER), *flags, "--no-exact", "--out", out],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, places))},
        preexec_fn=lambda: os.sched_setaffinity(0, mine),
        stdout=subprocess.DEVNULL,
    )


def run(groups: list[list[int]], most: int, flags: list[str]) -> tuple[dict[str, float], Any]:
    """Orders per second by policy, of all processes that run at once, and the first's conditions.

    Args:
      groups: devices of each process.
      most: devices of the largest run.
      flags: of `simulation.py`.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        files = [f"{folder}/{i}.json" for i in range(len(groups))]
        begun = [
            stack.enter_context(start(group, most, flags, file))
            for group, file in zip(groups, files, strict=True)
        ]
        if any(process.wait() for process in begun):
            raise SystemExit("more_devices: simulation.py failed; its message is above")
        records = [json.loads(pathlib.Path(file).read_text()) for file in files]
    for record, group in zip(records, groups, strict=True):
        if record["conditions"]["devices"] != len(group):
            raise SystemExit(
                f"more_devices: a process saw {record['conditions']['devices']} devices, expected "
                f"{len(group)}; this machine has fewer than --devices asks for"
            )
    rates: dict[str, float] = {}
    for record in records:
        for row in record["ours"]:
            median = row["orders_per_second"]["median"]
            rates[row["policy"]] = rates.get(row["policy"], 0.0) + median
    return rates, records[0]["conditions"]


def summarise(rounds: list[dict[tuple[int, str], dict[str, float]]]) -> list[dict[str, Any]]:
    """One row per policy, number of devices and way: rate, and its share of linear growth."""
    rows = []
    for policy in next(iter(rounds[0].values())):
        for count, way in rounds[0]:
            rates = [found[count, way][policy] for found in rounds]
            ones = [found[1, "together"][policy] for found in rounds]
            shares = [rate / (count * one) for rate, one in zip(rates, ones, strict=True)]
            rows.append(
                {
                    "policy": policy,
                    "devices": count,
                    "processes": 1 if way == "together" else count,
                    "orders_per_second": common.summary(rates),
                    "share_of_linear": common.summary(shares),
                }
            )
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    cores = len(os.sched_getaffinity(0))
    add("--devices", type=positive, nargs="+", default=[1, cores], help="default: 1, every core")
    add("--lanes", type=positive, default=64, help="per device (default 64)")
    add("--precision", default="float32", help="as in simulation.py")
    add("--size", default="default", help="as in simulation.py")
    add("--repeats", type=positive, default=3, help="of every run, in turns (default 3)")
    add("--out", type=pathlib.Path, required=True, help="result file, JSON")
    args = parser.parse_args(argv)
    counts = sorted({1, *args.devices})
    flags = ["--lanes", str(args.lanes), "--precision", args.precision, "--size", args.size]
    rounds, taken = [], None
    for repeat in range(args.repeats):
        found = {}
        for count in counts:
            places = list(range(count))
            found[count, "together"], taken = run([places], counts[-1], flags)
            if count > 1:
                found[count, "apart"], _ = run([[i] for i in places], counts[-1], flags)
        rounds.append(found)
        print(f"round {repeat + 1} of {args.repeats} done", file=sys.stderr, flush=True)
    rows = summarise(rounds)
    for row in rows:
        print(
            f"{row['policy']:18s} {row['devices']} devices, {row['processes']} processes: "
            f"{row['orders_per_second']} orders/s, {row['share_of_linear'].median:.0%} of linear"
        )
    common.write_json(
        args.out,
        {
            "question": (__doc__ or "").splitlines()[0],
            "command": " ".join(["python", "benchmarks/more_devices.py", *(argv or sys.argv[1:])]),
            "conditions": taken,
            "lanes_per_device": args.lanes,
            "precision": args.precision,
            "size": args.size,
            "rows": rows,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
