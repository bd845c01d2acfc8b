"""A fair sample of the training orders, of bounded size, to fit bins and describe the data from.

Every order gets a number that depends on its symbol, its date and its place in the day only, and
the orders with the smallest numbers are kept. So the sample is uniform, and the same whatever the
order of the days; as long as there are no more orders than it may hold, it is all of them.
"""

import datetime
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.tokens.bins import MAX_SAMPLES, Converters
from jaxmars.tokens.domain import Domain, flow_domain
from jaxmars.tokens.quantities import Quantities, fit_converters
from jaxmars.train.mixing import key_of, mix
from jaxmars.train.splits import Part
from jaxmars.types import L2


class _Kept(NamedTuple):
    """Orders of the sample."""

    number: np.ndarray  # [n] uint64, the smallest stay
    found: Quantities  # fields [n, ...]
    best: L2  # price, size [n, 2, 1], best levels after the order


class BinSample:
    """Collects the sample day by day."""

    def __init__(self, most: int = MAX_SAMPLES) -> None:
        """`most`: orders it may hold."""
        self.orders = 0  # seen so far
        self._most = most
        self._parts: list[_Kept] = []

    def add(self, symbol: str, date: datetime.date, part: Part, found: Quantities, l2: L2) -> None:
        """Takes in a part of one day.

        Args:
          symbol: of the instrument.
          date: of the day.
          part: which of its orders.
          found: host arrays of the whole day, fields `[orders, ...]`.
          l2: host arrays `[orders, 2, levels]`, the books after them.
        """
        place = part.start + np.flatnonzero(found.final[part.start : part.stop])
        number = mix(place.astype(np.uint64) ^ key_of(symbol, date))
        best: Any = lambda x: np.asarray(x)[place, :, :1]
        pick = lambda x: np.asarray(x)[place]
        self.orders += len(place)
        self._parts.append(_Kept(number, jax.tree.map(pick, found), L2(*map(best, l2))))
        if sum(len(part.number) for part in self._parts) > 2 * self._most:
            self._parts = [self._smallest()]

    def fit(self, model: OrderModelConfig) -> Converters:
        """Bins for a model.

        Raises:
          InputError: no orders, or too little variety to make that many bins.
        """
        self._check()
        return fit_converters(self._smallest().found, model)

    def domain(self, converters: Converters) -> Domain:
        """The summary of the sample in the bins of a model.

        Raises:
          InputError: no orders.
        """
        self._check()
        kept = self._smallest()
        return flow_domain(converters, kept.best, kept.found)

    def _check(self) -> None:
        if not self.orders:
            raise InputError(
                "no order lies in the training part of the data, expected some to fit bins on"
            )

    def _smallest(self) -> _Kept:
        """The orders with the smallest numbers, by number."""
        whole = jax.tree.map(lambda *x: np.concatenate(x), *self._parts)
        keep = np.argsort(whole.number, kind="stable")[: self._most]
        return jax.tree.map(lambda x: x[keep], whole)
