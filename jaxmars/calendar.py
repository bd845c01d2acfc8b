"""The trading day on the device: which phase a moment lies in, and how time passes over breaks.

A calendar is static, so what it does not have (breaks, auctions) costs nothing.
"""

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.config import Calendar, PhaseKind
from jaxmars.types import Time


def is_open(calendar: Calendar, time: Time) -> jax.Array:
    """Whether orders are taken at a moment, `[]` bool."""
    found = jnp.zeros((), bool)
    for phase in calendar.phases:
        found |= _within(time, phase.start, phase.end)
    return found


def in_auction(calendar: Calendar, time: Time) -> jax.Array:
    """Whether a moment lies in the call phase of an auction, `[]` bool."""
    found = jnp.zeros((), bool)
    for phase in calendar.phases:  # a moment two phases share belongs to the later
        auction = jnp.asarray(phase.kind == PhaseKind.AUCTION)
        found = jnp.where(_within(time, phase.start, phase.end), auction, found)
    return found


def auction_end(calendar: Calendar, number: jax.Array) -> Time:
    """When the auction of a number, `[]` int32 from 0, is uncrossed; `never` when there is none."""
    ends = jnp.array([*calendar.auction_ends, clock.NEVER_SEC], jnp.int32)
    return Time(ends[number], jnp.zeros((), jnp.int32))


def auctions_before(calendar: Calendar, time: Time) -> jax.Array:
    """Auctions uncrossed before a moment, `[]` int32."""
    ends = jnp.array(calendar.auction_ends, jnp.int32)
    return (ends < time.sec).sum(dtype=jnp.int32) + ((ends == time.sec) & (time.nsec > 0)).sum(
        dtype=jnp.int32
    )


def skip_breaks(calendar: Calendar, time: Time) -> Time:
    """The moment to which a wake-up is put off when it lies in a break.

    Before the first phase: its start. In a break between phases: as long after the break as it lay
    in it, so that an interval across a break has the length it was drawn with, in trading time.
    After the last phase: `never`.
    """
    first, last = calendar.phases[0], calendar.phases[-1]
    for start, end in calendar.breaks:
        inside = clock.earlier(clock.make_time(start), time) & clock.earlier(
            time, clock.make_time(end)
        )
        time = clock.choose(inside, clock.plus(time, clock.make_time(end - start)), time)
    opening, closing = clock.make_time(first.start), clock.make_time(last.end)
    time = clock.choose(clock.earlier(time, opening), opening, time)
    return clock.choose(clock.earlier(closing, time), clock.never(), time)


def break_seconds(calendar: Calendar, start: Time, time: Time) -> jax.Array:
    """Seconds of the breaks that lie between two moments, `[]` int32."""
    total = jnp.zeros((), jnp.int32)
    for begin, end in calendar.breaks:
        passed = (start.sec <= begin) & (time.sec >= end)
        total += jnp.where(passed, end - begin, 0)
    return total


def _within(time: Time, start: int, end: int) -> jax.Array:
    """start <= time <= end, both in seconds, `[]` bool."""
    ended = (time.sec > end) | ((time.sec == end) & (time.nsec > 0))
    return (time.sec >= start) & ~ended
