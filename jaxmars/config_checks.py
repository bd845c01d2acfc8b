"""What a number of a configuration must be. Imports nothing of the package."""

import math
import numbers
import operator


def require_whole(
    owner: str, config: object, low: int, names: str, high: int | None = None
) -> None:
    """Refuses fields of a configuration that are no whole numbers from `low` (to `high`).

    Args:
      owner: what the configuration is about, for errors.
      config: holds the fields.
      low: least value.
      names: of the fields, separated by spaces.
      high: largest value; None for any.

    Raises:
      ValueError: names the field and the value.
    """
    expected = f"of at least {low}" if high is None else f"from {low} to {high}"
    for name in names.split():
        value = getattr(config, name)
        if not is_whole(value) or value < low or (high is not None and value > high):
            raise ValueError(f"{owner} {name} must be a whole number {expected}, got {value!r}")


def is_whole(value: object) -> bool:
    """Whether it is an integer; a flag is none."""
    try:
        operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return False
    return not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether it is a real number that is neither nan nor infinite; a flag is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
