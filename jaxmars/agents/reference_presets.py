"""Named parameter sets of the reference market, and random ones around them.

A model that is to infer the market's regime from the orders it reads must have seen many regimes.
`jittered` draws one: a preset, then every number multiplied by a log-normal factor. Two traps of
the market (realism spec 2.2) are kept out of reach: liquidity that leans so strongly against the
flow that impact turns negative, and books so thin that the price runs away.
"""

import types
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.agents.reference_state import ReferenceParams

DEFAULT = ReferenceParams()
MAX_NORMAL = 2.0  # factors are cut at this many standard deviations of their logarithm
CLOCK_SPREAD = 0.3  # standard deviation of the log factor that all order rates share
MAX_LEAN = 0.2
SPLIT_RANGE = (0.6, 0.95)
BEST_RANGE = (0.15, 0.4)
TAIL_RANGE = (1.2, 1.8)  # of parent orders; below 1 their mean length is infinite
DEPTH_RANGE = (0.8, 1.2)
SIZE_RANGE = (2.6, 4.5)  # lots; smaller orders make longer queues, which the book must hold
SHARE_RANGE = (0.1, 0.42)  # of the trade rate that one kind of feedback excites
MAX_SHARES = 0.75  # of both kinds together; at 1 activity would grow without end
DECAY_RANGE = (0.7, 1.2)  # of cancels; orders far from the best price must not pile up
TRADES_RANGE = (0.7, 1.4)  # trades per limit order over the default's
CANCELS_RANGE = (0.95, 1.35)  # cancels per limit order over the default's; 2 makes thin books


class Preset(NamedTuple):
    """A parameter set by name."""

    params: ReferenceParams
    probability: float  # of sessions that start from it
    why: str


def _at_pace(pace: float) -> ReferenceParams:
    """The default market in which everything happens `pace` times as often."""
    return DEFAULT._replace(
        limit_rate=pace * DEFAULT.limit_rate,
        trade_rate=pace * DEFAULT.trade_rate,
        cancel_rate=pace * DEFAULT.cancel_rate,
    )


PRESETS = types.MappingProxyType(
    {
        "default": Preset(DEFAULT, 0.5, "shows nine of Cont's facts"),
        "calm": Preset(
            DEFAULT._replace(level_variances=(0.1, 0.2, 0.2), trend_share=0.2),
            0.1,
            "slower swings of activity and less feedback: tails nearer to those of real days",
        ),
        "persistent": Preset(
            DEFAULT._replace(value_time=1800.0),
            0.1,
            "the fundamental follows slowly: impact decays further",
        ),
        "yielding": Preset(
            DEFAULT._replace(value_time=300.0, value_noise=2.2, lean=0.15),
            0.1,
            "the fundamental follows quickly: impact mostly stays",
        ),
        "busy": Preset(_at_pace(1.6), 0.08, "more orders per minute"),
        "quiet": Preset(_at_pace(0.6), 0.06, "fewer orders per minute"),
        "thin": Preset(
            DEFAULT._replace(cancel_rate=0.025), 0.06, "shorter queues, still far from the trap"
        ),
    }
)

# Standard deviations of the logarithm of each number's factor.
SPREADS = ReferenceParams(
    limit_rate=0.08,
    trade_rate=0.12,
    cancel_rate=0.1,
    cancel_decay=0.15,
    best_prob=0.15,
    depth_tail=0.08,
    inside_rate=0.2,
    size_median=0.15,
    size_sigma=0.08,
    split_prob=0.06,
    parent_tail=0.08,
    lean=0.25,
    lean_time=0.25,
    value_width=0.15,
    value_rate=0.25,
    value_time=0.3,
    value_noise=0.2,
    jump_rate=0.4,
    jump_size=0.25,
    hawkes_share=0.15,
    hawkes_times=(0.2, 0.2, 0.2),
    hawkes_weights=(0.0, 0.0, 0.0),
    trend_share=0.2,
    trend_time=0.2,
    trend_scale=0.1,
    level_variances=(0.25, 0.25, 0.25),
    level_times=(0.2, 0.2, 0.2),
)


def jittered(key: jax.Array) -> ReferenceParams:
    """A random preset, each number times a log-normal factor, within bounds.

    How far a session strays from its preset is itself drawn, evenly between not at all and
    `SPREADS`, so that the presets themselves stay well covered.

    Returns:
      Leaves `[]` float32.
    """
    preset_key, reach_key, clock_key, factor_key = jax.random.split(key, 4)
    start = _any_preset(preset_key)
    reach = jax.random.uniform(reach_key)
    leaves, structure = jax.tree.flatten(start)
    spreads = jnp.array(jax.tree.leaves(SPREADS), jnp.float32)
    normal = jnp.clip(jax.random.normal(factor_key, (len(leaves),)), -MAX_NORMAL, MAX_NORMAL)
    factors = jnp.exp(reach * spreads * normal)
    moved = jax.tree.unflatten(
        structure, [leaf * factor for leaf, factor in zip(leaves, factors, strict=True)]
    )
    pace = jnp.clip(jax.random.normal(clock_key), -MAX_NORMAL, MAX_NORMAL)
    return _within_bounds(_faster(moved, jnp.exp(reach * CLOCK_SPREAD * pace)))


def _any_preset(key: jax.Array) -> ReferenceParams:
    """One of `PRESETS`, with its probability."""
    weights = jnp.array([preset.probability for preset in PRESETS.values()])
    index = jax.random.choice(key, len(PRESETS), p=weights / weights.sum())
    columns = zip(*(jax.tree.leaves(p.params) for p in PRESETS.values()), strict=True)
    leaves = [jnp.array(column, jnp.float32)[index] for column in columns]
    return jax.tree.unflatten(jax.tree.structure(DEFAULT), leaves)


def _faster(params: ReferenceParams, pace: jax.Array) -> ReferenceParams:
    """The same market in which orders come `pace` times as often."""
    return params._replace(
        limit_rate=pace * params.limit_rate,
        trade_rate=pace * params.trade_rate,
        cancel_rate=pace * params.cancel_rate,
    )


def _within_bounds(params: ReferenceParams) -> ReferenceParams:
    """The numbers moved into the ranges of this module."""
    per_limit = lambda name: getattr(DEFAULT, name) / DEFAULT.limit_rate * params.limit_rate
    relative = lambda name, bounds: (
        per_limit(name) * jnp.clip(getattr(params, name) / per_limit(name), *bounds)
    )
    hawkes = jnp.clip(params.hawkes_share, *SHARE_RANGE)
    trend = jnp.clip(params.trend_share, *SHARE_RANGE)
    most = jnp.minimum(1.0, MAX_SHARES / (hawkes + trend))
    return params._replace(
        trade_rate=relative("trade_rate", TRADES_RANGE),
        cancel_rate=relative("cancel_rate", CANCELS_RANGE),
        cancel_decay=jnp.clip(params.cancel_decay, *DECAY_RANGE),
        best_prob=jnp.clip(params.best_prob, *BEST_RANGE),
        depth_tail=jnp.clip(params.depth_tail, *DEPTH_RANGE),
        size_median=jnp.clip(params.size_median, *SIZE_RANGE),
        split_prob=jnp.clip(params.split_prob, *SPLIT_RANGE),
        parent_tail=jnp.clip(params.parent_tail, *TAIL_RANGE),
        lean=jnp.minimum(params.lean, MAX_LEAN),
        hawkes_share=hawkes * most,
        trend_share=trend * most,
    )
