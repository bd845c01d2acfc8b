"""Small markets, bins and models that several tests share."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import clock
from jaxmars.agents.base import (
    Agent,
    Decision,
    MarketView,
    Request,
    as_they_are,
    decide,
    keep,
    make_request,
)
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.book import Book, apply_order, init_book, l2_snapshot
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.models import OrderModel
from jaxmars.models.order_model import shape_of
from jaxmars.sim.rollout import record
from jaxmars.sim.state import init_market
from jaxmars.tokens.bins import BinConverter, Converters
from jaxmars.tokens.order import NUM_FEATURES
from jaxmars.tokens.summary import init_memory
from jaxmars.tokens.window import History, history_of, memories
from jaxmars.types import L2, Event, Kind, Order, Params, Side, Time

OPEN = 34_200  # seconds, 09:30
PRICE = 1_000  # ticks
LEVELS = 10
PAST_EVENTS = 100
STD = 0.15  # of the weights of a loud model
NANO = 10**9

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Compiles a program that runs once in nearly half the time."""


def bins_of(edges: Sequence[float]) -> BinConverter:
    """Bins that decode to their upper edge."""
    uppers = [np.array([edge], np.float64) for edge in edges[1:]]
    return BinConverter.from_arrays(np.array(edges), uppers, [np.ones(1)] * len(uppers))


def tiny_converters() -> Converters:
    """Bins for `OrderModelConfig.tiny()`: a lively market around the mid."""
    sizes = bins_of(range(0, 900, 100))
    return Converters(
        price_level=bins_of(range(-4, 5)),
        order_volume=sizes,
        pred_order_volume=sizes,
        order_interval=bins_of([-1, 0, 0.3, 0.7, 1.5]),
        lob_volume=bins_of([0, 100, 200, 400, 700, 1100, 1600, 2500, 4000]),
    )


def loud_model(cfg: OrderModelConfig, seed: int = 1) -> OrderModel:
    """A random model whose every weight changes the output."""
    graphdef, template = shape_of(cfg)
    rng = np.random.default_rng(seed)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        mean = 1.0 if "norm" in jax.tree_util.keystr(path) else 0.0
        return jnp.asarray(rng.normal(mean, STD, leaf.shape), jnp.float32)

    params = jax.tree_util.tree_map_with_path(fill, template)
    return OrderModel(cfg, graphdef, params, tiny_converters())


def replay(slots: int, times: Time, orders: Order) -> tuple[Event, L2]:
    """Sends stacked orders `[T]` through an empty book."""

    def one(carry: tuple, item: tuple[Time, Order]) -> tuple:
        book, last = carry
        time, order = item
        book, fills = apply_order(book, order)
        l2 = l2_snapshot(book, LEVELS)
        last = jnp.where(fills.filled > 0, fills.last_price, last)
        event = Event(
            time=time,
            kind=order.kind,
            side=order.side,
            price=fills.price,
            size=order.size,
            order_id=order.order_id,
            agent_id=order.agent_id,
            filled=fills.filled,
            first_price=fills.first_price,
            last_price=last,
            best_bid=l2.price[0, 0],
            best_ask=l2.price[1, 0],
            status=fills.status,
            trades=fills.trades,
        )
        return (book, last), (event, l2)

    return jax.lax.scan(one, (init_book(slots), jnp.int32(0)), (times, orders))[1]


def time_of(nanoseconds: np.ndarray) -> Time:
    """A stacked `Time` from nanoseconds since midnight."""
    sec, nsec = np.divmod(np.asarray(nanoseconds, np.int64), NANO)
    return Time(jnp.asarray(sec, jnp.int32), jnp.asarray(nsec, jnp.int32))


def wild_orders(rng: np.random.Generator, count: int, start: int) -> tuple[Time, Order]:
    """Orders of three owners with many equal times, cancels in a row, and bad ones among them.

    Args:
      rng: source of everything.
      count: number of orders.
      start: nanoseconds since midnight of the first.
    """
    rows: list[list[int]] = []
    now, times = start, []
    base = int(rng.integers(500, 2_000))
    for i in range(count):
        again = rows and rows[-1][0] == Kind.CANCEL and rng.random() < 0.5
        now += 0 if again or rng.random() < 0.3 else int(rng.exponential(1.2) * NANO) + 1
        kind = rng.choice([Kind.NONE, Kind.LIMIT, Kind.CANCEL], p=[0.05, 0.65, 0.3])
        row = [
            int(kind),
            int(rng.integers(0, 2)),
            base + int(rng.integers(-4, 5)) + i // 100,
            int(rng.choice([0, 100, 300, 900, 1_900], p=[0.02, 0.3, 0.3, 0.3, 0.08])),
            i,
            int(rng.integers(0, 3)),
        ]
        known = [r for r in rows[-15:] if r[0] == Kind.LIMIT]
        if again or (kind == Kind.CANCEL and known):
            name = rows[-1] if again else known[int(rng.integers(0, len(known)))]
            row = [int(Kind.CANCEL), name[1], 0, int(rng.choice([50, 100])), name[4], name[5]]
        times.append(now)
        rows.append(row)
    return time_of(np.array(times)), Order(*jnp.asarray(rows, jnp.int32).T)


class Script(NamedTuple):
    """What a scripted agent does: wake-ups in seconds and a request at each."""

    wake: jax.Array  # [n] int32, seconds; the agent stops after the last
    request: Request  # [n]


class ScriptState(NamedTuple):
    """Where in its script an agent is."""

    turn: jax.Array  # [] int32
    wake: Time


def script(*steps: tuple[int, int, int, int, int]) -> Script:
    """A script from (second, kind, side, price, size)."""
    wake, *request = jnp.asarray(steps, jnp.int32).T
    return Script(wake, make_request(*request))


def scripted_agent() -> Agent:
    """An agent that does what its parameters, a `Script`, say."""

    def wake_at(params: Script, turn: jax.Array) -> Time:
        last = params.wake.shape[0] - 1
        return clock.choose(
            turn <= last, clock.make_time(params.wake[jnp.minimum(turn, last)]), clock.never()
        )

    def init(
        params: Script, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[ScriptState, Time]:
        turn = jnp.zeros((), jnp.int32)
        wake = wake_at(params, turn)
        return ScriptState(turn, wake), wake

    def act(
        params: Script, key: jax.Array, state: ScriptState, view: MarketView
    ) -> tuple[ScriptState, Request]:
        return state, jax.tree.map(lambda x: x[state.turn], params.request)

    def update(
        params: Script,
        key: jax.Array,
        state: ScriptState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        turn = state.turn + is_done
        wake = wake_at(params, turn)
        return decide(ScriptState(turn, wake), wake)

    return Agent(init, act, update, keep, as_they_are)


def limit(second: int, side: Side, price: int, size: int) -> tuple[int, int, int, int, int]:
    """One step of a script: a limit order."""
    return second, Kind.LIMIT, side, price, size


def cancel(second: int, price: int, size: int) -> tuple[int, int, int, int, int]:
    """One step of a script: a cancel of own orders nearest to a price."""
    return second, Kind.CANCEL, Side.BUY, price, size


def nothing(second: int) -> tuple[int, int, int, int, int]:
    """One step of a script: a wake-up without an order."""
    return second, Kind.NONE, Side.BUY, 0, 0


def rows_equal(a: Params, b: Params) -> bool:
    """Whether two pytrees of arrays are equal bit for bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in ((np.asarray(x), np.asarray(y)) for x, y in pairs)
    )


def same_history(a: History, b: History) -> bool:
    """Equal bit for bit, but for the memory, whose sums another program may round otherwise."""
    memories_agree = all(
        np.allclose(x, y, rtol=1e-5)
        for x, y in zip(a.features.memory[3:], b.features.memory[3:], strict=True)
    )
    gap = np.abs(np.asarray(a.window.rows) - np.asarray(b.window.rows))
    exact = lambda x: (x.features._replace(memory=x.features.memory[:3]), x.window.count)
    return (
        rows_equal(exact(a), exact(b))
        and memories_agree
        and not gap[:, :NUM_FEATURES].any()
        and bool((gap <= 1).all())
    )


class Past(NamedTuple):
    """A market's first orders, all agent 0's, and what they left behind. One step per event."""

    events: Event  # [PAST_EVENTS]
    snapshots: L2  # [PAST_EVENTS, 2, LEVELS]
    book: Book
    time: Time
    last_price: jax.Array  # [] int32, ticks


def noise_past(cfg: MarketConfig) -> Past:
    """The first `PAST_EVENTS` events of a noise agent in an empty book (host arrays)."""
    start, end = clock.make_time(OPEN), clock.make_time(OPEN + 3_600)
    agents = (noise_agent(start, end),)
    params = (NoiseParams(PRICE, 1.0),)

    def run(key: jax.Array) -> Past:
        market = init_market(
            key,
            params,
            init_book(cfg.slots),
            start,
            end,
            jnp.int32(0),
            (None,),
            agents=agents,
            cfg=cfg,
        )
        market, (events, snapshots) = record(
            key, market, params, agents=agents, cfg=cfg, num_events=PAST_EVENTS
        )
        return Past(events, snapshots, market.book, market.time, market.last_price)

    return quick_jit(run)(jax.random.key(11))


def history_after(past: Past, window: int, cfg: MarketConfig) -> History:
    """What a model of `window` orders knows after a past that began at the open."""
    open_time = jax.tree.map(lambda x: x[0], past.events.time)

    def build(past: Past) -> History:
        tables = tiny_converters().tables()
        flow = past.events, past.snapshots
        memory = jax.tree.map(lambda x: x[0], memories(cfg, init_memory(), *flow))
        return history_of(tables, cfg, window, *flow, open_time, jnp.int32(0), memory)

    return quick_jit(build)(past)
