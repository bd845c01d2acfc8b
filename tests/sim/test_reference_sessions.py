"""The crowd and a trader from outside in one market: who is who, how much, nothing breaks."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from oracles.tiny_world import quick_jit, tiny_converters

from jaxmars.agents import outside
from jaxmars.agents.outside import OutsideParams, OutsideState, outside_agent, random_outside
from jaxmars.agents.touch import own_size
from jaxmars.config import OrderModelConfig
from jaxmars.sim.reference_market import OPEN_PRICE, open_session, reference_market
from jaxmars.sim.reference_sessions import (
    CROWD,
    Session,
    SessionParams,
    SessionRows,
    plain_session,
    run_session,
    start_session,
    varied_session,
)
from jaxmars.sim.state import MarketState, view_of
from jaxmars.tokens.order import NO_ROW
from jaxmars.types import Side

CFG = dataclasses.replace(reference_market(), levels=6)
EVENTS = 2_048
PLAIN, VARIED, PRESSED = range(3)
KINDS = 3
EACH = 8  # sessions per kind
DRAWS = 4_000
OUTSIDE = 1  # agent id
TINY = OrderModelConfig.tiny()


class Run(NamedTuple):
    """Sessions `[KINDS * EACH, …]`, kind by kind, with a second axis of events where it says so."""

    market: MarketState  # after them
    rows: SessionRows  # [events]
    actor: jax.Array  # [events]
    quotes: jax.Array  # [events, 2] ticks
    own_lots: jax.Array  # [events] resting, of the trader from outside


def drawn(key: jax.Array, kind: jax.Array) -> SessionParams:
    """Parameters of a session of a kind."""
    plain, varied = plain_session(key), varied_session(key)
    params = jax.tree.map(lambda a, b: jnp.where(kind == PLAIN, a, b), plain, varied)
    rate = jnp.where(kind == PRESSED, 0.5, params.outside.start_rate)
    return params._replace(outside=OutsideParams(rate))


def run_one(key: jax.Array, kind: jax.Array) -> Run:
    params = drawn(key, kind)
    tables = tiny_converters().tables()

    def one(session: Session, _: None) -> tuple[Session, tuple]:
        session, rows = run_session(key, session, params, tables, cfg=CFG, num_events=1)
        market = session.market
        rests = own_size(view_of(market, market.time, OUTSIDE)) // CFG.lot_size
        quotes = market.l2.price[:, 0]
        return session, (jax.tree.map(lambda x: x[0], rows), market.actor, quotes, rests)

    session, found = lax.scan(one, start_session(key, params, CFG), None, length=EVENTS)
    return Run(session.market, *found)


@pytest.fixture(scope="module")
def runs() -> Run:
    keys = jax.random.split(jax.random.key(4), KINDS * EACH)
    kinds = jnp.repeat(jnp.arange(KINDS), EACH)
    options = {"xla_backend_optimization_level": 1}
    found = jax.jit(jax.vmap(run_one), compiler_options=options)(keys, kinds)
    return jax.tree.map(np.asarray, found)


def of_kind(kind: int) -> slice:
    return slice(kind * EACH, (kind + 1) * EACH)


def test_rows_are_the_crowds_where_its_orders_are(runs: Run) -> None:
    assert np.array_equal(runs.rows.own, runs.actor == CROWD)
    assert set(np.unique(runs.actor)) == {CROWD, OUTSIDE}


def test_the_plain_market_is_the_crowds(runs: Run) -> None:
    assert np.all(runs.rows.own[of_kind(PLAIN)])
    others = np.mean(~runs.rows.own[of_kind(PRESSED)], 1)
    assert 0 < others.min() < others.max() < 0.5


def test_nothing_goes_wrong(runs: Run) -> None:
    """Every event is an order, spreads of a few ticks, a price that stays near."""
    assert not np.any(runs.market.status)
    assert np.all(runs.rows.action[:, 1:] != NO_ROW)
    bid, ask = np.moveaxis(np.asarray(runs.quotes), 2, 0)
    assert (bid > 0).all()
    assert (bid < ask).all()
    assert ((ask - bid).mean(1) < 2.5).all()
    assert (np.abs(bid - OPEN_PRICE) < 200).all()


def test_outside_orders_are_of_every_sort(runs: Run) -> None:
    """Both sides trade, some orders rest and are taken out again."""
    pressed = of_kind(PRESSED)
    kinds = np.asarray(runs.rows.row)[pressed, :, 0] // (TINY.vocab // 3)
    assert set(kinds[runs.actor[pressed] == OUTSIDE].tolist()) == {0, 1, 2}
    account = runs.market.accounts
    assert np.any(account.bought[pressed, OUTSIDE] > 0)
    assert np.any(account.sold[pressed, OUTSIDE] > 0)
    assert np.max(runs.own_lots[pressed]) > 0
    assert not np.any(runs.own_lots[of_kind(PLAIN)])


@pytest.fixture(scope="module")
def parents() -> OutsideState:
    """Parent orders `[DRAWS]` just after their first child."""
    market = quick_jit(functools.partial(open_session, cfg=CFG))(
        jax.random.key(0), plain_session(jax.random.key(0)).crowd
    )
    view = view_of(market, market.time, 0)
    view = view._replace(agent_id=jnp.int32(1))
    agent = outside_agent(CFG.lot_size)
    zero = jnp.float32(0)
    idle = OutsideState(jnp.int32(0), jnp.int32(0), zero, zero, zero)
    act = lambda key: agent.act(OutsideParams(1.0), key, idle, view)[0]
    keys = jax.random.split(jax.random.key(1), DRAWS)
    return jax.tree.map(np.asarray, quick_jit(jax.vmap(act))(keys))


def test_parent_orders_cover_those_whose_impact_is_measured(parents: OutsideState) -> None:
    """0.5 lot/s for a quarter of an hour and up to 1,200 lots in five minutes lie well inside."""
    children = parents.left + 1
    lots, seconds = children * parents.lots, children / parents.pace
    many = children > 1
    assert abs((~many).mean() - outside.SINGLE_SHARE) < 0.08
    assert (parents.lots >= 1 - 1e-4).all()
    assert (lots[many] / seconds[many]).max() < outside.LOTS_PER_SECOND[1] * 1.01
    assert np.quantile(seconds[many], 0.02) < 60
    assert (seconds[many] > 900).mean() > 0.05
    assert (lots[many] > 1_200).mean() > 0.02
    assert (lots[many] < 30).mean() > 0.1
    assert (parents.boldness == 1).mean() > 0.2
    assert (parents.boldness == 0).mean() > 0.1
    assert abs((parents.side == Side.BUY).mean() - 0.5) < 0.04


def test_a_good_share_of_sessions_has_nobody_from_outside() -> None:
    keys = jax.random.split(jax.random.key(3), DRAWS)
    rate = np.asarray(jax.vmap(random_outside)(keys).start_rate)
    assert abs((rate == 0).mean() - outside.ABSENT_SHARE) < 0.04
    pauses = 1 / rate[rate > 0]
    low, high = outside.PAUSES
    assert low * 0.999 <= pauses.min() < 1.2 * low
    assert 0.8 * high < pauses.max() <= high * 1.001
