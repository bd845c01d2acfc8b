"""Sequences of messages for evaluation: what happened after a moment, and what a model makes of it.

From moments of a recorded day: the messages before the moment (conditioning), those after it
(real), and as many that an agent makes from the same book, knowing the same past (generated). All
three are LOBSTER rows with books of the recorded levels (realism spec 3.1: LOB-Bench).

Messages are those of visible orders, types 1 to 4. Hidden executions, crosses and halts are left
out of the record: they change no book, and agents make none.
"""

import datetime
import functools
import math
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmars import clock
from jaxmars.book import Book, apply_order, book_from_levels, l2_snapshot
from jaxmars.config import DAY_SECONDS, MarketConfig, SimConfig
from jaxmars.data.flow import CROWD, Flow, lobster_flow, order_rows
from jaxmars.data.lobster import (
    LobsterData,
    MessageType,
    host_l2,
    nanoseconds,
    read_lobster,
)
from jaxmars.data.lobster_writer import write_lobster
from jaxmars.data.memory import flow_memories
from jaxmars.data.orderflow import host_time
from jaxmars.errors import InputError
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.tasks.lane_plan import LanePlan, plan_lanes
from jaxmars.tasks.sequence_makers import OPENING, Maker, Past
from jaxmars.types import L2, Event, Kind, Order, Status, Trades

MOST_RUNS = 4  # of a sequence, each with twice the events, until it has its messages
REPLAYED = 256  # orders of one compiled call
MOST_FILLS = 16  # resting orders one order meets, for its rows; more make one row
_NAME, _DAY = "X", datetime.date(2000, 1, 1)  # of files that are read at once


class Sequence(NamedTuple):
    """One start. Rows of the record, and of what was made of it."""

    number: int  # of the start
    cond: LobsterData
    real: LobsterData
    gen: LobsterData
    status: int  # bits of Status the generated market raised


def start_rows(
    data: LobsterData,
    begin: tuple[int, int],
    until: tuple[int, int],
    starts: int,
    *,
    num_messages: int,
    num_cond: int,
    needed: int,
) -> np.ndarray:
    """Rows after which sequences start, evenly spaced over the messages of a range of the day.

    A start lies between two messages of different times, so that everything at or before its
    moment is past.

    Args:
      data: the day.
      begin, until: the range, seconds since midnight and nanoseconds; it holds the starts and the
        messages after them.
      starts: how many.
      num_messages: messages after each start.
      num_cond: messages before each start.
      needed: orders that must lie before each start.

    Returns:
      `[starts]` int64, rising.

    Raises:
      InputError: nothing to make, or fewer such rows in the range.
    """
    if min(starts, num_messages, num_cond) < 1:
        raise InputError(
            f"{starts} starts with {num_messages} messages after and {num_cond} before them were "
            "asked for, expected positive numbers"
        )
    stamps = nanoseconds(data.sec, data.nsec)
    visible = np.flatnonzero(data.type <= MessageType.EXECUTION)
    before = np.searchsorted(order_rows(data), visible, "right")
    place = np.arange(num_cond - 1, len(visible) - num_messages)
    now = stamps[visible[place]]
    good = (now >= nanoseconds(*begin)) & (stamps[visible[place + 1]] > now)
    good &= stamps[visible[place + num_messages]] <= nanoseconds(*until)
    good &= before[place] >= needed
    found = visible[place[good]]
    if len(found) < starts:
        raise InputError(
            f"{len(found)} moments of the given time have {num_cond} messages before them "
            f"({needed} orders) and {num_messages} after, expected at least {starts}"
        )
    return found[np.linspace(0, len(found) - 1, starts).round().astype(np.int64)]


def overlaps(data: LobsterData, rows: np.ndarray, num_messages: int) -> int:
    """How many sequences hold messages of the next one too."""
    visible = np.cumsum(data.type <= MessageType.EXECUTION)
    return int((np.diff(visible[rows]) < num_messages).sum())


def generate_sequences(
    data: LobsterData,
    rows: np.ndarray,
    maker: Maker,
    *,
    num_messages: int,
    num_cond: int,
    seed: int,
    cfg: SimConfig,
    watch: Callable[[Pace], None] = lambda pace: None,
    tell: Callable[[LanePlan], object] = lambda plan: None,
) -> list[Sequence]:
    """Runs an agent from moments of a recorded day.

    Args:
      data: the day; books are written with its levels.
      rows: of it, after which to start, from `start_rows`.
      maker: who makes messages.
      num_messages: rows of the real and of the generated continuation.
      num_cond: rows of the record before the start.
      seed: of all draws; sequence i depends on the seed, on i and on its start only.
      cfg: lanes and instrument, with the levels of the record; segment and event budget are
        chosen here.
      watch: called after every segment; starts again for sequences that need a longer run.
      tell: called with how many sequences run side by side, before every run.

    Returns:
      Every start, in order. A generated sequence is shorter than asked for only if its market came
      to rest, or if even `maker.spare * 2 ** (MOST_RUNS - 1)` events per message made too few.

    Raises:
      InputError: other levels than those of the record, too few slots, orders or memory, or a
        start from which nothing happens.
    """
    levels = data.l2.price.shape[2]
    if cfg.market.levels != levels or cfg.market.slots < 2 * levels:
        raise InputError(
            f"the market has {cfg.market.levels} levels and {cfg.market.slots} slots per side, "
            f"expected the {levels} levels of the record and at least {2 * levels} slots"
        )
    starts = starts_of(data, rows, maker, cfg.market)
    waiting, budget = np.arange(len(rows)), math.ceil(maker.spare * num_messages)
    made: dict[int, tuple[LobsterData, int]] = {}
    for _ in range(MOST_RUNS):
        run_cfg = SimConfig(cfg.market, maker.segment, cfg.lanes, budget)
        finished = _run(starts, waiting, maker, seed, run_cfg, watch, tell)
        made |= _as_rows(data, starts.book, finished, run_cfg, num_messages)
        waiting = np.array(
            [t.number for t in finished if _is_short(t, made, run_cfg, num_messages)]
        )
        if not len(waiting):
            break
        budget *= 2
    return [_sequence(data, i, row, *made[i], num_messages, num_cond) for i, row in enumerate(rows)]


def starts_of(data: LobsterData, rows: np.ndarray, maker: Maker, market: MarketConfig) -> Start:
    """Where the sequences begin, leaves `[starts, …]`: the recorded books, one order per level, and
    what the maker remembers."""
    flow = lobster_flow(data)
    done = np.searchsorted(order_rows(data), rows, "right")  # orders before each start
    if done.min() < max(maker.needed, OPENING):
        raise InputError(
            f"a start has {done.min()} orders before it, expected at least "
            f"{max(maker.needed, OPENING)}"
        )
    book = jax.jit(jax.vmap(lambda l2: book_from_levels(l2, market.slots, jnp.int32(CROWD))))
    l2 = host_l2(np.asarray(data.l2.price)[rows], np.asarray(data.l2.size)[rows])
    end = clock.make_time(np.full(len(rows), DAY_SECONDS - 1))
    return Start(
        book=book(l2),
        time=clock.make_time(data.sec[rows], data.nsec[rows]),
        end=end,
        last_price=jnp.asarray(np.asarray(flow.event.last_price)[done - 1]),
        memories=(maker.remember(_past(flow, done, maker.window, market)),),
    )


def _sequence(
    data: LobsterData,
    number: int,
    row: int,
    gen: LobsterData,
    status: int,
    num_messages: int,
    num_cond: int,
) -> Sequence:
    """A start with what the record says before and after it."""
    visible = np.flatnonzero(data.type <= MessageType.EXECUTION)
    here = int(np.searchsorted(visible, row, "right"))
    if len(gen.sec) == num_messages:
        status &= ~Status.EVENT_BUDGET
    return Sequence(
        number=number,
        cond=take_rows(data, visible[here - num_cond : here]),
        real=take_rows(data, visible[here : here + num_messages]),
        gen=gen,
        status=status,
    )


def take_rows(data: LobsterData, rows: np.ndarray | slice) -> LobsterData:
    """These rows of a day."""
    columns = {
        name: getattr(data, name)[rows]
        for name in LobsterData._fields
        if name not in ("l2", "tick", "lot")
    }
    l2 = host_l2(np.asarray(data.l2.price)[rows], np.asarray(data.l2.size)[rows])
    return data._replace(**columns, l2=l2)


def _past(flow: Flow, done: np.ndarray, window: int, market: MarketConfig) -> Past:
    """The last `window` of the first `done` `[starts]` orders, and how the day opened."""
    length = min(window, int(done.max()))
    first = np.maximum(done - length, 0)
    at = first[:, None] + np.arange(length)
    fills_up = at >= done[:, None]
    at = np.where(fills_up, 0, at)
    part = jax.tree.map(lambda x: np.asarray(x)[at], flow)
    event = part.event._replace(kind=np.where(fills_up, Kind.NONE, part.event.kind))
    traded = np.flatnonzero(np.asarray(flow.event.filled))
    price = np.zeros(len(done), np.int32)
    if len(traded):
        price[done > traded[0]] = flow.event.first_price[traded[0]]
    opened = host_time(*(np.full(len(done), x[0]) for x in flow.event.time))
    memory = jax.tree.map(lambda x: x[first], flow_memories(flow, market))
    return Past(Flow(event, part.l2), opened, price, memory)


def _run(
    starts: Start,
    numbers: np.ndarray,
    maker: Maker,
    seed: int,
    cfg: SimConfig,
    watch: Callable[[Pace], None],
    tell: Callable[[LanePlan], object],
) -> list[Finished]:
    """The trajectories of these numbers; number i begins from start i."""
    agents, params = (maker.agent,), (maker.params,)
    plan = plan_lanes(starts, params, agents, cfg)
    tell(plan)
    start_of = numbers.astype(np.int32)
    run = run_lanes(
        seed, numbers, start_of, starts, params, agents=agents, cfg=plan.cfg, watch=watch
    )
    return list(run)


def _is_short(
    trajectory: Finished,
    made: dict[int, tuple[LobsterData, int]],
    cfg: SimConfig,
    num_messages: int,
) -> bool:
    """Whether a longer run would give a sequence the messages it lacks."""
    out_of_budget = trajectory.steps == cfg.max_events
    return out_of_budget and len(made[trajectory.number][0].sec) < num_messages


def _as_rows(
    data: LobsterData, books: Book, finished: list[Finished], cfg: SimConfig, num_messages: int
) -> dict[int, tuple[LobsterData, int]]:
    """The first rows of every trajectory as LOBSTER records them, and its status.

    They go through LOBSTER files and their reader, so that whatever is handed out can be read.
    """
    made = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for trajectory in finished:
            start = jax.tree.map(lambda x, n=trajectory.number: x[n], books)
            if not len(trajectory.events.kind):
                raise InputError(f"sequence {trajectory.number}: nothing happens after its start")
            event, l2 = books_after(start, trajectory.events, cfg.market.levels)
            try:
                pair = write_lobster(folder, _NAME, _DAY, event, l2, data.tick)
            except InputError as error:
                raise InputError(f"sequence {trajectory.number}: {error}") from error
            rows = take_rows(read_lobster(*pair, data.tick), slice(num_messages))
            made[trajectory.number] = rows, trajectory.status
    return made


def books_after(start: Book, event: Event, levels: int) -> tuple[Event, L2]:
    """The book after each event of a trajectory, from its orders.

    Args:
      start: unbatched.
      event: host arrays `[events]` of a market without extra rules.
      levels: of the books.

    Returns:
      The events with the fills of each, at most `MOST_FILLS`, and books `[events, 2, levels]`.
    """
    events, book, found = len(event.kind), start, []
    pad: Any = lambda x: np.pad(np.asarray(x), (0, -events % REPLAYED))
    order = Order(*(pad(getattr(event, name)) for name in Order._fields))
    for first in range(0, events, REPLAYED):
        part = Order(*(x[first : first + REPLAYED] for x in order))
        book, after = _replayed(book, part, levels)
        found.append(jax.device_get(after))
    trades, l2 = jax.tree.map(lambda *x: np.concatenate(x)[:events], *found)
    return event._replace(trades=trades), l2


@functools.partial(jax.jit, static_argnames="levels")
def _replayed(start: Book, orders: Order, levels: int) -> tuple[Book, tuple[Trades, L2]]:
    """The book after orders `[REPLAYED]`; the fills of each, and the levels after each."""

    def step(book: Book, order: Order) -> tuple[Book, tuple[Trades, L2]]:
        book, fills = apply_order(book, order, max_trades=MOST_FILLS)
        return book, (fills.trades, l2_snapshot(book, levels))

    return lax.scan(step, start, orders)
