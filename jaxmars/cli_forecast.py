"""Runs many futures of one start and shows their distribution.

The start is one of the built-in ones (reference market), or a moment of a recorded LOBSTER day:

    jaxmars forecast --trajectories 128 --minutes 5
    jaxmars forecast --lobster MESSAGE.csv BOOK.csv --at 10:30:00 --weights my_weights

Writes fan.png, trajectories.parquet and summary.json.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars.builtin import default_starts, default_weights
from jaxmars.cli_pace import prepare_jax, show_bar, speed
from jaxmars.cli_values import above_zero, clock_time, flag_adder, whole
from jaxmars.clock_text import clock_text
from jaxmars.config import Context, MarketConfig, PrecisionName, SimConfig
from jaxmars.errors import InputError
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.agents.policy import ContextPolicy
    from jaxmars.data.start import StartPoint
    from jaxmars.models import OrderModel
    from jaxmars.tasks import labels

NAME = "forecast"
HELP = "run many futures of one start and show their distribution"
MOST_TRAJECTORIES = 1_000_000
LONGEST_MINUTES = 390
MOST_SEEDS = 2**32  # a key of JAX holds no more
MOST_STARTS = 1_000_000
MOST_ORDERS = 1_000_000  # of a window, a book side, a future
MOST_LANES = 65_536
MOST_UNITS = 10**9  # of a tick
MINUTE = 60


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add = flag_adder(parser)
    add("--out", "folder to write", type=pathlib.Path, default=pathlib.Path("out/forecast"))
    add("--trajectories", "number of futures", type=whole(1, MOST_TRAJECTORIES), default=128)
    add("--minutes", "horizon, minutes", type=whole(1, LONGEST_MINUTES), default=5)
    add(
        "--seed",
        "future i depends on the seed and on i only",
        type=whole(0, MOST_SEEDS - 1),
        default=0,
    )
    add("--start", "number of the built-in start (default: 0)", type=whole(0, MOST_STARTS))
    add("--lobster", "recorded day to start from", nargs=2, metavar=("MESSAGE", "BOOK"))
    add("--at", "moment of the recorded day", type=clock_time, metavar="HH:MM:SS")
    add(
        "--tick",
        "price units (1e-4 of the currency) per tick of the record (default: from its prices)",
        type=whole(1, MOST_UNITS),
    )
    add("--temperature", "of the model's softmax", type=above_zero, default=1.0)
    add(
        "--context",
        "how the model reads the past: exact recomputes the whole window for every order (slow), "
        "anchored lets it grow from half a window to a whole one, shared is anchored with the "
        "orders before the start held once for all futures (default: anchored or shared, whichever "
        "suits the run)",
        choices=[str(name) for name in Context],
    )
    add(
        "--lanes",
        "futures side by side per device (default: 16 on a CPU, elsewhere all that fit)",
        type=whole(1, MOST_LANES),
    )
    add_model_flags(parser)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every command that lets an order model make futures."""
    add, orders = flag_adder(parser), whole(1, MOST_ORDERS)
    add("--weights", "model folder or hub id (default: the built-in weights)")
    add("--slots", "orders a side of the book can hold", type=orders, default=512)
    add("--growth", "orders between context anchors (default: half the window)", type=orders)
    add(
        "--precision",
        "what the model computes in",
        choices=[str(name) for name in PrecisionName],
        default=str(PrecisionName.FLOAT32),
    )
    add("--max-events", "orders of one future, at most", type=orders, default=16384)


def run(args: argparse.Namespace) -> None:
    """Start, futures, files."""
    check(args)
    prepare_jax()
    from jaxmars.agents.policy import exact
    from jaxmars.convert import hub
    from jaxmars.models import OrderModel
    from jaxmars.models.precision import PRECISIONS, with_precision
    from jaxmars.tasks.forecast import forecast, needed_orders
    from jaxmars.tasks.forecast_files import FILES, write_forecast
    from jaxmars.tasks.lane_plan import default_lanes, default_opening_lanes

    check_out(args.out, FILES)
    folder = hub.fetch(default_weights() if args.weights is None else args.weights)
    model = OrderModel.from_pretrained(folder)
    if model.converters is None:
        raise InputError(f"{folder} has no converters.json, expected the bins of the model there")
    borders = known_borders(folder, model)
    growth = known_growth(args, model)
    start, market, origin = find_start(args, needed_orders(model, exact(growth)))
    policy = choose_policy(args, model, start, growth)
    cfg = SimConfig(
        market=market,
        segment=policy.segment,
        lanes=args.lanes or default_lanes(args.trajectories),
        max_events=args.max_events,
        opening_lanes=args.lanes or default_opening_lanes(args.trajectories),
    )
    for line in start_notes(args, model, start, market):
        print(f"note: {line}", file=sys.stderr)
    result = forecast(
        start,
        with_precision(model, PRECISIONS[args.precision]),
        policy,
        trajectories=args.trajectories,
        minutes=args.minutes,
        seed=args.seed,
        cfg=cfg,
        temperature=args.temperature,
        borders=borders,
        watch=show_pace,
        tell=lambda plan: print(f"context {policy.name}; {plan}", file=sys.stderr),
    )
    print(file=sys.stderr)
    made_by = describe_run(args, folder, cfg, origin, policy.name)
    title = f"{origin}: {args.trajectories} futures of {args.minutes} minutes"
    write_forecast(args.out, result, start, market.tick_size, made_by, title)
    report(result, args.out, market.tick_size)


def check(args: argparse.Namespace) -> None:
    """Refuses combinations that make no sense."""
    if args.lobster and args.at is None:
        raise InputError("--lobster needs --at HH:MM:SS, the moment to start from")
    for flag in ("at", "tick"):
        if getattr(args, flag) is not None and not args.lobster:
            raise InputError(f"--{flag} belongs to --lobster MESSAGE BOOK, which is missing")
    if args.lobster and args.start is not None:
        raise InputError("--start names a built-in start, but --lobster gives another; leave one")


def known_growth(args: argparse.Namespace, model: "OrderModel") -> int:
    """Orders between two anchors of a context."""
    window = model.config.num_max_orders
    growth = window // 2 if args.growth is None else args.growth
    if not 1 <= growth < window:
        raise InputError(
            f"--growth is {growth}, expected 1 to {window - 1} for a model of window {window}"
        )
    return growth


def choose_policy(
    args: argparse.Namespace, model: "OrderModel", start: "StartPoint", growth: int
) -> "ContextPolicy":
    """The context policy the flags ask for, or the one that suits the run."""
    from jaxmars.agents import policy
    from jaxmars.data.start import orders_per_second

    if args.context is not None:
        return policy.POLICIES[args.context](model.config, growth)
    orders = min(orders_per_second(start) * args.minutes * MINUTE, args.max_events)
    return policy.choose(model.config, growth, args.trajectories, orders)


def find_start(args: argparse.Namespace, needed: int) -> "tuple[StartPoint, MarketConfig, str]":
    """Start, instrument, and a few words on where it comes from."""
    from jaxmars.data import read_lobster
    from jaxmars.data.start import load_start, lobster_start
    from jaxmars.sim.reference_market import reference_market

    if not args.lobster:
        number = 0 if args.start is None else args.start
        start = load_start(default_starts(), number)
        market = dataclasses.replace(reference_market(), slots=args.slots)
        return start, market, f"reference market, start {number}"
    message, book = args.lobster
    data = read_lobster(message, book, args.tick)
    market = recorded_market(data, args.slots, book)
    seconds, nanoseconds = args.at
    start = lobster_start(data, seconds, nanoseconds, market, needed)
    return start, market, f"{pathlib.Path(message).stem.split('_')[0]} {clock_text(seconds)}"


def recorded_market(data: Any, slots: int, book: Any) -> MarketConfig:
    """The instrument of a LOBSTER day.

    Raises:
      InputError: fewer slots than its book has levels.
    """
    from jaxmars.data.lobster import PRICE_UNITS_PER_CURRENCY

    market = MarketConfig(
        tick_size=data.tick / PRICE_UNITS_PER_CURRENCY,
        lot_size=data.lot,
        slots=slots,
        levels=data.l2.size.shape[2],
    )
    if market.slots < 2 * market.levels:
        raise InputError(
            f"--slots is {market.slots}, expected at least {2 * market.levels}: "
            f"{book} has {market.levels} levels on each side"
        )
    return market


def start_notes(
    args: argparse.Namespace, model: "OrderModel", start: "StartPoint", market: MarketConfig
) -> list[str]:
    """What the user should know before the run, a line each."""
    from jaxmars.tasks.forecast import is_recorded

    notes = domain_notes(model, start, market)
    if args.lobster and not is_recorded(start, args.minutes * MINUTE):
        notes.append(
            f"the record ends less than {args.minutes} minutes after --at, so what happened is "
            "neither drawn nor scored"
        )
    return notes


def domain_notes(model: "OrderModel", start: "StartPoint", market: MarketConfig) -> list[str]:
    """One line if the start lies far from what the weights were trained on."""
    from jaxmars.tokens.domain import departures, domain_from_json, start_domain

    recorded = model.manifest.get("domain")
    if recorded is None or model.converters is None:
        return []
    here = start_domain(model.converters, market, start.flow.event, start.flow.l2)
    found = departures(domain_from_json(recorded), here)
    if not found:
        return []
    return [f"the start is far from what these weights were trained on: {'; '.join(found)}"]


def known_borders(folder: pathlib.Path, model: "OrderModel") -> "labels.Thresholds | None":
    """Class borders from the training period, if the weights carry them."""
    from jaxmars.tasks.labels import borders_from_json

    recorded = model.manifest.get("label_terciles")
    try:
        return None if recorded is None else borders_from_json(recorded)
    except InputError as error:
        raise InputError(f"{folder}/manifest.json: label_terciles: {error}") from error


def describe_run(
    args: argparse.Namespace, folder: pathlib.Path, cfg: SimConfig, origin: str, context: str
) -> dict[str, Any]:
    """Provenance of the results."""
    from jaxmars.provenance import provenance

    flags = {k: v for k, v in vars(args).items() if k not in ("run", "command", "out")}
    config = {
        "flags": flags,
        "simulation": dataclasses.asdict(cfg),
        "context": context,
        "start": origin,
    }
    return provenance(args.seed, folder, config)


def show_pace(pace: Any) -> None:
    """How far the run is."""
    text = f"{pace.finished}/{pace.wanted} futures, {speed(pace):,.0f} orders/s"
    show_bar(pace.finished, pace.wanted, text)


def report(result: Any, out: pathlib.Path, tick_size: float) -> None:
    """The tables on stdout."""
    table = result.table()
    prices = table.drop(columns="minute") * tick_size
    prices.insert(0, "minute", table["minute"])
    print(prices.to_string(index=False, float_format=lambda x: f"{x:.4f}"))
    print(result.class_table().to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    score = result.score()
    if score is not None:
        print(score.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    counts = result.status_counts()
    if counts:
        print("status:", ", ".join(f"{name} in {n} futures" for name, n in counts.items()))
    print(f"wrote {out}/fan.png, trajectories.parquet, summary.json")
