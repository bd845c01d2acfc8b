"""How far anchored contexts are from exact ones: per order, and in trajectories.

Per order: KL of the next order between reading the whole window and the last n orders, on sessions
of the reference market, and its mean for `anchored(C)`. Trajectories: the built-in starts run under
both, a few numbers of each compared by two-sample tests whose power is simulated.
Two controls go with them: exact against itself with another seed, and a model at a temperature
that must be found to differ. Samples are kept in OUT/samples, so a run that was stopped goes on.

    python scripts/check_policy.py weights/default --out out/check_policy
    python scripts/check_policy.py weights/default --random xl --sessions 4 --positions 1

`--random SIZE` puts a model with random weights, the bins of the given folder and no trajectories
in the place of the given one. Writes policy.md, policy.json, policy.png and the tables as CSV.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import numpy as np
import pandas as pd

from jaxmars.agents.policy import anchored, exact
from jaxmars.builtin import default_starts
from jaxmars.cli_pace import prepare_jax, show_bar
from jaxmars.cli_values import natural, positive
from jaxmars.config import SimConfig
from jaxmars.convert.store import TENSOR_FILE, file_hash
from jaxmars.data.start import StartPoint, load_start
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.models import OrderModel
from jaxmars.provenance import provenance
from jaxmars.sim.reference_market import reference_market
from jaxmars.sim.reference_sessions import plain_session
from jaxmars.tasks.forecast import mid_at
from jaxmars.tasks.verify_policy import (
    anchored_table,
    compare_readers,
    contexts_of,
    distance_table,
    grid_lengths,
    growths,
    last_orders_reader,
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
    Variant,
    compare_samples,
    policy_variant,
    start_states,
)
from jaxmars.train.reference_data import ReferencePlan, reference_flows
from jaxmars.train.settings import SIZES

TEMPERATURE = 1.3  # of the control that must be found to differ
EXACT_SEGMENT = 16  # steps between refills of lanes; no influence on results
SLOTS = 512  # orders a side of the book can hold
SESSION_SEED = 99  # of recorded sessions; those of training and evaluation have others
ROUNDS = 3  # of about a thousand orders per session after its warm-up


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=pathlib.Path, help="model folder")
    parser.add_argument("--random", choices=sorted(SIZES), help="random model of this size instead")
    parser.add_argument("--sessions", type=positive, default=64, help="recorded, default 64")
    parser.add_argument("--positions", type=positive, default=4, help="per session, default 4")
    parser.add_argument("--starts", type=positive, default=16, help="of trajectories, default 16")
    parser.add_argument("--trajectories", type=natural, default=64, help="default 64; 0 for none")
    parser.add_argument("--seconds", type=positive, default=20, help="horizon, default 20")
    parser.add_argument("--lanes", type=positive, default=4, help="per device, default 4")
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
    given = OrderModel.from_pretrained(args.model)
    if given.converters is None:
        raise InputError(f"{args.model} holds no converters, expected converters.json")
    model = given if args.random is None else random_model(args, given)
    window = model.config.num_max_orders
    plan = ReferencePlan(args.sessions, ROUNDS, plain_session)
    flows = reference_flows(SESSION_SEED, args.seed, reference_market(), given.converters, plan)
    contexts = contexts_of([flow.rows for flow in flows], window, args.positions)
    readers = {n: last_orders_reader(model, n) for n in grid_lengths(window)}
    watch = lambda done, wanted: show_bar(done, wanted, f"{'distances per order':34}")
    found = compare_readers(contexts, readers, model.config.slot_shape, watch)
    notes = [
        f"{len(contexts.came)} contexts of {window} orders, {args.positions} of each of "
        f"{args.sessions} sessions of the reference market; {model.num_params:,} parameters",
    ]
    tests = None
    if args.trajectories and args.random is None:
        tests = compare_trajectories(args, model)
        notes.append(
            f"{args.trajectories} trajectories of {args.seconds} seconds per variant, "
            f"{args.starts} starts in turn"
        )
    title = str(args.model) if args.random is None else f"random weights, size {args.random}"
    return Report(
        title=f"How far from exact: {title}",
        notes=notes,
        window=window,
        lengths=distance_table(found, contexts.flow, "orders"),
        anchored=anchored_table(found, contexts.flow, window),
        tests=tests,
    )


def random_model(args: argparse.Namespace, given: OrderModel) -> OrderModel:
    """A model of the size asked for, as training would begin with, and the bins of another."""
    config = SIZES[args.random]
    if config.slot_shape != given.config.slot_shape:
        raise InputError(
            f"{args.model} has bins for slots {given.config.slot_shape}, expected "
            f"{config.slot_shape} for size {args.random}"
        )
    model = OrderModel.init(config, jax.random.key(args.seed))
    return dataclasses.replace(model, converters=given.converters)


def compare_trajectories(args: argparse.Namespace, model: OrderModel) -> pd.DataFrame:
    """Tests of every variant beside exact; samples are kept."""
    starts = [load_start(default_starts(), number) for number in range(args.starts)]
    market = dataclasses.replace(reference_market(), slots=SLOTS)
    cfg = SimConfig(market=market, lanes=args.lanes)
    start_mid = np.array([mid_at(start) for start in starts])
    start_of = np.arange(args.trajectories) % args.starts
    samples = {}
    for variant in variants(args, model, starts, cfg):
        watch = lambda done, wanted, name=variant.name: show_bar(done, wanted, f"{name:34}")
        samples[variant.name] = resumed_sample(
            args.out / SAMPLES, variant, start_of, start_mid, watch
        )
    watch = lambda done, wanted: show_bar(done, wanted, f"{'tests and their power':34}")
    return compare_samples(samples, args.seed, watch)


def variants(
    args: argparse.Namespace, model: OrderModel, starts: list[StartPoint], cfg: SimConfig
) -> list[Variant]:
    """Exact, exact again, the anchored policies, and one that must differ; a seed each."""
    window = model.config.num_max_orders
    identity: dict[str, Any] = {
        "weights": file_hash(args.model / TENSOR_FILE),
        "starts": [file_hash(default_starts()), args.starts],
    }
    half = anchored(model.config, window // 2)
    kinds = [("exact", exact(EXACT_SEGMENT), 1.0), ("exact, other seed", exact(EXACT_SEGMENT), 1.0)]
    kinds += [(f"anchored({c})", anchored(model.config, c), 1.0) for c in growths(window)]
    kinds.append((f"anchored({window // 2}), temperature {TEMPERATURE}", half, TEMPERATURE))
    states = start_states(starts, model, cfg.market, args.seconds)
    return [
        policy_variant(
            name,
            model,
            policy,
            states,
            seed=args.seed + number,
            cfg=cfg,
            identity=identity,
            temperature=temperature,
        )
        for number, (name, policy, temperature) in enumerate(kinds)
    ]


if __name__ == "__main__":
    sys.exit(main())
