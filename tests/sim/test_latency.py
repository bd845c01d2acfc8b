"""Latency: what arrives when, and in which order, against an event queue like the release's."""

import heapq
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents import Schedule, scripted_agent
from jaxmars.agents.base import make_request
from jaxmars.book import init_book
from jaxmars.config import MarketConfig
from jaxmars.sim import init_market, make_delay, step
from jaxmars.types import Event, Kind, Side, Status, Time

OPEN, END = 1_000, 1_010
NUM_AGENTS, ROWS, STEPS, GAMES = 3, 6, 64, 96
WAKES, ARRIVALS = 100, 0  # priorities of the release's queue
AGENTS = (scripted_agent(1), scripted_agent(1), scripted_agent(2))
AT_ONCE = (1, 1, 2)


@pytest.fixture(scope="module")
def games() -> dict[str, np.ndarray]:
    """Scripts and delays in whole seconds, with many equal moments."""
    rng = np.random.default_rng(7)
    return {
        "times": np.sort(rng.integers(0, 9, (GAMES, NUM_AGENTS, ROWS)), -1),
        "communication": rng.integers(0, 3, (GAMES, NUM_AGENTS)),
        "computation": rng.integers(0, 3, (GAMES, NUM_AGENTS)),
    }


def run(games: dict[str, np.ndarray], places: int) -> Event:
    """Events `[GAMES, STEPS]`; order `row` of agent `i` is a bid at price 1 + 10 * i + row."""
    cfg = MarketConfig(slots=32, levels=1, max_in_flight=places)

    def one(times: jax.Array, communication: jax.Array, computation: jax.Array) -> Event:
        zero = jnp.zeros(NUM_AGENTS, jnp.int32)
        delay = jax.tree.map(jnp.asarray, make_delay([0.0] * NUM_AGENTS, [0.0] * NUM_AGENTS))
        delay = delay._replace(
            communication=Time(communication, zero), computation=Time(computation, zero)
        )
        params = tuple(
            Schedule(
                Time(OPEN + times[i], jnp.zeros(ROWS, jnp.int32)),
                make_request(Kind.LIMIT, Side.BUY, 1 + 10 * i + jnp.arange(ROWS), 100),
            )
            for i in range(NUM_AGENTS)
        )
        key = jax.random.key(0)
        market = init_market(
            key,
            params,
            init_book(cfg.slots),
            clock.make_time(OPEN),
            clock.make_time(END),
            jnp.int32(0),
            (None,) * NUM_AGENTS,
            agents=AGENTS,
            cfg=cfg,
            delay=delay,
        )
        advance = lambda market, _: step(key, market, params, agents=AGENTS, cfg=cfg)
        return jax.lax.scan(advance, market, None, length=STEPS)[1]

    columns = (games["times"], games["communication"], games["computation"])
    found = quick_jit(jax.vmap(one))(*(jnp.asarray(x, jnp.int32) for x in columns))
    return jax.tree.map(np.asarray, found)


def engine(game: dict[str, np.ndarray]) -> list[tuple[int, int]]:
    """(second, price) of every order in the order of execution: events by time, then arrivals
    before wake-ups, then by when they were queued."""
    queue, number, found = [], 0, []
    next_row = [0] * NUM_AGENTS

    def push(time: int, priority: int, agent: int, prices: list[int]) -> None:
        nonlocal number
        heapq.heappush(queue, (time, priority, number, agent, prices))
        number += 1

    def push_wake(agent: int, now: int) -> None:
        if next_row[agent] < ROWS:
            wake = int(game["times"][agent, next_row[agent]]) - int(game["communication"][agent])
            push(max(now, wake), WAKES, agent, [])

    for agent in range(NUM_AGENTS):
        push_wake(agent, 0)
    while queue:
        now, priority, _, agent, prices = heapq.heappop(queue)
        if now > END - OPEN:
            break
        if priority == ARRIVALS:
            found += [(now, price) for price in prices]
            continue
        seen = now + int(game["communication"][agent])
        due = [r for r in range(next_row[agent], ROWS) if game["times"][agent, r] <= seen]
        due = due[: AT_ONCE[agent]]
        next_row[agent] += len(due)
        lands = seen + int(game["computation"][agent]) + int(game["communication"][agent])
        push(lands, ARRIVALS, agent, [1 + 10 * agent + row for row in due])
        push_wake(agent, now)
    return found


def test_orders_arrive_as_from_an_event_queue(games: dict[str, np.ndarray]) -> None:
    events = run(games, places=ROWS * NUM_AGENTS)
    late = 0
    for number in range(GAMES):
        game = {name: value[number] for name, value in games.items()}
        real = events.kind[number] == Kind.LIMIT
        seconds = (events.time.sec[number] - OPEN)[real].tolist()
        assert list(zip(seconds, events.price[number][real].tolist(), strict=True)) == engine(game)
        assert not events.status[number].any()
        late += len(seconds) < ROWS * NUM_AGENTS
    assert 0 < late < GAMES  # some orders would arrive after the end, in some games none


def test_without_room_under_way_the_newest_is_lost_and_reported(
    games: dict[str, np.ndarray],
) -> None:
    """One place: of two requests sent before the first arrives, the second is lost."""
    slow = {**games, "communication": games["communication"] * 0 + 2}
    events = run(slow, places=1)
    full = (events.status & Status.IN_FLIGHT_FULL) != 0
    assert full.any(1).all()
    sent = (events.kind == Kind.LIMIT).sum(1) + full.sum(1)
    assert (sent <= ROWS * NUM_AGENTS).all()
    assert (events.kind[full] == Kind.NONE).all()


def test_latency_needs_room() -> None:
    with pytest.raises(ValueError, match="max_in_flight"):
        init_market(
            jax.random.key(0),
            (Schedule(clock.make_time(np.zeros(1)), make_request(np.zeros(1))),),
            init_book(2),
            clock.make_time(0),
            clock.make_time(1),
            jnp.int32(0),
            (None,),
            agents=(scripted_agent(1),),
            cfg=MarketConfig(slots=2, levels=1),
            delay=make_delay([1.0], [0.0]),
        )


@pytest.mark.parametrize("seconds", [[0.0, -1.0], 1e12, np.inf, np.nan, "soon"])
def test_a_delay_that_cannot_be_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="a computation delay must be from 0 to 86400 seconds"):
        make_delay(0.0, seconds)
    with pytest.raises(ValueError, match="a communication delay must be from 0 to 86400 seconds"):
        make_delay(seconds, 0.0)
