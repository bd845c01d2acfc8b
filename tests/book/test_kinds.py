"""Immediate-or-cancel, fill-or-kill and post-only orders, call phases, and changed orders."""

import functools

import jax
import numpy as np
import pytest
from oracles.book_desk import Desk, bits, is_sound, trade_list

from jaxmars.book import apply_order, modify
from jaxmars.types import REJECTING, Kind, Side, Status, make_order

BUY, SELL = Side.BUY, Side.SELL
Quad = tuple[int, int, int, int]


def two_asks() -> Desk:
    desk = Desk()
    desk.limit(SELL, 101, 10, order_id=1)
    desk.limit(SELL, 102, 10, order_id=2)
    return desk


@pytest.mark.parametrize(
    ("kind", "price", "size", "filled", "rested", "status"),
    [
        (Kind.LIMIT, 101, 15, 10, 5, Status.OK),
        (Kind.IOC, 101, 15, 10, 0, Status.OK),
        (Kind.IOC, 102, 15, 15, 0, Status.OK),
        (Kind.IOC, 100, 15, 0, 0, Status.OK),
        (Kind.FOK, 101, 15, 0, 0, Status.NOT_FILLED),
        (Kind.FOK, 102, 15, 15, 0, Status.OK),
        (Kind.FOK, 102, 20, 20, 0, Status.OK),
        (Kind.FOK, 102, 21, 0, 0, Status.NOT_FILLED),
        (Kind.POST_ONLY, 101, 15, 0, 0, Status.WOULD_TRADE),
        (Kind.POST_ONLY, 100, 15, 0, 15, Status.OK),
    ],
)
def test_what_trades_and_what_rests(
    kind: Kind, price: int, size: int, filled: int, rested: int, status: Status
) -> None:
    desk = two_asks()
    asks = desk.orders(SELL)
    fills = desk.send(kind, BUY, price, size, order_id=3)
    assert (fills.filled, bits(fills)) == (filled, status)
    assert desk.orders(BUY) == ([(price, rested, 3, 0)] if rested else [])
    assert sum(order[1] for order in desk.orders(SELL)) == 20 - filled
    assert filled or desk.orders(SELL) == asks


@pytest.mark.parametrize("kind", [Kind.IOC, Kind.FOK, Kind.POST_ONLY])
def test_new_kinds_need_a_price_a_size_and_an_id_of_their_own(kind: Kind) -> None:
    desk = two_asks()
    assert bits(desk.send(kind, BUY, 0, 5, order_id=3)) == Status.BAD_PRICE
    assert bits(desk.send(kind, BUY, 100, 0, order_id=3)) == Status.BAD_SIZE
    assert bits(desk.send(kind, BUY, 103, 5, order_id=1)) == Status.DUPLICATE_ID


def test_orders_that_never_rest_need_no_room() -> None:
    desk = Desk(slots=1)
    desk.limit(BUY, 99, 10, order_id=1)
    assert bits(desk.send(Kind.IOC, BUY, 98, 5, order_id=2)) == Status.OK
    assert bits(desk.send(Kind.POST_ONLY, BUY, 98, 5, order_id=2)) == Status.BOOK_FULL


# The call phase of an auction.


def test_collected_orders_rest_though_they_cross() -> None:
    desk = two_asks()
    fills = desk.collect(Kind.LIMIT, BUY, 105, 30, order_id=3)
    assert (fills.filled, bits(fills)) == (0, Status.OK)
    assert desk.orders(BUY) == [(105, 30, 3, 0)] and len(desk.orders(SELL)) == 2


@pytest.mark.parametrize("kind", [Kind.MARKET, Kind.IOC, Kind.FOK, Kind.POST_ONLY])
def test_call_phase_takes_limit_orders_and_cancels_only(kind: Kind) -> None:
    desk = two_asks()
    before = desk.snapshot()
    assert bits(desk.collect(kind, BUY, 100, 5, order_id=3)) == Status.NOT_IN_AUCTION
    assert desk.snapshot() == before
    assert bits(desk.collect(Kind.CANCEL, SELL, 0, 10, order_id=1)) == Status.OK
    assert desk.orders(SELL) == [(102, 10, 2, 0)]


def test_the_phase_may_be_a_traced_value() -> None:
    desk = two_asks()
    order = make_order(Kind.LIMIT, BUY, 101, 4, 3, 0)
    step = jax.jit(lambda book, phase: apply_order(book, order, collecting=phase)[1].filled)
    assert [int(step(desk.book, phase)) for phase in (False, True)] == [4, 0]


# Changing a resting order.

compiled_modify = jax.jit(functools.partial(modify, max_trades=4))


def change(
    desk: Desk, side: int, price: int, size: int, order_id: int, agent_id: int = 0,
    kind: int = Kind.LIMIT,
):  # fmt: skip
    order = make_order(kind, side, price, size, order_id, agent_id)
    before = desk.snapshot()
    desk.book, fills = compiled_modify(desk.book, order)
    assert bool(is_sound(desk.book))
    assert not bits(fills) & REJECTING or desk.snapshot() == before
    return jax.tree.map(np.asarray, fills)


def queue() -> Desk:
    """Two bids at 100, one at 99, one ask at 102."""
    desk = Desk(slots=3)
    for order_id, price in ((1, 100), (2, 100), (3, 99)):
        desk.limit(BUY, price, 10, order_id)
    desk.limit(SELL, 102, 10, order_id=4)
    return desk


@pytest.mark.parametrize(
    ("price", "size", "orders"),
    [
        (100, 4, [(100, 4, 1, 0), (100, 10, 2, 0), (99, 10, 3, 0)]),
        (100, 10, [(100, 10, 1, 0), (100, 10, 2, 0), (99, 10, 3, 0)]),
        (100, 11, [(100, 10, 2, 0), (100, 11, 1, 0), (99, 10, 3, 0)]),
        (99, 4, [(100, 10, 2, 0), (99, 10, 3, 0), (99, 4, 1, 0)]),
        (101, 20, [(101, 20, 1, 0), (100, 10, 2, 0), (99, 10, 3, 0)]),
    ],
)
def test_only_less_at_the_same_price_keeps_its_place(
    price: int, size: int, orders: list[Quad]
) -> None:
    desk = queue()
    fills = change(desk, BUY, price, size, order_id=1)
    assert bits(fills) == Status.OK and desk.orders(BUY) == orders
    kept = price == 100 and size <= 10
    assert fills.cancelled == (10 - size if kept else 10)


def test_changed_order_may_trade() -> None:
    desk = queue()
    fills = change(desk, BUY, 102, 15, order_id=1)
    assert trade_list(fills) == [(102, 10, 4, 0)] and desk.orders(BUY)[0] == (102, 5, 1, 0)


@pytest.mark.parametrize(
    ("kind", "side", "price", "size", "order_id", "agent_id", "status"),
    [
        (Kind.LIMIT, BUY, 101, 0, 1, 0, Status.BAD_SIZE),
        (Kind.LIMIT, BUY, 0, 5, 1, 0, Status.BAD_PRICE),
        (Kind.LIMIT, BUY, 101, 2**31 - 1, 1, 0, Status.VOLUME_OVERFLOW),
        (Kind.POST_ONLY, BUY, 102, 5, 1, 0, Status.WOULD_TRADE),
        (Kind.LIMIT, BUY, 101, 5, 9, 0, Status.UNKNOWN_ORDER),
        (Kind.LIMIT, BUY, 101, 5, 1, 1, Status.UNKNOWN_ORDER),
        (Kind.LIMIT, SELL, 101, 5, 1, 0, Status.UNKNOWN_ORDER),
        (Kind.MARKET, BUY, 101, 5, 1, 0, Status.BAD_KIND),
    ],
)
def test_rejected_change_leaves_the_old_order(
    kind: Kind, side: Side, price: int, size: int, order_id: int, agent_id: int, status: Status
) -> None:
    desk = queue()
    fills = change(desk, side, price, size, order_id, agent_id, kind)
    assert bits(fills) == status and (fills.filled, fills.cancelled) == (0, 0)
    assert Status(int(desk.book.status)) == status
