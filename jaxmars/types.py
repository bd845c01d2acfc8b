"""The values every layer speaks: orders, fills, snapshots, events and status bits.

Units, once for the whole package: price in int32 **ticks**, size in int32 **shares**, time as an
int32 pair (seconds since midnight on the exchange clock, nanoseconds). All structures are
unbatched; a trajectory axis comes from `jax.vmap` at the edge.
"""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = Any  # a pytree of arrays


class Side(enum.IntEnum):
    """Side of an order; also the row of a book array."""

    BUY = 0
    SELL = 1


class Kind(enum.IntEnum):
    """What an order asks for. `NONE` is the order that does nothing."""

    NONE = 0
    LIMIT = 1  # trades up to its price, the rest comes to rest
    MARKET = 2  # trades at any price, the rest is dropped
    CANCEL = 3  # takes shares of a resting order out
    IOC = 4  # immediate or cancel: trades up to its price, the rest is dropped
    FOK = 5  # fill or kill: trades whole, up to its price, or not at all
    POST_ONLY = 6  # comes to rest whole, or not at all
    UNCROSS = 7  # never an order: the event of a call auction's single trade


class Status(enum.IntFlag):
    """What went wrong, as bits OR-ed on the device. `describe` turns bits into sentences."""

    OK = 0
    BOOK_FULL = 1 << 0
    UNKNOWN_ORDER = 1 << 1
    BAD_SIZE = 1 << 2
    BAD_PRICE = 1 << 3
    DUPLICATE_ID = 1 << 4
    VOLUME_OVERFLOW = 1 << 5
    UNFILLED_MARKET = 1 << 6
    TRADES_TRUNCATED = 1 << 7
    BAD_KIND = 1 << 8
    NOTHING_TO_CANCEL = 1 << 9
    EVENT_BUDGET = 1 << 10
    BAD_LOGITS = 1 << 11
    FEATURE_RANGE = 1 << 12
    NOT_FILLED = 1 << 13
    WOULD_TRADE = 1 << 14
    OFF_TICK = 1 << 15
    OFF_LOT = 1 << 16
    PRICE_LIMIT = 1 << 17
    SELF_TRADE = 1 << 18
    OUT_OF_SESSION = 1 << 19
    NOT_IN_AUCTION = 1 << 20
    IN_FLIGHT_FULL = 1 << 21
    ACCOUNT_OVERFLOW = 1 << 22
    STOPPED = 1 << 23


# Bits that mean the order was rejected whole and is no record.
REJECTING = (
    Status.BOOK_FULL
    | Status.UNKNOWN_ORDER
    | Status.BAD_SIZE
    | Status.BAD_PRICE
    | Status.DUPLICATE_ID
    | Status.VOLUME_OVERFLOW
    | Status.BAD_KIND
    | Status.NOT_FILLED
    | Status.WOULD_TRADE
    | Status.OFF_TICK
    | Status.OFF_LOT
    | Status.PRICE_LIMIT
    | Status.OUT_OF_SESSION
    | Status.NOT_IN_AUCTION
    | Status.STOPPED
)

STATUS_MEANING: dict[Status, str] = {
    Status.BOOK_FULL: "a side of the book had no free slot; the whole order was rejected",
    Status.UNKNOWN_ORDER: "a cancel named an order that does not rest there for that owner",
    Status.BAD_SIZE: "a size was not positive, or a cancel asked for more than was left",
    Status.BAD_PRICE: "a limit price was outside the open interval (0, 2**30) ticks",
    Status.DUPLICATE_ID: "a new order used the id of a resting order; it was rejected",
    Status.VOLUME_OVERFLOW: "a side would have held 2**31 shares or more; the order was rejected",
    Status.UNFILLED_MARKET: "a market order found too few shares; its remainder was dropped",
    Status.TRADES_TRUNCATED: "an order had more fills than trade records were asked for",
    Status.BAD_KIND: "an order kind or side was not one that exists; nothing was done",
    Status.NOTHING_TO_CANCEL: "an agent wanted to cancel but had no resting order",
    Status.EVENT_BUDGET: "the event budget ran out before the end time",
    Status.BAD_LOGITS: "the model returned a value that is not finite; the trajectory stopped",
    Status.FEATURE_RANGE: "an order feature was outside the model's tables and was clipped",
    Status.NOT_FILLED: "a fill-or-kill order could not be filled whole; it was rejected",
    Status.WOULD_TRADE: "a post-only order would have traded at once; it was rejected",
    Status.OFF_TICK: "a price was not a multiple of the price step; the order was rejected",
    Status.OFF_LOT: "a size was not a multiple of the size step; the order was rejected",
    Status.PRICE_LIMIT: "a price was outside the day's price limits; the order was rejected",
    Status.SELF_TRADE: "an order met a resting order of its own agent and the rule was applied",
    Status.OUT_OF_SESSION: "an order arrived outside every session and was ignored",
    Status.NOT_IN_AUCTION: "an order of this kind is not taken in a call auction; it was rejected",
    Status.IN_FLIGHT_FULL: "too many delayed requests were under way; the newest was dropped",
    Status.STOPPED: "an order would have traded with its own agent first; nothing was done",
    Status.ACCOUNT_OVERFLOW: "an agent's traded shares passed 2**31 and are no longer counted",
}


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


def describe(status: int) -> list[str]:
    """One sentence per bit set in `status` (host only)."""
    return [meaning for bit, meaning in STATUS_MEANING.items() if int(status) & bit]
