"""The contestants beside our book: a Python dict book, a C++ ladder, and JaxMARL-HFT's book."""

import dataclasses
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from book_flow import COLUMNS, DictBook, Fill, Flow
from common import Contestant

from jaxmars.types import Kind, Side

LADDER = pathlib.Path(__file__).with_name("ladder.cpp")
COMPILERS = ("g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native")
HASH_BASIS, HASH_PRIME = 14695981039346656037, 1099511628211  # FNV-1a, 64 bits
PEER_EMPTY = -1  # price of an empty row of the peer's book
PEER_LIMIT, PEER_CANCEL = 1, 2  # message types of the peer
PEER_COLUMNS = 8  # of a message; 6 of an order, 8 of a trade
START_TIME, FLOW_TIME = 1, 2  # seconds on the peer's clock


def dict_book(flows: Sequence[Flow]) -> Contestant:
    """The plain Python book, one flow after the other on one core; quotes after each message."""

    def prepare() -> list[tuple[DictBook, list]]:
        pairs = []
        for flow in flows:
            book = DictBook()
            for row in flow.start.tolist():
                book.process(tuple(row))
            pairs.append((book, [tuple(row) for row in flow.messages.tolist()]))
        return pairs

    def run(pairs: list[tuple[DictBook, list]]) -> None:
        for book, rows in pairs:
            for row in rows:
                book.process(row)
                _ = (book.best(0), book.best(1))

    return Contestant(run, sum(len(flow.messages) for flow in flows), prepare)


def ladder(flows: Sequence[Flow], rounds: int) -> tuple[list[float], bool] | None:
    """Messages per second of the C++ ladder, per round, and whether it ended in the same books.

    None if there is no compiler.
    """
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program, data = os.path.join(folder, "ladder"), os.path.join(folder, "flow")
        subprocess.run([compiler, *FLAGS, "-o", program, str(LADDER)], check=True)
        parts = [np.array([len(flows)])]
        for flow in flows:
            parts += [np.array([len(flow.start), len(flow.messages)])]
            parts += [flow.start.reshape(-1), flow.messages.reshape(-1)]
        np.concatenate(parts).astype(np.int32).tofile(data)
        done = subprocess.run(
            [program, data, str(rounds)], check=True, capture_output=True, text=True
        )
    *times, last = done.stdout.splitlines()
    traded, found = (int(word) for word in last.split())
    exact = traded == sum(fill[1] for flow in flows for fills in flow.fills for fill in fills)
    num = sum(len(flow.messages) for flow in flows)
    return [num / float(t) for t in times], exact and found == _hash(flows)


def _hash(flows: Sequence[Flow]) -> int:
    value = HASH_BASIS
    for flow in flows:
        for side in Side:
            for price, size, order_id, owner in flow.orders[side]:
                for word in (side, price, size, order_id, owner):
                    value = ((value ^ word) * HASH_PRIME) % 2**64
    return value


@dataclasses.dataclass(frozen=True)
class JaxmarlBook:
    """JaxMARL-HFT's book, driven through its own functions from its own checkout.

    Attributes:
      arrays: its module of order book functions.
      config: its configuration class.
      slots: orders per side.
    """

    arrays: Any
    config: Callable[..., Any]
    slots: int

    @classmethod
    def load(cls, checkout: str, slots: int) -> "JaxmarlBook":
        """Imports the book from a checkout of the repository.

        Raises:
          ImportError: if the checkout does not hold it.
        """
        if checkout not in sys.path:
            sys.path.insert(0, checkout)
        arrays = importlib.import_module("gymnax_exchange.jaxob.JaxOrderBookArrays")
        settings = importlib.import_module("gymnax_exchange.jaxob.jaxob_config")
        return cls(arrays, settings.JAXLOB_Configuration, slots)

    def start(self, flow: Flow) -> tuple[np.ndarray, np.ndarray]:
        """Its (asks, bids) `[slots, 6]` holding the orders a flow starts from."""
        sides = []
        for side in (Side.SELL, Side.BUY):
            rows = np.full((self.slots, 6), PEER_EMPTY, np.int32)
            orders = flow.start[flow.start[:, 1] == side]
            arrival = np.arange(len(orders))
            time = np.full(len(orders), START_TIME)
            columns = (orders[:, 2], orders[:, 3], orders[:, 4], orders[:, 5], time, arrival)
            rows[: len(orders)] = np.stack(columns, 1)
            sides.append(rows)
        return sides[0], sides[1]

    def messages(self, flow: Flow, num: int) -> np.ndarray:
        """The first messages of a flow in its columns, `[num, 8]` int32."""
        kind, side, price, size, order_id, owner = flow.messages[:num].T
        order = np.arange(num)
        columns = (
            np.where(kind == Kind.LIMIT, PEER_LIMIT, PEER_CANCEL),
            np.where(side == Side.BUY, 1, -1),
            size, price, order_id, owner, np.full(num, FLOW_TIME), order,
        )  # fmt: skip
        return np.stack(columns, 1).astype(np.int32)

    def run_quotes(self, sides: tuple, rows: jax.Array) -> Any:
        """Its scan that returns the best quotes after every message, with default settings."""
        cfg = self.config(nOrders=self.slots)
        trades = jnp.full((cfg.nTrades, PEER_COLUMNS), PEER_EMPTY, jnp.int32)
        key = jax.random.key(0)
        (asks, bids, _), quotes = self.arrays.scan_through_entire_array_save_bidask(
            cfg, key, rows, (*sides, trades), len(rows)
        )
        return (asks, bids), quotes

    def run_trades(self, sides: tuple, rows: jax.Array, max_trades: int) -> Any:
        """Its message function in a scan, with a fresh log of `max_trades` for each message."""
        cfg = self.config(nOrders=self.slots, nTrades=max_trades)
        log = jnp.full((max_trades, PEER_COLUMNS), PEER_EMPTY, jnp.int32)
        key = jax.random.key(0)

        def step(sides: tuple, row: jax.Array) -> Any:
            (asks, bids, trades), _ = self.arrays.cond_type_side(cfg, (*sides, log), (key, row))
            quotes = self.arrays.get_best_bid_and_ask(cfg, asks, bids)
            return (asks, bids), (trades, quotes)

        return jax.lax.scan(step, sides, rows)

    def orders(self, sides: tuple[np.ndarray, np.ndarray]) -> tuple[list[Fill], list[Fill]]:
        """(bids, asks) of one of its books in priority order, as the dict book lists them."""
        asks, bids = (rows[rows[:, 0] != PEER_EMPTY] for rows in sides)
        ranked = lambda rows, sign: rows[np.lexsort((rows[:, 5], rows[:, 4], sign * rows[:, 0]))]
        as_fills = lambda rows: [tuple(row) for row in rows[:, :4].tolist()]
        return as_fills(ranked(bids, -1)), as_fills(ranked(asks, 1))


def replayed(flow: Flow, num: int) -> tuple[list[Fill], list[Fill]]:
    """(bids, asks) of the dict book after the first messages of a flow."""
    book = DictBook()
    for row in np.concatenate((flow.start, flow.messages[:num])).tolist():
        book.process(tuple(row[:COLUMNS]))
    return book.orders(Side.BUY), book.orders(Side.SELL)
