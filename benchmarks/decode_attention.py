"""How fast is the attention of a decoded order, in our plain form and in kernels that JAX ships?

A step writes the key and the value of the new order and reads the context, of one layer, for all
lanes. `own`: every lane has a window of its own. `shared`: the first half of the window is the same
for all lanes and read once, each lane has the other half. Both are filled to 3/4 of the window.

Beside ours, which is plain JAX, run `jax.nn.dot_product_attention`, plain and in cuDNN, and JAX's
Pallas kernel for decoding (`attention_forms.py`).

    python benchmarks/decode_attention.py --out benchmarks/results/decode_attention_cpu.json
    python benchmarks/decode_attention.py --size xl --lanes 256 1024 4096 --out FILE
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import roofline
from attention_forms import FORMS, Data, Form, Pair
from jax import lax

from jaxmars.cli_values import positive
from jaxmars.config import OrderModelConfig
from jaxmars.train.settings import SIZES

STEPS = 64  # of one timed call
FILLED = 0.75  # of the window
SHARPNESS = 2.0  # standard deviation of the scores, so that slots differ in weight
DTYPES = ("bfloat16", "float32")
CONTEXTS = ("own", "shared")
# Largest difference from ours over the largest number of ours; a few times the rounding of a
# product. Products of float32 keep ten bits on a GPU.
TOLERANCE = {"bfloat16": 0.02, "float32": 1e-5}
TOLERANCE_TEN_BITS = 0.005


class Sizes(NamedTuple):
    """Of the attention of one layer."""

    lanes: int
    kv_heads: int
    group: int  # query heads of a key/value head
    head_dim: int
    window: int  # slots

    @classmethod
    def of(cls, cfg: OrderModelConfig, lanes: int) -> "Sizes":
        """Those of a model."""
        group = cfg.num_heads // cfg.kv_heads
        return cls(lanes, cfg.kv_heads, group, cfg.head_dim, cfg.num_max_orders)

    def common(self, context: str) -> int:
        """Slots that all lanes share."""
        return self.window // 2 if context == "shared" else 0

    def bytes(self, context: str, dtype: str) -> int:
        """Keys and values that a step has to read; slots that are not filled are not among them."""
        prefix = self.common(context)
        slots = prefix + self.lanes * (int(FILLED * self.window) - prefix)
        return 2 * slots * self.kv_heads * self.head_dim * jnp.dtype(dtype).itemsize


def make_data(sizes: Sizes, context: str, dtype: str, lay_out: Callable[[Pair], Pair]) -> Data:
    """The same random numbers for every form."""
    keys = jax.random.split(jax.random.key(0), 5)
    lanes, kv_heads, group, head_dim, window = sizes
    prefix = sizes.common(context)
    normal = lambda key, *shape: jax.random.normal(key, shape, dtype)
    query = normal(keys[0], lanes, kv_heads, group, head_dim) * (SHARPNESS * head_dim**-0.5)
    shape = (lanes, kv_heads, window - prefix, head_dim)
    own = lay_out((normal(keys[1], *shape), normal(keys[2], *shape)))
    shape = (kv_heads, prefix, head_dim)
    before = lay_out((normal(keys[3], *shape), normal(keys[4], *shape))) if prefix else None
    slot = jnp.full(lanes, int(FILLED * window) - prefix - 1, jnp.int32)
    return Data(query.astype(dtype), before, own, slot)


def decode(form: Form, data: Data) -> tuple[jax.Array, Data]:
    """One step: the data with the new order in it and what was read as the next query."""
    new = data.query[:, :, 0], data.query[:, :, -1]
    data = data._replace(own=jax.vmap(form.put)(data.own, new, data.slot))
    found = form.read(data)
    return found, data._replace(query=found)


def decode_many(form: Form, data: Data) -> tuple[jax.Array, Data]:
    """`STEPS` steps: what the first of them read, and the data after the last."""
    first, data = decode(form, data)
    after, _ = lax.scan(lambda data, _: (decode(form, data)[1], None), data, None, length=STEPS - 1)
    return first, after


class Ready(NamedTuple):
    """A form, compiled."""

    prepare: Callable[[], Data]
    run: Callable[[Data], tuple[jax.Array, Data]]
    first: jax.Array  # what its first step read


def build(form: Form, sizes: Sizes, context: str, dtype: str) -> Ready:
    """Compiles and runs once. Data are made anew for each call, so that only one form's are there
    at a time, and their memory is the run's to write to."""
    prepare = jax.jit(functools.partial(make_data, sizes, context, dtype, form.lay_out))
    program = jax.jit(functools.partial(decode_many, form), donate_argnums=0)
    data = prepare()
    compiled = program.lower(data).compile()
    return Ready(prepare, compiled, compiled(data)[0])


def tolerance_of(dtype: str) -> float:
    """Of a difference from ours."""
    is_short = dtype == "float32" and jax.default_backend() != "cpu"
    return TOLERANCE_TEN_BITS if is_short else TOLERANCE[dtype]


def difference(found: jax.Array, ours: jax.Array) -> float:
    """The largest, over the largest number of ours."""
    wide = ours.astype(jnp.float32)
    return float(jnp.max(jnp.abs(found.astype(jnp.float32) - wide)) / jnp.max(jnp.abs(wide)))


def enter(sizes: Sizes, context: str, dtype: str) -> tuple[dict[str, Ready], dict[str, Any]]:
    """Who runs, and of every form its difference from ours or why it does not run."""
    ready: dict[str, Ready] = {}
    told: dict[str, Any] = {}
    for form in FORMS:
        told[form.name] = form.lacks(dtype)
        if told[form.name]:
            continue
        try:
            entry = build(form, sizes, context, dtype)
        except Exception as error:  # a library may refuse in any way
            told[form.name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            continue
        ours = next(iter(ready.values()), entry).first
        found = difference(entry.first, ours)
        if not found <= tolerance_of(dtype):
            told[form.name] = f"wrong: {found:.2g} from ours, expected {tolerance_of(dtype)}"
            continue
        ready[form.name], told[form.name] = entry, found
    return ready, told


def measure(
    sizes: Sizes, context: str, dtype: str, rounds: int, bandwidth: float
) -> list[dict[str, Any]]:
    """A row per form."""
    ready, told = enter(sizes, context, dtype)
    racing = {
        name: common.Contestant(entry.run, STEPS * sizes.lanes, entry.prepare)
        for name, entry in ready.items()
    }
    rates = common.race(racing, rounds)
    needed = sizes.bytes(context, dtype) / sizes.lanes
    rows = []
    for name, found in told.items():
        row: dict[str, Any] = {"lanes": sizes.lanes, "dtype": dtype, "context": context}
        row |= {"form": name}
        if name not in rates:
            rows.append(row | {"left_out": found})
            continue
        summary = common.summary(rates[name])
        row |= {
            "largest_difference": found,
            "tolerance": tolerance_of(dtype),
            "lane_steps_per_second": summary,
            "bytes_per_second": summary.median * needed,
            "share_of_copy": round(summary.median * needed / bandwidth, 3),
            "times_ours": common.speed_up(rates[name], rates[FORMS[0].name]),
        }
        rows.append(row)
    return rows


def show(row: dict[str, Any]) -> None:
    """Prints a row."""
    title = f"{row['dtype']:8s} {row['lanes']:5d} lanes, {row['context']:6s} {row['form']:28s}"
    if "left_out" in row:
        print(f"{title} left out: {row['left_out']}", flush=True)
        return
    print(
        f"{title} {row['lane_steps_per_second']} steps/s, {row['share_of_copy']:.0%} of a copy, "
        f"{row['times_ours'].median:.2f} times ours, differs by {row['largest_difference']:.1g}",
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, help="result file (JSON)")
    parser.add_argument("--size", choices=list(SIZES), default="default", help="of the model")
    parser.add_argument("--lanes", type=positive, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=positive, default=5, help="repeats (default 5)")
    args = parser.parse_args(argv)
    taken = common.conditions()
    print(common.describe_conditions(taken))
    bandwidth = roofline.bandwidth() / jax.device_count()
    print(f"machine: {bandwidth / 1e9:,.1f} GB/s (measured copy)")
    rows = []
    for lanes in args.lanes:
        for dtype in DTYPES:
            for context in CONTEXTS:
                sizes = Sizes.of(SIZES[args.size], lanes)
                for row in measure(sizes, context, dtype, args.rounds, bandwidth):
                    rows.append(row)
                    show(row)
    if args.out:
        lanes = " ".join(str(n) for n in args.lanes)
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "command": f"python benchmarks/decode_attention.py --size {args.size} --lanes {lanes} "
            f"--rounds {args.rounds}",
            "conditions": taken,
            "copy_bytes_per_second": bandwidth,
            "size": args.size,
            "steps": STEPS,
            "filled": FILLED,
            "rows": rows,
        }
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
