"""How many trajectories run side by side: planned from their memory before anything runs."""

import dataclasses
from typing import NamedTuple

import jax

from jaxmars import devices
from jaxmars.agents.base import Agent
from jaxmars.config import SimConfig
from jaxmars.errors import InputError
from jaxmars.sim.lane_memory import LaneMemory, lane_memory, opening_memory
from jaxmars.sim.lanes import Start
from jaxmars.types import Params

USABLE = 0.8  # of a device's memory; the rest is for what a compiled program needs in passing
OPENING_LANES = 64  # per device of a CPU: 1.4 times as fast as 16
TURN = 64  # lanes; contexts of more are encoded in turns that divide their number
KIB, MIB, GIB = 2**10, 2**20, 2**30


class LanePlan(NamedTuple):
    """What fits."""

    cfg: SimConfig  # with as many lanes as fit, at most those asked for
    asked: SimConfig
    own: LaneMemory  # of trajectories with lanes of their own
    opening: LaneMemory | None  # of trajectories in a first segment they share
    device_bytes: int

    def __str__(self) -> str:
        """A few words for the user."""
        share = self.cfg.lanes * self.own.lane + self.own.fixed
        text = (
            f"{self.cfg.lanes} lanes per device of {size(self.own.lane)} each, {size(share)} in all"
        )
        if self.opening:
            text += f"; {self.cfg.opening_lanes} of {size(self.opening.lane)} while they share"
        text += f"; a device has {size(self.device_bytes)}"
        if self.cfg.lanes < self.asked.lanes:
            text += f", not enough for {self.asked.lanes} lanes: they take turns"
        return text


def plan_lanes(
    starts: Start, params: tuple[Params, ...], agents: tuple[Agent, ...], cfg: SimConfig
) -> LanePlan:
    """As many of the lanes asked for as fit into the memory of a device; the others take turns.

    Args:
      starts: leading axis `[starts]`.
      params: one pytree per agent.
      agents: who trades.
      cfg: the lanes asked for.

    Raises:
      InputError: not even one trajectory fits.
    """
    there = devices.memory_bytes()
    own = lane_memory(starts, params, agents, cfg)
    opening = opening_memory(starts, params, agents, cfg)
    lanes = min(cfg.lanes, most_lanes(own, there))
    together = cfg.opening_lanes or cfg.lanes
    if opening:
        together = min(together, most_lanes(opening, there))
    if min(lanes, together) < 1:
        raise InputError(
            f"one trajectory takes {size(own.lane + own.fixed)}, expected at most {USABLE:.0%} of "
            f"the {size(there)} of a device: take fewer slots or a smaller model"
        )
    fits = dataclasses.replace(cfg, lanes=lanes, opening_lanes=together if opening else 0)
    return LanePlan(fits, cfg, own, opening, there)


def most_lanes(memory: LaneMemory, device_bytes: int) -> int:
    """Lanes that fit, whole turns of them where they are many."""
    lanes = max(int(USABLE * device_bytes) - memory.fixed, 0) // memory.lane
    return lanes - lanes % TURN if lanes > TURN else lanes


def default_lanes(trajectories: int) -> int:
    """Lanes per device to ask for: on a CPU what its caches hold, elsewhere all there is work for.

    Args:
      trajectories: in all that this process runs.
    """
    if jax.default_backend() == "cpu":
        return SimConfig().lanes
    return -(-trajectories // jax.local_device_count())


def default_opening_lanes(trajectories: int) -> int:
    """`default_lanes` for trajectories that share their first segment, whose state is smaller."""
    if jax.default_backend() == "cpu":
        return OPENING_LANES
    return -(-trajectories // jax.local_device_count())


def size(num_bytes: int) -> str:
    """A number of bytes in words."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:,.1f} {name}"
    return f"{num_bytes / KIB:,.0f} KiB"
