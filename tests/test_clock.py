"""Time pairs against Python integers of nanoseconds."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import pytest

from jaxmars import clock
from jaxmars.types import Time

NANO = 10**9
NEVER = clock.NEVER_SEC * NANO
DAY = 86_400 * NANO
MANY = hypothesis.settings(max_examples=300, deadline=None)
moments = st.one_of(
    st.integers(0, DAY), st.integers(0, NEVER), st.integers(NEVER - 3 * NANO, NEVER)
)
plus, minus = jax.jit(clock.plus), jax.jit(clock.minus)
earlier, same, choose = jax.jit(clock.earlier), jax.jit(clock.same), jax.jit(clock.choose)
from_seconds, to_seconds = jax.jit(clock.from_seconds), jax.jit(clock.to_seconds)


def pair(nanoseconds: int) -> Time:
    return clock.make_time(*divmod(nanoseconds, NANO))


def number(time: Time) -> int:
    assert 0 <= int(time.nsec) < NANO
    return int(time.sec) * NANO + int(time.nsec)


def test_never_is_the_latest_time() -> None:
    assert number(clock.never()) == NEVER


@MANY
@hypothesis.given(moments, moments)
@hypothesis.example(0, 0)
@hypothesis.example(5 * NANO, 5 * NANO + 1)
@hypothesis.example(5 * NANO + 1, 6 * NANO)
def test_order_and_equality(a: int, b: int) -> None:
    assert bool(earlier(pair(a), pair(b))) == (a < b)
    assert bool(same(pair(a), pair(b))) == (a == b)
    assert number(choose(jnp.array(a < b), pair(a), pair(b))) == min(a, b)


@MANY
@hypothesis.given(moments, moments)
@hypothesis.example(NEVER - 1, 1)
@hypothesis.example(NEVER - NANO - 1, NANO)
@hypothesis.example((clock.NEVER_SEC - 1) * NANO + NANO - 1, 5)  # the carry reaches the last second
@hypothesis.example(NEVER, NEVER)
@hypothesis.example(NEVER, 0)
def test_sums_saturate_at_never(a: int, b: int) -> None:
    assert number(plus(pair(a), pair(b))) == min(a + b, NEVER)


@MANY
@hypothesis.given(moments, moments)
def test_differences_are_exact_and_undone_by_sums(a: int, b: int) -> None:
    gap = minus(pair(a), pair(b))
    assert number(gap) == a - b
    if max(a, b) < NEVER - NANO:
        assert number(plus(gap, pair(b))) == a


@MANY
@hypothesis.given(st.floats(0, 2.0**30, width=32))
@hypothesis.example(0.0)
@hypothesis.example(float(jnp.nextafter(jnp.float32(1), jnp.float32(0))))
def test_seconds_become_the_nearest_pair_below(seconds: float) -> None:
    """Within the resolution of a float32 fraction of a second."""
    found = number(from_seconds(jnp.float32(seconds)))
    assert abs(found - seconds * NANO) <= 64
    assert found // NANO == int(seconds)
    assert abs(float(to_seconds(pair(found))) - seconds) <= seconds * 2**-23 + 2 / NANO


@pytest.mark.parametrize("seconds", [3e9, 1e30, float("inf")])
def test_endless_waits_are_never(seconds: float) -> None:
    assert number(from_seconds(jnp.float32(seconds))) == NEVER
