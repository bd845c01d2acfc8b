"""The exact likelihood of the reference market's next order, in a model's own slots.

Rates are constant between events, so given the full hidden state the next order's distribution over
(type, price, volume, interval) slots is known in closed form. Its mean negative logarithm bounds
from below the loss of every model that sees less than the hidden state (realism spec 2.3).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.agents.base import MarketView
from jaxmars.agents.reference_plan import MAX_DEPTH, MAX_LOTS
from jaxmars.agents.reference_state import (
    Quotes,
    Rates,
    ReferenceParams,
    ReferenceState,
    cancel_weights,
    event_rates,
    quotes,
)
from jaxmars.book import mid_price
from jaxmars.tokens.bins import BinTable, TokenTables, encode
from jaxmars.tokens.order import TYPE_BUY, TYPE_CANCEL, TYPE_SELL
from jaxmars.types import Kind, Side

REACH = 192  # ticks around the mid that are told apart; beyond them all prices share an end bin
SMALLEST = 1e-30


class OrderSlots(NamedTuple):
    """An order as the model sees it: `[]` int32 each."""

    kind: jax.Array
    price: jax.Array
    volume: jax.Array
    interval: jax.Array


def plan_nats(
    params: ReferenceParams,
    state: ReferenceState,
    view: MarketView,
    tables: TokenTables,
    lot: int,
    rival_rate: jax.Array | float = 0.0,
) -> jax.Array:
    """-log p of the order that `state` plans, given everything the generator knows, `[]` float32.

    A plan is drawn anew after every event, also one of somebody else, from rates that are constant
    until the next. So with others in the market p is that of the crowd's next order **given that
    nobody comes before it**, which is what a model learns whose labels are the crowd's orders: what
    the order is does not depend on it, and the wait is exponential with the rates of all together.
    Plans that somebody else's order overtakes have no label and do not count.

    Args:
      params: of the generator.
      state: after the update that drew the plan.
      view: the market at that moment.
      tables: bins that define the slots.
      lot: shares per lot.
      rival_rate: `[]` float32, actions of others per second; their waits must be exponential.
    """
    slots = planned_slots(state, view, tables)
    return slot_nats(params, state, view, tables, lot, slots, rival_rate)


def slot_nats(
    params: ReferenceParams,
    state: ReferenceState,
    view: MarketView,
    tables: TokenTables,
    lot: int,
    slots: OrderSlots,
    rival_rate: jax.Array | float = 0.0,
) -> jax.Array:
    """-log p of any slots for the next order; arguments as for `plan_nats`."""
    best = quotes(view.l2, state.mid)
    weights = cancel_weights(params, view, lot, best)
    rates = event_rates(params, state, best, weights.sum())
    mid = mid_price(view.l2, view.last_price)
    offsets = jnp.arange(-REACH, REACH + 1, dtype=jnp.int32)
    zeros = jnp.zeros_like(offsets)
    inside = jax.vmap(encode, (None, 0, 0))(tables.price_level, offsets, zeros) == slots.price

    trade = _trade_density(params, state, view, best, rates, mid + offsets, slots, tables, lot)
    limit = _limit_density(params, state, best, rates, mid + offsets, slots)
    limit *= _lognormal_share(params, tables.order_volume, slots.volume, lot, MAX_LOTS)
    cancel = _cancel_density(params, view, weights, rates, mid, slots, tables, lot)
    density = jnp.where(slots.kind == TYPE_CANCEL, cancel, trade + limit)
    order = jnp.where(inside, density, 0.0).sum() / rates.total
    wait = _wait_share(tables.order_interval, slots.interval, rates.total + rival_rate)
    return -jnp.log(jnp.maximum(order, SMALLEST)) - jnp.log(jnp.maximum(wait, SMALLEST))


def planned_slots(state: ReferenceState, view: MarketView, tables: TokenTables) -> OrderSlots:
    """Slots of the order that `state` plans."""
    request = state.plan.request
    mid = mid_price(view.l2, view.last_price)
    zero = jnp.zeros((), jnp.int32)
    wait = clock.minus(state.plan.due, view.time)
    side = jnp.where(request.side == Side.SELL, TYPE_SELL, TYPE_BUY)
    return OrderSlots(
        kind=jnp.where(request.kind == Kind.CANCEL, TYPE_CANCEL, side),
        price=encode(tables.price_level, request.price - mid, zero),
        volume=encode(tables.order_volume, request.size, zero),
        interval=encode(tables.order_interval, wait.sec, wait.nsec),
    )


def _wait_share(table: BinTable, slot: jax.Array, rate: jax.Array) -> jax.Array:
    """P(an exponential wait falls in the slot)."""
    low, high = _borders(table, slot)
    return jnp.exp(-rate * jnp.maximum(low, 0)) - jnp.exp(-rate * high)


def _borders(table: BinTable, slot: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values (low, high] of a slot as float32; the ends are open."""
    edges = table.edge_whole.astype(jnp.float32) + table.edge_nano.astype(jnp.float32) / clock.NANOS
    last = edges.shape[0] - 2
    low = jnp.where(slot == 0, -jnp.inf, edges[slot])
    return low, jnp.where(slot == last, jnp.inf, edges[slot + 1])


def _lot_borders(table: BinTable, slot: jax.Array, lot: int) -> tuple[jax.Array, jax.Array]:
    """Whole lots n with low < n <= high for a volume slot."""
    low, high = _borders(table, slot)
    return jnp.floor(low / lot), jnp.floor(high / lot)


def _lognormal_share(
    params: ReferenceParams, table: BinTable, slot: jax.Array, lot: int, most: jax.Array | int
) -> jax.Array:
    """P(a limit order's or cancel's size, at most `most` lots, falls in the slot); `most` may be
    an array, the result has its shape."""

    def at_most(lots: jax.Array) -> jax.Array:
        rounded = jnp.log(jnp.maximum(lots, 0) + 0.5) - jnp.log(params.size_median)
        below = jax.scipy.stats.norm.cdf(rounded / params.size_sigma)
        return jnp.where(lots >= most, 1.0, jnp.where(lots < 1, 0.0, below))

    low, high = _lot_borders(table, slot, lot)
    return at_most(high) - at_most(low)


def _trade_density(
    params: ReferenceParams,
    state: ReferenceState,
    view: MarketView,
    best: Quotes,
    rates: Rates,
    prices: jax.Array,
    slots: OrderSlots,
    tables: TokenTables,
    lot: int,
) -> jax.Array:
    """Rate of trades of the planned type at each price with a size in the planned slot."""
    weight = state.parent_weight / state.parent_weight.sum()
    buys = jnp.where(state.parent_sign > 0, weight, 0.0).sum()
    buy_share = params.split_prob * buys + (1 - params.split_prob) / 2
    toward = jnp.where(state.value > best.mid, 1.0, 0.0)
    buy = rates.trade * buy_share + rates.value * toward
    sell = rates.trade * (1 - buy_share) + rates.value * (1 - toward)
    is_buy = slots.kind == TYPE_BUY
    price = jnp.where(is_buy, best.ask, best.bid)
    queue = jnp.where(is_buy, view.l2.size[1, 0], view.l2.size[0, 0]).astype(jnp.float32) / lot

    def at_most(lots: jax.Array) -> jax.Array:
        share = (jnp.floor(lots) + 0.5) / jnp.maximum(queue, 0.5)
        return jnp.where(lots < 1, 0.0, jnp.minimum(share, 1.0))

    low, high = _lot_borders(tables.order_volume, slots.volume, lot)
    size = at_most(high) - at_most(low)
    return jnp.where(prices == price, jnp.where(is_buy, buy, sell) * size, 0.0)


def _limit_density(
    params: ReferenceParams,
    state: ReferenceState,
    best: Quotes,
    rates: Rates,
    prices: jax.Array,
    slots: OrderSlots,
) -> jax.Array:
    """Rate of limit orders of the planned side at each price, any size."""
    sell = (1 + params.lean * jnp.clip(state.flow, -1, 1)) / 2
    is_buy = slots.kind == TYPE_BUY
    away = jnp.where(is_buy, best.bid - prices, prices - best.ask)
    room = (best.ask - best.bid - 1).astype(jnp.float32)
    inside_prob = -jnp.expm1(-params.inside_rate * room)
    depth = jnp.maximum(away, 1).astype(jnp.float32)
    farther = jnp.where(away < MAX_DEPTH, (depth + 1) ** -params.depth_tail, 0.0)
    behind = (1 - params.best_prob) * (depth**-params.depth_tail - farther)
    passive = (1 - inside_prob) * jnp.where(away == 0, params.best_prob, behind)
    improving = inside_prob / jnp.maximum(room, 1)
    reached = jnp.where(away >= 0, (away <= MAX_DEPTH) * passive, (-away <= room) * improving)
    return rates.limit * jnp.where(is_buy, 1 - sell, sell) * reached


def _cancel_density(
    params: ReferenceParams,
    view: MarketView,
    weights: jax.Array,
    rates: Rates,
    mid: jax.Array,
    slots: OrderSlots,
    tables: TokenTables,
    lot: int,
) -> jax.Array:
    """Rate of cancels at each price around the mid with a size in the planned slot."""
    own = (view.book.size > 0) & (view.book.agent_id == view.agent_id)
    at = jnp.clip(jnp.abs(view.book.key) - mid, -REACH, REACH) + REACH
    place = jnp.where(own, at, 0).reshape(-1)
    lots = jnp.where(own, view.book.size.astype(jnp.float32) / lot, 0.0).reshape(-1)
    empty = jnp.zeros(2 * REACH + 1)
    level = empty.at[place].add(lots)
    chance = empty.at[place].add(weights.reshape(-1))
    share = _lognormal_share(params, tables.order_volume, slots.volume, lot, level)
    return rates.cancel * chance / jnp.maximum(chance.sum(), SMALLEST) * share
