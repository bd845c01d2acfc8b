"""A simulation: many trajectories of one scenario, and what came of them."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars import clock
from jaxmars.book import empty_accounts, wide_from_int
from jaxmars.clock_text import clock_text
from jaxmars.config import Calendar, PhaseKind
from jaxmars.data.start import event_mid
from jaxmars.sim.flight import make_delay
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.tasks.lane_plan import LanePlan, plan_lanes
from jaxmars.tasks.scenario import Scenario
from jaxmars.tasks.simulate_tables import (
    Labels,
    account_frame,
    event_frame,
    fill_frame,
    time_ns,
)
from jaxmars.types import Kind, Status

GRID = 600  # steps of a path from start to end
TABLE_TIMES = 6  # moments of the price table
LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)  # quantiles of the price table
MINUTE = 60
NANOS = 1e-9


class SimulationResult(NamedTuple):
    """Everything a simulation found. Host arrays; tables are in currency, arrays in ticks."""

    scenario: Scenario
    trajectories: list[Finished]  # by number
    seconds: np.ndarray  # [GRID + 1] float64, since midnight
    paths: np.ndarray  # [trajectories, GRID + 1] float64, mids; nan where there is none
    minutes: np.ndarray  # [minutes] int64, since midnight
    volume: np.ndarray  # [trajectories, minutes] int64, shares traded
    pace: Pace

    @property
    def labels(self) -> Labels:
        """Names of the agents and the tick."""
        traders = self.scenario.traders
        names, kinds = tuple(t.name for t in traders), tuple(t.kind for t in traders)
        return Labels(names, kinds, self.scenario.cfg.market.tick_size)

    def events(self) -> pd.DataFrame:
        """One row per event of every trajectory, in their order."""
        frames = [event_frame(t, self.labels) for t in self.trajectories]
        return pd.concat(frames, ignore_index=True)

    def fills(self) -> pd.DataFrame:
        """One row per fill and agent of every trajectory, in their order."""
        frames = [fill_frame(t, self.labels) for t in self.trajectories]
        return pd.concat(frames, ignore_index=True)

    def accounts(self) -> pd.DataFrame:
        """One row per trajectory and agent, at the end."""
        frames = [
            account_frame(t, self.labels, mid)
            for t, mid in zip(self.trajectories, self.final_mids, strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    @property
    def final_mids(self) -> np.ndarray:
        """Last known mid of every trajectory, `[trajectories]` float64 ticks; nan without."""
        return pd.DataFrame(self.paths).ffill(axis=1).to_numpy()[:, -1]

    def table(self) -> pd.DataFrame:
        """One row per agent: means over trajectories of orders, trading and profit, and the
        standard deviation of the profit."""
        accounts, num = self.accounts(), len(self.trajectories)
        each = lambda name: accounts[name].to_numpy(np.float64).reshape(num, -1)
        count = _orders_per_agent(self.trajectories, len(self.scenario.traders))

        def average(price: str, size: str) -> np.ndarray:
            """Over all shares of all trajectories."""
            shares = each(size).sum(0)
            value = (np.nan_to_num(each(price)) * each(size)).sum(0)
            return np.where(shares > 0, value / np.maximum(shares, 1), np.nan)

        return pd.DataFrame(
            {
                "agent": self.labels.names,
                "kind": self.labels.kinds,
                "orders": count[:, 0] / num,
                "cancels": count[:, 1] / num,
                "bought": each("bought").mean(0),
                "sold": each("sold").mean(0),
                "average_bought": average("average_bought", "bought"),
                "average_sold": average("average_sold", "sold"),
                "holdings": each("holdings").mean(0),
                "profit": each("profit").mean(0),
                "profit_sd": each("profit").std(0),
            }
        )

    def price_table(self) -> pd.DataFrame:
        """Quantiles of the mid at evenly spaced moments, in currency."""
        at = np.linspace(0, GRID, TABLE_TIMES + 1).astype(int)[1:]
        values = self.quantiles(LEVELS)[:, at] * self.labels.tick_size
        columns = {f"q{100 * level:g}": row for level, row in zip(LEVELS, values, strict=True)}
        times = [clock_text(round(second)) for second in self.seconds[at]]
        return pd.DataFrame({"time": times, **columns})

    def quantiles(self, levels: tuple[float, ...]) -> np.ndarray:
        """Quantiles of the mid on the grid over the trajectories that have one there,
        `[levels, GRID + 1]` float64 ticks; nan where none has."""
        found = np.full((len(levels), self.paths.shape[1]), np.nan)
        known = np.isfinite(self.paths).any(0)
        found[:, known] = np.nanquantile(self.paths[:, known], levels, axis=0)
        return found

    def plot(self, path: pathlib.Path) -> None:
        """Writes a figure of the mid paths and the traded volume as PNG."""
        from jaxmars.tasks.simulate_figure import draw

        draw(path, self)


def run_scenario(
    scenario: Scenario,
    watch: Callable[[Pace], None] = lambda pace: None,
    tell: Callable[[LanePlan], object] = lambda plan: None,
) -> SimulationResult:
    """Runs all trajectories of a scenario; trajectory i depends on (seed, i) only.

    Args:
      scenario: from `read_scenario`, or made in code.
      watch: called after every segment.
      tell: called once with how many trajectories run side by side, before they do.

    Raises:
      InputError: a trajectory that does not fit into memory.
    """
    start = jax.tree.map(lambda x: jnp.asarray(x)[None], start_of(scenario))
    agents = tuple(trader.agent for trader in scenario.traders)
    params = tuple(trader.params for trader in scenario.traders)
    plan = plan_lanes(start, params, agents, scenario.cfg)
    tell(plan)
    paces: list[Pace] = []

    def note(pace: Pace) -> None:
        paces.append(pace)
        watch(pace)

    run = run_lanes(
        scenario.seed,
        np.arange(scenario.trajectories),
        np.zeros(scenario.trajectories, np.int32),
        start,
        params,
        agents=agents,
        cfg=plan.cfg,
        watch=note,
    )
    finished = sorted(run, key=lambda t: t.number)
    return summarise(scenario, finished, paces[-1])


def start_of(scenario: Scenario) -> Start:
    """Where its trajectories begin, unbatched."""
    traders = scenario.traders
    owned = empty_accounts(len(traders))._replace(
        cash=wide_from_int(np.array([t.cash for t in traders], np.int64)),
        shares=jnp.array([t.shares for t in traders], jnp.int32),
    )
    delays = [make_delay(t.communication, t.computation) for t in traders]
    is_late = any(t.communication or t.computation for t in traders)
    return Start(
        book=scenario.book,
        time=clock.make_time(*scenario.begin),
        end=clock.make_time(*scenario.end),
        last_price=jnp.int32(scenario.last_price),
        memories=tuple(trader.memory for trader in traders),
        reference=jnp.int32(scenario.reference),
        accounts=owned,
        delay=jax.tree.map(lambda *x: jnp.stack(x), *delays) if is_late else None,
    )


def summarise(scenario: Scenario, finished: list[Finished], pace: Pace) -> SimulationResult:
    """Paths and volumes of finished trajectories."""
    begin, end = (sec + nsec * NANOS for sec, nsec in (scenario.begin, scenario.end))
    seconds = np.linspace(begin, end, GRID + 1)
    minutes = np.arange(int(begin) // MINUTE, -int(-end // MINUTE))
    calendar = scenario.cfg.market.calendar
    start_mid = scenario.start_mid if scenario.start_mid else np.nan
    return SimulationResult(
        scenario=scenario,
        trajectories=finished,
        seconds=seconds,
        paths=np.array([mid_path(t, seconds, start_mid, calendar) for t in finished]),
        minutes=minutes,
        volume=np.array([volume_per_minute(t, minutes) for t in finished]),
        pace=pace,
    )


def mid_path(
    trajectory: Finished, seconds: np.ndarray, start_mid: float, calendar: Calendar
) -> np.ndarray:
    """The last mid at or before each moment, `[grid]` float64 ticks.

    Orders that are collected for a call auction do not move it (they may cross). It is nan before
    there is a price, and after the last event of a trajectory that ran out of its event budget.
    """
    event = trajectory.events
    now = time_ns(trajectory) * NANOS
    counts = (event_mid(event) > 0) & ((event.kind == Kind.UNCROSS) | ~_collecting(now, calendar))
    mids = np.concatenate([[start_mid], event_mid(event)[counts]])
    path = mids[np.searchsorted(now[counts], seconds, "right")]
    if trajectory.status & Status.EVENT_BUDGET:
        path = np.where(seconds > now.max(initial=seconds[0]), np.nan, path)
    return path


def volume_per_minute(trajectory: Finished, minutes: np.ndarray) -> np.ndarray:
    """Shares traded in each minute, `[minutes]` int64."""
    place = time_ns(trajectory) // (MINUTE * clock.NANOS) - minutes[0]
    place = np.minimum(place, len(minutes) - 1)  # the end belongs to the last minute
    weights = np.asarray(trajectory.events.filled, np.float64)
    return np.bincount(place, weights, len(minutes)).astype(np.int64)


def _collecting(now: np.ndarray, calendar: Calendar) -> np.ndarray:
    """Whether moments, seconds, lie in a call auction, `[events]` bool."""
    found = np.zeros(len(now), bool)
    for phase in calendar.phases:  # a moment two phases share belongs to the later
        inside = (now >= phase.start) & (now <= phase.end)
        found = np.where(inside, phase.kind == PhaseKind.AUCTION, found)
    return found


def _orders_per_agent(trajectories: list[Finished], num: int) -> np.ndarray:
    """New orders and cancels of every agent, `[agents, 2]` int64."""
    count = np.zeros((num, 2), np.int64)
    for trajectory in trajectories:
        event = trajectory.events
        asked = (event.agent_id >= 0) & (event.kind != Kind.NONE)
        is_cancel = event.kind == Kind.CANCEL
        for column, rows in enumerate((asked & ~is_cancel, asked & is_cancel)):
            count[:, column] += np.bincount(event.agent_id[rows], minlength=num)
    return count
