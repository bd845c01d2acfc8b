"""What does a GPU get to run: how many kernels per order, and does it fit the memory planned?

Needs no GPU: XLA compiles the whole simulation for one that is described (`TARGET`), with the
libraries of `jax[cuda12]`. Kernels are counted in the compiled program (`gpu_hlo.py`); memory is
what XLA will ask for, beside what `lane_memory` plans before anything is compiled; it fits the plan
if it takes no more than that and the share of the device that plans leave free. The rate is a
prediction, nothing is run: `KERNEL_SECONDS` for every kernel, and the bound of `roofline.py`.

    JAX_PLATFORMS=cpu python benchmarks/gpu_program.py --out benchmarks/results/gpu_program.json
"""

import argparse
import functools
import pathlib
import sys
import time
from typing import Any, NamedTuple

import common
import gpu_hlo
import jax
import jax.numpy as jnp
import numpy as np
import roofline
import simulation
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from jaxmars.agents.policy import ContextPolicy, anchored, exact, shared_prefix
from jaxmars.models import OrderModel
from jaxmars.models.precision import PRECISIONS
from jaxmars.sim import lane_memory, opening_memory, trajectory_keys
from jaxmars.sim import lane_programs as programs
from jaxmars.tasks.lane_plan import USABLE

TARGET = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 150000000000
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H200"
"""
MACHINE = roofline.Machine(989e12, 4.8e12, "data sheet of the H200, bfloat16 without sparsity")
KERNEL_SECONDS = 2e-6  # assumed for a small kernel in a graph of kernels that follow each other
PRECISION = "bfloat16"
SETTINGS = (  # size of the model, lanes
    ("default", 1024),
    ("default", 4096),
    ("default", 16_384),
    ("10m", 4096),
    ("b", 1024),
    ("xl", 256),
    ("xl", 1024),
)
MEBI = 2**20


class Request(NamedTuple):
    """A program to compile."""

    run: Any
    args: tuple  # shapes
    reused: tuple[int, ...]  # arguments whose memory it may write over
    planned: int  # bytes


def described_gpu() -> NamedSharding:
    """A device that is only described, as the place of every array.

    Raises:
      SystemExit: the libraries that compile for it are missing.
    """
    try:
        found = topologies.get_topology_desc(
            platform="cuda", topology="1x1x1", target_config=TARGET
        )
    except (NotImplementedError, RuntimeError) as error:
        raise SystemExit(
            f"gpu_program: XLA cannot compile for a GPU here ({error}); expected the libraries of "
            "pip install 'jax[cuda12]'"
        ) from None
    return NamedSharding(topologies.make_mesh(found, (1,), ("one",)), PartitionSpec())


def request(model: OrderModel, policy: ContextPolicy, lanes: int) -> Request:
    """One segment of all lanes from one start, as `simulation.py` measures it."""
    world, starts, params = simulation.scene(model, policy, lanes)
    keys = jax.eval_shape(lambda: trajectory_keys(0, np.arange(lanes)))
    place = lambda count: jax.ShapeDtypeStruct((count,), jnp.int32)
    if policy.opening:
        memory = opening_memory(starts, params, world.agents, world.cfg)
        assert memory is not None
        run, reused = programs.open_together, ()
        args: tuple = (keys, place(1), starts, params, ())
    else:
        memory = lane_memory(starts, params, world.agents, world.cfg)
        begin = functools.partial(programs.begin, world)
        markets = jax.eval_shape(begin, keys, place(lanes), starts, params, ())
        run, reused = programs.segment, (1,)
        args = (keys, markets, params)
    planned = memory.fixed + lanes * memory.lane
    return Request(functools.partial(run, world), args, reused, planned)


def examine(
    where: NamedSharding, size: str, model: OrderModel, policy: ContextPolicy, lanes: int
) -> dict[str, Any]:
    """Compiles a setting; one row of the table."""
    wanted = request(model, policy, lanes)
    there = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
    args = jax.tree.map(lambda x: there(jnp.asarray(x) if np.isscalar(x) else x), wanted.args)
    began = time.perf_counter()
    compiled = jax.jit(wanted.run, donate_argnums=wanted.reused).lower(*args).compile()
    seconds = time.perf_counter() - began
    program = gpu_hlo.read_program(compiled.as_text() or "")
    took: Any = compiled.memory_analysis()
    needed = (
        took.argument_size_in_bytes
        + took.output_size_in_bytes
        + took.temp_size_in_bytes
        - took.alias_size_in_bytes
    )
    launches = program.launches() / policy.segment
    work = simulation.work_of(model, policy, lanes, PRECISIONS[PRECISION])
    bound = work.most(MACHINE)
    return {
        "size": size,
        "policy": policy.name,
        "lanes": lanes,
        "kernels_per_step": round(launches, 1),
        "host_waits": program.waits(),
        "needed_bytes": needed,
        "planned_bytes": wanted.planned,
        "fits_the_plan": needed <= wanted.planned / USABLE,
        "bound_orders_per_second": round(bound),
        "predicted_orders_per_second": round(lanes / (launches * KERNEL_SECONDS + lanes / bound)),
        "compile_seconds": round(seconds, 1),
    }


def show(row: dict[str, Any]) -> str:
    """A row in words."""
    needed, planned = row["needed_bytes"] / MEBI, row["planned_bytes"] / MEBI
    verdict = "fits" if row["fits_the_plan"] else "DOES NOT FIT"
    return (
        f"{row['size']:8s} {row['policy']:18s} {row['lanes']:6d} lanes: "
        f"{row['kernels_per_step']:6.1f} kernels per order, {row['host_waits']} waits, "
        f"{needed:,.0f} MiB needed of {planned:,.0f} planned ({verdict}), "
        f"{row['predicted_orders_per_second']:,} orders/s predicted"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = sorted({size for size, _ in SETTINGS})
    parser.add_argument("--sizes", nargs="+", choices=sizes, default=sizes, help="default: all")
    parser.add_argument("--out", type=pathlib.Path, help="result file (JSON)")
    args = parser.parse_args(argv)
    taken, where = common.conditions(), described_gpu()
    rows = []
    for size, lanes in SETTINGS:
        if size not in args.sizes:
            continue
        model = simulation.make_model(argparse.Namespace(size=size, precision=PRECISION))
        half = model.config.num_max_orders // 2
        policies = [anchored(model.config, half), shared_prefix(model.config, half)]
        if size == "default":
            policies.append(exact(simulation.EXACT_EVENTS))
        for policy in policies:
            rows.append(examine(where, size, model, policy, lanes))
            print(show(rows[-1]), flush=True)
    if args.out:
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "command": " ".join(["python", "benchmarks/gpu_program.py", *(argv or sys.argv[1:])]),
            "conditions": taken,
            "described": "H200",
            "machine": MACHINE._asdict(),
            "kernel_seconds": KERNEL_SECONDS,
            "precision": PRECISION,
            "rows": rows,
        }
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
