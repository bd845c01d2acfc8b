"""What LOB-Bench measures on a sequence: 21 numbers by themselves, 3 under a condition.

Definitions of the benchmark (arXiv 2502.09172, section 4 and its code of 2025), prices in ticks.
Observations that need a side of the book which is empty do not exist.
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import NamedTuple

import numpy as np

from jaxmars.data import MessageType, nanoseconds
from jaxmars.tasks.lob_bench_data import Sequence
from jaxmars.tasks.lob_bench_distances import (
    Binning,
    Distances,
    compare,
    compare_within,
    deciles,
    each_value,
    freedman_diaconis,
    hours,
)
from jaxmars.types import Side

NANOS = 1e9
MILLISECOND = 1e6  # nanoseconds
NO_TIME = 1e-9  # stands for zero in front of a logarithm
FLOW_WINDOW = 100  # changes of the book that an order-flow imbalance averages
LEAST_COVER = 0.1  # s of a second at the edge, so that its volume counts
SECONDS_PER_MINUTE = 60
VOLATILITY_STEP = 100_000_000  # ns
NO_ASK = 2**31 - 1  # ticks, above every price

NEW = (MessageType.NEW,)
CANCELS = (MessageType.PARTIAL_CANCEL, MessageType.DELETE)

Measure = Callable[[Sequence], np.ndarray]  # sequence -> [observations] float64


class Score(NamedTuple):
    """One number of the benchmark."""

    name: str
    value: Measure
    binning: Binning  # of the values (within one group of the condition, if there is one)
    condition: Measure | None = None  # as many observations as `value`
    condition_binning: Binning | None = None


class Observations(NamedTuple):
    """What a score found in some sequences."""

    value: np.ndarray  # [observations] float64, finite
    condition: np.ndarray  # [observations] float64, finite; [0] without a condition


class Touch(NamedTuple):
    """Best prices and sizes after each message, `[messages]` float64, nan on an empty side."""

    bid: np.ndarray  # ticks
    ask: np.ndarray  # ticks
    bid_size: np.ndarray  # shares
    ask_size: np.ndarray  # shares

    @property
    def mid(self) -> np.ndarray:
        """Ticks."""
        return (self.bid + self.ask) / 2


def touch(sequence: Sequence) -> Touch:
    """The best level of both sides."""
    price, size = (np.asarray(x)[:, :, 0] for x in sequence.l2)
    best = np.where(size > 0, price, np.nan), np.where(size > 0, size, np.nan)
    return Touch(*(x[:, side] for x in best for side in (Side.BUY, Side.SELL)))


def time_ns(sequence: Sequence) -> np.ndarray:
    """`[messages]` int64, nanoseconds since midnight."""
    return nanoseconds(sequence.sec, sequence.nsec)


def spread(sequence: Sequence) -> np.ndarray:
    """Best ask less best bid, ticks."""
    best = touch(sequence)
    return best.ask - best.bid


def imbalance(sequence: Sequence) -> np.ndarray:
    """(bid - ask) / (bid + ask) of the sizes at the touch."""
    best = touch(sequence)
    return (best.bid_size - best.ask_size) / (best.bid_size + best.ask_size)


def log_inter_arrival(sequence: Sequence) -> np.ndarray:
    """Logarithm of the milliseconds between messages."""
    return _log(np.diff(time_ns(sequence)) / MILLISECOND)


def log_time_to_cancel(sequence: Sequence) -> np.ndarray:
    """Logarithm of the seconds from submission to the first cancel, of orders that have both."""
    time, row = time_ns(sequence), np.arange(len(sequence.type))
    submitted, cancelled = (row[np.isin(sequence.type, kinds)] for kinds in (NEW, CANCELS))
    orders, first = np.unique(sequence.order_id[submitted], return_index=True)
    if not len(orders):
        return np.empty(0)
    begun = submitted[first]
    place = np.searchsorted(orders, sequence.order_id[cancelled]).clip(max=len(orders) - 1)
    own = (orders[place] == sequence.order_id[cancelled]) & (cancelled > begun[place])
    ended, earliest = np.unique(place[own], return_index=True)
    return _log((time[cancelled[own][earliest]] - time[begun[ended]]) / NANOS)


def touch_size(side: Side) -> Measure:
    """Shares at the best price of a side."""
    return lambda sequence: np.where(_size(sequence, side, 1) > 0, _size(sequence, side, 1), np.nan)


def book_size(side: Side) -> Measure:
    """Shares on all compared levels of a side."""
    return lambda sequence: _size(sequence, side, np.shape(sequence.l2.size)[2])


def depth(side: Side, kinds: tuple[MessageType, ...]) -> Measure:
    """Distance of messages from the mid after them, ticks, of prices on one side of it."""

    def measure(sequence: Sequence) -> np.ndarray:
        away = (sequence.price - touch(sequence).mid) * (1 if side == Side.SELL else -1)
        return away[np.isin(sequence.type, kinds) & (away > 0)]

    return measure


def level(side: Side, kinds: tuple[MessageType, ...]) -> Measure:
    """Level of the book, 1 the best, that messages refer to, where it has their price.

    New orders are looked up in the book after them, cancels in the book before them.
    """

    def measure(sequence: Sequence) -> np.ndarray:
        rows = np.flatnonzero(np.isin(sequence.type, kinds))
        before = int(kinds != NEW)
        rows = rows[rows >= before]
        price, size = (np.asarray(x)[rows - before, side] for x in sequence.l2)
        same = (price == sequence.price[rows, None]) & (size > 0)
        return 1.0 + same.argmax(1)[same.any(1)]

    return measure


def volume_per_minute(sequence: Sequence) -> np.ndarray:
    """Shares executed in each second of the clock with an execution, times 60.

    The first and the last second reach from the first, or to the last, execution: their volume is
    scaled to a whole second, and left out if they are shorter than a tenth of one.
    """
    traded = sequence.type == MessageType.EXECUTION
    if not traded.any():
        return np.empty(0)
    time = time_ns(sequence)[traded] / NANOS
    second, place = np.unique(np.floor(time), return_inverse=True)
    volume = np.bincount(place, sequence.size[traded])
    cover = np.minimum(second + 1, time[-1]) - np.maximum(second, time[0])
    cover[1:-1] = 1.0
    counted = cover >= LEAST_COVER
    return SECONDS_PER_MINUTE * volume[counted] / cover[counted]


def flow_imbalance(sequence: Sequence) -> np.ndarray:
    """Mean of the last 100 order-flow imbalances of the touch (Cont, Kukanov, Stoikov 2014)."""
    best = touch(sequence)
    bid, ask = np.nan_to_num(best.bid), np.nan_to_num(best.ask, nan=NO_ASK)
    bid_size, ask_size = np.nan_to_num(best.bid_size), np.nan_to_num(best.ask_size)
    rises, falls = np.diff(bid) >= 0, np.diff(bid) <= 0
    demand = rises * bid_size[1:] - falls * bid_size[:-1]
    rises, falls = np.diff(ask) >= 0, np.diff(ask) <= 0
    supply = falls * ask_size[1:] - rises * ask_size[:-1]
    total = np.concatenate([[0.0], np.cumsum(demand - supply)])
    return (total[FLOW_WINDOW:] - total[:-FLOW_WINDOW]) / FLOW_WINDOW


def flow_imbalance_before(move: int) -> Measure:
    """Order-flow imbalances after which the mid next goes up (1), stays (0) or goes down (-1)."""

    def measure(sequence: Sequence) -> np.ndarray:
        next_move = np.sign(np.diff(touch(sequence).mid)[FLOW_WINDOW:])
        return flow_imbalance(sequence)[: len(next_move)][next_move == move]

    return measure


def clock_seconds(sequence: Sequence) -> np.ndarray:
    """Time of each message, seconds since midnight."""
    return time_ns(sequence) / NANOS


def volatility(sequence: Sequence) -> np.ndarray:
    """Standard deviation of log returns over 0.1 s, the same for every message of the sequence.

    Returns are those of the last mid between neighbouring tenths of a second that both have one;
    the value is 0 where there are fewer than two.
    """
    mid = touch(sequence).mid
    known = np.isfinite(mid)
    step, log_mid = time_ns(sequence)[known] // VOLATILITY_STEP, np.log(mid[known])
    last = np.diff(step, append=np.iinfo(np.int64).max) > 0
    returns = np.diff(log_mid[last])[np.diff(step[last]) == 1]
    return np.full(len(mid), returns.std(ddof=1) if len(returns) > 1 else 0.0)


def _log(durations: np.ndarray) -> np.ndarray:
    return np.log(np.where(durations > 0, durations, NO_TIME))


def _size(sequence: Sequence, side: Side, levels: int) -> np.ndarray:
    """Shares on the best levels of a side, `[messages]` float64."""
    return np.asarray(sequence.l2.size)[:, side, :levels].sum(1, dtype=np.float64)


UNCONDITIONAL = (
    Score("spread", spread, each_value),
    Score("touch imbalance", imbalance, freedman_diaconis),
    Score("log inter-arrival", log_inter_arrival, freedman_diaconis),
    Score("log time to cancel", log_time_to_cancel, freedman_diaconis),
    Score("ask volume, touch", touch_size(Side.SELL), freedman_diaconis),
    Score("bid volume, touch", touch_size(Side.BUY), freedman_diaconis),
    Score("ask volume, levels", book_size(Side.SELL), freedman_diaconis),
    Score("bid volume, levels", book_size(Side.BUY), freedman_diaconis),
    Score("ask limit depth", depth(Side.SELL, NEW), freedman_diaconis),
    Score("bid limit depth", depth(Side.BUY, NEW), freedman_diaconis),
    Score("ask cancel depth", depth(Side.SELL, CANCELS), freedman_diaconis),
    Score("bid cancel depth", depth(Side.BUY, CANCELS), freedman_diaconis),
    Score("ask limit level", level(Side.SELL, NEW), each_value),
    Score("bid limit level", level(Side.BUY, NEW), each_value),
    Score("ask cancel level", level(Side.SELL, CANCELS), each_value),
    Score("bid cancel level", level(Side.BUY, CANCELS), each_value),
    Score("volume per minute", volume_per_minute, freedman_diaconis),
    Score("flow imbalance", flow_imbalance, freedman_diaconis),
    Score("flow imbalance, up", flow_imbalance_before(1), freedman_diaconis),
    Score("flow imbalance, flat", flow_imbalance_before(0), freedman_diaconis),
    Score("flow imbalance, down", flow_imbalance_before(-1), freedman_diaconis),
)
CONDITIONAL = (
    Score("ask volume given spread", touch_size(Side.SELL), deciles, spread, each_value),
    Score("spread given hour", spread, deciles, clock_seconds, hours),
    Score("spread given volatility", spread, each_value, volatility, deciles),
)
SCORES = UNCONDITIONAL + CONDITIONAL


def observe(score: Score, sequence: Sequence) -> Observations:
    """What a score finds in one sequence; observations without a finite value do not exist."""
    value = score.value(sequence)
    if score.condition is None:
        return Observations(value[np.isfinite(value)], np.empty(0))
    condition = score.condition(sequence)
    known = np.isfinite(value) & np.isfinite(condition)
    return Observations(value[known], condition[known])


def pooled(found: Ordered[Observations]) -> Observations:
    """Observations of several sequences as one sample."""
    return Observations(*(np.concatenate(x) for x in zip(*found, strict=True)))


def distances(
    score: Score,
    real: Observations,
    generated: Observations,
    rng: np.random.Generator | None = None,
) -> Distances:
    """Distances of two samples of one score; with `rng` also of resamples of them."""
    if score.condition_binning is None:
        return compare(real.value, generated.value, score.binning, rng)
    return compare_within(
        real.value,
        generated.value,
        (real.condition, generated.condition),
        (score.binning, score.condition_binning),
        rng,
    )
