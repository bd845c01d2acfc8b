"""Makes evaluation sequences from a recorded LOBSTER day, in the layout of LOB-Bench.

python scripts/make_sequences.py --lobster MESSAGE.csv BOOK.csv --from 14:00 --until 16:00 \\
    --starts 128 --model DIR --out out/sequences
python scripts/make_sequences.py --lobster MESSAGE.csv BOOK.csv --from 14:00 --until 16:00 \\
    --starts 128 --baseline --calibrate-until 13:30 --out out/sequences

Writes OUT/NAME/STOCK/data_real, data_gen and data_cond, and sequences.json beside them. --baseline
is the book of Cont, Stoikov and Talreja (2010), with rates from the hours before
--calibrate-until.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA is silent, as in `jaxmars.cli`

import numpy as np

from jaxmars.agents.poisson_book import PoissonBookParams
from jaxmars.agents.policy import anchored
from jaxmars.cli_pace import prepare_jax, show_bar, speed
from jaxmars.cli_values import above_zero, clock_time, natural, positive
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.convert.store import file_hash
from jaxmars.data import flow_until, lobster_flow, read_lobster
from jaxmars.data.lobster import PRICE_UNITS_PER_CURRENCY, LobsterData
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.provenance import environment, provenance
from jaxmars.sim.lanes import Pace
from jaxmars.tasks.calibrate import fit_poisson_book
from jaxmars.tasks.sequence_files import check_target, recorded_of, write_sequences
from jaxmars.tasks.sequence_makers import MODEL_SPARE, Maker, model_maker, poisson_maker
from jaxmars.tasks.sequences import Sequence, generate_sequences, overlaps, start_rows
from jaxmars.tokens.domain import departures, domain_from_json, start_domain

BASELINE = "poisson_book"
SEGMENT = 256  # events per compiled call of the baseline
BASELINE_COND = 512  # messages; it reads none of them
NOT_KEPT = ("out", "lobster", "model")  # flags that provenance names in its own way


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    clock: Any = {"type": moment, "metavar": "HH:MM"}
    path = pathlib.Path
    add("--lobster", nargs=2, type=path, required=True, metavar=("MESSAGE", "BOOK"))
    add("--tick", type=positive, help="price units (1e-4) per tick (default: from the prices)")
    add("--from", dest="begin", required=True, help="no start before it", **clock)
    add("--until", required=True, help="no message after it", **clock)
    add("--starts", type=positive, required=True, help="sequences, evenly spaced over messages")
    add("--messages", type=positive, default=500, help="of each sequence (default: %(default)s)")
    add("--cond", type=positive, help="messages before each start (default: the model's window)")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", type=path, metavar="DIR", help="folder of an order model")
    who.add_argument("--baseline", action="store_true", help="Poisson rates from the same day")
    add("--calibrate-until", help="of the baseline (default: --from)", **clock)
    add("--name", help=f"of the results (default: that of the model's folder, or {BASELINE})")
    add("--out", type=path, required=True, metavar="FOLDER", help="folder to write to")
    add("--seed", type=natural, default=0, help="of all draws (default: %(default)s)")
    add("--temperature", type=above_zero, default=1.0, help="of the model (default: %(default)s)")
    add("--growth", type=positive, help="orders between context anchors, per compiled call")
    add("--lanes", type=positive, default=16, help="side by side per device (default: %(default)s)")
    add("--slots", type=positive, default=512, help="of a side of the book (default: %(default)s)")
    return parser.parse_args(argv)


def moment(text: str) -> tuple[int, int]:
    """HH:MM, or HH:MM:SS with decimals."""
    return clock_time(f"{text}:00" if text.count(":") == 1 else text)


def make(args: argparse.Namespace) -> None:
    """Day, maker, sequences, files."""
    check(args)
    recorded = recorded_of(args.lobster[0])
    name = args.name or (BASELINE if args.baseline else model_name(args.model.resolve()))
    target = check_target(args.out, name, recorded.stock)
    message, book = args.lobster
    data = read_lobster(message, book, args.tick)
    market = MarketConfig(
        tick_size=data.tick / PRICE_UNITS_PER_CURRENCY,
        lot_size=data.lot,
        slots=args.slots,
        levels=data.l2.size.shape[2],
    )
    maker, made_by = baseline(args, data) if args.baseline else order_model(args, data, market)
    num_cond = args.cond or (BASELINE_COND if args.baseline else made_by["window"])
    rows = start_rows(
        data,
        args.begin,
        args.until,
        args.starts,
        num_messages=args.messages,
        num_cond=num_cond,
        needed=maker.needed,
    )
    shared = overlaps(data, rows, args.messages)
    if shared:
        note(f"{shared} of {args.starts} sequences run into the start of the next one")
    paces: list[Pace] = []

    def watch(pace: Pace) -> None:
        paces.append(pace)
        show_bar(pace.finished, pace.wanted, f"{pace.finished}/{pace.wanted}, {speed(pace):,.0f}/s")

    sequences = generate_sequences(
        data,
        rows,
        maker,
        num_messages=args.messages,
        num_cond=num_cond,
        seed=args.seed,
        cfg=SimConfig(market=market, lanes=args.lanes),
        watch=watch,
        tell=lambda plan: print(plan, file=sys.stderr),
    )
    print(file=sys.stderr)
    made_by |= {"record": [file_of(path) for path in args.lobster], "rows": rows.tolist()}
    write_sequences(target, recorded, sequences, args.seed, made_by)
    report(sequences, args, paces, target)


def check(args: argparse.Namespace) -> None:
    """Refuses combinations that make no sense."""
    if args.begin >= args.until:
        raise InputError("--from is not before --until, expected a range of the day")
    if args.calibrate_until is not None and not args.baseline:
        raise InputError("--calibrate-until belongs to --baseline, which is missing")
    if args.calibrate_until is not None and args.calibrate_until > args.begin:
        raise InputError("--calibrate-until is after --from, expected rates from the hours before")


def model_name(folder: pathlib.Path) -> str:
    """That of its folder, or of the training run around it."""
    return folder.parent.name if folder.name == "model" else folder.name


def baseline(args: argparse.Namespace, data: LobsterData) -> tuple[Maker, dict[str, Any]]:
    """The parametric baseline, and what made it."""
    until = args.calibrate_until or args.begin
    params = fit_poisson_book(flow_until(lobster_flow(data), *until))
    maker = poisson_maker(params, args.growth or SEGMENT)
    return maker, environment() | {
        "seed": args.seed,
        "rates": rates_of(params),
        "config": flags_of(args),
    }


def order_model(
    args: argparse.Namespace, data: LobsterData, market: MarketConfig
) -> tuple[Maker, dict[str, Any]]:
    """The order model, and what made it."""
    if not args.model.is_dir():
        raise InputError(f"{args.model} is not a folder, expected an order model")
    model = OrderModel.from_pretrained(args.model)
    window = model.config.num_max_orders
    if args.growth is not None and args.growth >= window:
        raise InputError(
            f"--growth is {args.growth}, expected less than {window}, the window of the model"
        )
    fitting = fitting_growth(math.ceil(MODEL_SPARE * args.messages), window)
    policy = anchored(model.config, args.growth or fitting)
    for line in domain_notes(model, data, market, args.begin):
        note(line)
    made_by = provenance(args.seed, args.model, flags_of(args) | {"segment": policy.segment})
    maker = model_maker(model, policy, market, args.temperature)
    return maker, made_by | {"window": window, "market": dataclasses.asdict(market)}


def fitting_growth(events: int, window: int) -> int:
    """At most half a window, and little more than `events` in all segments together."""
    longest = max(window // 2, 1)
    return math.ceil(events / math.ceil(events / longest))


def domain_notes(
    model: OrderModel, data: LobsterData, market: MarketConfig, begin: tuple[int, int]
) -> list[str]:
    """One line if the day lies far from what the weights were trained on."""
    trained = model.manifest.get("domain")
    if trained is None or model.converters is None:
        return []
    here = start_domain(model.converters, market, *flow_until(lobster_flow(data), *begin))
    found = departures(domain_from_json(trained), here)
    return [f"the day is far from what these weights were trained on: {'; '.join(found)}"][
        : len(found)
    ]


def rates_of(params: PoissonBookParams) -> dict[str, Any]:
    """Rates as JSON, for provenance."""
    return {name: np.asarray(x).tolist() for name, x in params._asdict().items()}


def flags_of(args: argparse.Namespace) -> dict[str, Any]:
    """The flags, for provenance."""
    return {name: value for name, value in vars(args).items() if name not in NOT_KEPT}


def file_of(path: pathlib.Path) -> dict[str, str]:
    """A file, for provenance."""
    return {"file": path.name, "sha256": file_hash(path)}


def note(text: str) -> None:
    """A line on stderr."""
    print(f"note: {text}", file=sys.stderr)


def report(
    sequences: list[Sequence], args: argparse.Namespace, paces: list[Pace], target: pathlib.Path
) -> None:
    """What was made, on stdout."""
    short = sum(len(x.gen.sec) < args.messages for x in sequences)
    if short:
        note(f"{short} generated sequences have fewer than {args.messages} messages")
    messages = sum(len(x.gen.sec) for x in sequences)
    seconds = sum(x.run_seconds for x in paces if x.finished == x.wanted)
    print(
        f"{len(sequences)} sequences, {messages:,} generated messages in {seconds:.1f} s "
        f"({messages / max(seconds, 1e-9):,.0f}/s)"
    )
    print(f"wrote {target}")


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    prepare_jax()
    try:
        make(args)
    except InputError as error:
        print(f"make_sequences: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
