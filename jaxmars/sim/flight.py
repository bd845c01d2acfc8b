"""Latency: requests on their way from an agent to the exchange.

An agent that wakes at W decides on the state of the exchange one communication delay earlier, and
what it sends arrives at W + computation delay + communication delay (release, spec section 6). At
one moment everything that arrives is carried out before anybody wakes, in the order it was sent.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxmars import clock
from jaxmars.agents.base import Request
from jaxmars.book import NO_KEY
from jaxmars.sim.requests import nothing_pending
from jaxmars.types import Time

LONGEST_DELAY = 86_400  # seconds; a delay of a day more never wraps the clock


class Delay(NamedTuple):
    """Latency of every agent, durations."""

    communication: Time  # [agents], one way
    computation: Time  # [agents]


class Flight(NamedTuple):
    """Requests under way. A free place is due `never`."""

    request: Request  # [max_in_flight, k]
    due: Time  # [max_in_flight]
    agent: jax.Array  # [max_in_flight] int32
    number: jax.Array  # [max_in_flight] int32, step in which it was sent


def no_delay(num: int) -> Delay:
    """No latency for `num` agents."""
    zero = jnp.zeros(num, jnp.int32)
    return Delay(Time(zero, zero), Time(zero, zero))


def make_delay(communication: ArrayLike, computation: ArrayLike) -> Delay:
    """Latency from seconds, exact to the nanosecond: of one agent `[]`, or of several `[agents]`.

    Raises:
      ValueError: a delay is no number from 0 to `LONGEST_DELAY`.
    """

    def pair(name: str, seconds: ArrayLike) -> Time:
        expected = f"a {name} delay must be from 0 to {LONGEST_DELAY} seconds, got {seconds!r:.80}"
        try:
            number = np.asarray(seconds, np.float64)
        except (TypeError, ValueError):
            raise ValueError(expected) from None
        if not ((number >= 0) & (number <= LONGEST_DELAY)).all():
            raise ValueError(expected)
        nanoseconds = np.round(number * clock.NANOS).astype(np.int64)
        return clock.make_time(nanoseconds // clock.NANOS, nanoseconds % clock.NANOS)

    return Delay(pair("communication", communication), pair("computation", computation))


def empty_flight(places: int, batch: int) -> Flight:
    """Nothing under way; room for `places` lines of `batch` requests."""
    zero = jnp.zeros(places, jnp.int32)
    line = jax.tree.map(lambda x: jnp.broadcast_to(x, (places, batch)), nothing_pending(batch))
    return Flight(line, Time(jnp.full(places, clock.NEVER_SEC, jnp.int32), zero), zero, zero)


def next_landing(flight: Flight) -> tuple[jax.Array, Time]:
    """Place and time of what arrives first; of several at one moment, of what was sent first."""
    sec, nsec = flight.due
    first = sec == sec.min()
    first &= nsec == jnp.where(first, nsec, clock.NANOS).min()
    place = jnp.argmin(jnp.where(first, flight.number, NO_KEY))
    return place, Time(sec[place], nsec[place])


def land(flight: Flight, place: jax.Array, lands: jax.Array) -> Flight:
    """Frees a place where `lands` `[]` bool."""
    here = lands & (jnp.arange(flight.agent.shape[0]) == place)
    return flight._replace(due=clock.choose(here, clock.never(), flight.due))


def send(
    flight: Flight,
    line: Request,
    due: Time,
    agent: jax.Array,
    number: jax.Array,
    sends: jax.Array,
) -> tuple[Flight, jax.Array]:
    """Puts a line of requests under way where `sends` `[]` bool.

    Returns:
      The flight and whether there was no room, `[]` bool; then the line is lost.
    """
    free = flight.due.sec == clock.NEVER_SEC
    here = sends & (jnp.arange(free.shape[0]) == jnp.argmax(free)) & free
    request = jax.tree.map(
        lambda old, new: jnp.where(here[:, None], new[None], old), flight.request, line
    )
    flight = Flight(
        request=request,
        due=clock.choose(here, due, flight.due),
        agent=jnp.where(here, agent, flight.agent),
        number=jnp.where(here, number, flight.number),
    )
    return flight, sends & ~free.any()
