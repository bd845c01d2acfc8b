"""Time-weighted execution of a large order, bought or sold (release `TradingAgent`, spec 7.3;
paper appendix K, Algorithm 1).

Wake-ups alternate. A **passive** one keeps an order at the best price of its own side and cancels
what rests elsewhere. An **aggressive** one compares what is done with a straight schedule and sends
the shortfall at a price that trades at once, freeing passive orders for it if the target needs
their shares.

| number | release, default | release, impact example | paper |
|---|---|---|---|
| passive, aggressive seconds | 20, 10 | 10, 5 | 25, 5 |
| aggressive price | best + 5 ticks | best | price of level 1 to 5 |

The columns differ in these numbers and in the price rule, nothing else. Sizes that the release
computes as `int(ratio * target)` in double precision are computed so on the host and are shares
here; the schedule is a clock's and runs on in a break of the trading day.
"""

import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.agents.base import (
    EVERYTHING,
    Agent,
    Ask,
    MarketView,
    Request,
    as_they_are,
    choose_request,
    keep,
    make_request,
    no_request,
    one_after_another,
    sleep_on,
)
from jaxmars.agents.touch import order_or_nothing, own_size, own_size_at, touch, withdrawal
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side, Time

LOT = 100  # shares
LEVELS = 5  # the deepest one the paper sends an aggressive order to
MAX_TOTAL = 46_340  # seconds; products of two durations stay below 2**31
MAX_TARGET = 2**30  # shares; rounding up to a lot stays below 2**31
HALF_NANO = 500_000_000


class TwapParams(NamedTuple):
    """Numbers of the agent; `twap_params` and `paper_twap_params` make them."""

    side: jax.Array | int  # [] int32, Side
    start: Time
    total: jax.Array | int  # [] int32, seconds from start to end
    target: jax.Array | int  # [] int32, shares
    passive_size: jax.Array | int  # [] int32, shares kept at the best price
    aggressive_size: jax.Array | int  # [] int32, most shares of one aggressive order
    passive_seconds: jax.Array | int  # [] int32, after a passive wake-up
    idle_seconds: jax.Array | int  # [] int32, after an aggressive one
    reach: jax.Array | int  # [] int32, ticks or a level: what the price rule reads
    lot: jax.Array | int  # [] int32, shares


class TwapState(NamedTuple):
    """Where it stands."""

    before: jax.Array  # [] int32, shares it had traded on its side before it began
    is_aggressive: jax.Array  # [] bool, what the next wake-up is
    wake: Time


PriceRule = Callable[[TwapParams, MarketView], jax.Array]
"""(params, view) -> price of an aggressive order, `[]` int32 ticks; 0 for no order."""


def beyond_best(params: TwapParams, view: MarketView) -> jax.Array:
    """The best opposite price and `reach` ticks further, not below 1 (release)."""
    best = touch(view)[1 - params.side]
    further = jnp.maximum(best + _toward(params.side) * params.reach, 1)
    return jnp.where(best > 0, further, 0)


def at_level(params: TwapParams, view: MarketView) -> jax.Array:
    """The price of opposite level `reach` (paper: ask1 to ask5); 0 sends nothing.

    With fewer levels it is that of the last one; with none, what `touch` puts in its place.
    """
    levels = view.l2.size.shape[1]
    if levels < LEVELS:
        raise ValueError(f"expected snapshots of at least {LEVELS} levels, got {levels}")
    other = 1 - params.side
    exist = (view.l2.size[other] > 0).sum(dtype=jnp.int32)
    level = jnp.minimum(params.reach, exist) - 1
    price = jnp.where(exist > 0, view.l2.price[other, level], touch(view)[other])
    return jnp.where(params.reach > 0, price, 0)


def twap_agent(price_rule: PriceRule = beyond_best) -> Agent:
    """An agent that executes `target` shares from `start` to `start + total`.

    It counts its account's shares from the moment it is made. An order of a price that does not
    exist (nothing rests, nothing has traded) is not sent.
    """

    def init(
        params: TwapParams, key: jax.Array, view: MarketView, memory: None
    ) -> tuple[TwapState, Time]:
        del key, memory
        wake = clock.choose(clock.earlier(view.time, params.start), params.start, view.time)
        return TwapState(_traded(params, view), jnp.zeros((), bool), wake), wake

    def act(
        params: TwapParams, key: jax.Array, state: TwapState, view: MarketView
    ) -> tuple[TwapState, Request]:
        del key
        left = params.target - (_traded(params, view) - state.before)
        elapsed = clock.minus(view.time, params.start)
        is_over = elapsed.sec >= params.total
        passive = _passive(params, view, left)
        aggressive = _aggressive(params, view, left, elapsed, price_rule(params, view))
        requests = choose_request(state.is_aggressive, aggressive, passive)
        requests = choose_request(left > 0, requests, _nothing())
        requests = choose_request(
            is_over, one_after_another(withdrawal(view), *[no_request()] * 2), requests
        )
        pause = jnp.where(state.is_aggressive, params.idle_seconds, params.passive_seconds)
        following = clock.plus(view.time, clock.make_time(pause))
        wake = clock.choose(is_over | (left <= 0), clock.never(), following)
        return TwapState(state.before, ~state.is_aggressive, wake), requests

    return Agent(init, act, sleep_on, keep, as_they_are)


def paper_twap_agent() -> Agent:
    """The paper's agent: aggressive orders go to the price of a level."""
    return twap_agent(at_level)


def twap_params(
    *,
    side: Side,
    start: Time,
    total: int,
    target: int,
    passive_ratio: float = 0.1,
    aggressive_ratio: float = 1.0,
    passive_seconds: int = 20,
    idle_seconds: int = 10,
    change: int = 5,
    lot: int = LOT,
) -> TwapParams:
    """Parameters of the release's agent, with its defaults, for `twap_agent()`.

    Args:
      side: BUY or SELL.
      start: first passive wake-up.
      total: seconds; a multiple of passive_seconds + idle_seconds and more than one.
      target: shares; a positive multiple of the lot.
      passive_ratio: share of the target kept at the best price, rounded up to a lot.
      aggressive_ratio: most that one aggressive order asks for, as a share of the target.
      passive_seconds: from a passive wake-up to the next one, an aggressive one.
      idle_seconds: from an aggressive wake-up to the next one, a passive one.
      change: ticks beyond the best price of an aggressive order.
      lot: shares.

    Raises:
      InputError: a number is out of its range.
    """
    _require_whole(change=change)
    if change < 0:
        raise InputError(f"TWAP change must not be negative, got {change} ticks")
    return _checked(
        side=side,
        start=start,
        total=total,
        target=target,
        ratios=(passive_ratio, aggressive_ratio),
        seconds=(passive_seconds, idle_seconds),
        reach=change,
        lot=lot,
    )


def paper_twap_params(
    *,
    side: Side,
    start: Time,
    target: int,
    passive_ratio: float,
    level: int,
    total: int = 300,
    lot: int = LOT,
) -> TwapParams:
    """Parameters of the paper's agent (section 8.3 of the spec), for `paper_twap_agent()`.

    Slices of 25 s passive and 5 s aggressive.

    Args:
      side: BUY or SELL.
      start: first passive wake-up.
      target: shares; a positive multiple of the lot.
      passive_ratio: PVR, share of the target kept at the best price; 0 for none.
      level: AP, opposite level 1 to 5 that aggressive orders go to; 0 for none.
      total: seconds; a multiple of a slice and more than one.
      lot: shares.

    Raises:
      InputError: a number is out of its range.
    """
    _require_whole(level=level)
    if not 0 <= level <= LEVELS:
        raise InputError(f"TWAP level must be from 0 to {LEVELS}, got {level}")
    return _checked(
        side=side,
        start=start,
        total=total,
        target=target,
        ratios=(passive_ratio, 1.0),
        seconds=(25, 5),
        reach=level,
        lot=lot,
    )


def _checked(
    *,
    side: Side,
    start: Time,
    total: int,
    target: int,
    ratios: tuple[float, float],
    seconds: tuple[int, int],
    reach: int,
    lot: int,
) -> TwapParams:
    """Parameters from ratios and durations, each given as (passive, aggressive)."""
    _require_whole(
        total=total, target=target, lot=lot, passive_seconds=seconds[0], idle_seconds=seconds[1]
    )
    if side not in tuple(Side):
        raise InputError(f"TWAP side must be Side.BUY or Side.SELL, got {side!r}")
    if lot <= 0:
        raise InputError(f"TWAP lot must be positive, got {lot}")
    if not lot <= target <= MAX_TARGET or target % lot:
        raise InputError(
            f"TWAP target must be a multiple of {lot} shares from {lot} to {MAX_TARGET}, "
            f"got {target}"
        )
    if not all(isinstance(ratio, numbers.Real) and 0 <= ratio <= 1 for ratio in ratios):
        raise InputError(f"TWAP ratios must be from 0 to 1, got {ratios[0]} and {ratios[1]}")
    cycle = sum(seconds)
    if min(seconds) <= 0:
        raise InputError(
            f"TWAP passive and idle seconds must be positive, got {seconds[0]} and {seconds[1]}"
        )
    if not cycle < total <= MAX_TOTAL or total % cycle:
        raise InputError(
            f"TWAP total must be a multiple of its cycle of {cycle} seconds, more than one and at "
            f"most {MAX_TOTAL} seconds, got {total}"
        )
    passive, aggressive = (-(-int(ratio * target) // lot) * lot for ratio in ratios)
    return TwapParams(int(side), start, total, target, passive, aggressive, *seconds, reach, lot)


def _require_whole(**counts: Any) -> None:
    """Refuses what is no whole number."""
    for name, value in counts.items():
        try:
            operator.index(value)
        except TypeError:
            raise InputError(f"TWAP {name} must be a whole number, got {value!r}") from None


def scheduled(target: jax.Array | int, total: jax.Array | int, seconds: jax.Array) -> jax.Array:
    """Shares that should be done after `seconds`: round(target * seconds / total), half to even.

    Exact in int32: the product is taken apart as (whole multiples of total) + rest.

    Args:
      target: `[]` int32, shares.
      total: `[]` int32, seconds, at most `MAX_TOTAL`.
      seconds: `[]` int32; past `total` it is `target`.
    """
    seconds = jnp.clip(seconds, 0, total)
    rest = (target % total) * seconds
    whole = (target // total) * seconds + rest // total
    twice = 2 * (rest % total)
    return whole + ((twice > total) | ((twice == total) & (whole % 2 == 1)))


def _passive(params: TwapParams, view: MarketView, left: jax.Array) -> Request:
    """Moves to the best price what rests, and fills it up or trims it."""
    price = touch(view)[params.side]
    here = own_size_at(view, price)
    elsewhere = own_size(view) - here
    lack = params.passive_size - here
    wanted = jnp.minimum(_round_up(lack, params.lot), left - here)
    surplus = jnp.where(-lack >= params.lot, -lack, 0)
    return one_after_another(
        _cancel(Ask.CANCEL_ELSEWHERE, price, jnp.where(elsewhere > 0, EVERYTHING, 0)),
        _cancel(Ask.CANCEL_AT, price, surplus),
        order_or_nothing(Kind.LIMIT, params.side, price, jnp.where(lack > 0, wanted, 0)),
    )


def _aggressive(
    params: TwapParams, view: MarketView, left: jax.Array, elapsed: Time, price: jax.Array
) -> Request:
    """Sends what the schedule lacks, if need be with shares that rest passively."""
    half = elapsed.nsec == HALF_NANO
    up = (elapsed.nsec > HALF_NANO) | (half & (elapsed.sec % 2 == 1))
    due = scheduled(params.target, params.total, elapsed.sec + up + params.idle_seconds)
    behind = due - (params.target - left)
    wanted = jnp.minimum(_round_up(behind, params.lot), params.aggressive_size)
    wanted = jnp.where((behind > 0) & (price > 0), wanted, 0)
    resting = own_size(view)
    available = left - resting
    freed = jnp.where(wanted > 0, jnp.clip(wanted - available, 0, resting), 0)
    return one_after_another(
        no_request(),
        _cancel(Ask.CANCEL_OLDEST, 0, freed),
        order_or_nothing(Kind.LIMIT, params.side, price, jnp.minimum(wanted, available + freed)),
    )


def _nothing() -> Request:
    """As many requests as the others make, for nothing."""
    return one_after_another(*[no_request()] * 3)


def _cancel(ask: Ask, price: jax.Array | int, size: jax.Array) -> Request:
    """A request to cancel, for nothing if it is about no shares."""
    return make_request(jnp.where(size > 0, ask, Kind.NONE), Side.BUY, price, size)


def _traded(params: TwapParams, view: MarketView) -> jax.Array:
    """Shares the agent has traded on its side, `[]` int32."""
    is_buy = jnp.asarray(params.side) == Side.BUY
    return jnp.where(is_buy, view.account.bought, view.account.sold)


def _toward(side: jax.Array | int) -> jax.Array:
    """+1 for a buyer, -1 for a seller: where its prices get more aggressive."""
    return jnp.where(jnp.asarray(side) == Side.BUY, 1, -1)


def _round_up(size: jax.Array, lot: jax.Array | int) -> jax.Array:
    """The next multiple of a lot, `[]` int32 shares."""
    return -(-size // lot) * lot
