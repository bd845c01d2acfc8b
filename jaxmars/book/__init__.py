"""The exchange: a continuous double auction on fixed arrays."""

from jaxmars.book.accounts import Account, Wide, empty_accounts
from jaxmars.book.checks import (
    MarketError,
    RestingOrder,
    invariants,
    raise_on_error,
    resting_orders,
)
from jaxmars.book.matching import MATCHING_VERSION, apply_order
from jaxmars.book.state import (
    MAX_PRICE,
    NO_KEY,
    Book,
    best_key,
    best_price,
    book_from_levels,
    book_from_orders,
    float_mid_price,
    init_book,
    l2_snapshot,
    l2_update,
    level_order_ids,
    mid_price,
    spread,
    weighted_mid_price,
    with_slots,
)

__all__ = [
    "MATCHING_VERSION",
    "MAX_PRICE",
    "NO_KEY",
    "Account",
    "Book",
    "MarketError",
    "RestingOrder",
    "Wide",
    "apply_order",
    "best_key",
    "best_price",
    "book_from_levels",
    "book_from_orders",
    "empty_accounts",
    "float_mid_price",
    "init_book",
    "invariants",
    "l2_snapshot",
    "l2_update",
    "level_order_ids",
    "mid_price",
    "raise_on_error",
    "resting_orders",
    "spread",
    "weighted_mid_price",
    "with_slots",
]
