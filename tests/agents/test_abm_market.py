"""Agents of the agent-based market together: what each does to prices, spreads and depth.

One compiled market holds all four; an agent is switched off by its numbers, so that markets with
and without it differ in nothing else.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.fundamental import Fundamental
from jaxmars.agents.market_maker import MarketMakerParams, market_maker_agent
from jaxmars.agents.momentum import MomentumParams, momentum_agent
from jaxmars.agents.value import ValueParams, value_agent
from jaxmars.agents.zero_intelligence import ZeroIntelligenceParams, zero_intelligence_agent
from jaxmars.book import init_book, invariants
from jaxmars.config import MarketConfig
from jaxmars.sim import MarketState, init_market, record
from jaxmars.types import Event, Kind, Side

CFG = MarketConfig(slots=128, levels=5)
OPEN, SPAN = 34_200, 240
CROWD, VALUE, MOMENTUM, MAKER = range(4)
LEVELS = 2
AGENTS = (
    zero_intelligence_agent(),
    value_agent(),
    momentum_agent(short=5, long=15),
    market_maker_agent(LEVELS),
)
EVENTS = 3_000
LANES = 4  # per scenario
ALONE, WITH_VALUE, WITH_MAKER, TREND = range(4)
FIRST, LATER = 1_020.0, 985.0  # ticks, fundamental before and after half of the time
ZERO = ZeroIntelligenceParams(1_000, limit_rate=1.0, trade_rate=0.25, cancel_rate=0.05)
MAX_INVENTORY, QUOTE = 600, 100  # shares


class Runs(NamedTuple):
    """All lanes, on the host."""

    market: MarketState  # [scenarios * LANES]
    event: Event  # [scenarios * LANES, EVENTS]

    def lanes(self, scenario: int) -> list[Event]:
        """Events of a scenario's lanes, up to their end."""
        rows = range(scenario * LANES, (scenario + 1) * LANES)
        step = np.asarray(self.market.step)
        return [jax.tree.map(lambda x, i=i: x[i, : step[i]], self.event) for i in rows]


def fundamental(values: list[float]) -> Fundamental:
    """Two values, one for each half of the time."""
    half = SPAN // 2
    path = np.repeat(np.array(values, np.float32), half)
    return Fundamental(clock.make_time(OPEN), 1.0, jnp.asarray(path))


def scenario_params(scenario: int) -> tuple:
    """Params of the four agents."""
    values = [FIRST, LATER] if scenario == WITH_VALUE else [1_000.0, 1_030.0]
    return (
        ZERO,
        ValueParams(
            fundamental(values),
            rate=2.0 if scenario in (WITH_VALUE, TREND) else 0.0,
            noise=1.0,
            cross_prob=0.7,
            size=200,
        ),
        MomentumParams(rate=0.5 if scenario == TREND else 0.0, max_position=3_000),
        MarketMakerParams(
            1_000,
            rate=0.5 if scenario == WITH_MAKER else 0.0,
            half_spread=0.5,
            size=QUOTE if scenario == WITH_MAKER else 0,
            max_inventory=MAX_INVENTORY,
        ),
    )


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Four minutes of every scenario from an empty book."""

    def one(key: jax.Array, params: tuple) -> Runs:
        market = init_market(
            key,
            params,
            init_book(CFG.slots),
            clock.make_time(OPEN),
            clock.make_time(OPEN + SPAN),
            jnp.int32(0),
            (None,) * len(AGENTS),
            agents=AGENTS,
            cfg=CFG,
        )
        market, (event, _) = record(key, market, params, agents=AGENTS, cfg=CFG, num_events=EVENTS)
        return Runs(market, event)

    scenarios = [scenario_params(k) for k in (ALONE, WITH_VALUE, WITH_MAKER, TREND)]
    params = jax.tree.map(lambda *x: np.repeat(np.stack(x), LANES, 0), *scenarios)
    keys = jax.random.split(jax.random.key(11), len(scenarios) * LANES)
    return jax.tree.map(np.asarray, quick_jit(jax.vmap(one))(keys, params))


def seconds(event: Event) -> np.ndarray:
    return np.asarray(event.time.sec - OPEN) + event.time.nsec / 1e9


def share_of_time(event: Event, values: np.ndarray, since: float, until: float) -> float:
    """Mean of a quantity over the time between two moments, seconds since the start."""
    time = seconds(event)
    span = np.diff(np.clip(np.append(time, SPAN), since, until))
    return float((values * span).sum() / span.sum())


def mid(event: Event) -> np.ndarray:
    return (np.asarray(event.best_bid) + event.best_ask) / 2


def is_two_sided(event: Event) -> np.ndarray:
    return (np.asarray(event.best_bid) > 0) & (np.asarray(event.best_ask) > 0)


def spread(event: Event) -> np.ndarray:
    return np.where(is_two_sided(event), event.best_ask - event.best_bid, 0)


def test_markets_end_without_a_fault(runs: Runs) -> None:
    """No order is refused, no cancel misses, and the book is sound."""
    assert runs.market.done.all()
    assert (runs.market.status == 0).all()
    assert jax.jit(jax.vmap(invariants))(runs.market.book).all()


def test_agents_that_are_switched_off_do_nothing(runs: Runs) -> None:
    senders = [
        {int(x) for event in runs.lanes(k) for x in event.agent_id[event.kind != Kind.NONE]}
        for k in (ALONE, WITH_VALUE, WITH_MAKER, TREND)
    ]
    assert senders == [{CROWD}, {CROWD, VALUE}, {CROWD, MAKER}, {CROWD, VALUE, MOMENTUM}]


def test_zero_intelligence_keeps_its_rates_and_its_depth(runs: Runs) -> None:
    """Orders of both sides arrive at 2 and 0.5 a second; arrivals less trades over the rate of
    cancels, (2 - 0.5) / 0.05 = 30 orders, rest after the first 20 s of filling up."""
    for event in runs.lanes(ALONE):
        limits = int((event.kind == Kind.LIMIT).sum())
        trades = int((event.kind == Kind.MARKET).sum())
        assert abs(limits - 2 * SPAN) < 4 * (2 * SPAN) ** 0.5
        assert abs(trades - 0.5 * SPAN) < 4 * (0.5 * SPAN) ** 0.5 + 5  # none without a quote
        gone = np.where(event.kind == Kind.CANCEL, 1, 0) + np.where(event.kind == Kind.MARKET, 1, 0)
        resting = np.cumsum((event.kind == Kind.LIMIT) - gone)
        assert 22 < share_of_time(event, resting, 80, SPAN) < 38


def test_value_agents_pull_the_price_to_the_fundamental(runs: Runs) -> None:
    """Left alone the crowd does not know it: 20 ticks up, then 35 down."""
    half = SPAN / 2
    for event in runs.lanes(WITH_VALUE):
        assert abs(share_of_time(event, mid(event), half - 40, half) - FIRST) < 3
        assert abs(share_of_time(event, mid(event), SPAN - 40, SPAN) - LATER) < 3
    astray = [
        abs(share_of_time(event, mid(event), SPAN - 40, SPAN) - LATER)
        for event in runs.lanes(ALONE)
    ]
    assert min(astray) > 3


def test_value_agents_buy_below_the_fundamental_and_sell_above_it(runs: Runs) -> None:
    """Five standard deviations of their noise away from it they do not err."""
    toward = []
    for event in runs.lanes(WITH_VALUE):
        time = seconds(event)
        value = np.where(time < SPAN / 2, FIRST, LATER)
        steady = np.abs(time - SPAN / 2) > 1
        sent = (event.agent_id == VALUE) & (event.kind == Kind.LIMIT) & steady
        for i in np.flatnonzero(sent):
            seen = i - 1  # the event before the wake-up, of which the old order's cancels are part
            while seen >= 0 and event.agent_id[seen] == VALUE and time[seen] == time[i]:
                seen -= 1
            gap = value[i] - mid(event)[seen]
            if seen >= 0 and is_two_sided(event)[seen] and abs(gap) > 5:
                toward.append(event.side[i] == (Side.BUY if gap > 0 else Side.SELL))
    assert len(toward) > 40
    assert all(toward)


def test_a_maker_keeps_the_spread_tight_and_both_sides_quoted(runs: Runs) -> None:
    alone, made = (
        [share_of_time(event, spread(event), 20, SPAN) for event in runs.lanes(k)]
        for k in (ALONE, WITH_MAKER)
    )
    assert np.mean(made) < 0.8 * np.mean(alone)
    assert max(made) < min(alone)
    for event in runs.lanes(WITH_MAKER):
        assert share_of_time(event, is_two_sided(event), 1, SPAN) > 0.99


def test_a_maker_keeps_its_inventory_in_bounds(runs: Runs) -> None:
    """Past the limit it can go by the quotes that lay there when it was reached."""
    accounts = runs.market.accounts
    rows = slice(WITH_MAKER * LANES, (WITH_MAKER + 1) * LANES)
    inventory = (accounts.bought - accounts.sold)[rows, MAKER]
    assert (np.abs(inventory) < MAX_INVENTORY + LEVELS * QUOTE).all()
    volume = (accounts.bought + accounts.sold)[rows, MAKER]
    assert (volume > 2_000).all()
    taken = [event.filled[event.agent_id == MAKER].sum() for event in runs.lanes(WITH_MAKER)]
    assert sum(taken) == 0  # its quotes wait for others, they never trade on arrival


def test_momentum_agents_follow_the_trend_value_agents_make(runs: Runs) -> None:
    """In the half-minute after the fundamental has jumped up by 30 ticks."""
    buys = sells = 0
    for event in runs.lanes(TREND):
        when = (seconds(event) > SPAN / 2 + 10) & (seconds(event) < SPAN / 2 + 35)
        sent = when & (event.agent_id == MOMENTUM) & (event.kind == Kind.LIMIT)
        buys += int((event.side[sent] == Side.BUY).sum())
        sells += int((event.side[sent] == Side.SELL).sum())
    assert buys > 20
    assert buys > 4 * sells
