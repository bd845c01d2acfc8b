"""How many orders per second does one training step learn, and how many in torch/transformers?

Ours: the compiled step of `jaxmars train` (forward, backward, clipping, AdamW) on the built-in
model, data already on the devices. Baseline: the same model, loss and optimizer in torch on the
LLaMA of transformers, started anew every round so that the two take turns on one machine.

    python benchmarks/training.py --torch-python PATH --out benchmarks/results/training_cpu.json
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import common
import jax
import numpy as np

from jaxmars import devices
from jaxmars.cli_values import positive
from jaxmars.models import OrderModel
from jaxmars.train.flops import flops_per_order, peak_flops
from jaxmars.train.loop import TrainState, init_state, make_step, place
from jaxmars.train.losses import all_own
from jaxmars.train.settings import SIZES, TrainConfig

BASELINE = pathlib.Path(__file__).with_name("torch_training.py")
STEPS = 5  # of a round
TORCH_WARM_UP = 2
HIGH = (10, 10, 200, 9_000, *[9] * 10)  # of the columns after the order index


@dataclasses.dataclass
class Ours:
    """A compiled step and the state it is at."""

    model: OrderModel
    cfg: TrainConfig
    state: TrainState
    compile_seconds: float
    run: Any
    batch: Any

    @classmethod
    def build(cls, model: OrderModel, cfg: TrainConfig) -> "Ours":
        """Compiles for a batch of random rows."""
        rng = np.random.default_rng(0)
        shape = (cfg.batch, model.config.num_max_orders + 1, 1 + len(HIGH))
        rows = rng.integers(0, (model.config.vocab, *HIGH), shape).astype(np.int32)
        batch = place(all_own(rows), cfg)
        state = init_state(model.params, cfg)
        began = time.perf_counter()
        step: Any = make_step(model.graphdef, cfg)
        compiled = step.lower(state, batch).compile()
        return cls(model, cfg, state, time.perf_counter() - began, compiled, batch)

    def round(self) -> float:
        """Orders per second of a few steps."""
        began = time.perf_counter()
        for _ in range(STEPS):
            self.state, _ = self.run(self.state, self.batch)
        jax.block_until_ready(self.state)
        orders = STEPS * self.cfg.batch * self.model.config.num_max_orders
        return orders / (time.perf_counter() - began)


def torch_round(python: str, model: OrderModel, cfg: TrainConfig) -> tuple[float, dict[str, Any]]:
    """Orders per second of the baseline, and what it says of itself."""
    size = model.config
    sizes = {
        "width": size.emb_dim,
        "layers": size.num_layers,
        "heads": size.num_heads,
        "kv_heads": size.kv_heads,
        "window": size.num_max_orders,
        "change_rows": 2 * size.max_change + 1,
        "time_rows": size.num_time_rows,
        "seconds_per_row": size.seconds_per_row,
        "batch": cfg.batch,
        "steps": TORCH_WARM_UP + STEPS,
        "bfloat16": cfg.bfloat16,
        "device": common.torch_device(),
    }
    done = subprocess.run(
        [python, str(BASELINE), json.dumps(sizes)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    seconds = sum(found.pop("seconds")[TORCH_WARM_UP:])
    return STEPS * cfg.batch * size.num_max_orders / seconds, found


def measure(python: str | None, model: OrderModel, cfg: TrainConfig, rounds: int) -> dict[str, Any]:
    """Both sides in one dtype."""
    ours = Ours.build(model, cfg)
    ours.round()
    rates, theirs, about = [], [], {}
    for _ in range(rounds):
        rates.append(ours.round())
        if python:
            rate, about = torch_round(python, model, cfg)
            theirs.append(rate)
    peak, where = peak_flops(cfg.bfloat16)
    summary = common.summary(rates)
    row: dict[str, Any] = {
        "dtype": "bfloat16" if cfg.bfloat16 else "float32",
        "windows_per_step": cfg.batch,
        "orders_per_second": summary,
        "utilisation": round(summary.median * flops_per_order(model.config) / peak, 3),
        "peak_gflops": round(peak / 1e9),
        "peak_from": where,
        "compile_seconds": round(ours.compile_seconds, 2),
    }
    if python:
        row |= {"torch": common.summary(theirs), "torch_about": about}
        row["ratio"] = common.speed_up(rates, theirs)
    return row


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="result file (JSON)")
    parser.add_argument("--torch-python", help="a python that has torch and transformers")
    parser.add_argument("--size", choices=SIZES, default="default", help="(default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=32, help="windows per step (default 32)")
    parser.add_argument("--rounds", type=positive, default=5, help="repeats (default 5)")
    args = parser.parse_args(argv)
    devices.use_all_cores()
    taken = common.conditions()
    print(common.describe_conditions(taken))
    size = SIZES[args.size].with_released_bins()
    config = dataclasses.replace(size, has_summary=False)  # torch has none
    model = OrderModel.init(config, jax.random.key(0))
    if args.torch_python and model.config.head != "factored":
        parser.error("the baseline has a factored head, expected a size that has one")
    rows = []
    for bfloat16 in (False, True):
        cfg = TrainConfig(batch=args.batch, bfloat16=bfloat16)
        rows.append(measure(args.torch_python, model, cfg, args.rounds))
        for name, value in rows[-1].items():
            print(f"{name:20s} {value}", flush=True)
    if args.out:
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "command": f"python benchmarks/training.py --torch-python PATH --size {args.size} "
            f"--batch {args.batch} --rounds {args.rounds}",
            "conditions": taken,
            "parameters": model.num_params,
            "rows": rows,
        }
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
