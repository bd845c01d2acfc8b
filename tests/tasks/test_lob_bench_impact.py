"""Responses of the mid on constructed series."""

import numpy as np
import pytest
from oracles.lob_sequences import make_sequence, random_sequence

from jaxmars.tasks import Sequence
from jaxmars.tasks.lob_bench_distances import RESAMPLES
from jaxmars.tasks.lob_bench_impact import (
    KINDS,
    LAGS,
    LONGEST_LAG,
    difference,
    impact,
    mean_difference,
    moves,
    responses,
    touch_events,
)

MO_0, MO_1, LO_0, LO_1, CA_0, CA_1 = range(6)
EVENTS = 300


def staircase(side: int = 1) -> Sequence:
    """In turn a trade that moves the market by a tick and an order that only adds to the touch.

    `side` 1: buyers lift offers and bid, and the price rises; -1: the mirror image.
    """
    number = np.arange(EVENTS)
    middle = 1000 + side * ((number + 1) // 2)
    size = 10 + number % 2
    middle, size = middle.tolist(), size.tolist()
    rows = [
        (34_200.0 + i, 4 if i % 2 else 1, i, 1, middle[i], -side if i % 2 else side)
        for i in range(EVENTS)
    ]
    bids = [[(p - 1, s)] for p, s in zip(middle, size, strict=True)]
    asks = [[(p + 1, 7)] for p in middle]
    return make_sequence(rows, bids, asks)


def test_lags_are_spaced_evenly_on_a_logarithmic_axis() -> None:
    assert LAGS[0] == 1 and LAGS[-1] == 199 < LONGEST_LAG
    assert LAGS.tolist()[:7] == [1, 2, 3, 5, 6, 7, 10] and len(LAGS) == 20


@pytest.mark.parametrize("side", [1, -1])
def test_the_response_of_a_staircase(side: int) -> None:
    (found,) = responses(moves([staircase(side)]))
    assert found[MO_1] == pytest.approx((LAGS + 1) // 2)
    assert found[LO_0] == pytest.approx(LAGS // 2)
    assert np.isnan(found[[MO_0, LO_1, CA_0, CA_1]]).all()


def test_kinds_and_signs() -> None:
    rows = [
        (1.0, 1, 1, 5, 99, 1),  # first: nothing before it
        (2.0, 4, 1, 5, 99, 1),  # a sell order takes part of the bid
        (3.0, 2, 1, 5, 99, 1),  # part of the bid is withdrawn
        (4.0, 1, 2, 5, 100, 1),  # a better bid
        (5.0, 5, 0, 5, 100, 1),  # hidden: no event
        (6.0, 1, 3, 5, 90, 1),  # deep in the book: touch as it was
        (7.0, 3, 4, 5, 101, -1),  # the best offer is withdrawn
        (8.0, 4, 5, 5, 103, -1),  # a buy order clears the next offer
    ]
    bid = [(99, 30), (99, 25), (99, 20), *[(100, 5)] * 5]
    ask = [*[(101, 5)] * 6, (103, 5), (104, 9)]
    found = touch_events(make_sequence(rows, [[x] for x in bid], [[x] for x in ask]))
    assert found.kind[1:].tolist() == [MO_0, CA_0, LO_1, CA_1, MO_1]
    assert found.sign[1:].tolist() == [-1, -1, 1, 1, 1]
    assert found.mid.tolist() == [100, 100, 100, 100.5, 101.5, 102]


def test_executions_of_one_order_at_one_price_are_one_event() -> None:
    rows = [
        (1.0, 1, 1, 5, 99, 1),
        (2.0, 4, 2, 5, 101, -1),
        (2.000000001, 4, 3, 5, 101, -1),
        (2.000000001, 4, 4, 5, 102, -1),  # next price
        (2.5, 4, 5, 5, 102, -1),  # later
        (2.5, 4, 6, 5, 99, 1),  # other side
    ]
    bid = [*[(99, 30)] * 5, (99, 25)]
    ask = [(101, 10), (101, 5), (102, 20), (102, 15), (102, 10), (102, 10)]
    found = touch_events(make_sequence(rows, [[x] for x in bid], [[x] for x in ask]))
    assert found.kind[1:].tolist() == [MO_1, MO_0, MO_0, MO_0]
    assert found.mid.tolist() == [100, 100.5, 100.5, 100.5, 100.5]


def test_responses_pool_the_events_of_all_sequences() -> None:
    """By brute force over the events of random sequences."""
    sequences = [random_sequence(seed) for seed in range(3)]
    found = responses(moves(sequences))[0]
    lag = 5
    for kind in range(len(KINDS)):
        each = []
        for sequence in sequences:
            kinds, sign, mid = touch_events(sequence)
            each += [
                sign[t] * (mid[t + lag - 1] - mid[t - 1])
                for t in range(1, len(mid) - lag + 1)
                if kinds[t] == kind
            ]
        assert found[kind, LAGS.tolist().index(lag)] == pytest.approx(np.mean(each))


def test_the_score_is_the_mean_of_summed_differences() -> None:
    real, generated = np.full((2, 6, 4), np.nan)
    real[0], generated[0] = [1, 2, 3, 4], [1, 1, 1, 1]
    real[1], generated[1] = [1, 2, np.nan, 4], [2, 2, 2, 2]
    real[2] = 1
    found = difference(real, generated)
    assert found[:2].tolist() == [6, 3] and np.isnan(found[2:]).all()
    assert mean_difference(found) == 4.5
    assert np.isnan(mean_difference(found[2:]))


def test_impact_of_a_set_on_itself_and_on_its_mirror() -> None:
    rng = np.random.default_rng(0)
    rising = moves([staircase()] * 4)
    same = impact(rising, moves([staircase(-1)] * 4), rng)
    assert same.score.value == 0 and same.differences[MO_1] == 0
    backwards = rising._replace(total=-rising.total)
    found = impact(rising, backwards, rng)
    assert found.differences[MO_1] == pytest.approx(2 * ((LAGS + 1) // 2).sum())
    assert found.score.value == pytest.approx((found.differences[[MO_1, LO_0]]).mean())
    assert found.real.low[MO_1] == pytest.approx(found.real.mean[MO_1])  # equal sequences
    assert np.isnan(found.real.low[CA_0]).all()


def test_bands_come_from_resampled_sequences() -> None:
    found = moves([random_sequence(seed) for seed in range(8)])
    drawn = responses(found, np.random.default_rng(0))
    assert drawn.shape == (1 + RESAMPLES, len(KINDS), len(LAGS))
    spread = impact(found, found, np.random.default_rng(1)).real
    assert (spread.low[LO_0, 1:5] < spread.mean[LO_0, 1:5]).all()
    assert (spread.high[LO_0, 1:5] > spread.mean[LO_0, 1:5]).all()
