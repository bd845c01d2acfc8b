"""Drawing the reference market's next event: when, what, where, how much."""

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.agents.base import MarketView, Request, make_request
from jaxmars.agents.reference_state import (
    NUM_PARENTS,
    Plan,
    Quotes,
    ReferenceParams,
    ReferenceState,
    cancel_weights,
    event_rates,
    quotes,
)
from jaxmars.types import Kind, Side

MAX_DEPTH = 100  # ticks from the best price a limit order may rest
MAX_LOTS = 500
BLOCK = 32  # of the two-level choice of an order


def draw_plan(
    params: ReferenceParams, key: jax.Array, state: ReferenceState, view: MarketView, lot: int
) -> Plan:
    """Draws the next event: when, what, where, how much."""
    wait, which, *draws = jax.random.uniform(key, (10,))
    best = quotes(view.l2, state.mid)
    weights = cancel_weights(params, view, lot, best)
    rates = event_rates(params, state, best, weights.sum())
    gap = clock.from_seconds(-jnp.log1p(-wait) / rates.total)
    at = which * rates.total
    is_trade = at < rates.trade + rates.value
    is_value = is_trade & (at >= rates.trade)
    is_cancel = at >= rates.trade + rates.value + rates.limit
    lots = _lots(params, draws[0])
    trade, parent = _trade(params, state, view, best, is_value, lot, *draws[1:5])
    limit = _limit(params, state, best, lots * lot, *draws[1:5])
    cancel = _cancel(view, weights, lots * lot, draws[6], draws[7])
    pick = lambda a, b, c: jnp.where(is_trade, a, jnp.where(is_cancel, c, b))
    return Plan(
        request=jax.tree.map(pick, trade, limit, cancel),
        due=clock.plus(view.time, gap),
        parent=jnp.where(is_trade & ~is_value, parent, NUM_PARENTS),
    )


def _lots(params: ReferenceParams, uniform: jax.Array) -> jax.Array:
    """Size of a limit order or cancel: a rounded lognormal, `[]` int32 lots."""
    normal = jax.scipy.special.ndtri(jnp.maximum(uniform, jnp.finfo(jnp.float32).tiny))
    size = params.size_median * jnp.exp(params.size_sigma * normal)
    return jnp.clip(jnp.floor(size + 0.5), 1, MAX_LOTS).astype(jnp.int32)


def _trade(
    params: ReferenceParams,
    state: ReferenceState,
    view: MarketView,
    best: Quotes,
    is_value: jax.Array,
    lot: int,
    split: jax.Array,
    parent_draw: jax.Array,
    coin: jax.Array,
    share: jax.Array,
) -> tuple[Request, jax.Array]:
    """A marketable limit order at the best opposite price, and the parent it belongs to."""
    cumulative = jnp.cumsum(state.parent_weight)
    parent = (cumulative <= parent_draw * cumulative[-1]).sum(dtype=jnp.int32)
    parent = jnp.minimum(parent, NUM_PARENTS - 1)
    is_child = split < params.split_prob
    sign = jnp.where(is_child, state.parent_sign[parent], jnp.where(coin < 0.5, 1.0, -1.0))
    sign = jnp.where(is_value, jnp.where(state.value > best.mid, 1.0, -1.0), sign)
    buy = sign > 0
    queue = jnp.where(buy, view.l2.size[1, 0], view.l2.size[0, 0]).astype(jnp.float32) / lot
    lots = jnp.maximum(1, jnp.floor(share * queue + 0.5)).astype(jnp.int32)
    request = make_request(
        kind=Kind.LIMIT,
        side=jnp.where(buy, Side.BUY, Side.SELL),
        price=jnp.where(buy, best.ask, best.bid),
        size=lots * lot,
    )
    return request, jnp.where(is_child, parent, NUM_PARENTS)


def _limit(
    params: ReferenceParams,
    state: ReferenceState,
    best: Quotes,
    size: jax.Array,
    side: jax.Array,
    place: jax.Array,
    depth: jax.Array,
    inside: jax.Array,
) -> Request:
    """A passive order: inside the spread, at the best price, or behind it."""
    sell = side < (1 + params.lean * jnp.clip(state.flow, -1, 1)) / 2
    room = (best.ask - best.bid - 1).astype(jnp.float32)
    inside_prob = -jnp.expm1(-params.inside_rate * room)
    behind = jnp.minimum((1 - depth) ** (-1 / params.depth_tail), MAX_DEPTH).astype(jnp.int32)
    improve = 1 + jnp.minimum(jnp.floor(inside * room), room - 1).astype(jnp.int32)
    at_best = place < inside_prob + (1 - inside_prob) * params.best_prob
    away = jnp.where(place < inside_prob, -improve, jnp.where(at_best, 0, behind))
    return make_request(
        kind=Kind.LIMIT,
        side=jnp.where(sell, Side.SELL, Side.BUY),
        price=jnp.where(sell, best.ask + away, best.bid - away),
        size=size,
    )


def _cancel(
    view: MarketView, weights: jax.Array, size: jax.Array, block_draw: jax.Array, draw: jax.Array
) -> Request:
    """A cancel at the price of an order drawn by weight, at most the crowd's volume there."""
    flat = weights.reshape(-1)
    blocks = flat.reshape(-1, BLOCK) if flat.shape[0] % BLOCK == 0 else flat[None]
    block = _draw(blocks.sum(1), block_draw)
    row = blocks[block]
    slot = block * blocks.shape[1] + _draw(row, draw)
    key = view.book.key.reshape(-1)[slot]
    own = view.book.agent_id == view.agent_id
    level = jnp.where((view.book.key == key) & own, view.book.size, 0).sum(dtype=jnp.int32)
    return make_request(
        kind=jnp.where(level > 0, Kind.CANCEL, Kind.NONE),
        side=jnp.where(key < 0, Side.BUY, Side.SELL),
        price=jnp.abs(key),
        size=jnp.minimum(size, level),
    )


def _draw(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """Index drawn in proportion to non-negative weights `[n]`; never one of weight 0 unless all
    are."""
    cumulative = jnp.cumsum(weights)
    index = (cumulative <= uniform * cumulative[-1]).sum(dtype=jnp.int32)
    last = weights.shape[0] - 1 - jnp.argmax(weights[::-1] > 0).astype(jnp.int32)
    return jnp.minimum(index, last)
