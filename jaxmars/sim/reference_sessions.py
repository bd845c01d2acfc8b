"""Training sessions: the reference market beside a trader from outside.

Two agents trade: the crowd (id `CROWD`), whose orders a model is to learn, and the outside trader
(id 1), whose orders it is to read. Both have parameters of their own in every session.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.agents.base import Agent
from jaxmars.agents.outside import OutsideParams, absent, outside_agent, random_outside
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.reference_presets import jittered
from jaxmars.config import MarketConfig
from jaxmars.sim.market import step
from jaxmars.sim.reference_market import open_with
from jaxmars.sim.state import START_DRAWS, MarketState
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.order import FeatureState, advance, init_features

CROWD = 0  # agent id of the reference agent
PARAM_DRAWS = START_DRAWS - 1  # folded into a session's key for its parameters


class SessionParams(NamedTuple):
    """What the traders of one session go by, in the order of their ids."""

    crowd: ReferenceParams
    outside: OutsideParams


Draw = Callable[[jax.Array], SessionParams]
"""A session's key -> its parameters; leaves `[]` float32."""


class Session(NamedTuple):
    """A market of the two agents and the row maker that follows it."""

    market: MarketState
    features: FeatureState


class SessionRows(NamedTuple):
    """What a session wrote."""

    row: jax.Array  # [events, columns] int32
    action: jax.Array  # [events] int32, NO_ROW, APPEND or REPLACE
    # [events] bool, the crowd's. A row that replaces another has its owner: only cancels of one
    # owner are merged.
    own: jax.Array


def plain_session(key: jax.Array) -> SessionParams:
    """The default market, nobody from outside."""
    del key
    crowd = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), ReferenceParams())
    return SessionParams(crowd, absent())


def varied_session(key: jax.Array) -> SessionParams:
    """Random parameters, and in most sessions a trader from outside."""
    crowd_key, outside_key = jax.random.split(jax.random.fold_in(key, PARAM_DRAWS))
    return SessionParams(jittered(crowd_key), random_outside(outside_key))


def session_agents(cfg: MarketConfig) -> tuple[Agent, ...]:
    """The crowd and the outside trader."""
    return reference_agent(cfg.lot_size), outside_agent(cfg.lot_size)


def start_session(key: jax.Array, params: SessionParams, cfg: MarketConfig) -> Session:
    """A session at the open. The key may be the one of its steps."""
    market = open_with(key, tuple(params), session_agents(cfg), cfg)
    return Session(market, init_features(cfg.levels))


def run_session(
    key: jax.Array,
    session: Session,
    params: SessionParams,
    tables: TokenTables,
    *,
    cfg: MarketConfig,
    num_events: int,
) -> tuple[Session, SessionRows]:
    """Runs a session for `num_events` steps."""
    agents = session_agents(cfg)

    def one(session: Session, _: None) -> tuple[Session, SessionRows]:
        market, event = step(key, session.market, tuple(params), agents=agents, cfg=cfg)
        own = event.agent_id == CROWD
        features, row, action = advance(tables, cfg, session.features, event, market.l2, ~own)
        return Session(market, features), SessionRows(row, action, own)

    return lax.scan(one, session, None, length=num_events)
