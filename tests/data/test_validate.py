"""Flows no venue can have recorded."""

from typing import Any

import numpy as np
import pytest

from jaxmars.data.orderflow import NO_CHECK, OrderFlow, host_order, host_time
from jaxmars.data.validate import Origin, origin_of_rows, validate
from jaxmars.errors import InputError
from jaxmars.types import Kind, Side

LIMIT, CANCEL = int(Kind.LIMIT), int(Kind.CANCEL)
ROWS = [  # second, kind, side, price, size, id
    [10, LIMIT, 0, 100, 5, 1],
    [10, LIMIT, 1, 101, 5, 2],
    [11, CANCEL, 0, 0, 2, 1],
    [11, Kind.MARKET, 0, 0, 5, 3],
    [11, Kind.NONE, 7, -1, 0, 0],
    [12, CANCEL, 0, 0, 3, 1],
    [12, LIMIT, 0, 99, 5, 1],
]
FILE = Origin("day.csv", np.array([2, 2, 3, 5, 6, 7, 9]))


def flow_of(rows: list[list[int]]) -> OrderFlow:
    columns = np.array(rows, np.int64).T
    time = host_time(columns[0], np.zeros(len(rows)))
    return OrderFlow(time, host_order(*columns[1:]), np.full(len(rows), NO_CHECK, np.int32))


def changed(row: int, column: int, value: int) -> OrderFlow:
    rows = [list(cells) for cells in ROWS]
    rows[row][column] = value
    return flow_of(rows)


@pytest.mark.parametrize("resting", [False, True])
def test_a_sound_flow_passes(resting: bool) -> None:
    validate(flow_of(ROWS), resting=resting)
    validate(flow_of(ROWS), resting=resting, origin=FILE)
    validate(flow_of(ROWS[:1]), resting=resting)


@pytest.mark.parametrize(
    ("row", "column", "value", "sentence"),
    [
        (2, 0, 9, r"row 3: time \(ns\) is 9000000000, expected 10000000000 \(the row before\)"),
        (3, 1, 7, "row 5: kind is 7, expected one of"),
        (3, 1, -1, "row 5: kind is -1"),
        (5, 2, 2, r"row 7: side is 2, expected 0 \(buy\) or 1 \(sell\)"),
        (5, 4, 0, "row 7: size is 0, expected a number from 1 to 2147483647"),
        (3, 4, -4, "row 5: size is -4"),
        (6, 3, 0, "row 9: price is 0, expected a number of ticks from 1 to 1073741823"),
        (6, 3, 2**30, "row 9: price is 1073741824"),
    ],
)
def test_a_bad_event_is_refused(row: int, column: int, value: int, sentence: str) -> None:
    for resting in (False, True):
        with pytest.raises(InputError, match=f"^day.csv: {sentence}"):
            validate(changed(row, column, value), resting=resting, origin=FILE)


@pytest.mark.parametrize("price", [0, -3, 2**30])
def test_only_limits_need_a_price(price: int) -> None:
    for row in (2, 3, 4):
        validate(changed(row, 3, price), resting=True)
    for kind in (Kind.IOC, Kind.FOK, Kind.POST_ONLY):
        rows = [[10, kind, Side.BUY, price, 5, 1]]
        with pytest.raises(InputError, match="the flow: row 1: price"):
            validate(flow_of(rows), resting=True)


@pytest.mark.parametrize(
    ("row", "size", "is_reused"),
    [(5, 3, False), (5, 2, True), (2, 1, True), (2, 5, False), (2, 6, True)],
)
def test_an_id_is_free_when_nothing_is_left(row: int, size: int, is_reused: bool) -> None:
    """A cancel of more than is left changes nothing, as in the book."""
    flow = changed(row, 4, size)
    validate(flow, resting=False)
    if not is_reused:
        validate(flow, resting=True)
        return
    with pytest.raises(InputError, match=r"^day.csv: row 9: order id 1 is that of row 2, which"):
        validate(flow, resting=True, origin=FILE)


def test_rows_count_from_the_first() -> None:
    found: Any = origin_of_rows("x", 3, first=2)
    assert (found.source, found.row.tolist()) == ("x", [2, 3, 4])
