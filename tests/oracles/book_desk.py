"""Orders sent to a compiled book one by one, for tests that read like a trading day."""

import functools

import jax
import numpy as np

from jaxmars.book import Book, apply_order, init_book, invariants, resting_orders
from jaxmars.types import Fills, Kind, Side, Status, make_order

Quad = tuple[int, int, int, int]  # price, size, order id, owner


@functools.cache
def compiled_apply(max_trades: int):
    return jax.jit(functools.partial(apply_order, max_trades=max_trades))


compiled_collect = jax.jit(functools.partial(apply_order, collecting=True))
is_sound = jax.jit(invariants)
is_sound_if_crossed = jax.jit(functools.partial(invariants, crossed_allowed=True))


class Desk:
    """A book on the host side of the glass."""

    def __init__(self, slots: int = 8, max_trades: int = 4) -> None:
        self.book: Book = init_book(slots)
        self.max_trades = max_trades

    def send(
        self, kind: int, side: int, price: int, size: int, order_id: int, agent_id: int = 0
    ) -> Fills:
        """Applies one order; the book must be sound after it."""
        order = make_order(kind, side, price, size, order_id, agent_id)
        self.book, fills = compiled_apply(self.max_trades)(self.book, order)
        assert bool(is_sound(self.book))
        return jax.tree.map(np.asarray, fills)

    def collect(
        self, kind: int, side: int, price: int, size: int, order_id: int, agent_id: int = 0
    ) -> Fills:
        """Takes one order for a call auction; the book may be crossed after it."""
        order = make_order(kind, side, price, size, order_id, agent_id)
        self.book, fills = compiled_collect(self.book, order)
        assert bool(is_sound_if_crossed(self.book))
        return jax.tree.map(np.asarray, fills)

    def limit(self, side: int, price: int, size: int, order_id: int, agent_id: int = 0) -> Fills:
        return self.send(Kind.LIMIT, side, price, size, order_id, agent_id)

    def market(self, side: int, size: int, order_id: int, agent_id: int = 0) -> Fills:
        return self.send(Kind.MARKET, side, 0, size, order_id, agent_id)

    def cancel(self, side: int, size: int, order_id: int, agent_id: int = 0) -> Fills:
        return self.send(Kind.CANCEL, side, 0, size, order_id, agent_id)

    def orders(self, side: Side) -> list[Quad]:
        """(price, size, order id, owner) in the order they would trade."""
        orders = resting_orders(self.book, side)
        return [(o.price, o.size, o.order_id, o.agent_id) for o in orders]

    def snapshot(self) -> list[list[Quad]]:
        return [self.orders(side) for side in Side]


def trade_list(fills: Fills) -> list[Quad]:
    """(price, size, order id, owner) of the trade records in use."""
    records = zip(*(column.tolist() for column in fills.trades[1:]), strict=True)
    return [(price, size, order_id, owner) for price, size, order_id, owner in records if size]


def bits(fills: Fills) -> Status:
    return Status(int(fills.status))
