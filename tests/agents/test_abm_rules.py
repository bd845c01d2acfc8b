"""Agents of the agent-based market one by one: what each asks for in a hand-made market."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.desk_view import Resting, at, host_view, listed
from oracles.tiny_world import quick_jit
from scipy import stats

from jaxmars import clock
from jaxmars.agents.base import Agent, Ask, MarketView, Request
from jaxmars.agents.fundamental import Fundamental, mean_reverting, value_at
from jaxmars.agents.market_maker import MarketMakerParams, MarketMakerState, market_maker_agent
from jaxmars.agents.momentum import MomentumParams, MomentumState, momentum_agent
from jaxmars.agents.value import ValueParams, ValueState, value_agent
from jaxmars.agents.waiting import after_exponential
from jaxmars.agents.zero_intelligence import (
    ZeroIntelligenceParams,
    ZeroIntelligenceState,
    zero_intelligence_agent,
)
from jaxmars.types import Kind, Side

OPEN = 34_200
NOW = clock.make_time(OPEN)
OTHERS, OWN = 0, 1
DRAWS = 10_000
RARE = 1e-3  # a p-value below this is a wrong distribution
KEY = jax.random.key(0)
BOOK: list[Resting] = [
    (Side.BUY, 998, 500, 1, OTHERS),
    (Side.BUY, 996, 500, 2, OTHERS),
    (Side.SELL, 1_002, 500, 3, OTHERS),
    (Side.SELL, 1_004, 500, 4, OTHERS),
]
PLACES = 12


def market(own: list[Resting] | None = None, book: list[Resting] = BOOK, **more: Any) -> MarketView:
    """What the agent sees at the opening."""
    orders = book + (own or [])
    rows = np.zeros((PLACES, 5), np.int32)
    rows[: len(orders)] = np.array(orders).reshape(-1, 5)
    return host_view(rows, NOW, agent_id=OWN, **more)


@functools.partial(quick_jit, static_argnums=0)
def many_acts(agent: Agent, params: Any, state: Any, view: MarketView) -> tuple[Any, Request]:
    """`DRAWS` independent wake-ups of one kind."""
    keys = jax.random.split(jax.random.key(7), DRAWS)
    return jax.vmap(agent.act, in_axes=(None, 0, None, None))(params, keys, state, view)


@functools.partial(quick_jit, static_argnums=0)
def act(
    agent: Agent, params: Any, state: Any, view: MarketView, key: jax.Array = KEY
) -> tuple[Any, Request]:
    """One wake-up."""
    return agent.act(params, key, state, view)


def draws(agent: Agent, params: Any, state: Any, view: MarketView) -> tuple[Any, Request]:
    return jax.tree.map(np.asarray, many_acts(agent, params, state, view))


def waits(wake: Any) -> np.ndarray:
    return np.asarray(wake.sec, np.float64) - OPEN + np.asarray(wake.nsec) / 1e9


def fits(values: Any, expected: dict[int, float]) -> bool:
    """Chi-square of integer draws against the weights of their values."""
    counts = np.array([(values == value).sum() for value in expected])
    assert counts.sum() == len(values), "a value that should not occur"
    weights = np.array(list(expected.values()))
    return stats.chisquare(counts, weights / weights.sum() * len(values)).pvalue > RARE


@pytest.mark.parametrize("rate", [0.02, 3.0])
def test_waits_are_exponential(rate: float) -> None:
    keys = jax.random.split(jax.random.key(1), DRAWS)
    wake = quick_jit(jax.vmap(after_exponential, in_axes=(0, None, None)))(keys, NOW, rate)
    assert stats.kstest(waits(wake), stats.expon(scale=1 / rate).cdf).pvalue > RARE


def test_nothing_arrives_at_rate_zero_and_rare_things_stay_in_range() -> None:
    assert clock.same(after_exponential(KEY, NOW, 0.0), clock.never())
    late = after_exponential(KEY, NOW, 1e-30)
    assert OPEN < int(late.sec) <= clock.NEVER_SEC


ZERO = zero_intelligence_agent()
ZERO_PARAMS = ZeroIntelligenceParams(1_000, limit_rate=1.0, trade_rate=0.25, cancel_rate=0.5)
ZERO_STATE = ZeroIntelligenceState(NOW)
MINE: list[Resting] = [
    (Side.BUY, 995, 100, 11, OWN),
    (Side.SELL, 1_003, 100, 12, OWN),
    (Side.SELL, 1_003, 70, 13, OWN),
]


def test_zero_intelligence_draws_kinds_by_their_rates() -> None:
    state, asked = draws(ZERO, ZERO_PARAMS, ZERO_STATE, market(MINE))
    rates = {int(Kind.LIMIT): 2.0, int(Kind.MARKET): 0.5, int(Ask.CANCEL_ORDER): 1.5}
    assert fits(asked.kind, rates)
    assert stats.kstest(waits(state.wake), stats.expon(scale=1 / 4.0).cdf).pvalue > RARE
    for kind in (Kind.LIMIT, Kind.MARKET):
        assert fits(asked.side[asked.kind == kind], {int(Side.BUY): 1, int(Side.SELL): 1})
    assert set(asked.size[asked.kind != Ask.CANCEL_ORDER]) == {100}


def test_zero_intelligence_cancels_every_own_order_alike_and_no_other() -> None:
    _, asked = draws(ZERO, ZERO_PARAMS, ZERO_STATE, market(MINE))
    cancels = asked.kind == Ask.CANCEL_ORDER
    assert fits(asked.order_id[cancels], {11: 1, 12: 1, 13: 1})
    _, asked = draws(ZERO, ZERO_PARAMS, ZERO_STATE, market())
    assert not (asked.kind == Ask.CANCEL_ORDER).any()


def test_zero_intelligence_places_limit_orders_evenly_beyond_the_opposite_best() -> None:
    _, asked = draws(ZERO, ZERO_PARAMS, ZERO_STATE, market())
    limit = asked.kind == Kind.LIMIT
    bids, asks = (asked.price[limit & (asked.side == side)] for side in Side)
    assert fits(bids, dict.fromkeys(range(992, 1_002), 1))
    assert fits(asks, dict.fromkeys(range(999, 1_009), 1))


def test_zero_intelligence_starts_from_its_price_and_sends_no_market_order_to_nobody() -> None:
    _, asked = draws(ZERO, ZERO_PARAMS, ZERO_STATE, market(book=[]))
    assert set(np.unique(asked.kind)) == {Kind.NONE, Kind.LIMIT}
    bids = asked.price[(asked.kind == Kind.LIMIT) & (asked.side == Side.BUY)]
    assert (bids.min(), bids.max()) == (990, 999)
    thin: list[Resting] = [(Side.SELL, 1_002, 30, 3, OTHERS)]
    _, asked = draws(ZERO, ZERO_PARAMS, ZERO_STATE, market(book=thin))
    assert set(asked.size[asked.kind == Kind.MARKET]) == {30}


def test_a_path_has_the_law_of_the_process_whatever_its_spacing() -> None:
    """Stationary spread volatility / sqrt(2 reversion), correlation exp(-reversion * gap)."""
    spread = 2.0 / 0.1**0.5
    for spacing, num in ((1.0, 41), (20.0, 3)):
        make = lambda key, s=spacing, n=num: mean_reverting(
            key, NOW, s, n, mean=1_000.0, first=1_030.0, reversion=0.05, volatility=2.0
        )
        keys = jax.random.split(jax.random.key(3), 4_000)
        value = np.asarray(quick_jit(jax.vmap(lambda key, make=make: make(key).value))(keys))
        assert (value[:, 0] == 1_030).all()
        for seconds in (20, 40):
            found = value[:, round(seconds / spacing)]
            decay = np.exp(-0.05 * seconds)
            law = stats.norm(1_000 + 30 * decay, spread * (1 - decay**2) ** 0.5)
            assert stats.kstest(found, law.cdf).pvalue > RARE


def test_a_path_is_straight_between_its_values() -> None:
    path = Fundamental(NOW, 10.0, jnp.array([100.0, 110.0, 90.0]))
    times = [at(OPEN + s) for s in (-5, 0, 2.5, 10, 15, 20, 500)]
    assert [float(value_at(path, time)) for time in times] == [100, 100, 102.5, 110, 100, 90, 90]


def flat(value: float) -> Fundamental:
    return Fundamental(NOW, 1.0, jnp.full(2, value))


VALUE = value_agent()
VALUE_STATE = ValueState(NOW)


def value_orders(value: float, **numbers: Any) -> list[tuple[int, int, int, int, int]]:
    """What a value agent that sees clearly asks for; the mid is 1,000."""
    params = ValueParams(flat(value), noise=0.0, **numbers)
    return listed(act(VALUE, params, VALUE_STATE, market())[1])


def test_value_trades_toward_its_estimate() -> None:
    def order(side: Side, price: int) -> list[tuple[int, int, int, int, int]]:
        return [(Kind.LIMIT, side, price, 100, 0)]

    assert value_orders(1_010.0, cross_prob=1.0) == order(Side.BUY, 1_002)
    assert value_orders(1_010.0, cross_prob=0.0) == order(Side.BUY, 998)
    assert value_orders(990.0, cross_prob=1.0) == order(Side.SELL, 998)
    assert value_orders(990.0, cross_prob=0.0) == order(Side.SELL, 1_002)
    assert value_orders(1_001.5, cross_prob=1.0) == order(Side.BUY, 1_001)
    assert value_orders(998.5, cross_prob=1.0) == order(Side.SELL, 999)
    assert value_orders(1_000.4, cross_prob=1.0) == []
    assert value_orders(1_003.0, cross_prob=1.0, margin=4.0) == []


def test_value_withdraws_its_old_order_first() -> None:
    view = market([(Side.BUY, 990, 100, 11, OWN)])
    asked = listed(act(VALUE, ValueParams(flat(1_010.0), noise=0.0), VALUE_STATE, view)[1])
    assert [row[0] for row in asked] == [Ask.CANCEL_OLDEST, Kind.LIMIT]


def test_value_observes_with_noise() -> None:
    """At a fundamental of the mid and without margin, half of the estimates are above; with one of
    a standard deviation, 2 * P(N > 1) = 0.317 lead to an order."""
    params = ValueParams(flat(1_000.0), noise=4.0, margin=4.0, rate=0.5, cross_prob=0.25)
    state, asked = draws(VALUE, params, VALUE_STATE, market())
    sent = asked.kind[:, 1] == Kind.LIMIT
    assert stats.binomtest(int(sent.sum()), DRAWS, float(2 * stats.norm.sf(1))).pvalue > RARE
    assert fits(asked.side[sent, 1], {int(Side.BUY): 1, int(Side.SELL): 1})
    buys = asked.price[sent & (asked.side[:, 1] == Side.BUY), 1]
    assert fits(buys, {1_002: 0.25, 998: 0.75})
    assert stats.kstest(waits(state.wake), stats.expon(scale=2).cdf).pvalue > RARE


MOMENTUM = momentum_agent(short=2, long=4)
MOMENTUM_PARAMS = MomentumParams(max_position=250)
NO_NOTES = MomentumState(jnp.zeros(4, jnp.int32), jnp.int32(0), NOW)


def momentum_orders(mids: list[int], **more: Any) -> list[list[tuple[int, int, int]]]:
    """(side, price, size) of the orders at each wake-up while the mid goes along `mids`."""
    state, found = NO_NOTES, []
    for mid in mids:
        book: list[Resting] = [
            (Side.BUY, mid - 1, 100, 1, OTHERS),
            (Side.SELL, mid + 1, 100, 2, OTHERS),
        ]
        state, asked = act(MOMENTUM, MOMENTUM_PARAMS, state, market(book=book, **more))
        found.append([row[1:4] for row in listed(asked)])
    return found


def test_momentum_buys_an_up_trend_and_sells_a_down_trend() -> None:
    up = momentum_orders([100, 101, 102, 103, 104])
    assert up == [[], [], [], [(Side.BUY, 104, 100)], [(Side.BUY, 105, 100)]]
    down = momentum_orders([100, 99, 98, 97])
    assert down == [[], [], [], [(Side.SELL, 96, 100)]]
    assert momentum_orders([100] * 5) == [[]] * 5
    turn = momentum_orders([100, 104, 104, 100, 96])
    assert turn[3:] == [[], [(Side.SELL, 95, 100)]]


def test_momentum_keeps_to_its_position_limit() -> None:
    up = [100, 101, 102, 103]
    assert momentum_orders(up, bought=300, sold=100)[-1] == [(Side.BUY, 104, 50)]
    assert momentum_orders(up, bought=300)[-1] == []
    assert momentum_orders(up, sold=900)[-1] == [(Side.BUY, 104, 100)]
    assert momentum_orders(up[::-1], sold=240)[-1] == [(Side.SELL, 99, 10)]


def test_momentum_takes_no_note_of_a_market_without_prices() -> None:
    state, asked = act(MOMENTUM, MOMENTUM_PARAMS, NO_NOTES, market(book=[]))
    assert (int(state.taken), listed(asked)) == (0, [])


@pytest.mark.parametrize(("short", "long"), [(0, 4), (4, 4), (5, 4)])
def test_momentum_needs_a_fast_and_a_slow_average(short: int, long: int) -> None:
    with pytest.raises(ValueError, match="0 < short < long"):
        momentum_agent(short, long)


MAKER = market_maker_agent(levels=2)
MAKER_STATE = MarketMakerState(NOW)
MAKER_PARAMS = MarketMakerParams(1_000, half_spread=1.0, step=2, size=100, skew=0.5)


def quotes(view: MarketView, **numbers: Any) -> tuple[list[int], list[int]]:
    """Prices of bids and asks sent, from the inside out."""
    asked = act(MAKER, MAKER_PARAMS._replace(**numbers), MAKER_STATE, view)[1]
    rows = [row for row in listed(asked) if row[0] == Kind.LIMIT]
    bids, asks = ([row[2] for row in rows if row[1] == side] for side in Side)
    return bids, asks


def test_the_maker_quotes_a_ladder_around_the_mid() -> None:
    assert quotes(market()) == ([999, 997], [1_001, 1_003])
    assert quotes(market(), half_spread=1.5) == ([998, 996], [1_002, 1_004])
    assert quotes(market(), half_spread=0.0) == ([1_000, 998], [1_001, 1_003])
    assert quotes(market(book=[])) == ([999, 997], [1_001, 1_003])
    assert quotes(market(book=[], last_price=500)) == ([499, 497], [501, 503])


def test_inventory_moves_the_quotes_against_itself() -> None:
    """Half a tick per lot: long of 200 shares, all quotes are a tick lower."""
    assert quotes(market(bought=300, sold=100)) == ([998, 996], [1_000, 1_002])
    assert quotes(market(sold=200)) == ([1_000, 998], [1_002, 1_004])


def test_the_maker_never_crosses_the_others() -> None:
    assert quotes(market(sold=2_000)) == ([1_001, 999], [1_011, 1_013])
    assert quotes(market(bought=2_000)) == ([989, 987], [999, 1_001])


def test_the_maker_stops_quoting_a_side_at_its_limit() -> None:
    assert quotes(market(bought=400), max_inventory=400) == ([], [999, 1_001])
    assert quotes(market(sold=400), max_inventory=400) == ([1_001, 999], [])


def test_the_maker_looks_past_its_own_quotes_and_withdraws_them() -> None:
    own: list[Resting] = [(Side.BUY, 1_000, 100, 11, OWN), (Side.SELL, 1_001, 100, 12, OWN)]
    view = market(own)
    assert quotes(view) == quotes(market())
    asked = listed(act(MAKER, MAKER_PARAMS, MAKER_STATE, view)[1])
    assert asked[0][0] == Ask.CANCEL_OLDEST
    assert len(asked) == 5
    assert len(listed(act(MAKER, MAKER_PARAMS, MAKER_STATE, market())[1])) == 4


def test_a_maker_needs_a_level() -> None:
    with pytest.raises(ValueError, match="at least one level, got 0"):
        market_maker_agent(levels=0)
