"""Values of command-line flags."""

import argparse
import math
import re
from collections.abc import Callable
from typing import Any

from jaxmars.clock_text import parse_clock, parse_end

WHOLE = re.compile(r"[0-9]{1,18}")
LARGEST = 10**18 - 1


def flag_adder(parser: argparse.ArgumentParser) -> Callable[..., None]:
    """(flag, text, **options) -> adds it to a parser, with its default in the text."""

    def add(flag: str, text: str, **options: Any) -> None:
        known = " (default: %(default)s)" if options.get("default") is not None else ""
        parser.add_argument(flag, help=text + known, **options)

    return add


def clock_time(text: str) -> tuple[int, int]:
    """HH:MM:SS with up to nine decimals as (seconds since midnight, nanoseconds)."""
    try:
        return parse_clock(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def clock_end(text: str) -> tuple[int, int]:
    """The same for a time at which something ends, so that 24:00:00 is one too."""
    try:
        return parse_end(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"expected a whole number from {low} to {high}, got {text!r:.80}"
            )
        return int(text)

    return read


def positive(text: str) -> int:
    """A whole number above zero."""
    return whole(1, LARGEST)(text)


def natural(text: str) -> int:
    """A whole number, zero allowed."""
    return whole(0, LARGEST)(text)


def above_zero(text: str) -> float:
    """A finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r:.80}")
    return value
