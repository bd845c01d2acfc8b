"""The scores of LOB-Bench on a small book written by hand."""

import itertools
import pathlib

import numpy as np
import pytest
from oracles.lob_sequences import make_sequence, random_sequence, recorded_blocks

from jaxmars.tasks import Sequence
from jaxmars.tasks.lob_bench_scores import (
    CONDITIONAL,
    SCORES,
    UNCONDITIONAL,
    Score,
    distances,
    flow_imbalance,
    observe,
    pooled,
    touch,
    volatility,
    volume_per_minute,
)

BIDS = [[(100, 100), (99, 50)]] * 3 + [[(100, 100), (99, 10)]] + [[(100, 100), (98, 10)]] * 2
ASKS = [
    [(102, 80), (103, 20)],
    [(101, 30), (102, 80)],
    *[[(101, 20), (102, 80)]] * 3,
    [(102, 80), (103, 20)],
]
HAND = make_sequence(
    [
        (10.0, 1, 1, 50, 99, 1),
        (10.5, 1, 2, 30, 101, -1),
        (10.75, 4, 2, 10, 101, -1),
        (11.25, 2, 1, 40, 99, 1),
        (11.25, 3, 1, 10, 99, 1),
        (12.45, 4, 2, 20, 101, -1),
    ],
    BIDS,
    ASKS,
)
EXPECTED = {
    "spread": [2, 1, 1, 1, 1, 2],
    "touch imbalance": [20 / 180, 70 / 130, 80 / 120, 80 / 120, 80 / 120, 20 / 180],
    "log inter-arrival": np.log([500, 250, 500, 1e-9, 1200]),
    "log time to cancel": np.log([1.25]),
    "ask volume, touch": [80, 30, 20, 20, 20, 80],
    "bid volume, touch": [100] * 6,
    "ask volume, levels": [100, 110, 100, 100, 100, 100],
    "bid volume, levels": [150, 150, 150, 110, 110, 110],
    "ask limit depth": [0.5],
    "bid limit depth": [2],
    "ask cancel depth": [],
    "bid cancel depth": [1.5, 1.5],
    "ask limit level": [1],
    "bid limit level": [2],
    "ask cancel level": [],
    "bid cancel level": [2, 2],
    # A quarter of the first second, 0.45 of the last.
    "volume per minute": [60 * 10 / 0.25, 60 * 20 / 0.45],
    "flow imbalance": [],
    "flow imbalance, up": [],
    "flow imbalance, flat": [],
    "flow imbalance, down": [],
}
SEVEN = (
    "spread",
    "touch imbalance",
    "log inter-arrival",
    "ask volume, touch",
    "bid volume, touch",
    "ask limit depth",
    "bid limit depth",
)


@pytest.mark.parametrize("score", UNCONDITIONAL, ids=lambda score: score.name)
def test_a_score_by_hand(score: Score) -> None:
    found = observe(score, HAND)
    assert found.value == pytest.approx(EXPECTED[score.name])


def test_there_are_24_scores() -> None:
    assert len(UNCONDITIONAL) == 21 and len(CONDITIONAL) == 3
    assert len({score.name for score in SCORES}) == 24


def test_conditions_go_with_their_values() -> None:
    by_spread, by_hour, by_volatility = (observe(score, HAND) for score in CONDITIONAL)
    assert by_spread.value == pytest.approx(EXPECTED["ask volume, touch"])
    assert by_spread.condition == pytest.approx(EXPECTED["spread"])
    assert by_hour.condition == pytest.approx([10, 10.5, 10.75, 11.25, 11.25, 12.45])
    assert by_volatility.condition == pytest.approx(np.zeros(6))


def test_an_empty_side_has_no_observations() -> None:
    asks = [[(102, 80), (103, 20)], [(0, 0), (0, 0)], *ASKS[2:]]
    sequence = HAND._replace(l2=make_sequence([(1.0, 1, 1, 1, 1, 1)] * 6, BIDS, asks).l2)
    found = {score.name: observe(score, sequence).value for score in UNCONDITIONAL}
    assert found["spread"] == pytest.approx([2, 1, 1, 1, 2])
    assert len(found["ask volume, touch"]) == 5 and len(found["bid volume, touch"]) == 6
    assert found["ask volume, levels"][1] == 0
    assert len(found["ask limit depth"]) == 0 and len(found["ask limit level"]) == 0


def test_cancels_of_unknown_orders_and_of_orders_not_yet_sent() -> None:
    rows = [
        (1.0, 3, 7, 5, 100, 1),  # submitted later under the same id
        (2.0, 3, 9, 5, 100, 1),  # never submitted
        (3.0, 1, 7, 5, 100, 1),
        (4.0, 1, 8, 5, 100, 1),
        (7.5, 2, 7, 1, 100, 1),
        (9.0, 3, 7, 4, 100, 1),
    ]
    (score,) = (s for s in SCORES if s.name == "log time to cancel")
    assert observe(score, make_sequence(rows, BIDS, ASKS)).value == pytest.approx(np.log([4.5]))


def test_edges_of_the_volume_per_minute() -> None:
    def volumes(*trades: tuple[float, int]) -> list[float]:
        rows = [(t, 4, 1, size, 101, -1) for t, size in trades]
        n = len(rows)
        return volume_per_minute(make_sequence(rows, BIDS[:1] * n, ASKS[:1] * n)).tolist()

    assert volumes((5.95, 10), (6.1, 7), (6.9, 3), (8.5, 4)) == pytest.approx([600, 480])
    assert volumes((5.2, 10), (5.6, 10)) == pytest.approx([60 * 20 / 0.4])
    assert volumes((5.2, 10)) == [] == volumes((5.2, 10), (5.25, 10))


def imbalance_of_change(before: tuple, after: tuple) -> float:
    """Contribution of one change of (bid, bid size, ask, ask size), case by case."""
    bid0, bid_size0, ask0, ask_size0 = before
    bid, bid_size, ask, ask_size = after
    demand = bid_size if bid > bid0 else -bid_size0 if bid < bid0 else bid_size - bid_size0
    supply = -ask_size0 if ask > ask0 else ask_size if ask < ask0 else ask_size - ask_size0
    return demand - supply


def test_flow_imbalance_is_the_rolling_mean_of_changes() -> None:
    sequence = random_sequence(3)
    best = touch(sequence)
    rows = list(zip(best.bid, best.bid_size, best.ask, best.ask_size, strict=True))
    each = [imbalance_of_change(a, b) for a, b in itertools.pairwise(rows)]
    expected = [np.mean(each[i : i + 100]) for i in range(len(each) - 99)]
    assert flow_imbalance(sequence) == pytest.approx(expected)
    moves = np.sign(np.diff(best.mid))
    for name, move in (("up", 1), ("flat", 0), ("down", -1)):
        (score,) = (s for s in SCORES if s.name == f"flow imbalance, {name}")
        followed = [x for x, m in zip(expected, moves[100:], strict=False) if m == move]
        assert len(followed) > 5
        assert observe(score, sequence).value == pytest.approx(followed)


def test_volatility_of_returns_over_tenths_of_a_second() -> None:
    time = [1.01, 1.02, 1.15, 1.29, 1.55, 1.61]
    bid = [90, 100, 110, 121, 500, 550]  # mids are one tick above
    rows = [(t, 1, i, 1, b, 1) for i, (t, b) in enumerate(zip(time, bid, strict=True))]
    sequence = make_sequence(rows, [[(b, 1)] for b in bid], [[(b + 2, 1)] for b in bid])
    returns = np.log([111 / 101, 122 / 111, 551 / 501])
    assert volatility(sequence) == pytest.approx(np.full(6, returns.std(ddof=1)))


def mean_distances(real: list[Sequence], other: list[Sequence]) -> np.ndarray:
    """L1 and W1, mean over seven scores."""
    chosen = [score for score in SCORES if score.name in SEVEN]
    found = lambda score, sequences: pooled([observe(score, s) for s in sequences])
    pairs = [distances(score, found(score, real), found(score, other)) for score in chosen]
    assert len(pairs) == len(SEVEN)
    return np.array(pairs)[:, :, 0].mean(0)


def test_the_market_against_itself_and_against_another_stock(
    real_data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Recorded for this day: 32 blocks of 500 messages against 32 others 0.12 and 0.11, morning
    against afternoon 0.19 and 0.28, GOOG against AMZN 0.40 and 0.60."""
    goog, amzn = (recorded_blocks(real_data, x, tmp_path) for x in ("GOOG", "AMZN"))
    order = np.random.default_rng(0).permutation(len(goog))
    first, second = ([goog[i] for i in half] for half in (order[::2], order[1::2]))
    assert mean_distances(first, second) == pytest.approx([0.12, 0.11], abs=0.03)
    morning, afternoon = goog[: len(goog) // 2], goog[len(goog) // 2 :]
    assert mean_distances(morning, afternoon) == pytest.approx([0.19, 0.28], abs=0.06)
    assert mean_distances(goog, amzn) == pytest.approx([0.40, 0.60], abs=0.08)
