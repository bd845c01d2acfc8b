"""Warm moments of the reference market from which it, and a model, go on.

A comparison of a model with its generator is fair from one state only: the same book, the same
orders before it and, for the generator, its own hidden state at that moment.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import clock
from jaxmars.agents.base import Agent, MarketView
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.reference_plan import draw_plan
from jaxmars.agents.reference_state import ReferenceState
from jaxmars.book import Book
from jaxmars.config import MarketConfig
from jaxmars.data.flow import Flow, slice_flow
from jaxmars.data.memory import flow_memories
from jaxmars.data.start import event_mid
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Start, trajectory_keys
from jaxmars.sim.reference_market import OPEN_SEC, WARM_UP_SECONDS, open_session
from jaxmars.sim.rollout import record
from jaxmars.tokens.summary import Memory
from jaxmars.tokens.window import History, history_of
from jaxmars.types import Kind, Time

WARM_SALT = 7_777  # warm sessions have keys of their own
TOGETHER = 64  # sessions warmed up in one batch
CHUNK = 1024  # events per compiled call
KEPT_ORDERS = 1_200  # before the moment: the longest window of a built-in model, merged cancels


class Warm(NamedTuple):
    """Sessions of the reference market after a warm-up. Host arrays, leading axis `[starts]`."""

    sec: np.ndarray  # [starts] int32, seconds since midnight
    book: Book
    last_price: np.ndarray  # [starts] int32, ticks
    mid: np.ndarray  # [starts] float64, ticks
    hidden: ReferenceState
    flow: Flow  # [starts, KEPT_ORDERS] last orders; kind NONE after the last one if there are fewer
    open_time: Time  # [starts] of the first order
    open_price: np.ndarray  # [starts] int32, ticks of the first trade
    memory: Memory  # [starts], up to the first order of each flow, which included


def warm_starts(
    seed: int,
    count: int,
    market: MarketConfig,
    params: ReferenceParams,
    seconds: int = WARM_UP_SECONDS,
) -> Warm:
    """Sessions from an opening book each, run for the warm-up.

    Args:
      seed: session i depends on the seed and on i only.
      count: sessions.
      market: the instrument.
      params: of the reference market.
      seconds: length of the warm-up.
    """
    parts = []
    for first in range(0, count, TOGETHER):
        indices = np.arange(first, min(first + TOGETHER, count))
        keys = trajectory_keys(seed + WARM_SALT, indices)
        parts += _warm_up(keys, market, params, OPEN_SEC + seconds)
    return jax.tree.map(lambda *x: np.stack(x), *parts)


def _warm_up(
    keys: jax.Array, market: MarketConfig, params: ReferenceParams, until: int
) -> list[Warm]:
    """One batch of sessions. Sessions differ a lot in their number of events, so the batch is
    halved as soon as half of it is done."""
    agents = (reference_agent(market.lot_size),)
    one = functools.partial(record, agents=agents, cfg=market, num_events=CHUNK)
    run = jax.jit(jax.vmap(lambda key, session: one(key, session, (params,))))
    sessions = jax.jit(jax.vmap(lambda key: open_session(key, params, market)))(keys)
    end = jax.tree.map(lambda x: jnp.broadcast_to(x, keys.shape), clock.make_time(until))
    sessions = sessions._replace(end=end)
    row: Any = np.arange(len(keys))
    parts: list[list[Flow]] = [[] for _ in row]
    ended: dict[int, Any] = {}
    while len(ended) < len(parts):
        sessions, flow = run(keys, sessions)
        flow = Flow(*jax.tree.map(np.asarray, flow))
        done = np.asarray(sessions.done)
        for i, number in enumerate(row):
            if number not in ended:
                parts[number].append(jax.tree.map(lambda x, i=i: x[i], flow))
                if done[i]:
                    kept = (sessions.book, sessions.last_price, sessions.agents[0])
                    ended[number] = jax.device_get(jax.tree.map(lambda x, i=i: x[i], kept))
        while len(row) > 1 and 2 * (~done).sum() <= len(row):
            stay = np.argsort(done, kind="stable")[: -(-len(row) // 2)]
            row, done = row[stay], done[stay]
            keys, sessions = jax.tree.map(lambda x, stay=stay: x[stay], (keys, sessions))
    whole = [jax.tree.map(lambda *x: np.concatenate(x), *own) for own in parts]
    return [_warm(until, ended[i], flow, market) for i, flow in enumerate(whole)]


def _warm(
    sec: int,
    ended: tuple[Book, np.ndarray, ReferenceState],
    flow: Flow,
    market: MarketConfig,
) -> Warm:
    """One session at the end of its warm-up, without the axis of sessions.

    Raises:
      InputError: a session in which nothing traded.
    """
    book, last_price, hidden = ended
    real = np.flatnonzero(flow.event.kind != Kind.NONE)
    flow = jax.tree.map(lambda x: x[real], flow)
    if last_price <= 0:
        raise InputError("a session traded nothing in its warm-up, expected a longer one")
    traded = np.flatnonzero(flow.event.filled)[0]
    number = len(real)
    first = max(number - KEPT_ORDERS, 0)
    return Warm(
        sec=np.array(sec, np.int32),
        book=book,
        last_price=last_price,
        mid=event_mid(jax.tree.map(lambda x: x[-1], flow.event)),
        hidden=hidden,
        flow=_padded(slice_flow(flow, first, number)),
        open_time=Time(flow.event.time.sec[0], flow.event.time.nsec[0]),
        open_price=np.asarray(flow.event.first_price)[traded],
        memory=jax.tree.map(lambda x: x[first], flow_memories(flow, market)),
    )


def _padded(flow: Flow) -> Flow:
    """As many rows as every flow has; those added are of kind NONE and change no history."""
    missing = KEPT_ORDERS - len(flow.event.kind)
    longer = lambda x: np.pad(x, [(0, missing)] + [(0, 0)] * (np.ndim(x) - 1))
    return jax.tree.map(longer, flow)


def generator_start(warm: Warm, seconds: int, others: int) -> Start:
    """Where the generator goes on from, for `resumed_agent` as agent 0.

    Args:
      warm: the moments.
      seconds: for how long.
      others: agents besides it, without a memory.
    """
    return _start(warm, seconds, (jax.tree.map(jnp.asarray, warm.hidden), *[None] * others))


def model_start(
    warm: Warm, model: OrderModel, market: MarketConfig, needed: int, seconds: int, others: int
) -> Start:
    """Where an order model goes on from, as agent 0; arguments as of `generator_start`.

    Args:
      warm: the moments.
      model: with converters.
      market: the instrument.
      needed: orders that its context needs.
      seconds: for how long.
      others: agents besides it, without a memory.

    Raises:
      InputError: a session with fewer orders.
    """
    histories = start_histories(warm, model, market)
    fewest = int(histories.window.count.min())
    if fewest < needed - 1:
        raise InputError(
            f"a warm start has {fewest} orders before it, expected at least {needed - 1} for this "
            "model"
        )
    return _start(warm, seconds, (histories, *[None] * others))


def start_histories(warm: Warm, model: OrderModel, market: MarketConfig) -> History:
    """What the model knows at each moment, `[starts]`."""
    tables, window = model.tables(), model.config.num_max_orders
    build = functools.partial(history_of, tables, market, window)
    return jax.jit(jax.vmap(build))(*warm.flow, warm.open_time, warm.open_price, warm.memory)


def _start(warm: Warm, seconds: int, memories: tuple[Any, ...]) -> Start:
    return Start(
        book=jax.tree.map(jnp.asarray, warm.book),
        time=clock.make_time(warm.sec),
        end=clock.make_time(warm.sec + seconds),
        last_price=jnp.asarray(warm.last_price),
        memories=memories,
    )


def resumed_agent(lot: int) -> Agent:
    """The reference market that goes on from a hidden state given as its memory.

    What it would do next is drawn anew: rates are constant since the last event and waiting times
    have no memory, so nothing changes in distribution.
    """

    def init(
        params: ReferenceParams, key: jax.Array, view: MarketView, memory: ReferenceState
    ) -> tuple[ReferenceState, Time]:
        plan = draw_plan(params, key, memory, view, lot)
        return memory._replace(plan=plan), plan.due

    return reference_agent(lot)._replace(init=init)
