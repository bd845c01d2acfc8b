"""A Monte Carlo forecast: many futures of one start, and their distribution."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars import clock
from jaxmars.agents.background import BackgroundParams, background_agent
from jaxmars.agents.policy import ContextPolicy
from jaxmars.book import with_slots
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.data.flow import slice_flow
from jaxmars.data.memory import flow_memories
from jaxmars.data.start import StartPoint, event_mid
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.tasks import labels as rules
from jaxmars.tasks.lane_plan import LanePlan, plan_lanes
from jaxmars.tokens.summary import Memory
from jaxmars.tokens.window import History, history_of, keep_last
from jaxmars.types import Kind, Side, Status

BANDS = (0.5, 0.8, 0.95)  # central shares of the fan
GRID_SECONDS = 5
FIRST_READ = 2  # windows of orders before a start that are read at first; merged cancels need more
MINUTE = 60
NANOS = 1e-9


class ForecastResult(NamedTuple):
    """Everything a forecast found. Host arrays; prices in ticks."""

    trajectories: list[Finished]  # by index
    seconds: np.ndarray  # [grid] float64, since the start
    paths: np.ndarray  # [trajectories, grid] float64, mids
    start_mid: float
    labels: np.ndarray  # [trajectories, HORIZONS] float64
    borders: rules.Thresholds
    truth: np.ndarray | None  # [grid] float64, recorded mids; None if unknown
    truth_labels: np.ndarray | None  # [HORIZONS]
    pace: Pace

    def quantiles(self) -> dict[float, np.ndarray]:
        """Quantiles of the paths on the grid: the median and both ends of every band."""
        levels = sorted({0.5} | {(1 + s * band) / 2 for band in BANDS for s in (-1, 1)})
        values = np.quantile(self.paths, levels, axis=0)
        return dict(zip(levels, values, strict=True))

    def table(self) -> pd.DataFrame:
        """One row per minute: quantiles of the mid, and the recorded mid where known."""
        minutes = np.flatnonzero((self.seconds > 0) & (self.seconds % MINUTE == 0))
        columns: dict[str, Any] = {"minute": (self.seconds[minutes] / MINUTE).astype(int)}
        for level, values in self.quantiles().items():
            columns[f"q{100 * level:g}"] = values[minutes]
        if self.truth is not None:
            columns["recorded"] = self.truth[minutes]
        return pd.DataFrame(columns)

    def class_table(self) -> pd.DataFrame:
        """One row per horizon: probability of each class, and the class of the mean label."""
        votes = rules.classes(self.labels, self.borders)
        share = np.stack([(votes == c).mean(0) for c in range(len(rules.CLASSES))], 1)
        mean = rules.classes(self.labels.mean(0), self.borders)
        frame = pd.DataFrame(share, columns=[f"P({name})" for name in rules.CLASSES])
        frame.insert(0, "minutes", rules.HORIZONS)
        frame["mean_label_bp"] = 1e4 * self.labels.mean(0)
        frame["class"] = [rules.CLASSES[c] for c in mean]
        if self.truth_labels is not None:
            real = rules.classes(self.truth_labels, self.borders)
            frame["recorded_label_bp"] = 1e4 * self.truth_labels
            frame["recorded_class"] = [rules.CLASSES[c] for c in real]
        longest = self.seconds[-1] / MINUTE
        return frame.loc[frame["minutes"] <= longest].reset_index(drop=True)

    def score(self) -> pd.DataFrame | None:
        """How well each minute was forecast; None without a record.

        Columns: absolute error of the median, CRPS (both in ticks; that of the unchanged mid
        beside it), rank of the recorded mid among the paths in [0, 1], and in which bands it lies.
        """
        if self.truth is None:
            return None
        rows = []
        for i in np.flatnonzero((self.seconds > 0) & (self.seconds % MINUTE == 0)):
            x, real = self.paths[:, i], self.truth[i]
            row = {
                "minute": int(self.seconds[i] / MINUTE),
                "median_error_ticks": abs(float(np.median(x)) - real),
                "crps_ticks": crps(x, real),
                "crps_unchanged_ticks": abs(self.start_mid - real),
                "rank": float((x < real).mean() + (x == real).mean() / 2),
            }
            for band in BANDS:
                low, high = np.quantile(x, [(1 - band) / 2, (1 + band) / 2])
                row[f"in_{band:.0%}"] = bool(low <= real <= high)
            rows.append(row)
        return pd.DataFrame(rows)

    def events(self) -> pd.DataFrame:
        """One row per event of every trajectory, in their order."""
        frames = [_event_frame(t) for t in self.trajectories]
        return pd.concat(frames, ignore_index=True)

    def status_counts(self) -> dict[str, int]:
        """How many trajectories raised each status bit."""
        found = np.array([t.status for t in self.trajectories])
        return {
            str(bit.name): int((found & bit != 0).sum()) for bit in Status if (found & bit).any()
        }


def crps(sample: np.ndarray, real: float) -> float:
    """Continuous ranked probability score of a sample, in its unit (Gneiting and Raftery 2007)."""
    ordered = np.sort(sample)
    n = len(ordered)
    spread = 2 * np.sum(ordered * (2 * np.arange(1, n + 1) - n - 1)) / n**2
    return float(np.abs(ordered - real).mean() - spread / 2)


def forecast(
    start: StartPoint,
    model: OrderModel,
    policy: ContextPolicy,
    *,
    trajectories: int,
    minutes: int,
    seed: int,
    cfg: SimConfig,
    temperature: float = 1.0,
    borders: rules.Thresholds | None = None,
    watch: Callable[[Pace], None] = lambda pace: None,
    tell: Callable[[LanePlan], object] = lambda plan: None,
) -> ForecastResult:
    """Runs `trajectories` futures of a start.

    Args:
      start: book and orders so far.
      model: with converters.
      policy: how much of the past the model reads.
      trajectories: number of futures; future i depends on (seed, i) only.
      minutes: horizon.
      seed: of all draws.
      cfg: lanes, event budget, instrument; its segment is taken from the policy.
      temperature: of the model's softmax.
      borders: of the classes; half a tick either way without.
      watch: called after every segment.
      tell: called once with how many futures run side by side, before they do.

    Raises:
      InputError: nothing to run, no converters, no price or too few orders at the start, fewer
        slots than its book has, or a future that does not fit into memory.
    """
    if min(trajectories, minutes) < 1 or not 0 < temperature < math.inf:
        raise InputError(
            f"{trajectories} futures of {minutes} minutes at temperature {temperature} were asked "
            "for, expected positive numbers"
        )
    cfg = dataclasses.replace(cfg, segment=policy.segment)
    agent, params = crowd(model, policy, cfg.market, temperature)
    one = lane_start(start, model, policy, cfg.market, minutes)
    starts = jax.tree.map(lambda x: jnp.asarray(x)[None], one)
    plan = plan_lanes(starts, (params,), (agent,), cfg)
    tell(plan)
    paces: list[Pace] = []

    def note(pace: Pace) -> None:
        paces.append(pace)
        watch(pace)

    run = run_lanes(
        seed,
        np.arange(trajectories),
        np.zeros(trajectories, np.int32),
        starts,
        (params,),
        agents=(agent,),
        cfg=plan.cfg,
        watch=note,
    )
    finished = sorted(run, key=lambda t: t.number)
    return summarise(start, finished, minutes, borders, paces[-1])


def lane_start(
    start: StartPoint, model: OrderModel, policy: ContextPolicy, market: MarketConfig, minutes: int
) -> Start:
    """Where the futures of a start begin, and when they end.

    Raises:
      InputError: no price or too few orders at the start, or fewer slots than its book has.
    """
    if mid_at(start) <= 0:
        raise InputError(
            "the book at the start is empty and nothing has traded yet, expected a price to start "
            "from"
        )
    history = start_history(start, model, market, needed_orders(model, policy))
    if start.book.size.shape[1] > market.slots:
        raise InputError(
            f"the book has {market.slots} slots per side, expected at least "
            f"{start.book.size.shape[1]}, those of the start"
        )
    end = (int(start.time.sec) + minutes * MINUTE, int(start.time.nsec))
    return Start(
        book=with_slots(start.book, market.slots),
        time=clock.make_time(start.time.sec, start.time.nsec),
        end=clock.make_time(*end),
        last_price=jnp.int32(start.last_price),
        memories=(history,),
    )


def crowd(
    model: OrderModel, policy: ContextPolicy, market: MarketConfig, temperature: float
) -> tuple[Any, BackgroundParams]:
    """The order model as an agent, and its parameters.

    Raises:
      InputError: the model has no bins, or bins of another number than its slots.
    """
    agent = background_agent(model.graphdef, model.config, market, policy)
    return agent, BackgroundParams(model.params, model.tables(), jnp.float32(temperature))


def needed_orders(model: OrderModel, policy: ContextPolicy) -> int:
    """Orders a start must hold: the shortest context the policy reads, and the opening record."""
    return max(model.config.num_max_orders - policy.segment, 1) + 1


def start_history(
    start: StartPoint, model: OrderModel, market: MarketConfig, needed: int
) -> History:
    """What the model knows at the start.

    Raises:
      InputError: fewer rows than `needed` less one.
    """
    tables, window = model.tables(), model.config.num_max_orders
    length, orders = FIRST_READ * window, len(start.flow.event.kind)
    while True:
        first = max(orders - length, 0)
        event, l2 = slice_flow(start.flow, first, orders)
        opened = start.open_time, start.open_price, memory_at(start, market, first)
        history = _history(tables, event, l2, *opened, market=market, window=window + 1)
        if int(history.window.count) > window or length >= orders:
            break
        length *= 2
    last = keep_last(history.window, window)
    history = history._replace(window=last._replace(rows=last.rows[:window]))
    if int(history.window.count) < needed - 1:
        raise InputError(
            f"the start has {int(history.window.count)} orders before it (cancels at one price "
            f"and time count once), expected at least {needed - 1} for this model"
        )
    return history


def memory_at(start: StartPoint, market: MarketConfig, number: int) -> Memory:
    """The memory after order `number` of a start's flow."""
    if not number:
        return start.memory
    skipped = slice_flow(start.flow, 1, number + 1)
    return jax.tree.map(lambda x: x[-1], flow_memories(skipped, market, start.memory))


_history = jax.jit(
    lambda tables, event, l2, *opened, market, window: history_of(
        tables, market, window, event, l2, *opened
    ),
    static_argnames=("market", "window"),
)


def summarise(
    start: StartPoint,
    finished: list[Finished],
    minutes: int,
    borders: rules.Thresholds | None,
    pace: Pace,
) -> ForecastResult:
    """Paths, labels and the record on one grid."""
    now = int(start.time.sec) + int(start.time.nsec) * NANOS
    start_mid = mid_at(start)
    grid = np.arange(0.0, minutes * MINUTE + GRID_SECONDS / 2, GRID_SECONDS)
    paths, found = [], []
    for trajectory in finished:
        seconds = _seconds(trajectory) - now
        mid = event_mid(trajectory.events)
        paths.append(on_grid(seconds, mid, start_mid, grid))
        found.append(rules.labels(seconds, mid, start_mid))
    known = is_recorded(start, grid[-1])
    truth = on_grid(*start.future, start_mid, grid) if known else None
    truth_labels = rules.labels(*start.future, start_mid) if known else None
    return ForecastResult(
        trajectories=finished,
        seconds=grid,
        paths=np.array(paths),
        start_mid=start_mid,
        labels=np.array(found),
        borders=rules.half_tick(start_mid) if borders is None else borders,
        truth=truth,
        truth_labels=truth_labels,
        pace=pace,
    )


def mid_at(start: StartPoint) -> float:
    """Mid at the start, ticks; 0 if there has never been a price."""
    return float(event_mid(start.flow.event)[-1])


def is_recorded(start: StartPoint, seconds: float) -> bool:
    """Whether the record after the start reaches this far; a grid step short of it is enough."""
    recorded = start.future.seconds
    return len(recorded) > 0 and recorded[-1] >= seconds - GRID_SECONDS


def on_grid(seconds: np.ndarray, mid: np.ndarray, start_mid: float, grid: np.ndarray) -> np.ndarray:
    """The last mid at or before each grid time, `start_mid` before the first."""
    at = np.searchsorted(seconds, grid, "right")
    return np.concatenate([[start_mid], mid])[at]


def _seconds(trajectory: Finished) -> np.ndarray:
    time = trajectory.events.time
    return np.asarray(time.sec) + np.asarray(time.nsec) * NANOS


def _event_frame(trajectory: Finished) -> pd.DataFrame:
    event = trajectory.events
    nanoseconds = np.asarray(event.time.sec, np.int64) * clock.NANOS + event.time.nsec
    columns: dict[str, Any] = {"trajectory": np.int32(trajectory.number), "time_ns": nanoseconds}
    for name in event._fields:
        if name not in ("time", "trades"):
            columns[name] = getattr(event, name)
    frame = pd.DataFrame(columns)
    frame["kind"] = pd.Categorical.from_codes(frame["kind"].to_numpy(), [k.name for k in Kind])
    frame["side"] = pd.Categorical.from_codes(frame["side"].to_numpy(), [s.name for s in Side])
    return frame
