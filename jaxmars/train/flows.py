"""Recorded days of any kind as the flow that is tokenised: orders, and the book after each.

| source | what it holds | books |
|---|---|---|
| LOBSTER pair | messages, with executions merged into the orders that caused them | recorded |
| Parquet of `data.write_events` | the orders of a trajectory | stored in it |
| order table (`data.read_l3`, orders) | the orders that were sent | by matching them |

Tables of book *changes* are no source: what an order traded is there as cancels of others, which a
model would learn as cancels.
"""

import functools
import math
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmars.book import Book, apply_order, init_book, l2_snapshot
from jaxmars.config import MarketConfig
from jaxmars.data import Flow, L3Columns, lobster_flow, read_events, read_l3, read_lobster
from jaxmars.data.columns_file import read_columns
from jaxmars.data.flow import padded_rows
from jaxmars.data.lobster import PRICE_UNITS_PER_CURRENCY
from jaxmars.data.orderflow import OrderFlow, cut_flow
from jaxmars.errors import InputError
from jaxmars.types import L2, Event, Kind, Order, Status, Time, no_trades

FIRST_SLOTS = 512  # orders a side can hold, until more are needed
GROWTH = 4  # factor to the next try
MOST_SLOTS = 65_535  # sums over a side are exact up to here


class DayFlow(NamedTuple):
    """A day, ready to be tokenised."""

    flow: Flow
    tick_size: float  # currency
    lot_size: int  # shares


def lobster_day(message: pathlib.Path, book: pathlib.Path, tick: int | None) -> DayFlow:
    """A LOBSTER pair; `tick` in 1e-4 currency, None to find it from the prices.

    Raises:
      InputError: as in `data.read_lobster`.
    """
    data = read_lobster(message, book, tick)
    return DayFlow(lobster_flow(data), data.tick / PRICE_UNITS_PER_CURRENCY, data.lot)


def events_day(path: pathlib.Path, tick_size: float) -> DayFlow:
    """A trajectory that `data.write_events` wrote with its books; `tick_size` in currency.

    Raises:
      InputError: as in `data.read_events`, or the books were not stored.
    """
    stored = read_events(path)
    if stored.l2 is None:
        raise InputError(
            f"{path} holds no books, expected the levels after each event to be stored"
        )
    flow = Flow(stored.event._replace(trades=no_trades(len(stored.event.kind))), stored.l2)
    return DayFlow(flow, tick_size, _lot(stored.event))


def table_day(
    table: pathlib.Path, columns: pathlib.Path, tick: int | None, market: MarketConfig
) -> DayFlow:
    """A table of the orders that were sent, matched by our book.

    Args:
      table: the rows are orders, see `data.read_l3`.
      columns: TOML file that names its columns.
      tick: price units per tick, None to find it from the prices.
      market: levels of the books.

    Raises:
      InputError: as in `data.read_l3`; a calendar with call auctions, whose orders are matched
        otherwise; more resting orders than a book can hold.
    """
    if market.calendar.auction_ends:
        raise InputError(
            f"{table} is a table of orders, expected a calendar without call auctions for it"
        )
    data = read_l3(table, read_columns(columns, L3Columns), resting=False, tick=tick)
    flow = _matched(data.flow, market.levels, str(table))
    return DayFlow(flow, data.tick / data.price_scale, _lot(flow.event))


def _lot(event: Event) -> int:
    """Shares every new order is a multiple of."""
    new = np.isin(event.kind, (Kind.NONE, Kind.CANCEL, Kind.UNCROSS), invert=True)
    return max(math.gcd(*np.unique(np.asarray(event.size)[new]).tolist()), 1)


def _matched(orders: OrderFlow, levels: int, name: str) -> Flow:
    """The orders with what each did and the book after it; the book grows until all find room."""
    rows = len(orders.check)
    fill = padded_rows(rows) - rows
    pad: Any = lambda x: np.pad(x, (0, fill))
    time, order = (jax.tree.map(pad, x) for x in cut_flow(orders, 0, rows)[:2])
    slots = FIRST_SLOTS
    while True:
        event, l2 = _match(init_book(slots), order, time, levels)
        if not (np.asarray(event.status) & Status.BOOK_FULL).any():
            break
        if slots >= MOST_SLOTS:
            raise InputError(f"{name} leaves more than {MOST_SLOTS} orders in one side of the book")
        slots = min(slots * GROWTH, MOST_SLOTS)
    return jax.tree.map(lambda x: np.asarray(x)[:rows], Flow(event, l2))


@functools.partial(jax.jit, static_argnames="levels")
def _match(book: Book, order: Order, time: Time, levels: int) -> tuple[Event, L2]:
    """Sends orders `[rows]` into the book one by one."""

    def step(carry: tuple[Book, jax.Array], item: tuple[Order, Time]) -> tuple[Any, Any]:
        (book, last_price), (order, time) = carry, item
        book, fills = apply_order(book, order)
        l2 = l2_snapshot(book, levels)
        last_price = jnp.where(fills.filled > 0, fills.last_price, last_price)
        unpriced = order.kind == Kind.MARKET
        event = Event(
            time=time,
            kind=order.kind,
            side=order.side,
            price=jnp.where(unpriced, fills.last_price, fills.price),
            size=order.size,
            order_id=order.order_id,
            agent_id=order.agent_id,
            filled=fills.filled,
            first_price=fills.first_price,
            last_price=last_price,
            best_bid=l2.price[0, 0],
            best_ask=l2.price[1, 0],
            status=fills.status,
            trades=fills.trades,
        )
        return (book, last_price), (event, l2)

    start = (book, jnp.zeros((), jnp.int32))
    return lax.scan(step, start, (order, time))[1]
