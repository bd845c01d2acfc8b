"""Rates of the Cont-Stoikov-Talreja book from recorded orders (their section 3).

Counts over exposure, both sides together; i is a distance in ticks from the opposite best price.

| rate | events | exposure |
|---|---|---|
| lambda(i) | limit orders at i | seconds, once per side, in which the record shows i |
| mu | trades, in units: number x mean size / unit | seconds, once per side |
| theta(i) | cancels at i, in units: number x mean size / unit | units that rest at i x seconds |

The unit is the mean size of limit orders. Two things differ from the paper, which saw whole books:
a record of few levels shows distant prices only at times, and dividing by the whole time would call
them quiet; and what rests is averaged over time, not over rows of the record, as a rate needs.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxmars.agents.poisson_book import PoissonBookParams
from jaxmars.data.flow import Flow
from jaxmars.data.lobster import NANOS, host_l2, nanoseconds
from jaxmars.data.start import event_mid
from jaxmars.errors import InputError
from jaxmars.types import L2, Kind, Side

LEAST_SEEN = 0.05  # share of the time a distance must be seen for its rate to be known
MOST_DISTANCES = 1024  # ticks; stub quotes may lie a thousand times farther
_SIDES = len(Side)
_NOWHERE = 0  # distance without an opposite best price


class _Orders(NamedTuple):
    """Orders with a book before them. Host arrays `[orders]`."""

    distance: np.ndarray  # int64, ticks from the opposite best price; `_NOWHERE` if there is none
    size: np.ndarray  # int64, shares; of a trade those traded
    limit: np.ndarray  # bool, a limit order that rests whole
    trade: np.ndarray  # bool
    cancel: np.ndarray  # bool


def fit_poisson_book(flow: Flow) -> PoissonBookParams:
    """The rates of a flow.

    Args:
      flow: orders in time order, with the book after each. The first one only gives the first book.

    Returns:
      Host arrays as parameters of `poisson_book_agent`. Tables end at the largest distance that a
      limit order had and that was seen for `LEAST_SEEN` of the time. Cancels where nothing was
      seen to rest come at the mean rate.

    Raises:
      InputError: no limit orders, or no time between the first and the last order.
    """
    orders = _orders(flow)
    stamps = nanoseconds(flow.event.time.sec, flow.event.time.nsec)
    seconds = np.diff(stamps) / NANOS
    total = float(seconds.sum())
    if not orders.limit.any() or total <= 0:
        raise InputError(
            f"{int(orders.limit.sum())} limit orders in {total:g} seconds, expected some of both "
            "to calibrate rates"
        )
    held = host_l2(*(np.asarray(x)[:-1] for x in flow.l2))  # each lasts until the next order
    gone = _distances(held)
    farthest = min(int(orders.distance[orders.limit].max()), MOST_DISTANCES)
    shown = _seconds_shown(held, gone, seconds, farthest)
    enough = np.flatnonzero(shown >= LEAST_SEEN * _SIDES * total)
    num = int(enough[-1]) + 1 if len(enough) else 1
    unit = max(round(float(orders.size[orders.limit].mean())), 1)
    units = _unit_seconds(held, gone, seconds, num) / unit
    near = orders.limit & (orders.distance <= num)
    arrived = np.bincount(orders.distance[near] - 1, minlength=num)
    cancels = orders.cancel & (orders.distance > _NOWHERE)
    places = np.minimum(orders.distance[cancels], num) - 1
    cancelled = np.bincount(places, minlength=num) * _mean(orders.size[cancels]) / unit
    traded = orders.trade.sum() * _mean(orders.size[orders.trade]) / unit
    mean_rate = cancelled.sum() / max(units.sum(), 1e-9)
    narrow: Any = lambda x: jnp.asarray(x, jnp.float32)
    return PoissonBookParams(
        limit_rate=narrow(_ratio(arrived, shown[:num], 0.0)),
        trade_rate=narrow(traded / (_SIDES * total)),
        cancel_rate=narrow(_ratio(cancelled, units, mean_rate)),
        unit=jnp.int32(unit),
        price=jnp.int32(event_mid(flow.event)[-1]),
    )


def _orders(flow: Flow) -> _Orders:
    """All orders but the first."""
    event = flow.event
    kind, side, price, size, filled = (
        np.asarray(x)[1:].astype(np.int64)
        for x in (event.kind, event.side, event.price, event.size, event.filled)
    )
    opposite = np.asarray(flow.l2.price)[np.arange(len(kind)), 1 - side, 0]
    distance = np.where(side == Side.BUY, opposite - price, price - opposite)
    trade = filled > 0
    known = (opposite > 0) & (distance > 0)
    return _Orders(
        distance=np.where(known, distance, _NOWHERE),
        size=np.where(trade, filled, size),
        limit=((kind == Kind.LIMIT) | (kind == Kind.POST_ONLY)) & ~trade & known,
        trade=trade,
        cancel=kind == Kind.CANCEL,
    )


def _distances(l2: L2) -> np.ndarray:
    """Ticks of every level from the opposite best price, `[books, 2, levels]`; `_NOWHERE` where
    there is no level, or nothing on the other side."""
    price = np.asarray(l2.price, np.int64)
    opposite = price[:, ::-1, :1]
    there = (np.asarray(l2.size) > 0) & (opposite > 0)
    return np.where(there, np.abs(price - opposite), _NOWHERE)


def _seconds_shown(l2: L2, distance: np.ndarray, seconds: np.ndarray, num: int) -> np.ndarray:
    """How long the books of both sides reached each distance, `[num]`; a book with a level to spare
    is shown whole, one without an opposite best price nowhere."""
    spare = np.asarray(l2.size)[:, :, -1] == 0
    opposite = np.asarray(l2.size)[:, ::-1, 0] > 0
    reach = np.where(spare, num, np.minimum(distance[:, :, -1], num)) * opposite
    lasted = np.broadcast_to(seconds[:, None], reach.shape)
    at = np.bincount(reach.reshape(-1), lasted.reshape(-1), num + 1)
    return np.cumsum(at[::-1])[::-1][1:]


def _unit_seconds(l2: L2, distance: np.ndarray, seconds: np.ndarray, num: int) -> np.ndarray:
    """Shares times seconds that rested at each distance, `[num]`, the last one or farther."""
    volume = np.asarray(l2.size) * seconds[:, None, None]
    place = np.minimum(distance, num).reshape(-1)
    return np.bincount(place, volume.reshape(-1), num + 1)[1:]


def _mean(values: np.ndarray) -> float:
    """The mean, 0 of nothing."""
    return float(values.mean()) if len(values) else 0.0


def _ratio(count: np.ndarray, exposure: np.ndarray, otherwise: float) -> np.ndarray:
    """Events per exposure, and another number where there was none."""
    seen = exposure > 0
    return np.where(seen, count / np.where(seen, exposure, 1.0), otherwise)
