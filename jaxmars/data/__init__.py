"""Real order flow: files to flow, and flow against the book."""

from jaxmars.data.flow import Flow, flow_until, lobster_flow, order_rows, slice_flow, split_flow
from jaxmars.data.lobster import LobsterData, MessageType, cut_levels, nanoseconds, read_lobster
from jaxmars.data.replay import (
    OneStepReport,
    event_mids,
    mid_path,
    one_step_mismatches,
    start_book,
)

__all__ = [
    "Flow",
    "LobsterData",
    "MessageType",
    "OneStepReport",
    "cut_levels",
    "event_mids",
    "flow_until",
    "lobster_flow",
    "mid_path",
    "nanoseconds",
    "one_step_mismatches",
    "order_rows",
    "read_lobster",
    "slice_flow",
    "split_flow",
    "start_book",
]
