"""What the exchange accepts, and who has traded what (`MTCH_R` of the paper, spec C-EX-1).

A rule that is off compiles to nothing: the rules are static.
"""

import fractions
import functools

import jax
import jax.numpy as jnp

from jaxmars.book.accounts import Account, settle, turnover, turnover_at
from jaxmars.book.auction import clearing_price, uncross_at
from jaxmars.book.matching import apply_and_read
from jaxmars.book.state import MAX_PRICE, Book
from jaxmars.config import RulesConfig
from jaxmars.types import REJECTING, Band, Fills, Kind, Order, Status

RATIO_PARTS = 10_000  # a price limit is rounded to a fraction with at most this denominator
ALL_KINDS = frozenset(Kind) - {Kind.NONE, Kind.UNCROSS}


def execute(
    book: Book,
    accounts: Account,
    order: Order,
    band: Band,
    *,
    rules: RulesConfig,
    collecting: bool | jax.Array = False,
    max_trades: int = 0,
) -> tuple[Book, Account, Fills]:
    """Takes one order: checks it by the rules, matches it, settles the accounts.

    A rejected order (`rejected`) changes nothing. Status bits also gather in `book.status`.

    Args:
      book: the book.
      accounts: `[agents]`; there may be none.
      order: as in `apply_order`.
      band: prices of the day (`price_band`); read only if `rules.price_limit` is set.
      rules: what is accepted.
      collecting: `[]` bool, whether orders are collected for a call auction.
      max_trades: trade records to return.
    """
    fault = _faults(order, band, rules)
    if fault is None:
        fault = jnp.int32(Status.OK)
    else:
        order = order._replace(kind=jnp.where(fault == Status.OK, order.kind, Kind.NONE))
    num = accounts.shares.shape[0]
    book, fills, traded = apply_and_read(
        book,
        order,
        lambda book, filled: turnover(book, order, filled, num) if num else (),
        max_trades=max_trades,
        collecting=collecting,
        self_trade=rules.self_trade,
        crowd=rules.crowd,
    )
    status = fills.status | fault
    if num:
        accounts, trouble = settle(accounts, traded)
        status |= trouble
    return book._replace(status=book.status | status), accounts, fills._replace(status=status)


def execute_uncross(
    book: Book, accounts: Account, reference: jax.Array | int, *, max_trades: int = 0
) -> tuple[Book, Account, Fills]:
    """Ends a call auction (`auction.uncross`) and settles the accounts `[agents]`.

    Agents may trade with themselves there, whatever the rules say of continuous matching.
    """
    price, volume = clearing_price(book, reference)
    num = accounts.shares.shape[0]
    traded = turnover_at(book, price, volume, num)
    book, fills = uncross_at(book, price, volume, max_trades=max_trades)
    accounts, trouble = settle(accounts, traded)
    status = fills.status | trouble
    return book._replace(status=book.status | status), accounts, fills._replace(status=status)


def price_band(reference: jax.Array | int, rules: RulesConfig) -> Band:
    """Lowest and highest price of the day: reference * (1 -+ price_limit), rounded half up.

    This is how the Chinese A-share exchanges do it. Exact: the limit counts as the fraction nearest
    to it with a denominator of at most `RATIO_PARTS`.

    Args:
      reference: `[]` int32, ticks, usually yesterday's close; 0 for none, then nothing is limited.
      rules: holds the limit; 0 limits nothing.
    """
    reference = jnp.asarray(reference, jnp.int32)
    ratio = fractions.Fraction(rules.price_limit).limit_denominator(RATIO_PARTS)
    limited = (reference > 0) & (rules.price_limit > 0)
    low = _share(reference, 1 - ratio)
    high = jnp.minimum(_share(reference, 1 + ratio), MAX_PRICE - 1)
    return Band(jnp.where(limited, jnp.maximum(low, 1), 1), jnp.where(limited, high, MAX_PRICE - 1))


def rejected(fills: Fills) -> jax.Array:
    """Whether an order was rejected whole and is no record, `[]` bool.

    `SELF_TRADE` alone does not tell: the order was rejected if nothing else happened.
    """
    nothing = (fills.filled == 0) & (fills.cancelled == 0)
    stopped = ((fills.status & Status.SELF_TRADE) != 0) & nothing
    return ((fills.status & REJECTING) != 0) | stopped


def _share(value: jax.Array, part: fractions.Fraction) -> jax.Array:
    """value * part rounded half up, without a product beyond int32 for results below 2**31."""
    top, bottom = part.numerator, part.denominator
    whole, rest = value // bottom, value % bottom
    return whole * top + (2 * rest * top + bottom) // (2 * bottom)


def _faults(order: Order, band: Band, rules: RulesConfig) -> jax.Array | None:
    """Bits of the rules an order breaks, `[]` int32; None if there are no rules to check."""
    is_kind = lambda *kinds: functools.reduce(
        jnp.logical_or, (order.kind == kind for kind in kinds), jnp.zeros((), bool)
    )
    priced = is_kind(Kind.LIMIT, Kind.IOC, Kind.FOK, Kind.POST_ONLY)
    new = priced | is_kind(Kind.MARKET)
    broken: dict[Status, jax.Array] = {}
    if refused := ALL_KINDS - set(rules.kinds):
        broken[Status.BAD_KIND] = is_kind(*sorted(refused))
    if rules.price_step > 1:
        broken[Status.OFF_TICK] = priced & (order.price % rules.price_step != 0)
    if rules.size_step > 1:
        broken[Status.OFF_LOT] = new & (order.size % rules.size_step != 0)
    if rules.price_limit > 0:
        broken[Status.PRICE_LIMIT] = priced & ((order.price < band.low) | (order.price > band.high))
    if not broken:
        return None
    bits = (jnp.where(fault, jnp.int32(bit), 0) for bit, fault in broken.items())
    return functools.reduce(jnp.bitwise_or, bits)
