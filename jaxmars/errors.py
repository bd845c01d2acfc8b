"""The one exception users see for bad input. The command line prints its sentence and exits 2."""

import datetime
import re


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a checkpoint, a request.

    The message is one sentence that says what is wrong, where, and what was expected.
    """


LONGEST_QUOTE = 80  # characters of a value that an error shows


def quote(value: object) -> str:
    """A value of a TOML or JSON file as an error shows it: flags and times as there, what is long
    cut."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, datetime.date | datetime.time):
        text = re.sub(r"\+00:00$", "Z", value.isoformat())
    else:
        text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…"
