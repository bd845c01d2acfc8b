"""A plain Python book built for speed, and the steady-state order flow it generates.

The book is the honest single-core Python line to print beside ours. The flow follows the book it
fills: 47 % passive limit orders, 45 % cancels (a tenth of them partial), 8 % marketable limit
orders, with a pull that keeps the number of resting orders near a target.
"""

import bisect
import dataclasses
import random

import numpy as np

from jaxmars.types import Kind, Side

COLUMNS = 6  # kind, side, price, size, order_id, agent_id: the fields of `Order`
Row = tuple[int, int, int, int, int, int]
Fill = tuple[int, int, int, int]  # price, size, order id, owner of the resting order

MID = 10_000  # ticks
MARKETABLE = 0.08
CANCEL = 0.45
PARTIAL = 0.1
PULL = 0.4  # how strongly occupancy bends the share of cancels
IMPROVE = 0.3  # share of passive orders that go inside a spread wider than a tick
SWEEP = 0.1  # share of marketable orders of five times the usual size
SWEEP_FACTOR = 5
REACH = (0, 0, 0, 1, 2, 5)  # ticks a marketable order goes beyond the touch
LOTS = (1, 1, 1, 2, 2, 3, 5, 10)
LOT = 100  # shares
ODD = 0.2  # share of sizes that are not whole lots
OWNERS = 50


class DictBook:
    """Price-time priority with dicts: price -> {order id: [size, owner]}, and sorted prices."""

    def __init__(self) -> None:
        self.levels: tuple[dict[int, dict[int, list[int]]], ...] = ({}, {})
        self.keys: tuple[list[int], list[int]] = ([], [])  # signed prices, best first
        self.where: dict[int, tuple[int, int]] = {}  # order id -> side, key
        self.resting = [0, 0]

    def best(self, side: int) -> int:
        """Best price of a side, ticks; 0 if it is empty."""
        return abs(self.keys[side][0]) if self.keys[side] else 0

    def process(self, row: Row) -> list[Fill]:
        """Applies one message; returns the fills in priority order."""
        kind, side, price, size, order_id, agent_id = row
        if kind == Kind.CANCEL:
            self._cancel(order_id, size)
            return []
        key = -price if side == Side.BUY else price
        fills = self._take(1 - side, size, -key)
        size -= sum(fill[1] for fill in fills)
        if size:
            level = self.levels[side].get(key)
            if level is None:
                level = self.levels[side][key] = {}
                bisect.insort(self.keys[side], key)
            level[order_id] = [size, agent_id]
            self.where[order_id] = (side, key)
            self.resting[side] += 1
        return fills

    def orders(self, side: int) -> list[tuple[int, int, int, int]]:
        """(price, size, order id, owner) of a side in priority order."""
        return [
            (abs(key), size, order_id, owner)
            for key in self.keys[side]
            for order_id, (size, owner) in self.levels[side][key].items()
        ]

    def _take(self, side: int, size: int, reach: int) -> list[Fill]:
        fills = []
        keys, levels = self.keys[side], self.levels[side]
        while size and keys and keys[0] <= reach:
            level = levels[keys[0]]
            order_id, resting = next(iter(level.items()))
            traded = min(size, resting[0])
            fills.append((abs(keys[0]), traded, order_id, resting[1]))
            size -= traded
            self._reduce(order_id, traded)
        return fills

    def _cancel(self, order_id: int, size: int) -> None:
        if order_id in self.where:
            self._reduce(order_id, size)

    def _reduce(self, order_id: int, size: int) -> None:
        side, key = self.where[order_id]
        level = self.levels[side][key]
        level[order_id][0] -= size
        if level[order_id][0]:
            return
        del level[order_id], self.where[order_id]
        self.resting[side] -= 1
        if not level:
            del self.levels[side][key]
            del self.keys[side][bisect.bisect_left(self.keys[side], key)]


@dataclasses.dataclass(frozen=True)
class Flow:
    """Messages of one book, and what the dict book made of them. Rows are fields of `Order`."""

    start: np.ndarray  # [w, 6] int32, limit orders that rest before the flow, in priority order
    messages: np.ndarray  # [t, 6] int32
    fills: list[list[Fill]]  # per message
    quotes: np.ndarray  # [t, 2] int32, best bid and ask after each message, 0 if none
    orders: tuple[list[Fill], list[Fill]]  # that rest after the last message, bids and asks


def generate(seed: int, per_side: int, slots: int, num: int) -> Flow:
    """A flow of `num` messages over a book that holds about `per_side` orders per side.

    Args:
      seed: of Python's generator; flows of different seeds differ.
      per_side: resting orders per side the flow is pulled to.
      slots: capacity per side; the flow never exceeds it.
      num: timed messages.
    """
    source = _Source(seed, per_side, slots)
    book = source.book
    while min(book.resting) < per_side:
        side = Side.BUY if book.resting[Side.BUY] < per_side else Side.SELL
        source.apply(source.passive(side))
    start = [
        (Kind.LIMIT, side, price, size, order_id, owner)
        for side in Side
        for price, size, order_id, owner in book.orders(side)
    ]
    messages, fills, quotes = [], [], []
    for _ in range(num):
        row = source.draw()
        messages.append(row)
        fills.append(source.apply(row))
        quotes.append((book.best(Side.BUY), book.best(Side.SELL)))
    rows = lambda values, width: np.asarray(values, np.int32).reshape(-1, width)
    return Flow(
        rows(start, COLUMNS),
        rows(messages, COLUMNS),
        fills,
        rows(quotes, 2),
        (book.orders(Side.BUY), book.orders(Side.SELL)),
    )


class _Source:
    """Draws the next message from the state of the book."""

    def __init__(self, seed: int, per_side: int, slots: int) -> None:
        self.random = random.Random(seed)
        self.book = DictBook()
        self.per_side, self.slots = per_side, slots
        self.depth = per_side / 8  # mean distance of a passive order from the touch, ticks
        self.next_id = 1
        self.ids: list[int] = []  # ids that rest, and some that do no longer

    def apply(self, row: Row) -> list[Fill]:
        fills = self.book.process(row)
        if row[4] in self.book.where and row[0] == Kind.LIMIT:
            self.ids.append(row[4])
        return fills

    def draw(self) -> Row:
        pick = self.random.random()
        side = self.random.getrandbits(1)
        if self.book.resting[side] == self.slots:
            return self._cancel()
        if pick < MARKETABLE and self.book.resting[1 - side]:
            return self._marketable(side)
        occupancy = sum(self.book.resting) / (2 * self.per_side) - 1
        if pick < MARKETABLE + CANCEL + PULL * occupancy and self.book.where:
            return self._cancel()
        return self.passive(side)

    def passive(self, side: int) -> Row:
        near, far = self.book.best(side), self.book.best(1 - side)
        away = -1 if side == Side.BUY else 1
        near = near or (far + away if far else MID + away)
        gap = abs(far - near) if far else 0
        offset = int(self.random.expovariate(1 / self.depth))
        if gap > 1 and self.random.random() < IMPROVE:
            offset = -self.random.randrange(1, gap)
        return self._limit(side, near + away * offset, self._size())

    def _marketable(self, side: int) -> Row:
        beyond = self.random.choice(REACH) * (1 if side == Side.BUY else -1)
        factor = SWEEP_FACTOR if self.random.random() < SWEEP else 1
        return self._limit(side, self.book.best(1 - side) + beyond, self._size() * factor)

    def _limit(self, side: int, price: int, size: int) -> Row:
        self.next_id += 1
        return (Kind.LIMIT, side, price, size, self.next_id, self.random.randrange(OWNERS))

    def _cancel(self) -> Row:
        while True:
            place = self.random.randrange(len(self.ids))
            order_id = self.ids[place]
            if order_id in self.book.where:
                break
            self.ids[place] = self.ids[-1]
            self.ids.pop()
        side, key = self.book.where[order_id]
        size, owner = self.book.levels[side][key][order_id]
        if size > 1 and self.random.random() < PARTIAL:
            size = self.random.randrange(1, size)
        return (Kind.CANCEL, side, abs(key), size, order_id, owner)

    def _size(self) -> int:
        if self.random.random() < ODD:
            return self.random.randrange(1, 5 * LOT)
        return LOT * self.random.choice(LOTS)
