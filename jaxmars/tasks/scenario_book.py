"""How the book of a scenario begins: table [book]."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.book import Book, book_from_orders, init_book, with_slots
from jaxmars.builtin import default_starts
from jaxmars.config import MarketConfig
from jaxmars.data import read_lobster
from jaxmars.data.lobster import PRICE_UNITS_PER_CURRENCY
from jaxmars.data.start import StartPoint, event_mid, load_start, lobster_start
from jaxmars.errors import InputError
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.scenario_market import MOST_SHARES
from jaxmars.tasks.scenario_table import Table
from jaxmars.types import Side

NOBODY = -1  # owner of orders that belong to no agent
MOST_STARTS = 1_000_000
MOST_UNITS = 10**9  # of a tick
SIDES = {side.name.lower(): side for side in Side}


class Opening(NamedTuple):
    """The market at the start of a scenario. Host arrays."""

    book: Book
    last_price: int  # ticks of the last trade, 0 before any
    mid: float  # ticks; 0 if nothing rests and nothing has traded
    past: StartPoint | None  # with the orders so far, where they are known


class Source(NamedTuple):
    """Where the book comes from, before the market is known."""

    market: MarketConfig  # what is not said of the market otherwise
    is_fixed: bool  # whether its tick and lot must stay
    at: tuple[int, int] | None  # the moment it is about (sec, nsec), None for any
    words: str  # for titles
    open: Callable[[MarketConfig, tuple[int, int]], Opening]
    """(market, moment) -> the market then."""


def read_source(table: Table, folder: pathlib.Path, owners: dict[str, int], crowd: int) -> Source:
    """What [book] asks for; an empty book if it says nothing.

    Args:
      table: [book].
      folder: where paths start.
      owners: agent ids by name.
      crowd: owner of orders without one.
    """
    given = [key for key in ("builtin", "lobster", "orders") if key in table]
    if len(given) > 1:
        raise InputError(f"{table.where} has {given[0]} and {given[1]}, expected one of them")
    if "owner" in table:
        crowd = owners[table.choice("owner", owners)]
    if "builtin" in table:
        source = _builtin(table, crowd)
    elif "lobster" in table:
        source = _lobster(table, folder, crowd)
    elif "orders" in table:
        source = _orders(table, owners, crowd)
    else:
        source = Source(MarketConfig(), False, None, "an empty book", _empty)
    table.finish()
    return source


def _empty(market: MarketConfig, moment: tuple[int, int]) -> Opening:
    del moment
    return Opening(jax.tree.map(np.asarray, init_book(market.slots)), 0, 0.0, None)


def _builtin(table: Table, crowd: int) -> Source:
    """One of the built-in starts of the reference market."""
    number = table.whole("builtin", 0, MOST_STARTS)
    start = load_start(default_starts(), number)

    def open_it(market: MarketConfig, moment: tuple[int, int]) -> Opening:
        del moment
        there = start.book.size.shape[1]
        if market.slots < there:
            raise InputError(
                f"{table.where}: builtin start {number} has {there} slots per side, expected a "
                f"market with at least as many, got {market.slots}"
            )
        return _of_start(start, market, crowd)

    at = int(start.time.sec), int(start.time.nsec)
    return Source(reference_market(), True, at, f"reference market, start {number}", open_it)


def _lobster(table: Table, folder: pathlib.Path, crowd: int) -> Source:
    """A moment of a recorded day."""
    expected = 'a pair of files ["…_message_10.csv", "…_orderbook_10.csv"]'
    names = table.items("lobster", expected)
    if len(names) != 2 or not all(isinstance(name, str) and name for name in names):
        raise table.fail("lobster", expected)
    units = table.whole("tick_units", 1, MOST_UNITS) if "tick_units" in table else None
    data = read_lobster(folder / names[0], folder / names[1], units)
    market = MarketConfig(
        tick_size=data.tick / PRICE_UNITS_PER_CURRENCY,
        lot_size=data.lot,
        levels=data.l2.size.shape[2],
    )

    def open_it(market: MarketConfig, moment: tuple[int, int]) -> Opening:
        if market.slots < 2 * market.levels:
            raise InputError(
                f"{table.where}: a market of {market.levels} levels needs at least "
                f"{2 * market.levels} slots, got {market.slots}"
            )
        return _of_start(lobster_start(data, *moment, market, needed=1), market, crowd)

    words = pathlib.Path(names[0]).stem.split("_")[0]
    return Source(market, True, None, words, open_it)


def _of_start(start: StartPoint, market: MarketConfig, crowd: int) -> Opening:
    """The market at a start, with all its orders in the hands of one agent."""
    book = with_slots(start.book, market.slots)
    book = book._replace(agent_id=jnp.full_like(book.agent_id, crowd))
    mid = float(event_mid(start.flow.event)[-1])
    return Opening(jax.tree.map(np.asarray, book), int(start.last_price), mid, start)


def _orders(table: Table, owners: dict[str, int], crowd: int) -> Source:
    """A list of resting orders in their order of arrival."""
    rows = table.tables("orders", "a list of orders {side, price, size, agent}")

    def open_it(market: MarketConfig, moment: tuple[int, int]) -> Opening:
        del moment
        if len(rows) > market.slots:
            raise table.fail("orders", f"at most {market.slots} orders, the slots of the market")
        columns: Any = np.array([_order(row, market, owners, crowd) for row in rows], np.int64)
        side, price, size, agent = columns.reshape(-1, 4).T
        bids, asks = price[side == Side.BUY], price[side == Side.SELL]
        if len(bids) and len(asks) and bids.max() >= asks.min():
            raise InputError(
                f"{table.where}: orders bid {bids.max() * market.tick_size:g} and ask "
                f"{asks.min() * market.tick_size:g}, expected every bid below every ask"
            )
        if size.sum() >= 2**31:
            raise InputError(f"{table.where}: orders hold {size.sum()} shares, expected < 2**31")
        whole: Any = lambda x: jnp.asarray(x, jnp.int32)
        ids = -1 - np.arange(len(rows))
        book = book_from_orders(market.slots, *(whole(x) for x in (side, price, size, ids, agent)))
        best = [x for x in (bids.max(initial=0), asks.min(initial=2**31)) if 0 < x < 2**31]
        mid = float(np.mean(best)) if best else 0.0
        return Opening(jax.tree.map(np.asarray, book), 0, mid, None)

    return Source(MarketConfig(), False, None, f"a book of {len(rows)} orders", open_it)


def _order(
    row: Table, market: MarketConfig, owners: dict[str, int], crowd: int
) -> tuple[int, int, int, int]:
    """(side, price, size, agent) of a resting order."""
    side = SIDES[row.choice("side", SIDES)]
    price = row.price("price", market.tick_size)
    size = row.whole("size", 1, MOST_SHARES)
    agent = owners[row.choice("agent", owners)] if "agent" in row else crowd
    row.finish()
    return int(side), price, size, agent
