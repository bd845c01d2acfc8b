"""The Cont-Stoikov-Talreja book: every rate shows in what the agent asks for."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracles.desk_view import Resting, host_view
from oracles.tiny_world import quick_jit
from scipy import stats

from jaxmars import clock
from jaxmars.agents.base import Ask, MarketView, Request
from jaxmars.agents.poisson_book import PoissonBookParams, PoissonBookState, poisson_book_agent
from jaxmars.types import Kind, Side

OPEN = 34_200
OTHERS, OWN = 0, 1
DRAWS = 20_000
RARE = 1e-3  # a p-value below this is a wrong distribution
PLACES = 8
UNIT = 50
AGENT = poisson_book_agent()
PARAMS = PoissonBookParams(
    limit_rate=jnp.array([0.0, 1.5, 0.0, 0.5, 1.0]),
    trade_rate=0.75,
    cancel_rate=jnp.array([9.0, 0.2, 0.1, 0.3, 0.05]),
    unit=UNIT,
    price=1_000,
)
BOOK: list[Resting] = [
    (Side.BUY, 998, 100, 11, OWN),  # 3 ticks from the best ask: 2 units
    (Side.BUY, 900, 50, 12, OWN),  # 101 ticks: as 5
    (Side.SELL, 1_001, 50, 13, OWN),  # 3 ticks from the best bid
    (Side.SELL, 1_002, 25, 14, OWN),  # 4 ticks: half a unit
    (Side.SELL, 1_002, 500, 15, OTHERS),
]
CANCELS = {11: 0.1 * 2, 12: 0.05, 13: 0.1, 14: 0.3 / 2}  # order: rate


def market(book: list[Resting], **more: Any) -> MarketView:
    """What the agent sees at the opening."""
    rows = np.zeros((PLACES, 5), np.int32)
    rows[: len(book)] = np.array(book, np.int32).reshape(-1, 5)
    return host_view(rows, clock.make_time(OPEN), agent_id=OWN, **more)


@quick_jit
def many(params: PoissonBookParams, view: MarketView) -> tuple[PoissonBookState, Request]:
    """`DRAWS` independent wake-ups."""
    keys = jax.random.split(jax.random.key(3), DRAWS)
    state = PoissonBookState(view.time)
    return jax.vmap(AGENT.act, in_axes=(None, 0, None, None))(params, keys, state, view)


@functools.cache
def drawn() -> tuple[PoissonBookState, Request]:
    """What is asked for in `BOOK`."""
    return jax.device_get(many(PARAMS, market(BOOK)))


def fits(values: Any, expected: dict[int, float]) -> bool:
    """Chi-square of integer draws against the weights of their values."""
    counts = np.array([(values == value).sum() for value in expected])
    assert counts.sum() == len(values), "a value that should not occur"
    weights = np.array(list(expected.values()))
    return stats.chisquare(counts, weights / weights.sum() * len(values)).pvalue > RARE


def test_kinds_come_by_their_rates() -> None:
    state, asked = drawn()
    rates = {int(Kind.LIMIT): 2 * 3.0, int(Kind.MARKET): 2 * 0.75}
    rates[int(Ask.CANCEL_ORDER)] = sum(CANCELS.values())
    assert fits(asked.kind, rates)
    waits = state.wake.sec - float(OPEN) + state.wake.nsec / 1e9
    assert stats.kstest(waits, stats.expon(scale=1 / sum(rates.values())).cdf).pvalue > RARE


def test_limit_orders_lie_at_the_distances_of_their_rates() -> None:
    asked = drawn()[1]
    limit = asked.kind == Kind.LIMIT
    assert fits(asked.side[limit], {int(Side.BUY): 1, int(Side.SELL): 1})
    bids, asks = (asked.price[limit & (asked.side == side)] for side in Side)
    assert fits(bids, {999: 1.5, 997: 0.5, 996: 1.0})
    assert fits(asks, {1_000: 1.5, 1_002: 0.5, 1_003: 1.0})
    assert set(asked.size[limit]) == {UNIT}


def test_cancels_take_units_by_distance_and_volume_and_no_order_of_others() -> None:
    asked = drawn()[1]
    cancels = asked.kind == Ask.CANCEL_ORDER
    assert fits(asked.order_id[cancels], CANCELS)
    assert set(asked.size[cancels]) == {UNIT}


def test_market_orders_take_a_unit_of_either_side_or_what_there_is() -> None:
    asked = drawn()[1]
    trades = asked.kind == Kind.MARKET
    assert fits(asked.side[trades], {int(Side.BUY): 1, int(Side.SELL): 1})
    assert set(asked.size[trades]) == {UNIT}
    thin: list[Resting] = [(Side.SELL, 1_002, 30, 13, OTHERS)]
    asked = jax.device_get(many(PARAMS, market(thin)))[1]
    assert set(asked.size[asked.kind == Kind.MARKET]) == {30}


def test_an_empty_book_fills_around_the_price() -> None:
    asked = jax.device_get(many(PARAMS, market([])))[1]
    assert set(np.unique(asked.kind)) == {Kind.NONE, Kind.LIMIT}
    limit = asked.kind == Kind.LIMIT
    assert set(asked.price[limit & (asked.side == Side.BUY)]) == {998, 996, 995}
    assert set(asked.price[limit & (asked.side == Side.SELL)]) == {1_002, 1_004, 1_005}
    later = jax.device_get(many(PARAMS, market([], last_price=500)))[1]
    assert set(later.price[later.kind == Kind.LIMIT]) == {498, 496, 495, 502, 504, 505}


def test_without_rates_nothing_ever_happens() -> None:
    none = jnp.zeros(5)
    asleep = PARAMS._replace(limit_rate=none, trade_rate=0.0, cancel_rate=none)
    view = market(BOOK)
    wake = quick_jit(lambda p, v: AGENT.init(p, jax.random.key(0), v, None)[1])(asleep, view)
    assert clock.same(wake, clock.never())
