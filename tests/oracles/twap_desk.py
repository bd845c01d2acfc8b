"""A TWAP agent woken on a book of a few orders."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracles.desk_view import Resting, at, listed, view_of
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.base import Agent, Ask, Request
from jaxmars.agents.twap import (
    TwapParams,
    TwapState,
    twap_agent,
    twap_params,
)
from jaxmars.types import Kind, Side, Time

OPEN = 36_000
START = clock.make_time(OPEN)
OTHERS, OWN = 0, 1
PLACES = 10  # orders of a random book
AGENT = twap_agent()
KEY = jax.random.key(0)
GOLDEN_BOOK: list[Resting] = [
    (Side.BUY, 125, 1_000, 1, OTHERS),
    (Side.BUY, 124, 1_000, 2, OTHERS),
    (Side.SELL, 126, 1_000, 3, OTHERS),
    (Side.SELL, 127, 1_000, 4, OTHERS),
]


def golden(**changes: Any) -> TwapParams:
    """300 s in slices of 20 + 10 s, aggressive orders 1000 price units (10 ticks) further."""
    numbers = {"side": Side.BUY, "start": START, "total": 300, "target": 500, "change": 10}
    return twap_params(**(numbers | changes))


def state(is_aggressive: bool) -> TwapState:
    return TwapState(jnp.int32(0), jnp.asarray(is_aggressive), START)


def wake_up(
    agent: Agent,
    params: TwapParams,
    standing: TwapState,
    rows: jax.Array,
    time: Time,
    last_price: jax.Array,
    done: jax.Array,
) -> tuple[TwapState, Request]:
    """One wake-up on a book of the orders `[n, 5]`."""
    view = view_of(rows, time, agent_id=OWN, last_price=last_price, bought=done, sold=done)
    return agent.act(params, KEY, standing, view)


act = quick_jit(wake_up, static_argnums=0)


def moves(
    params: TwapParams,
    *,
    aggressive: bool,
    seconds: float = 0,
    own: list[Resting] | None = None,
    book: list[Resting] | None = None,
    last_price: int = 0,
    done: int = 0,
    agent: Agent = AGENT,
) -> tuple[TwapState, list[tuple[int, int, int, int, int]]]:
    """The state after a wake-up and what is asked for."""
    orders = (GOLDEN_BOOK if book is None else book) + (own or [])
    rows = np.zeros((PLACES, 5), np.int32)
    rows[: len(orders)] = np.array(orders).reshape(-1, 5)
    time = at(OPEN + seconds)
    after, requests = act(agent, params, state(aggressive), rows, time, last_price, done)
    return after, listed(requests)


def order(side: Side, price: int, size: int) -> tuple[int, int, int, int, int]:
    return (Kind.LIMIT, side, price, size, 0)


def cancel(ask: Ask, price: int, size: int) -> tuple[int, int, int, int, int]:
    return (ask, Side.BUY, price, size, 0)


MINE_AT_124: Resting = (Side.BUY, 124, 100, 9, OWN)
MINE_AT_125: Resting = (Side.BUY, 125, 100, 9, OWN)
