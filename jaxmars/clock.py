"""Arithmetic on `Time` pairs. Everything is exact except what starts from float seconds."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxmars.types import Time

NANOS = 1_000_000_000
NEVER_SEC = 2**31 - 1


def make_time(sec: ArrayLike, nsec: ArrayLike = 0) -> Time:
    """A `Time` of int32 arrays from numbers, or arrays of one shape."""
    return Time(*jnp.broadcast_arrays(jnp.asarray(sec, jnp.int32), jnp.asarray(nsec, jnp.int32)))


def never() -> Time:
    """A time later than every other."""
    return make_time(NEVER_SEC)


def earlier(a: Time, b: Time) -> jax.Array:
    """a < b, `[]` bool."""
    return (a.sec < b.sec) | ((a.sec == b.sec) & (a.nsec < b.nsec))


def same(a: Time, b: Time) -> jax.Array:
    """a == b, `[]` bool."""
    return (a.sec == b.sec) & (a.nsec == b.nsec)


def minus(a: Time, b: Time) -> Time:
    """a - b as a pair with 0 <= nsec < 10**9 (negative differences have negative `sec`)."""
    nsec = a.nsec - b.nsec
    return Time(a.sec - b.sec - (nsec < 0), jnp.where(nsec < 0, nsec + NANOS, nsec))


def plus(a: Time, b: Time) -> Time:
    """a + b. A sum past the last representable second stays at `never`."""
    over = b.nsec >= NANOS - a.nsec
    nsec = jnp.where(over, a.nsec - (NANOS - b.nsec), a.nsec + b.nsec)
    room = NEVER_SEC - 1 - jnp.maximum(a.sec, 0) - over
    late = b.sec > room
    return Time(jnp.where(late, NEVER_SEC, a.sec + b.sec + over), jnp.where(late, 0, nsec))


def from_seconds(seconds: jax.Array) -> Time:
    """A duration from non-negative float32 seconds (resolution: that of float32)."""
    whole = jnp.floor(seconds)
    nsec = jnp.minimum((seconds - whole) * NANOS, NANOS - 1)
    return Time(whole.astype(jnp.int32), nsec.astype(jnp.int32))


def to_seconds(time: Time) -> jax.Array:
    """Float32 seconds; meant for durations."""
    return time.sec.astype(jnp.float32) + time.nsec.astype(jnp.float32) / NANOS


def choose(condition: jax.Array, a: Time, b: Time) -> Time:
    """`a` where `condition`, else `b`."""
    return Time(jnp.where(condition, a.sec, b.sec), jnp.where(condition, a.nsec, b.nsec))
