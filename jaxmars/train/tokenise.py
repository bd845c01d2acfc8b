"""A day's flow to rows, and to the raw quantities behind them; one compiled program per size."""

import datetime
import functools
from typing import NamedTuple

import jax
import numpy as np

from jaxmars import calendar
from jaxmars.config import MarketConfig
from jaxmars.data import Flow, nanoseconds
from jaxmars.data.flow import padded
from jaxmars.errors import InputError
from jaxmars.tokens.bins import Converters, TokenTables
from jaxmars.tokens.domain import Domain, flow_domain
from jaxmars.tokens.quantities import Quantities, quantities
from jaxmars.tokens.window import rows_of
from jaxmars.train.splits import Part
from jaxmars.types import L2, REJECTING, Event, Kind


class Opening(NamedTuple):
    """How a day began."""

    time: list[int]  # seconds and nanoseconds of the first record
    price: int  # ticks of the first trade after it, 0 without one


def measure(flow: Flow, market: MarketConfig) -> Quantities:
    """Raw quantities of a day, host arrays `[orders, ...]`."""
    whole = padded(flow)
    found = _measure(whole.event, whole.l2, market)
    return jax.tree.map(lambda x: np.asarray(x)[: len(flow.event.kind)], found)


def tokenise(flow: Flow, tables: TokenTables, market: MarketConfig) -> tuple[np.ndarray, ...]:
    """Rows `[orders, columns]` int32 of a day, and which are final `[orders]` bool."""
    whole, count = padded(flow), len(flow.event.kind)
    rows, final = _rows(tables, whole.event, whole.l2, market)
    return np.asarray(rows)[:count], np.asarray(final)[:count]


def opening(event: Event, market: MarketConfig) -> Opening:
    """The first record of a day and its first trade (`tokens.order.FeatureState`)."""
    record = np.isin(event.kind, (Kind.NONE, Kind.UNCROSS), invert=True)
    record &= (np.asarray(event.status) & REJECTING) == 0
    record &= ~np.asarray(calendar.in_auction(market.calendar, event.time))
    at = np.flatnonzero(record)
    if not len(at):
        return Opening([0, 0], 0)
    traded = at[1:][np.asarray(event.filled)[at[1:]] > 0]
    price = int(event.first_price[traded[0]]) if len(traded) else 0
    return Opening([int(event.time.sec[at[0]]), int(event.time.nsec[at[0]])], price)


def part_domain(converters: Converters, flow: Flow, found: Quantities, part: Part) -> Domain:
    """The summary of a part of a day; without orders an empty one."""
    here = jax.tree.map(lambda x: x[part.start : part.stop], found)
    if not here.final.any():
        return Domain(0.0, (), ())
    levels: L2 = jax.tree.map(lambda x: x[part.start : part.stop], flow.l2)
    return flow_domain(converters, levels, here)


def order_times(name: str, date: datetime.date, event: Event) -> np.ndarray:
    """Nanoseconds since midnight of a day's orders, `[orders]` int64.

    Raises:
      InputError: they go back.
    """
    stamps = nanoseconds(event.time.sec, event.time.nsec)
    back = np.flatnonzero(np.diff(stamps) < 0)
    if len(back):
        raise InputError(
            f"order {back[0] + 2} of {name} on {date} comes before the order before it, expected "
            "orders in time order"
        )
    return stamps


@functools.partial(jax.jit, static_argnames="market")
def _measure(event: Event, l2: L2, market: MarketConfig) -> Quantities:
    return quantities(market, event, l2)


@functools.partial(jax.jit, static_argnames="market")
def _rows(
    tables: TokenTables, event: Event, l2: L2, market: MarketConfig
) -> tuple[jax.Array, jax.Array]:
    return rows_of(tables, market, event, l2)
