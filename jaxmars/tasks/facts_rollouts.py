"""Reads the release's `rollout_info` file: windows of the real market and of its simulations.

The file is one zstd frame with a pickled list of (symbol, start time, simulated minutes, replayed
minutes); a minute is (time, last price, mean price, mean mid, last mid, volume). The pickle is read
as data by `convert.inert_pickle`: nothing in it is executed, and no global name may occur in it but
those of `ALLOWED`.
"""

import pathlib
from typing import Any, NamedTuple, NoReturn

import numpy as np
import zstandard

from jaxmars.convert.inert_pickle import Call, PickleError, parse
from jaxmars.errors import InputError
from jaxmars.tasks.facts_minutes import MINUTE_NS, WINDOW, Minutes

MAX_BYTES = 2**28  # of a file, compressed or not; a real one of 11,591 windows has about 50 MB
MAX_OPCODES = 20_000_000  # about 1,100 per window
BYTES_OF_MINUTE = 16  # at least, in an honest file: two prices differ

ROLLOUT, MINUTE, TIME = "rollout", "minute", "time"
REPORT = "market_simulation.examples.report_stylized_facts"
PANDAS = "pandas._libs.tslibs.timestamps"
ALLOWED = {
    **{(module, "RolloutInfo"): ROLLOUT for module in (REPORT, "__main__")},
    **{(module, "MinuteInfo"): MINUTE for module in (REPORT, "__main__")},
    (PANDAS, "_unpickle_timestamp"): TIME,
    (PANDAS, "Timestamp"): TIME,
}
NANOS_OF_UNIT = {7: 10**9, 8: 10**6, 9: 10**3, 10: 1}  # pandas' codes of s, ms, us and ns
COLUMNS = ("last", "mean", "mid_mean", "mid_last", "volume")  # as the file orders them


class Rollouts(NamedTuple):
    """Both kinds of windows of a file, in its order."""

    simulated: Minutes
    historical: Minutes


class _BadFileError(Exception):
    """What is wrong with a file, without its path; never leaves this module."""


def read_rollouts(path: pathlib.Path) -> Rollouts:
    """Windows of a released file.

    Raises:
      InputError: the file cannot be read, is not one intact zstd frame of bounded size, or holds
        anything but such windows. Nothing in the file has been executed.
    """
    try:
        stream = _decompress(path)
        return _rollouts(parse(stream, ALLOWED, max_opcodes=MAX_OPCODES), len(stream))
    except (_BadFileError, PickleError) as error:
        raise InputError(f"cannot read released windows from {path}: {error}") from error


def _refuse(reason: str) -> NoReturn:
    raise _BadFileError(reason)


def _decompress(path: pathlib.Path) -> bytes:
    """The content of one whole zstd frame of bounded size."""
    try:
        if not path.is_file():
            _refuse("there is no such file")
        if path.stat().st_size > MAX_BYTES:
            _refuse(f"it is larger than {MAX_BYTES} bytes")
        raw = path.read_bytes()
        size = zstandard.get_frame_parameters(raw).content_size
        if size > MAX_BYTES:  # so is the code for "not stated"
            _refuse(f"its zstd frame does not state a size of at most {MAX_BYTES} bytes")
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_BYTES)
        return decompressor.decompress(raw, allow_extra_data=False)
    except OSError as error:
        _refuse(f"{error.strerror}")
    except zstandard.ZstdError as error:
        _refuse(f"it is not one intact zstd frame ({error})")


def _rollouts(value: Any, budget: int) -> Rollouts:
    """The windows, checked; lists used so often that they outgrow the file are refused."""
    if type(value) is not list or not value:
        _refuse("its pickle is not a list of windows")
    if len(value) * WINDOW * BYTES_OF_MINUTE > budget:
        _refuse("it lists more windows than it has data for")
    symbols, simulated, historical = [], [], []
    for number, item in enumerate(value):
        symbol, start, new, old = _fields(item, ROLLOUT, 4, f"window {number}")
        if type(symbol) is not str:
            _refuse(f"window {number} has a symbol that is not text")
        _nanoseconds(start, f"window {number}")
        symbols.append(symbol)
        simulated.append(_window(new, f"simulated window {number}"))
        historical.append(_window(old, f"replayed window {number}"))
    names = np.array(symbols, dtype=str)
    return Rollouts(_minutes(names, simulated), _minutes(names, historical))


def _window(value: Any, name: str) -> np.ndarray:
    """Minutes and numbers of one window, `[26, 6]` float64."""
    if type(value) is not list or len(value) != WINDOW:
        count = len(value) if type(value) is list else "no"
        _refuse(f"{name} has {count} minutes, expected {WINDOW}")
    rows = []
    for item in value:
        time, *numbers = _fields(item, MINUTE, 1 + len(COLUMNS), name)
        if not all(type(x) in (int, float) for x in numbers):
            _refuse(f"{name} has a value that is not a number")
        rows.append((_nanoseconds(time, name) // MINUTE_NS, *numbers))
    try:
        window = np.array(rows, np.float64)
    except OverflowError:
        _refuse(f"{name} has a number out of range")
    if not np.isfinite(window).all() or (window[:, 1:5] <= 0).any() or (window[:, 5] < 0).any():
        _refuse(f"{name} has a price that is not positive, or a negative volume")
    if (np.diff(window[:, 0]) <= 0).any():
        _refuse(f"{name} has a clock that does not move on")
    return window


def _minutes(symbols: np.ndarray, windows: list[np.ndarray]) -> Minutes:
    table = np.stack(windows)
    columns: Any = {name: table[:, :, 1 + i] for i, name in enumerate(COLUMNS)}
    return Minutes(symbol=symbols, minute=table[:, :, 0].astype(np.int64), **columns)


def _fields(value: Any, meaning: str, count: int, name: str) -> tuple[Any, ...]:
    """The fields of a named tuple."""
    plain = type(value) is Call and value.meaning == meaning and value.state is None
    if not plain or len(value.args) != count:
        _refuse(f"{name} is not as the release writes it")
    return value.args


def _nanoseconds(value: Any, name: str) -> int:
    """Nanoseconds since 1970 of a time without a zone."""
    plain = type(value) is Call and value.meaning == TIME and value.state is None
    if not plain or len(value.args) not in (3, 4):
        _refuse(f"{name} has a time that is not as pandas writes it")
    number, frequency, zone, *unit = value.args
    scale = NANOS_OF_UNIT.get(unit[0]) if unit and type(unit[0]) is int else 1
    if type(number) is not int or frequency is not None or zone is not None or scale is None:
        _refuse(f"{name} has a time with a zone or of an unknown unit")
    if (unit and type(unit[0]) is not int) or not 0 <= number * scale < 2**63:
        _refuse(f"{name} has a time out of range")
    return number * scale
