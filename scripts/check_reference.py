"""Checks the reference market against its published statistics (realism spec 2.2).

Simulates independent 26-minute windows after a 30-minute warm-up through the real book, computes
the statistics on groups of 23 windows (as many as the paper has per stock), and prints mean,
standard error, target and whether it lies within tolerance. Exit code 1 if any does not.

    python scripts/check_reference.py --paths 460
"""

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars import clock, devices
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.cli_values import natural, positive
from jaxmars.config import SimConfig
from jaxmars.data.start import event_mid
from jaxmars.sim.lanes import Finished, Start, run_lanes, trajectory_keys
from jaxmars.sim.reference_market import OPEN_SEC, WARM_UP_SECONDS, opening_book, reference_market
from jaxmars.types import Kind, Side

MINUTES = 26
GROUP = 23
MINUTE = 60
TAIL = 0.99
SPAN = 5  # minutes, of fact 11
BOOK_SALT = 9_999  # opening books have keys of their own


class Path(NamedTuple):
    """One window, per minute or per trade."""

    price: np.ndarray  # [MINUTES + 1] last trade price at each full minute, ticks
    mid: np.ndarray  # [MINUTES + 1] mid at each full minute, ticks
    volume: np.ndarray  # [MINUTES] lots traded per minute
    signs: np.ndarray  # [trades] +1 buyer-initiated
    counts: np.ndarray  # [3] limit orders, trades, cancels (cancels of one request count once)
    spread: float  # mean over events, ticks


# name -> (target, tolerance); targets and their errors are those of the spec, 2,300 paths
TARGETS = {
    "orders per minute": (288, 35),
    "share of limit orders": (0.46, 0.02),
    "share of trades": (0.12, 0.02),
    "share of cancels": (0.42, 0.02),
    "spread": (1.14, 0.05),
    "return acf 1": (-0.033, 0.04),
    "return acf 2": (0.0, 0.04),
    "return acf 5": (0.0, 0.04),
    "kurtosis 1 min": (6.6, 2.5),
    "kurtosis 5 min": (7.0, 3.0),
    "kurtosis 20 min": (2.9, 2.0),
    "skewness": (-0.05, 0.35),
    "Fano factor": (1.84, 0.4),
    "abs return acf 1": (0.250, 0.05),
    "abs return acf 2": (0.192, 0.05),
    "abs return acf 5": (0.133, 0.05),
    "abs return acf 10": (0.095, 0.05),
    "conditional kurtosis": (1.74, 0.9),
    "volume with abs return": (0.52, 0.06),
    "volume with next abs return": (0.39, 0.06),
    "coarse-fine asymmetry": (-0.086, 0.045),
    "leverage": (0.006, 0.04),
    "variance ratio 5": (1.07, 0.12),
    "variance ratio 20": (1.06, 0.2),
    "trade sign acf 1": (0.217, 0.03),
    "trade sign acf 10": (0.078, 0.03),
    "trade sign acf 50": (0.020, 0.02),
}


def simulate(paths: int, seed: int, lanes: int) -> list[Path]:
    """Windows of the default reference market."""
    market = reference_market()
    keys = trajectory_keys(seed + BOOK_SALT, np.arange(paths))
    books = jax.jit(jax.vmap(lambda key: opening_book(key, market)))(keys)
    end = OPEN_SEC + WARM_UP_SECONDS + MINUTES * MINUTE
    many = lambda x: jnp.broadcast_to(x, (paths,))
    starts = Start(
        book=books,
        time=jax.tree.map(many, clock.make_time(OPEN_SEC)),
        end=jax.tree.map(many, clock.make_time(end)),
        last_price=jnp.zeros(paths, jnp.int32),
        memories=(None,),
    )
    index = np.arange(paths)
    run = run_lanes(
        seed,
        index,
        index.astype(np.int32),
        starts,
        (ReferenceParams(),),
        agents=(reference_agent(market.lot_size),),
        cfg=SimConfig(market=market, segment=1024, lanes=lanes, max_events=1_000_000),
        watch=lambda p: print(f"\r{p.finished}/{p.wanted} windows", end="", file=sys.stderr),
    )
    found = [summarise(finished, market.lot_size) for finished in run]
    print(file=sys.stderr)
    return found


def summarise(finished: Finished, lot: int) -> Path:
    """What the statistics need of one session."""
    event = finished.events
    seconds = np.asarray(event.time.sec) - (OPEN_SEC + WARM_UP_SECONDS)
    real = event.kind != Kind.NONE
    marks = np.arange(MINUTES + 1) * MINUTE
    at = np.searchsorted(seconds, marks, "left") - 1
    last = np.asarray(event.last_price)[at]
    inside = real & (seconds >= 0)
    traded = inside & (event.filled > 0)
    minute = np.minimum(seconds[traded] // MINUTE, MINUTES - 1)
    volume = np.bincount(minute, event.filled[traded] / lot, MINUTES)
    cancel = inside & (event.kind == Kind.CANCEL)
    stamp = np.asarray(event.time.sec, np.int64) * clock.NANOS + event.time.nsec
    first = cancel & (np.append(-1, stamp[:-1]) != stamp)
    limits = inside & (event.kind == Kind.LIMIT) & ~traded
    return Path(
        price=last.astype(float),
        mid=event_mid(event)[at],
        volume=volume,
        signs=np.where(event.side[traded] == Side.BUY, 1.0, -1.0),
        counts=np.array([limits.sum(), traded.sum(), first.sum()]),
        spread=float((event.best_ask - event.best_bid)[inside].mean()),
    )


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays taken as one sample each."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def lagged(a: np.ndarray, b: np.ndarray, lag: int) -> float:
    """Correlation of a at t with b at t + lag, pooled over the rows."""
    return correlation(a[:, : a.shape[1] - lag], b[:, lag:])


def statistics(group: list[Path]) -> dict[str, float]:
    """All statistics of one group of windows."""
    log_price = np.log(np.stack([p.price for p in group]))
    volume = np.stack([p.volume for p in group])
    counts = np.stack([p.counts for p in group])
    change = lambda h: log_price[:, h:] - log_price[:, :-h]
    mid = np.stack([p.mid for p in group])
    move = lambda h: (mid[:, h:] - mid[:, :-h]).var()
    r = change(1)
    size = np.abs(r)
    coarse = np.abs(change(SPAN))
    fine = np.stack([size[:, i : i + SPAN].sum(1) for i in range(coarse.shape[1])], 1)
    excess = (size > np.quantile(size, TAIL)).sum(1)
    by_minute = r / r.std(0, ddof=1)
    kurtosis = lambda x: float(np.asarray(pd.Series(x.ravel()).kurt()))
    found = {
        "orders per minute": counts.sum(1).mean() / MINUTES,
        "share of limit orders": counts[:, 0].sum() / counts.sum(),
        "share of trades": counts[:, 1].sum() / counts.sum(),
        "share of cancels": counts[:, 2].sum() / counts.sum(),
        "spread": np.mean([p.spread for p in group]),
        "skewness": float(np.asarray(pd.Series(r.ravel()).skew())),
        "Fano factor": excess.var(ddof=1) / excess.mean(),
        "conditional kurtosis": kurtosis(by_minute),
        "volume with abs return": correlation(volume, size),
        "volume with next abs return": lagged(volume, size, 1),
        "coarse-fine asymmetry": lagged(fine, coarse, SPAN) - lagged(coarse, fine, SPAN),
        "leverage": lagged(r, size, 1),
    }
    found |= {f"return acf {k}": lagged(r, r, k) for k in (1, 2, 5)}
    found |= {f"abs return acf {k}": lagged(size, size, k) for k in (1, 2, 5, 10)}
    found |= {f"kurtosis {h} min": kurtosis(change(h)) for h in (1, 5, 20)}
    found |= {f"variance ratio {h}": move(h) / (h * move(1)) for h in (5, 20)}
    found |= {f"trade sign acf {k}": sign_memory(group, k) for k in (1, 10, 50)}
    return found


def sign_memory(group: list[Path], lag: int) -> float:
    """Mean autocorrelation of trade signs over the windows of a group."""
    long_enough: Callable[[Path], bool] = lambda p: len(p.signs) > 2 * lag + MINUTES
    each = [correlation(p.signs[:-lag], p.signs[lag:]) for p in group if long_enough(p)]
    return float(np.mean(each))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", type=positive, default=460, help="windows (default 460)")
    parser.add_argument("--seed", type=natural, default=0, help="default 0")
    parser.add_argument("--lanes", type=positive, default=64, help="per device, default 64")
    args = parser.parse_args(argv)
    if args.paths < 2 * GROUP:
        print(f"check_reference: --paths is {args.paths}, expected at least {2 * GROUP}")
        return 2
    devices.use_all_cores()
    paths = simulate(args.paths, args.seed, args.lanes)
    groups = [paths[i : i + GROUP] for i in range(0, len(paths) - GROUP + 1, GROUP)]
    table = pd.DataFrame([statistics(group) for group in groups])
    failed = 0
    print(f"{'statistic':30s} {'here':>9s} {'error':>8s} {'target':>8s} {'within':>8s}")
    for name, (target, tolerance) in TARGETS.items():
        mean, error = table[name].mean(), table[name].std(ddof=1) / len(groups) ** 0.5
        good = abs(mean - target) <= tolerance
        failed += not good
        mark = "" if good else "  <-- outside"
        print(f"{name:30s} {mean:9.3f} {error:8.3f} {target:8.3f} {tolerance:8.3f}{mark}")
    print(f"{len(TARGETS) - failed} of {len(TARGETS)} within tolerance, {len(paths)} windows")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
