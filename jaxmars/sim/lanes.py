"""Many trajectories through a fixed number of lanes.

Activity differs a lot between trajectories, so a batch that waits for its slowest member would idle
most of its lanes. Here a lane that finishes is given the next trajectory at the next segment
boundary. Every compiled call has the same shape: `cfg.lanes` trajectories per device.

What is bitwise: on one backend a trajectory depends on its key and its start only, not on how many
others there are, on which lane it runs, or on the number of devices, because each device always
computes the same shapes and every draw is keyed by (seed, trajectory, step). Another number of
lanes per device may round matrix products differently.
"""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import devices
from jaxmars.agents.base import Agent
from jaxmars.book import Account, Book
from jaxmars.config import SimConfig
from jaxmars.sim.flight import Delay
from jaxmars.sim.market import Recorder, no_recorder
from jaxmars.sim.rollout import Trajectory, rollout
from jaxmars.sim.state import MarketState, init_market
from jaxmars.types import Kind, Params, Status, Time


class Start(NamedTuple):
    """Where trajectories begin. A leading axis `[starts]` on every leaf holds several of them."""

    book: Book
    time: Time
    end: Time  # last moment at which an agent acts
    last_price: jax.Array  # [] int32, ticks
    memories: tuple[Any, ...]  # one per agent
    reference: jax.Array | None = None  # [] int32, ticks; unknown without it
    accounts: Account | None = None  # [agents]; agents own nothing without it
    delay: Delay | None = None  # [agents]; no latency without it


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


@functools.partial(jax.jit, static_argnames=("agents", "cfg"))
def _init_lanes(keys, index, starts: Start, params, record, agents, cfg):
    def one(key: jax.Array, index: jax.Array) -> MarketState:
        start = jax.tree.map(lambda x: x[index], starts)
        return init_market(
            key,
            params,
            start.book,
            start.time,
            start.end,
            start.last_price,
            start.memories,
            agents=agents,
            cfg=cfg.market,
            accounts=start.accounts,
            delay=start.delay,
            reference=0 if start.reference is None else start.reference,
            record=record,
        )

    return jax.vmap(one)(keys, index)


@functools.partial(jax.jit, donate_argnums=0)
def _refill(markets: MarketState, fresh: MarketState, replace: jax.Array) -> MarketState:
    pick = lambda old, new: jnp.where(replace.reshape(-1, *[1] * (old.ndim - 1)), new, old)
    return jax.tree.map(pick, markets, fresh)


@jax.jit
def _kept_of(markets: MarketState, lane: jax.Array) -> tuple[Book, Account, Any]:
    """What a finished trajectory leaves besides its events; only this lane's leaves the device."""
    return jax.tree.map(lambda x: x[lane], (markets.book, markets.accounts, markets.record))


def _compile_segment(keys, markets, params, agents, cfg, recorder) -> jax.stages.Compiled:
    """One segment of all lanes; lanes stay on the devices they are on."""
    run = functools.partial(
        rollout, agents=agents, cfg=cfg, num_events=cfg.segment, recorder=recorder
    )
    lanes = jax.vmap(run, in_axes=(0, 0, None))
    segment = jax.jit(lanes, donate_argnums=1, out_shardings=devices.split())
    return segment.lower(keys, markets, params).compile()


class _Lane:
    """Host side of one lane: which trajectory it runs, its events and steps so far."""

    def __init__(self) -> None:
        self.index = -1
        self.parts: list[Trajectory] = []
        self.steps = 0

    def take(self, events: Trajectory, steps: int, budget: int) -> None:
        """Adds the events of a segment, after which the device counts `steps`; what exceeds the
        budget is dropped, so that nothing depends on how long segments are."""
        room = budget - self.steps
        self.parts.append(real_events(jax.tree.map(lambda x: x[:room], events)))
        self.steps = min(steps, budget)

    def finish(self, number: int, budget: int, kept: tuple[Book, Account, Any]) -> Finished:
        """The trajectory of that number; the lane is free again."""
        whole = jax.tree.map(lambda *x: np.concatenate(x), *self.parts)
        bits = int(np.bitwise_or.reduce(whole.status, initial=0))
        if self.steps == budget:
            bits |= int(Status.EVENT_BUDGET)
        finished = Finished(number, whole, bits, self.steps, *kept)
        self.index, self.parts, self.steps = -1, [], 0
        return finished


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
    num = cfg.lanes * jax.device_count()
    params, starts = jax.device_put((params, starts), devices.everywhere())
    put = lambda x: jax.device_put(x, devices.split())

    lanes = [_Lane() for _ in range(num)]
    waiting = list(range(len(indices)))[::-1]
    current = np.zeros(num, np.int64)
    markets = None
    finished = events_seen = 0
    compiled = None
    compile_seconds = 0.0
    began = time.perf_counter()
    while finished < len(indices):
        replace = np.zeros(num, bool)
        for i, lane in enumerate(lanes):
            if lane.index < 0 and waiting:
                lane.index = current[i] = waiting.pop()
                replace[i] = True
        keys = put(trajectory_keys(seed, indices[current]))
        if replace.any():
            fresh = _init_lanes(keys, put(start_of[current]), starts, params, record, agents, cfg)
            fresh = put(fresh)
            markets = fresh if markets is None else _refill(markets, fresh, put(replace))
        if compiled is None:
            compiled = _compile_segment(keys, markets, params, agents, cfg, recorder)
            compile_seconds = time.perf_counter() - began
        markets, events = compiled(keys, markets, params)
        done, steps, events = jax.device_get((markets.done, markets.step, events))
        for i, lane in enumerate(lanes):
            if lane.index < 0:
                continue
            lane.take(jax.tree.map(lambda x, i=i: x[i], events), int(steps[i]), cfg.max_events)
            events_seen += len(lane.parts[-1].kind)
            if done[i] or lane.steps == cfg.max_events:
                finished += 1
                kept = jax.device_get(_kept_of(markets, i))
                yield lane.finish(int(indices[lane.index]), cfg.max_events, kept)
        seconds = time.perf_counter() - began - compile_seconds
        watch(Pace(finished, len(indices), events_seen, seconds, compile_seconds))


def real_events(events: Trajectory) -> Trajectory:
    """Events in which something happened: an order, or trouble."""
    keep = (events.kind != Kind.NONE) | (events.status != 0)
    return jax.tree.map(lambda x: x[keep], events)


def bytes_per_lane(
    starts: Start, params: tuple[Params, ...], agents: tuple[Agent, ...], cfg: SimConfig
) -> int:
    """Device memory one trajectory's state takes, bytes; nothing is allocated."""
    keys = jax.ShapeDtypeStruct((1,), jax.random.key(0).dtype)
    index = jax.ShapeDtypeStruct((1,), jnp.int32)
    init = functools.partial(_init_lanes, agents=agents, cfg=cfg)
    markets = jax.eval_shape(init, keys, index, starts, params, ())
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(markets))
