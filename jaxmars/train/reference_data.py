"""Training windows from the reference market, made while the model trains.

A generation is a batch of sessions with random hidden states and, unless the plan says otherwise,
random parameters and traders from outside: they warm up, then run for a number of rounds. Nothing
is stored and no window is seen twice.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import devices
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.sim.reference_sessions import (
    Draw,
    Session,
    SessionParams,
    SessionRows,
    run_session,
    session_agents,
    start_session,
    varied_session,
)
from jaxmars.sim.rollout import record
from jaxmars.tokens.bins import Converters, TokenTables
from jaxmars.tokens.domain import Domain, flow_domain
from jaxmars.tokens.quantities import fit_converters, quantities
from jaxmars.tokens.window import final_rows
from jaxmars.train.losses import Batch

EVENTS_PER_CALL = 1024
FIT_SEED_SHIFT = 1_000_003  # bins are fitted on other sessions than those trained on
FIT_ROUNDS = 4  # calls per session that bins are fitted on
# About half an hour at 280 orders a minute. Activity is the market's clock: a lively session
# forgets its opening book after as many orders, but sooner.
WARM_UP_EVENTS = 8192
FRESH = 4  # one session of so many is followed only from the end of its warm-up


class ReferencePlan(NamedTuple):
    """How much of the reference market is simulated at a time, and which sessions."""

    sessions: int = 128  # side by side
    rounds: int = 16  # calls of EVENTS_PER_CALL per session after the warm-up
    draw: Draw = varied_session  # parameters of a session


class Flow(NamedTuple):
    """Consecutive rows of one session."""

    rows: np.ndarray  # [rows, columns] int32
    own: np.ndarray  # [rows] bool, orders to be learnt


def own_flow(rows: np.ndarray) -> Flow:
    """Rows `[rows, columns]` that are all to be learnt."""
    return Flow(rows, np.ones(len(rows), bool))


@functools.partial(jax.jit, static_argnames=("draw", "cfg"))
def _open(keys: jax.Array, draw: Draw, cfg: MarketConfig) -> tuple[SessionParams, Session]:
    params = jax.vmap(draw)(keys)
    return params, jax.vmap(functools.partial(start_session, cfg=cfg))(keys, params)


@functools.partial(jax.jit, static_argnames="cfg", donate_argnums=1)
def _run(
    keys: jax.Array,
    sessions: Session,
    params: SessionParams,
    tables: TokenTables,
    cfg: MarketConfig,
) -> tuple[Session, SessionRows]:
    run = functools.partial(run_session, cfg=cfg, num_events=EVENTS_PER_CALL)
    return jax.vmap(run, (0, 0, 0, None))(keys, sessions, params, tables)


@functools.partial(jax.jit, static_argnames="cfg")
def _flow_quantities(keys, markets, params, cfg):
    run = functools.partial(record, agents=session_agents(cfg), cfg=cfg, num_events=EVENTS_PER_CALL)
    markets, (events, snapshots) = jax.vmap(run)(keys, markets, tuple(params))
    return markets, jax.vmap(functools.partial(quantities, cfg))(events, snapshots), snapshots


@functools.partial(jax.jit, donate_argnums=0)
def _forget(sessions: Session) -> Session:
    """Every `FRESH`th session with an empty memory, as if a record began there."""
    fresh = jnp.arange(sessions.market.done.shape[0]) % FRESH == 0
    empty = jax.tree.map(
        lambda x: jnp.where(fresh.reshape(-1, *[1] * (x.ndim - 1)), jnp.zeros_like(x), x),
        sessions.features.memory,
    )
    return sessions._replace(features=sessions.features._replace(memory=empty))


def session_keys(seed: int, generation: int, plan: ReferencePlan) -> jax.Array:
    """Keys of the sessions of a generation, `[sessions]`, divided over the devices."""
    key = jax.random.fold_in(jax.random.key(seed), generation)
    return jax.device_put(jax.random.split(key, plan.sessions), devices.split())


def fit_reference_bins(
    seed: int, market: MarketConfig, model: OrderModelConfig, plan: ReferencePlan
) -> tuple[Converters, Domain]:
    """Bins for a model, and its domain, from sessions that are not trained on."""
    keys = session_keys(seed + FIT_SEED_SHIFT, 0, plan)
    params, sessions = _open(keys, plan.draw, market)
    markets = sessions.market
    found, books = [], []
    for call in range((WARM_UP_EVENTS // EVENTS_PER_CALL) + FIT_ROUNDS):
        markets, batch, snapshots = _flow_quantities(keys, markets, params, market)
        if call * EVENTS_PER_CALL >= WARM_UP_EVENTS:
            found.append(jax.tree.map(np.asarray, batch))
            books.append(jax.tree.map(np.asarray, snapshots))
    stack = lambda parts: jax.tree.map(
        lambda *x: np.concatenate([y.reshape(-1, *y.shape[2:]) for y in x]), *parts
    )
    together = stack(found)
    converters = fit_converters(together, model)
    return converters, flow_domain(converters, stack(books), together)


def reference_flows(
    seed: int, generation: int, market: MarketConfig, converters: Converters, plan: ReferencePlan
) -> list[Flow]:
    """What the sessions of one generation wrote after their warm-up."""
    keys = session_keys(seed, generation, plan)
    params, sessions = _open(keys, plan.draw, market)
    tables = converters.tables()
    parts = []
    for call in range((WARM_UP_EVENTS // EVENTS_PER_CALL) + plan.rounds):
        if call * EVENTS_PER_CALL == WARM_UP_EVENTS:
            sessions = _forget(sessions)
        sessions, part = _run(keys, sessions, params, tables, market)
        parts.append(jax.tree.map(np.asarray, part))
    row, action, own = (np.concatenate(column, 1) for column in zip(*parts, strict=True))
    final = np.array(jax.vmap(final_rows)(jnp.asarray(action)))
    final[:, :WARM_UP_EVENTS] = False
    return [
        Flow(np.asarray(r[keep], np.int32), o[keep])
        for r, o, keep in zip(row, own, final, strict=True)
    ]


def windows_of(
    flows: Sequence[Flow], length: int, batch: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Batches of contiguous windows of `length` + 1 rows that do not overlap, shuffled.

    A window never crosses from one session into another. What does not fill a batch is dropped.
    """
    pieces = []
    for flow in flows:
        rows = len(flow.rows)
        count = max(rows - 1, 0) // length
        offset = rng.integers(0, rows - count * length) if count else 0
        starts = offset + length * np.arange(count)
        pieces += [Flow(*(x[start : start + length + 1] for x in flow)) for start in starts]
    order = rng.permutation(len(pieces))
    for first in range(0, len(order) - batch + 1, batch):
        chosen = [pieces[i] for i in order[first : first + batch]]
        yield Batch(*(np.stack(column) for column in zip(*chosen, strict=True)))
