"""Speculative decoding: what comes out is the target's, whatever the draft is."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.speculative_world import (
    CFG,
    CROWD,
    DRAFTS,
    FACTORED,
    GROWTH,
    KEYS,
    NOISE,
    OTHER,
    ROUNDS,
    RUNS,
    TARGET,
    TINY,
    WINDOW,
    World,
    loud,
    params_of,
    world_of,
)
from oracles.tiny_world import (
    Past,
    noise_past,
    quick_jit,
    tiny_converters,
)
from scipy import stats

from jaxmars import clock
from jaxmars.models import OrderModel
from jaxmars.sim.speculative import UNJUDGED, Rounds, Speculation, speculate
from jaxmars.sim.state import MarketState
from jaxmars.tokens.order import TYPE_BUY, TYPE_CANCEL, TYPE_SELL
from jaxmars.types import Event, Kind, Params, Side, Status

NANO = 10**9
NUM_SLOTS = 4
BY_CHANCE = 1e-3  # largest p-value that is taken for a difference; the keys are fixed
CERTAIN = 1e-12  # of a difference that is there


@pytest.fixture(scope="module")
def past() -> Past:
    return noise_past(CFG)


@pytest.fixture(scope="module")
def world(past: Past) -> World:
    return world_of(past)


def real_events(rounds: Rounds, i: int) -> Event:
    """Events of trajectory `i` that were not thrown away."""
    keep = rounds.is_real[i]
    return jax.tree.map(lambda x: x[i][keep], rounds.events)


def on_host(tree: Params) -> Params:
    return jax.tree.map(np.asarray, tree)


def matching(plain: Event, rounds: Rounds, lanes: np.ndarray) -> int:
    """Events that the trajectories `lanes` have in common with `plain`, all of them equal."""
    compared = 0
    for i in lanes:
        mine = real_events(rounds, i)
        length = min(len(mine.kind), GROWTH)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(plain), strict=True):
            np.testing.assert_array_equal(a[:length], b[i][:length])
        compared += length
    return compared


def merged_cancels(rounds: Rounds, lanes: np.ndarray) -> int:
    """Cancels of the crowd that are merged into the one before them."""
    found = 0
    for i in lanes:
        event = real_events(rounds, i)
        same = [x[1:] == x[:-1] for x in (*event.time, event.price, event.agent_id, event.kind)]
        found += int((np.all(same, 0) & (event.kind[1:] == Kind.CANCEL)).sum())
    return found


def test_a_draft_equal_to_the_target_is_always_kept(world: World) -> None:
    """And the trajectories are those without speculation, over two anchors, merged cancels, events
    of another agent and rounds without room included."""
    markets, params = world.begin(KEYS, True), params_of(TARGET.params)
    first, rounds = on_host(world.drafted(KEYS, markets, params, TARGET.params))
    plain_first, events = on_host(world.plain(KEYS, markets, params))
    assert set(np.unique(rounds.kept).tolist()) == {UNJUDGED, NUM_SLOTS}
    everyone = np.arange(RUNS)
    assert matching(events, rounds, everyone) == RUNS * GROWTH
    assert merged_cancels(rounds, everyone) > 10
    assert (rounds.events.agent_id[rounds.is_real] == NOISE).sum() > 100
    assert not rounds.is_real[:, -1].any(1).all()  # rounds without room

    alike = np.flatnonzero(rounds.is_real.sum((1, 2)) == GROWTH)
    assert len(alike) > RUNS / 2
    _, rounds = on_host(world.drafted(KEYS, first, params, TARGET.params))
    _, events = on_host(world.plain(KEYS, plain_first, params))
    assert matching(events, rounds, alike) == len(alike) * GROWTH
    assert (rounds.kept[alike] == NUM_SLOTS).sum() > len(alike)


def with_head(model: Params, **stages: Params) -> Params:
    return {**model, "head": {**model["head"], **stages}}


def nothing_of(stage: str) -> Params:
    """The stage without an opinion."""
    return jax.tree.map(jnp.zeros_like, TARGET.params["head"][stage])


CANCELLING = with_head(
    TARGET.params, type=jax.tree.map(lambda x: x[:, ::-1], TARGET.params["head"]["type"])
)
"""Cancels what the target would sell."""
HASTY = with_head(CANCELLING, volume=nothing_of("volume"), interval=nothing_of("interval"))
"""Knows what to cancel but not when: it drafts cancels that are merged into the one before, and
most of them are thrown away with the row that they rewrote."""


@pytest.mark.parametrize(
    ("target", "draft"),
    [(TARGET.params, OTHER.params), (CANCELLING, HASTY)],
    ids=["other", "hasty"],
)
def test_at_temperature_zero_any_draft_gives_the_target_s_orders(
    world: World, target: Params, draft: Params
) -> None:
    """Plans are then certain, so that going back to an earlier event, and the contexts after it,
    can be compared event by event."""
    markets, params = world.begin(KEYS, True), params_of(target, 0.0)
    market, rounds = on_host(world.drafted(KEYS, markets, params, draft))
    plain, events = on_host(world.plain(KEYS, markets, params))
    everyone = np.arange(RUNS)
    assert matching(events, rounds, everyone) > RUNS * (ROUNDS - 1)
    mine, theirs = (x.agents[CROWD].history.window for x in (market, plain))
    known = np.arange(WINDOW) < np.minimum(mine.count, theirs.count)[:, None] - 1
    np.testing.assert_array_equal(mine.rows[known], theirs.rows[known])
    stopped = (rounds.kept >= 0) & (rounds.kept < NUM_SLOTS)
    assert stopped.sum() > RUNS
    assert (~rounds.is_real[rounds.is_real.any(2)]).sum() > RUNS  # thrown away
    assert merged_cancels(rounds, everyone) > 5
    if draft is HASTY:
        assert rewritten_in_vain(rounds) > 10


def rewritten_in_vain(rounds: Rounds) -> int:
    """Rounds whose first event thrown away was a cancel merged into the last that stood."""
    event, is_real = rounds.events, rounds.is_real
    columns = (*event.time, event.price, event.agent_id, event.kind)
    merged = np.all([x[..., 1:] == x[..., :-1] for x in columns], 0)
    merged &= (event.kind[..., 1:] == Kind.CANCEL) & (event.status[..., 1:] == 0)
    return int((merged & is_real[..., :-1] & ~is_real[..., 1:]).sum())


class Alone(NamedTuple):
    """Trajectories of the crowd alone, host arrays."""

    market: MarketState
    rounds: Rounds


@pytest.fixture(scope="module")
def alone(world: World) -> Alone:
    markets = world.begin(KEYS, False)
    found = world.drafted(KEYS, markets, params_of(TARGET.params), OTHER.params)
    return Alone(*on_host(found))


def test_a_round_ends_with_the_first_order_that_was_not_kept(alone: Alone) -> None:
    kept, is_real = alone.rounds.kept, alone.rounds.is_real
    lengths = is_real.sum(2)
    assert (is_real == (np.arange(DRAFTS + 1) < lengths[..., None])).all()
    stopped = is_real & (kept >= 0) & (kept < NUM_SLOTS)
    assert (stopped.argmax(2) == lengths - 1)[stopped.any(2)].all()
    assert (lengths[~stopped.any(2) & (lengths > 0)] == DRAFTS + 1).all()
    assert {1, 2, 3} <= set(np.unique(lengths).tolist())
    assert set(np.unique(kept).tolist()) == {UNJUDGED, 0, 1, 2, 3, 4}


LIMIT_TOKENS = 2 * 8 * 8 * 4
CANCEL_WAITS = 4


def seen_tokens(event: Event) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of the crowd's orders as far as its events show them; which are plain limit orders.

    Cancels show their type and interval only, and come after all limit orders.
    """
    bins = tiny_converters()
    bid, ask = np.asarray(event.best_bid), np.asarray(event.best_ask)
    both = (bid > 0) & (ask > 0)
    mid = np.where(both, bid + (ask - bid) // 2, 0)[:-1]
    now = np.asarray(event.time.sec, np.int64) * NANO + event.time.nsec
    waits = (np.diff(now) / NANO).round(9)
    interval = np.searchsorted(bins.order_interval.edges[1:], waits)
    is_limit = event.kind[1:] == Kind.LIMIT
    side = np.where(event.side[1:] == Side.SELL, TYPE_SELL, TYPE_BUY)
    price = event.price[1:] - mid - int(bins.price_level.edges[1])
    volume = event.size[1:] // 100 - 1
    limit = np.ravel_multi_index(
        (side, price.clip(0, 7), volume.clip(0, 7), interval), (2, 8, 8, 4)
    )
    clean = is_limit & both[:-1] & (event.status[1:] == 0)
    assert not clean.any() or (price[clean].min() >= 0 and price[clean].max() < 8)
    return np.where(is_limit, limit, LIMIT_TOKENS + interval), np.asarray(clean & both[1:])


def shown(logits: np.ndarray) -> np.ndarray:
    """Probabilities `[..., 516]` of what `seen_tokens` shows, from joint logits `[..., 768]`."""
    log_p = np.asarray(logits, np.float64)
    p = np.exp(log_p - log_p.max(-1, keepdims=True))
    p = (p / p.sum(-1, keepdims=True)).reshape(*log_p.shape[:-1], *TINY.slot_shape)
    limits = p[..., : TYPE_BUY + 1, :, :, :].reshape(*log_p.shape[:-1], LIMIT_TOKENS)
    cancels = p[..., TYPE_CANCEL, :, :, :].sum((-3, -2))
    return np.concatenate([limits, cancels], -1)


@functools.partial(quick_jit)
@functools.partial(jax.vmap, in_axes=(None, 0))
def predicted(params: Params, rows: jax.Array) -> jax.Array:
    """Joint logits `[DRAFTS + 2, vocab]` after the start and each of the rows that follow it."""
    net = OrderModel(FACTORED, TARGET.net.graphdef, params).net()
    hidden = net.encode(rows)[WINDOW - GROWTH - 1 :][: DRAFTS + 2]
    return jax.vmap(net.head.logits)(hidden)


def transformed(alone: Alone, params: Params) -> list[np.ndarray]:
    """Per place of an order, where in its distribution under `params` each order fell: uniform in
    [0, 1) if the orders are drawn from it. Only where all orders before are plain limit orders, so
    that the rows are known; that is known before the order is drawn."""
    rows = jnp.asarray(alone.market.agents[CROWD].history.window.rows)
    p = shown(np.asarray(predicted(params, rows)))
    places = p.shape[1]
    tokens, clean = zip(
        *(seen_tokens(real_events(alone.rounds, i)) for i in range(RUNS)), strict=True
    )
    token = np.stack([x[:places] for x in tokens])
    known = np.stack([np.logical_and.accumulate(x[: places - 1]) for x in clean])
    below = np.take_along_axis(np.cumsum(p, -1), token[..., None], -1)[..., 0]
    share = np.take_along_axis(p, token[..., None], -1)[..., 0]
    where = below - share * np.random.default_rng(3).random(token.shape)
    return [where[:, 0], *(where[known[:, i - 1], i] for i in range(1, places))]


def test_orders_are_distributed_as_the_target_says(alone: Alone) -> None:
    """Against its enumerated probabilities, computed in one pass over each history: the first
    orders of each trajectory, one by one and in pairs."""
    found = transformed(alone, TARGET.params)
    assert [len(x) > 50 for x in found] == [True] * len(found)
    for place in found:
        assert stats.kstest(place, "uniform").pvalue > BY_CHANCE
        cells = np.bincount((place * 20).astype(int).clip(0, 19), minlength=20)
        assert stats.chisquare(cells).pvalue > BY_CHANCE
    assert stats.kstest(np.concatenate(found), "uniform").pvalue > BY_CHANCE


def test_orders_are_not_distributed_as_the_draft_says(alone: Alone) -> None:
    """So the test above has power."""
    for place in transformed(alone, OTHER.params):
        assert stats.kstest(place, "uniform").pvalue < CERTAIN


def p_value_of(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Of two samples of one distribution."""
    return stats.kstest(mine, theirs, method="asymp").pvalue


def test_statistics_of_trajectories_are_those_without_speculation(
    world: World, alone: Alone
) -> None:
    """Other keys, so that the samples are independent."""
    keys = jax.random.split(jax.random.key(9), RUNS)
    markets = world.begin(keys, False)
    plain = on_host(world.plain(keys, markets, params_of(TARGET.params))[1])
    drafted = [real_events(alone.rounds, i) for i in range(RUNS)]
    for place in range(1, ROUNDS):
        for name in ("kind", "best_bid", "best_ask", "size", "filled"):
            mine = np.array([getattr(event, name)[place] for event in drafted])
            theirs = getattr(plain, name)[:, place]
            assert p_value_of(mine, theirs) > BY_CHANCE / ROUNDS


@pytest.mark.parametrize("bad", ["target", "draft"])
def test_logits_that_are_not_finite_stop_the_crowd(world: World, bad: str) -> None:
    """As without speculation: at the first plan."""
    broken = jax.tree.map(lambda x: x * jnp.nan, TARGET.params["head"])
    params = {**TARGET.params, "head": broken}
    models = (params, OTHER.params) if bad == "target" else (TARGET.params, params)
    markets = world.begin(KEYS, False)
    market, rounds = on_host(world.drafted(KEYS, markets, params_of(models[0]), models[1]))
    reference, events = on_host(world.plain(KEYS, markets, params_of(params)))
    assert (market.status == Status.BAD_LOGITS).all()
    np.testing.assert_array_equal(market.status, reference.status)
    assert market.done.all() and (market.wake.sec == clock.NEVER_SEC).all()
    for i in range(RUNS):
        event = real_events(rounds, i)
        assert event.status[0] == Status.BAD_LOGITS == events.status[i, 0]
        assert (event.kind == Kind.NONE).all()
        assert not event.status[1:].any()
    assert (rounds.is_real[:, 0].sum(1) == 1).all()


def test_what_cannot_be_is_refused(world: World) -> None:
    make = functools.partial(Speculation, market=CFG, drafts=DRAFTS, growth=GROWTH, rounds=ROUNDS)
    with pytest.raises(ValueError, match="same head, got factored and joint"):
        make(TARGET.net, loud(TINY, 1).net)
    with pytest.raises(ValueError, match="same num_max_orders, got 32 and 16"):
        make(TARGET.net, loud(dataclasses.replace(FACTORED, num_max_orders=16), 1).net)
    with pytest.raises(ValueError, match="drafts must be positive, got 0"):
        make(TARGET.net, OTHER.net, drafts=0)
    with pytest.raises(ValueError, match="must hold a round of 13 events, got 12"):
        make(TARGET.net, OTHER.net, drafts=12)
    with pytest.raises(ValueError, match="multiple of the 8 between anchors, got 12"):
        shapes_of(world, make(TARGET.net, OTHER.net), OTHER.params, 12)


def shapes_of(world: World, cfg: Speculation, draft: Params, num_rounds: int) -> Rounds:
    """Traces one trajectory."""
    keys, market = KEYS, world.begin(KEYS, True)
    one = lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
    run = functools.partial(speculate, cfg=cfg, num_rounds=num_rounds, others=world.others)
    arguments = *jax.tree.map(one, (keys, market)), params_of(TARGET.params), draft
    return jax.eval_shape(run, *arguments)[1]


def test_a_draft_may_be_smaller_and_segments_several(world: World) -> None:
    """Shapes only: the runs above share one program, whose draft has the target's size."""
    draft = loud(dataclasses.replace(FACTORED, num_layers=1, emb_dim=16), 1)
    cfg = Speculation(TARGET.net, draft.net, CFG, DRAFTS, GROWTH, ROUNDS)
    rounds = shapes_of(world, cfg, draft.params, 2 * ROUNDS)
    assert rounds.is_real.shape == rounds.events.kind.shape == (2 * ROUNDS, DRAFTS + 1)
