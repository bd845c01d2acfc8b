"""Makes the built-in start states: reference-market sessions at 10:00, and what happens next.

python scripts/make_starts.py weights/starts.npz
"""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.data import Flow, slice_flow
from jaxmars.data.memory import flow_memories
from jaxmars.data.start import PAST_SECONDS, MidPath, StartPoint, mid_path_of, save_starts
from jaxmars.sim.lanes import trajectory_keys
from jaxmars.sim.reference_market import OPEN_SEC, WARM_UP_SECONDS, open_session, reference_market
from jaxmars.sim.rollout import record
from jaxmars.sim.state import MarketState
from jaxmars.types import Event, Kind, Time

SEED = 2024
STARTS = 16
KEPT_ORDERS = 1_200  # before the start: the longest window of a built-in model, and merged cancels
FUTURE_SECONDS = 1_800
EVENTS_PER_CALL = 1024
BOOK_TIME = OPEN_SEC + WARM_UP_SECONDS


def run_to(keys, markets, limit_sec: int, runner) -> list[tuple[Event, jax.Array]]:
    """Events and snapshots until every session has passed `limit_sec`."""
    parts = []
    while int(markets.time.sec.min()) < limit_sec:
        markets, flow = runner(keys, markets)
        parts.append(jax.tree.map(np.asarray, flow))
    return parts


def book_at(key: jax.Array, market: MarketState, steps: jax.Array, params, agents, cfg) -> tuple:
    """The book of a session after a number of steps."""
    from jaxmars.sim.market import step

    def one(i, market):
        return step(key, market, (params,), agents=agents, cfg=cfg)[0]

    market = jax.lax.fori_loop(0, steps, one, market)
    return market.book, market.last_price


def main() -> int:
    out = pathlib.Path(sys.argv[1])
    cfg, params = reference_market(), ReferenceParams()
    agents = (reference_agent(cfg.lot_size),)
    keys = trajectory_keys(SEED, np.arange(STARTS))
    opened = jax.jit(jax.vmap(lambda key: open_session(key, params, cfg)))(keys)
    one = functools.partial(record, agents=agents, cfg=cfg, num_events=EVENTS_PER_CALL)
    runner = jax.jit(jax.vmap(lambda key, market: one(key, market, (params,))))
    parts = run_to(keys, opened, BOOK_TIME + FUTURE_SECONDS, runner)
    events, l2 = jax.tree.map(lambda *x: np.concatenate(x, 1), *parts)
    before = (events.time.sec < BOOK_TIME).sum(1)
    books, last = jax.jit(jax.vmap(lambda k, m, n: book_at(k, m, n, params, agents, cfg)))(
        keys, opened, jnp.asarray(before, jnp.int32)
    )
    starts = [
        make_start(jax.tree.map(lambda x, i=i: np.asarray(x[i]), (events, l2, books, last)), cfg)
        for i in range(STARTS)
    ]
    save_starts(out, starts)
    print(f"{out}: {STARTS} starts, {out.stat().st_size:,} bytes")
    return 0


def make_start(session, cfg) -> StartPoint:
    """A start from one session's events, snapshots, book and last price at `BOOK_TIME`."""
    event, l2, book, last_price = session
    real = np.flatnonzero(event.kind != Kind.NONE)
    flow = jax.tree.map(lambda x: x[real], Flow(event, l2))
    cut = int(np.searchsorted(flow.event.time.sec, BOOK_TIME, "left"))
    first = max(cut - KEPT_ORDERS, 0)
    memories = flow_memories(slice_flow(flow, 0, cut), cfg)
    traded = np.flatnonzero(flow.event.filled)[0]
    path = mid_path_of(flow, BOOK_TIME)
    shown = (path.seconds >= -PAST_SECONDS) & (path.seconds < 0)
    later = (path.seconds >= 0) & (path.seconds <= FUTURE_SECONDS)
    return StartPoint(
        book=book,
        flow=slice_flow(flow, first, cut),
        open_time=Time(flow.event.time.sec[0], flow.event.time.nsec[0]),
        open_price=flow.event.first_price[traded],
        memory=jax.tree.map(lambda x: x[first], memories),
        time=Time(*np.array([BOOK_TIME, 0], np.int32)),
        last_price=last_price,
        past=MidPath(path.seconds[shown], path.mid[shown]),
        future=MidPath(path.seconds[later], path.mid[later]),
    )


if __name__ == "__main__":
    sys.exit(main())
