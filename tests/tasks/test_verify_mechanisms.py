"""Mechanism switches of the reference market: what each leaves of the rates, and its checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxmars import clock
from jaxmars.agents.base import MarketView
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.reference_plan import draw_plan
from jaxmars.agents.reference_state import (
    NUM_PARENTS,
    Plan,
    Rates,
    ReferenceState,
    event_rates,
    quotes,
)
from jaxmars.book import account_row, empty_accounts, l2_snapshot
from jaxmars.sim.reference_market import opening_book, reference_market
from jaxmars.tasks.verify_mechanisms import (
    COLUMNS,
    SWITCHES,
    Check,
    ablation_table,
    check_table,
    switch_table,
)
from jaxmars.tasks.verify_statistics import MEASURES, Measure
from jaxmars.types import Kind, Side

MARKET = reference_market()
BY_NAME = {switch.name: switch for switch in SWITCHES}
DRAWS = 4000
RATE = 0.5  # trades per second of the default market
HAWKES_SHARE = 0.35  # of it


@pytest.fixture(scope="module")
def view() -> MarketView:
    @jax.jit
    def look(key: jax.Array) -> MarketView:
        book = opening_book(key, MARKET)
        account = account_row(empty_accounts(1), 0)
        now, l2 = clock.make_time(34_200), l2_snapshot(book, MARKET.levels)
        return MarketView(now, book, l2, jnp.int32(2000), jnp.int32(0), account)

    return look(jax.random.key(0))


@pytest.fixture(scope="module")
def excited(view: MarketView) -> ReferenceState:
    """A market in which every mechanism has something to say."""
    init = jax.jit(reference_agent(MARKET.lot_size).init)
    state, _ = init(ReferenceParams(), jax.random.key(1), view, None)
    return state._replace(
        level=jnp.array([0.3, 0.4, 0.5]),
        trend=jnp.float32(7.0),
        flow=jnp.float32(1.0),
        value=state.mid + 12.0,
        parent_sign=jnp.ones(NUM_PARENTS),
    )


def state_of(name: str, excited: ReferenceState) -> ReferenceState:
    """The excited market, with the activity levels and excitation that a switched one can have."""
    params = BY_NAME[name].params
    return excited._replace(
        level=excited.level * np.sign(params.level_variances).astype(np.float32),
        hawkes=excited.hawkes * np.float32(2 * params.hawkes_share / HAWKES_SHARE),
    )


@jax.jit
def rates(params: ReferenceParams, state: ReferenceState, view: MarketView) -> Rates:
    return event_rates(params, state, quotes(view.l2, state.mid), jnp.float32(50.0))


def rates_of(name: str, excited: ReferenceState, view: MarketView) -> Rates:
    return rates(BY_NAME[name].params, state_of(name, excited), view)


def test_everything_is_the_default_market(excited: ReferenceState, view: MarketView) -> None:
    assert BY_NAME["everything"].params == ReferenceParams()
    found = rates_of("everything", excited, view)
    assert float(found.activity) > 1.5 and float(found.value) > 0


@pytest.mark.parametrize(
    "name", ["no value traders or leaning", "zero intelligence", "splitting only"]
)
def test_no_value_trades(name: str, excited: ReferenceState, view: MarketView) -> None:
    assert float(rates_of(name, excited, view).value) == 0


@pytest.mark.parametrize(
    "name", ["constant activity", "zero intelligence", "splitting only", "value traders only"]
)
def test_activity_is_one_whatever_happens(
    name: str, excited: ReferenceState, view: MarketView
) -> None:
    found = rates_of(name, excited, view)
    assert float(found.activity) == pytest.approx(1.0)
    assert float(found.trade) == pytest.approx(RATE)


@pytest.mark.parametrize("name", ["no feedback", "Hawkes trades only"])
def test_a_trend_excites_nothing(name: str, excited: ReferenceState, view: MarketView) -> None:
    flat = excited._replace(trend=jnp.float32(0.0))
    found = [float(rates_of(name, state, view).activity) for state in (excited, flat)]
    assert found[0] == found[1] != 1.0
    usual = [float(rates_of("everything", state, view).activity) for state in (excited, flat)]
    assert usual[0] > usual[1]


@jax.jit
def plans(params: ReferenceParams, state: ReferenceState, view: MarketView) -> Plan:
    plan = lambda key: draw_plan(params, key, state, view, MARKET.lot_size)
    return jax.vmap(plan)(jax.random.split(jax.random.key(5), DRAWS))


def shares(params: ReferenceParams, excited: ReferenceState, view: MarketView) -> np.ndarray:
    """Of planned trades those of a parent, of other trades buys, of passive orders sells."""
    found = jax.device_get(plans(params, excited, view))
    request, bid, ask = found.request, int(view.l2.price[0, 0]), int(view.l2.price[1, 0])
    buy = request.side == Side.BUY
    trade = np.where(buy, request.price >= ask, request.price <= bid) & (request.kind == Kind.LIMIT)
    child = found.parent < NUM_PARENTS
    passive = (request.kind == Kind.LIMIT) & ~trade
    return np.array([child[trade].mean(), buy[trade & ~child].mean(), (~buy)[passive].mean()])


def test_children_and_leaning(excited: ReferenceState, view: MarketView) -> None:
    params = BY_NAME["zero intelligence"].params
    child, buys, sells = shares(params, excited, view)
    assert child == 0 and buys == pytest.approx(0.5, abs=0.12) and abs(sells - 0.5) < 0.05
    leaning = params._replace(lean=0.5, split_prob=0.85)
    child, _, sells = shares(leaning, excited, view)
    assert child == pytest.approx(0.85, abs=0.09) and sells == pytest.approx(0.75, abs=0.05)


def test_switches_and_their_checks() -> None:
    assert len(BY_NAME) == len(SWITCHES)
    for switch in SWITCHES:
        assert len(switch.published) in (0, len(COLUMNS))
        assert switch.checks and {c.statistic for c in switch.checks} <= set(MEASURES)
    rules = [Check("x", high=1.0).rule, Check("x", low=0.5).rule, Check("x", 0.0, 2.0).rule]
    assert rules == ["x at most 1", "x at least 0.5", "x from 0 to 2"]


def test_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    level = {name: Measure(name, lambda found: np.asarray(found)) for name in MEASURES}
    monkeypatch.setattr("jaxmars.tasks.verify_mechanisms.MEASURES", level)
    switch, found = BY_NAME["constant activity"], np.array([0.03, 0.05])
    checks = check_table(switch, found)  # pyright: ignore[reportArgumentType]
    assert checks["passes"].tolist() == [True, True, True, False]  # memory of signs must stay
    tables: dict[str, pd.DataFrame] = {
        name: switch_table(BY_NAME[name], found)  # pyright: ignore[reportArgumentType]
        for name in ("constant activity", "no splitting")
    }
    table = ablation_table(tables)
    assert table["market"].tolist() == ["constant activity", "— published", "no splitting"]
    assert table["trade sign acf 1"].tolist() == ["0.04±0.01", "0.22", "0.04±0.01"]
