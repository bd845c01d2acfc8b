"""TWAP agents in whole markets: what they did, replayed wake-up by wake-up by the plain version."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import twap as oracle
from oracles.lob import Oracle
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.agents.twap import TwapParams, twap_agent, twap_params
from jaxmars.book import init_book, invariants
from jaxmars.config import MarketConfig
from jaxmars.sim import MarketState, init_market, record
from jaxmars.sim.flight import make_delay
from jaxmars.types import Event, Kind, Side, Status

CFG = MarketConfig(slots=256)
OPEN, BEGIN, END = 34_200, 34_260, 34_440
TOTAL = 120
EVENTS = 1_600
NOISE, TWAP = 0, 1
AGENTS = (noise_agent(clock.make_time(OPEN), clock.make_time(END)), twap_agent())
NOISE_PARAMS = NoiseParams(1_000, 0.25)
NANO = 10**9
TASKS = [
    oracle.Task(True, TOTAL, 3_000, passive_ratio=0.1, change=500),
    oracle.Task(False, TOTAL, 3_000, passive_ratio=0.4, change=0),
    oracle.Task(False, TOTAL, 20_000, passive_ratio=0.9, aggressive_ratio=0.05, change=100),
    oracle.Task(True, TOTAL, 100, passive_ratio=0.5, passive_seconds=10, idle_seconds=5),
]


class Run(NamedTuple):
    """One lane, on the host."""

    task: oracle.Task
    market: MarketState
    event: Event  # [EVENTS]


def params_of(task: oracle.Task) -> TwapParams:
    return twap_params(
        side=Side.BUY if task.is_buy else Side.SELL,
        start=clock.make_time(BEGIN),
        total=task.total,
        target=task.target,
        passive_ratio=task.passive_ratio,
        aggressive_ratio=task.aggressive_ratio,
        passive_seconds=task.passive_seconds,
        idle_seconds=task.idle_seconds,
        change=task.change // oracle.TICK,
    )


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """One lane per task: noise from 09:30, the TWAP agent from 09:31 to 09:33."""

    def one(key: jax.Array, twap: TwapParams) -> tuple[MarketState, Event]:
        params = (NOISE_PARAMS, twap)
        market = init_market(
            key,
            params,
            init_book(CFG.slots),
            clock.make_time(OPEN),
            clock.make_time(END),
            jnp.int32(0),
            (None, None),
            agents=AGENTS,
            cfg=CFG,
        )
        market, (event, _) = record(key, market, params, agents=AGENTS, cfg=CFG, num_events=EVENTS)
        return market, event

    stacked = jax.tree.map(lambda *x: np.stack(x), *[params_of(task) for task in TASKS])
    keys = jax.random.split(jax.random.key(3), len(TASKS))
    markets, events = jax.tree.map(np.asarray, quick_jit(jax.vmap(one))(keys, stacked))
    lane = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
    return [Run(task, lane(markets, i), lane(events, i)) for i, task in enumerate(TASKS)]


def seconds(event: Event) -> np.ndarray:
    return np.asarray(event.time.sec, np.float64) + event.time.nsec / NANO


def wake_ups(run: Run) -> list[np.ndarray]:
    """Rows of every wake-up of the TWAP agent, one array each."""
    mine = np.flatnonzero(run.event.agent_id == TWAP)
    mine = mine[mine < int(run.market.step)]
    cuts = np.flatnonzero(np.diff(seconds(run.event)[mine])) + 1
    return np.split(mine, cuts)


def test_markets_end_in_order(runs: list[Run]) -> None:
    for run in runs:
        assert run.market.done
        assert (run.market.status & ~int(Status.NOTHING_TO_CANCEL)) == 0
        assert quick_jit(invariants)(run.market.book)


def test_wake_ups_alternate_from_start_to_end(runs: list[Run]) -> None:
    for run in runs:
        task = run.task
        cycle = task.passive_seconds + task.idle_seconds
        slices = [BEGIN + k * cycle for k in range(task.total // cycle)]
        planned = sorted([*slices, *[s + task.passive_seconds for s in slices], BEGIN + TOTAL])
        found = [seconds(run.event)[rows[0]] for rows in wake_ups(run)]
        assert found == planned[: len(found)]
        done = run.market.accounts.bought if task.is_buy else run.market.accounts.sold
        assert len(found) == len(planned) or done[TWAP] == task.target


def test_every_wake_up_is_the_plain_versions(runs: list[Run]) -> None:
    """The events rebuild the book and the fills; at each wake-up the plain version must do the
    same, order by order."""
    moved = 0
    for run in runs:
        book, completed, event = Oracle(CFG.slots), 0, run.event
        starts = {int(rows[0]): rows for rows in wake_ups(run)}
        is_aggressive = False
        for i in range(int(run.market.step)):
            if i in starts:
                move = planned_move(run, book, i, is_aggressive, completed)
                is_aggressive = not is_aggressive
                assert asked_for(event, starts[i]) == (move.cancels, move.order)
                moved += bool(move.cancels) + (move.order is not None)
            outcome = book.apply(*message(event, i))
            completed += int(event.filled[i]) if event.agent_id[i] == TWAP else 0
            completed += sum(trade.size for trade in outcome.trades if trade.agent_id == TWAP)
        side_total = run.market.accounts.bought if run.task.is_buy else run.market.accounts.sold
        assert side_total[TWAP] == completed
    assert moved > 20


def message(event: Event, i: int) -> tuple[int, int, int, int, int, int]:
    """What was sent to the book, as the plain book takes it."""
    number = lambda x: int(x[i])
    return (
        number(event.kind),
        number(event.side),
        number(event.price),
        number(event.size),
        number(event.order_id),
        number(event.agent_id),
    )


def planned_move(
    run: Run, book: Oracle, i: int, is_aggressive: bool, completed: int
) -> oracle.Move:
    """What the plain version does at row `i`."""
    resting = [order for side in Side for queue in book.levels[side].values() for order in queue]
    mine = sorted((o for o in resting if o.agent_id == TWAP), key=lambda o: o.order_id)
    last = int(run.event.last_price[i - 1])
    return oracle.move(
        run.task,
        is_aggressive,
        float(seconds(run.event)[i] - BEGIN),
        completed,
        [oracle.Live(o.order_id, o.price * oracle.TICK, o.size) for o in mine],
        [price * oracle.TICK for price in book.prices(Side.SELL)],
        [price * oracle.TICK for price in book.prices(Side.BUY)],
        last * oracle.TICK,
    )


def asked_for(event: Event, rows: np.ndarray) -> tuple[dict[int, int], tuple[int, int] | None]:
    """Cancels by order and the new order of one wake-up."""
    cancels = {int(event.order_id[i]): int(event.size[i]) for i in rows if is_cancel(event, i)}
    new = [
        (int(event.price[i]) * oracle.TICK, int(event.size[i]))
        for i in rows
        if event.kind[i] == Kind.LIMIT
    ]
    assert len(new) <= 1
    return cancels, new[0] if new else None


def is_cancel(event: Event, i: int) -> bool:
    return bool(event.kind[i] == Kind.CANCEL)


def test_targets_are_reached_and_nothing_rests_in_the_end(runs: list[Run]) -> None:
    for run, enough in zip(runs, (0.9, 0.9, 0.0, 1.0), strict=True):
        accounts = run.market.accounts
        done = int((accounts.bought if run.task.is_buy else accounts.sold)[TWAP])
        other = int((accounts.sold if run.task.is_buy else accounts.bought)[TWAP])
        assert enough * run.task.target <= done <= run.task.target
        assert other == 0
        own = (run.market.book.size > 0) & (run.market.book.agent_id == TWAP)
        assert not own.any()
    assert int(runs[2].market.accounts.sold[TWAP]) > 0


def test_a_batch_is_carried_out_back_to_back(runs: list[Run]) -> None:
    """Cancels and the new order of one wake-up lie next to each other, at one moment."""
    longest = 0
    for run in runs:
        for rows in wake_ups(run):
            assert (np.diff(rows) == 1).all()
            longest = max(longest, len(rows))
    assert longest > 1


def test_with_latency_it_keeps_its_schedule_and_its_orders_arrive_late() -> None:
    """1 s each way and half a second of thought: decided at W - 1 s, executed at W + 1.5 s."""
    slow = dataclasses.replace(CFG, max_in_flight=4)
    task = dataclasses.replace(TASKS[0], target=1_000)
    params = (NOISE_PARAMS, params_of(task))

    def one(key: jax.Array) -> tuple[MarketState, Event]:
        market = init_market(
            key,
            params,
            init_book(slow.slots),
            clock.make_time(OPEN),
            clock.make_time(END),
            jnp.int32(0),
            (None, None),
            agents=AGENTS,
            cfg=slow,
            delay=make_delay([0.0, 1.0], [0.0, 0.5]),
        )
        market, (event, _) = record(key, market, params, agents=AGENTS, cfg=slow, num_events=EVENTS)
        return market, event

    market, event = jax.tree.map(np.asarray, quick_jit(one)(jax.random.key(5)))
    sent = (event.agent_id == TWAP) & (event.kind != Kind.NONE)
    late = np.unique(seconds(event)[sent]) - BEGIN - 1.5
    cycle = task.passive_seconds + task.idle_seconds
    assert set(late % cycle) <= {0, task.passive_seconds}
    assert len(late) >= 4
    assert late.max() <= TOTAL
    assert 900 <= market.accounts.bought[TWAP] <= 1_000 + oracle.LOT
