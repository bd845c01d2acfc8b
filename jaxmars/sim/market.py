"""One market, one step, one event.

What happens in which order (release, spec section 6):

| at one moment | order |
|---|---|
| the rest of a line of requests | first: nothing comes between the orders of one line |
| requests that arrive after their latency | in the order they were sent, before any wake-up |
| wake-ups | in the order they were queued |
| the end of a call auction | after everything of its moment, so that all of it is collected |

An order that arrives outside every phase of the calendar is reported (`OUT_OF_SESSION`) and
ignored. Wake-ups are put off over breaks (`calendar.skip_breaks`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import calendar, clock
from jaxmars.agents.base import Agent, Request, choose_request
from jaxmars.book import (
    NO_KEY,
    execute,
    execute_uncross,
    l2_snapshot,
    rejected,
)
from jaxmars.config import MarketConfig, SelfTrade
from jaxmars.sim import requests as lines
from jaxmars.sim.flight import land, next_landing, send
from jaxmars.sim.rarely import rarely
from jaxmars.sim.state import MarketState, queue_wake, row, view_of
from jaxmars.types import REJECTING, Event, Fills, Kind, Order, Params, Status, Time

EXCHANGE = -1  # agent id of events nobody asked for: the trade of a call auction

Recorder = Callable[[Any, Event], Any]


def no_recorder(record: Any, event: Event) -> Any:
    """Keeps nothing."""
    del event
    return record


class _Turn(NamedTuple):
    """What a step is for; at most one of the flags is True."""

    now: Time
    actor: jax.Array  # [] int32
    place: jax.Array  # [] int32, of what arrives
    wakes: jax.Array  # [] bool, the actor acts
    lands: jax.Array  # [] bool, a request of the actor arrives
    uncrosses: jax.Array  # [] bool, a call auction ends
    done: jax.Array  # [] bool, nothing is left to happen


def step(
    key: jax.Array,
    market: MarketState,
    params: tuple[Params, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
    recorder: Recorder = no_recorder,
) -> tuple[MarketState, Event]:
    """Advances one trajectory by one event.

    What is due next (table above) happens: an order of a line of requests is executed, or a call
    auction is uncrossed; then every agent updates. A wake-up an agent asks for in the past happens
    at once. A market that is done returns itself, except for what its agents and its recorder make
    of an event of kind NONE.

    Args:
      key: one key per trajectory; draws of step n depend on it and on n only.
      market: the state.
      params: one pytree per agent, from `prepare`.
      agents: the same tuple at every step.
      cfg: the instrument.
      recorder: `(record, event) -> record`, rides along in `MarketState.record`.
    """
    step_key = jax.random.fold_in(key, market.step)
    choice_key, *agent_keys = jax.random.split(step_key, 1 + 2 * len(agents))
    act_keys, update_keys = agent_keys[: len(agents)], agent_keys[len(agents) :]

    turn = _next_turn(market, cfg)
    market, requests = _act(market, params, act_keys, turn, agents, cfg)
    market, requests, sent, lost = _dispatch(market, requests, turn, cfg)
    modifies = any(agent.modifies for agent in agents)
    order, pending, missed, replaces = lines.next_order(
        market.book, requests, turn.actor, market.order_id, choice_key, modifies
    )
    refusal = jnp.int32(Status.OK)
    if modifies:
        order, pending, refusal = _try_change(market, order, pending, replaces, turn, cfg)
    market, fills = _execute(market, order, refusal, turn, cfg)
    event = _event(market, order, fills, turn, missed | lost | _stopped(fills, cfg))
    market = market._replace(
        time=turn.now,
        order_id=market.order_id + (order.kind != Kind.NONE),
        pending=pending,
        actor=turn.actor,
        step=market.step + ~turn.done,
        done=turn.done,
        status=market.status | event.status,
    )
    complete = ~turn.done & ~turn.uncrosses & ~sent & ~lines.is_pending(pending)
    market, trouble = _update(market, params, update_keys, event, turn, complete, agents, cfg)
    event = event._replace(status=event.status | trouble)
    return market._replace(record=recorder(market.record, event)), event


def _next_turn(market: MarketState, cfg: MarketConfig) -> _Turn:
    """What is due next."""
    continued = lines.is_pending(market.pending)
    no, zero = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    actor, now = _earliest(market)
    lands, place, uncrosses = no, zero, no
    if cfg.max_in_flight:
        place, due = next_landing(market.flight)
        lands = ~clock.earlier(now, due) & (due.sec < clock.NEVER_SEC) & ~continued
        now = clock.choose(lands, due, now)
        actor = jnp.where(lands, market.flight.agent[place], actor)
    now = clock.choose(continued, market.time, now)
    if cfg.calendar.auction_ends:
        over = calendar.auction_end(cfg.calendar, market.auctions)
        uncrosses = ~continued & clock.earlier(over, now)
        now = clock.choose(uncrosses, over, now)
    done = market.done | clock.earlier(market.end, now)
    idle = done | uncrosses
    return _Turn(
        now=clock.choose(done, market.time, now),
        actor=jnp.where(continued, market.actor, actor),
        place=place,
        wakes=~idle & ~continued & ~lands,
        lands=~idle & lands,
        uncrosses=~done & uncrosses,
        done=done,
    )


def _earliest(market: MarketState) -> tuple[jax.Array, Time]:
    """The agent whose wake-up comes first, and when."""
    sec, nsec, queued = market.wake.sec, market.wake.nsec, market.queued
    first = sec == sec.min()
    first &= nsec == jnp.where(first, nsec, clock.NANOS).min()
    actor = jnp.argmin(jnp.where(first, queued, NO_KEY)).astype(jnp.int32)
    return actor, row(market.wake, actor)


def _act(
    market: MarketState,
    params: tuple[Params, ...],
    keys: list[jax.Array],
    turn: _Turn,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
) -> tuple[MarketState, Request]:
    """Lets the agent whose turn it is act; returns the line of requests to go on with."""
    requests = market.pending
    batch = requests.kind.shape[0]
    if cfg.max_in_flight:
        landed = jax.tree.map(lambda x: x[turn.place], market.flight.request)
        requests = choose_request(turn.lands, landed, requests)
        market = market._replace(flight=land(market.flight, turn.place, turn.lands))
    states = []
    for i, agent in enumerate(agents):
        seen = turn.now
        if cfg.max_in_flight:
            seen = clock.plus(seen, row(market.delay.communication, i))
        view = view_of(market, seen, i)
        state, wish = agent.act(params[i], keys[i], market.agents[i], view)
        mine = turn.wakes & (turn.actor == i)
        states.append(_keep_unless(mine, state, market.agents[i]))
        requests = choose_request(mine, lines.in_line(wish, batch), requests)
    requests = choose_request(turn.done, lines.nothing_pending(batch), requests)
    return market._replace(agents=tuple(states)), requests


def _dispatch(
    market: MarketState, requests: Request, turn: _Turn, cfg: MarketConfig
) -> tuple[MarketState, Request, jax.Array, jax.Array]:
    """Puts the requests of an agent with latency under way.

    Returns:
      The market; the requests to carry out now; whether they were sent off; status bits.
    """
    none, zero = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    if not cfg.max_in_flight:
        return market, requests, none, zero
    communication = row(market.delay.communication, turn.actor)
    woken = clock.plus(turn.now, communication)
    due = clock.plus(clock.plus(woken, row(market.delay.computation, turn.actor)), communication)
    sends = turn.wakes & lines.is_pending(requests) & clock.earlier(turn.now, due)
    flight, full = send(market.flight, requests, due, turn.actor, market.step, sends)
    nothing = lines.nothing_pending(requests.kind.shape[0])
    lost = jnp.where(full, jnp.int32(Status.IN_FLIGHT_FULL), 0)
    requests = choose_request(sends, nothing, requests)
    return market._replace(flight=flight), requests, sends & ~full, lost


def _try_change(
    market: MarketState,
    order: Order,
    pending: Request,
    replaces: jax.Array,
    turn: _Turn,
    cfg: MarketConfig,
) -> tuple[Order, Request, jax.Array]:
    """Sees beforehand whether the new order of a modification would be rejected.

    Args:
      market: before the order.
      order: the next one; where `replaces`, the cancel of the old order.
      pending: the line behind it; where `replaces`, the new order comes first.
      replaces: `[]` bool.
      turn: what happens.
      cfg: the instrument.

    Returns:
      The order and the line, and 0. If it would be: the new order, the line without it, and the
      status bits with which it is refused; the old order is not cancelled.
    """
    new = lines.as_order(lines.first_of(pending), turn.actor)

    def attempt(state: tuple) -> tuple:
        book, accounts, cancel, new, band, collecting, _ = state
        take = functools.partial(
            execute,
            rules=cfg.rules,
            collecting=collecting if cfg.calendar.auction_ends else False,
            max_trades=cfg.max_trades,
        )
        cleared, freed, _ = take(book, accounts, cancel, band)
        fills = take(cleared, freed, new, band)[2]
        refusal = jnp.where(rejected(fills), fills.status, jnp.int32(Status.OK))
        return (*state[:-1], refusal)

    collecting = jnp.asarray(_collecting(turn, cfg))
    state = (market.book, market.accounts, order, new, market.band, collecting)
    refusal = rarely(replaces, attempt, (*state, jnp.int32(Status.OK)))[-1]
    refused = refusal != Status.OK
    order = jax.tree.map(lambda old, new: jnp.where(refused, new, old), order, new)
    return order, lines.without_first(pending, refused), refusal


def _collecting(turn: _Turn, cfg: MarketConfig) -> jax.Array | bool:
    """Whether orders are collected for a call auction, `[]` bool; False compiles to nothing."""
    days = cfg.calendar
    return calendar.in_auction(days, turn.now) if days.auction_ends else False


def _execute(
    market: MarketState, order: Order, refusal: jax.Array, turn: _Turn, cfg: MarketConfig
) -> tuple[MarketState, Fills]:
    """The exchange: takes the order, unless it is refused already, or uncrosses the book."""
    days = cfg.calendar
    closed = jnp.zeros((), bool)
    if not days.is_always_open:
        closed = (order.kind != Kind.NONE) & ~calendar.is_open(days, turn.now)
    refusal = refusal | jnp.where(closed, jnp.int32(Status.OUT_OF_SESSION), 0)
    refused = refusal != Status.OK
    book, accounts, fills = execute(
        market.book,
        market.accounts,
        order._replace(kind=jnp.where(refused, Kind.NONE, order.kind)),
        market.band,
        rules=cfg.rules,
        collecting=_collecting(turn, cfg),
        max_trades=cfg.max_trades,
    )
    fills = fills._replace(
        price=jnp.where(refused, order.price, fills.price), status=fills.status | refusal
    )
    auctions = market.auctions
    if days.auction_ends:
        near = jnp.where(market.last_price > 0, market.last_price, market.reference)

        def uncross(state: tuple) -> tuple:
            book, accounts, _, near = state
            after = execute_uncross(book, accounts, near, max_trades=cfg.max_trades)
            return (*after, near)

        book, accounts, fills, _ = rarely(turn.uncrosses, uncross, (book, accounts, fills, near))
        auctions = auctions + turn.uncrosses
    market = market._replace(
        book=book,
        l2=l2_snapshot(book, cfg.levels),
        accounts=accounts,
        auctions=auctions,
        last_price=jnp.where(fills.filled > 0, fills.last_price, market.last_price),
    )
    return market, fills


def _stopped(fills: Fills, cfg: MarketConfig) -> jax.Array:
    """`STOPPED` if the rule against trades with oneself left nothing of an order."""
    if cfg.rules.self_trade == SelfTrade.ALLOW:
        return jnp.zeros((), jnp.int32)
    alone = rejected(fills) & ((fills.status & REJECTING) == 0)
    return jnp.where(alone, jnp.int32(Status.STOPPED), 0)


def _event(
    market: MarketState, order: Order, fills: Fills, turn: _Turn, status: jax.Array
) -> Event:
    """The row of a trajectory; `market` is the one after it."""
    traded = (order.kind == Kind.MARKET) | turn.uncrosses
    return Event(
        time=turn.now,
        kind=jnp.where(turn.uncrosses, Kind.UNCROSS, order.kind),
        side=order.side,
        price=jnp.where(traded, fills.last_price, fills.price),
        size=jnp.where(turn.uncrosses, fills.filled, order.size),
        order_id=jnp.where(turn.uncrosses, 0, order.order_id),
        agent_id=jnp.where(turn.uncrosses, EXCHANGE, turn.actor),
        filled=fills.filled,
        first_price=fills.first_price,
        last_price=market.last_price,
        best_bid=market.l2.price[0, 0],
        best_ask=market.l2.price[1, 0],
        status=fills.status | status,
        trades=fills.trades,
    )


def _update(
    market: MarketState,
    params: tuple[Params, ...],
    keys: list[jax.Array],
    event: Event,
    turn: _Turn,
    complete: jax.Array,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
) -> tuple[MarketState, jax.Array]:
    """Lets every agent see the event and queue its next wake-up. A market that is done keeps its
    wake-ups; its agents see events of kind NONE that are not theirs."""
    states, wakes = [], []
    trouble = jnp.zeros((), jnp.int32)
    for i, agent in enumerate(agents):
        view = view_of(market, market.time, i)
        is_done = complete & (market.actor == i)
        decision = agent.update(params[i], keys[i], market.agents[i], view, event, is_done)
        delay = row(market.delay.communication, i)
        wake = queue_wake(cfg, agent, market.time, decision.wake, delay)
        states.append(decision.state)
        wakes.append(clock.choose(market.done, row(market.wake, i), wake))
        trouble |= jnp.where(market.done, 0, decision.status)
    wake = jax.tree.map(lambda *x: jnp.stack(x), *wakes)
    acted = turn.wakes & (jnp.arange(len(agents)) == turn.actor)
    moved = ~clock.same(wake, market.wake) | acted
    market = market._replace(
        agents=tuple(states),
        wake=wake,
        queued=jnp.where(moved, market.step, market.queued),
        status=market.status | trouble,
    )
    return market, trouble


def _keep_unless(condition: jax.Array, new: Any, old: Any) -> Any:
    """`new` where `condition`, else `old`; leaves that are the same array cost nothing."""
    pick = lambda a, b: b if a is b else jnp.where(condition, a, b)
    return jax.tree.map(pick, new, old)
