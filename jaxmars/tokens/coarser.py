"""Fewer bins, by merging neighbours: what a model with random weights needs to run at once.

A model that is to be trained gets bins of its own (`tokens.quantities.fit_converters`).
"""

import itertools

import numpy as np

from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.tokens.bins import BinConverter, Converters


def coarser(converters: Converters, cfg: OrderModelConfig) -> Converters:
    """The converters with as many bins as a model has slots.

    Args:
      converters: with as many bins or more.
      cfg: of the model.

    Raises:
      InputError: a converter has fewer bins than the model has slots.
    """
    _, prices, volumes, intervals = cfg.slot_shape
    at_most = lambda bins: min(bins.num_bins, volumes)  # these may be fewer
    wanted = {
        "price_level": prices,
        "order_volume": at_most(converters.order_volume),
        "pred_order_volume": volumes,
        "order_interval": intervals,
        "lob_volume": at_most(converters.lob_volume),
    }
    found = {}
    for name, count in wanted.items():
        bins = getattr(converters, name)
        if bins.num_bins < count:
            raise InputError(f"{name} has {bins.num_bins} bins, expected at least {count}")
        found[name] = _merged(bins, count)
    return Converters(**found)


def _merged(bins: BinConverter, count: int) -> BinConverter:
    """`count` bins of runs of neighbours. The bins of a fit hold about as many values each, so all
    of a run count alike but the empty ones."""
    firsts = np.arange(count + 1) * bins.num_bins // count
    values, probs = [], []
    for first, end in itertools.pairwise(firsts):
        filled = sum(len(own) > 0 for own in bins.values[first:end])
        values.append(np.concatenate(bins.values[first:end]))
        probs.append(np.concatenate(bins.probs[first:end]) / max(filled, 1))
    return BinConverter.from_arrays(bins.edges[firsts], values, probs)
