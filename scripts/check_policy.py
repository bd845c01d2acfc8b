"""How far anchored contexts are from exact ones: per order, and in trajectories.

Per order: KL of the next order between reading the whole window and the last n orders, on sessions
of the reference market, and its mean for `anchored(C)`; the same for models in fewer bits.
Trajectories: the built-in starts run under both, a few numbers of each compared by two-sample tests
whose power is simulated.
Controls go with them: exact against itself with another seed, and the model at temperatures that
the tests should find if they have the power. Samples are kept in OUT/samples, so a run that was
stopped goes on.

    python scripts/check_policy.py weights/default --out out/check_policy
    python scripts/check_policy.py weights/default --random xl --sessions 4 --positions 1 \
      --trajectories 0 --out out/xl

`--random SIZE` puts a model with random weights and the bins of the given folder, merged where it
has fewer slots, in the place of the given one. Exact trajectories of a large one need a GPU.

Writes policy.md, policy.json, policy.png and the tables as CSV.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars.agents.policy import ContextPolicy, anchored, exact, shared_prefix
from jaxmars.builtin import default_starts
from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import above_zero, natural, positive
from jaxmars.config import PrecisionName, SimConfig
from jaxmars.convert.store import TENSOR_FILE, file_hash
from jaxmars.data.start import load_start
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.models import OrderModel
from jaxmars.models.order_model import shape_of
from jaxmars.models.precision import PRECISIONS, Precision, with_precision
from jaxmars.provenance import provenance
from jaxmars.sim.reference_market import reference_market
from jaxmars.sim.reference_sessions import plain_session
from jaxmars.tasks.forecast import mid_at
from jaxmars.tasks.verify_policy import (
    anchored_table,
    compare_readers,
    contexts_of,
    decoding_reader,
    distance_table,
    grid_lengths,
    growths,
    last_orders_readers,
    tempered_reader,
)
from jaxmars.tasks.verify_policy_files import (
    FILES,
    SAMPLES,
    TABLE,
    Report,
    resumed_sample,
    write_policy,
)
from jaxmars.tasks.verify_policy_statistics import (
    compare_samples,
    policy_variant,
    start_states,
)
from jaxmars.tokens.coarser import coarser
from jaxmars.train.reference_data import ReferencePlan, reference_flows
from jaxmars.train.settings import SIZES

FLOAT8 = "float8 cache only"
NARROW = {
    **PRECISIONS,
    "bfloat16 cache only": Precision(cache=jnp.bfloat16),
    "int8 cache only": Precision(cache=jnp.int8),
    FLOAT8: Precision(cache=jnp.float8_e4m3fn),
    "int8 matrices only": Precision(weights=jnp.int8),
}
TEMPERATURES = (1.3, 2.0)  # of the controls: a small and a large difference
EXACT, EXACT_AGAIN = "exact", "exact, other seed"
# Of exact runs, whose work does not depend on how it is cut: short segments and few lanes waste
# less of it when trajectories end.
EXACT_SEGMENT, EXACT_LANES = 16, 4
MATRIX = "kernel"  # in the name of every matrix of the layers and the head
SLOTS = 512  # orders a side of the book can hold
SESSION_SEED = 99  # of recorded sessions; those of training and evaluation have others
ROUNDS = 3  # of about a thousand orders per session after its warm-up
NO_GAIN = 1.0

WINDOW_HELP = (
    "orders that the random model reads, default those of its size; trajectories need as many "
    "before their starts, the built-in ones have 944"
)
GAIN_HELP = "of the random model's matrices, default 1; above 1 it reads its past more sharply"

TIMES_HELP = "trajectories of a variant that is no exact one, for each of an exact one; default 4"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=pathlib.Path, help="model folder")
    parser.add_argument("--random", choices=sorted(SIZES), help="random model of this size instead")
    parser.add_argument("--window", type=positive, help=WINDOW_HELP)
    parser.add_argument("--gain", type=above_zero, default=NO_GAIN, help=GAIN_HELP)
    parser.add_argument("--sessions", type=positive, default=64, help="recorded, default 64")
    parser.add_argument("--positions", type=positive, default=4, help="per session, default 4")
    parser.add_argument("--starts", type=positive, default=16, help="of trajectories, default 16")
    parser.add_argument("--trajectories", type=natural, default=64, help="default 64; 0 for none")
    parser.add_argument("--times", type=positive, default=4, help=TIMES_HELP)
    parser.add_argument("--seconds", type=positive, default=20, help="horizon, default 20")
    parser.add_argument("--lanes", type=positive, default=16, help="per device, default 16")
    parser.add_argument("--seed", type=natural, default=0, help="default 0")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/check_policy"))
    args = parser.parse_args(argv)
    prepare_jax()
    try:
        check_out(args.out, FILES)
        report = measure(args)
    except InputError as error:
        print(f"\ncheck_policy: {error}", file=sys.stderr)
        return 2
    flags = {name: str(value) for name, value in vars(args).items() if name != "out"}
    made_by = provenance(args.seed, args.model, flags)
    write_policy(args.out, report, made_by | {"starts_sha256": file_hash(default_starts())})
    print(f"\n{(args.out / TABLE).read_text(encoding='utf-8')}")
    return 0


def measure(args: argparse.Namespace) -> Report:
    """Distances per order, and trajectories where they are asked for."""
    if args.random is None and (args.window is not None or args.gain != NO_GAIN):
        raise InputError("--window and --gain shape a random model, expected --random SIZE as well")
    model = OrderModel.from_pretrained(args.model)
    bins = model.converters
    if bins is None:
        raise InputError(f"{args.model} holds no converters, expected converters.json")
    if args.random is not None:
        bins = coarser(bins, SIZES[args.random])
        model = dataclasses.replace(random_model(args), converters=bins)
    # First, as it refuses starts that are too short for the model.
    tests = compare_trajectories(args, model) if args.trajectories else None
    window = model.config.num_max_orders
    plan = ReferencePlan(args.sessions, ROUNDS, plain_session)
    flows = reference_flows(SESSION_SEED, args.seed, reference_market(), bins, plan)
    contexts = contexts_of([flow.rows for flow in flows], window, args.positions)
    readers = last_orders_readers(model, grid_lengths(window))
    controls = {
        f"temperature {value:g}": tempered_reader(readers[window], model, value)
        for value in TEMPERATURES
    }
    narrow = {name: decoding_reader(other) for name, other in in_fewer_bits(model).items()}
    watch = lambda done, wanted: show_bar(done, wanted, f"{'distances per order':34}")
    every = {**readers, **controls, **narrow}
    found = compare_readers(contexts, every, model.config.slot_shape, watch)
    by_length = {n: found[n] for n in readers}
    by_precision = {name: found[name] for name in narrow}
    by_control = {name: found[name] for name in controls}
    notes = [
        f"{len(contexts.came)} contexts of {window} orders, {args.positions} of each of "
        f"{args.sessions} sessions of the reference market; {model.num_params:,} parameters",
    ]
    if args.trajectories:
        notes.append(
            f"{args.trajectories} trajectories of {args.seconds} seconds under exact with either "
            f"of two seeds, {args.times * args.trajectories} of the others, from {args.starts} "
            "starts in turn; the others are compared with both samples of exact together"
        )
    title = str(args.model)
    if args.random is not None:
        title = f"random weights, size {args.random}, matrices times {args.gain:g}"
    return Report(
        title=f"How far from exact: {title}",
        notes=notes,
        window=window,
        lengths=distance_table(by_length, contexts.flow, "orders"),
        anchored=anchored_table(by_length, contexts.flow, window),
        controls=distance_table(by_control, contexts.flow, "control"),
        precisions=distance_table(by_precision, contexts.flow, "precision"),
        tests=tests,
    )


def in_fewer_bits(model: OrderModel) -> dict[str, OrderModel]:
    """The model in every precision, and with the rotary frequencies of released models that are
    served in float16."""
    cfg = dataclasses.replace(model.config, rounded_rope=True)
    graphdef, _ = shape_of(cfg)
    rounded = dataclasses.replace(model, config=cfg, graphdef=graphdef)
    precise = {name: with_precision(model, precision) for name, precision in NARROW.items()}
    return {**precise, "frequencies rounded to float16": rounded}


def random_model(args: argparse.Namespace) -> OrderModel:
    """A model of the size asked for, as training would begin with times the gain."""
    model = OrderModel.init(SIZES[args.random], jax.random.key(args.seed))
    if args.window is not None:
        model = model.with_settings(num_max_orders=args.window)
    louder = lambda path, x: args.gain * x if MATRIX in jax.tree_util.keystr(path) else x
    params = jax.tree_util.tree_map_with_path(louder, model.params)
    return dataclasses.replace(model, params=params)


class Way(NamedTuple):
    """A way of running the model."""

    name: str
    policy: ContextPolicy
    lanes: int  # per device
    times: int  # trajectories for each that is asked for
    temperature: float = 1.0
    precision: Precision = PRECISIONS[PrecisionName.FLOAT32]


def ways(args: argparse.Namespace, model: OrderModel) -> list[Way]:
    """Exact twice, policies that read less, and controls."""
    window = model.config.num_max_orders
    quick = (args.lanes, args.times)
    half = window // 2
    return [
        Way(EXACT, exact(EXACT_SEGMENT), EXACT_LANES, 1),
        Way(EXACT_AGAIN, exact(EXACT_SEGMENT), EXACT_LANES, 1),
        *(Way(f"anchored({c})", anchored(model.config, c), *quick) for c in growths(window)),
        Way(f"shared_prefix({half})", shared_prefix(model.config, half), *quick),
        *(
            Way(f"anchored({half}), temperature {t:g}", anchored(model.config, half), *quick, t)
            for t in TEMPERATURES
        ),
        *(
            Way(f"anchored({half}), {n}", anchored(model.config, half), *quick, 1.0, NARROW[n])
            for n in (PrecisionName.BFLOAT16, PrecisionName.INT8, FLOAT8)
        ),
    ]


def compare_trajectories(args: argparse.Namespace, model: OrderModel) -> pd.DataFrame:
    """Tests of every way beside both samples of exact, and of those beside each other; a seed
    each. Samples are kept."""
    starts = [load_start(default_starts(), number) for number in range(args.starts)]
    market = dataclasses.replace(reference_market(), slots=SLOTS)
    start_mid = np.array([mid_at(start) for start in starts])
    states = start_states(starts, model, market, args.seconds)
    weights = (
        [args.random, model.config.num_max_orders, args.gain, args.seed] if args.random else None
    )
    identity: dict[str, Any] = {
        "weights": weights or file_hash(args.model / TENSOR_FILE),
        "starts": [file_hash(default_starts()), args.starts],
    }
    samples = {}
    for number, way in enumerate(ways(args, model)):
        variant = policy_variant(
            way.name,
            with_precision(model, way.precision),
            way.policy,
            states,
            seed=args.seed + number,
            cfg=SimConfig(market=market, lanes=way.lanes),
            identity=identity,
            temperature=way.temperature,
        )
        watch = lambda done, wanted, name=way.name: show_bar(done, wanted, f"{name:34}")
        start_of = np.arange(way.times * args.trajectories) % args.starts
        samples[way.name] = resumed_sample(args.out / SAMPLES, variant, start_of, start_mid, watch)
    watch = lambda done, wanted: show_bar(done, wanted, f"{'tests and their power':34}")
    first, again = (samples.pop(name) for name in (EXACT, EXACT_AGAIN))
    alarm = compare_samples({EXACT: first, EXACT_AGAIN: again}, args.seed, watch)
    both = {EXACT: pd.concat([first, again]), **samples}
    return pd.concat([alarm, compare_samples(both, args.seed, watch)], ignore_index=True)


if __name__ == "__main__":
    sys.exit(main())
