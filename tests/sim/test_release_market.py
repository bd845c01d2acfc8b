"""A whole market against the release's own event engine: the same wishes, event by event.

Three noise agents of the release trade with each other on its engine. What each of them asked for,
before it became orders, is sent at the same moments by three scripted agents of ours. Set
JAXMARS_RELEASE to a checkout of microsoft/MarS (commit 77e7845); without it this is skipped.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import release_code
from oracles.release_code import LEVELS, Session, Wish

from jaxmars import clock
from jaxmars.agents.base import make_request
from jaxmars.agents.script import Schedule, scripted_agent
from jaxmars.book import Account, Wide, cash, holdings, init_book, tradable
from jaxmars.config import MarketConfig
from jaxmars.sim import init_market, step
from jaxmars.types import L2, Event, Kind, Side, Status, Time

NANO = 10**9
START, END, PRICE = 34_200 * NANO, 34_500 * NANO, 1_000
SEEDS = (0, 1, 2)
CFG = MarketConfig(slots=256, levels=LEVELS, max_trades=16)
AGENTS = (scripted_agent(1),) * len(SEEDS)
STEPS = 1_280
ROWS = 400  # of a schedule


class Shown(NamedTuple):
    """Our market after each step."""

    event: Event
    l2: L2
    cash: Wide  # [steps, agents]
    shares: jax.Array
    tradable_cash: Wide
    tradable_shares: jax.Array


@pytest.fixture(scope="module")
def theirs() -> Session:
    release = release_code.load()
    return release_code.run_session(release, SEEDS, START, END, PRICE, CFG.max_trades)


@pytest.fixture(scope="module")
def ours(theirs: Session) -> Shown:
    """Our market at every step that made an order."""
    schedules = tuple(schedule(theirs.wishes, agent) for agent in range(len(SEEDS)))
    shown, done = jax.tree.map(np.asarray, jax.jit(play)(jax.random.key(0), schedules))
    assert done
    assert (shown.event.status & ~int(Status.NOTHING_TO_CANCEL) == 0).all()
    return jax.tree.map(lambda x: x[shown.event.kind != Kind.NONE], shown)


def schedule(wishes: list[Wish], agent: int) -> Schedule:
    """What one agent asked for, as the params of a scripted agent; `ROWS` rows."""
    own = [wish for wish in wishes if wish.agent == agent]
    assert len(own) < ROWS
    columns = np.zeros((ROWS, len(Wish._fields)), np.int64)
    columns[:, 0] = clock.NEVER_SEC * NANO
    columns[: len(own)] = own
    time, _, kind, side, price, size = columns.T
    return Schedule(at(time), make_request(kind, side, price, size, np.zeros(ROWS)))


def at(nanoseconds: np.ndarray | int) -> Time:
    sec, nsec = np.divmod(nanoseconds, NANO)
    return clock.make_time(jnp.asarray(sec, jnp.int32), jnp.asarray(nsec, jnp.int32))


def play(key: jax.Array, schedules: tuple[Schedule, ...]) -> tuple[Shown, jax.Array]:
    """What our market shows in `STEPS` steps, and whether it is over then."""
    market = init_market(
        key,
        schedules,
        init_book(CFG.slots),
        at(START),
        at(END),
        jnp.int32(0),
        (None,) * len(AGENTS),
        agents=AGENTS,
        cfg=CFG,
    )
    numbers = jnp.arange(len(AGENTS))

    def one(market, _):
        market, event = step(key, market, schedules, agents=AGENTS, cfg=CFG)
        free = jax.vmap(tradable, (0, None, 0))(market.accounts, market.book, numbers)
        account: Account = market.accounts
        return market, Shown(event, market.l2, cash(account), holdings(account), *free)

    market, shown = jax.lax.scan(one, market, None, length=STEPS)
    return shown, market.done


def test_events_equal_the_engines(ours: Shown, theirs: Session) -> None:
    """Kinds, sides, prices, sizes, ids (numbered as the exchange does, cancels included), owners,
    times and the order in which all this happens."""
    event = ours.event
    fields = ("kind", "side", "price", "size", "order_id", "agent_id")
    rows = np.stack([getattr(event, name) for name in fields], 1)
    np.testing.assert_array_equal(rows, theirs.messages)
    times = event.time.sec.astype(np.int64) * NANO + event.time.nsec
    np.testing.assert_array_equal(times, theirs.times)


def test_markets_look_alike_after_every_event(ours: Shown, theirs: Session) -> None:
    records, event = theirs.records, ours.event
    np.testing.assert_array_equal(np.stack(ours.l2, -1), records.levels)
    trades = np.stack([event.trades.price, event.trades.size, event.trades.order_id], -1)
    np.testing.assert_array_equal(trades, records.trades[..., :3])
    np.testing.assert_array_equal(event.last_price, records.last_price)
    np.testing.assert_array_equal(event.filled, records.trades[..., 1].sum(1))
    np.testing.assert_array_equal(event.first_price, records.trades[:, 0, 0])


def test_accounts_equal_the_agents(ours: Shown, theirs: Session) -> None:
    """At every wake-up. The release never gives a buyer back what it saved against its limit
    (spec 6.1), so its tradable cash is smaller by just that."""
    saved = np.cumsum(savings(theirs), 0)
    checked = 0
    for held in theirs.holdings:
        if not held.records:
            continue
        last = held.records - 1
        assert tuple(exact(ours.cash)[last]) == held.cash
        assert tuple(ours.shares[last]) == held.shares
        assert tuple(ours.tradable_shares[last]) == held.tradable_shares
        assert tuple(exact(ours.tradable_cash)[last] - saved[last]) == held.tradable_cash
        checked += 1
    assert checked > 800
    assert min(theirs.holdings[-1].shares) < 0 < max(theirs.holdings[-1].shares)


def savings(session: Session) -> np.ndarray:
    """What each order's buyer saved against its limit, `[orders, agents]`, ticks x shares."""
    kind, side, price, _, _, agent = session.messages.T.astype(np.int64)
    trades = session.records.trades
    gain = ((price[:, None] - trades[..., 0]) * trades[..., 1]).sum(1)
    buys = (kind == Kind.LIMIT) & (side == Side.BUY)
    return np.where(buys, gain, 0)[:, None] * (agent[:, None] == np.arange(len(SEEDS)))


def exact(wide: Wide) -> np.ndarray:
    """int64."""
    return np.asarray(wide.high, np.int64) * 2**32 + np.asarray(wide.low, np.int64)


def test_the_session_has_what_it_should(theirs: Session) -> None:
    """Cancels of several orders, trades between agents, cancels that found nothing."""
    kind, _, _, _, _, agent = theirs.messages.T
    cancels = kind == Kind.CANCEL
    again = (np.diff(theirs.times) == 0) & cancels[1:] & cancels[:-1]
    assert again.sum() > 10
    owner = dict(zip(theirs.messages[~cancels, 4].tolist(), agent[~cancels].tolist(), strict=True))
    resting = theirs.records.trades[..., 2]
    owners = np.vectorize(lambda i: owner.get(i, -1))(resting)
    assert ((resting > 0) & (owners != agent[:, None])).sum() > 50
    asked = sum(wish.kind == Kind.CANCEL for wish in theirs.wishes)
    assert asked > cancels.sum() - again.sum()
