"""The compiled programs that lanes run. Every device computes the same shapes on its own share, so
how many devices there are changes nothing."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmars import devices
from jaxmars.agents.base import Agent
from jaxmars.book import Account, Book
from jaxmars.config import SimConfig
from jaxmars.sim.flight import Delay
from jaxmars.sim.market import Recorder
from jaxmars.sim.rollout import Trajectory, rollout
from jaxmars.sim.state import MarketState, init_market
from jaxmars.types import Params, Time

SPLIT, WHOLE = PartitionSpec(devices.AXIS), PartitionSpec()


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


class World(NamedTuple):
    """What the programs of a run have in common; hashable."""

    agents: tuple[Agent, ...]
    cfg: SimConfig
    recorder: Recorder

    @property
    def opening(self) -> tuple[Agent, ...] | None:
        """The agents of the first segment of trajectories that begin alike, if they differ."""
        if all(agent.opening is None for agent in self.agents):
            return None
        return tuple(agent.opening or agent for agent in self.agents)


def begin(
    world: World,
    keys: jax.Array,
    start_of: jax.Array,
    starts: Start,
    params: tuple[Params, ...],
    record: Any,
) -> MarketState:
    """Markets `[n]` at the starts they are given: keys `[n]`, start_of `[n]` int32."""

    def one(key: jax.Array, place: jax.Array) -> MarketState:
        start = jax.tree.map(lambda x: x[place], starts)
        return market_at(world, key, start, params, record)

    return jax.vmap(one)(keys, start_of)


def segment(
    world: World, keys: jax.Array, markets: MarketState, params: tuple[Params, ...]
) -> tuple[MarketState, Trajectory]:
    """One segment of markets `[n]`: what they become, and events `[n, segment]`."""
    return jax.vmap(one_segment(world, world.agents), in_axes=(0, 0, None))(keys, markets, params)


def open_together(
    world: World,
    keys: jax.Array,
    place: jax.Array,
    starts: Start,
    params: tuple[Params, ...],
    record: Any,
) -> tuple[MarketState, Trajectory]:
    """The first segment of trajectories `[n]` that begin at one start, `place` `[1]` int32."""
    assert world.opening is not None
    start = jax.tree.map(lambda x: x[place[0]], starts)
    pairs = zip(world.opening, params, start.memories, strict=True)
    common = tuple(agent.share(p, memory) for agent, p, memory in pairs)
    markets = jax.vmap(lambda key: market_at(world, key, start, params, record))(keys)
    return jax.vmap(one_segment(world, world.opening), in_axes=(0, 0, None))(keys, markets, common)


def market_at(
    world: World, key: jax.Array, start: Start, params: tuple[Params, ...], record: Any
) -> MarketState:
    """A market at a start."""
    return init_market(
        key,
        params,
        start.book,
        start.time,
        start.end,
        start.last_price,
        start.memories,
        agents=world.agents,
        cfg=world.cfg.market,
        accounts=start.accounts,
        delay=start.delay,
        reference=0 if start.reference is None else start.reference,
        record=record,
    )


def on_devices(run: Callable[..., Any], world: World, specs: tuple[PartitionSpec, ...]) -> Any:
    """`run(world, *args)` on every group of devices of this process at once, not yet compiled.

    Args:
      run: one of the functions above.
      world: the run.
      specs: `SPLIT` for each argument whose leading axis is divided over the devices, `WHOLE` for
        each that every device gets; results are split.
    """
    mesh = devices.local_mesh(world.cfg.model_devices)
    mapped = functools.partial(run, world)
    return jax.shard_map(
        mapped,
        mesh=mesh,
        in_specs=specs,
        out_specs=SPLIT,
        axis_names={devices.AXIS},
        check_vma=False,
    )


@functools.partial(jax.jit, donate_argnums=0)
def refill(markets: MarketState, fresh: MarketState, replace: jax.Array) -> MarketState:
    """`fresh` in the lanes where `replace` `[n]` is True."""
    pick = lambda old, new: jnp.where(replace.reshape(-1, *[1] * (old.ndim - 1)), new, old)
    return jax.tree.map(pick, markets, fresh)


@jax.jit
def kept_of(markets: MarketState, lane: jax.Array) -> tuple[Book, Account, Any]:
    """What a finished trajectory leaves besides its events; only this lane's leaves the device."""
    return jax.tree.map(lambda x: x[lane], (markets.book, markets.accounts, markets.record))


def one_segment(world: World, agents: tuple[Agent, ...]) -> Callable[..., Any]:
    """(key, market, params) -> one segment of one market: what it becomes, and its events."""
    return functools.partial(
        rollout,
        agents=agents,
        cfg=world.cfg,
        num_events=world.cfg.segment,
        recorder=world.recorder,
    )
