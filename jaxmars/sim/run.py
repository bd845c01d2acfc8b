"""Markets run to a moment and stopped there, to go on later."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.agents.base import Agent
from jaxmars.config import SimConfig
from jaxmars.sim.lanes import real_events
from jaxmars.sim.rollout import Trajectory, simulate
from jaxmars.sim.state import MarketState
from jaxmars.types import Params, Time


def run_until(
    keys: jax.Array,
    markets: MarketState,
    params: tuple[Params, ...],
    until: Time,
    *,
    agents: tuple[Agent, ...],
    cfg: SimConfig,
) -> tuple[MarketState, list[Trajectory]]:
    """Runs a batch until everything up to a moment has happened; the clock then shows that moment.

    Args:
      keys: `[B]`, as in `simulate`.
      markets: `[B]`.
      params: one pytree per agent.
      until: `[]`, included; not before the markets' time.
      agents: who trades.
      cfg: its segment is the number of steps per compiled call.

    Returns:
      Markets `[B]`, and the events of each on the host; those of kind NONE and without status are
      left out.
    """
    num = markets.done.shape[0]
    moment = jax.tree.map(lambda x: jnp.broadcast_to(x, (num,)), until)
    markets = markets._replace(end=moment, done=jnp.zeros(num, bool))
    parts: list[Trajectory] = []
    while not parts or not np.asarray(markets.done).all():
        markets, events = simulate(
            keys, markets, params, agents=agents, cfg=cfg, num_events=cfg.segment
        )
        parts.append(jax.device_get(events))
    whole = jax.tree.map(lambda *x: np.concatenate(x, 1), *parts)
    each = [real_events(jax.tree.map(lambda x, i=i: x[i], whole)) for i in range(num)]
    return markets._replace(time=moment), each
