"""What is measured of a day before bins are fitted: a sample of its orders, and its opening."""

import datetime

import numpy as np
from oracles.shard_days import MARKET, random_flow

from jaxmars.train.bin_sample import BinSample
from jaxmars.train.splits import Part
from jaxmars.train.tokenise import measure, opening
from jaxmars.types import Kind

ORDERS = 300


def test_the_sample_is_fair_and_bounded() -> None:
    """As many of every day as its share, the same whatever the order in which days come."""
    flow = random_flow(0, ORDERS)
    found = measure(flow, MARKET)
    days = [datetime.date(2030, 1, 1) + datetime.timedelta(i) for i in range(12)]
    marked = [found._replace(size=np.full_like(found.size, 1 + i)) for i in range(len(days))]
    rows = int(found.final.sum())

    def kept(order: list[int]) -> np.ndarray:
        sample = BinSample(most=600)
        for i in order:
            sample.add("A", days[i], Part("train", 0, ORDERS), marked[i], flow.l2)
            assert sum(len(part.number) for part in sample._parts) <= 1200 + rows
        assert sample.orders == rows * len(days)
        return np.asarray(sample._smallest().found.size)

    forwards = kept(list(range(12)))
    assert np.array_equal(forwards, kept(list(range(12))[::-1]))
    counts = np.bincount(forwards, minlength=13)[1:]
    assert counts.sum() == 600
    assert ((counts - 50) ** 2 / 50).sum() < 31  # chi-square, 11 degrees of freedom


def test_the_opening_of_a_day() -> None:
    """Rejected and empty events are none, and the first record's own trade does not count."""
    event = random_flow(5, 6).event
    kind = np.array([Kind.NONE, Kind.LIMIT, Kind.LIMIT, Kind.LIMIT, Kind.CANCEL, Kind.LIMIT])
    status = np.array([0, 4, 0, 0, 0, 0], np.int32)
    filled = np.array([0, 9, 9, 0, 0, 5], np.int32)
    event = event._replace(
        kind=kind.astype(np.int32), status=status, filled=filled, first_price=10 * (filled + 1)
    )
    found = opening(event, MARKET)
    assert found.time == [int(event.time.sec[2]), int(event.time.nsec[2])]
    assert found.price == 60
    assert opening(event._replace(kind=np.zeros(6, np.int32)), MARKET).price == 0
