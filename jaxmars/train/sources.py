"""Where training windows come from: the reference market or a recorded day."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.data import flow_until, lobster_flow, read_lobster
from jaxmars.errors import InputError
from jaxmars.sim.reference_market import reference_market
from jaxmars.tokens.bins import Converters
from jaxmars.tokens.domain import Domain, flow_domain
from jaxmars.tokens.quantities import fit_converters, quantities
from jaxmars.tokens.window import rows_of
from jaxmars.train.losses import Batch, all_own
from jaxmars.train.reference_data import (
    ReferencePlan,
    fit_reference_bins,
    own_flow,
    reference_flows,
    windows_of,
)

BINS_SEED = 0  # the reference market has one set of bins, whatever the seed of a training run
VALIDATION_GENERATION = 1_000_000  # never reached by training
VALIDATION_SHARE = 0.1  # of the hours of a recorded day, at their end
US_SESSION_SECONDS = 23_400  # 09:30 to 16:00
UNITS_PER_CURRENCY = 10_000  # LOBSTER prices


class Source(NamedTuple):
    """Everything training needs to know of its data."""

    text: str  # what it is
    licence: str
    market: MarketConfig
    model: OrderModelConfig
    converters: Converters
    domain: Domain
    training: Callable[[int, np.random.Generator], Iterator[Batch]]
    validation: Callable[[int], Iterator[Batch]]
    validation_batches: int


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

    def training(batch: int, rng: np.random.Generator) -> Iterator[Batch]:
        for generation in itertools.count():
            flows = reference_flows(seed, generation, market, converters, plan)
            yield from windows_of(flows, model.num_max_orders, batch, rng)

    def validation(batch: int) -> Iterator[Batch]:
        flows = reference_flows(seed, VALIDATION_GENERATION, market, converters, plan)
        return windows_of(flows, model.num_max_orders, batch, np.random.default_rng(seed))

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
        validation_batches=64,
    )


def lobster_source(
    message: str, book: str, until: tuple[int, int], model: OrderModelConfig
) -> Source:
    """A recorded day up to a moment; its last tenth validates. Bins from the training part.

    Raises:
      InputError: too few orders before `until`.
    """
    data = read_lobster(message, book)
    market = MarketConfig(
        tick_size=data.tick / UNITS_PER_CURRENCY, lot_size=data.lot, levels=data.l2.size.shape[2]
    )
    flow = flow_until(lobster_flow(data), *until)
    count = len(flow.event.kind)
    split = int(count * (1 - VALIDATION_SHARE))
    window = model.num_max_orders
    if count - split < window + 1:
        raise InputError(
            f"{message} holds {count} orders up to the given time, expected at least "
            f"{int((window + 1) / VALIDATION_SHARE) + 1} to train and validate a window of {window}"
        )
    part = lambda tree, cut: jax.tree.map(lambda x: x[cut], tree)
    train_flow = part(flow, slice(0, split))
    model = _with_session(model)
    found = jax.jit(functools.partial(quantities, market))(*train_flow)
    converters = fit_converters(found, model)
    rows, final = jax.jit(functools.partial(rows_of, converters.tables(), market))(*flow)
    rows, final = np.asarray(rows), np.asarray(final)
    head = rows[:split][final[:split]]
    tail = rows[split:][final[split:]]
    if len(tail) <= window:
        raise InputError(
            f"the last tenth of {message} up to the given time makes {len(tail)} rows (cancels at "
            f"one price and time make one), expected at least {window + 1} to validate"
        )

    def training(batch: int, rng: np.random.Generator) -> Iterator[Batch]:
        while True:
            starts = rng.integers(0, len(head) - window, batch)
            yield all_own(np.stack([head[start : start + window + 1] for start in starts]))

    def validation(batch: int) -> Iterator[Batch]:
        return windows_of(
            [own_flow(tail)],
            window,
            min(batch, (len(tail) - 1) // window),
            np.random.default_rng(0),
        )

    return Source(
        text=f"{pathlib.Path(message).name} up to second {until[0]} of the day, {count:,} orders",
        licence="that of the recorded data",
        market=market,
        model=model,
        converters=converters,
        domain=flow_domain(converters, train_flow.l2, found),
        training=training,
        validation=validation,
        validation_batches=64,
    )


def _with_session(model: OrderModelConfig) -> OrderModelConfig:
    """The model with a time table long enough for a US session."""
    rows = US_SESSION_SECONDS // model.seconds_per_row + 1
    return dataclasses.replace(model, num_time_rows=max(rows, model.num_time_rows))
