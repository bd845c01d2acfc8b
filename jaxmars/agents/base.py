"""What an agent is, what it sees, and what it may ask for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.book import Book
from jaxmars.types import L2, Event, Kind, Params, Time

AgentState = Any  # a pytree


class Request(NamedTuple):
    """What an agent asks for. A cancel names a price and a size, not an order: the market turns it
    into cancels of the agent's own orders at its nearest own price, oldest first (release
    `construct_valid_orders`, spec 6.2)."""

    kind: jax.Array  # [] int32, Kind; NONE asks for nothing
    side: jax.Array  # [] int32, Side; not read for a cancel
    price: jax.Array  # [] int32, ticks
    size: jax.Array  # [] int32, shares


class MarketView(NamedTuple):
    """What an agent sees at a moment."""

    time: Time
    book: Book
    l2: L2  # snapshot of the book
    last_price: jax.Array  # [] int32, ticks of the last trade, 0 before any
    agent_id: jax.Array  # [] int32, the id of the agent that looks


class Decision(NamedTuple):
    """What an agent makes of an event."""

    state: AgentState
    wake: Time  # its next wake-up; `clock.never()` if it has stopped
    status: jax.Array  # [] int32, bits of Status


class Agent(NamedTuple):
    """Five pure, unbatched functions. Keys come in, nothing random is stored.

    In a step of the market the agent whose wake-up is due acts, the market executes, and then
    **every** agent updates, whether it acted or not: that is where models run, once per step and
    never behind a branch.
    """

    init: Callable[[Params, jax.Array, MarketView, Any], tuple[AgentState, Time]]
    """(params, key, view, memory) -> state, first wake-up. `memory` is whatever the agent knows of
    the time before the start (None for most)."""
    act: Callable[[Params, jax.Array, AgentState, MarketView], Request]
    """(params, key, state, view at the wake-up) -> what to do now."""
    update: Callable[[Params, jax.Array, AgentState, MarketView, Event, jax.Array], Decision]
    """(params, key, state, view after the event, event, is_done) -> decision.

    `is_done` is True when this agent's own request has just been carried out completely."""
    refresh: Callable[[Params, AgentState], AgentState]
    """(params, state) -> state, before the first step and between segments: where a context is
    anchored."""
    prepare: Callable[[Params], Params]
    """(params) -> params as the other four take them; once per compiled loop, outside it."""


def no_request() -> Request:
    """Asks for nothing."""
    zero = jnp.zeros((), jnp.int32)
    return Request(jnp.int32(Kind.NONE), zero, zero, zero)


def decide(state: AgentState, wake: Time) -> Decision:
    """A decision without trouble."""
    return Decision(state, wake, jnp.zeros((), jnp.int32))


def as_they_are(params: Params) -> Params:
    """A `prepare` for agents whose params need none."""
    return params


def keep(params: Params, state: AgentState) -> AgentState:
    """A `refresh` for agents that have nothing to refresh."""
    del params
    return state
