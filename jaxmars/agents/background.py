"""The order model as the crowd: plan, wait, submit (release `BackgroundAgent`, spec 7.2).

After each order of its own has been carried out the agent plans the next one: type, price, volume
and interval slots from the model, values inside the slots from the bins, the price relative to the
mid of that moment. It waits for the interval and submits, whatever has happened meanwhile.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmars import clock
from jaxmars.agents.base import Agent, Ask, Decision, MarketView, Request, make_request, no_request
from jaxmars.agents.policy import Cache, ContextPolicy, Prefix
from jaxmars.book import NO_KEY, mid_price
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.tokens.bins import TokenTables, encode, sample
from jaxmars.tokens.order import ELAPSED, NUM_TYPES, TYPE_BUY, TYPE_CANCEL, TYPE_SELL
from jaxmars.tokens.window import History, Window, push_event
from jaxmars.types import L2, Event, Kind, Params, Side, Status, Time

HALF_NANO = 500_000_000
KEPT_AGENTS = 32


class BackgroundParams(NamedTuple):
    """Everything traced that the agent needs."""

    model: Params  # of the order model
    tables: TokenTables
    temperature: jax.Array | float  # [] float32, logits are divided by it
    begins: Window | None = None  # what trajectories that begin alike have read, from `share`


class _Ready(NamedTuple):
    """`BackgroundParams` as the compiled loop takes them."""

    net: tuple[nnx.GraphDef, nnx.State]  # the order model with the layers' parameters apart
    tables: TokenTables
    temperature: jax.Array
    prefix: Prefix  # of the context policy


class BackgroundState(NamedTuple):
    """The agent's memory and its plan."""

    history: History
    cache: Cache  # of the context policy; () between segments
    plan: Request  # kind NONE before the first plan
    wake: Time  # when the plan is submitted


@functools.lru_cache(maxsize=KEPT_AGENTS)
def background_agent(
    graphdef: nnx.GraphDef,
    model: OrderModelConfig,
    market: MarketConfig,
    policy: ContextPolicy,
) -> Agent:
    """The crowd driven by an order model; the same agent for the same arguments, so that what was
    compiled for it is found again.

    Its `init` takes a `History` as memory and leaves the context to `refresh`, without which it
    cannot step. A logit that is not finite stops the agent for good and sets `BAD_LOGITS`; an
    elapsed time outside the model's table is clipped and sets `FEATURE_RANGE`.
    """
    latest = model.num_time_rows * model.seconds_per_row

    def prepare(params: BackgroundParams) -> _Ready:
        net = nnx.merge(graphdef, params.model).unstack()
        prefix = () if params.begins is None else policy.share(net, params.begins)
        temperature = jnp.asarray(params.temperature)
        return _Ready(nnx.split(net), params.tables, temperature, prefix)

    def init(
        params: _Ready, key: jax.Array, view: MarketView, memory: History
    ) -> tuple[BackgroundState, Time]:
        del params, key
        return BackgroundState(memory, (), no_request(), view.time), view.time

    def refresh(params: _Ready, state: BackgroundState) -> BackgroundState:
        net = nnx.merge(*params.net)
        window, cache = policy.anchor(net, params.prefix, state.history.window)
        return state._replace(history=state.history._replace(window=window), cache=cache)

    def rest(state: BackgroundState) -> BackgroundState:
        return state._replace(cache=())

    def share(params: BackgroundParams, memory: History) -> BackgroundParams:
        return params._replace(begins=memory.window)

    def recall(state: BackgroundState) -> History:
        return state.history

    def act(
        params: _Ready, key: jax.Array, state: BackgroundState, view: MarketView
    ) -> tuple[BackgroundState, Request]:
        del params
        plan = state.plan
        if model.fitting_cancels:
            plan = fitting_cancel(plan, view.l2, key)
        if model.never_sweeps:
            plan = within_queue(plan, view.l2)
        return state._replace(wake=clock.never()), plan

    def update(
        params: _Ready,
        key: jax.Array,
        state: BackgroundState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        net = nnx.merge(*params.net)
        is_other = event.agent_id != view.agent_id
        history = push_event(
            params.tables, market, state.history, event, view.l2, policy.put, is_other
        )
        hidden, cache = policy.read(net, params.prefix, history.window, state.cache)
        uniforms = jax.random.uniform(key, (7,))
        mid = mid_price(view.l2, view.last_price)
        most = largest_volumes(params.tables, view.l2, mid) if model.never_sweeps else None
        slots, finite = net.head.sample(hidden, uniforms[:4], params.temperature, most)
        plan, gap = decode_order(params.tables, slots, uniforms[4:], mid)
        due = clock.choose(finite, clock.plus(view.time, gap), clock.never())
        wake = clock.choose(is_done, due, state.wake)
        plan = jax.tree.map(lambda new, old: jnp.where(is_done, new, old), plan, state.plan)
        row = history.window.rows[jnp.maximum(history.window.count - 1, 0)]
        outside = (row[ELAPSED] < 0) | (row[ELAPSED] >= latest)
        status = jnp.where(finite | ~is_done, 0, jnp.int32(Status.BAD_LOGITS)) | jnp.where(
            outside, jnp.int32(Status.FEATURE_RANGE), 0
        )
        return Decision(BackgroundState(history, cache, plan, wake), wake, status)

    opening = policy.opening and background_agent(graphdef, model, market, policy.opening)
    return Agent(
        init, act, update, refresh, prepare, rest=rest, share=share, recall=recall, opening=opening
    )


def fitting_cancel(request: Request, l2: L2, key: jax.Array) -> Request:
    """A cancel moved to the nearest price in sight where as many shares rest as it takes out.

    Where nowhere as many rest it stays; one beyond what is in sight looks for a single order of its
    size (`Ask.CANCEL_FITTING`). Other requests stay as they are.

    Args:
      request: `[]` leaves.
      l2: snapshot of the book.
      key: of the coin for a tie between the sides.
    """
    cancel, used = request.kind == Kind.CANCEL, l2.size > 0
    inside = (jnp.where(used, l2.price, NO_KEY).min() <= request.price) & (
        request.price <= jnp.where(used, l2.price, 0).max()
    )
    second = jnp.arange(2)[:, None] == jax.random.bernoulli(key)
    rank = 2 * jnp.abs(l2.price - request.price) + second
    fits = used & (l2.size >= request.size)
    nearest = l2.price.reshape(-1)[jnp.where(fits, rank, NO_KEY).argmin()]
    return request._replace(
        kind=jnp.where(cancel & ~inside, Ask.CANCEL_FITTING, request.kind),
        price=jnp.where(cancel & inside & fits.any(), nearest, request.price),
    )


def largest_volumes(tables: TokenTables, l2: L2, mid: jax.Array) -> jax.Array:
    """The largest volume slots of orders that take no more than rests at the best price they meet,
    `[types, prices]` int32.

    A price slot that only in part meets the best price is not limited, and the last one within the
    limit may hold larger sizes too: `within_queue` sees to these.

    Args:
      tables: the model's bins.
      l2: snapshot of the book.
      mid: `[]` int32, ticks.
    """
    edge, volumes = tables.price_level.edge_whole, tables.pred_order_volume
    lowest, highest = mid + edge[:-1] + 1, mid + edge[1:]
    last = volumes.value_whole.shape[0] - 1

    def limit(side: Side, meets: jax.Array) -> jax.Array:
        queue = l2.size[side, 0]
        return jnp.where(meets & (queue > 0), encode(volumes, queue, jnp.zeros_like(queue)), last)

    buys = limit(Side.SELL, lowest >= l2.price[Side.SELL, 0])
    sells = limit(Side.BUY, highest <= l2.price[Side.BUY, 0])
    rows = {TYPE_BUY: buys, TYPE_SELL: sells, TYPE_CANCEL: jnp.full_like(buys, last)}
    return jnp.stack([rows[kind] for kind in range(NUM_TYPES)])


def within_queue(request: Request, l2: L2) -> Request:
    """A limit order of at most what rests at the best price, if it meets that; others as they are.

    Args:
      request: `[]` leaves.
      l2: snapshot of the book.
    """
    other = 1 - request.side
    best, queue = l2.price[other, 0], l2.size[other, 0]
    meets = jnp.where(request.side == Side.BUY, request.price >= best, request.price <= best)
    trades = (request.kind == Kind.LIMIT) & (queue > 0) & meets
    return request._replace(size=jnp.where(trades, jnp.minimum(request.size, queue), request.size))


def decode_order(
    tables: TokenTables, slots: jax.Array, uniforms: jax.Array, mid: jax.Array
) -> tuple[Request, Time]:
    """An order and the wait before it from model slots.

    Args:
      tables: the model's bins.
      slots: `[4]` int32 (type, price, volume, interval).
      uniforms: `[3]` float32 for the values inside price, volume and interval bins.
      mid: `[]` int32, ticks.

    Returns:
      The request and the wait. Price and size are rounded to the nearest integer, half to even.
    """
    kind, price, volume, interval = slots
    offset = _rounded(*sample(tables.price_level, price, uniforms[0]))
    size = _rounded(*sample(tables.pred_order_volume, volume, uniforms[1]))
    wait = Time(*sample(tables.order_interval, interval, uniforms[2]))
    request = make_request(
        kind=jnp.where(kind == TYPE_CANCEL, Kind.CANCEL, Kind.LIMIT),
        side=jnp.where(kind == TYPE_SELL, Side.SELL, Side.BUY),
        price=mid + offset,
        size=size,
    )
    return request, wait


def _rounded(whole: jax.Array, nano: jax.Array) -> jax.Array:
    """whole + nano * 1e-9 to the nearest integer, ties to even."""
    up = (nano > HALF_NANO) | ((nano == HALF_NANO) & (whole % 2 == 1))
    return whole + up
