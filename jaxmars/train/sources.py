"""Where training windows come from: the reference market (`train.dataset` for recorded days)."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.sim.reference_market import reference_market
from jaxmars.tokens.bins import Converters
from jaxmars.tokens.domain import Domain
from jaxmars.train.losses import Batch
from jaxmars.train.reference_data import (
    ReferencePlan,
    fit_reference_bins,
    reference_flows,
    windows_of,
)
from jaxmars.train.streams import Generations, Stream

BINS_SEED = 0  # the reference market has one set of bins, whatever the seed of a training run
VALIDATION_GENERATION = 1_000_000  # never reached by training


class Validation(Protocol):
    """Windows that are not trained on, the same ones in every call."""

    def __call__(self, batch: int, most: int | None = None) -> Iterator[Batch]:
        """Windows in batches, about `most` of them (None for all); the last batch may be short."""
        ...


class Source(NamedTuple):
    """Everything training needs to know of its data."""

    text: str  # what it is
    licence: str
    market: MarketConfig
    model: OrderModelConfig
    converters: Converters
    domain: Domain
    training: Callable[[int, int], Stream]  # windows per batch and seed of their order
    validation: Validation
    verify: Callable[[], None] = lambda: None  # raises `InputError` if what it reads is damaged


def reference_source(
    seed: int, model: OrderModelConfig, known: tuple[Converters, Domain] | None = None
) -> Source:
    """Endless fresh sessions of the reference market: random parameters around several presets,
    and in most sessions orders of a trader from outside, which are read but not learnt.

    Args:
      seed: of the sessions.
      model: window and numbers of bins.
      known: bins and domain to use; by default fitted on sessions that are not trained on.
    """
    market, plan = reference_market(), ReferencePlan()
    converters, domain = known or fit_reference_bins(BINS_SEED, market, model, plan)

    def generation(batch: int, shuffle: int, number: int) -> Iterator[Batch]:
        flows = reference_flows(seed, number, market, converters, plan)
        rng = np.random.default_rng((shuffle, number))
        return windows_of(flows, model.num_max_orders, batch, rng)

    def training(batch: int, shuffle: int) -> Generations:
        make = functools.partial(generation, batch, shuffle)
        return Generations(make, "the reference market", batch, shuffle)

    def validation(batch: int, most: int | None = None) -> Iterator[Batch]:
        count = None if most is None else -(-most // batch)
        return itertools.islice(generation(batch, seed, VALIDATION_GENERATION), count)

    return Source(
        text=(
            "the reference market (synthetic): its default parameters, other presets and random "
            "ones around them, beside traders from outside whose orders are not learnt"
        ),
        licence="MIT, as the code that made them",
        market=market,
        model=model,
        converters=converters,
        domain=domain,
        training=training,
        validation=validation,
    )
