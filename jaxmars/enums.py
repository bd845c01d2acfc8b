"""Names of numbers: sides, kinds of orders, status bits. Imports nothing, not even JAX."""

import enum


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


def describe(status: int) -> list[str]:
    """One sentence per bit set in `status` (host only)."""
    return [meaning for bit, meaning in STATUS_MEANING.items() if int(status) & bit]
