"""What a model's training flow looked like, to tell when a start state lies far from it."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmars.config import MarketConfig
from jaxmars.errors import InputError
from jaxmars.tokens.bins import Converters
from jaxmars.tokens.quantities import Quantities, quantities
from jaxmars.types import L2, Event

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
END_BIN_FACTOR = 3.0  # end bins this many times fuller than in training are worth a warning
END_BIN_FLOOR = 0.05  # and no share below this one is


class Domain(NamedTuple):
    """Summary of a flow in units a trader knows; plain floats, so that it travels as JSON."""

    end_bins: float  # share of orders whose price, volume or interval lies outside the bins
    spread: tuple[float, ...]  # QUANTILES of the spread, ticks
    size: tuple[float, ...]  # QUANTILES of order sizes, shares


def flow_domain(converters: Converters, snapshots: L2, found: Quantities) -> Domain:
    """The summary of a flow.

    Args:
      converters: bins of the model.
      snapshots: books after the orders, `[orders, 2, levels]` host arrays.
      found: raw quantities of the same orders.
    """
    final = np.asarray(found.final)
    pick = lambda x: np.asarray(x)[final]
    seconds = pick(found.interval) @ np.array([1.0, 1e-9])
    pairs = (
        (converters.price_level, pick(found.offset)),
        (converters.order_volume, pick(found.size)),
        (converters.order_interval, seconds),
    )
    beyond = [(x <= bins.edges[0]) | (x > bins.edges[-1]) for bins, x in pairs]
    price, size = pick(snapshots.price), pick(snapshots.size)
    both = (size[:, :, 0] > 0).all(1)
    spread = (price[:, 1, 0] - price[:, 0, 0])[both]
    quantiles = lambda x: tuple(float(q) for q in np.quantile(x, QUANTILES)) if len(x) else ()
    return Domain(float(np.any(beyond, 0).mean()), quantiles(spread), quantiles(pick(found.size)))


def departures(trained: Domain, start: Domain) -> list[str]:
    """In what respects a start lies outside what a model was trained on; [] if in none."""
    found = []
    if start.end_bins > max(END_BIN_FACTOR * trained.end_bins, END_BIN_FLOOR):
        found.append(
            f"{start.end_bins:.0%} of its orders lie outside the bins "
            f"(training: {trained.end_bins:.0%})"
        )
    for name, unit in (("spread", "ticks"), ("size", "shares")):
        here, there = getattr(start, name), getattr(trained, name)
        median = QUANTILES.index(0.5)
        if here and there and not there[0] <= here[median] <= there[-1]:
            found.append(
                f"its median {name} is {here[median]:g} {unit} "
                f"(training: {there[0]:g} to {there[-1]:g})"
            )
    return found


def start_domain(
    converters: Converters, market: MarketConfig, events: Event, snapshots: L2
) -> Domain:
    """The summary of the orders before a start."""
    found = jax.jit(functools.partial(quantities, market))(events, snapshots)
    return flow_domain(converters, snapshots, found)


def domain_from_json(value: dict[str, Any]) -> Domain:
    """A `Domain` from what a manifest holds.

    Raises:
      InputError: a field is missing.
    """
    try:
        return Domain(float(value["end_bins"]), tuple(value["spread"]), tuple(value["size"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"manifest.json: domain is {value!r:.80}, expected end_bins, spread and size"
        ) from error
