"""The noise agent: its draws, half-hour sessions against runs of the release, its cancels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.lob import Oracle
from oracles.tiny_world import quick_jit
from scipy import stats

from jaxmars import clock
from jaxmars.agents import noise
from jaxmars.agents.base import MarketView, Request
from jaxmars.agents.noise import NoiseParams, NoiseState, noise_agent
from jaxmars.book import account_row, empty_accounts, init_book, invariants, l2_snapshot
from jaxmars.config import MarketConfig
from jaxmars.sim.rollout import record
from jaxmars.sim.state import MarketState, init_market
from jaxmars.types import Event, Kind, Side, Status, Time, no_trades

CFG = MarketConfig(slots=256)
OPEN, CLOSE = 34_200, 36_000
PARAMS = NoiseParams(1_000, 1.0)
AGENT = noise_agent(clock.make_time(OPEN), clock.make_time(CLOSE))
DRAWS = 40_000
SESSIONS = 16
EVENTS = 2_048
RARE = 1e-3  # a p-value below this is a wrong distribution
# Half-hour runs of the release with seeds 0, 1, 2 (spec 7.1).
RELEASE_RECORDS = np.array([1_901, 1_915, 1_904])
RELEASE_CANCELS = np.array([464, 497, 458])
RELEASE_SHARES = np.array([134_100, 131_500, 145_600])
NANO = 10**9


def view(time: Time, last_price: int) -> MarketView:
    book = init_book(4)
    account = account_row(empty_accounts(1), 0)
    l2 = l2_snapshot(book, 2)
    return MarketView(time, book, l2, jnp.int32(last_price), jnp.int32(0), account)


@pytest.fixture(scope="module")
def requests() -> Request:
    """Many requests around a last price of 1,020 ticks."""
    now = clock.make_time(OPEN)
    act = lambda key: AGENT.act(PARAMS, key, NoiseState(now), view(now, 1_020))[1]
    keys = jax.random.split(jax.random.key(5), DRAWS)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(act))(keys))


def frequencies_fit(found: np.ndarray, values: tuple, probs: tuple) -> bool:
    """Chi-square of integer draws against the probabilities of their values."""
    counts = np.array([(found == value).sum() for value in values])
    assert counts.sum() == len(found), "a value that should not occur"
    expected = np.array(probs) / np.sum(probs) * len(found)
    return stats.chisquare(counts, expected).pvalue > RARE


def test_kinds_and_sides(requests: Request) -> None:
    bids = (requests.kind == Kind.LIMIT) & (requests.side == Side.BUY)
    asks = (requests.kind == Kind.LIMIT) & (requests.side == Side.SELL)
    cancels = requests.kind == Kind.CANCEL
    which = np.select([bids, asks, cancels], [0, 1, 2], -1)
    assert frequencies_fit(which, (0, 1, 2), (0.4, 0.4, 0.2))


def test_offsets_from_the_last_price(requests: Request) -> None:
    probs = (0.025, 0.025, 0.05, 0.1, 0.2, 0.2, 0.2, 0.1, 0.05, 0.025, 0.025)
    assert frequencies_fit(np.asarray(requests.price) - 1_020, tuple(range(-5, 6)), probs)


def test_sizes(requests: Request) -> None:
    probs = (0.5, 0.3, 0.15, 0.025, 0.025)
    assert frequencies_fit(np.asarray(requests.size), (100, 200, 500, 1_000, 2_000), probs)


def test_attributes_are_drawn_apart(requests: Request) -> None:
    """Independence of kind, offset and size: no correlation beyond chance."""
    columns = np.stack([requests.kind, requests.side, requests.price, requests.size]).astype(float)
    chance = np.corrcoef(columns)[np.triu_indices(4, 1)]
    chance = np.delete(chance, 0)  # kind and side: a cancel has the side of a bid
    assert (np.abs(chance) < 4 / DRAWS**0.5).all()


def test_the_first_price_counts_until_something_trades() -> None:
    now = clock.make_time(OPEN)
    act = jax.jit(
        lambda key, last: AGENT.act(PARAMS, key, NoiseState(now), view(now, last))[1].price
    )
    key = jax.random.key(2)
    assert int(act(key, 0)) - 1_000 == int(act(key, 7_000)) - 7_000


def next_wakes(second: int, keys: jax.Array) -> np.ndarray:
    """Seconds from `second` to the next wake-up after acting then."""
    now = clock.make_time(second)

    def one(key: jax.Array) -> Time:
        return AGENT.act(PARAMS, key, NoiseState(now), view(now, 0))[0].wake

    wake = jax.tree.map(lambda x: np.asarray(x, np.int64), jax.jit(jax.vmap(one))(keys))
    return (wake.sec - second) + wake.nsec / NANO


def test_gaps_are_uniform_around_their_mean() -> None:
    gaps = next_wakes(OPEN, jax.random.split(jax.random.key(3), DRAWS))
    assert gaps.min() >= 0.5
    assert gaps.max() <= 1.5
    assert stats.kstest(gaps, stats.uniform(0.5, 1.0).cdf).pvalue > RARE


def test_a_wake_up_stays_while_others_act() -> None:
    now, later = clock.make_time(OPEN), clock.make_time(OPEN + 3)
    event = Event(now, *[jnp.int32(0)] * 12, trades=no_trades())
    for is_done in (False, True):
        decision = AGENT.update(
            PARAMS, jax.random.key(3), NoiseState(later), view(now, 0), event, jnp.array(is_done)
        )
        assert (int(decision.wake.sec), int(decision.wake.nsec)) == (OPEN + 3, 0)


def test_wake_ups_after_the_end_are_none() -> None:
    """From one second before the end, half of the gaps of 0.5 to 1.5 s lead past it."""
    gaps = next_wakes(CLOSE - 1, jax.random.split(jax.random.key(3), 1_000))
    stopped = gaps > 2
    assert (gaps[stopped] == clock.NEVER_SEC - CLOSE + 1).all()
    assert (gaps[~stopped] <= 1).all()
    assert 400 < stopped.sum() < 600


@pytest.mark.parametrize(
    ("now", "first"),
    [(OPEN - 60, OPEN), (OPEN, OPEN), (OPEN + 60, OPEN + 60), (CLOSE, CLOSE), (CLOSE + 1, None)],
)
def test_the_first_wake_up(now: int, first: int | None) -> None:
    """It sleeps until the start, acts exactly at the end, and not after it."""
    _, wake = AGENT.init(PARAMS, jax.random.key(0), view(clock.make_time(now), 0), None)
    assert int(wake.sec) == (clock.NEVER_SEC if first is None else first)


@pytest.fixture(scope="module")
def sessions() -> tuple[MarketState, Event]:
    """Half-hour sessions from an empty book, `[SESSIONS]` and `[SESSIONS, EVENTS]`."""

    def one(key: jax.Array) -> tuple[MarketState, Event]:
        start, end = clock.make_time(OPEN), clock.make_time(CLOSE)
        market = init_market(
            key,
            (PARAMS,),
            init_book(CFG.slots),
            start,
            end,
            jnp.int32(0),
            (None,),
            agents=(AGENT,),
            cfg=CFG,
        )
        market, (events, _) = record(
            key, market, (PARAMS,), agents=(AGENT,), cfg=CFG, num_events=EVENTS
        )
        return market, events

    return jax.tree.map(
        np.asarray, quick_jit(jax.vmap(one))(jax.random.split(jax.random.key(0), SESSIONS))
    )


def nanoseconds(event: Event) -> np.ndarray:
    return np.asarray(event.time.sec, np.int64) * NANO + event.time.nsec


def continued(event: Event) -> np.ndarray:
    """Cancels that go on with the request of the event before them, `[…, EVENTS]`."""
    same = np.diff(nanoseconds(event), axis=-1, prepend=0) == 0
    both = (event.kind == Kind.CANCEL) & (np.roll(event.kind, 1, -1) == Kind.CANCEL)
    return same & both


def near(sessions: jax.Array, release: np.ndarray) -> bool:
    """Means within four standard errors of each other, the spread taken from ours."""
    found = np.asarray(sessions)
    error = found.std(ddof=1) * (1 / len(found) + 1 / len(release)) ** 0.5
    return abs(found.mean() - release.mean()) < 4 * error


def test_half_an_hour_is_like_one_of_the_release(sessions: tuple[MarketState, Event]) -> None:
    market, event = sessions
    assert market.done.all()
    assert ((market.status & ~int(Status.NOTHING_TO_CANCEL)) == 0).all()
    wakes = market.step - continued(event).sum(-1)
    assert abs(wakes.mean() - 1_800) < 4 * (1_800 / 12 / SESSIONS) ** 0.5
    assert near((event.kind != Kind.NONE).sum(-1), RELEASE_RECORDS)
    assert near((event.kind == Kind.CANCEL).sum(-1), RELEASE_CANCELS)
    assert near(event.filled.sum(-1), RELEASE_SHARES)
    assert jax.jit(jax.vmap(invariants))(market.book).all()


def test_cancels_take_the_oldest_order_of_their_price_whole_before_the_next(
    sessions: tuple[MarketState, Event],
) -> None:
    """Orders of one request follow each other at one moment and price, in the book's order."""
    event = jax.tree.map(lambda x: x[0], sessions[1])
    goes_on = continued(event)
    book, parts = Oracle(CFG.slots), 0
    left_behind = None  # size left of the order the last cancel took from
    for i in np.flatnonzero(event.kind != Kind.NONE):
        fields = ("kind", "side", "price", "size", "order_id", "agent_id")
        kind, side, price, size, order_id, agent = (int(getattr(event, n)[i]) for n in fields)
        if kind == Kind.CANCEL:
            queue = book.levels[Side(side)][price]
            assert queue[0].order_id == order_id
            if goes_on[i]:
                parts += 1
                assert left_behind == 0
                assert price == event.price[i - 1]
            left_behind = queue[0].size - size
        assert book.apply(kind, side, price, size, order_id, agent).status == Status.OK
    assert parts > 50
    starts = np.flatnonzero((event.kind == Kind.CANCEL) & ~goes_on)
    group = np.cumsum(~goes_on)
    asked = np.array([event.size[group == group[i]].sum() for i in starts])
    assert asked.max() <= max(noise.SIZES)
    assert set(asked.tolist()) >= set(noise.SIZES[:3])


def test_cancels_before_the_first_own_order_are_no_orders(
    sessions: tuple[MarketState, Event],
) -> None:
    event = sessions[1]
    missed = event.status & int(Status.NOTHING_TO_CANCEL) != 0
    assert missed.any()
    assert (event.kind[missed] == Kind.NONE).all()
    assert (event.filled[missed] == 0).all()
