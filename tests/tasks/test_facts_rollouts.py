"""The release's file of windows, read as data: what comes out, and what is refused."""

import contextlib
import datetime
import pathlib
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from oracles.pickle_programs import name, program, text
from oracles.released_files import compressed

from jaxmars import cli
from jaxmars.errors import InputError
from jaxmars.tasks.facts_files import FILES
from jaxmars.tasks.facts_minutes import WINDOW
from jaxmars.tasks.facts_rollouts import REPORT, read_rollouts
from jaxmars.tasks.facts_sources import read_windows

FIELDS = ("price_last", "price_mean", "price_mid", "price_mid_last", "volume")
START: Any = pd.Timestamp("2022-09-30 10:00")


class MinuteInfo(NamedTuple):
    """One minute, with the fields of the release."""

    time: Any
    price_last: float
    price_mean: float
    price_mid: float
    price_mid_last: float
    volume: float


class RolloutInfo(NamedTuple):
    """One pair of windows, with the fields of the release."""

    symbol: Any
    start_time: Any
    simulation_minutes: Any
    replay_minutes: Any


@contextlib.contextmanager
def release_installed(module: str) -> Iterator[None]:
    """The two classes under the names of the release, while pickling."""
    parts = module.split(".")
    modules = {".".join(parts[: i + 1]): types.ModuleType(parts[i]) for i in range(len(parts))}
    for kind in (MinuteInfo, RolloutInfo):
        modules[module].__dict__[kind.__name__] = kind
    renamed = [mock.patch.object(kind, "__module__", module) for kind in (MinuteInfo, RolloutInfo)]
    with mock.patch.dict(sys.modules, modules), renamed[0], renamed[1]:
        yield


def pickled(value: Any, protocol: int = 4, module: str = REPORT) -> bytes:
    with release_installed(module):
        return pickle.dumps(value, protocol)


def minutes_of(seed: int, start: Any = START, count: int = WINDOW) -> list[MinuteInfo]:
    """Minutes of a random walk."""
    rng = np.random.default_rng(seed)
    price = 1e5 * np.exp(1e-3 * rng.standard_t(4, count).cumsum())
    return [
        MinuteInfo(start + pd.Timedelta(minutes=i), p, p + 1, p + 2, p + 3, int(rng.integers(9**6)))
        for i, p in enumerate(price.tolist())
    ]


def rollouts(count: int = 4, symbols: str = "AB") -> list[RolloutInfo]:
    """Pairs of windows on days that follow each other."""
    found = []
    for i in range(count):
        start = START + pd.Timedelta(days=i // len(symbols))
        symbol = symbols[i % len(symbols)]
        found.append(
            RolloutInfo(symbol, start, minutes_of(2 * i, start), minutes_of(2 * i + 1, start))
        )
    return found


def write(path: pathlib.Path, stream: bytes) -> pathlib.Path:
    path.write_bytes(compressed(stream))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", [REPORT, "__main__"])
def test_windows_come_back(tmp_path: pathlib.Path, protocol: int, module: str) -> None:
    wanted = rollouts()
    path = write(tmp_path / "rollout_info.zstd", pickled(wanted, protocol, module))
    found = read_rollouts(path)
    for minutes, kind in ((found.simulated, 2), (found.historical, 3)):
        assert minutes.symbol.tolist() == ["A", "B", "A", "B"]
        for w, pair in enumerate(wanted):
            table = pd.DataFrame(pair[kind])
            expected = table["time"].astype("datetime64[ns]").astype("int64") // (60 * 10**9)
            assert minutes.minute[w].tolist() == expected.tolist()
            columns = (minutes.last, minutes.mean, minutes.mid_mean, minutes.mid_last)
            for field, column in zip(FIELDS, (*columns, minutes.volume), strict=True):
                assert column[w].tolist() == table[field].tolist()


def test_older_times_and_other_units(tmp_path: pathlib.Path) -> None:
    """A window is the same whatever unit pandas kept its times in."""
    plain = rollouts(1)
    reference = read_rollouts(write(tmp_path / "a.zstd", pickled(plain)))
    for unit in ("s", "ms", "us", "ns"):
        other = [
            pair._replace(
                simulation_minutes=[
                    m._replace(time=m.time.as_unit(unit)) for m in pair.simulation_minutes
                ]
            )
            for pair in plain
        ]
        found = read_rollouts(write(tmp_path / f"{unit}.zstd", pickled(other)))
        assert (found.simulated.minute == reference.simulated.minute).all()


def test_a_released_file_brings_both_sources(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "rollout_info.zstd", pickled(rollouts()))
    found = read_rollouts(path)
    both = read_windows([path])
    assert both.replayed is not None
    assert (both.minutes.last == found.simulated.last).all()
    assert (both.replayed.last == found.historical.last).all()
    assert (read_windows([path], replayed=True).minutes.last == found.historical.last).all()
    with pytest.raises(InputError, match=r"expected a \.zstd file alone"):
        read_windows([path, path])


def test_the_command_on_a_released_file(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "rollout_info.zstd", pickled(rollouts(8)))
    out = tmp_path / "out"
    assert cli.main(["facts", str(path), "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    text = (out / "facts.md").read_text()
    assert "historical: 8 windows of 26 minutes, 2 symbols, 2 groups" in text
    assert "simulated: 8 windows of 26 minutes, 2 symbols, 2 groups" in text


def change(**fields: Any) -> Callable[[], Any]:
    """The first pair with other fields."""
    return lambda: [rollouts(1)[0]._replace(**fields), *rollouts(1)]


def changed_minute(**fields: Any) -> Callable[[], Any]:
    """The first pair with other fields in its fourth simulated minute."""
    minutes = minutes_of(0)
    minutes[3] = minutes[3]._replace(**fields)
    return change(simulation_minutes=minutes)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: [], "not a list of windows"),
        (lambda: {"a": 1}, "not a list of windows"),
        (lambda: [1], "lists more windows than it has data for"),
        (lambda: [1, *rollouts(1)], "window 0 is not as the release writes it"),
        (lambda: [minutes_of(0)[0], *rollouts(1)], "window 0 is not as the release writes it"),
        (change(symbol=3), "window 0 has a symbol that is not text"),
        (change(start_time=1.0), "window 0 has a time that is not as pandas writes it"),
        (change(replay_minutes=minutes_of(0)[1:]), "replayed window 0 has 25 minutes, expected 26"),
        (change(replay_minutes=None), "replayed window 0 has no minutes, expected 26"),
        (changed_minute(price_last=-1.0), "a price that is not positive"),
        (changed_minute(price_mid=float("nan")), "a price that is not positive"),
        (changed_minute(volume=-1), "a negative volume"),
        (changed_minute(volume=10**400), "a number out of range"),
        (changed_minute(volume=True), "a value that is not a number"),
        (changed_minute(price_mean="1"), "a value that is not a number"),
        (changed_minute(time=START), "a clock that does not move on"),
        (changed_minute(time=pd.Timestamp("1960-01-01")), "a time out of range"),
        (changed_minute(time=datetime.datetime(2022, 9, 30)), "names 'datetime', 'datetime'"),
        (changed_minute(time=START.tz_localize("UTC")), "which is not allowed"),
        (lambda: [rollouts(1)[0]] * 9999, "lists more windows than it has data for"),
    ],
)
def test_other_content_is_refused(
    tmp_path: pathlib.Path, make: Callable[[], Any], sentence: str
) -> None:
    refused(write(tmp_path / "x.zstd", pickled(make())), sentence)


def refused(path: pathlib.Path, sentence: str) -> None:
    with pytest.raises(InputError, match=f"cannot read released windows from .*{sentence}") as held:
        read_rollouts(path)
    assert "\n" not in str(held.value)


class Bomb:
    """What would run a command if it were unpickled."""

    def __reduce__(self) -> Any:
        return (pathlib.Path.write_text, (pathlib.Path("ran"), "x"))


def test_nothing_is_executed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(write(tmp_path / "x.zstd", pickled([Bomb()])), "which is not allowed")
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_refused(tmp_path: pathlib.Path) -> None:
    good = pickled(rollouts(1))
    refused(tmp_path / "none.zstd", "there is no such file")
    plain = tmp_path / "plain.zstd"
    plain.write_bytes(good)
    refused(plain, "not one intact zstd frame")
    plain.write_bytes(compressed(good)[:-4])
    refused(plain, "not one intact zstd frame")
    refused(write(plain, good[:-5]), "its pickle")
    refused(write(plain, good + b"."), "followed by 1 other bytes")
    refused(write(plain, b""), "its pickle")
    refused(write(plain, program(name("os", "system") + text("true") + b"\x85R")), "not allowed")


def test_sizes_are_bounded(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.zstd", pickled(rollouts(2)))
    monkeypatch.setattr("jaxmars.tasks.facts_rollouts.MAX_OPCODES", 50)
    refused(path, "more than 50 opcodes")
    monkeypatch.setattr("jaxmars.tasks.facts_rollouts.MAX_BYTES", 4000)
    refused(path, "does not state a size of at most 4000 bytes")
    monkeypatch.setattr("jaxmars.tasks.facts_rollouts.MAX_BYTES", 10)
    refused(path, "larger than 10 bytes")
