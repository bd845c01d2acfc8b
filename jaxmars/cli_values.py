"""Values of command-line flags."""

import argparse
import re

CLOCK = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?")


def clock_time(text: str) -> tuple[int, int]:
    """HH:MM:SS with up to nine decimals as (seconds since midnight, nanoseconds)."""
    found = CLOCK.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected a time HH:MM:SS, got {text!r}")
    hours, minutes, seconds = (int(found[i]) for i in (1, 2, 3))
    if hours > 23 or minutes > 59 or seconds > 59:
        raise argparse.ArgumentTypeError(f"expected a time of the day HH:MM:SS, got {text!r}")
    return hours * 3600 + minutes * 60 + seconds, int((found[4] or "").ljust(9, "0"))


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def natural(text: str) -> int:
    """A whole number, zero allowed."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")
    return int(text)
