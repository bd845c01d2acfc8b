"""What every benchmark shares: fair timing, the conditions it was taken under, and result files.

A comparison is a *race*: the contestants take turns in one process, so that a busy machine slows
all of them alike, and a ratio is formed per round before it is summarised.
"""

import dataclasses
import datetime
import gc
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

READABLE = 0o644
PACKAGES = ("jax", "jaxlib", "numpy", "flax")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One side of a race.

    Attributes:
      run: the timed call; it is handed what `prepare` returned, and its result is waited for.
      items: items (messages, orders, events) of one call.
      prepare: called before each timed call, not timed.
      warm_ups: calls before the first timed one.
    """

    run: Callable[[Any], Any]
    items: int
    prepare: Callable[[], Any] = lambda: None
    warm_ups: int = 1


@dataclasses.dataclass(frozen=True)
class Summary:
    """Repeats of one measurement, in the unit of the numbers given."""

    best: float
    median: float
    worst: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float], *, high_is_good: bool) -> "Summary":
        """Summarises repeats; `best` is the largest if `high_is_good`, else the smallest."""
        low, high = min(values), max(values)
        best, worst = (high, low) if high_is_good else (low, high)
        return cls(best, statistics.median(values), worst, len(values))

    def __str__(self) -> str:
        return f"{self.median:,.4g} ({self.worst:,.4g} to {self.best:,.4g}, {self.repeats} repeats)"


def compile_timed(function: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float]:
    """Compiles `jax.jit(function)` for `args` ahead of time.

    Returns:
      The executable and the seconds that tracing, lowering and compiling took.
    """
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    return compiled, time.perf_counter() - start


def race(
    contestants: Mapping[str, Contestant], rounds: int, seconds: float = 0.0
) -> dict[str, list[float]]:
    """Items per second of each contestant in each round; contestants alternate within a round.

    Args:
      contestants: by name.
      rounds: rounds every contestant runs.
      seconds: a contestant stops early, after at least two rounds, once it used this much time
        (0: never). Ratios are formed over the rounds both sides have run.

    Returns:
      Per contestant, its rate per round.
    """
    for contestant in contestants.values():
        for _ in range(contestant.warm_ups):
            _timed(contestant)
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    gc.collect()
    for _ in range(rounds):
        for name, contestant in contestants.items():
            if not seconds or len(taken[name]) < 2 or sum(taken[name]) < seconds:
                taken[name].append(_timed(contestant))
    return {
        name: [contestants[name].items / spent for spent in times] for name, times in taken.items()
    }


def summary(rates: Sequence[float]) -> Summary:
    """Items per second over the rounds."""
    return Summary.of(rates, high_is_good=True)


def speed_up(ours: Sequence[float], theirs: Sequence[float]) -> Summary:
    """How many times faster we are: one ratio per round both ran, then summarised."""
    return Summary.of([a / b for a, b in zip(ours, theirs, strict=False)], high_is_good=True)


def _timed(contestant: Contestant) -> float:
    prepared = contestant.prepare()
    start = time.perf_counter()
    jax.block_until_ready(contestant.run(prepared))
    return time.perf_counter() - start


def conditions() -> dict[str, Any]:
    """Where and when a measurement was taken: hardware, load, versions, commit, date (UTC)."""
    devices = jax.devices()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "threads": os.environ.get("NPROC", "all"),
        "nice": os.nice(0),
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "python": platform.python_version(),
        **versions,
    }


def describe_conditions(taken: Mapping[str, Any]) -> str:
    """`conditions()` in one line."""
    return (
        f"{taken['date']}  commit {taken['commit']}  {taken['device']} x{taken['devices']}  "
        f"CPU {taken['cpu']} ({taken['cores']} cores, load {taken['load_1min']}, "
        f"threads {taken['threads']})  "
        f"jax {taken['jax']}  python {taken['python']}"
    )


def torch_device() -> str:
    """What torch calls the kind of device that JAX runs on."""
    return "cpu" if jax.default_backend() == "cpu" else "cuda"


def write_json(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Writes a result file atomically; dataclasses become objects.

    Raises:
      TypeError: if the record holds something JSON cannot.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    try:
        os.fchmod(handle, READABLE)
        with os.fdopen(handle, "w") as file:
            file.write(as_json(record) + "\n")
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def as_json(record: Mapping[str, Any]) -> str:
    """A result record as JSON text; dataclasses become objects, and no number is not a number."""
    return json.dumps(record, indent=1, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"expected numbers, text, lists, mappings or dataclasses, got {type(value)}")


def _commit() -> str:
    """Short commit of the working tree, with `+` if tracked files differ from it."""
    root = pathlib.Path(__file__).resolve().parents[1]

    def git(*args: str) -> str:
        done = subprocess.run(("git", *args), cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    head = git("rev-parse", "--short", "HEAD") or "unknown"
    return head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def _cpu_name() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
