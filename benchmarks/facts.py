"""How long do the statistics of the stylized facts take, and how long in the release?

The release's own `report_stylized_facts` (from a checkout of its own, its figures replaced by
objects that do nothing) and `jaxmars.tasks.facts_statistics.compute_facts` take turns on the same
windows, simulated and historical. What both find is compared before a speed is printed; ours also
computes the within-window, mid-price and GARCH variants that the release does not have.

  JAXMARS_RELEASE=PATH python benchmarks/facts.py --release-python PATH \\
    --out benchmarks/results/facts_cpu.json
"""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

import common
import numpy as np
from release_facts import ReleaseFacts

from jaxmars.tasks.facts_minutes import DAY_MINUTES, WINDOW, Minutes, group_windows
from jaxmars.tasks.facts_statistics import (
    CROSS_LAGS,
    LAGS,
    RETURN_LAGS,
    SPANS,
    VOLUME_LAGS,
    Facts,
    compute_facts,
)

VARIABLE = "JAXMARS_RELEASE"
SYMBOLS, PER_SYMBOL = 2, 23  # as many windows per symbol as the paper has
FIRST_MINUTE = 600  # 10:00
PRICE, RETURN = 20.0, 1e-3
ROUNDS, SECONDS = 5, 60.0
SOURCES = {"Replay": "historical", "Simulation": "simulated"}
SAME = 1e-9  # by which statistics may differ

NO_LAG = ""
ALONE = np.zeros(1, np.int64)
# file of the release -> its columns of lag and value; our field and its lags
TABLES: dict[str, tuple[str, str, str, np.ndarray]] = {
    "cont1": ("lag", "corr", "autocorrelation", RETURN_LAGS),
    "cont2": ("delta_t", "kurtosis", "kurtosis", SPANS),
    "cont3": ("delta_t", "skew", "skewness", SPANS),
    "cont5": (NO_LAG, "fano_factor", "fano_hour", ALONE),
    "cont6": ("lag", "corr", "clustering", LAGS),
    "cont7": ("delta_t", "kurtosis", "kurtosis_conditional", SPANS),
    "cont9": ("lag", "corr", "leverage", LAGS),
    "cont10": ("lag", "corr", "volume", VOLUME_LAGS),
    "cont11": ("lag", "cf_corr", "coarse_fine", CROSS_LAGS),
}


def windows(seed: int, per_symbol: int) -> Minutes:
    """Windows of a market with slowly changing volatility; one day each."""
    rng = np.random.default_rng(seed)
    count = SYMBOLS * per_symbol
    shape = (count, WINDOW)
    level = 0.3 * rng.standard_normal(shape).cumsum(1)
    size = np.exp(level - level.mean())
    price = PRICE * np.exp(RETURN * (size * rng.standard_normal(shape)).cumsum(1))
    return Minutes(
        symbol=np.repeat([f"S{i}" for i in range(SYMBOLS)], per_symbol),
        minute=np.arange(count)[:, None] * DAY_MINUTES + FIRST_MINUTE + np.arange(WINDOW),
        last=price,
        mean=price * np.exp(RETURN / 2 * rng.standard_normal(shape)),
        mid_last=price,
        mid_mean=price,
        volume=np.round(1000 * size * rng.exponential(size=shape)),
    )


def for_release(sources: dict[str, Minutes]) -> list[dict[str, Any]]:
    """The same windows as `ReleaseFacts` takes them."""
    fields = ("last", "mean", "mid_mean", "mid_last", "volume")
    first = next(iter(sources.values()))
    rows = {
        name: np.stack([getattr(m, field) for field in fields], 2).tolist()
        for name, m in sources.items()
    }
    return [
        {"symbol": str(symbol), "minute": FIRST_MINUTE} | {name: rows[name][i] for name in sources}
        for i, symbol in enumerate(first.symbol)
    ]


def compute(sources: dict[str, Minutes]) -> dict[str, Facts]:
    """Ours, of both sources."""
    return {name: compute_facts(m, group_windows(m)) for name, m in sources.items()}


def largest_difference(
    ours: dict[str, Facts], theirs: dict[str, list[dict[str, str]]], symbols: tuple[str, ...]
) -> dict[str, float]:
    """By how much the statistics of each table differ at most."""
    found = {}
    for table, (lag, value, field, lags) in TABLES.items():
        gaps = []
        for row in theirs[table]:
            place = int(row[lag]) if lag else int(ALONE[0])
            column = int(np.flatnonzero(lags == place)[0])
            here = getattr(ours[row["source"]], field)[symbols.index(row["symbol"]), column]
            gaps.append(abs(here - float(row[value])))
        found[table] = float(np.max(gaps))
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--per-symbol", type=int, default=PER_SYMBOL)
    parser.add_argument("--out")
    args = parser.parse_args(argv)
    checkout = os.environ.get(VARIABLE)
    if not checkout:
        print(f"facts: {VARIABLE} is not set, expected the folder of a checkout", file=sys.stderr)
        return 2
    sources = {name: windows(seed, args.per_symbol) for seed, name in enumerate(SOURCES)}
    count = sum(len(m.symbol) for m in sources.values())
    symbols = group_windows(sources["Replay"]).names
    ours: Callable[[Any], Any] = lambda _: compute(sources)
    with ReleaseFacts(checkout, args.release_python, for_release(sources)) as release:
        difference = largest_difference(compute(sources), release.run(), symbols)
        if not all(gap <= SAME for gap in difference.values()):
            print(f"facts: the statistics differ: {difference}", file=sys.stderr)
            return 1
        contestants = {
            "jaxmars": common.Contestant(ours, count),
            "release": common.Contestant(lambda _: release.run(), count, warm_ups=0),
        }
        rates = common.race(contestants, args.rounds, SECONDS)
        about = release.about
    record = {
        "conditions": common.conditions(),
        "release": about,
        "windows": count,
        "largest_difference": difference,
        "windows_per_second": common.summary(rates["jaxmars"]),
        "release_windows_per_second": common.summary(rates["release"]),
        "times_release": common.speed_up(rates["jaxmars"], rates["release"]),
    }
    times = record["times_release"]
    print(common.describe_conditions(record["conditions"]))
    print(f"largest difference of any statistic: {max(difference.values()):.1e}")
    for name in rates:
        milliseconds = 1e3 * count / common.summary(rates[name]).median
        print(f"{name:8} {milliseconds:10,.1f} ms for {count} windows (median)")
    print(
        f"times as fast: {times.best:.0f} best, {times.median:.0f} median, {times.worst:.0f} worst"
    )
    if args.out:
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
