"""Who makes evaluation sequences: an order model, or the parametric baseline."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmars.agents.base import Agent
from jaxmars.agents.poisson_book import PoissonBookParams, poisson_book_agent
from jaxmars.agents.policy import ContextPolicy
from jaxmars.config import MarketConfig
from jaxmars.data.flow import Flow
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.tasks.forecast import crowd, needed_orders
from jaxmars.tokens.summary import Memory
from jaxmars.tokens.window import History, history_of
from jaxmars.types import Params, Time

OPENING = 1  # order that only opens a record
MERGED = 2  # orders that make one row of a model's window, at most on average
MODEL_SPARE = 1.25  # events of a run per message wanted: some orders change no recorded level,
POISSON_SPARE = 2.5  # and half of those that come at their rates wherever the window ends


class Past(NamedTuple):
    """What happened before each start. Host arrays with a leading axis `[starts]`."""

    flow: Flow  # [starts, orders], the last ones before it; rows of kind NONE fill up the end
    open_time: Time  # [starts] int32, of the first order of the day
    open_price: np.ndarray  # [starts] int32, ticks of the first trade of the day, 0 if not known
    memory: Memory  # [starts], of the day up to the first order of each flow, which included


class Maker(NamedTuple):
    """Who makes the messages."""

    agent: Agent
    params: Params
    segment: int  # events per compiled call
    spare: float  # events of a first run per message wanted
    window: int  # orders before a start that it can make use of
    needed: int  # orders that must lie before a start
    remember: Callable[[Past], Any]  # what it knows of the past, leaves `[starts, …]`


def model_maker(
    model: OrderModel, policy: ContextPolicy, market: MarketConfig, temperature: float = 1.0
) -> Maker:
    """An order model.

    Args:
      model: with converters.
      policy: how much of the past it reads.
      market: the instrument.
      temperature: of its softmax.

    Raises:
      InputError: no converters, or a temperature that is not positive.
    """
    if not 0 < temperature < math.inf:
        raise InputError(f"the temperature is {temperature}, expected a positive number")
    agent, params = crowd(model, policy, market, temperature)
    needed, window = needed_orders(model, policy), model.config.num_max_orders
    build = functools.partial(history_of, params.tables, market, window)
    remember_all = jax.jit(jax.vmap(build))

    def remember(past: Past) -> History:
        history = remember_all(*past.flow, past.open_time, past.open_price, past.memory)
        rows = int(history.window.count.min())
        if rows < needed - OPENING:
            raise InputError(
                f"a start has {rows} orders before it (cancels at one price and time count once), "
                f"expected at least {needed - OPENING} for this model"
            )
        return history

    return Maker(
        agent=agent,
        params=params,
        segment=policy.segment,
        spare=MODEL_SPARE,
        window=MERGED * window + OPENING,
        needed=needed,
        remember=remember,
    )


def poisson_maker(params: PoissonBookParams, segment: int) -> Maker:
    """The parametric baseline; it has no memory.

    Args:
      params: its rates.
      segment: events per compiled call.
    """

    def remember(past: Past) -> None:
        del past

    return Maker(
        agent=poisson_book_agent(),
        params=params,
        segment=segment,
        spare=POISSON_SPARE,
        window=OPENING,
        needed=OPENING,
        remember=remember,
    )
