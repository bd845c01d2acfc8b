"""The summary of a row in plain Python and float64: every sum is taken anew over all records."""

import itertools
import math
from collections.abc import Sequence

from oracles.order_state import Book, Record

from jaxmars.types import Side

SCALES = (10.0, 60.0, 360.0, 2160.0)
UNIT = 64
LEVELS = 10


def half_ticks(book: Book) -> int:
    """Bid plus ask, or twice the mid of a one-sided book."""
    if book.asks and book.bids:
        return book.asks[0][0] + book.bids[0][0]
    return 2 * book.mid


def summary(records: Sequence[Record], is_other: Sequence[bool], lot: int) -> list[float]:
    """The columns after the last of the records of a day, not rounded."""
    now, book = records[-1].time, records[-1].after
    ages = [(now - record.time) / 1e9 for record in records]
    mids = [half_ticks(record.after) / 2 for record in records]
    moves = [0.0] + [b - a for a, b in itertools.pairwise(mids)]
    signs = [(1 if r.side == Side.BUY else -1) if r.filled > 0 else 0 for r in records]
    trades = list(zip(records, signs, is_other, strict=True))
    crowd = [0 if other else sign for _, sign, other in trades]
    others = [sign * r.filled / lot if other else 0 for r, sign, other in trades]
    columns: list[list[float]] = [[], [], [], [], []]
    for scale in SCALES:
        weights = [math.exp(-age / scale) for age in ages]
        decayed = lambda numbers, weights=weights: math.fsum(
            w * x for w, x in zip(weights, numbers, strict=True)
        )
        observed = scale * (1 - math.exp(-ages[0] / scale)) + 1
        columns[0].append(math.log(decayed([1.0] * len(records)) / observed))
        columns[1].append(math.asinh(decayed(crowd) / observed * math.sqrt(scale)))
        columns[2].append(math.asinh(decayed(others) / observed * math.sqrt(scale)))
        columns[3].append(math.asinh(decayed(moves)))
        columns[4].append(math.log(decayed([x * x for x in moves]) / observed + 1e-3) / 2)
    sides = [
        [*side[:LEVELS], *[(book.mid, 0)] * (LEVELS - len(side))] for side in (book.bids, book.asks)
    ]
    shape = [
        [abs(price - book.mid) for side in sides for price, _ in side],
        [size for side in sides for _, size in side],
        [sum(size for _, size in side) for side in (book.bids, book.asks)],
    ]
    return (
        [x for column in columns for x in column]
        + [math.log1p(x) for column in shape for x in column]
        + [float(is_other[-1])]
    )
