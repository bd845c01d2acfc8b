"""Trading days inside the compiled step: phases, auctions, breaks; and recorders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import quick_jit

from jaxmars import calendar, clock
from jaxmars.agents import NoiseParams, Schedule, noise_agent, scripted_agent
from jaxmars.agents.base import Ask, make_request
from jaxmars.book import init_book, invariants, resting_orders
from jaxmars.config import (
    Calendar,
    MarketConfig,
    Phase,
    PhaseKind,
    RulesConfig,
    SelfTrade,
    SimConfig,
)
from jaxmars.sim import MarketState, init_market, rollout, simulate, step
from jaxmars.sim.market import EXCHANGE
from jaxmars.types import REJECTING, Event, Kind, Side, Status, Time

AUCTION, CONTINUOUS = PhaseKind.AUCTION, PhaseKind.CONTINUOUS
DAY = Calendar(
    (
        Phase(AUCTION, 100, 110),
        Phase(CONTINUOUS, 120, 140),
        Phase(CONTINUOUS, 150, 170),
        Phase(AUCTION, 170, 180),
    )
)
CFG = MarketConfig(slots=16, levels=4, max_trades=4, calendar=DAY)
BUY, SELL, LIMIT = Side.BUY, Side.SELL, Kind.LIMIT
CANCEL = Ask.CANCEL_ORDER
NANO = 10**9

# (seconds, kind, side, price, size, order id)
ORDERS = [
    (99.0, LIMIT, BUY, 105, 100, 1),  # before the day: ignored
    (100.0, LIMIT, BUY, 102, 300, 2),
    (101.0, LIMIT, BUY, 101, 200, 3),
    (102.0, LIMIT, BUY, 100, 500, 4),
    (103.0, Kind.MARKET, BUY, 0, 100, 5),  # not taken in an auction
    (104.0, LIMIT, SELL, 99, 200, 6),
    (105.0, LIMIT, SELL, 100, 400, 7),
    (106.0, LIMIT, SELL, 101, 300, 8),
    (107.0, LIMIT, SELL, 103, 250, 9),
    (108.0, CANCEL, SELL, 0, 150, 9),
    (110.0, LIMIT, SELL, 100, 50, 10),  # at the end: still collected
    (115.0, LIMIT, SELL, 1, 100, 11),  # between phases: ignored
    (120.0, LIMIT, SELL, 100, 100, 12),
    (140.0, LIMIT, BUY, 90, 100, 13),  # at the end of a session
    (145.0, CANCEL, BUY, 0, 100, 13),  # in the break: ignored
    (150.0, CANCEL, BUY, 0, 100, 13),
    (169.9, LIMIT, BUY, 101, 100, 14),  # trades at once with the rest of 8
    (170.0, LIMIT, BUY, 101, 500, 15),  # a shared moment belongs to the later phase
    (180.0, LIMIT, SELL, 104, 100, 16),
    (181.0, LIMIT, BUY, 104, 100, 17),  # after the day: ignored
]


@pytest.fixture(scope="module")
def day() -> tuple[MarketState, Event]:
    """State and event after every step."""
    times, *columns = zip(*ORDERS, strict=True)
    stamps = np.round(np.array(times) * NANO).astype(np.int64)
    params = (
        Schedule(
            clock.make_time(stamps // NANO, stamps % NANO),
            make_request(*(np.array(column) for column in columns)),
        ),
    )
    agents = (scripted_agent(1),)
    key = jax.random.key(0)

    def run() -> tuple:
        market = init_market(
            key,
            params,
            init_book(CFG.slots),
            clock.make_time(90),
            clock.make_time(200),
            jnp.int32(0),
            (None,),
            agents=agents,
            cfg=CFG,
            reference=101,
        )
        prepared = tuple(agent.prepare(p) for agent, p in zip(agents, params, strict=True))

        def one(market: MarketState, _: None) -> tuple:
            market, event = step(key, market, prepared, agents=agents, cfg=CFG)
            return market, (market, event)

        return jax.lax.scan(one, market, None, length=len(ORDERS) + 4)[1]

    return jax.tree.map(np.asarray, quick_jit(run)())


def status_of(event: Event, order_id: int) -> Status:
    (row,) = np.flatnonzero(event.order_id == order_id)[:1]
    return Status(int(event.status[row]))


def test_orders_outside_every_phase_are_ignored_and_reported(
    day: tuple[MarketState, Event],
) -> None:
    _, event = day
    outside = event.status & Status.OUT_OF_SESSION != 0
    assert event.order_id[outside].tolist() == [1, 11, 13, 17]
    assert event.kind[outside].tolist() == [LIMIT, LIMIT, Kind.CANCEL, LIMIT]
    assert not event.filled[outside].any()
    assert status_of(event, 5) == Status.NOT_IN_AUCTION
    others = ~outside & (event.order_id != 5) & (event.kind != Kind.UNCROSS)
    assert not event.status[others].any()


def test_auctions_are_uncrossed_once_at_their_end(day: tuple[MarketState, Event]) -> None:
    """The golden book of the release's specification, 50 shares more for sale at its price."""
    market, event = day
    trade = np.flatnonzero(event.kind == Kind.UNCROSS)
    assert event.time.sec[trade].tolist() == [110, 180]
    assert event.price[trade].tolist() == [100, 101]
    assert event.filled[trade].tolist() == [650, 200]
    assert event.agent_id[trade].tolist() == [EXCHANGE, EXCHANGE]
    assert event.last_price[trade].tolist() == [100, 101]
    assert event.trades.size[trade[0]].tolist() == [300, 200, 150, 200]
    assert event.status[trade[0]] & Status.TRADES_TRUNCATED
    assert market.auctions[trade[0] - 1 : trade[0] + 1].tolist() == [0, 1]


def test_nothing_trades_while_orders_are_collected(day: tuple[MarketState, Event]) -> None:
    _, event = day
    time = event.time.sec + event.time.nsec / NANO
    collecting = (time <= 110) | (time >= 170)
    assert not event.filled[collecting & (event.kind != Kind.UNCROSS)].any()
    traded = (event.filled > 0) & (event.kind != Kind.UNCROSS)
    assert event.order_id[traded].tolist() == [12, 14]


def test_the_rest_of_an_auction_is_in_the_book(day: tuple[MarketState, Event]) -> None:
    market, event = day
    at = lambda row: jax.tree.map(lambda x: x[row], market.book)
    trade = np.flatnonzero(event.kind == Kind.UNCROSS)
    book = at(trade[0])
    quads = [(o.price, o.size, o.order_id) for side in Side for o in resting_orders(book, side)]
    assert quads == [(100, 350, 4), (101, 300, 8), (103, 100, 9)]
    assert bool(invariants(book)) and bool(invariants(at(-1)))
    assert not bool(invariants(at(trade[1] - 1)))  # crossed while it collects


def test_the_account_of_an_agent_alone_does_not_change(day: tuple[MarketState, Event]) -> None:
    market, _ = day
    assert market.accounts.bought[-1].tolist() == market.accounts.sold[-1].tolist() != [0]


def test_intervals_go_on_after_a_break() -> None:
    """The noise agent wakes every 0.5 to 1.5 s of trading time, never in a break."""
    agents = (noise_agent(clock.make_time(100), clock.make_time(180)),)
    cfg = SimConfig(market=MarketConfig(slots=64, levels=2, calendar=DAY), segment=128)
    params = (NoiseParams(100, 1.0),)
    keys = jax.random.split(jax.random.key(3), 16)

    def one(key: jax.Array) -> Event:
        market = init_market(
            key,
            params,
            init_book(64),
            clock.make_time(90),
            clock.make_time(200),
            jnp.int32(0),
            (None,),
            agents=agents,
            cfg=cfg.market,
        )
        return rollout(key, market, params, agents=agents, cfg=cfg, num_events=128)[1]

    event = jax.tree.map(np.asarray, quick_jit(jax.vmap(one))(keys))
    crossed = 0
    for i in range(len(keys)):
        real = (event.kind[i] != Kind.NONE) & (event.kind[i] != Kind.UNCROSS)
        time = (event.time.sec[i] + event.time.nsec[i] / NANO)[real]
        assert any(time <= 110) and any(time >= 170)
        assert not ((time > 110) & (time < 120)).any()
        assert not ((time > 140) & (time < 150)).any()
        trading = time - 10.0 * (time > 115) - 10.0 * (time > 145)
        gaps = np.diff(trading)
        gaps = gaps[gaps > 0]  # a cancel may take several orders of one moment
        assert gaps.min() >= 0.5 - 1e-6
        crossed += ((np.diff(time) > 5) & (np.diff(trading) <= 1.5 + 1e-6)).sum()
        assert (event.status[i] & Status.OUT_OF_SESSION == 0).all()
    assert crossed > len(keys)


def seconds(moment: Time) -> float:
    return int(moment.sec) + int(moment.nsec) / NANO


@pytest.mark.parametrize(
    ("moment", "expected"),
    [(0, 100), (100, 100), (110, 110), (110.25, 120.25), (119, 129), (140.5, 150.5), (180, 180)],
)
def test_where_a_wake_up_goes(moment: float, expected: float) -> None:
    time = clock.make_time(int(moment), round(moment % 1 * NANO))
    assert seconds(calendar.skip_breaks(DAY, time)) == expected


def test_after_the_last_phase_nobody_wakes() -> None:
    late = calendar.skip_breaks(DAY, clock.make_time(180, 1))
    assert int(late.sec) == clock.NEVER_SEC


@pytest.mark.parametrize(
    ("day", "moments"),
    [
        (Calendar(), {"00:00:00": 1, "23:59:59": 1}),
        (Calendar.us_equity(), {"09:29:59": 0, "09:30:00": 1, "16:00:00": 1, "16:00:01": 0}),
        (
            Calendar.chinese_a_share(),
            {"09:15:00": 2, "09:25:00": 2, "09:26:00": 0, "09:30:00": 1, "11:30:00": 1}
            | {"12:00:00": 0, "13:00:00": 1, "14:56:59": 1, "14:57:00": 2, "15:00:00": 2},
        ),
        (Calendar.release(), {"12:00:00": 1, "14:57:00": 2, "15:00:01": 0}),
    ],
)
def test_presets(day: Calendar, moments: dict[str, int]) -> None:
    """0 closed, 1 continuous, 2 auction."""
    for text, expected in moments.items():
        hour, minute, second = (int(part) for part in text.split(":"))
        time = clock.make_time(3600 * hour + 60 * minute + second)
        found = int(calendar.is_open(day, time)) + int(calendar.in_auction(day, time))
        assert found == expected, text


def test_elapsed_time_leaves_out_the_breaks_that_were_crossed() -> None:
    span = lambda a, b: int(calendar.break_seconds(DAY, clock.make_time(a), clock.make_time(b)))
    assert [span(100, 110), span(100, 120), span(100, 160), span(125, 160), span(155, 160)] == [
        0, 10, 20, 10, 0,
    ]  # fmt: skip


def test_a_recorder_rides_along() -> None:
    """Shares traded and the highest price, summed in the scan and from the events."""
    agents = (noise_agent(clock.make_time(0), clock.make_time(10_000)),)
    cfg = SimConfig(market=MarketConfig(slots=32, levels=2), segment=64)
    params = (NoiseParams(100, 1.0),)

    def recorder(record: tuple, event: Event) -> tuple:
        return record[0] + event.filled, jnp.maximum(record[1], event.last_price)

    init = lambda key: init_market(
        key,
        params,
        init_book(32),
        clock.make_time(0),
        clock.make_time(10_000),
        jnp.int32(0),
        (None,),
        agents=agents,
        cfg=cfg.market,
        record=(jnp.int32(0), jnp.int32(0)),
    )
    keys = jax.random.split(jax.random.key(5), 4)
    market, events = simulate(
        keys,
        jax.vmap(init)(keys),
        params,
        agents=agents,
        cfg=cfg,
        num_events=128,
        recorder=recorder,
    )
    assert market.record[0].tolist() == events.filled.sum(1).tolist()
    assert market.record[1].tolist() == events.last_price.max(1).tolist()
    assert min(market.record[0].tolist()) > 0


def test_an_order_stopped_by_its_own_agent_is_no_record() -> None:
    """The second order of one agent would trade with its first."""
    cfg = MarketConfig(slots=8, levels=2, rules=RulesConfig(self_trade=SelfTrade.REJECT))
    agents, key = (scripted_agent(1),), jax.random.key(0)
    times = clock.make_time(np.array([1, 2]))
    params = (Schedule(times, make_request(LIMIT, np.array([SELL, BUY]), 100, 100)),)

    def run() -> Event:
        market = init_market(
            key,
            params,
            init_book(8),
            clock.make_time(0),
            clock.make_time(9),
            jnp.int32(0),
            (None,),
            agents=agents,
            cfg=cfg,
        )
        advance = lambda market, _: step(key, market, params, agents=agents, cfg=cfg)
        return jax.lax.scan(advance, market, None, length=3)[1]

    event = jax.tree.map(np.asarray, quick_jit(run)())
    assert event.status.tolist() == [0, Status.SELF_TRADE | Status.STOPPED, 0]
    assert event.status[1] & REJECTING and not event.filled.any()
