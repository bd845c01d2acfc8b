"""What a person may hand to `tasks.Market`, as the numbers the market works with.

Every function raises `InputError` with one sentence for anything else.
"""

import math
from typing import Any

import numpy as np

from jaxmars import clock
from jaxmars.book import MAX_PRICE
from jaxmars.clock_text import parse_clock
from jaxmars.errors import InputError, quote
from jaxmars.types import Side

MAX_SHARES = MAX_ID = 2**31 - 1
MAX_MONEY = 2**52  # ticks x shares; exact in double precision
GRID = 1e-6  # ticks a price may lie off the grid


def shares(size: Any) -> int:
    """A number of shares."""
    return whole("size", size, 1, MAX_SHARES, "shares")


def owned(number: Any) -> int:
    """Shares owned at the start."""
    return whole("number of shares owned", number, 0, MAX_SHARES)


def money(cash: Any, tick_size: float) -> int:
    """Cash at the start, as ticks times shares."""
    count = _number(cash) / tick_size
    if not 0 <= count <= MAX_MONEY:
        raise InputError(
            f"the cash is {quote(cash)}, expected an amount from 0 to {MAX_MONEY * tick_size:g}"
        )
    return round(count)


def order_number(order_id: Any) -> int:
    """The id of an order."""
    return whole("order id", order_id, 1, MAX_ID)


def whole(name: str, value: Any, low: int, high: int, unit: str = "") -> int:
    """A whole number from `low` to `high`; a flag is none."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        words = f"a whole number of {unit}" if unit else "a whole number"
        raise InputError(f"the {name} is {quote(value)}, expected {words} from {low} to {high:,}")
    return int(value)


def a_side(side: Any) -> Side:
    """BUY or SELL."""
    if side not in tuple(Side):
        raise InputError(f"the side is {quote(side)}, expected Side.BUY or Side.SELL")
    return Side(side)


def ticks(price: Any, tick_size: float) -> int:
    """A price in ticks."""
    count = _number(price) / tick_size
    if not 0 < count < MAX_PRICE or not round(count) or abs(count - round(count)) > GRID:
        raise InputError(
            f"the price is {quote(price)}, expected a positive multiple of {tick_size}"
        )
    return round(count)


def span(seconds: Any) -> tuple[int, int]:
    """A time to pass, more than 0 seconds, as (seconds, nanoseconds)."""
    number = _number(seconds)
    if not 0 < number < clock.NEVER_SEC / 2:
        raise InputError(
            f"the time to pass is {quote(seconds)}, expected seconds above 0 and below "
            f"{clock.NEVER_SEC // 2:,}"
        )
    return _pair(number)


def moment(time: Any) -> tuple[int, int]:
    """A time of the day, "HH:MM:SS" or seconds since midnight, as (seconds, nanoseconds)."""
    if isinstance(time, str):
        try:
            return parse_clock(time)
        except ValueError as error:
            raise InputError(f"cannot advance: {error}") from error
    number = _number(time)
    if not 0 <= number < clock.NEVER_SEC / 2:
        raise InputError(
            f"cannot advance to {quote(time)}, expected a time such as 10:30:00 or seconds since "
            "midnight"
        )
    return _pair(number)


def _number(value: Any) -> float:
    """A number as a float, nan for anything else."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    try:
        return float(value) if is_number else math.nan
    except OverflowError:  # a whole number with hundreds of digits
        return math.inf


def _pair(seconds: float) -> tuple[int, int]:
    return divmod(round(seconds * clock.NANOS), clock.NANOS)
