"""Training windows from the reference market, made while the model trains.

A generation is a batch of sessions with random hidden states: they warm up for
half an hour, then run for a number of rounds. Nothing is stored and no window is seen twice.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import devices
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.sim.reference_market import (
    WARM_UP_SECONDS,
    Session,
    run_session,
    start_session,
)
from jaxmars.sim.rollout import record
from jaxmars.tokens.bins import Converters
from jaxmars.tokens.domain import Domain, flow_domain
from jaxmars.tokens.order import ELAPSED
from jaxmars.tokens.quantities import fit_converters, quantities
from jaxmars.tokens.window import final_rows
from jaxmars.train.losses import Batch, all_own

EVENTS_PER_CALL = 1024
FIT_SEED_SHIFT = 1_000_003  # bins are fitted on other sessions than those trained on
FIT_ROUNDS = 4  # calls per session that bins are fitted on
WARM_UP_EVENTS = 8192  # about half an hour at 280 orders a minute


class ReferencePlan(NamedTuple):
    """How much of the reference market is simulated at a time."""

    sessions: int = 128  # side by side
    rounds: int = 16  # calls of EVENTS_PER_CALL per session after the warm-up


@functools.partial(jax.jit, static_argnames="cfg")
def _open(keys: jax.Array, params: ReferenceParams, cfg: MarketConfig) -> Session:
    return jax.vmap(functools.partial(start_session, cfg=cfg), (0, None))(keys, params)


@functools.partial(jax.jit, static_argnames="cfg", donate_argnums=1)
def _run(keys, sessions, params, tables, cfg):
    run = functools.partial(run_session, cfg=cfg, num_events=EVENTS_PER_CALL)
    return jax.vmap(run, (0, 0, None, None))(keys, sessions, params, tables)


@functools.partial(jax.jit, static_argnames="cfg")
def _flow_quantities(keys, markets, params, cfg):
    agents = (reference_agent(cfg.lot_size),)
    run = functools.partial(record, agents=agents, cfg=cfg, num_events=EVENTS_PER_CALL)
    markets, (events, snapshots) = jax.vmap(run, (0, 0, None))(keys, markets, (params,))
    return markets, jax.vmap(functools.partial(quantities, cfg))(events, snapshots), snapshots


def fit_reference_bins(
    seed: int,
    market: MarketConfig,
    model: OrderModelConfig,
    params: ReferenceParams,
    plan: ReferencePlan,
) -> tuple[Converters, Domain]:
    """Bins for a model, and its domain, from sessions that are not trained on."""
    key = jax.random.key(seed + FIT_SEED_SHIFT)
    keys = jax.device_put(jax.random.split(key, plan.sessions), devices.split())
    markets = _open(keys, params, market).market
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


def reference_rows(
    seed: int,
    generation: int,
    market: MarketConfig,
    converters: Converters,
    params: ReferenceParams,
    plan: ReferencePlan,
) -> list[np.ndarray]:
    """Rows of one generation of sessions after their warm-up, one array `[rows, 15]` each."""
    key = jax.random.fold_in(jax.random.key(seed), generation)
    keys = jax.device_put(jax.random.split(key, plan.sessions), devices.split())
    sessions = _open(keys, params, market)
    tables = converters.tables()
    rows, actions = [], []
    for _ in range((WARM_UP_EVENTS // EVENTS_PER_CALL) + plan.rounds):
        sessions, (row, action) = _run(keys, sessions, params, tables, market)
        rows.append(np.asarray(row, np.int32))
        actions.append(np.asarray(action))
    final = np.asarray(jax.vmap(final_rows)(jnp.asarray(np.concatenate(actions, 1))))
    streams = zip(np.concatenate(rows, 1), final, strict=True)
    return [_after_warm_up(stream[stays]) for stream, stays in streams]


def _after_warm_up(rows: np.ndarray) -> np.ndarray:
    return rows[rows[:, ELAPSED] >= WARM_UP_SECONDS]


def windows_of(
    sessions: list[np.ndarray], length: int, batch: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Batches of contiguous windows of `length` + 1 rows that do not overlap, shuffled.

    A window never crosses from one session into another. What does not fill a batch is dropped.
    """
    pieces = []
    for rows in sessions:
        count = max(len(rows) - 1, 0) // length
        offset = rng.integers(0, len(rows) - count * length) if count else 0
        starts = offset + length * np.arange(count)
        pieces += [rows[start : start + length + 1] for start in starts]
    order = rng.permutation(len(pieces))
    for first in range(0, len(order) - batch + 1, batch):
        yield all_own(np.stack([pieces[i] for i in order[first : first + batch]]))
