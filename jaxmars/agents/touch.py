"""What several agents read off the book: best prices with substitutes, their own orders."""

import jax
import jax.numpy as jnp

from jaxmars.agents.base import EVERYTHING, Ask, MarketView, Request, make_request
from jaxmars.book import MAX_PRICE, NO_KEY
from jaxmars.types import Kind, Side


def touch(view: MarketView) -> jax.Array:
    """Best prices of both sides, `[2]` int32 ticks (bid, ask).

    A side without orders is one tick beyond the other; without any order both are the last price,
    and 0 before any trade (release, spec section 7.3).
    """
    return _with_substitutes(view.l2.price[:, 0], view.l2.size[:, 0] > 0, view.last_price)


def touch_of_others(view: MarketView) -> jax.Array:
    """`touch` as it would be without the agent's own orders, `[2]` int32 ticks."""
    others = (view.book.size > 0) & (view.book.agent_id != view.agent_id)
    key = jnp.where(others, view.book.key, NO_KEY).min(1)
    return _with_substitutes(jnp.abs(key), key != NO_KEY, view.last_price)


def touch_or(view: MarketView, price: jax.Array | int) -> jax.Array:
    """`touch` with `price` ticks as the last resort while nothing rests and nothing has traded."""
    known = jnp.where(view.last_price > 0, view.last_price, price)
    return touch(view._replace(last_price=known))


def own_orders(view: MarketView) -> jax.Array:
    """Which slots of the book hold orders of the agent, `[2, slots]` bool."""
    return (view.book.size > 0) & (view.book.agent_id == view.agent_id)


def own_size(view: MarketView) -> jax.Array:
    """Shares of the agent's resting orders, `[]` int32."""
    return jnp.where(own_orders(view), view.book.size, 0).sum(dtype=jnp.int32)


def own_size_at(view: MarketView, price: jax.Array) -> jax.Array:
    """Shares of the agent's orders that rest at `price` `[]` ticks, `[]` int32."""
    here = own_orders(view) & (jnp.abs(view.book.key) == price)
    return jnp.where(here, view.book.size, 0).sum(dtype=jnp.int32)


def withdrawal(view: MarketView) -> Request:
    """Cancels everything of the agent that rests; asks for nothing if nothing does."""
    kind = jnp.where(own_size(view) > 0, Ask.CANCEL_OLDEST, Kind.NONE)
    return make_request(kind, size=EVERYTHING)


def order_or_nothing(
    kind: Kind, side: jax.Array | int, price: jax.Array, size: jax.Array
) -> Request:
    """A new order, or a request for nothing if a book would refuse its price or its size.

    Args:
      kind: of an order that reads its price.
      side: `[...]` int32.
      price: `[...]` int32, ticks.
      size: `[...]` int32, shares.
    """
    sound = (price > 0) & (price < MAX_PRICE) & (size > 0)
    return make_request(jnp.where(sound, kind, Kind.NONE), side, price, size)


def _with_substitutes(price: jax.Array, exists: jax.Array, last: jax.Array) -> jax.Array:
    """Prices `[2]` of the sides that exist `[2]`, and what stands in for the others."""
    step = jnp.zeros(2, jnp.int32).at[Side.BUY].set(-1).at[Side.SELL].set(1)
    beside = price[::-1] + step
    return jnp.where(exists, price, jnp.where(exists[::-1], beside, last))
