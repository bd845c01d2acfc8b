"""Forecasts from many moments, each scored by what happened (paper section 4.1, 11,591 moments).

The moments are cut into chunks. A chunk depends on its moments and the seed only, so chunks can be
computed in any order, by several processes, and once each.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars.agents.policy import ContextPolicy
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.data.start import StartPoint
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.tasks import labels as rules
from jaxmars.tasks.forecast import MINUTE, ForecastResult, crowd, lane_start, summarise
from jaxmars.tasks.lane_plan import LanePlan, plan_lanes
from jaxmars.types import Kind


class Moment(NamedTuple):
    """Where forecasts begin, not loaded yet."""

    number: int  # among all moments of the backtest
    message: pathlib.Path | None  # LOBSTER files; None for a built-in start
    book: pathlib.Path | None
    at: tuple[int, int]  # seconds since midnight and nanoseconds; (number of the start, 0)

    @property
    def name(self) -> str:
        """For people."""
        if self.message is None:
            return f"builtin {self.at[0]}"
        return f"{self.message.stem.split('_')[0]} {self.at[0] + self.at[1] * 1e-9:.3f}"


class Loaded(NamedTuple):
    """A moment with what a forecast needs."""

    moment: Moment
    start: StartPoint


class Forecaster(NamedTuple):
    """Everything but the moments."""

    model: OrderModel
    policy: ContextPolicy
    cfg: SimConfig  # without the market of the moments
    trajectories: int  # of each moment
    minutes: int
    seed: int
    borders: rules.Thresholds | None
    chunk: int  # moments of a whole chunk; those with fewer run the same compiled programs


class ChunkResult(NamedTuple):
    """What a chunk leaves."""

    paths: pd.DataFrame  # one row per trajectory and minute
    horizons: pd.DataFrame  # one row per moment and horizon


def cut_chunks(moments: Sequence[Moment], size: int) -> list[list[Moment]]:
    """Moments of one record each, at most `size` together, in their order."""
    chunks: list[list[Moment]] = []
    for moment in moments:
        last = chunks[-1] if chunks else None
        if last and len(last) < size and last[0][1:3] == moment[1:3]:
            last.append(moment)
        else:
            chunks.append([moment])
    return chunks


def run_chunk(
    loaded: Sequence[Loaded],
    market: MarketConfig,
    forecaster: Forecaster,
    watch: Callable[[Pace], None] = lambda pace: None,
    tell: Callable[[LanePlan], object] = lambda plan: None,
) -> ChunkResult:
    """Forecasts from every moment of a chunk.

    Trajectory j of moment n has the number n * trajectories + j, with which its draws are keyed.

    Args:
      loaded: the moments, of one market.
      market: of all of them.
      forecaster: the model and what to do with it.
      watch: called after every segment.
      tell: called once, before anything runs.

    Raises:
      InputError: as `forecast`, with the moment.
    """
    each = forecaster.trajectories
    agent, params = crowd(forecaster.model, forecaster.policy, market, 1.0)
    cfg = dataclasses.replace(forecaster.cfg, market=market)
    starts = [_start_of(one, market, forecaster) for one in loaded]
    starts += starts[-1:] * (forecaster.chunk - len(starts))  # nothing begins from these
    stacked = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *starts)
    plan = plan_lanes(stacked, (params,), (agent,), cfg)
    tell(plan)
    place = np.repeat(np.arange(len(loaded), dtype=np.int32), each)
    first = np.array([one.moment.number for one in loaded], np.int64) * each
    numbers = (first[:, None] + np.arange(each)).reshape(-1)
    run = run_lanes(
        forecaster.seed,
        numbers,
        place,
        stacked,
        (params,),
        agents=(agent,),
        cfg=plan.cfg,
        watch=watch,
    )
    by_moment: dict[int, list[Finished]] = {one.moment.number: [] for one in loaded}
    for finished in run:
        by_moment[finished.number // each].append(finished)
    results = [(one, _result_of(one, by_moment[one.moment.number], forecaster)) for one in loaded]
    return ChunkResult(
        pd.concat([path_rows(*pair, market.tick_size) for pair in results], ignore_index=True),
        pd.concat([horizon_rows(*pair) for pair in results], ignore_index=True),
    )


def path_rows(one: Loaded, result: ForecastResult, tick_size: float) -> pd.DataFrame:
    """One row per trajectory and minute: mid, and what happened since the start."""
    minutes = np.flatnonzero((result.seconds > 0) & (result.seconds % MINUTE == 0))
    now = int(one.start.time.sec) + int(one.start.time.nsec) * 1e-9
    rows = []
    for j, trajectory in enumerate(result.trajectories):
        event = trajectory.events
        seconds = np.asarray(event.time.sec) + np.asarray(event.time.nsec) * 1e-9 - now
        at = np.searchsorted(seconds, result.seconds[minutes], "right")
        orders = np.concatenate([[0], np.cumsum(np.asarray(event.kind) != Kind.NONE)])
        shares = np.concatenate([[0], np.cumsum(np.asarray(event.filled, np.int64))])
        rows.append(
            pd.DataFrame(
                {
                    "moment": np.int32(one.moment.number),
                    "trajectory": np.int32(j),
                    "minute": (result.seconds[minutes] / MINUTE).astype(np.int16),
                    "mid": result.paths[j, minutes] * tick_size,
                    "orders": orders[at],
                    "shares": shares[at],
                    "status": np.int32(trajectory.status),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def horizon_rows(one: Loaded, result: ForecastResult) -> pd.DataFrame:
    """One row per horizon: probability of each class and, where known, what came and the score."""
    rows = result.class_table()
    score = result.score()
    if score is not None:
        rows = rows.merge(score.rename(columns={"minute": "minutes"}), on="minutes", how="left")
    rows.insert(0, "name", one.moment.name)
    rows.insert(0, "moment", one.moment.number)
    return rows


def share_of(chunks: int, process: int, processes: int) -> Iterator[int]:
    """The chunks of one of several processes."""
    return iter(range(process, chunks, processes))


def _start_of(one: Loaded, market: MarketConfig, forecaster: Forecaster) -> Start:
    try:
        return lane_start(
            one.start, forecaster.model, forecaster.policy, market, forecaster.minutes
        )
    except InputError as error:
        raise InputError(f"moment {one.moment.number} ({one.moment.name}): {error}") from error


def _result_of(one: Loaded, finished: list[Finished], forecaster: Forecaster) -> ForecastResult:
    ordered = sorted(finished, key=lambda trajectory: trajectory.number)
    pace = Pace(len(ordered), len(ordered), 0, 0.0, 0.0)
    return summarise(one.start, ordered, forecaster.minutes, forecaster.borders, pace)
