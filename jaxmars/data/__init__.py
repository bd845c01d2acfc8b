"""Real order flow: files to flow, flow against the book, and back to files."""

from jaxmars.data.ashare import AShareColumns, AShareDay, read_ashare, read_ashare_orders
from jaxmars.data.ashare_intervals import interval_differences
from jaxmars.data.continuous import ReplayReport, replay
from jaxmars.data.flow import Flow, flow_until, lobster_flow, order_rows, slice_flow, split_flow
from jaxmars.data.l3 import Action, L3Columns, read_l3
from jaxmars.data.lobster import (
    LobsterData,
    MessageType,
    cut_levels,
    nanoseconds,
    read_lobster,
    read_lobster_messages,
)
from jaxmars.data.lobster_continuous import lobster_continuous, lobster_messages
from jaxmars.data.lobster_deep import lobster_deep
from jaxmars.data.lobster_writer import write_lobster
from jaxmars.data.orderflow import L3Data, OrderFlow, Recorded
from jaxmars.data.parquet import read_events, write_events
from jaxmars.data.replay import (
    OneStepReport,
    event_mids,
    mid_path,
    one_step_mismatches,
    start_book,
)
from jaxmars.data.validate import validate
from jaxmars.data.venues import read_bitstamp, read_databento_mbo

__all__ = [
    "AShareColumns",
    "AShareDay",
    "Action",
    "Flow",
    "L3Columns",
    "L3Data",
    "LobsterData",
    "MessageType",
    "OneStepReport",
    "OrderFlow",
    "Recorded",
    "ReplayReport",
    "cut_levels",
    "event_mids",
    "flow_until",
    "interval_differences",
    "lobster_continuous",
    "lobster_deep",
    "lobster_flow",
    "lobster_messages",
    "mid_path",
    "nanoseconds",
    "one_step_mismatches",
    "order_rows",
    "read_ashare",
    "read_ashare_orders",
    "read_bitstamp",
    "read_databento_mbo",
    "read_events",
    "read_l3",
    "read_lobster",
    "read_lobster_messages",
    "replay",
    "slice_flow",
    "split_flow",
    "start_book",
    "validate",
    "write_events",
    "write_lobster",
]
