"""What a flow must not do before it is replayed. Refused with the row of the file it came from.

The rules are those a venue keeps: its clock and its sequence do not go back (equal is fine), a
price and a size are positive, and an id is not given to a second order while the first one rests.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxmars.book import MAX_PRICE
from jaxmars.data.lobster import nanoseconds
from jaxmars.data.orderflow import OrderFlow
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side

MAX_SIZE = 2**31 - 1

_MAX_SHOWN = 40  # characters of a cell quoted in an error
_PRICED = (Kind.LIMIT, Kind.IOC, Kind.FOK, Kind.POST_ONLY)  # kinds that have a limit price
_KINDS = (Kind.NONE, Kind.MARKET, Kind.CANCEL, *_PRICED)


class Origin(NamedTuple):
    """Where rows come from, for errors."""

    source: str  # file or table
    row: np.ndarray  # [rows] int64, as the file counts them


def origin_of_rows(source: object, rows: int, first: int = 1) -> Origin:
    """Rows that follow each other; `first` is the number of the first."""
    return Origin(str(source), np.arange(first, first + rows))


def refuse(origin: Origin, bad: np.ndarray, name: str, value: Any, expected: str) -> None:
    """Raises for the first row where `bad` `[rows]` holds; `value` has one entry per row."""
    if np.any(bad):
        at = int(np.argmax(bad))
        found = value[at]
        shown = repr(found[:_MAX_SHOWN]) if isinstance(found, str) else found
        raise InputError(
            f"{origin.source}: row {origin.row[at]}: {name} is {shown}, expected {expected}"
        )


def refuse_backwards(origin: Origin, name: str, value: np.ndarray, cells: Any = None) -> None:
    """Raises for the first row of `value` `[rows]` int64 that is less than the one before it.

    The error shows the `cells` of the file, one per row, where they are given.
    """
    bad = np.append(False, value[1:] < value[:-1])
    if bad.any():
        at = int(bad.argmax())
        shown = value if cells is None else np.asarray(cells)
        before, found = (f"{x!s:.{_MAX_SHOWN}}" for x in shown[at - 1 : at + 1])
        raise InputError(
            f"{origin.source}: row {origin.row[at]}: {name} is {found}, expected {before} (the row "
            f"before) or {'more' if cells is None else 'later'}"
        )


def validate(
    flow: OrderFlow,
    *,
    resting: bool,
    origin: Origin | None = None,
    recorded: np.ndarray | None = None,
) -> None:
    """Refuses a flow that no venue can have recorded.

    Args:
      flow: book changes in time order.
      resting: the reading of the flow (see `jaxmars.data.orderflow`). Only in a flow of book
        changes the ids that rest are known without a book, so only there they are checked.
      origin: rows of a file the events come from; the events themselves, from 1, if not given.
      recorded: `[events]`, order ids as the file has them, for errors; those of the flow if not
        given.

    Raises:
      InputError: a clock that goes back, an unknown kind or side, a price or size that is not
        positive or too large, or an id used again while its order rests. The sentence names the
        row and what was expected.
    """
    order = flow.order
    kind, side, price, size = (np.asarray(x) for x in order[:4])
    origin = origin or origin_of_rows("the flow", len(kind))
    refuse_backwards(origin, "time (ns)", nanoseconds(flow.time.sec, flow.time.nsec))
    acts = kind != Kind.NONE
    priced = np.isin(kind, _PRICED)
    refuse(origin, ~np.isin(kind, _KINDS), "kind", kind, f"one of {[int(k) for k in _KINDS]}")
    refuse(origin, acts & ~np.isin(side, list(Side)), "side", side, "0 (buy) or 1 (sell)")
    refuse(origin, acts & (size <= 0), "size", size, f"a number from 1 to {MAX_SIZE}")
    bad = priced & ((price <= 0) | (price >= MAX_PRICE))
    refuse(origin, bad, "price", price, f"a number of ticks from 1 to {MAX_PRICE - 1}")
    if resting:
        ids = np.asarray(order.order_id) if recorded is None else recorded
        _refuse_reused(origin, kind, size, ids)


def _refuse_reused(
    origin: Origin, kind: np.ndarray, size: np.ndarray, order_id: np.ndarray
) -> None:
    """Raises for the first order that has the id of one that rests."""
    left: dict[int, tuple[int, int]] = {}  # size units that rest, and the row that added them
    rows = zip(kind.tolist(), size.tolist(), order_id.tolist(), origin.row.tolist(), strict=True)
    for what, shares, name, row in rows:
        if what == Kind.LIMIT:
            if name in left:
                raise InputError(
                    f"{origin.source}: row {row}: order id {name} is that of row "
                    f"{left[name][1]}, which still rests, expected a new one"
                )
            left[name] = (shares, row)
        elif what == Kind.CANCEL and name in left:
            rest, since = left.pop(name)
            if rest > shares:
                left[name] = (rest - shares, since)
            elif rest < shares:
                left[name] = (rest, since)
