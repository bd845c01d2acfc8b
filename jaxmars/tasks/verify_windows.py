"""Windows of simulated markets, as the verification looks at them.

A trajectory has thousands of events; of each one only a window of minute bars, the signs of its
trades and a few counts are kept, so that thousands of trajectories fit into memory.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars import clock
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.errors import InputError
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes, trajectory_keys
from jaxmars.sim.reference_market import OPEN_SEC, WARM_UP_SECONDS, opening_book, reference_market
from jaxmars.tasks.facts_minutes import (
    EVENT_COLUMNS,
    GROUP,
    WINDOW,
    Groups,
    Minutes,
    event_minutes,
    group_windows,
    join_windows,
)
from jaxmars.types import Event, Kind, Side

MINUTE = 60  # seconds
BOOK_SALT = 9_999  # opening books have keys of their own
MAX_EVENTS = 1_000_000  # of one trajectory
SEGMENT = 1024  # events per compiled call of markets without a context
SYMBOL = "market"  # of every window
KINDS = np.array([kind.name for kind in Kind])


class Observed(NamedTuple):
    """What is kept of one trajectory: 26 minutes from the moment it is looked at."""

    minutes: Minutes  # one window
    signs: np.ndarray  # [trades] float64, +1 buyer-initiated, -1 seller-initiated
    counts: np.ndarray  # [3] limit orders that rest, trades, cancels (one request counts once)
    spread: float  # mean over events, ticks


class Sample(NamedTuple):
    """Windows of one kind of market."""

    minutes: Minutes
    groups: Groups  # of 23 windows, as many as the paper has per stock
    flow: list[Observed]  # [windows]
    quiet: int  # trajectories left out: a minute without an event


def observe(finished: Finished, begins: int, lot: int) -> Observed | None:
    """The window of a trajectory.

    Args:
      finished: the trajectory.
      begins: seconds since midnight, a full minute; what lies before is not looked at.
      lot: shares.

    Returns:
      The window, volumes in lots; None if a minute of it has no event or it does not trade.
    """
    seconds = np.asarray(finished.events.time.sec)
    inside = (seconds >= begins) & (seconds < begins + WINDOW * MINUTE)
    event: Event = jax.tree.map(lambda x: np.asarray(x)[inside], finished.events)
    event = jax.tree.map(lambda x: x[event.kind != Kind.NONE], event)
    try:
        minutes = event_minutes(event_table(event), SYMBOL)
    except InputError:
        return None
    traded = event.filled > 0
    if not np.asarray(traded).any():
        return None
    first = jax.tree.map(lambda x: x[:1], minutes)
    return Observed(
        minutes=first._replace(volume=first.volume / lot),
        signs=np.where(event.side[traded] == Side.BUY, 1.0, -1.0),
        counts=count_orders(event),
        spread=float((event.best_ask - event.best_bid).mean()),
    )


def event_table(event: Event) -> pd.DataFrame:
    """Events as the table that minute bars are made of; prices in ticks, sizes in shares."""
    nanoseconds = np.asarray(event.time.sec, np.int64) * clock.NANOS + event.time.nsec
    columns = {name: np.asarray(getattr(event, name)) for name in EVENT_COLUMNS[2:]}
    return pd.DataFrame({"time_ns": nanoseconds, "kind": KINDS[np.asarray(event.kind)], **columns})


def count_orders(event: Event) -> np.ndarray:
    """Limit orders that rest, trades, and requests to cancel, `[3]` int64.

    Cancels at one moment belong to one request.
    """
    traded = event.filled > 0
    cancel = event.kind == Kind.CANCEL
    stamp = np.asarray(event.time.sec, np.int64) * clock.NANOS + event.time.nsec
    again = np.append(False, (np.diff(stamp) == 0) & np.asarray(cancel)[:-1])[: len(stamp)]
    limits = (event.kind == Kind.LIMIT) & ~traded
    return np.array([limits.sum(), traded.sum(), (cancel & ~again).sum()])


def sample_of(run: Iterable[Finished], begins: int, lot: int) -> Sample:
    """Windows of a run in the order of its trajectories' numbers; arguments as of `observe`.

    Raises:
      InputError: fewer windows than two groups.
    """
    seen = sorted(((t.number, observe(t, begins, lot)) for t in run), key=lambda pair: pair[0])
    kept = [window for _, window in seen if window is not None]
    if len(kept) < 2 * GROUP:
        raise InputError(
            f"{len(kept)} of {len(seen)} trajectories have a full window, expected at least "
            f"{2 * GROUP}, for two groups of {GROUP}"
        )
    minutes = join_windows([window.minutes for window in kept])
    return Sample(minutes, group_windows(minutes), kept, len(seen) - len(kept))


def reference_sample(
    params: ReferenceParams,
    *,
    paths: int,
    seed: int,
    lanes: int,
    watch: Callable[[Pace], None] = lambda pace: None,
) -> Sample:
    """Windows of the reference market, each from an opening book of its own after the warm-up.

    Args:
      params: of the market.
      paths: trajectories.
      seed: of all draws.
      lanes: trajectories side by side on one device.
      watch: called after every segment.

    Raises:
      InputError: fewer windows than two groups.
    """
    market = reference_market()
    begins = OPEN_SEC + WARM_UP_SECONDS
    run = run_lanes(
        seed,
        np.arange(paths),
        np.arange(paths, dtype=np.int32),
        opening_starts(seed, paths, begins + WINDOW * MINUTE, market),
        (params,),
        agents=(reference_agent(market.lot_size),),
        cfg=SimConfig(market=market, segment=SEGMENT, lanes=lanes, max_events=MAX_EVENTS),
        watch=watch,
    )
    return sample_of(run, begins, market.lot_size)


def opening_starts(seed: int, paths: int, end: int, market: MarketConfig) -> Start:
    """Opening books of the reference market at the open, `[paths]`, to run to `end` seconds."""
    keys = trajectory_keys(seed + BOOK_SALT, np.arange(paths))
    many = lambda x: jnp.broadcast_to(x, (paths,))
    return Start(
        book=jax.jit(jax.vmap(lambda key: opening_book(key, market)))(keys),
        time=jax.tree.map(many, clock.make_time(OPEN_SEC)),
        end=jax.tree.map(many, clock.make_time(end)),
        last_price=jnp.zeros(paths, jnp.int32),
        memories=(None,),
    )
