"""Values out of the tables of a TOML file; whatever is wrong with one ends in one sentence."""

import datetime
import math
import pathlib
import tomllib
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from jaxmars.book import MAX_PRICE
from jaxmars.clock_text import parse_clock, parse_end
from jaxmars.errors import InputError, quote

LARGEST_FILE = 2**20  # bytes


class Table:
    """One table of a file. Read every key it may have, then call `finish`.

    Every reader takes the key and a default; without one (None) the key must be there. Defaults are
    returned as they are.

    Attributes:
      where: the file and the table, as errors name them.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.where = where
        self._values = values
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._read.add(key)
        return key in self._values

    def fail(self, key: str, expected: str) -> InputError:
        """The error about a key: what was found, what was expected."""
        if key not in self._values:
            return InputError(f"{self.where} has no {key}, expected {expected}")
        return InputError(f"{self.where}: {key} is {quote(self._values[key])}, expected {expected}")

    def finish(self) -> None:
        """Refuses keys that nothing has read."""
        unknown = sorted(set(self._values) - self._read)
        if unknown:
            known = ", ".join(sorted(self._read))
            raise InputError(
                f"{self.where} has an unknown key {quote(unknown[0])}, expected one of {known}"
            )

    def _get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        """The value of a key, which must be of a kind; a flag is no number."""
        self._read.add(key)
        value = self._values.get(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(key, expected)
        return value

    def _float(self, key: str, expected: str) -> float:
        """A number; whole ones can be too large for one."""
        try:
            return float(self._get(key, (int, float), expected))
        except OverflowError:
            raise self.fail(key, expected) from None

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number from `low` to `high`."""
        if default is not None and key not in self:
            return default
        expected = f"a whole number from {low} to {high}"
        value = self._get(key, int, expected)
        if not low <= value <= high:
            raise self.fail(key, expected)
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number from `low` to `high`."""
        if default is not None and key not in self:
            return default
        expected = f"a number from {low:g} to {high:g}"
        value = self._float(key, expected)
        if not low <= value <= high:
            raise self.fail(key, expected)
        return value

    def above_zero(self, key: str, default: float | None = None) -> float:
        """A finite number above zero."""
        if default is not None and key not in self:
            return default
        value = self._float(key, "a number above 0")
        if not 0 < value < math.inf:
            raise self.fail(key, "a number above 0")
        return value

    def text(self, key: str, expected: str, default: str | None = None) -> str:
        """A text that is not empty."""
        if default is not None and key not in self:
            return default
        value = self._get(key, str, expected)
        if not value:
            raise self.fail(key, expected)
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return self._get(key, bool, "true or false") if key in self else default

    def choice(self, key: str, names: Iterable[str], default: str | None = None) -> str:
        """One of several names."""
        if default is not None and key not in self:
            return default
        known = list(names)
        expected = f"one of {', '.join(known)}"
        value = self._get(key, str, expected)
        if value not in known:
            raise self.fail(key, expected)
        return value

    def clock(self, key: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
        """A time of the day as (seconds since midnight, nanoseconds)."""
        if default is not None and key not in self:
            return default
        return self._clock(key, 'a time of the day such as "09:30:00"', parse_clock)

    def clock_end(self, key: str) -> tuple[int, int]:
        """A time of the day at which something ends, so that "24:00:00" is one too."""
        return self._clock(
            key, 'a time of the day such as "16:00:00", at most "24:00:00"', parse_end
        )

    def _clock(
        self, key: str, expected: str, parse: Callable[[str], tuple[int, int]]
    ) -> tuple[int, int]:
        value = self._get(key, (str, datetime.time), expected)
        try:
            return parse(str(value))
        except ValueError:
            raise self.fail(key, expected) from None

    def is_list(self, key: str) -> bool:
        """Whether the key is there and holds a list."""
        return key in self and isinstance(self._values[key], list)

    def items(self, key: str, expected: str) -> list[Any]:
        """A list, which may be empty; empty without the key."""
        return self._get(key, list, expected) if key in self else []

    def table(self, key: str) -> "Table":
        """A table of its own; empty without the key."""
        values = self._get(key, dict, f"a table [{key}]") if key in self else {}
        return Table(values, f"{self.where}: [{key}]")

    def tables(self, key: str, expected: str) -> list["Table"]:
        """A list of tables; empty without the key."""
        rows = self.items(key, expected)
        if not all(isinstance(row, dict) for row in rows):
            raise self.fail(key, expected)
        return [Table(row, f"{self.where}: {key} {i}") for i, row in enumerate(rows, 1)]

    def price(self, key: str, tick_size: float, default: int | None = None) -> int:
        """A price in currency, as ticks; one off the grid of ticks is refused."""
        if default is not None and key not in self:
            return default
        expected = f"a positive multiple of the tick {tick_size:g}"
        ticks = self._ticks(key, tick_size, expected)
        if ticks.denominator != 1 or not 0 < ticks < MAX_PRICE:
            raise self.fail(key, expected)
        return int(ticks)

    def steps(self, key: str, tick_size: float, low: int, default: int | None = None) -> int:
        """A distance between prices in currency, as whole ticks, at least `low`."""
        if default is not None and key not in self:
            return default
        expected = f"a multiple of the tick {tick_size:g} and at least {low * tick_size:g}"
        ticks = self._ticks(key, tick_size, expected)
        if ticks.denominator != 1 or not low <= ticks < MAX_PRICE:
            raise self.fail(key, expected)
        return int(ticks)

    def distance(self, key: str, tick_size: float, default: float | None = None) -> float:
        """A distance in currency, zero allowed, as ticks and parts of them."""
        if default is not None and key not in self:
            return default
        expected = f"an amount of currency from 0 to {MAX_PRICE * tick_size:g}"
        ticks = self._ticks(key, tick_size, expected)
        if not 0 <= ticks < MAX_PRICE:
            raise self.fail(key, expected)
        return float(ticks)

    def _ticks(self, key: str, tick_size: float, expected: str) -> Fraction:
        value = self._float(key, expected)
        if not math.isfinite(value):
            raise self.fail(key, expected)
        return Fraction(repr(value)) / Fraction(repr(float(tick_size)))


def read_table(path: pathlib.Path) -> tuple[Table, dict[str, Any]]:
    """The top of a TOML file, and its values as they are written there.

    Raises:
      InputError: no such file, or it is not TOML.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path} is larger than {LARGEST_FILE} bytes, expected a scenario")
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    return Table(values, path.name), values
