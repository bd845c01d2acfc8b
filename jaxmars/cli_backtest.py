"""Forecasts from many moments, each scored by what happened.

    jaxmars backtest --trajectories 64 --minutes 5 --out out/backtest
    jaxmars backtest --moments moments.csv --weights my_weights --trajectories 128 --minutes 5

moments.csv has the columns message, book (the files of a LOBSTER day, relative to the table) and at
(HH:MM:SS). Without it the built-in starts of the reference market are taken.

Finished chunks are kept: a run that was stopped goes on when it is started again with the same
flags. Several processes share the work when each is started with --processes N --process I, all
with the same folder, on one machine or on a shared disk. With --coordinator they first meet through
jax.distributed and part again, each with its number; "auto" lets JAX find the numbers and the
meeting place on a cluster it knows. The process that finds all chunks finished writes
horizons.csv, summary.json and backtest.png.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxmars.builtin import default_starts, default_weights
from jaxmars.cli_forecast import (
    LONGEST_MINUTES,
    MOST_LANES,
    MOST_ORDERS,
    MOST_SEEDS,
    MOST_TRAJECTORIES,
    MOST_UNITS,
    add_model_flags,
    choose_policy,
    domain_notes,
    known_borders,
    known_growth,
)
from jaxmars.cli_pace import prepare_jax, show_bar, speed
from jaxmars.cli_values import flag_adder, whole
from jaxmars.config import Context, MarketConfig, SimConfig
from jaxmars.errors import InputError
from jaxmars.files import check_out, claim, remove_parts

if TYPE_CHECKING:
    from jaxmars.data import LobsterData
    from jaxmars.data.start import StartPoint
    from jaxmars.models import OrderModel
    from jaxmars.tasks.backtest import Forecaster, Loaded, Moment

NAME = "backtest"
HELP = "forecast from many moments and score the forecasts"
MOST_PROCESSES = 100_000
AUTO = "auto"
ReadDay = Callable[..., "LobsterData"]  # `data.read_lobster`
SAME = ("made_by", "seed", "weights_sha256", "config")  # of all processes that share a run


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add = flag_adder(parser)
    add("--out", "folder of the run", type=pathlib.Path, default=pathlib.Path("out/backtest"))
    add("--moments", "table of moments (default: the built-in starts)", type=pathlib.Path)
    add(
        "--trajectories",
        "futures of each moment",
        type=whole(1, MOST_TRAJECTORIES),
        default=64,
    )
    add("--minutes", "horizon, minutes", type=whole(1, LONGEST_MINUTES), default=5)
    add("--seed", "of all draws", type=whole(0, MOST_SEEDS - 1), default=0)
    add("--chunk", "moments computed together", type=whole(1, MOST_ORDERS), default=4)
    add(
        "--tick",
        "price units (1e-4 of the currency) per tick of the records (default: from their prices)",
        type=whole(1, MOST_UNITS),
    )
    add(
        "--context",
        "how the model reads the past, as in jaxmars forecast (default: anchored or shared, "
        "whichever suits the first moment)",
        choices=[str(name) for name in Context],
    )
    add(
        "--lanes",
        "futures side by side per device (default: 16 on a CPU, elsewhere all of a chunk that fit)",
        type=whole(1, MOST_LANES),
    )
    add("--processes", "processes that share the work", type=whole(1, MOST_PROCESSES), default=1)
    add("--process", "which of them this is", type=whole(0, MOST_PROCESSES), default=0)
    add("--coordinator", "HOST:PORT where the processes meet, or auto", metavar="PLACE")
    add_model_flags(parser)


def run(args: argparse.Namespace) -> None:
    """Moments, chunks, files."""
    if args.process >= args.processes:
        raise InputError(
            f"--process is {args.process}, expected 0 to {args.processes - 1}: there are "
            f"{args.processes} processes"
        )
    process, processes = join(args)
    prepare_jax()
    from jaxmars.convert import hub
    from jaxmars.data import read_lobster
    from jaxmars.models import OrderModel
    from jaxmars.provenance import provenance
    from jaxmars.tasks import backtest
    from jaxmars.tasks import backtest_files as files

    check_out(args.out, files.FILES)
    folder = hub.fetch(default_weights() if args.weights is None else args.weights)
    model = OrderModel.from_pretrained(folder)
    if model.converters is None:
        raise InputError(f"{folder} has no converters.json, expected the bins of the model there")
    moments = files.read_moments(args.moments) if args.moments else builtin()
    if len(moments) * args.trajectories > MOST_SEEDS:
        raise InputError(
            f"{len(moments)} moments with {args.trajectories} futures each were asked for, "
            f"expected at most {MOST_SEEDS} futures: a key of JAX tells no more apart"
        )
    chunks = backtest.cut_chunks(moments, args.chunk)
    read_day = functools.lru_cache(maxsize=1)(read_lobster)  # chunks of one day follow each other
    start = load(args, moments[:1], model, read_day)[0][0].start
    forecaster = make_forecaster(args, model, folder, start, max(map(len, chunks)))
    about = describe(args, forecaster) | files.describe_model(model, folder)
    about |= files.describe_moments(moments, (args.moments or default_starts()).parent)
    made_by = provenance(args.seed, folder, about)
    claim(args.out, {name: made_by[name] for name in SAME}, "backtest")
    for number in backtest.share_of(len(chunks), process, processes):
        if not files.is_finished(args.out, number):
            loaded = load(args, chunks[number], model, read_day)
            run_one(args, forecaster, *loaded, f"chunk {number + 1}/{len(chunks)}", number)
    if all(files.is_finished(args.out, number) for number in range(len(chunks))):
        rows = files.read_horizons(args.out, len(chunks))
        print(files.write_backtest(args.out, rows, made_by).to_string(index=False))
        print(f"wrote {args.out}/horizons.csv, summary.json, backtest.png")
        remove_parts(args.out / files.CHUNKS)  # every chunk is there, so nobody writes one


def join(args: argparse.Namespace) -> tuple[int, int]:
    """(which process this is, how many there are), after they have met if they are to.

    They part at once. While JAX holds them together it ends all of them when one dies, or when
    their ends lie more than minutes apart. Parting before JAX looks for devices also leaves each
    with its own devices only. Nothing is exchanged later but finished chunks on the disk.

    Raises:
      InputError: they do not meet.
    """
    if args.coordinator is None:
        return args.process, args.processes
    import jax

    told = {
        "coordinator_address": args.coordinator,
        "num_processes": args.processes,
        "process_id": args.process,
    }
    try:
        jax.distributed.initialize(**({} if args.coordinator == AUTO else told))
        jax.distributed.shutdown()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the processes do not meet at {args.coordinator}: {error}; expected HOST:PORT of "
            "process 0, the same for all, or auto on a cluster that JAX knows"
        ) from error
    return _found_numbers() if args.coordinator == AUTO else (args.process, args.processes)


def _found_numbers() -> tuple[int, int]:
    """`join` where JAX has found the numbers. It keeps them to itself: `jax.process_index` knows
    them too, but looks for devices, and then all processes stay together."""
    from jax._src.distributed import global_state

    return global_state.process_id, global_state.num_processes


def builtin() -> "list[Moment]":
    """The built-in starts."""
    from jaxmars.data.start import count_starts
    from jaxmars.tasks.backtest_files import builtin_moments

    return builtin_moments(range(count_starts(default_starts())))


def make_forecaster(
    args: argparse.Namespace,
    model: "OrderModel",
    folder: pathlib.Path,
    start: "StartPoint",
    chunk: int,
) -> "Forecaster":
    """The model and what to do with it.

    Args:
      args: flags.
      model: with converters.
      folder: it was read from.
      start: the first of all; the context policy is chosen for it.
      chunk: moments of a whole chunk.
    """
    import jax

    from jaxmars.models.precision import PRECISIONS, with_precision
    from jaxmars.tasks.backtest import Forecaster
    from jaxmars.tasks.lane_plan import default_lanes, default_opening_lanes

    policy = choose_policy(args, model, start, known_growth(args, model))
    # A device opens futures of one moment at a time: all of them where there are moments enough.
    together = args.trajectories * min(chunk, jax.local_device_count())
    cfg = SimConfig(
        segment=policy.segment,
        lanes=args.lanes or default_lanes(args.trajectories * chunk),
        max_events=args.max_events,
        opening_lanes=args.lanes or default_opening_lanes(together),
    )
    borders = known_borders(folder, model)
    numbers = (args.trajectories, args.minutes, args.seed)
    model = with_precision(model, PRECISIONS[args.precision])
    return Forecaster(model, policy, cfg, *numbers, borders, chunk)


def run_one(
    args: argparse.Namespace,
    forecaster: "Forecaster",
    loaded: "list[Loaded]",
    market: MarketConfig,
    title: str,
    number: int,
) -> None:
    """One chunk, from its starts to its files."""
    from jaxmars.provenance import environment
    from jaxmars.tasks.backtest import run_chunk
    from jaxmars.tasks.backtest_files import write_chunk

    def watch(pace: Any) -> None:
        text = f"{title}: {pace.finished}/{pace.wanted} futures, {speed(pace):,.0f} orders/s"
        show_bar(pace.finished, pace.wanted, text)

    for line in domain_notes(forecaster.model, loaded[0].start, market):
        print(f"note: {title}: {line}", file=sys.stderr)
    tell = lambda plan: print(f"{title}: context {forecaster.policy.name}; {plan}", file=sys.stderr)
    result = run_chunk(loaded, market, forecaster, watch, tell)
    print(file=sys.stderr)
    write_chunk(args.out, number, result, environment() | {"seed": args.seed, "chunk": number})


def load(
    args: argparse.Namespace, chunk: "list[Moment]", model: "OrderModel", read_day: ReadDay
) -> "tuple[list[Loaded], MarketConfig]":
    """The moments of a chunk with their books and orders, and their market."""
    import dataclasses

    from jaxmars.agents.policy import exact
    from jaxmars.cli_forecast import recorded_market
    from jaxmars.data.start import load_start, lobster_start
    from jaxmars.sim.reference_market import reference_market
    from jaxmars.tasks.backtest import Loaded
    from jaxmars.tasks.forecast import needed_orders

    first = chunk[0]
    if first.message is None or first.book is None:
        market = dataclasses.replace(reference_market(), slots=args.slots)
        return [Loaded(m, load_start(default_starts(), m.at[0])) for m in chunk], market
    data = read_day(first.message, first.book, args.tick)
    market = recorded_market(data, args.slots, first.book)
    needed = needed_orders(model, exact(known_growth(args, model)))
    return [Loaded(m, lobster_start(data, *m.at, market, needed)) for m in chunk], market


def describe(args: argparse.Namespace, forecaster: "Forecaster") -> dict[str, Any]:
    """What makes the run what it is besides model and moments; how it is shared among processes
    does not."""
    names = ("trajectories", "minutes", "chunk", "tick", "slots", "max_events", "precision")
    return {
        **{name: getattr(args, name) for name in names},
        "context": forecaster.policy.name,
        "lanes": [forecaster.cfg.lanes, forecaster.cfg.opening_lanes],
    }
