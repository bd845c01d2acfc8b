"""The reference market at the open of a day: its instrument and its book."""

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.agents.base import Agent
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.book import Book, book_from_levels
from jaxmars.config import MarketConfig
from jaxmars.sim.state import START_DRAWS, MarketState, init_market
from jaxmars.types import L2, Params

OPEN_SEC = 34_200  # 09:30
CLOSE_SEC = 54_000  # 15:00
OPEN_PRICE = 2_000  # ticks, the price before the first order
WARM_UP_SECONDS = 1_800  # a session forgets its opening book in half an hour
OPEN_LEVELS = 59  # price levels of the opening book per side
OPEN_LOTS = 12.0  # mean scale of their volume, lots
OPEN_SLOPE = 0.3  # growth of it per tick
SLOTS = 256  # resting orders per side; at most 160 were seen in 64 sessions of 70 minutes


def reference_market() -> MarketConfig:
    """Tick 0.01, lots of 100 shares, books of `SLOTS` orders per side, no break."""
    return MarketConfig(slots=SLOTS)


def opening_book(key: jax.Array, cfg: MarketConfig) -> Book:
    """A random book around `OPEN_PRICE`, one order per level, owned by agent 0."""
    depth = jnp.arange(OPEN_LEVELS, dtype=jnp.int32)
    scale = OPEN_LOTS * (1 + OPEN_SLOPE * (depth + 1).astype(jnp.float32))
    lots = jnp.ceil(scale[None] * jax.random.uniform(key, (2, OPEN_LEVELS), minval=1e-6))
    price = jnp.stack([OPEN_PRICE - 1 - depth, OPEN_PRICE + depth])
    size = lots.astype(jnp.int32) * cfg.lot_size
    return book_from_levels(L2(price, size), cfg.slots, jnp.int32(0))


def open_session(key: jax.Array, params: ReferenceParams, cfg: MarketConfig) -> MarketState:
    """A reference market at the open of a day; its one agent has id 0. The key may be the one of
    its steps."""
    return open_with(key, (params,), (reference_agent(cfg.lot_size),), cfg)


def open_with(
    key: jax.Array, params: tuple[Params, ...], agents: tuple[Agent, ...], cfg: MarketConfig
) -> MarketState:
    """`open_session` for any agents; the first one, id 0, owns the opening book."""
    book_key, market_key = jax.random.split(jax.random.fold_in(key, START_DRAWS))
    return init_market(
        market_key,
        params,
        opening_book(book_key, cfg),
        clock.make_time(OPEN_SEC),
        clock.make_time(CLOSE_SEC),
        jnp.int32(0),
        (None,) * len(agents),
        agents=agents,
        cfg=cfg,
    )
