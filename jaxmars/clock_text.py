"""Moments of the day as text, host only."""

import re

DAY_SECONDS = 86_400
NANOS = 1_000_000_000
DIGITS = 9
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?")
_MIDNIGHT = re.compile(r"24:00:00(?:\.0{1,9})?")


def parse_clock(text: str) -> tuple[int, int]:
    """HH:MM:SS with up to nine decimals as (seconds since midnight, nanoseconds).

    Raises:
      ValueError: it is no moment of a day.
    """
    found = _CLOCK.fullmatch(text)
    if not found:
        raise ValueError(f"expected a time HH:MM:SS, got {text!r:.80}")
    hours, minutes, seconds = (int(found[i]) for i in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"expected a time of the day HH:MM:SS, got {text!r}")
    return hours * 3600 + minutes * 60 + seconds, int((found[4] or "").ljust(DIGITS, "0"))


def parse_end(text: str) -> tuple[int, int]:
    """`parse_clock`, or the end of the day written as 24:00:00, with zeros as decimals if any.

    Raises:
      ValueError: it is neither.
    """
    return (DAY_SECONDS, 0) if _MIDNIGHT.fullmatch(text) else parse_clock(text)


def clock_text(second: int, nanosecond: int = 0) -> str:
    """The reverse of `parse_clock`, without decimals that are 0."""
    text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    decimals = f"{nanosecond:0{DIGITS}d}".rstrip("0")
    return f"{text}.{decimals}" if decimals else text
