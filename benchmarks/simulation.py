"""How many orders per second does the whole simulation generate, and what would torch manage?

Ours: book, snapshot, features, order model, sampling; every lane busy, one segment per call, by
context policy and by lanes. Baselines: torch on a model of the same width, depth, window and with
the released joint vocabulary, the network alone (no book, no features, no sampling), which flatters
it. Baselines and ours take turns, so that both see the same machine. Beside each rate stands the
bound of the machine for that policy (`roofline.py`).

    python benchmarks/simulation.py --torch-python PATH --out benchmarks/results/simulation_cpu.json
    python benchmarks/simulation.py --size xl --precision bfloat16 --lanes 256 1024 --out FILE
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import roofline

from jaxmars import clock, devices
from jaxmars.agents.policy import ContextPolicy, anchored, exact, shared_prefix
from jaxmars.book import with_slots
from jaxmars.builtin import default_starts, default_weights
from jaxmars.cli_values import positive
from jaxmars.config import SimConfig
from jaxmars.data.start import load_start
from jaxmars.models import OrderModel
from jaxmars.models.precision import PRECISIONS, Precision, with_precision
from jaxmars.sim import Start, lane_memory, no_recorder, opening_memory, trajectory_keys
from jaxmars.sim import lane_programs as programs
from jaxmars.sim.lane_programs import SPLIT, WHOLE, World
from jaxmars.sim.lanes import compile_program
from jaxmars.sim.reference_market import CLOSE_SEC, reference_market
from jaxmars.tasks.forecast import crowd, start_history
from jaxmars.tokens.coarser import coarser
from jaxmars.train.settings import SIZES
from jaxmars.types import Params

JOINT_VOCAB = 49_152
BASELINE = pathlib.Path(__file__).with_name("torch_baseline.py")
EXACT_EVENTS = 8
EXACT_LANES = 16
TORCH_BATCHES = (1, 16, 128)
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # in what XLA says
FIGURE_INCHES = (8.6, 3.8)
GRID_ALPHA = 0.3
DOTS_PER_INCH = 130


class Setting(NamedTuple):
    """A policy with a number of lanes, ready to run."""

    policy: ContextPolicy
    lanes: int  # per device
    call: Callable[[], Any]
    orders: int  # of one call
    compile_seconds: float
    lane_bytes: int


def make_model(args: argparse.Namespace) -> OrderModel:
    """The built-in weights, or random ones of a named size with the built-in bins, merged to as
    many as it has slots."""
    model = OrderModel.from_pretrained(default_weights())
    if args.size != "default":
        assert model.converters is not None
        random = OrderModel.init(SIZES[args.size], jax.random.key(0))
        bins = coarser(model.converters, random.config)
        model = dataclasses.replace(random, converters=bins)
    return with_precision(model, PRECISIONS[args.precision])


def scene(
    model: OrderModel, policy: ContextPolicy, lanes: int
) -> tuple[World, Start, tuple[Params, ...]]:
    """What segments from one moment need: who trades and how, the moment with a leading axis, and
    the agent's parameters."""
    cfg = SimConfig(market=reference_market(), segment=policy.segment, lanes=lanes)
    agent, params = crowd(model, policy, cfg.market, 1.0)
    world = World((agent,), cfg, no_recorder)
    start = load_start(default_starts(), 0)
    history = start_history(start, model, cfg.market, 1)
    now, end = clock.make_time(start.time.sec), clock.make_time(CLOSE_SEC)
    book = with_slots(start.book, cfg.market.slots)
    one = Start(book, now, end, jnp.int32(start.last_price), (history,))
    return world, jax.tree.map(lambda x: jnp.asarray(x)[None], one), (params,)


def build(model: OrderModel, policy: ContextPolicy, lanes: int) -> Setting:
    """Compiles one segment of all lanes from one start."""
    world, starts, ready = scene(model, policy, lanes)
    total = lanes * jax.device_count()
    put = lambda x: jax.device_put(x, devices.split())
    keys = put(trajectory_keys(0, np.arange(total)))
    starts, ready = jax.device_put((starts, ready), devices.everywhere())
    specs = (SPLIT, SPLIT, WHOLE, WHOLE, WHOLE)
    began = time.perf_counter()
    if policy.opening:
        args = (keys, put(np.zeros(jax.device_count(), np.int32)), starts, ready, ())
        compiled = compile_program(world, programs.open_together, specs, (), args)
        memory = opening_memory(starts, ready, world.agents, world.cfg)
    else:
        places = put(np.zeros(total, np.int32))
        begin = jax.jit(programs.on_devices(programs.begin, world, specs))
        args = (keys, begin(keys, places, starts, ready, ()), ready)
        began = time.perf_counter()
        compiled = compile_program(world, programs.segment, (SPLIT, SPLIT, WHOLE), (), args)
        memory = lane_memory(starts, ready, world.agents, world.cfg)
    assert memory is not None
    return Setting(
        policy,
        lanes,
        lambda: jax.block_until_ready(compiled(*args)),
        total * policy.segment,
        time.perf_counter() - began,
        memory.lane,
    )


def work_of(
    model: OrderModel, policy: ContextPolicy, lanes: int, precision: Precision
) -> roofline.Work:
    """What an order takes at least."""
    weight, cache = (jnp.dtype(x).itemsize for x in (precision.weights, precision.cache))
    if policy.name == "exact":
        return roofline.exact_work(model.config, lanes, weight)
    bound = roofline.shared_work if policy.opening else roofline.anchored_work
    return bound(model.config, policy.segment, lanes, weight, cache)


def torch_rates(
    python: str, model: OrderModel, batch: int, repeats: int, kind: str
) -> dict[str, list[float]]:
    """Orders per second of both baselines at a batch size, on numbers of a kind."""
    cfg = model.config
    sizes = (cfg.emb_dim, cfg.num_layers, cfg.num_heads, cfg.kv_heads, cfg.num_max_orders)
    numbers = [str(n) for n in (*sizes, JOINT_VOCAB, batch, repeats)]
    numbers += [common.torch_device(), kind]
    done = subprocess.run(
        [python, str(BASELINE), *numbers], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: [batch / s for s in found[name]] for name in ("full_window", "cached")}


def measure(setting: Setting, rounds: int, most: float) -> dict[str, Any]:
    """Rates of one setting, of which the machine can do `most` orders per second."""
    setting.call()
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        setting.call()
        rates.append(setting.orders / (time.perf_counter() - began))
    summary = common.Summary.of(rates, high_is_good=True)
    return {
        "policy": setting.policy.name,
        "lanes_per_device": setting.lanes,
        "orders_per_second": summary,
        "bound_orders_per_second": round(most, 1),
        "share_of_bound": round(summary.median / most, 3),
        "compile_seconds": round(setting.compile_seconds, 2),
        "bytes_per_trajectory": setting.lane_bytes,
    }


def plan(model: OrderModel, args: argparse.Namespace) -> list[tuple[ContextPolicy, int]]:
    """What is measured."""
    growth = args.growth or model.config.num_max_orders // 2
    policies = (anchored(model.config, growth), shared_prefix(model.config, growth))
    settings = [(policy, lanes) for policy in policies for lanes in args.lanes]
    if args.no_exact:
        return settings
    return [*settings, (exact(EXACT_EVENTS), 1), (exact(EXACT_EVENTS), EXACT_LANES)]


def draw(
    path: pathlib.Path,
    rows: list[dict[str, Any]],
    baselines: dict[str, dict[int, common.Summary]],
) -> None:
    """Orders per second against trajectories at once, by policy, with the baselines by batch."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=FIGURE_INCHES, layout="constrained")
    ours: dict[str, dict[int, common.Summary]] = {}
    for row in rows:
        at_once = row["lanes_per_device"] * jax.device_count()
        ours.setdefault(f"jaxmars, {row['policy']}", {})[at_once] = row["orders_per_second"]
    for style, lines in (("o-", ours), ("s--", baselines)):
        for name, points in lines.items():
            rates = list(points.values())
            low = [rate.median - rate.worst for rate in rates]
            high = [rate.best - rate.median for rate in rates]
            medians = [rate.median for rate in rates]
            axes.errorbar(list(points), medians, (low, high), fmt=style, capsize=3, label=name)
    axes.set(xscale="log", yscale="log", xlabel="trajectories at once", ylabel="orders per second")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(alpha=GRID_ALPHA)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)


def command_of(words: list[str], torch_python: str | None) -> str:
    """The command as others would type it."""
    shown = ["PATH" if word == torch_python else word for word in words]
    return " ".join(["python", "benchmarks/simulation.py", *shown])


def read_args(argv: list[str] | None) -> argparse.Namespace:
    """Flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, help="result file (JSON; a PNG beside it)")
    parser.add_argument("--torch-python", help="a python that has torch and transformers")
    parser.add_argument("--rounds", type=positive, default=5, help="repeats (default 5)")
    parser.add_argument("--size", choices=list(SIZES), default="default", help="of the model")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--lanes", type=positive, nargs="+", default=[1, 16, 64], help="per device")
    parser.add_argument("--growth", type=positive, help="orders between anchors (default: W/2)")
    parser.add_argument("--no-exact", action="store_true", help="leave the slow policy out")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = read_args(argv)
    devices.use_all_cores()
    taken = common.conditions()
    print(common.describe_conditions(taken))
    machine = roofline.measure_machine(args.precision != "float32")
    print(
        f"machine: {machine.flops / 1e9:,.0f} GFLOP/s ({machine.origin}), "
        f"{machine.bandwidth / 1e9:,.1f} GB/s (measured copy)"
    )
    model = make_model(args)
    baselines: dict[str, common.Summary] = {}
    by_batch: dict[str, dict[int, common.Summary]] = {}
    rows = []
    is_half = common.torch_device() != "cpu" and args.precision != "float32"
    kind = "float16" if is_half else "float32"
    for batch in TORCH_BATCHES if args.torch_python else ():
        found = torch_rates(args.torch_python, model, batch, args.rounds, kind)
        for name, rates in found.items():
            summary = common.Summary.of(rates, high_is_good=True)
            baselines[f"torch {name}, {kind}, batch {batch}"] = summary
            by_batch.setdefault(f"torch, {name.replace('_', ' ')}", {})[batch] = summary
            print(f"torch {name}, {kind}, batch {batch}: {summary}", flush=True)
    for policy, lanes in plan(model, args):
        work = work_of(model, policy, lanes, PRECISIONS[args.precision])
        try:
            row = measure(build(model, policy, lanes), args.rounds, work.most(machine))
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise
            print(f"{policy.name:18s} {lanes:4d} lanes per device: out of memory", flush=True)
            continue
        rows.append(row)
        print(
            f"{row['policy']:18s} {lanes:4d} lanes per device: {row['orders_per_second']}, "
            f"{row['share_of_bound']:.0%} of the bound",
            flush=True,
        )
    if not args.torch_python:
        print("torch baselines skipped: --torch-python PATH was not given")
    ours = max((row["orders_per_second"].median for row in rows), default=0.0)
    ratios = {name: round(ours / summary.median, 1) for name, summary in baselines.items()}
    for name, ratio in ratios.items():
        print(f"best median of ours / {name}: {ratio}x")
    if args.out:
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "command": command_of(argv or sys.argv[1:], args.torch_python),
            "conditions": taken,
            "machine": machine._asdict(),
            "size": args.size,
            "precision": args.precision,
            "ours": rows,
            "baselines": baselines,
            "ratios_of_medians": ratios,
        }
        common.write_json(args.out, record)
        draw(args.out.with_suffix(".png"), rows, by_batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
