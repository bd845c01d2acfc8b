"""Random flows: the compiled book equals the oracle in every field after every message."""

import jax
import numpy as np
import pytest
from oracles.book_differential import (
    MIXES,
    Record,
    compiled_outputs,
    compiled_record,
    drawn_flow,
    expected_record,
    first_difference,
)

BOOKS, MESSAGES, MAX_TRADES, LEVELS = 4, 500, 3, 5


def flows(mix_name: str, capacity: int) -> np.ndarray:
    seeds = range(BOOKS)
    return np.stack([drawn_flow(s, MIXES[mix_name], capacity, MESSAGES)[0] for s in seeds])


@pytest.mark.parametrize("capacity", [3, 16])
@pytest.mark.parametrize("mix_name", MIXES)
def test_equals_oracle_after_every_message(mix_name: str, capacity: int) -> None:
    rows = flows(mix_name, capacity)
    record, sound = compiled_record(compiled_outputs(capacity, MAX_TRADES, LEVELS)(rows))
    for book in range(BOOKS):
        expected = expected_record(rows[book], capacity, MAX_TRADES, LEVELS)
        difference = first_difference(rows[book], Record(*(x[book] for x in record)), expected)
        assert difference is None, difference
    assert sound.all()


def test_flows_fill_the_book_and_trade_on_several_levels() -> None:
    """The comparison above means something: its flows overflow, sweep and fail in all ways."""
    record = expected_record(flows("faulty", 3)[0], 3, MAX_TRADES, LEVELS)
    assert record.fills[:, 2].astype(bool).mean() > 0.05  # filled
    assert record.fills[:, 3].astype(bool).mean() > 0.05  # cancelled
    assert (record.trades[:, 1, 1] > 0).sum() > 5  # second record in use
    crowded = expected_record(flows("crowded", 3)[0], 3, MAX_TRADES, LEVELS)
    assert (crowded.fills[:, 0] & 1).mean() > 0.1  # BOOK_FULL


def test_difference_is_reported_with_its_message() -> None:
    rows = flows("steady", 3)[0]
    expected = expected_record(rows, 3, MAX_TRADES, LEVELS)
    wrong = expected._replace(fills=expected.fills.copy())
    wrong.fills[41, 2] += 1
    report = first_difference(rows, wrong, expected)
    assert report is not None and report.startswith("message 41: kind")
    assert "fills: book" in report and "totals" not in report


def test_vmap_equals_a_loop_bitwise() -> None:
    rows = flows("faulty", 16)
    run = compiled_outputs(16, MAX_TRADES, LEVELS)
    together = run(rows)
    for book in range(BOOKS):
        alone = run(rows[book : book + 1])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[book], b[0])


def test_trade_records_do_not_change_the_matching() -> None:
    rows = flows("sweeps", 16)
    with_records = compiled_outputs(16, MAX_TRADES, LEVELS)(rows)
    without = compiled_outputs(16, 0, 1)(rows)
    for field in ("key", "size", "ahead", "order_id", "agent_id", "total"):
        a, b = getattr(with_records[0], field), getattr(without[0], field)
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(with_records[1].filled, without[1].filled)
