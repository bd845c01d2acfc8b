"""Hypothesis: short flows over a tiny book, made of everything that could go wrong.

Prices and ids come from a handful of values, so that duplicates, crosses, reuse of slots and full
sides are the rule; a failing flow shrinks to a few messages.
"""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from oracles.book_differential import (
    BAD_KINDS,
    BAD_PRICES,
    BAD_SIDES,
    BAD_SIZES,
    NEW_KINDS,
    Record,
    as_rows,
    compiled_outputs,
    compiled_record,
    expected_record,
    first_difference,
)

from jaxmars.types import Kind

LENGTH, MAX_TRADES, LEVELS = 24, 2, 2
NOTHING = (Kind.NONE, 0, 0, 0, 0, 0)  # pads short flows, so that one compiled scan runs them all
HUGE = (2**30, 2**31 - 2, 2**31 - 1)

usual = {
    "kind": st.sampled_from((Kind.LIMIT, Kind.LIMIT, Kind.LIMIT, Kind.CANCEL, *NEW_KINDS)),
    "side": st.sampled_from((0, 1)),
    "price": st.integers(1, 4),
    "size": st.integers(1, 6),
    "order_id": st.integers(-1, 5),
    "agent_id": st.integers(-1, 1),
}
odd = {
    "kind": st.sampled_from((*BAD_KINDS, Kind.NONE)),
    "side": st.sampled_from(BAD_SIDES),
    "price": st.sampled_from((*BAD_PRICES, 2**30 - 1)),
    "size": st.sampled_from((*BAD_SIZES, *HUGE)),
    "order_id": st.sampled_from((-(2**31), 2**31 - 1)),
    "agent_id": st.sampled_from((-(2**31), 2**31 - 1)),
}


def message(*odd_fields: str) -> st.SearchStrategy:
    return st.tuples(*(odd[name] if name in odd_fields else usual[name] for name in usual))


messages = st.one_of(message(), message(), message(), message("size"), *map(message, odd))


@pytest.mark.parametrize("capacity", [1, 2, 4])
@hypothesis.given(flow=st.lists(messages, min_size=1, max_size=LENGTH))
@hypothesis.settings(max_examples=150, deadline=None)
def test_awkward_flow_equals_oracle(capacity: int, flow: list[tuple]) -> None:
    rows = as_rows(flow + [NOTHING] * (LENGTH - len(flow)))
    record, sound = compiled_record(compiled_outputs(capacity, MAX_TRADES, LEVELS)(rows[None]))
    expected = expected_record(rows, capacity, MAX_TRADES, LEVELS)
    difference = first_difference(rows, Record(*(x[0] for x in record)), expected)
    assert difference is None, difference
    assert np.all(sound)
