"""One market, one step, one event."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars import clock
from jaxmars.agents.base import Agent, AgentState, MarketView, Request, no_request
from jaxmars.book import (
    NO_KEY,
    Book,
    apply_order,
    l2_snapshot,
)
from jaxmars.config import MarketConfig
from jaxmars.types import L2, Event, Kind, Order, Params, Status, Time

FIRST_ORDER_ID = 1_000_000_000  # the release numbers generated orders from here; so do we, or after
# the largest id in the start book
START_DRAWS = 2**32 - 1  # folded into a key where steps fold in their number


class MarketState(NamedTuple):
    """One trajectory: the exchange, its clock and its agents."""

    book: Book
    l2: L2  # snapshot of `book`
    time: Time  # of the last event
    end: Time  # agents that would wake after it do not act any more
    last_price: jax.Array  # [] int32, ticks of the last trade, 0 before any
    order_id: jax.Array  # [] int32, id of the next order
    pending: Request  # rest of a request that takes several orders; kind NONE if there is none
    actor: jax.Array  # [] int32, agent the pending request belongs to
    wake: Time  # [agents] each agent's next wake-up
    queued: jax.Array  # [agents] int32, step at which that wake-up was queued
    step: jax.Array  # [] int32, steps taken
    done: jax.Array  # [] bool, nothing will happen any more
    status: jax.Array  # [] int32, bits of Status raised so far
    agents: tuple[AgentState, ...]


def init_market(
    key: jax.Array,
    params: tuple[Params, ...],
    book: Book,
    time: Time,
    end: Time,
    last_price: jax.Array,
    memories: tuple[Any, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
) -> MarketState:
    """A market at `time` whose agents see `book` and get ids 0, 1, … in the order given.

    Args:
      key: may be the one `step` gets; what is drawn here is apart from the draws of every step.
      params: one pytree per agent.
      book: resting orders.
      time: start.
      end: last moment at which an agent acts.
      last_price: `[]` int32 ticks of the last trade, 0 if none.
      memories: what each agent knows of the time before (None for most).
      agents: who trades.
      cfg: the instrument.
    """
    params = prepare(params, agents)
    l2 = l2_snapshot(book, cfg.levels)
    keys = jax.random.split(jax.random.fold_in(key, START_DRAWS), len(agents))
    states, wakes = [], []
    for i, agent in enumerate(agents):
        view = MarketView(time, book, l2, last_price, jnp.int32(i))
        state, wake = agent.init(params[i], keys[i], view, memories[i])
        states.append(state)
        wakes.append(_not_before(time, wake))
    zero = jnp.zeros((), jnp.int32)
    return MarketState(
        book=book,
        l2=l2,
        time=time,
        end=end,
        last_price=last_price,
        order_id=jnp.maximum(FIRST_ORDER_ID, book.order_id.max() + 1),
        pending=no_request(),
        actor=zero,
        wake=jax.tree.map(lambda *x: jnp.stack(x), *wakes),
        queued=jnp.zeros(len(agents), jnp.int32),
        step=zero,
        done=jnp.zeros((), bool),
        status=zero,
        agents=tuple(states),
    )


def prepare(params: tuple[Params, ...], agents: tuple[Agent, ...]) -> tuple[Params, ...]:
    """Every agent's params as `step` takes them; call it once, outside a loop over `step`."""
    return tuple(agent.prepare(p) for agent, p in zip(agents, params, strict=True))


def step(
    key: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
) -> tuple[MarketState, Event]:
    """Advances one trajectory by one event.

    The earliest wake-up acts (ties: the one queued first, spec section 6); its request is executed
    before anybody else wakes, one order per step; then every agent updates. A wake-up an agent asks
    for in the past happens at once. A market that is done returns itself, except for what its
    agents make of an event of kind NONE.

    Args:
      key: one key per trajectory; draws of step n depend on it and on n only.
      market: the state.
      params: one pytree per agent, from `prepare`.
      agents: the same tuple at every step.
      cfg: the instrument.
    """
    step_key = jax.random.fold_in(key, market.step)
    choice_key, *agent_keys = jax.random.split(step_key, 1 + 2 * len(agents))
    act_keys, update_keys = agent_keys[: len(agents)], agent_keys[len(agents) :]
    continued = market.pending.kind != Kind.NONE
    actor, wake = _earliest(market)
    actor = jnp.where(continued, market.actor, actor)
    now = clock.choose(continued, market.time, wake)
    done = market.done | clock.earlier(market.end, now)
    now = clock.choose(done, market.time, now)

    request = market.pending
    for i, agent in enumerate(agents):
        view = MarketView(now, market.book, market.l2, market.last_price, jnp.int32(i))
        wish = agent.act(params[i], act_keys[i], market.agents[i], view)
        request = _select((actor == i) & ~continued, wish, request)
    request = _select(done, no_request(), request)

    order, pending, missed = resolve(market.book, request, actor, market.order_id, choice_key)
    book, fills = apply_order(market.book, order, max_trades=cfg.max_trades)
    l2 = l2_snapshot(book, cfg.levels)
    last_price = jnp.where(fills.filled > 0, fills.last_price, market.last_price)
    status = fills.status | missed
    event = Event(
        time=now,
        kind=order.kind,
        side=order.side,
        price=jnp.where(order.kind == Kind.MARKET, fills.last_price, fills.price),
        size=order.size,
        order_id=order.order_id,
        agent_id=actor,
        filled=fills.filled,
        first_price=fills.first_price,
        last_price=last_price,
        best_bid=l2.price[0, 0],
        best_ask=l2.price[1, 0],
        status=status,
        trades=fills.trades,
    )
    market = market._replace(
        book=book,
        l2=l2,
        time=now,
        last_price=last_price,
        order_id=market.order_id + (order.kind != Kind.NONE),
        pending=pending,
        actor=actor,
        step=market.step + ~done,
        done=done,
        status=market.status | status,
    )
    market, trouble = _update(market, params, update_keys, event, agents)
    return market, event._replace(status=event.status | trouble)


def _earliest(market: MarketState) -> tuple[jax.Array, Time]:
    """The agent whose wake-up comes first, and when."""
    sec, nsec, queued = market.wake.sec, market.wake.nsec, market.queued
    first = sec == sec.min()
    first &= nsec == jnp.where(first, nsec, clock.NANOS).min()
    actor = jnp.argmin(jnp.where(first, queued, NO_KEY)).astype(jnp.int32)
    return actor, Time(sec[actor], nsec[actor])


def _update(
    market: MarketState,
    params: tuple[Params, ...],
    keys: list[jax.Array],
    event: Event,
    agents: tuple[Agent, ...],
) -> tuple[MarketState, jax.Array]:
    """Lets every agent see the event and queue its next wake-up. A market that is done keeps its
    wake-ups; its agents see events of kind NONE that are not theirs."""
    finished = ~market.done & (market.pending.kind == Kind.NONE)
    states, wakes = [], []
    trouble = jnp.zeros((), jnp.int32)
    for i, agent in enumerate(agents):
        view = MarketView(market.time, market.book, market.l2, market.last_price, jnp.int32(i))
        is_done = finished & (market.actor == i)
        decision = agent.update(params[i], keys[i], market.agents[i], view, event, is_done)
        old = Time(market.wake.sec[i], market.wake.nsec[i])
        states.append(decision.state)
        wakes.append(clock.choose(market.done, old, _not_before(market.time, decision.wake)))
        trouble |= jnp.where(market.done, 0, decision.status)
    wake = jax.tree.map(lambda *x: jnp.stack(x), *wakes)
    acted = ~market.done & (jnp.arange(len(agents)) == market.actor)
    moved = ~clock.same(wake, market.wake) | acted
    market = market._replace(
        agents=tuple(states),
        wake=wake,
        queued=jnp.where(moved, market.step, market.queued),
        status=market.status | trouble,
    )
    return market, trouble


def _not_before(now: Time, wake: Time) -> Time:
    return clock.choose(clock.earlier(wake, now), now, wake)


def _select(condition: jax.Array, a: Request, b: Request) -> Request:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def resolve(
    book: Book, request: Request, agent_id: jax.Array, order_id: jax.Array, key: jax.Array
) -> tuple[Order, Request, jax.Array]:
    """Turns a request into one order and the rest of the request.

    A cancel takes the agent's resting price nearest to the one asked for (a tie of one price above
    and one below is decided by a coin) and cancels its oldest order there, at most the size asked
    for; the rest of the size goes on to the next order at that price, in the next step. Without a
    resting order there is no order at all and `NOTHING_TO_CANCEL` is set (spec 6.2).

    Returns:
      The order, the rest of the request (kind NONE if it is complete), status bits.
    """
    cancel = request.kind == Kind.CANCEL
    own = (book.size > 0) & (book.agent_id == agent_id)
    price = jnp.abs(book.key)
    far = jnp.where(own, jnp.abs(price - request.price), NO_KEY)
    nearest = far.min()
    coin = jnp.where(jax.random.bernoulli(key), 1, -1)
    tie = jnp.where(own & (far == nearest), coin * (price - request.price), NO_KEY).min()
    level = own & (price == request.price + coin * tie)
    rank = jnp.where(level, book.ahead, NO_KEY)
    target = level & (rank == rank.min())
    volume, size, target_id, side = lax.reduce(
        (
            jnp.where(level, book.size, 0),
            jnp.where(target, book.size, 0),
            jnp.where(target, book.order_id, 0),
            jnp.where(target, jnp.arange(2, dtype=jnp.int32)[:, None], 0),
        ),
        (jnp.int32(0),) * 4,
        lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)),
        (0, 1),
    )
    missing = cancel & (nearest == NO_KEY)
    removed = jnp.minimum(size, request.size)
    order = Order(
        kind=jnp.where(missing, Kind.NONE, request.kind),
        side=jnp.where(cancel, side, request.side),
        price=request.price,
        size=jnp.where(cancel, removed, request.size),
        order_id=jnp.where(cancel, target_id, order_id),
        agent_id=agent_id,
    )
    left = jnp.minimum(request.size, volume) - removed
    more = cancel & ~missing & (left > 0)
    rest = Request(
        kind=jnp.where(more, Kind.CANCEL, Kind.NONE),
        side=side,
        price=request.price + coin * tie,
        size=left,
    )
    status = jnp.where(missing, jnp.int32(Status.NOTHING_TO_CANCEL), 0)
    return order, _select(more, rest, no_request()), status
