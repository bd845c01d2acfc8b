"""Which part of the data trains, validates and tests.

By date, so that no day is in two parts (paper choice C-DATA-2). Where there is but one day, by time
of the day; the parts then become shards of their own, so that no window lies in two.
"""

import datetime
from typing import Any, NamedTuple

import numpy as np

from jaxmars.clock_text import clock_text
from jaxmars.data import nanoseconds
from jaxmars.errors import InputError
from jaxmars.train.shards import SPLITS, TEST, TRAIN, VALIDATION


class Part(NamedTuple):
    """Consecutive orders of a day."""

    split: str
    start: int  # first order
    stop: int  # order after the last


class DateSplit(NamedTuple):
    """Dates from `validation_from` on validate, from `test_from` on test; None for never."""

    validation_from: datetime.date | None = None
    test_from: datetime.date | None = None

    def splits(self, date: datetime.date) -> tuple[str, ...]:
        """The splits that a day has a part in."""
        if self.test_from is not None and date >= self.test_from:
            return (TEST,)
        late = self.validation_from is not None and date >= self.validation_from
        return (VALIDATION if late else TRAIN,)

    def parts(self, date: datetime.date, stamps: np.ndarray) -> tuple[Part, ...]:
        """The parts of a day whose orders come at `stamps`, nanoseconds since midnight."""
        return (Part(self.splits(date)[0], 0, len(stamps)),)

    def entries(self) -> dict[str, Any]:
        """The rule as JSON."""
        text = lambda date: None if date is None else date.isoformat()
        return {"by": "date"} | {name: text(date) for name, date in self._asdict().items()}


class TimeSplit(NamedTuple):
    """Of every day, orders after `validation_after` validate and those after `test_after` test.

    Times are (seconds since midnight, nanoseconds); None for never.
    """

    validation_after: tuple[int, int] | None = None
    test_after: tuple[int, int] | None = None

    def splits(self, date: datetime.date) -> tuple[str, ...]:
        """The splits that a day has a part in."""
        there = (True, self.validation_after is not None, self.test_after is not None)
        return tuple(name for name, has_part in zip(SPLITS, there, strict=True) if has_part)

    def parts(self, date: datetime.date, stamps: np.ndarray) -> tuple[Part, ...]:
        """The parts of a day whose orders come at `stamps`, nanoseconds since midnight."""
        ends = [x for x in (self.validation_after, self.test_after) if x is not None]
        cuts = [int(np.searchsorted(stamps, nanoseconds(*end), "right")) for end in ends]
        bounds = [0, *cuts, len(stamps)]
        names = self.splits(date)
        return tuple(Part(*x) for x in zip(names, bounds[:-1], bounds[1:], strict=True))

    def entries(self) -> dict[str, Any]:
        """The rule as JSON."""
        text = lambda time: None if time is None else clock_text(*time)
        return {"by": "time of the day"} | {n: text(time) for n, time in self._asdict().items()}


Split = DateSplit | TimeSplit


def check_split(split: Split) -> None:
    """Refuses a rule whose test part does not begin after its validation part.

    Raises:
      InputError: names both.
    """
    validation, test = split
    if validation is not None and test is not None and test <= validation:  # pyright: ignore[reportOperatorIssue]
        first, second = list(split.entries().values())[1:]
        raise InputError(f"the test part begins at {second}, expected after {first}")
