"""Runs many futures of one start and shows their distribution.

The start is one of the built-in ones (reference market), or a moment of a recorded LOBSTER day:

    jaxmars forecast --trajectories 128 --minutes 5
    jaxmars forecast --lobster MESSAGE.csv BOOK.csv --at 10:30:00 --weights my_weights

Writes fan.png, trajectories.parquet and summary.json.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars import devices
from jaxmars.builtin import default_starts, default_weights
from jaxmars.cli_values import clock_time, natural, positive
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.errors import InputError

if TYPE_CHECKING:
    from jaxmars.agents.policy import ContextPolicy
    from jaxmars.data.start import StartPoint
    from jaxmars.models import OrderModel

NAME = "forecast"
HELP = "run many futures of one start and show their distribution"
LONGEST_MINUTES = 390
MOST_TRAJECTORIES = 1_000_000
UNITS_PER_CURRENCY = 10_000  # LOBSTER prices
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "jaxmars" / "xla"
BAR_WIDTH = 30


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add = parser.add_argument
    add("--out", type=pathlib.Path, default=pathlib.Path("out/forecast"), help="folder to write")
    add("--weights", default=None, help="model folder or hub id (default: the built-in weights)")
    add("--trajectories", type=positive, default=128, help="number of futures")
    add("--minutes", type=positive, default=5, help="horizon, minutes")
    add("--seed", type=natural, default=0, help="future i depends on the seed and on i only")
    add("--start", type=natural, default=0, help="number of the built-in start")
    add("--lobster", nargs=2, metavar=("MESSAGE", "BOOK"), help="recorded day to start from")
    add("--at", type=clock_time, metavar="HH:MM:SS", help="moment of the recorded day")
    add("--tick", type=positive, help="price units (1e-4) per tick (default: from the data)")
    add("--slots", type=positive, default=512, help="orders a side of the book can hold")
    add("--temperature", type=float, default=1.0, help="of the model's softmax")
    add("--growth", type=positive, help="orders between context anchors (default: half the window)")
    add("--exact", action="store_true", help="recompute the whole window for every order (slow)")
    add("--lanes", type=positive, default=64, help="futures side by side per device")
    add("--max-events", type=positive, default=16384, help="events of one future, at most")


def run(args: argparse.Namespace) -> None:
    """Start, futures, files."""
    check(args)
    prepare_jax()
    from jaxmars.models import OrderModel
    from jaxmars.tasks.forecast import forecast, needed_orders
    from jaxmars.tasks.forecast_files import write_forecast

    source = args.weights if args.weights is not None else default_weights()
    model = OrderModel.from_pretrained(source)
    policy = choose_policy(args, model)
    start, market, origin = find_start(args, needed_orders(model, policy))
    cfg = SimConfig(
        market=market, segment=policy.segment, lanes=args.lanes, max_events=args.max_events
    )
    for line in domain_notes(model, start, market):
        print(f"note: {line}", file=sys.stderr)
    result = forecast(
        start,
        model,
        policy,
        trajectories=args.trajectories,
        minutes=args.minutes,
        seed=args.seed,
        cfg=cfg,
        temperature=args.temperature,
        borders=known_borders(model),
        watch=show_pace,
    )
    print(file=sys.stderr)
    made_by = describe_run(args, source, cfg, origin)
    title = f"{origin}: {args.trajectories} futures of {args.minutes} minutes"
    write_forecast(args.out, result, start, market.tick_size, made_by, title)
    report(result, args.out, market.tick_size)


def check(args: argparse.Namespace) -> None:
    """Refuses combinations that make no sense."""
    if args.lobster and args.at is None:
        raise InputError("--lobster needs --at HH:MM:SS, the moment to start from")
    if args.at is not None and not args.lobster:
        raise InputError("--at belongs to --lobster MESSAGE BOOK, which is missing")
    if args.minutes > LONGEST_MINUTES:
        raise InputError(f"--minutes is {args.minutes}, expected at most {LONGEST_MINUTES}")
    if args.trajectories > MOST_TRAJECTORIES:
        raise InputError(
            f"--trajectories is {args.trajectories}, expected at most {MOST_TRAJECTORIES}"
        )
    if not (math.isfinite(args.temperature) and args.temperature > 0):
        raise InputError(f"--temperature is {args.temperature}, expected a number above 0")
    if args.out.exists() and not args.out.is_dir():
        raise InputError(f"--out {args.out} is a file, expected a folder")


def prepare_jax() -> None:
    """All cores as devices, compiled programs kept between runs."""
    import jax

    devices.use_all_cores()
    jax.config.update("jax_compilation_cache_dir", str(CACHE))


def choose_policy(args: argparse.Namespace, model: "OrderModel") -> "ContextPolicy":
    """The context policy the flags ask for."""
    from jaxmars.agents import policy

    window = model.config.num_max_orders
    growth = window // 2 if args.growth is None else args.growth
    if not 1 <= growth < window:
        raise InputError(
            f"--growth is {growth}, expected 1 to {window - 1} for a model of window {window}"
        )
    if args.exact:
        return policy.exact(growth)
    return policy.anchored(model.config, growth)


def find_start(args: argparse.Namespace, needed: int) -> "tuple[StartPoint, MarketConfig, str]":
    """Start, instrument, and a few words on where it comes from."""
    from jaxmars.data import read_lobster
    from jaxmars.data.start import load_start, lobster_start
    from jaxmars.sim.reference_market import reference_market

    if not args.lobster:
        start = load_start(default_starts(), args.start)
        market = dataclasses.replace(reference_market(), slots=args.slots)
        return start, market, f"reference market, start {args.start}"
    message, book = args.lobster
    data = read_lobster(message, book, args.tick)
    market = MarketConfig(
        tick_size=data.tick / UNITS_PER_CURRENCY,
        lot_size=data.lot,
        slots=args.slots,
        levels=data.l2.size.shape[2],
    )
    if market.slots < 2 * market.levels:
        raise InputError(
            f"--slots is {market.slots}, expected at least {2 * market.levels}, the recorded levels"
        )
    start = lobster_start(data, *args.at, market, needed)
    seconds = args.at[0]
    moment = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return start, market, f"{pathlib.Path(message).stem.split('_')[0]} {moment}"


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


def known_borders(model: "OrderModel") -> Any:
    """Class borders from the training period, if the weights carry them."""
    import numpy as np

    from jaxmars.tasks.labels import Thresholds

    recorded = model.manifest.get("label_terciles")
    if recorded is None:
        return None
    return Thresholds(np.array(recorded["low"]), np.array(recorded["high"]))


def describe_run(args: argparse.Namespace, source: Any, cfg: SimConfig, origin: str) -> dict:
    """Provenance of the results."""
    from jaxmars.convert import hub
    from jaxmars.provenance import provenance

    flags = {k: v for k, v in vars(args).items() if k not in ("run", "command", "out")}
    plain = {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in flags.items()}
    config = {"flags": plain, "simulation": dataclasses.asdict(cfg), "start": origin}
    return provenance(args.seed, hub.fetch(source, None), config)


def show_pace(pace: Any) -> None:
    """A progress bar on stderr."""
    done = round(BAR_WIDTH * pace.finished / pace.wanted)
    bar = "#" * done + "." * (BAR_WIDTH - done)
    speed = pace.events / max(pace.run_seconds, 1e-9)
    text = f"[{bar}] {pace.finished}/{pace.wanted} futures, {speed:,.0f} orders/s"
    print(f"\r{text}", end="", file=sys.stderr, flush=True)


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
