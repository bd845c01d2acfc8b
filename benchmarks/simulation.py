"""How many orders per second does the whole simulation generate, and what would torch manage?

Ours: book, snapshot, features, order model with the built-in weights, sampling; every lane busy.
Baselines: torch on a model of the same width, depth, window and with the released joint vocabulary,
the network alone (no book, no features, no sampling), which flatters it. Baselines and ours take
turns, so that both see the same machine.

    python benchmarks/simulation.py --torch-python PATH --out benchmarks/results/simulation_cpu.json
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import clock, devices
from jaxmars.agents import policy as policies
from jaxmars.book import with_slots
from jaxmars.builtin import default_starts, default_weights
from jaxmars.cli_values import positive
from jaxmars.config import SimConfig
from jaxmars.data.start import load_start
from jaxmars.models import OrderModel
from jaxmars.sim import Start, bytes_per_lane, init_market, rollout, trajectory_keys
from jaxmars.sim.reference_market import CLOSE_SEC, reference_market
from jaxmars.tasks.forecast import crowd, start_history

JOINT_VOCAB = 49_152
BASELINE = pathlib.Path(__file__).with_name("torch_baseline.py")
EXACT_EVENTS = 8
SETTINGS = ((1, 256), (16, 256), (64, 256))  # lanes per device, events per call: anchored
EXACT_SETTINGS = ((1, EXACT_EVENTS), (16, EXACT_EVENTS))


def build(model: OrderModel, exact: bool, lanes: int, events: int) -> tuple[Any, int, float, int]:
    """A compiled call, orders per call, compile seconds, bytes per trajectory."""
    make = policies.exact(events) if exact else policies.anchored(model.config, events)
    cfg = SimConfig(market=reference_market(), segment=events, lanes=lanes)
    agent, params = crowd(model, make, cfg.market, 1.0)
    start = load_start(default_starts(), 0)
    history = start_history(start, model, cfg.market, model.config.num_max_orders)
    time_now, end = clock.make_time(start.time.sec), clock.make_time(CLOSE_SEC)
    book = with_slots(start.book, cfg.market.slots)
    one = Start(book, time_now, end, jnp.int32(start.last_price), (history,))
    total = lanes * jax.device_count()
    keys = jax.device_put(trajectory_keys(0, np.arange(total)), devices.split())
    fresh = functools.partial(init_market, agents=(agent,), cfg=cfg.market)
    begin = jax.vmap(
        lambda key: fresh(key, (params,), one.book, one.time, one.end, one.last_price, one.memories)
    )
    markets = jax.jit(begin, out_shardings=devices.split())(keys)
    run = functools.partial(rollout, agents=(agent,), cfg=cfg, num_events=events)
    lanes_run = jax.jit(jax.vmap(run, in_axes=(0, 0, None)), out_shardings=devices.split())
    began = time.perf_counter()
    compiled = lanes_run.lower(keys, markets, (params,)).compile()
    seconds = time.perf_counter() - began
    starts = jax.tree.map(lambda x: jnp.asarray(x)[None], one)
    size = bytes_per_lane(starts, (params,), (agent,), cfg)
    return (
        (lambda: jax.block_until_ready(compiled(keys, markets, (params,)))),
        (total * events),
        seconds,
        size,
    )


def torch_rates(python: str, model: OrderModel, batch: int, repeats: int) -> dict[str, list[float]]:
    """Orders per second of both baselines at a batch size."""
    cfg = model.config
    sizes = (cfg.emb_dim, cfg.num_layers, cfg.num_heads, cfg.kv_heads, cfg.num_max_orders)
    numbers = [str(n) for n in (*sizes, JOINT_VOCAB, batch, repeats)]
    done = subprocess.run(
        [python, str(BASELINE), *numbers], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: [batch / s for s in found[name]] for name in ("full_window", "cached")}


def measure(model: OrderModel, exact: bool, lanes: int, events: int, rounds: int) -> dict[str, Any]:
    """Rates of one setting."""
    call, orders, compile_seconds, size = build(model, exact, lanes, events)
    call()
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        rates.append(orders / (time.perf_counter() - began))
    return {
        "policy": "exact" if exact else f"anchored({events})",
        "lanes_per_device": lanes,
        "orders_per_second": common.Summary.of(rates, high_is_good=True),
        "compile_seconds": round(compile_seconds, 2),
        "bytes_per_trajectory": size,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="result file (JSON)")
    parser.add_argument("--torch-python", help="a python that has torch and transformers")
    parser.add_argument("--rounds", type=positive, default=5, help="repeats (default 5)")
    args = parser.parse_args(argv)
    devices.use_all_cores()
    taken = common.conditions()
    print(common.describe_conditions(taken))
    model = OrderModel.from_pretrained(default_weights())
    baselines, rows = {}, []
    for exact, settings in ((False, SETTINGS), (True, EXACT_SETTINGS)):
        for lanes, events in settings:
            rows.append(measure(model, exact, lanes, events, args.rounds))
            best = rows[-1]["orders_per_second"]
            print(f"{rows[-1]['policy']:14s} {lanes:4d} lanes per device: {best}", flush=True)
        if args.torch_python and not exact:
            for batch in (1, 16):
                found = torch_rates(args.torch_python, model, batch, args.rounds)
                for name, rates in found.items():
                    summary = common.Summary.of(rates, high_is_good=True)
                    baselines[f"torch {name}, batch {batch}"] = summary
                    print(f"torch {name}, batch {batch}: {summary}", flush=True)
    if not args.torch_python:
        print("torch baselines skipped: --torch-python PATH was not given")
    ours = max(row["orders_per_second"].median for row in rows)
    ratios = {name: round(ours / summary.median, 1) for name, summary in baselines.items()}
    for name, ratio in ratios.items():
        print(f"best median of ours / {name}: {ratio}x")
    if args.out:
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "command": " ".join(
                ["python", "benchmarks/simulation.py", "--rounds", str(args.rounds)]
            ),
            "conditions": taken,
            "ours": rows,
            "baselines": baselines,
            "ratios_of_medians": ratios,
        }
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
