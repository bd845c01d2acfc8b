"""The step: who acts when, whole requests, the end, rejected orders; with scripted agents."""

import heapq

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import (
    OPEN,
    Script,
    cancel,
    limit,
    nothing,
    quick_jit,
    rows_equal,
    script,
    scripted_agent,
)

from jaxmars import clock
from jaxmars.book import init_book, invariants
from jaxmars.config import MarketConfig
from jaxmars.sim import market as markets
from jaxmars.sim.state import FIRST_ORDER_ID, MarketState, init_market
from jaxmars.types import Event, Kind, Side, Status

CFG = MarketConfig(slots=8, levels=3)
AGENTS = (scripted_agent(), scripted_agent(), scripted_agent())
TURNS = 10
STEPS = 40
BATCH = 64
END = OPEN + 60
BUY, SELL = Side.BUY, Side.SELL

Steps = list[tuple[int, int, int, int, int]]


@quick_jit
def play_batch(keys: jax.Array, scripts: tuple[Script, ...]) -> tuple[MarketState, Event]:
    """Markets and events after every step, `[BATCH, STEPS]`."""

    def one(key: jax.Array, scripts: tuple[Script, ...]) -> tuple[MarketState, Event]:
        start, end = clock.make_time(OPEN), clock.make_time(END)
        market = init_market(
            key,
            scripts,
            init_book(CFG.slots),
            start,
            end,
            jnp.int32(0),
            (None,) * len(AGENTS),
            agents=AGENTS,
            cfg=CFG,
        )

        def step(market: MarketState, _: None) -> tuple:
            market, event = markets.step(key, market, scripts, agents=AGENTS, cfg=CFG)
            return market, (market, event)

        return jax.lax.scan(step, market, None, length=STEPS)[1]

    return jax.vmap(one)(keys, scripts)


def play(*games: tuple[Steps, ...]) -> list[tuple[MarketState, Event]]:
    """Host copies of the runs of up to `BATCH` games; every game shares one program."""
    silent = nothing(clock.NEVER_SEC)
    pad = lambda steps: script(*steps, *[silent] * (TURNS - len(steps)))
    full = [tuple(pad(steps) for steps in (*game, [], [], [])[:3]) for game in games]
    full += [full[-1]] * (BATCH - len(full))
    scripts = tuple(
        jax.tree.map(lambda *x: jnp.stack(x), *(game[i] for game in full)) for i in range(3)
    )
    keys = jax.random.split(jax.random.key(1), BATCH)
    found = jax.tree.map(np.asarray, play_batch(keys, scripts))
    return [jax.tree.map(lambda x, i=i: x[i], found) for i in range(len(games))]


def acted(market: MarketState, event: Event) -> list[tuple[int, int]]:
    """(second after the open, agent) of every step before the end."""
    live = ~np.asarray(market.done)
    pairs = zip(event.time.sec[live].tolist(), event.agent_id[live].tolist(), strict=True)
    return [(sec - OPEN, agent) for sec, agent in pairs]


def engine(game: tuple[Steps, ...]) -> list[tuple[int, int]]:
    """The order of wake-ups by an event queue: by time, then by when they were queued."""
    queue, number, turns = [], 0, [0] * len(game)
    found = []

    def push(agent: int, now: int) -> None:
        nonlocal number
        if turns[agent] < len(game[agent]):
            heapq.heappush(queue, (max(now, game[agent][turns[agent]][0]), number, agent))
            number += 1

    for agent in range(len(game)):
        push(agent, OPEN)
    while queue:
        now, _, agent = heapq.heappop(queue)
        if now > END:
            break
        found.append((now - OPEN, agent))
        turns[agent] += 1
        push(agent, now)
    return found


def random_game(rng: np.random.Generator) -> tuple[Steps, ...]:
    """Three scripts with many equal wake-ups, some in the past, some after the end."""
    return tuple(
        [
            nothing(OPEN + int(rng.choice([-5, 0, 1, 2, 5, 5, 5, 7, 60, 61])))
            if rng.random() < 0.5
            else limit(OPEN + int(rng.integers(0, 8)), Side(int(rng.integers(0, 2))), 100, 100)
            for _ in range(int(rng.integers(0, TURNS + 1)))
        ]
        for _ in range(3)
    )


@pytest.fixture(scope="module")
def random_runs() -> list[tuple[tuple[Steps, ...], MarketState, Event]]:
    rng = np.random.default_rng(0)
    games = [random_game(rng) for _ in range(BATCH)]
    return [(game, *run) for game, run in zip(games, play(*games), strict=True)]


def test_agents_act_in_the_order_their_wake_ups_were_queued(random_runs: list) -> None:
    for game, market, event in random_runs:
        assert acted(market, event) == engine(game)


def test_the_clock_never_goes_back(random_runs: list) -> None:
    for _, _, event in random_runs:
        assert (np.diff(event.time.sec.astype(np.int64)) >= 0).all()


def test_a_finished_market_is_frozen(random_runs: list) -> None:
    finished = 0
    for _, market, event in random_runs:
        after = np.flatnonzero(market.done)
        finished += len(after) > 3
        for i in after[1:]:
            first, again = (jax.tree.map(lambda x, i=i: x[i], market) for i in (after[0], i))
            assert rows_equal(first, again)
            assert event.kind[i] == Kind.NONE
            assert event.status[i] == 0
        assert market.step[-1] == (~market.done).sum()
    assert finished > BATCH // 2


def test_books_stay_sound_and_orders_are_numbered(random_runs: list) -> None:
    for _, _market, event in random_runs:
        sent = event.order_id[event.kind != Kind.NONE]
        assert sent.tolist() == [FIRST_ORDER_ID + i for i in range(len(sent))]
    books = jax.tree.map(lambda *x: jnp.stack(x), *(market.book for _, market, _ in random_runs))
    assert jax.jit(jax.vmap(jax.vmap(invariants)))(books).all()


def test_two_agents_queued_for_one_moment() -> None:
    """The one that was queued later acts later, whatever its number; 'now' means after it."""
    first_waits = ([nothing(OPEN + 9)], [nothing(OPEN + 5), nothing(OPEN + 9)])
    second_waits = ([nothing(OPEN + 5), nothing(OPEN + 9), nothing(OPEN + 9)], [nothing(OPEN + 9)])
    (a, b), (c, d) = play(first_waits, second_waits)
    assert acted(a, b) == [(5, 1), (9, 0), (9, 1)]
    assert acted(c, d) == [(5, 0), (9, 1), (9, 0), (9, 0)]


def test_a_request_of_several_orders_is_carried_out_before_anybody_else_acts() -> None:
    """Agent 0 cancels 450 of the 600 shares of four orders while agent 1 is due, too."""
    quotes = [limit(OPEN + i, BUY, 100, 150) for i in range(4)]
    game = ([*quotes, cancel(OPEN + 9, 101, 450)], [limit(OPEN + 9, SELL, 100, 200)])
    ((market, event),) = play(game)
    at = np.flatnonzero(event.time.sec == OPEN + 9)[:4]
    assert event.agent_id[at].tolist() == [1, 0, 0, 0]  # agent 1 was queued first
    assert event.filled[at[0]] == 200
    assert event.size[at[1:]].tolist() == [100, 150, 150]
    assert event.price[at[1:]].tolist() == [100] * 3
    first = FIRST_ORDER_ID
    assert event.order_id[at[1:]].tolist() == [first + 1, first + 2, first + 3]
    assert market.order_id[-1] == first + 8  # cancels take numbers of their own
    later = ([*quotes, cancel(OPEN + 9, 101, 450)], [nothing(OPEN + 8), *[nothing(OPEN + 9)] * 2])
    ((market, event),) = play(later)
    at = np.flatnonzero((event.time.sec == OPEN + 9) & ~market.done)
    assert event.agent_id[at].tolist() == [0, 0, 0, 1, 1]
    assert event.size[at[:3]].tolist() == [150, 150, 150]


def test_agents_act_at_the_end_but_not_after_it() -> None:
    game = ([limit(END, BUY, 100, 100)], [nothing(END - 1), limit(END + 1, SELL, 100, 100)])
    ((market, event),) = play(game)
    assert acted(market, event) == [(59, 1), (60, 0)]
    assert market.time.sec[-1] == END
    assert market.book.total[-1].tolist() == [100, 0]


def test_a_full_book_rejects_and_says_so_once() -> None:
    """Eight slots: the ninth bid is no order; the market goes on, other games are not touched."""
    bids = [limit(OPEN + i, BUY, 90 - i, 100) for i in range(TURNS)]
    calm = [limit(OPEN + 1, BUY, 90, 100)]
    (market, event), (other, _) = play((bids, calm), (calm,))
    full = event.status & int(Status.BOOK_FULL) != 0
    assert np.flatnonzero(full).tolist() == [8, 9, 10]
    assert market.status[-1] == market.book.status[-1] == Status.BOOK_FULL
    assert (market.status[:8] == 0).all()
    assert market.book.total[-1, 0] == 800
    assert other.status[-1] == 0


def test_a_cancel_without_own_orders_is_no_order() -> None:
    (market, event), *_ = play(([limit(OPEN, BUY, 100, 100)], [cancel(OPEN + 2, 100, 100)]))
    assert acted(market, event) == [(0, 0), (2, 1)]
    assert event.kind[1] == Kind.NONE
    assert event.status[1] == market.status[-1] == Status.NOTHING_TO_CANCEL
    assert market.order_id[-1] == FIRST_ORDER_ID + 1


def test_last_prices_and_quotes_are_those_after_the_event() -> None:
    game = (
        [limit(OPEN, SELL, 101, 100), limit(OPEN + 1, SELL, 103, 100)],
        [limit(OPEN + 2, BUY, 99, 100), limit(OPEN + 3, BUY, 104, 150)],
    )
    ((market, event),) = play(game)
    assert event.best_ask[:4].tolist() == [101, 101, 101, 103]
    assert event.best_bid[:4].tolist() == [0, 0, 99, 99]
    assert event.first_price[:4].tolist() == [0, 0, 0, 101]
    assert event.last_price[:4].tolist() == [0, 0, 0, 103]
    assert event.filled[:4].tolist() == [0, 0, 0, 150]
    assert market.last_price[-1] == 103
