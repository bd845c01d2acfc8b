"""The TWAP agent against the release's numbers and a plain-Python version of it."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import twap as oracle
from oracles.desk_view import Resting, at, carried_out, host_view, listed
from oracles.tiny_world import quick_jit
from oracles.twap_desk import (
    AGENT,
    GOLDEN_BOOK,
    KEY,
    MINE_AT_124,
    MINE_AT_125,
    OPEN,
    OTHERS,
    OWN,
    PLACES,
    START,
    cancel,
    golden,
    moves,
    order,
    wake_up,
)

from jaxmars import clock
from jaxmars.agents.base import EVERYTHING, Ask, Request
from jaxmars.agents.twap import (
    MAX_TOTAL,
    TwapParams,
    TwapState,
    scheduled,
    twap_params,
)
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side

CASES = 2_000


def test_passive_golden_values() -> None:
    """Spec 7.3, from the release's own tests; 12500 price units are 125 ticks."""
    buy = order(Side.BUY, 125, 100)
    assert moves(golden(), aggressive=False)[1] == [buy]
    more = moves(golden(passive_ratio=0.4), aggressive=False)[1]
    assert more == [order(Side.BUY, 125, 200)]
    moved = moves(golden(), aggressive=False, own=[MINE_AT_124])[1]
    assert moved == [cancel(Ask.CANCEL_ELSEWHERE, 125, EVERYTHING), buy]
    sell = moves(golden(side=Side.SELL), aggressive=False)[1]
    assert sell == [order(Side.SELL, 126, 100)]


def test_aggressive_golden_values() -> None:
    buy = order(Side.BUY, 136, 100)
    assert moves(golden(), aggressive=True, own=[MINE_AT_125])[1] == [buy]
    odd = golden()._replace(target=150, aggressive_size=200)
    freed = moves(odd, aggressive=True, own=[MINE_AT_125])[1]
    assert freed == [cancel(Ask.CANCEL_OLDEST, 0, 50), buy]
    later = moves(golden(), aggressive=True, own=[MINE_AT_125], seconds=100)[1]
    assert later == [order(Side.BUY, 136, 200)]
    sell = moves(golden(side=Side.SELL), aggressive=True)[1]
    assert sell == [order(Side.SELL, 115, 100)]


@pytest.mark.parametrize("side", Side)
def test_books_without_one_side_or_both(side: Side) -> None:
    """The missing best price is one tick beyond the other; with none it is the last price."""
    sign = 1 if side == Side.BUY else -1
    mine = (side, 110 - sign, 100, 9, OTHERS)
    theirs = (1 - side, 110 + sign, 100, 9, OTHERS)
    params = golden(side=side)

    def prices(book: list[Resting], last: int) -> list[int]:
        found = []
        for aggressive in (False, True):
            asked = moves(params, aggressive=aggressive, book=book, last_price=last)[1]
            found += [row[2] for row in asked]
        return found

    assert prices([mine], 0) == [110 - sign, 110 + 10 * sign]
    assert prices([theirs], 0) == [110, 110 + 11 * sign]
    assert prices([], 200) == [200, 200 + 10 * sign]
    assert prices([], 0) == []


def test_a_seller_never_asks_for_less_than_a_tick() -> None:
    book: list[Resting] = [(Side.BUY, 3, 100, 1, OTHERS), (Side.SELL, 4, 100, 2, OTHERS)]
    asked = moves(golden(side=Side.SELL), aggressive=True, book=book)[1]
    assert asked == [order(Side.SELL, 1, 100)]


def test_wake_ups_alternate_and_stop() -> None:
    after, _ = moves(golden(), aggressive=False, seconds=30)
    assert (int(after.wake.sec), bool(after.is_aggressive)) == (OPEN + 50, True)
    after, _ = moves(golden(), aggressive=True, seconds=50)
    assert (int(after.wake.sec), bool(after.is_aggressive)) == (OPEN + 60, False)
    after, asked = moves(golden(), aggressive=False, seconds=60, done=500)
    assert (int(after.wake.sec), asked) == (clock.NEVER_SEC, [])
    after, asked = moves(golden(), aggressive=False, seconds=300, own=[MINE_AT_124, MINE_AT_125])
    assert int(after.wake.sec) == clock.NEVER_SEC
    assert asked == [cancel(Ask.CANCEL_OLDEST, 0, EVERYTHING)]
    after, asked = moves(golden(), aggressive=False, seconds=300)
    assert (int(after.wake.sec), asked) == (clock.NEVER_SEC, [])


def test_it_counts_from_where_its_account_stood_and_keeps_its_wake_up() -> None:
    view = host_view(np.array(GOLDEN_BOOK), at(OPEN - 5), agent_id=OWN, bought=700, sold=70)
    for side, before in ((Side.BUY, 700), (Side.SELL, 70)):
        began, wake = AGENT.init(golden(side=side), KEY, view, None)
        assert int(began.before) == before
        assert clock.same(wake, START)
        event: Any = None  # not looked at
        decision = AGENT.update(golden(), KEY, began, view, event, jnp.array(True))
        assert clock.same(decision.wake, wake)
    late, wake = AGENT.init(golden(), KEY, view._replace(time=at(OPEN + 7)), None)
    assert int(wake.sec) == OPEN + 7
    done = view._replace(time=at(OPEN + 7), account=view.account._replace(bought=jnp.int32(1_200)))
    _, asked = quick_jit(AGENT.act)(golden(), KEY, late, done)
    assert listed(asked) == []
    _, asked = quick_jit(AGENT.act)(golden(), KEY, late, view)
    assert listed(asked) == [order(Side.BUY, 125, 100)]


class Case(NamedTuple):
    """A wake-up: the task, the market, and where the agent stands."""

    task: oracle.Task
    orders: list[Resting]
    is_aggressive: bool
    seconds: float
    completed: int
    last: int  # ticks


def random_case(rng: np.random.Generator) -> Case:
    side = int(rng.integers(0, 2))
    passive, idle = [(20, 10), (10, 5), (25, 5)][rng.integers(0, 3)]
    target = 100 * int(rng.integers(1, 40))
    task = oracle.Task(
        is_buy=side == Side.BUY,
        total=(passive + idle) * int(rng.integers(2, 12)),
        target=target,
        passive_ratio=float(rng.choice([0, 0.1, 0.3, 0.57, 0.9, 1])),
        aggressive_ratio=float(rng.choice([0.07, 0.5, 1])),
        passive_seconds=passive,
        idle_seconds=idle,
        change=100 * int(rng.integers(0, 12)),
    )
    orders: list[Resting] = []
    sides = [[Side.BUY, Side.SELL], [Side.BUY], [Side.SELL]][rng.choice(3, p=[0.8, 0.1, 0.1])]
    for number in range(int(rng.integers(0, PLACES + 1))):
        is_own = bool(rng.random() < 0.4)
        row = side if is_own else int(rng.choice(sides))
        price = 100 + (int(rng.integers(0, 4)) if row == Side.SELL else -int(rng.integers(1, 5)))
        size = int(rng.integers(1, 9)) * int(rng.choice([10, 100]))
        orders.append((row, price, size, number + 1, OWN if is_own else OTHERS))
    seconds = float(rng.integers(0, task.total + 5)) + float(rng.choice([0, 0.25, 0.5, 0.75]))
    completed = 10 * int(rng.integers(0, target // 8))
    return Case(task, orders, bool(rng.random() < 0.5), seconds, completed, 99)


def expected(case: Case) -> tuple[dict[int, int], list[tuple[int, int, int, int]], int]:
    """Cancels, new orders, seconds to the next wake-up (-1 for none) by the plain version."""
    live = [oracle.Live(i, p * oracle.TICK, v) for _, p, v, i, who in case.orders if who == OWN]
    asks, bids = (
        [p * oracle.TICK for s, p, *_ in case.orders if s == side] for side in (Side.SELL, Side.BUY)
    )
    move = oracle.move(
        case.task,
        case.is_aggressive,
        case.seconds,
        case.completed,
        live,
        asks,
        bids,
        case.last * oracle.TICK,
    )
    side = Side.BUY if case.task.is_buy else Side.SELL
    new = []
    if move.order is not None:
        price, volume = move.order
        new = [(int(Kind.LIMIT), int(side), price // oracle.TICK, volume)]
    return move.cancels, new, -1 if move.sleep is None else move.sleep


def params_of(task: oracle.Task) -> TwapParams:
    return twap_params(
        side=Side.BUY if task.is_buy else Side.SELL,
        start=START,
        total=task.total,
        target=task.target,
        passive_ratio=task.passive_ratio,
        aggressive_ratio=task.aggressive_ratio,
        passive_seconds=task.passive_seconds,
        idle_seconds=task.idle_seconds,
        change=task.change // oracle.TICK,
    )


def acts_of(cases: list[Case]) -> tuple[TwapState, Request]:
    """States after and requests of all cases, in one compiled call."""
    rows = np.zeros((len(cases), PLACES, 5), np.int32)
    for row, case in zip(rows, cases, strict=True):
        if case.orders:
            row[: len(case.orders)] = case.orders
    stack = lambda items: jax.tree.map(lambda *x: np.stack(x).astype(np.int32), *items)
    params = stack([params_of(case.task) for case in cases])
    times = stack([at(OPEN + case.seconds) for case in cases])
    completed = np.array([case.completed for case in cases], np.int32)
    aggressive = np.array([case.is_aggressive for case in cases])

    many = quick_jit(jax.vmap(functools.partial(wake_up, AGENT), in_axes=(0, 0, 0, 0, None, 0)))
    standing = TwapState(jnp.zeros(len(cases), jnp.int32), jnp.asarray(aggressive), times)
    result = many(params, standing, rows, times, 99, completed)
    return jax.tree.map(np.asarray, result)


def test_it_does_what_the_plain_version_does() -> None:
    """Random books and standings: the same cancels, the same order, the same next wake-up.

    A request that cancels nothing would cost a step; there is none.
    """
    rng = np.random.default_rng(0)
    cases = [random_case(rng) for _ in range(CASES)]
    after, requests = acts_of(cases)
    seen = {"cancels": 0, "orders": 0, "stops": 0}
    for i, case in enumerate(cases):
        own = [resting for resting in case.orders if resting[4] == OWN]
        cancels, new, sleep = expected(case)
        mine = Request(*(x[i] for x in requests))
        assert carried_out(mine, own) == (cancels, new), case
        assert bool(cancels) == any(row[0] >= Ask.CANCEL_ORDER for row in listed(mine))
        if sleep < 0:
            assert after.wake.sec[i] == clock.NEVER_SEC
        else:
            assert after.wake.sec[i] == int(OPEN + case.seconds + sleep)
        seen["cancels"] += bool(cancels)
        seen["orders"] += bool(new)
        seen["stops"] += sleep < 0
    assert min(seen.values()) > CASES // 20


@pytest.mark.parametrize(("total", "cycle"), [(300, 30), (14_400, 30), (46_340, 7), (46_332, 12)])
def test_the_schedule_is_the_releases_for_every_target(total: int, cycle: int) -> None:
    """All multiples of 100 up to a million shares; Python rounds the quotient half to even."""
    rng = np.random.default_rng(2)
    targets = np.arange(100, 1_000_001, 100)
    seconds = rng.integers(0, total + 1, targets.size)
    seconds[::2] -= seconds[::2] % cycle
    found = jax.jit(jax.vmap(scheduled, in_axes=(0, None, 0)))(targets, total, seconds)
    pairs = zip(targets.tolist(), seconds.tolist(), strict=True)
    assert np.asarray(found).tolist() == [round(q * s / total) for q, s in pairs]
    assert total <= MAX_TOTAL


def test_halves_of_a_share_go_to_the_even_number() -> None:
    seconds = jnp.arange(1, 8, 2)
    found = jax.vmap(scheduled, in_axes=(None, None, 0))(100, 200, seconds)
    assert found.tolist() == [0, 2, 2, 4]


def test_quotas_are_the_releases_for_every_target() -> None:
    """`int` of a double, then up to a lot: 0.29 * 6900 is 2001 on paper and 2000 in double."""
    assert golden(target=6_900, passive_ratio=0.29).passive_size == 2_000
    for target in range(100, 1_000_001, 1_700):
        for ratio in (0.0, 0.1, 0.29, 0.3, 0.505, 0.7, 0.9, 1.0):
            params = golden(target=target, passive_ratio=ratio, aggressive_ratio=ratio)
            quota = oracle.up100(int(ratio * target))
            assert (params.passive_size, params.aggressive_size) == (quota, quota)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": 0}, "multiple of 100 shares from 100"),
        ({"target": 150}, "multiple of 100 shares from 100"),
        ({"target": 2**31 - 48}, "multiple of 100 shares from 100"),
        ({"lot": 0}, "lot must be positive"),
        ({"total": 30}, "multiple of its cycle of 30 seconds"),
        ({"total": 310}, "multiple of its cycle of 30 seconds"),
        ({"total": 60_000}, "multiple of its cycle of 30 seconds"),
        ({"passive_ratio": -0.1}, "from 0 to 1"),
        ({"aggressive_ratio": 1.1}, "from 0 to 1"),
        ({"passive_ratio": float("nan")}, "from 0 to 1"),
        ({"idle_seconds": 0}, "must be positive"),
        ({"change": -1}, "must not be negative"),
        ({"side": 5}, "TWAP side must be Side.BUY or Side.SELL, got 5"),
        ({"side": "buy"}, "TWAP side must be Side.BUY or Side.SELL, got 'buy'"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        golden(**change)
