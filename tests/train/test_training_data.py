"""Training windows: how sessions are cut, and the two sources they come from."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import tiny_converters

from jaxmars.agents.outside import OutsideParams
from jaxmars.config import OrderModelConfig
from jaxmars.sim.reference_market import reference_market
from jaxmars.sim.reference_sessions import SessionParams, varied_session
from jaxmars.tokens.order import ROW_WIDTH
from jaxmars.train import reference_data
from jaxmars.train.reference_data import Flow, ReferencePlan, reference_flows, windows_of

LENGTH = 7
ELAPSED = 4
MODEL = OrderModelConfig.tiny()


def numbered(lengths: list[int]) -> list[Flow]:
    """Sessions whose rows say which session they are of and where they stand in it; every third
    order is of somebody else."""
    sessions = []
    for number, length in enumerate(lengths):
        rows = np.zeros((length, 15), np.int32)
        rows[:, 0], rows[:, 1] = number, np.arange(length)
        sessions.append(Flow(rows, rows[:, 1] % 3 > 0))
    return sessions


@pytest.mark.parametrize("seed", range(20))
def test_windows_are_runs_of_one_session_that_do_not_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 60, 6).tolist()
    batches = list(windows_of(numbered(lengths), LENGTH, 3, rng))
    seen: set[tuple[int, int]] = set()
    for batch in batches:
        assert batch.rows.shape == (3, LENGTH + 1, 15)
        assert np.array_equal(batch.own, batch.rows[:, :, 1] % 3 > 0)
        for window in batch.rows:
            assert len(set(window[:, 0].tolist())) == 1
            assert (np.diff(window[:, 1]) == 1).all()
            scored = {(int(row[0]), int(row[1])) for row in window[1:]}
            assert not scored & seen
            seen |= scored
    possible = sum(max(length - 1, 0) // LENGTH for length in lengths)
    assert len(batches) == possible // 3


def test_every_row_is_met_at_some_offset() -> None:
    """Where the cuts lie depends on the seed, so no place of a session is favoured."""
    starts = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for batch in windows_of(numbered([2 * LENGTH + 4]), LENGTH, 1, rng):
            starts.add(int(batch.rows[0, 0, 1]))
    assert starts == {0, 1, 2, 3, 7, 8, 9, 10}


def test_windows_are_seeded_and_shuffled() -> None:
    cut = lambda seed: [
        batch.rows[:, 0, :2].tolist()
        for batch in windows_of(numbered([300, 300]), LENGTH, 4, np.random.default_rng(seed))
    ]
    assert cut(1) == cut(1)
    assert cut(1) != cut(2)
    order = list(itertools.chain(*cut(1)))
    assert order != sorted(order)


def test_a_session_of_one_window_is_used_whole() -> None:
    rng = np.random.default_rng(0)
    (batch,) = windows_of(numbered([LENGTH + 1]), LENGTH, 1, rng)
    assert batch.rows[0, :, 1].tolist() == list(range(LENGTH + 1))
    assert list(windows_of(numbered([LENGTH]), LENGTH, 1, rng)) == []


def often_outside(key: jax.Array) -> SessionParams:
    """Half of the sessions with a parent order from outside every two seconds of idle time."""
    params = varied_session(key)
    rate = jnp.where(jax.random.bernoulli(key), 0.5, 0.0)
    return params._replace(outside=OutsideParams(rate))


@pytest.fixture(scope="module")
def make_flows():
    """`reference_flows` of short calls, so that a generation is quick."""
    market = dataclasses.replace(reference_market(), levels=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_data, "WARM_UP_EVENTS", 128)
        patch.setattr(reference_data, "EVENTS_PER_CALL", 128)
        yield lambda seed, generation: reference_flows(
            seed, generation, market, tiny_converters(), ReferencePlan(6, 2, often_outside)
        )


def test_sessions_of_the_reference_market(make_flows) -> None:
    """Rows after the warm-up only, other ones in every generation, the same for the same seed."""
    flows = make_flows(0, 0)
    assert len(flows) == 6
    for rows, own in flows:
        assert rows.dtype == np.int32
        assert rows.shape[1] == ROW_WIDTH
        assert own.shape == rows.shape[:1]
        assert 100 < len(rows) <= 256
        assert rows[0, ELAPSED] > 0
        assert (np.diff(rows[:, ELAPSED]) >= 0).all()
        assert ((rows[:, 0] >= 0) & (rows[:, 0] < MODEL.vocab)).all()
        assert own.sum() > len(own) / 2
    assert 0 < sum(flow.own.all() for flow in flows) < 6
    again, later, other = make_flows(0, 0), make_flows(0, 1), make_flows(1, 0)
    for first, same, *different in zip(flows, again, later, other, strict=True):
        assert np.array_equal(first.rows, same.rows)
        assert np.array_equal(first.own, same.own)
        assert not any(np.array_equal(first.rows, x.rows) for x in different)
