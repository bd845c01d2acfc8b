"""Requests turned into orders, against a slow version on lists."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import quick_jit

from jaxmars.agents.base import Ask, Request, make_request
from jaxmars.book import apply_order, book_from_orders
from jaxmars.sim.requests import resolve
from jaxmars.types import Kind, Order, Side, Status

SLOTS = 12
BOOKS = 800
NEXT_ID = 777
BY_PRICE = (Kind.CANCEL, Ask.CANCEL_FITTING)


class Resting(NamedTuple):
    """One resting order; the list it is in is in order of arrival."""

    side: int
    price: int
    size: int
    order_id: int
    agent_id: int


class Case(NamedTuple):
    """A book, a request, and who makes it."""

    orders: list[Resting]
    request: tuple[int, int, int, int]
    agent: int


def random_case(rng: np.random.Generator) -> Case:
    """Up to twelve orders of two owners on four prices, so that queues and ties are common; some
    requests are a third one's."""
    orders = []
    for i in range(int(rng.integers(0, SLOTS + 1))):
        side = int(rng.integers(0, 2))
        price = 100 + int(rng.integers(0, 2)) * (1 if side == Side.SELL else -1) + (side - 1)
        orders.append(
            Resting(
                side, price, 100 * int(rng.integers(1, 4)), 10 + i, int(rng.integers(0, 3)) // 2
            )
        )
    kind = rng.choice(BY_PRICE) if rng.random() < 0.8 else int(rng.integers(0, 3))
    size = 50 * int(rng.integers(1, 20))
    price = 100 + int(rng.integers(-6, 6))
    return Case(orders, (int(kind), int(rng.integers(0, 2)), price, size), int(rng.integers(0, 3)))


def slow_resolve(case: Case) -> list[tuple[list[tuple[int, ...]], int]]:
    """For each price the coin may choose: the orders as (kind, side, price, size, id), and status.

    A cancel goes through own orders at one price, oldest first, each up to its size; a fitting one
    minds only prices where an order is large enough, if there is such a price.
    """
    kind, side, price, size = case.request
    if kind not in BY_PRICE:
        return [([(kind, side, price, size, NEXT_ID)] if kind else [], 0)]
    own = [order for order in case.orders if order.agent_id == case.agent]
    if not own:
        return [([], Status.NOTHING_TO_CANCEL)]
    large = [order for order in own if order.size >= size]
    wanted = large if large and kind == Ask.CANCEL_FITTING else own
    nearest = min(abs(order.price - price) for order in wanted)
    choices = sorted({order.price for order in wanted if abs(order.price - price) == nearest})
    found = []
    for level in choices:
        left, cancels = size, []
        for order in own:
            if order.price == level and left:
                part = min(left, order.size)
                cancels.append((int(Kind.CANCEL), order.side, level, part, order.order_id))
                left -= part
        found.append((cancels, 0))
    return found


@quick_jit
@jax.vmap
def run(
    resting: jax.Array, request: Request, agent: jax.Array, key: jax.Array
) -> tuple[Order, jax.Array, jax.Array, jax.Array]:
    """Carries a request out in `SLOTS` turns: orders, what is left after each, status, rejects."""
    book = book_from_orders(SLOTS, *resting.T)

    def turn(carry: tuple, key: jax.Array) -> tuple:
        book, request = carry
        order, rest, status, _ = resolve(book, request, agent, jnp.int32(NEXT_ID), key)
        book, fills = apply_order(book, order)
        shown = order._replace(price=fills.price)  # a cancel's price is that of its order
        return (book, rest), (shown, rest.size, status, fills.status)

    return jax.lax.scan(turn, (book, request), jax.random.split(key, SLOTS))[1]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = np.random.default_rng(3)
    return [random_case(rng) for _ in range(BOOKS)]


@pytest.fixture(scope="module")
def outcomes(cases: list[Case]) -> list[tuple]:
    """(orders, sizes left, status, status of the book) of every case; host lists."""
    empty = Resting(0, 1, 0, 0, 0)
    resting = np.array([[*c.orders, *[empty] * (SLOTS - len(c.orders))] for c in cases], np.int32)
    request = make_request(*jnp.asarray([c.request for c in cases], jnp.int32).T)
    agents = jnp.asarray([c.agent for c in cases], jnp.int32)
    keys = jax.random.split(jax.random.key(4), len(cases))
    orders, left, status, rejects = jax.tree.map(
        np.asarray, run(jnp.asarray(resting), request, agents, keys)
    )
    columns = (orders.kind, orders.side, orders.price, orders.size, orders.order_id)
    sent = np.stack(columns, -1)
    return list(zip(sent.tolist(), left.tolist(), status.tolist(), rejects.tolist(), strict=True))


def test_every_request_becomes_the_orders_of_the_slow_version(
    cases: list[Case], outcomes: list[tuple]
) -> None:
    several = 0
    for case, (sent, left, status, rejects) in zip(cases, outcomes, strict=True):
        orders = [tuple(order) for order in sent if order[0] != Kind.NONE]
        allowed = slow_resolve(case)
        assert any(orders == expected for expected, _ in allowed), case
        assert status[0] == allowed[0][1]
        assert not any(status[1:])
        assert not any(rejects) or case.request[0] not in BY_PRICE
        sizes = [order[3] for order in orders]
        if case.request[0] in BY_PRICE:
            total = sum(sizes)
            assert left[: len(sizes)] == [total - x for x in np.cumsum(sizes).tolist()]
        several += len(orders) > 2
    assert several > 10
    moved = [slow_resolve(c) != slow_resolve(with_kind(c, Kind.CANCEL)) for c in cases]
    assert sum(moved) > 20, "fitting cancels often go elsewhere"


def with_kind(case: Case, kind: int) -> Case:
    """The same wish of another kind."""
    return case._replace(request=(kind, *case.request[1:]))


def test_a_tie_is_decided_by_a_fair_coin() -> None:
    """Own bid and ask equally far from the price asked for; a stranger's order lies nearer."""
    orders = [
        Resting(Side.BUY, 97, 100, 1, 0),
        Resting(Side.SELL, 103, 100, 2, 0),
        Resting(Side.BUY, 99, 100, 3, 1),
    ]
    empty = Resting(0, 1, 0, 0, 0)
    resting = jnp.asarray([*orders, *[empty] * (SLOTS - len(orders))], jnp.int32)
    count = BOOKS
    tile = lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.int32), (count, *jnp.shape(x)))
    request = make_request(*map(tile, (Kind.CANCEL, Side.BUY, 100, 100)))
    keys = jax.random.split(jax.random.key(9), count)
    sent = np.asarray(run(tile(resting), request, tile(0), keys)[0].order_id)[:, 0]
    assert set(sent.tolist()) == {1, 2}
    assert abs((sent == 1).mean() - 0.5) < 4 * 0.5 / count**0.5


def test_without_own_orders_a_cancel_is_no_order(outcomes: list[tuple], cases: list[Case]) -> None:
    alone = [
        outcome
        for case, outcome in zip(cases, outcomes, strict=True)
        if case.request[0] in BY_PRICE and case.agent not in {o.agent_id for o in case.orders}
    ]
    assert len(alone) > 5
    for sent, _, status, _ in alone:
        assert {order[0] for order in sent} == {Kind.NONE}
        assert status[0] == Status.NOTHING_TO_CANCEL


@pytest.mark.parametrize("modifies", [True, False])
def test_a_change_by_an_agent_that_makes_none_is_a_bad_kind(modifies: bool) -> None:
    book = book_from_orders(SLOTS, *jnp.asarray([[Side.BUY, 97, 100, 1, 0]], jnp.int32).T)
    request = make_request(Ask.MODIFY, 0, 98, 100, 1)
    agent, key = jnp.int32(0), jax.random.key(0)
    order, rest, _, replaces = resolve(book, request, agent, jnp.int32(9), key, modifies)
    after, fills = apply_order(book, order)
    assert bool(replaces) == modifies
    assert int(fills.status) == (Status.OK if modifies else Status.BAD_KIND)
    assert int(rest.kind) == (Kind.LIMIT if modifies else Kind.NONE)
    assert int(after.total[0]) == (0 if modifies else 100)
