"""The loop: one event per trajectory per step."""

from jaxmars.sim.flight import Delay, make_delay, no_delay
from jaxmars.sim.lane_memory import LaneMemory, lane_memory, opening_memory
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes, trajectory_keys
from jaxmars.sim.market import Recorder, no_recorder, step
from jaxmars.sim.reference_market import open_session, opening_book, reference_market
from jaxmars.sim.rollout import Trajectory, record, rollout, simulate
from jaxmars.sim.state import MarketState, init_market, prepare

__all__ = [
    "Delay",
    "Finished",
    "LaneMemory",
    "MarketState",
    "Pace",
    "Recorder",
    "Start",
    "Trajectory",
    "init_market",
    "lane_memory",
    "make_delay",
    "no_delay",
    "no_recorder",
    "open_session",
    "opening_book",
    "opening_memory",
    "prepare",
    "record",
    "reference_market",
    "rollout",
    "run_lanes",
    "simulate",
    "step",
    "trajectory_keys",
]
