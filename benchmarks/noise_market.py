"""How long does one simulated hour of the noise market take, and how long in the release?

One noise agent, a wake-up a second on average, 09:30 to 10:30 from an empty book: the release's
own `Env` (pure Python, from a checkout of its own) and ours take turns, one, 16, 128 and 1024
hours at a time. What both markets do is counted and compared before a speed is printed.

  python benchmarks/noise_market.py --release PATH --out benchmarks/results/noise_market_cpu.json
  python benchmarks/noise_market.py --release PATH --release-python PATH   # its own interpreter

On a CPU the whole is measured in the settings of `SETTINGS`, each in a process of its own because
XLA reads them when it starts; the last lines show the best setting of each number of hours.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
from release_env import ReleaseMarket

from jaxmars import clock, devices
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.book import init_book
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.sim import init_market, rollout
from jaxmars.types import Event, Kind, Side, Status

OPENS, CLOSES = 34_200, 37_800  # seconds since midnight
START, END = "09:30:00", "10:30:00"
STEPS = 4096  # enough for every hour: checked
SLOTS = 384  # likewise
PARAMS = (NoiseParams(price=1_000, gap=1.0),)
AGENTS = (noise_agent(clock.make_time(OPENS), clock.make_time(CLOSES)),)
HOURS = (1, 16, 128, 1024)  # at a time
HARMLESS = int(Status.NOTHING_TO_CANCEL | Status.TRADES_TRUNCATED)
ROUNDS, SECONDS = 9, 10.0
SAME_WORK = 4.0  # standard errors by which means may differ
RELEASE_SEEDS = 8  # whose hours are counted


class Output(NamedTuple):
    """What the market keeps up to date and returns for every event."""

    levels: int  # price levels a side
    max_trades: int  # trade records


OUTPUTS = {
    "release": Output(10, 8),  # what a record of the release holds
    "quotes": Output(1, 0),
}


class Setting(NamedTuple):
    """How XLA:CPU runs the loop over events."""

    environment: dict[str, str]
    side_by_side: int  # hours in one loop; the rest of a device's hours follow
    most: int  # hours at a time it is measured with


ONE_THREAD = {"NPROC": "1"}
ONE_FUNCTION = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000000"
DEVICES = f"--xla_force_host_platform_device_count={os.cpu_count()}"
SETTINGS = {
    "default": Setting({}, 64, 128),
    "one function": Setting(ONE_THREAD | {"XLA_FLAGS": ONE_FUNCTION}, 1, 128),
    "one function, every core": Setting(
        ONE_THREAD | {"XLA_FLAGS": f"{ONE_FUNCTION} {DEVICES}"}, 1, max(HOURS)
    ),
}
HERE = "as it is"  # the environment this process was started in


def one_hour(key: jax.Array, *, cfg: SimConfig) -> tuple[Any, Event]:
    """The market after one hour from an empty book, and its events `[STEPS]`."""
    market = init_market(
        key,
        PARAMS,
        init_book(cfg.market.slots),
        clock.make_time(OPENS),
        clock.make_time(CLOSES),
        jnp.int32(0),
        (None,),
        agents=AGENTS,
        cfg=cfg.market,
    )
    market, events = rollout(key, market, PARAMS, agents=AGENTS, cfg=cfg, num_events=STEPS)
    return (market.done, market.step, market.status), events


def hours(keys: jax.Array, *, cfg: SimConfig, side_by_side: int) -> Any:
    """As many hours as keys `[n]`, split over the devices; leaves `[n, …]`."""
    one = functools.partial(one_hour, cfg=cfg)
    num = keys.shape[0]
    if num == 1:
        return jax.tree.map(lambda x: x[None], one(keys[0]))

    def on_one_device(keys: jax.Array) -> Any:
        chunk = min(side_by_side, keys.shape[0])
        if chunk == 1:
            return jax.lax.map(one, keys)
        found = jax.lax.map(jax.vmap(one), keys.reshape(-1, chunk))
        return jax.tree.map(lambda x: x.reshape(keys.shape[0], *x.shape[2:]), found)

    if num % jax.device_count() or jax.device_count() == 1:
        return on_one_device(keys)
    split = devices.split().spec
    return jax.shard_map(
        on_one_device, mesh=devices.split().mesh, in_specs=split, out_specs=split, check_vma=False
    )(keys)


def work_of(ended: Any) -> dict[str, np.ndarray]:
    """What every hour did, `[n]` per count; the names are those of the release's answers.

    Raises:
      RuntimeError: an hour was not over, or an order was refused.
    """
    (done, steps, status), event = jax.tree.map(np.asarray, ended)
    if not done.all() or (status & ~HARMLESS).any():
        raise RuntimeError(f"an hour did not end well: done {done.all()}, status {status.max()}")
    cancel, limit = event.kind == Kind.CANCEL, event.kind == Kind.LIMIT
    same = np.stack(event.time[:2], -1)
    again = (same[:, 1:] == same[:, :-1]).all(-1) & cancel[:, 1:] & cancel[:, :-1]
    return {
        "wakes": steps - again.sum(1),
        "records": (event.kind != Kind.NONE).sum(1),
        "sells": (limit & (event.side == Side.SELL)).sum(1),
        "buys": (limit & (event.side == Side.BUY)).sum(1),
        "cancels": cancel.sum(1),
        "shares": event.filled.sum(1),
    }


def compare_work(ours: dict[str, np.ndarray], theirs: Sequence[dict]) -> dict[str, Any]:
    """Means of both markets, and by how many standard errors they differ."""
    table = {}
    for name, values in ours.items():
        release = np.array([hour[name] for hour in theirs])
        error = values.std(ddof=1) * (1 / len(values) + 1 / len(release)) ** 0.5
        gap = (values.mean() - release.mean()) / error
        table[name] = {"ours": values.mean(), "release": release.mean(), "errors_apart": gap}
    return table


def is_same_work(table: dict[str, Any]) -> bool:
    """Whether both markets do the same, as far as their means tell."""
    return all(abs(row["errors_apart"]) < SAME_WORK for row in table.values())


def measure(
    num: int, output: str, side_by_side: int, release: ReleaseMarket | None, rounds: int
) -> dict[str, Any]:
    """One row: so many hours of ours beside one of the release."""
    levels, max_trades = OUTPUTS[output]
    market = MarketConfig(slots=SLOTS, levels=levels, max_trades=max_trades)
    run = functools.partial(hours, cfg=SimConfig(market, segment=STEPS), side_by_side=side_by_side)
    keys = jax.random.split(jax.random.key(0), num)
    if num % jax.device_count() == 0:
        keys = jax.device_put(keys, devices.split())
    compiled, seconds = common.compile_timed(run, keys)
    work = work_of(compiled(keys))  # the warm-up, too
    contestants = {"jaxmars": common.Contestant(lambda _: compiled(keys), num, warm_ups=0)}
    if release:
        seeds = itertools.count()
        contestants["release"] = common.Contestant(lambda _: release.run(next(seeds)), 1)
    rates = common.race(contestants, rounds, SECONDS)
    record: dict[str, Any] = {
        "hours": num,
        "output": output,
        "compile_seconds": seconds,
        "hours_per_second": common.summary(rates["jaxmars"]),
        "orders_per_hour": float(work["records"].mean()),
    }
    if release:
        record["release_hours_per_second"] = common.summary(rates["release"])
        record["times_release"] = common.speed_up(rates["jaxmars"], rates["release"])
    print_row(record)
    return record | {"work": work}


HEAD = (
    f"{'hours':>5} {'output':>8}  {'ms per hour':>11} {'orders/s':>10} {'compile s':>9}  "
    "release ms per hour; times as fast: best, median, worst"
)


def print_row(record: dict[str, Any]) -> None:
    """One line of the table; medians."""
    rate = record["hours_per_second"].median
    line = (
        f"{record['hours']:5} {record['output']:>8}  {1e3 / rate:11.3f} "
        f"{rate * record['orders_per_hour']:10,.0f} {record['compile_seconds']:9.1f}"
    )
    if "release_hours_per_second" in record:
        times = record["times_release"]
        line += (
            f"  {1e3 / record['release_hours_per_second'].median:.0f}; "
            f"{times.best:.0f}, {times.median:.0f}, {times.worst:.0f}"
        )
    print(line, flush=True)


def print_work(table: dict[str, Any]) -> None:
    """What an hour does in both markets."""
    print(f"\n{'an hour, mean':>13} {'ours':>10} {'release':>10}  standard errors apart")
    for name, row in table.items():
        print(
            f"{name:>13} {row['ours']:10,.0f} {row['release']:10,.0f} {row['errors_apart']:+6.1f}"
        )
    print("the same work" if is_same_work(table) else "NOT THE SAME WORK")


def measure_here(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, in this process."""
    conditions = common.conditions()
    print(f"setting: {args.setting}\n{common.describe_conditions(conditions)}\n{HEAD}")
    setting = Setting({}, max(HOURS), max(HOURS))
    if jax.default_backend() == "cpu":
        setting = SETTINGS.get(args.setting, SETTINGS["default"])
    found: dict[str, Any] = {"setting": args.setting, "conditions": conditions}
    with contextlib.ExitStack() as stack:
        release = None
        if args.release:
            release = ReleaseMarket(args.release, args.release_python, START, END)
            stack.enter_context(release)
            found["release"] = release.about
        rows = [
            measure(num, output, setting.side_by_side, release, args.rounds)
            for num in args.hours
            if num <= setting.most
            for output in args.outputs
        ]
        work = max((row.pop("work") for row in rows), key=lambda work: len(work["wakes"]))
        if release and len(work["wakes"]) > 1:
            table = compare_work(work, [release.run(seed) for seed in range(RELEASE_SEEDS)])
            print_work(table)
            found |= {"work": table, "same_work": is_same_work(table)}
    return found | {"rows": rows}


def measure_in_process(setting: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Everything, in a process of its own that starts in the environment of a setting."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.json")
        script = os.path.abspath(__file__)
        command = [sys.executable, script, *arguments, "--setting", setting, "--out", path]
        subprocess.run(command, check=True, env=os.environ | SETTINGS[setting].environment)
        with open(path) as file:
            return json.load(file)


def best_of_settings(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per row of the table, the one of the best setting: by the median ratio to the release, which
    a busy machine moves less than the time, or by the median time without the release."""

    def merit(row: dict[str, Any]) -> float:
        return row.get("times_release", row["hours_per_second"])["median"]

    best: dict[tuple[int, str], dict[str, Any]] = {}
    for run in runs:
        for row in run["rows"]:
            place = (row["hours"], row["output"])
            if place not in best or merit(row) > merit(best[place]):
                best[place] = row | {"setting": run["setting"]}
    return list(best.values())


def print_best(table: Sequence[dict[str, Any]]) -> None:
    """The closing lines: medians in the best setting."""
    print("\nmedians in the best setting")
    for row in table:
        rate = row["hours_per_second"]["median"]
        line = f"{row['hours']:5} {row['output']:>8}  {1e3 / rate:9.3f} ms per hour"
        if "times_release" in row:
            line += f"  {row['times_release']['median']:.0f} times the release"
        print(f"{line}  ({row['setting']})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="result file (JSON); nothing is written without it")
    parser.add_argument("--release", help="checkout of microsoft/MarS to measure beside ours")
    parser.add_argument(
        "--release-python", default=sys.executable, help="interpreter that can import it"
    )
    parser.add_argument("--hours", type=int, nargs="+", default=list(HOURS), help="at a time")
    parser.add_argument("--outputs", nargs="+", default=list(OUTPUTS), choices=OUTPUTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed runs of each contestant")
    parser.add_argument(
        "--setting",
        choices=(HERE, *SETTINGS),
        help="measure in this process alone; its environment must be that of the setting",
    )
    args = parser.parse_args()
    if args.setting:
        record = measure_here(args)
    else:
        if jax.default_backend() == "cpu":
            runs = [measure_in_process(setting, sys.argv[1:]) for setting in SETTINGS]
        else:
            args.setting = HERE
            runs = [json.loads(common.as_json(measure_here(args)))]
        table = best_of_settings(runs)
        print_best(table)
        record = {"question": "time of a simulated hour of the noise market", "best": table}
        record["runs"] = runs
    if args.out:
        common.write_json(args.out, record)


if __name__ == "__main__":
    main()
