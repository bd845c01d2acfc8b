"""The reference market: what must hold at every event, cheap statistics, and its switches.

Its stylized facts need far more sessions; `scripts/check_reference.py` measures them.
"""

import dataclasses
import functools
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.book import invariants
from jaxmars.sim.reference_market import (
    OPEN_LEVELS,
    OPEN_PRICE,
    OPEN_SEC,
    WARM_UP_SECONDS,
    open_session,
    opening_book,
    reference_market,
)
from jaxmars.sim.rollout import record
from jaxmars.sim.state import MarketState
from jaxmars.types import Event, Kind, Side

CFG = dataclasses.replace(reference_market(), levels=3)
AGENTS = (reference_agent(CFG.lot_size),)
EVENTS = 16_384
SESSIONS = 8  # per switch
SWITCHES = types.MappingProxyType(
    {
        "default": {},
        "no splitting": {"split_prob": 0.0},
        "steady": {
            "hawkes_share": 0.0,
            "trend_share": 0.0,
            "level_variances": (0.0, 0.0, 0.0),
            "value_rate": 0.0,
        },
        "leaning": {"lean": 0.3},
    }
)
MINUTE = 60
LEAN_SECONDS = 20  # memory of the flow that liquidity leans against
ENOUGH = 2_000  # orders of a session that count; very active ones end during the warm-up


class Flow(NamedTuple):
    """Orders of one session after the warm-up, host arrays; a cancel of several orders is one."""

    seconds: np.ndarray  # since the open
    is_limit: np.ndarray  # rests, at least at first
    is_trade: np.ndarray
    sign: np.ndarray  # +1 buys, -1 sells
    spread: np.ndarray  # ticks, after the order


def run_all(key: jax.Array, params: ReferenceParams) -> tuple[MarketState, Event, jax.Array]:
    """A session from its open: the market after it, its events, and the open's shares."""
    market = open_session(key, params, CFG)
    after, (events, _) = record(key, market, (params,), agents=AGENTS, cfg=CFG, num_events=EVENTS)
    return after, events, market.book.total


@pytest.fixture(scope="module")
def everything() -> tuple[MarketState, Event, jax.Array]:
    """`SESSIONS` sessions for each switch, in their order; one program, as parameters are data."""
    plain = ReferenceParams()
    sets = [plain._replace(**changes) for changes in SWITCHES.values() for _ in range(SESSIONS)]
    params = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y, jnp.float32) for y in x]), *sets)
    keys = jax.random.split(jax.random.key(3), len(sets))
    options = {"xla_backend_optimization_level": 1}
    return jax.tree.map(
        np.asarray, jax.jit(jax.vmap(run_all), compiler_options=options)(keys, params)
    )


@pytest.fixture(scope="module")
def flows(everything: tuple) -> dict[str, list[Flow]]:
    events = everything[1]
    each = [flow_of(jax.tree.map(lambda x, i=i: x[i], events)) for i in range(len(events.kind))]
    part = lambda i: each[i * SESSIONS : (i + 1) * SESSIONS]
    long = lambda flows: [flow for flow in flows if len(flow.seconds) >= ENOUGH]
    return {name: long(part(i)) for i, name in enumerate(SWITCHES)}


def flow_of(event: Event) -> Flow:
    now = np.asarray(event.time.sec, np.int64) * clock.NANOS + event.time.nsec
    goes_on = (event.kind == Kind.CANCEL) & (np.diff(now, prepend=0) == 0)
    goes_on &= np.roll(event.kind, 1) == Kind.CANCEL
    seconds = now / clock.NANOS - OPEN_SEC
    keep = (event.kind != Kind.NONE) & ~goes_on & (seconds >= WARM_UP_SECONDS)
    is_trade = event.filled > 0
    return Flow(
        seconds[keep],
        np.asarray((event.kind == Kind.LIMIT) & ~is_trade)[keep],
        np.asarray(is_trade)[keep],
        np.where(event.side == Side.BUY, 1, -1)[keep],
        np.asarray(event.best_ask - event.best_bid)[keep],
    )


def autocorrelation(signs: np.ndarray) -> float:
    return float(np.corrcoef(signs[:-1], signs[1:])[0, 1])


def mean_sign_memory(flows: list[Flow]) -> float:
    """Lag-one autocorrelation of trade signs, mean over sessions."""
    return float(np.mean([autocorrelation(f.sign[f.is_trade]) for f in flows]))


def fano(flows: list[Flow]) -> float:
    """Variance over mean of the trades of a minute."""
    found = []
    for flow in flows:
        counts = np.bincount((flow.seconds[flow.is_trade] // MINUTE).astype(int))
        whole = counts[WARM_UP_SECONDS // MINUTE + 1 : -1]
        found.append(whole.var(ddof=1) / whole.mean())
    return float(np.mean(found))


def leaning(flows: list[Flow]) -> float:
    """Correlation of the decaying sum of trade signs with the side of the next limit order."""
    pairs = []
    for flow in flows:
        total, last = 0.0, flow.seconds[0]
        for now, is_limit, is_trade, sign in zip(*flow[:4], strict=True):
            total *= np.exp(-(now - last) / LEAN_SECONDS)
            last = now
            if is_limit:
                pairs.append((total, sign))
            if is_trade:
                total += sign
    return float(np.corrcoef(np.array(pairs).T)[0, 1])


def test_books_are_sound_and_shares_are_conserved(everything: tuple) -> None:
    market, event, opening = everything
    assert quick_jit(jax.vmap(invariants))(market.book).all()
    limits = np.where(event.kind == Kind.LIMIT, event.size, 0).sum(1)
    cancels = np.where(event.kind == Kind.CANCEL, event.size, 0).sum(1)
    resting = opening.sum(1) + limits - 2 * event.filled.sum(1) - cancels
    assert resting.tolist() == market.book.total.sum(1).tolist()


def test_nothing_goes_wrong(everything: tuple) -> None:
    market, event, _ = everything
    assert not market.status.any()
    assert not event.status.any()
    assert not market.done.any()


def test_the_clock_never_goes_back_and_quotes_never_cross(everything: tuple) -> None:
    event = everything[1]
    now = np.asarray(event.time.sec, np.int64) * clock.NANOS + event.time.nsec
    assert (np.diff(now, axis=1) >= 0).all()
    bid, ask = event.best_bid, event.best_ask
    both = (bid > 0) & (ask > 0)
    assert both.mean() > 0.999
    assert (bid[both] < ask[both]).all()


def test_a_trade_never_walks_the_book(everything: tuple) -> None:
    event = everything[1]
    traded = event.filled > 0
    assert (event.first_price == event.last_price)[traded].all()
    assert (event.filled == event.size)[traded].all()


def test_the_mix_of_orders(flows: dict[str, list[Flow]]) -> None:
    """Limit orders, trades, cancels: 46, 12 and 42 in a hundred; a spread of about 1.15 ticks."""
    limits, trades, spreads = (
        np.array([np.mean(x) for x in column])
        for column in zip(
            *((f.is_limit, f.is_trade, f.spread) for f in flows["default"]), strict=True
        )
    )
    assert abs(limits.mean() - 0.46) < 0.02
    assert abs(trades.mean() - 0.12) < 0.01
    assert abs(spreads.mean() - 1.15) < 0.05


def test_splitting_makes_trade_signs_remember(flows: dict[str, list[Flow]]) -> None:
    assert mean_sign_memory(flows["default"]) > 0.15
    assert mean_sign_memory(flows["no splitting"]) < 0.08


def test_activity_makes_trades_cluster(flows: dict[str, list[Flow]]) -> None:
    assert fano(flows["default"]) > 2
    assert 0.8 < fano(flows["steady"]) < 1.25  # a Poisson process has 1


def test_liquidity_leans_against_the_flow(flows: dict[str, list[Flow]]) -> None:
    """After buys more limit orders sell, in proportion to the parameter."""
    assert leaning(flows["leaning"]) < 1.8 * leaning(flows["default"])
    assert -0.08 < leaning(flows["default"]) < -0.02


def test_the_opening_book(key: jax.Array) -> None:
    """A volume at every tick on both sides of the open, whole lots, deeper away from it."""
    books = quick_jit(jax.vmap(functools.partial(opening_book, cfg=CFG)))(jax.random.split(key, 64))
    assert quick_jit(jax.vmap(invariants))(books).all()
    live = books.size > 0
    assert live.sum((1, 2)).tolist() == [2 * OPEN_LEVELS] * 64
    assert not (books.size % CFG.lot_size).any()
    asks = np.asarray(books.key[:, 1]), np.asarray(books.size[:, 1])
    prices, sizes = (x[np.asarray(live[:, 1])].reshape(64, OPEN_LEVELS) for x in asks)
    assert (prices == OPEN_PRICE + np.arange(OPEN_LEVELS)).all()
    assert sizes[:, -10:].mean() > 5 * sizes[:, :5].mean()
