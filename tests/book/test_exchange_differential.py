"""Random trading days: the compiled exchange equals the oracle in every field, every message."""

import functools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from oracles.book_differential import MIXES, NEW_KINDS
from oracles.exchange_differential import (
    AGENTS,
    RULES,
    compiled_day,
    day_difference,
    drawn_day,
    played_day,
)

from jaxmars.book import cash, holdings, wide_to_int
from jaxmars.types import Kind, Status

DAYS, MESSAGES, CAPACITY = 4, 400, 8
AWKWARD_LENGTH, AWKWARD_CAPACITY = 20, 3
NOTHING = (Kind.NONE, 0, 0, 0, 0, 0, 0)


@functools.cache
def days(name: str, mix: str) -> np.ndarray:
    seeds = range(DAYS)
    return np.stack([drawn_day(s, MIXES[mix], RULES[name], CAPACITY, MESSAGES) for s in seeds])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("mix", ["kinds", "huge", "faulty"])
def test_equals_oracle_after_every_message(name: str, mix: str) -> None:
    difference = day_difference(days(name, mix), RULES[name], CAPACITY)
    assert difference is None, difference


def test_flows_reach_what_they_are_meant_to_test() -> None:
    seen = Status.OK
    for name in RULES:
        for mix in ("kinds", "huge", "faulty"):
            record, _ = played_day(days(name, mix), RULES[name], CAPACITY)
            seen |= Status(int(np.bitwise_or.reduce(record.status, axis=None)))
    missing = {
        Status.NOT_FILLED, Status.WOULD_TRADE, Status.OFF_TICK, Status.OFF_LOT, Status.PRICE_LIMIT,
        Status.SELF_TRADE, Status.NOT_IN_AUCTION, Status.ACCOUNT_OVERFLOW, Status.BOOK_FULL,
        Status.TRADES_TRUNCATED,
    } - set(seen)  # fmt: skip
    assert not missing
    uncrossed = days("allow", "kinds")[..., 0] == Kind.UNCROSS
    record, _ = played_day(days("allow", "kinds"), RULES["allow"], CAPACITY)
    assert (record.fills[uncrossed][:, 2] > 0).mean() > 0.3


def test_trading_makes_neither_cash_nor_shares() -> None:
    """Every owner has an account: what is paid is received, what is bought is sold."""
    rows = days("allow", "kinds").copy()
    rows[..., 5] %= AGENTS
    _, accounts = compiled_day(RULES["allow"], CAPACITY)(rows)
    assert np.asarray(accounts.bought).any() and not np.asarray(accounts.frozen).any()
    assert not np.asarray(holdings(accounts)).sum(-1).any()
    assert not wide_to_int(cash(accounts)).sum(-1).any()
    assert wide_to_int(cash(accounts)).any()


order = st.tuples(
    st.sampled_from((Kind.LIMIT, Kind.LIMIT, Kind.CANCEL, *NEW_KINDS)),
    st.sampled_from((0, 1)),
    st.integers(98, 101),
    st.sampled_from((1, 2, 5, 10, 2**31 - 1)),
    st.integers(0, 6),
    st.integers(-1, 1),
)
phase = st.tuples(st.lists(order, max_size=6), st.lists(order, max_size=6), st.integers(0, 102))


def as_day(phases: list[tuple]) -> np.ndarray:
    """Continuous orders, collected orders and the end of the auction, padded to one length."""
    rows: list[tuple] = []
    for continuous, collected, reference in phases:
        rows += [(*row, 0) for row in continuous] + [(*row, 1) for row in collected]
        rows.append((Kind.UNCROSS, 0, reference, 0, 0, 0, 1))
    return np.asarray((rows + [NOTHING] * AWKWARD_LENGTH)[:AWKWARD_LENGTH], np.int32)


@hypothesis.given(phases=st.lists(phase, min_size=1, max_size=3))
@hypothesis.settings(max_examples=120, deadline=None)
def test_awkward_day_equals_oracle(phases: list[tuple]) -> None:
    difference = day_difference(as_day(phases)[None], RULES["cancel resting"], AWKWARD_CAPACITY)
    assert difference is None, difference
