"""The values every layer speaks: orders, fills, snapshots, events and status bits.

Units, once for the whole package: price in int32 **ticks**, size in int32 **shares**, time as an
int32 pair (seconds since midnight on the exchange clock, nanoseconds). All structures are
unbatched; a trajectory axis comes from `jax.vmap` at the edge.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.enums import REJECTING as REJECTING
from jaxmars.enums import STATUS_MEANING as STATUS_MEANING
from jaxmars.enums import Kind as Kind
from jaxmars.enums import Side as Side
from jaxmars.enums import Status as Status
from jaxmars.enums import describe as describe

Params = Any  # a pytree of arrays


class Time(NamedTuple):
    """A moment of the trading day, exchange clock."""

    sec: jax.Array  # [] int32, seconds since midnight
    nsec: jax.Array  # [] int32, nanoseconds, 0 <= nsec < 10**9


class Order(NamedTuple):
    """What is sent to the book. A cancel names `order_id`, `side`, `agent_id` and `size`."""

    kind: jax.Array  # [] int32, Kind
    side: jax.Array  # [] int32, Side (of the resting order for a cancel)
    price: jax.Array  # [] int32, ticks; read for LIMIT only
    size: jax.Array  # [] int32, shares
    order_id: jax.Array  # [] int32
    agent_id: jax.Array  # [] int32, owner


class Trades(NamedTuple):
    """One record per resting order filled, in priority order. Unused records have size 0.

    A call auction fills resting orders of both sides: bids first, then asks.
    """

    side: jax.Array  # [max_trades] int32, Side of the resting order
    price: jax.Array  # [max_trades] int32, ticks
    size: jax.Array  # [max_trades] int32, shares
    order_id: jax.Array  # [max_trades] int32, the resting order
    agent_id: jax.Array  # [max_trades] int32, its owner


class Fills(NamedTuple):
    """What an order did to the book."""

    filled: jax.Array  # [] int32, shares traded
    cancelled: jax.Array  # [] int32, shares taken out by a cancel
    price: jax.Array  # [] int32, ticks: price of the order as the book sees it (level of a cancel)
    first_price: jax.Array  # [] int32, ticks of the first trade, 0 without one
    last_price: jax.Array  # [] int32, ticks of the last trade, 0 without one
    status: jax.Array  # [] int32, bits of Status
    trades: Trades  # empty (max_trades = 0) unless asked for


class L2(NamedTuple):
    """The best price levels of both sides. A level that does not exist has price 0 and size 0."""

    price: jax.Array  # [2, levels] int32, ticks: row BUY descending, row SELL ascending
    size: jax.Array  # [2, levels] int32, shares


class Event(NamedTuple):
    """One row of a trajectory: the order, what it did, and the market just after it."""

    time: Time
    kind: jax.Array  # [] int32, Kind; NONE when nothing reached the book
    side: jax.Array  # [] int32, Side
    price: jax.Array  # [] int32, ticks
    size: jax.Array  # [] int32, shares asked for
    order_id: jax.Array  # [] int32
    agent_id: jax.Array  # [] int32
    filled: jax.Array  # [] int32, shares traded
    first_price: jax.Array  # [] int32, ticks of the first trade, 0 without one
    last_price: jax.Array  # [] int32, ticks of the most recent trade of the market, 0 before any
    best_bid: jax.Array  # [] int32, ticks, 0 if the side is empty
    best_ask: jax.Array  # [] int32, ticks, 0 if the side is empty
    status: jax.Array  # [] int32, bits of Status raised by this event
    trades: Trades  # its fills; empty (max_trades = 0) unless asked for


class Band(NamedTuple):
    """Prices a day's price limit allows, both included."""

    low: jax.Array  # [] int32, ticks
    high: jax.Array  # [] int32, ticks


def make_order(kind: Any, side: Any, price: Any, size: Any, order_id: Any, agent_id: Any) -> Order:
    """An `Order` of int32 arrays from numbers or arrays."""
    return Order(
        *(jnp.asarray(x, jnp.int32) for x in (kind, side, price, size, order_id, agent_id))
    )


def no_trades(*shape: int) -> Trades:
    """No trade records, for `shape` events. Host arrays."""
    none: Any = np.zeros((*shape, 0), np.int32)
    return Trades(*(none for _ in Trades._fields))
