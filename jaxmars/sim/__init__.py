"""The loop: one event per trajectory per step."""

from jaxmars.sim.lanes import Finished, Pace, Start, bytes_per_lane, run_lanes, trajectory_keys
from jaxmars.sim.market import MarketState, init_market, prepare, step
from jaxmars.sim.reference_market import open_session, opening_book, reference_market
from jaxmars.sim.rollout import Trajectory, record, rollout, simulate

__all__ = [
    "Finished",
    "MarketState",
    "Pace",
    "Start",
    "Trajectory",
    "bytes_per_lane",
    "init_market",
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
