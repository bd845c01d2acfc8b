"""Runs a market of any mix of agents that a TOML file describes.

    jaxmars simulate --example > market.toml
    jaxmars simulate market.toml --out out/simulate

Writes events.parquet, fills.parquet, accounts.csv, paths.png and summary.json. Prices in all of
them, and in the file, are in currency.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from jaxmars.cli_pace import prepare_jax, show_bar, speed
from jaxmars.errors import InputError
from jaxmars.files import check_out

if TYPE_CHECKING:
    from jaxmars.tasks.scenario import Scenario
    from jaxmars.tasks.simulate import SimulationResult

NAME = "simulate"
HELP = "run a market of any mix of agents from a TOML file"
EXAMPLE = """\
# A crowd, a market maker and a trader who buys 20,000 shares with latency.
# Prices and distances between prices are in currency, sizes in shares, times on the exchange's
# clock or in seconds. Whatever has a default may be left out.

[run]
trajectories = 16     # futures; number i depends on the seed and on i only
seed = 0
minutes = 10          # or end = "10:10:00"
# start = "10:00:00"  # a recorded or built-in book knows its own; needed otherwise
# max_events = 16384  # of one trajectory, at most
# lanes = 16          # trajectories side by side per device
# segment = 256       # events per compiled call

[market]
reference = 20.00     # price of the day before: leans call auctions, centres price limits
# tick_size = 0.01
# lot_size = 100
# slots = 512         # orders a side of the book can hold
# levels = 10         # price levels that agents see
# max_trades = 16     # fills recorded per order, for fills.parquet
# calendar = "always" # or "us_equity", "chinese_a_share", "release", or a list of phases:
# calendar = [{ kind = "auction", start = "09:15:00", end = "09:25:00" },
#             { kind = "continuous", start = "09:30:00", end = "15:00:00" }]

[market.rules]
# price_step = 0.01   # prices must be multiples of it
# size_step = 1       # shares; sizes of new orders must be multiples of it
price_limit = 0.1     # share of the reference that prices may move in a day, 0 for none
self_trade = "reject" # or "allow", "cancel_resting", "cancel_incoming"; crowds are exempt

[book]                # nothing here means an empty book
builtin = 0           # one of the built-in starts of the reference market
# lobster = ["X_message_10.csv", "X_orderbook_10.csv"]  # the recorded book at start
# orders = [{ side = "buy", price = 19.99, size = 500 },
#           { side = "sell", price = 20.01, size = 500 }]
# owner = "crowd"     # agent that owns what rests (default: the first crowd)

# Value agents, if there are any, trade toward a mean-reverting path:
# [fundamental]
# mean = 20.00
# reversion = 0.002   # per second
# volatility = 0.002  # currency per square root of a second

[[agents]]            # noise, reference, background, twap, paper_twap, zero_intelligence, value,
kind = "reference"    # momentum, market_maker, script
name = "crowd"

[[agents]]
kind = "market_maker"
rate = 0.5            # requotes per second
half_spread = 0.01
size = 200
max_inventory = 5000
cash = 1_000_000.0    # endowment; only the accounts read it
shares = 5000

[[agents]]
kind = "twap"
name = "buyer"
side = "buy"
target = 20_000
total = 600           # seconds
communication = 0.05  # seconds to the exchange, one way
computation = 0.01    # seconds of thought
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("config", nargs="?", type=pathlib.Path, help="TOML file of the scenario")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("out/simulate"),
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument("--example", action="store_true", help="print a commented file and stop")


def run(args: argparse.Namespace) -> None:
    """File, trajectories, files."""
    if args.example:
        print(EXAMPLE, end="")
        return
    if args.config is None:
        raise InputError("CONFIG.toml is missing; jaxmars simulate --example prints one")
    prepare_jax()
    from jaxmars.tasks.scenario import read_scenario
    from jaxmars.tasks.simulate import run_scenario
    from jaxmars.tasks.simulate_files import FILES, write_simulation

    check_out(args.out, FILES)
    scenario = read_scenario(args.config)
    made_by = describe_run(scenario, args.config)
    result = run_scenario(scenario, show_pace, lambda plan: print(plan, file=sys.stderr))
    print(file=sys.stderr)
    write_simulation(args.out, result, made_by)
    report(result, args.out)


def describe_run(scenario: "Scenario", path: pathlib.Path) -> dict[str, Any]:
    """Provenance of the results."""
    import dataclasses

    from jaxmars.convert import hub, store
    from jaxmars.provenance import environment

    weights = {
        source: store.file_hash(hub.fetch(source) / store.TENSOR_FILE)
        for source in scenario.weights
    }
    return environment() | {
        "seed": scenario.seed,
        "weights_sha256": weights,
        "config": {
            "file": str(path),
            "scenario": scenario.source,
            "simulation": dataclasses.asdict(scenario.cfg),
            "start": scenario.words,
        },
    }


def show_pace(pace: Any) -> None:
    """How far the run is."""
    text = (
        f"{pace.finished}/{pace.wanted} trajectories, {pace.events:,} events, {speed(pace):,.0f}/s"
    )
    show_bar(pace.finished, pace.wanted, text)


def report(result: "SimulationResult", out: pathlib.Path) -> None:
    """The tables on stdout."""
    from jaxmars.tasks.simulate_files import FILES, missing_fills
    from jaxmars.tasks.simulate_tables import status_table
    from jaxmars.types import STATUS_MEANING, Status

    decimals = result.labels.decimals
    prices = result.price_table()
    print("mid price, quantiles over trajectories")
    text = lambda x: f"{x:.{decimals + 1}f}"
    print(prices.to_string(index=False, na_rep="-", float_format=text))
    print("\nagents, means per trajectory")
    table = result.table()
    formats: dict[Any, Any] = {
        name: (lambda x: f"{x:,.0f}")
        for name in ("orders", "cancels", "bought", "sold", "holdings")
    }
    formats |= {name: (lambda x: f"{x:.{decimals + 2}f}") for name in table if "average" in name}
    formats |= {name: (lambda x: f"{x:,.2f}") for name in table if "profit" in name}
    print(table.to_string(index=False, na_rep="-", formatters=formats))
    for name, counts in status_table(result.trajectories).items():
        print(
            f"note: {STATUS_MEANING[Status[name]]} ({name}: {counts['events']:,} events, "
            f"{counts['trajectories']:,} trajectories)",
            file=sys.stderr,
        )
    missing = missing_fills(result)
    if missing:
        print(
            f"note: fills.parquet lacks {missing:,} shares; raise max_trades in [market]",
            file=sys.stderr,
        )
    print(f"wrote {out}/{', '.join(FILES)}")
