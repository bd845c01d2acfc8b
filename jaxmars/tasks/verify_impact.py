"""The impact of an order executed at a fixed rate: how the price answers, and what is left of it.

Every order is bought in one run and sold in another, from the same warm states and with the same
keys; its impact is half the difference of the mids. Drifts that have nothing to do with the order
cancel. The trader wakes at the same moments in both runs, so that a step has the same draws in both
until the markets part. And half a difference has a quarter of its variance: less than a run with
the order minus one without it would have (`ImpactCurve.gain` says by how much).

Source: realism spec 2.2 and 2.3; Toth et al. (arXiv 1105.1694) for concave impact, Benzaquen and
Bouchaud (arXiv 1710.03734) for its decay.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from jaxmars import clock
from jaxmars.agents.base import make_request
from jaxmars.agents.script import Schedule, scripted_agent
from jaxmars.data.start import event_mid
from jaxmars.sim.lanes import Finished, Pace, run_lanes
from jaxmars.tasks.forecast import on_grid
from jaxmars.tasks.verify_worlds import World
from jaxmars.types import Kind, Side

MINUTE = 60
CHILD_SECONDS = 2  # between two wake-ups of the trader
FIRST_CHILD = 1  # seconds after the beginning: the moments of the grid lie between wake-ups
GRID_SECONDS = 15  # of impact curves
NANOS = 1e-9
ORDER_SECONDS = 300  # execution of the orders of several sizes
ORDER_LOTS = (30, 75, 150, 300, 600, 1200)
LONG_SECONDS = 900  # execution of the order that is measured while it goes on
DURATIONS = (1, 2, 5, 10, 15)  # minutes of it
RATE = 0.5  # lots per second of it
DECAY_SECONDS = 600  # after the execution
HORIZON_SECONDS = max(LONG_SECONDS, ORDER_SECONDS + DECAY_SECONDS)
FRACTIONS = (0.2, 0.4, 0.6, 0.8, 1.0)  # of an execution
RESAMPLES = 400


class Metaorder(NamedTuple):
    """An order that is executed at a fixed rate."""

    name: str
    lots: int
    seconds: int  # of execution


class Execution(NamedTuple):
    """One run of an order on every path. Host arrays."""

    mids: np.ndarray  # [paths, grid] float64, ticks
    lots: np.ndarray  # [paths] int64 traded by the trader


class ImpactCurve(NamedTuple):
    """How the mid moves with an order. Host arrays."""

    order: Metaorder
    seconds: np.ndarray  # [grid] float64 since the order began
    moves: np.ndarray  # [paths, grid] float64, half of mid bought less mid sold, ticks
    gain: float  # variance of the difference of two independent runs over that of moves, at the end
    filled: float  # share of the order that was traded, mean of both sides

    @property
    def mean(self) -> np.ndarray:
        """`[grid]` ticks."""
        return self.moves.mean(0)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the mean, `[grid]` ticks."""
        return self.moves.std(0, ddof=1) / np.sqrt(len(self.moves))

    def at(self, seconds: float) -> int:
        """The grid point of a moment."""
        return int(np.searchsorted(self.seconds, seconds))

    @property
    def end(self) -> int:
        """The grid point at which the execution ends."""
        return self.at(self.order.seconds)


class Fit(NamedTuple):
    """impact = scale * size ** exponent; sizes in lots, durations in minutes."""

    exponent: float
    error: float  # standard error, from resampled paths
    scale: float


class ImpactSummary(NamedTuple):
    """What the curves of a market say, each with its standard error from resampled paths."""

    duration_ticks: np.ndarray  # [DURATIONS] impact at a fixed rate
    duration_error: np.ndarray
    duration_fit: Fit
    size_ticks: np.ndarray  # [sizes] impact at the end of the execution
    size_error: np.ndarray
    size_fit: Fit
    profile: np.ndarray  # [FRACTIONS] impact within the executions over that at their end
    profile_error: np.ndarray
    bulge: float  # mean of profile - fraction: above 0 if impact is concave
    bulge_error: float
    left: float  # impact DECAY_SECONDS after the executions over that at their end
    left_error: float
    paths: int
    gain: float  # smallest of the curves


LONG_ORDER = Metaorder("long", round(RATE * LONG_SECONDS), LONG_SECONDS)
SIDES = (Side.BUY, Side.SELL)


def sized_order(lots: int) -> Metaorder:
    """An order of a size, executed in `ORDER_SECONDS`."""
    return Metaorder(f"{lots} lots", lots, ORDER_SECONDS)


def children(order: Metaorder) -> np.ndarray:
    """Lots that the trader sends at each wake-up, `[order.seconds / CHILD_SECONDS]` int64.

    What has been sent after k of n of them is the k-th part of the order, rounded down.
    """
    wakes = order.seconds // CHILD_SECONDS
    return np.diff(np.arange(wakes + 1) * order.lots // wakes)


def schedule(order: Metaorder, side: Side, begins: int, horizon: int, lot: int) -> Schedule:
    """The market orders of an execution.

    Args:
      order: what to trade.
      side: BUY or SELL.
      begins: seconds since midnight.
      horizon: seconds; the trader wakes to its end, for nothing after the order is over.
      lot: shares.
    """
    wakes = horizon // CHILD_SECONDS
    lots = np.zeros(wakes, np.int64)
    own = children(order)
    lots[: len(own)] = own
    moments = begins + FIRST_CHILD + CHILD_SECONDS * np.arange(wakes)
    kind = np.where(lots > 0, Kind.MARKET, Kind.NONE)
    return Schedule(clock.make_time(moments), make_request(kind, side, 0, lots * lot))


def impact_curve(
    world: World,
    order: Metaorder,
    *,
    horizon: int = HORIZON_SECONDS,
    seed: int,
    watch: Callable[[Pace], None] = lambda pace: None,
) -> ImpactCurve:
    """The curve of an order, one path from each start of the world.

    Args:
      world: the market, with room for the trader.
      order: what to measure.
      horizon: seconds that are run, at least those of the execution.
      seed: of the keys, which all runs share.
      watch: called after every segment.
    """
    paths = np.arange(len(world.start_mid))
    grid = np.arange(0.0, horizon + 1, GRID_SECONDS)
    lot = world.cfg.market.lot_size

    def run(side: Side) -> Execution:
        plan = schedule(order, side, world.begins, horizon, lot)
        finished = run_lanes(
            seed,
            paths,
            paths.astype(np.int32),
            world.starts,
            (world.params, plan),
            agents=(world.agent, scripted_agent(1)),
            cfg=world.cfg,
            watch=watch,
        )
        return execution_of(finished, world, grid)

    return curve_of(order, grid, *(run(side) for side in SIDES))


def execution_of(finished: Iterable[Finished], world: World, grid: np.ndarray) -> Execution:
    """What a run did, on the grid; paths by their number."""
    count, lot = len(world.start_mid), world.cfg.market.lot_size
    mids = np.zeros((count, len(grid)))
    lots = np.zeros(count, np.int64)
    for path in finished:
        time, number = path.events.time, path.number
        seconds = np.asarray(time.sec) - world.begins + np.asarray(time.nsec) * NANOS
        mids[number] = on_grid(seconds, event_mid(path.events), world.start_mid[number], grid)
        lots[number] = int(path.accounts.bought[1] + path.accounts.sold[1]) // lot
    return Execution(mids, lots)


def curve_of(order: Metaorder, grid: np.ndarray, bought: Execution, sold: Execution) -> ImpactCurve:
    """The curve of an order from its two runs."""
    filled = (bought.lots.mean() + sold.lots.mean()) / (2 * order.lots)
    curve = ImpactCurve(order, grid, (bought.mids - sold.mids) / 2, np.nan, float(filled))
    change = lambda mids: (mids - mids[:, :1])[:, curve.end].var(ddof=1)
    left = curve.moves[:, curve.end].var(ddof=1)
    gain = (change(bought.mids) + change(sold.mids)) / left if left > 0 else np.nan
    return curve._replace(gain=float(gain))


def fit_power(size: np.ndarray, impact: np.ndarray) -> tuple[float, float]:
    """Exponent and scale of a power law by least squares of logarithms.

    Every point counts alike, as in the published exponents; weights would favour large sizes, where
    a curve that is no exact power law is flatter.

    Args:
      size: `[n]` above 0.
      impact: `[n]`; what is not above 0 is left out.

    Returns:
      nan, nan with fewer than two positive impacts.
    """
    known = impact > 0
    if known.sum() < 2:
        return np.nan, np.nan
    exponent, level = np.polyfit(np.log(size[known]), np.log(impact[known]), 1)
    return float(exponent), float(np.exp(level))


def summarise_impact(long: ImpactCurve, sized: list[ImpactCurve], seed: int) -> ImpactSummary:
    """Sizes, durations, profile and decay, with errors from resampled paths.

    Args:
      long: the curve of `LONG_ORDER`.
      sized: the curves of orders of several sizes; all of the same paths.
      seed: of the resamples.
    """
    rng = np.random.default_rng(seed)
    paths = len(long.moves)
    weights = rng.multinomial(paths, np.full(paths, 1 / paths), RESAMPLES) / paths
    weights = np.concatenate([np.full((1, paths), 1 / paths), weights])
    error_of = lambda draws: draws[1:].std(0, ddof=1)

    marks = [long.at(minutes * MINUTE) for minutes in DURATIONS]
    by_duration = weights @ long.moves[:, marks]
    by_size = np.stack([weights @ c.moves[:, c.end] for c in sized], 1)
    after = [c.at(c.order.seconds + DECAY_SECONDS) for c in sized]
    kept = np.stack([weights @ c.moves[:, i] for c, i in zip(sized, after, strict=True)], 1)
    within = sum(
        weights @ c.moves[:, [c.at(f * c.order.seconds) for f in FRACTIONS]] for c in sized
    )
    profile = within / by_size.sum(1, keepdims=True)
    bulge = (profile - np.array(FRACTIONS)).mean(1)
    left = kept.sum(1) / by_size.sum(1)

    lots = np.array([c.order.lots for c in sized], float)
    return ImpactSummary(
        duration_ticks=by_duration[0],
        duration_error=error_of(by_duration),
        duration_fit=_fit(np.array(DURATIONS, float), by_duration),
        size_ticks=by_size[0],
        size_error=error_of(by_size),
        size_fit=_fit(lots, by_size),
        profile=profile[0],
        profile_error=error_of(profile),
        bulge=float(bulge[0]),
        bulge_error=float(error_of(bulge)),
        left=float(left[0]),
        left_error=float(error_of(left)),
        paths=paths,
        gain=min(curve.gain for curve in (long, *sized)),
    )


def _fit(size: np.ndarray, impact: np.ndarray) -> Fit:
    """Of the first row; the error is the spread over the other rows `[1 + resamples, n]`."""
    fits = np.array([fit_power(size, row) for row in impact])
    spread = fits[1:, 0][np.isfinite(fits[1:, 0])]
    deviation = float(spread.std(ddof=1)) if len(spread) > 1 else np.nan
    return Fit(float(fits[0, 0]), deviation, float(fits[0, 1]))
