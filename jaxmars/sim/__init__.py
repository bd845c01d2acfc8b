"""The loop: one event per trajectory per step."""

from jaxmars.sim.flight import Delay, make_delay, no_delay
from jaxmars.sim.lanes import Finished, Pace, Start, bytes_per_lane, run_lanes, trajectory_keys
from jaxmars.sim.market import Recorder, no_recorder, step
from jaxmars.sim.reference_market import open_session, opening_book, reference_market
from jaxmars.sim.rollout import Trajectory, record, rollout, simulate
from jaxmars.sim.state import MarketState, init_market, prepare

__all__ = [
    "Delay",
    "Finished",
    "MarketState",
    "Pace",
    "Recorder",
    "Start",
    "Trajectory",
    "bytes_per_lane",
    "init_market",
    "make_delay",
    "no_delay",
    "no_recorder",
    "open_session",
    "opening_book",
    "prepare",
    "record",
    "reference_market",
    "rollout",
    "run_lanes",
    "simulate",
    "step",
    "trajectory_keys",
]
