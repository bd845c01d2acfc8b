"""How the mid responds to six kinds of events at the touch, and how far two responses differ.

The response R(l) = E[sign (mid after l events - mid before the event)], in ticks, over events that
change the best prices or sizes (Eisler, Bouchaud, Kockelkoren 2012; LOB-Bench, arXiv 2502.09172).
The sign is + for what makes the price rise: a buy order, or the cancel of a sell order.
"""

from collections.abc import Sequence as Ordered
from typing import NamedTuple

import numpy as np

from jaxmars.data import MessageType
from jaxmars.tasks.lob_bench_data import Sequence
from jaxmars.tasks.lob_bench_distances import OUTSIDE, RESAMPLES, Interval, interval
from jaxmars.tasks.lob_bench_scores import time_ns, touch

LAGS_PER_DECADE, LONGEST_LAG = 10, 200
LAGS = np.unique(
    (10 ** (np.arange(int(np.log10(LONGEST_LAG) * LAGS_PER_DECADE) + 1) / LAGS_PER_DECADE)).astype(
        np.int64
    )
)
# Market order, limit order, cancel; 0 leaves both best prices where they are, 1 does not.
KINDS = ("MO 0", "MO 1", "LO 0", "LO 1", "CA 0", "CA 1")
SAME_TIME = 1000  # ns between executions of one market order at one price

_FIRST_KIND = {
    MessageType.EXECUTION: 0,
    MessageType.NEW: 2,
    MessageType.PARTIAL_CANCEL: 4,
    MessageType.DELETE: 4,
}


class Moves(NamedTuple):
    """Signed moves of the mid after the events of some sequences."""

    total: np.ndarray  # [sequences, kinds, lags] float64, ticks
    events: np.ndarray  # [sequences, kinds, lags] int64


class Response(NamedTuple):
    """Mean move of the mid, `[kinds, lags]` float64, ticks; nan without an event."""

    mean: np.ndarray
    low: np.ndarray  # 99 % interval from resampled sequences
    high: np.ndarray


class Impact(NamedTuple):
    """Responses of the market and of a generator."""

    real: Response
    generated: Response
    differences: np.ndarray  # [kinds] float64, sum over lags of absolute differences, ticks
    score: Interval  # their mean


class TouchEvents(NamedTuple):
    """Messages that changed the touch; executions of one order at one price are one event."""

    kind: np.ndarray  # [events] int64, index into KINDS
    sign: np.ndarray  # [events] int32, +1 for what makes the price rise
    mid: np.ndarray  # [events] float64, ticks, after the event


def touch_events(sequence: Sequence) -> TouchEvents:
    """Events at the touch of one sequence. The kind of its first event is not known."""
    best = np.stack(touch(sequence), 1)
    changed = np.ones(len(best), bool)
    changed[1:] = (np.diff(best, axis=0) != 0).any(1)
    kept = changed & np.isfinite(best).all(1) & np.isin(sequence.type, list(_FIRST_KIND))
    best, time = best[kept], time_ns(sequence)[kept]
    type_, price, direction = (x[kept] for x in (sequence.type, sequence.price, sequence.direction))
    moved = np.ones(len(best), bool)
    moved[1:] = (np.diff(best[:, :2], axis=0) != 0).any(1)
    goes_on = np.zeros(len(best), bool)  # whether the next event is of the same order
    traded = type_ == MessageType.EXECUTION
    goes_on[:-1] = (
        traded[1:]
        & traded[:-1]
        & (np.diff(price) == 0)
        & (np.diff(direction) == 0)
        & (np.diff(time) <= SAME_TIME)
    )
    kind = np.zeros(len(best), np.int64)
    for number, first in _FIRST_KIND.items():
        kind[type_ == number] = first
    sign = np.where(type_ == MessageType.NEW, direction, -direction)
    last = ~goes_on
    return TouchEvents((kind + moved)[last], sign[last], best[last, :2].mean(1))


def moves(sequences: Ordered[Sequence]) -> Moves:
    """Signed moves of the mid after every event of every sequence."""
    total = np.zeros((len(sequences), len(KINDS), len(LAGS)))
    count = np.zeros_like(total, np.int64)
    for number, sequence in enumerate(sequences):
        kind, sign, mid = touch_events(sequence)
        for place, lag in enumerate(LAGS):
            events = slice(1, 1 + max(len(mid) - lag, 0))  # the first has no mid before it
            if lag >= len(mid):
                break
            move = sign[events] * (mid[lag:] - mid[:-lag])
            total[number, :, place] = np.bincount(kind[events], move, len(KINDS))
            count[number, :, place] = np.bincount(kind[events], minlength=len(KINDS))
    return Moves(total, count)


def responses(found: Moves, rng: np.random.Generator | None = None) -> np.ndarray:
    """Mean moves `[1 + resamples, kinds, lags]`: of all sequences, then of resamples of them."""
    sequences = len(found.events)
    weights = np.ones((1, sequences))
    if rng is not None:
        drawn = rng.multinomial(sequences, np.full(sequences, 1 / sequences), RESAMPLES)
        weights = np.concatenate([weights, drawn])
    total, count = (np.tensordot(weights, x, 1) for x in found)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def difference(real: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Sum over the lags both have of absolute differences `[..., kinds]`; nan where there is none.

    Args:
      real: mean moves `[..., kinds, lags]`.
      generated: the same of a generator.
    """
    gap = np.abs(real - generated)
    return np.where(np.isfinite(gap).any(-1), np.nansum(gap, -1), np.nan)


def mean_difference(differences: np.ndarray) -> np.ndarray:
    """Mean over the kinds `[..., kinds]` that have a difference."""
    known = np.isfinite(differences)
    total = np.where(known, differences, 0).sum(-1)
    return np.where(known.any(-1), total / np.maximum(known.sum(-1), 1), np.nan)


def impact(real: Moves, generated: Moves, rng: np.random.Generator) -> Impact:
    """Compares the responses of two sets of sequences."""
    of_real, of_generated = (responses(x, rng) for x in (real, generated))
    differences = difference(of_real, of_generated)
    return Impact(
        _with_band(of_real),
        _with_band(of_generated),
        differences[0],
        interval(mean_difference(differences)),
    )


def _with_band(drawn: np.ndarray) -> Response:
    """The first entry with the range that holds 99 % of the others."""
    known = np.isfinite(drawn).any(0)
    safe = np.where(known, drawn, 0)
    low, high = np.nanquantile(safe, (OUTSIDE / 2, 1 - OUTSIDE / 2), axis=0)
    return Response(drawn[0], *(np.where(known, x, np.nan) for x in (low, high)))
