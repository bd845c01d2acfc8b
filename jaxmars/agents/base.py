"""What an agent is, what it sees, and what it may ask for."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.book import Account, Book
from jaxmars.types import L2, Event, Kind, Params, Time

AgentState = Any  # a pytree


class Ask(enum.IntEnum):
    """What a request can ask for besides a `Kind` of order.

    Like `Kind.CANCEL` these become cancels of the agent's own orders, one order per step, at most
    `size` shares in all (`EVERYTHING` for no bound), oldest orders first.
    """

    CANCEL_ORDER = 16  # the order `order_id`
    CANCEL_AT = 17  # orders at `price`
    CANCEL_ELSEWHERE = 18  # orders at any other price than `price`
    CANCEL_OLDEST = 19  # orders at any price
    MODIFY = 20  # order `order_id` to `price` and `size`: fewer shares at the same price keep its
    # place in the queue, anything else cancels it and sends a new limit order under the same id; if
    # that one would be rejected, the old one rests on. For agents with `Agent.modifies`
    CANCEL_FITTING = 21  # orders at the nearest own price where one of `size` shares or more rests;
    # where none does, at the nearest own price, as `Kind.CANCEL`


EVERYTHING = 2**31 - 1  # shares


class Request(NamedTuple):
    """What an agent asks for. `Kind.CANCEL` names a price and a size, not an order: the market
    turns it into cancels of the agent's own orders at its nearest own price, oldest first (release
    `construct_valid_orders`, spec 6.2). Several requests, stacked `[k]`, are carried out back to
    back; those of kind NONE are skipped."""

    kind: jax.Array  # [] int32, Kind or Ask; NONE asks for nothing
    side: jax.Array  # [] int32, Side; not read for cancels
    price: jax.Array  # [] int32, ticks
    size: jax.Array  # [] int32, shares
    order_id: jax.Array  # [] int32, the order meant; the id of a new order, 0 for the next free one


class MarketView(NamedTuple):
    """What an agent sees at a moment."""

    time: Time
    book: Book
    l2: L2  # snapshot of the book
    last_price: jax.Array  # [] int32, ticks of the last trade, 0 before any
    agent_id: jax.Array  # [] int32, the id of the agent that looks
    account: Account  # of the agent that looks


class Decision(NamedTuple):
    """What an agent makes of an event."""

    state: AgentState
    wake: Time  # its next wake-up; `clock.never()` if it has stopped
    status: jax.Array  # [] int32, bits of Status


def as_it_is(state: AgentState) -> AgentState:
    """A `rest` for agents that keep everything."""
    return state


def nothing(state: AgentState) -> None:
    """A `recall` for agents that have nothing in common."""
    del state


def own_params(params: Params, memory: Any) -> Params:
    """A `share` for agents that have nothing in common."""
    del memory
    return params


class Agent(NamedTuple):
    """Five pure, unbatched functions. Keys come in, nothing random is stored.

    In a step of the market the agent whose wake-up is due acts, the market executes, and then
    **every** agent updates, whether it acted or not: that is where models run, once per step and
    never behind a branch.

    An agent names its next wake-up in `update`. When it has latency (`sim.Delay`), its orders
    arrive later than it acts, so it must already have named the next wake-up in the state that
    `act` returns, or `clock.never()` if it waits until `is_done`.
    """

    init: Callable[[Params, jax.Array, MarketView, Any], tuple[AgentState, Time]]
    """(params, key, view, memory) -> state, first wake-up. `memory` is whatever the agent knows of
    the time before the start (None for most)."""
    act: Callable[[Params, jax.Array, AgentState, MarketView], tuple[AgentState, Request]]
    """(params, key, state, view at the wake-up) -> state, what to do now: one request, or `[k]` of
    them."""
    update: Callable[[Params, jax.Array, AgentState, MarketView, Event, jax.Array], Decision]
    """(params, key, state, view after the event, event, is_done) -> decision.

    `is_done` is True when this agent's own request has just been carried out completely."""
    refresh: Callable[[Params, AgentState], AgentState]
    """(params, state) -> state, before the first step and between segments: where a context is
    anchored."""
    prepare: Callable[[Params], Params]
    """(params) -> params as the others take them; once per compiled loop, outside it."""
    keeps_to_clock: bool = False
    """Whether its wake-ups are moments of the clock, kept even in a break of the trading day, and
    not intervals of trading time."""
    rest: Callable[[AgentState], AgentState] = as_it_is
    """(state) -> state without what `refresh` makes again: all that is kept between segments."""
    share: Callable[[Params, Any], Params] = own_params
    """(params, memory) -> params that also hold what trajectories which begin with this memory have
    in common."""
    recall: Callable[[AgentState], Any] = nothing
    """(state) -> memory, for `share`, of trajectories that go on from this state."""
    modifies: bool = False
    """Whether it may ask for `Ask.MODIFY`; without, the exchange answers `BAD_KIND`."""
    opening: "Agent | None" = None
    """The agent for the first segment of trajectories that begin alike, with params from `share`;
    None if it would be no different."""


def no_request() -> Request:
    """Asks for nothing."""
    return make_request(Kind.NONE)


def make_request(
    kind: Any, side: Any = 0, price: Any = 0, size: Any = 0, order_id: Any = 0
) -> Request:
    """A `Request` of int32 arrays from numbers, or arrays of one shape."""
    fields = (jnp.asarray(x, jnp.int32) for x in (kind, side, price, size, order_id))
    return Request(*jnp.broadcast_arrays(*fields))


def one_after_another(*requests: Request) -> Request:
    """Requests `[]` stacked to `[k]`, carried out in this order."""
    return jax.tree.map(lambda *x: jnp.stack(x), *requests)


def decide(state: AgentState, wake: Time) -> Decision:
    """A decision without trouble."""
    return Decision(state, wake, jnp.zeros((), jnp.int32))


def sleep_on(
    params: Params,
    key: jax.Array,
    state: AgentState,
    view: MarketView,
    event: Event,
    is_done: jax.Array,
) -> Decision:
    """An `update` for agents that decide at their wake-ups only; their state has a field `wake`."""
    del params, key, view, event, is_done
    return decide(state, state.wake)


def as_they_are(params: Params) -> Params:
    """A `prepare` for agents whose params need none."""
    return params


def keep(params: Params, state: AgentState) -> AgentState:
    """A `refresh` for agents that have nothing to refresh."""
    del params
    return state


def choose_request(condition: jax.Array, a: Request, b: Request) -> Request:
    """`a` where `condition` `[]`, else `b`."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
