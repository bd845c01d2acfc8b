"""The moment a forecast starts from: book, orders so far, and what happened before and after."""

import pathlib
import zipfile
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.book import Book, book_from_levels
from jaxmars.config import MarketConfig
from jaxmars.data.flow import Flow, lobster_flow, slice_flow, split_flow
from jaxmars.data.lobster import LobsterData
from jaxmars.data.memory import flow_memories
from jaxmars.data.replay import start_book
from jaxmars.errors import InputError
from jaxmars.files import write_atomically
from jaxmars.tokens.summary import DECAYED, SCALES, Memory
from jaxmars.types import L2, Event, Time, no_trades

CROWD = 0  # owner of all volume in a start book
PAST_SECONDS = 900  # of the mid path before the start that is kept for the figure
NANOS = 1e-9

_DAMAGE = (zipfile.BadZipFile, zlib.error)


class MidPath(NamedTuple):
    """Mid price after each order. Host arrays."""

    seconds: np.ndarray  # [events] float64, since the start; negative before it
    mid: np.ndarray  # [events] float64, ticks


class StartPoint(NamedTuple):
    """A start. Host arrays; books and flows are unbatched."""

    book: Book
    flow: Flow  # orders up to the start; the first one only opens the record
    open_time: Time  # [] int32, of the first order of the day
    open_price: np.ndarray  # [] int32, ticks of the first trade of the day, 0 if not known yet
    memory: Memory  # of the day up to the first order of `flow`, which included
    time: Time  # [] int32
    last_price: np.ndarray  # [] int32, ticks of the last trade, 0 before any
    past: MidPath
    future: MidPath  # what really happened; empty if unknown


def lobster_start(
    data: LobsterData, sec: int, nsec: int, market: MarketConfig, needed: int
) -> StartPoint:
    """The start at a moment of a recorded day.

    Args:
      data: the day.
      sec: seconds since midnight.
      nsec: nanoseconds.
      market: book capacity and levels.
      needed: fewest orders that must lie before the start.

    Raises:
      InputError: the time lies outside the record, or too few orders precede it.
    """
    _, l2 = start_book(data, sec, nsec, market, needed)
    flow, later = split_flow(lobster_flow(data), sec, nsec)
    traded = np.flatnonzero(flow.event.filled)
    opened = traded[0] if len(traded) else None
    now = sec + nsec * NANOS
    past, future = mid_path_of(flow, now), mid_path_of(later, now)
    recent = past.seconds >= -PAST_SECONDS
    book = jax.tree.map(np.asarray, book_from_levels(l2, market.slots, jnp.int32(CROWD)))
    whole: Any = lambda x: np.asarray(x, np.int32)
    return StartPoint(
        book=book,
        flow=flow,
        open_time=Time(whole(flow.event.time.sec[0]), whole(flow.event.time.nsec[0])),
        open_price=whole(0 if opened is None else flow.event.first_price[opened]),
        memory=first_memory(flow, market),
        time=Time(whole(sec), whole(nsec)),
        last_price=whole(flow.event.last_price[-1]),
        past=MidPath(past.seconds[recent], past.mid[recent]),
        future=future,
    )


def first_memory(flow: Flow, market: MarketConfig) -> Memory:
    """The memory after the first order of a day. Host arrays."""
    found = flow_memories(slice_flow(flow, 0, 1), market)
    return jax.tree.map(lambda x: x[0], found)


def orders_per_second(start: StartPoint) -> float:
    """How many orders came in a second, over the recorded orders before the start; 0 if all of
    them came at one moment."""
    time = start.flow.event.time
    seconds = np.asarray(time.sec, np.float64) + np.asarray(time.nsec) * NANOS
    span = float(seconds[-1] - seconds[0])
    return (len(seconds) - 1) / span if span > 0 else 0.0


def mid_path_of(flow: Flow, now: float) -> MidPath:
    """Mid after each order of a flow (release `float_mid_price`), times relative to `now`."""
    time = flow.event.time
    return MidPath(
        np.asarray(time.sec) + np.asarray(time.nsec) * NANOS - now, event_mid(flow.event)
    )


def event_mid(event: Event) -> np.ndarray:
    """Mid after each event, `[…]` float64 ticks: the average of both best prices, else the one
    there is, else the last trade price."""
    bid, ask = np.asarray(event.best_bid, np.float64), np.asarray(event.best_ask, np.float64)
    sides = (bid > 0).astype(int) + (ask > 0)
    return np.where(sides > 0, (bid + ask) / np.maximum(sides, 1), event.last_price)


def _template() -> StartPoint:
    """A start whose leaves are their names; trade records, of which a start has none, are left
    out."""
    name: Any = lambda prefix, fields: [f"{prefix}.{field}" for field in fields]
    time = lambda prefix: Time(*name(prefix, Time._fields))
    path = lambda prefix: MidPath(*name(prefix, MidPath._fields))
    columns = [name for name in Event._fields if name not in ("time", "trades")]
    nothing: Any = None
    single: Any = lambda field: field
    return StartPoint(
        book=Book(*name("book", Book._fields)),
        flow=Flow(
            Event(time("flow.event.time"), *name("flow.event", columns), trades=nothing),
            L2(*name("flow.l2", L2._fields)),
        ),
        open_time=time("open_time"),
        open_price=single("open_price"),
        memory=Memory(
            started=single("memory.started"),
            time=time("memory.time"),
            mid=single("memory.mid"),
            **{x: single(f"memory.{x}") for x in DECAYED},
        ),
        time=time("time"),
        last_price=single("last_price"),
        past=path("past"),
        future=path("future"),
    )


def save_starts(path: pathlib.Path, starts: list[StartPoint]) -> None:
    """Writes starts to one compressed npz file, atomically."""
    arrays = {}
    for number, start in enumerate(starts):
        names, leaves = jax.tree.leaves(_template()), jax.tree.leaves(_with_trades(start, None))
        arrays |= {f"{number}.{n}": np.asarray(x) for n, x in zip(names, leaves, strict=True)}
    write_atomically(path, lambda part: _write_arrays(part, arrays))


def _write_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def count_starts(path: pathlib.Path) -> int:
    """How many starts a file written by `save_starts` holds."""
    with np.load(path, allow_pickle=False) as file:
        return len({name.split(".")[0] for name in file.files})


def load_start(path: pathlib.Path, number: int) -> StartPoint:
    """One start of a file written by `save_starts`.

    Raises:
      InputError: no such file, a damaged file, or no such start in it.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a file of start states")
    try:
        with np.load(path, allow_pickle=False) as file:
            count = len({name.split(".")[0] for name in file.files})
            if not 0 <= number < count:
                raise InputError(f"{path} holds starts 0 to {count - 1}, got {number}")
            start = jax.tree.map(lambda name: file[f"{number}.{name}"], _template())
    except InputError:
        raise
    except (*_DAMAGE, OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a whole file of start states: {error}") from error
    for name, array in zip(jax.tree.leaves(_template()), jax.tree.leaves(start), strict=True):
        kind, shape = _kind_and_shape(name, start)
        if (array.dtype, array.shape) != (kind, shape):
            raise InputError(
                f"{path}: {number}.{name} is {array.dtype}{list(array.shape)}, expected "
                f"{np.dtype(kind)}{list(shape)}"
            )
    return _with_trades(start, no_trades(len(start.flow.event.kind)))


def _with_trades(start: StartPoint, trades: Any) -> StartPoint:
    """The start with these trade records in its flow."""
    event = start.flow.event._replace(trades=trades)
    return start._replace(flow=start.flow._replace(event=event))


def _kind_and_shape(name: str, start: StartPoint) -> tuple[type, tuple[int, ...]]:
    """What the array of this name must be, given the numbers of orders, levels and slots."""
    if name == "memory.started":
        return np.bool_, ()
    if name.removeprefix("memory.") in DECAYED:
        return np.float32, (len(SCALES),)
    if name.startswith(("past.", "future.")):
        return np.float64, getattr(start, name.partition(".")[0]).seconds.shape[:1]
    shapes: dict[str, tuple[int, ...]] = {
        "flow.l2": (*start.flow.event.kind.shape[:1], 2, *start.flow.l2.size.shape[-1:]),
        "flow.event": start.flow.event.kind.shape[:1],
        "book.status": (),
        "book.total": (2,),
        "book": (2, *start.book.size.shape[-1:]),
    }
    return np.int32, next((shapes[part] for part in shapes if name.startswith(part)), ())
