"""Many trajectories through a fixed number of lanes.

Activity differs a lot between trajectories, so a batch that waits for its slowest member would idle
most of its lanes. Here a lane that finishes is given the next trajectory at the next segment
boundary. Every compiled call has the same shape: `cfg.lanes` trajectories per device.

Where agents gain from it (`Agent.opening`), trajectories of one start go through their first
segment together, `cfg.opening_lanes` per device, before they are given lanes of their own.

The host works on the events of a segment while the devices run the next one: which lanes are over,
and so what runs next, follows from two numbers per lane.

What is bitwise: on one backend a trajectory depends on its key and its start only, not on how many
others there are, on which lane it runs, or on the number of devices, because each device always
computes the same shapes and every draw is keyed by (seed, trajectory, step). Another number of
lanes per device may round matrix products differently.
"""

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from jaxmars import devices
from jaxmars.agents.base import Agent
from jaxmars.book import Account, Book
from jaxmars.config import SimConfig
from jaxmars.sim import lane_programs as programs
from jaxmars.sim.lane_programs import SPLIT, WHOLE, Start, World
from jaxmars.sim.market import Recorder, no_recorder
from jaxmars.sim.rollout import Trajectory
from jaxmars.sim.state import MarketState
from jaxmars.types import Kind, Params, Status

KEPT_PROGRAMS = 16  # compiled, of the last runs of this process
ANY_BUDGET = 1  # events, in the place of the budget of a program


class Finished(NamedTuple):
    """One trajectory, on the host."""

    number: int  # of the trajectory
    events: Trajectory  # numpy, [events]; events of kind NONE and without status are left out
    status: int  # bits of Status
    steps: int  # steps taken, NONE events included
    book: Book  # at the end, numpy
    accounts: Account  # [agents], at the end
    record: Any  # what the recorder made of the events


class Pace(NamedTuple):
    """How a run is going."""

    finished: int
    wanted: int
    events: int  # orders so far
    run_seconds: float  # in compiled code
    compile_seconds: float


def trajectory_keys(seed: int, indices: np.ndarray) -> jax.Array:
    """One key per trajectory from (seed, index), `[n]`."""
    base = jax.random.key(seed)
    return jax.vmap(lambda i: jax.random.fold_in(base, i))(jnp.asarray(indices, jnp.uint32))


class _Path:
    """Host side of one trajectory: its events so far, and its market while it has no lane."""

    def __init__(self, number: int, start: int) -> None:
        self.number, self.start = number, start
        self.parts: list[Trajectory] = []
        self.steps = 0
        self.market: MarketState | None = None  # numpy; None before the first segment

    def finish(self, budget: int, kept: tuple[Book, Account, Any]) -> Finished:
        """The whole trajectory."""
        whole = jax.tree.map(lambda *x: np.concatenate(x), *self.parts)
        bits = int(np.bitwise_or.reduce(whole.status, initial=0))
        if self.steps == budget:
            bits |= int(Status.EVENT_BUDGET)
        return Finished(self.number, whole, bits, self.steps, *kept)


class _Segment(NamedTuple):
    """What the host has yet to do for a segment."""

    paths: list[_Path | None]  # that ran in it, by lane
    steps: np.ndarray  # [lanes], after it
    events: Trajectory  # [lanes, segment], on the devices
    ended: list[tuple[_Path, Any]]  # trajectories that ended in it, with what they leave; numpy


class _Run:
    """The compiled programs of a run with what they all read, and how it goes."""

    def __init__(
        self, seed: int, world: World, starts: Start, params: tuple[Params, ...], record: Any
    ) -> None:
        self.seed, self.world, self.record = seed, world, record
        self.mesh = devices.local_mesh(world.cfg.model_devices)
        self.groups = self.mesh.shape[devices.AXIS]
        self.starts = jax.device_put(starts, NamedSharding(self.mesh, WHOLE))
        places = jax.tree.map(lambda x: devices.divided(jnp.asarray(x), self.mesh), params)
        self.params = jax.device_put(params, places)
        self.compiled: dict[str, jax.stages.Compiled] = {}
        self.began = time.perf_counter()
        self.compile_seconds = 0.0
        self.finished = self.events = 0

    def keys(self, paths: list[_Path]) -> jax.Array:
        """Of these trajectories, divided over the devices."""
        numbers = np.array([path.number for path in paths])
        return self.put(trajectory_keys(self.seed, numbers))

    def put(self, x: Any) -> Any:
        """`x` with its leading axis divided over the devices."""
        return jax.device_put(x, NamedSharding(self.mesh, SPLIT))

    def begin(self, keys: jax.Array, start_of: np.ndarray) -> MarketState:
        """Markets at their starts."""
        specs = (SPLIT, SPLIT, WHOLE, WHOLE, WHOLE)
        args = (keys, self.put(start_of), self.starts, self.params, self.record)
        return self._call(programs.begin, specs, (), args)

    def segment(self, keys: jax.Array, markets: MarketState) -> tuple[MarketState, Trajectory]:
        """One segment of all lanes; `markets` is gone after it."""
        args = (keys, markets, self.params)
        return self._call(programs.segment, (SPLIT, SPLIT, WHOLE), (1,), args)

    def open_together(self, keys: jax.Array, places: np.ndarray) -> tuple[MarketState, Trajectory]:
        """The first segment of trajectories that begin alike on each device."""
        specs = (SPLIT, SPLIT, WHOLE, WHOLE, WHOLE)
        args = (keys, self.put(places), self.starts, self.params, self.record)
        return self._call(programs.open_together, specs, (), args)

    def over(self, paths: Sequence[_Path | None], done: np.ndarray, steps: np.ndarray) -> list[int]:
        """Lanes whose trajectory has come to its end: the market has stopped, or as many steps as
        the budget has are done."""
        budget = self.world.cfg.max_events
        return [i for i, path in enumerate(paths) if path and (done[i] or steps[i] >= budget)]

    def take(self, paths: Sequence[_Path | None], steps: np.ndarray, events: Trajectory) -> None:
        """Gives trajectories their events of a segment. What exceeds the budget is dropped, so that
        nothing depends on how long segments are.

        Args:
          paths: of each lane; None takes nothing.
          steps: `[lanes]` as the device counts them, after the segment.
          events: `[lanes, segment]`.
        """
        budget = self.world.cfg.max_events
        room = np.array([budget - path.steps if path else 0 for path in paths])
        for lane, (path, part) in enumerate(zip(paths, real_events(events, room), strict=True)):
            if path:
                path.parts.append(part)
                path.steps = min(int(steps[lane]), budget)
                self.events += len(part.kind)

    def collect(self, segment: _Segment) -> Iterator[Finished]:
        """The trajectories that ended in a segment, once all have their events of it."""
        self.take(segment.paths, segment.steps, jax.device_get(segment.events))
        for path, kept in segment.ended:
            yield self.finish(path, kept)

    def finish(self, path: _Path, kept: tuple[Book, Account, Any]) -> Finished:
        """A trajectory that has come to its end."""
        self.finished += 1
        return path.finish(self.world.cfg.max_events, kept)

    def pace(self, wanted: int) -> Pace:
        """How the run is going."""
        seconds = time.perf_counter() - self.began - self.compile_seconds
        return Pace(self.finished, wanted, self.events, seconds, self.compile_seconds)

    def _call(self, run: Callable[..., Any], specs: tuple, gone: tuple, args: tuple) -> Any:
        if run.__name__ not in self.compiled:
            began = time.perf_counter()
            self.compiled[run.__name__] = compile_program(self.world, run, specs, gone, args)
            self.compile_seconds += time.perf_counter() - began
        return self.compiled[run.__name__](*args)


def compile_program(
    world: World, run: Callable[..., Any], specs: tuple, gone: tuple, args: tuple
) -> jax.stages.Compiled:
    """A program of `lane_programs` for the devices of this process.

    Args:
      world: the run.
      run: the program.
      specs: how each argument lies on the devices.
      gone: the arguments whose memory it may reuse.
      args: shapes to compile for. A program for the same agents, market, segment and shapes is
        compiled once; the event budget, which it does not see, does not matter.
    """
    same = {"max_events": ANY_BUDGET, "lanes": 1, "opening_lanes": 0}
    world = world._replace(cfg=dataclasses.replace(world.cfg, **same))
    leaves, tree = jax.tree.flatten(args)
    return _compiled(world, run, specs, gone, tree, tuple(_shape_of(x) for x in leaves))


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _compiled(
    world: World,
    run: Callable[..., Any],
    specs: tuple,
    gone: tuple,
    tree: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
) -> jax.stages.Compiled:
    mapped = programs.on_devices(run, world, specs)
    return jax.jit(mapped, donate_argnums=gone).lower(*tree.unflatten(shapes)).compile()


def _shape_of(x: jax.Array) -> jax.ShapeDtypeStruct:
    weak = jax.typeof(x).weak_type
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding, weak_type=weak)


def run_lanes(
    seed: int,
    indices: np.ndarray,
    start_of: np.ndarray,
    starts: Start,
    params: tuple[Params, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: SimConfig,
    watch: Callable[[Pace], None] = lambda pace: None,
    recorder: Recorder = no_recorder,
    record: Any = (),
) -> Iterator[Finished]:
    """Runs trajectories until each is done or out of events, and yields them as they finish.

    Runs on the devices of this process; several processes each run their own share.

    Args:
      seed: of the run.
      indices: `[n]` numbers of the trajectories; with the seed they fix all randomness.
      start_of: `[n]` which start each begins from.
      starts: leading axis `[starts]`.
      params: one pytree per agent.
      agents: who trades.
      cfg: lanes per device, events per segment, event budget.
      watch: called after every segment.
      recorder: `(record, event) -> record`, pure; sees every step of a trajectory. Steps beyond the
        event budget that lie in its last segment are among them.
      record: what the recorder of each trajectory starts from.
    """
    run = _Run(seed, World(agents, cfg, recorder), starts, params, record)
    paths = [_Path(int(i), int(s)) for i, s in zip(indices, start_of, strict=True)]
    waiting: deque[_Path] = deque()  # trajectories without a lane
    groups = deque(_groups(paths, cfg.opening_lanes or cfg.lanes))
    if run.world.opening is None:
        waiting.extend(paths)
        groups.clear()
    lanes: list[_Path | None] = [None] * (cfg.lanes * run.groups)
    markets = last = None
    while groups or waiting or any(lanes):
        if groups and len(waiting) + sum(map(bool, lanes)) < len(lanes):
            yield from _open(run, groups, waiting)
            watch(run.pace(len(paths)))
            continue
        markets = _give_lanes(run, lanes, waiting, markets)
        spare = next(filter(None, lanes))
        held = [path or spare for path in lanes]
        markets, events = run.segment(run.keys(held), markets)
        if last is not None:  # the devices are busy meanwhile
            yield from run.collect(last)
            watch(run.pace(len(paths)))
        last = _end_segment(run, lanes, markets, events)
    if last is not None:
        yield from run.collect(last)
        watch(run.pace(len(paths)))


def _end_segment(
    run: _Run, lanes: list[_Path | None], markets: MarketState, events: Trajectory
) -> _Segment:
    """Waits for a segment and frees the lanes of the trajectories that ended in it. What they leave
    is fetched before the next segment writes over the markets, and one after the other: in
    `kept_of` devices talk to each other, and on a CPU several such programs at once can wait for
    each other's cores without end.
    """
    done, steps = jax.device_get((markets.done, markets.step))
    segment = _Segment(list(lanes), steps, events, [])
    for i in run.over(lanes, done, steps):
        path, lanes[i] = lanes[i], None
        assert path is not None
        segment.ended.append((path, jax.device_get(programs.kept_of(markets, i))))
    return segment


def _groups(paths: list[_Path], size: int) -> list[list[_Path]]:
    """Trajectories of one start each, at most `size` together, in the order of their starts."""
    by_start: dict[int, list[_Path]] = {}
    for path in paths:
        by_start.setdefault(path.start, []).append(path)
    return [of[i : i + size] for of in by_start.values() for i in range(0, len(of), size)]


def _open(run: _Run, groups: deque[list[_Path]], waiting: deque[_Path]) -> Iterator[Finished]:
    """Takes a group of trajectories per device through their first segment; those that end in it
    are yielded, the others wait for a lane."""
    width = run.world.cfg.opening_lanes or run.world.cfg.lanes
    now = [groups.popleft() for _ in range(min(len(groups), run.groups))]
    full = now + now[:1] * (run.groups - len(now))
    padded = [path for group in full for path in group + group[:1] * (width - len(group))]
    places = np.array([group[0].start for group in full], np.int32)
    markets, events = run.open_together(run.keys(padded), places)
    markets, events = jax.device_get((markets, events))
    own = [path for group in now for path in [*group, *[None] * (width - len(group))]]
    own += [None] * (len(padded) - len(own))
    run.take(own, markets.step, events)
    over = set(run.over(own, markets.done, markets.step))
    for i, path in enumerate(own):
        mine = jax.tree.map(lambda x, i=i: x[i], markets)
        if i in over:
            yield run.finish(path, (mine.book, mine.accounts, mine.record))
        elif path:
            path.market = mine
            waiting.append(path)


def _give_lanes(
    run: _Run, lanes: list[_Path | None], waiting: deque[_Path], markets: MarketState | None
) -> MarketState:
    """Puts trajectories that wait into free lanes, and their markets among those of the lanes."""
    replace = np.zeros(len(lanes), bool)
    for i, path in enumerate(lanes):
        if path is None and waiting:
            lanes[i] = waiting.popleft()
            replace[i] = True
    if markets is not None and not replace.any():
        return markets
    new = [path for path, is_new in zip(lanes, replace, strict=True) if path and is_new]
    held = [
        path if is_new and path else new[0] for path, is_new in zip(lanes, replace, strict=True)
    ]
    if new[0].market is None:
        fresh = run.begin(run.keys(held), np.array([path.start for path in held], np.int32))
    else:
        fresh = run.put(jax.tree.map(lambda *x: np.stack(x), *[path.market for path in held]))
        for path in new:
            path.market = None
    if markets is None:
        return fresh
    return programs.refill(markets, fresh, run.put(replace))


def real_events(events: Trajectory, room: np.ndarray) -> list[Trajectory]:
    """Events of each lane in which something happened: an order, or trouble.

    All lanes are searched at once: lane by lane takes about four times as long.

    Args:
      events: `[lanes, steps]`, numpy.
      room: `[lanes]` steps of each that count, from the first on.
    """
    keep = (events.kind != Kind.NONE) | (events.status != 0)
    keep &= np.arange(keep.shape[1]) < room[:, None]
    ends = np.cumsum(keep.sum(1)).tolist()
    found, structure = jax.tree.flatten(jax.tree.map(lambda x: x[keep], events))
    spans = zip([0, *ends], ends, strict=False)
    return [structure.unflatten([x[first:last] for x in found]) for first, last in spans]
