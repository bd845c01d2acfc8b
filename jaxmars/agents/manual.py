"""You: an agent that does nothing of its own and sends what a host program hands it."""

import functools
from typing import NamedTuple

import jax

from jaxmars import clock
from jaxmars.agents.base import (
    Agent,
    Decision,
    MarketView,
    Request,
    as_they_are,
    decide,
    keep,
    no_request,
)
from jaxmars.types import Event, Time


class ManualState(NamedTuple):
    """What to send at the next wake-up; the host sets both."""

    request: Request  # [] kind NONE if there is nothing to send


@functools.cache  # one agent, so that compiled programs are found again
def manual_agent() -> Agent:
    """An agent that sleeps until its wake-up is set from outside, and then sends its request.

    `tasks.Market` drives it. It keeps to the clock: what is sent in a break of the trading day is
    ignored by the exchange, not put off.
    """

    def init(
        params: None, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[ManualState, Time]:
        del params, key, view, memory
        return ManualState(no_request()), clock.never()

    def act(
        params: None, key: jax.Array, state: ManualState, view: MarketView
    ) -> tuple[ManualState, Request]:
        del params, key, view
        return ManualState(no_request()), state.request

    def update(
        params: None,
        key: jax.Array,
        state: ManualState,
        view: MarketView,
        event: Event,
        is_done: jax.Array,
    ) -> Decision:
        del params, key, view, event, is_done
        return decide(state, clock.never())

    return Agent(init, act, update, keep, as_they_are, keeps_to_clock=True, modifies=True)
