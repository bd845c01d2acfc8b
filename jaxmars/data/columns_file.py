"""What the columns of a table mean, from a TOML file.

    time = "ts"
    action = "what"
    actions = {A = "ADD", C = "CANCEL", T = "TRADE"}
    sides = {B = "BUY", S = "SELL"}

The keys are the attributes of `L3Columns` or `AShareColumns`; one without a default must be there.
"""

import dataclasses
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from jaxmars.data.l3 import Action
from jaxmars.errors import InputError, quote
from jaxmars.types import Side

_MAX_BYTES = 2**20


def read_columns(path: pathlib.Path, kind: Any) -> Any:
    """Column names and codes of a table from a TOML file.

    Args:
      path: of the file. Keys are the attributes of `kind`; a map of codes is a table of strings
        such as `sides = {B = "BUY", S = "SELL"}`.
      kind: `L3Columns` or `AShareColumns`.

    Raises:
      InputError: a file that cannot be read, a key that does not exist or is missing, or a value
        of another type.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is larger than {_MAX_BYTES} bytes, expected TOML")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist, expected a TOML file of columns") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise InputError(
                f"{path}: unknown key {quote(key)}, expected some of {', '.join(fields)}"
            )
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{path} has no key {missing[0]!r}, expected it")
    given = {key: _value(path, fields[key], value) for key, value in values.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _value(path: pathlib.Path, field: Any, value: Any) -> Any:
    """One value of the type its attribute asks for."""
    members = {Mapping[str, Action]: Action, Mapping[str, Side]: Side}.get(field.type)
    if members is None:
        if type(value) not in (getattr(field.type, "__args__", None) or (field.type,)):
            raise InputError(f"{path}: {field.name} is {quote(value)}, expected {_words(field)}")
        return value
    names = [member.name for member in members]
    if not isinstance(value, dict) or not value or not all(x in names for x in value.values()):
        raise InputError(
            f"{path}: {field.name} is {quote(value)}, expected a table of codes and "
            f"{', '.join(names)}"
        )
    return {code: members[name] for code, name in value.items()}


def _words(field: Any) -> str:
    """What an attribute must be, in words."""
    kinds = getattr(field.type, "__args__", None) or (field.type,)
    words = {str: "a string", int: "a whole number", bool: "true or false"}
    return " or ".join(words[kind] for kind in kinds if kind in words)
