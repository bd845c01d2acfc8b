"""A small forecast that several tests share: model and day on disk."""

import pathlib
from typing import NamedTuple

import numpy as np
from oracles.tiny_world import loud_model

from jaxmars.config import OrderModelConfig
from jaxmars.models import OrderModel

GROWTH = 16  # orders per segment
LANES = 4
SLOTS = 256  # those of the built-in starts
DAY_OPEN, DAY_SECONDS = 36_000, 330  # 10:00:00 to 10:05:30
DAY_LEVELS = 10
TICK_UNITS = 100
NO_PRICE = 9_999_999_999


def small_model() -> OrderModel:
    """A tiny random model with bins for a lively market in lots of 100."""
    return loud_model(OrderModelConfig.tiny())


class _Resting(NamedTuple):
    """One order of the day."""

    order_id: int
    side: int  # +1 bid, -1 ask
    price: int  # ticks
    size: int


def write_day(folder: pathlib.Path, seed: int = 0) -> tuple[pathlib.Path, pathlib.Path]:
    """A LOBSTER day of new orders, deletions and whole executions around a price of 20.00."""
    rng = np.random.default_rng(seed)
    orders = [
        _Resting(1 + i, side, 2000 - side * (1 + i % 14), 100 * int(rng.integers(1, 6)))
        for side in (1, -1)
        for i in range(14)
    ]
    orders = [order._replace(order_id=i + 1) for i, order in enumerate(orders)]
    messages, books, resting = [], [], []
    times = np.sort(rng.uniform(0, DAY_SECONDS, 700)).round(6)
    times[: len(orders)], times[-1] = 0, DAY_SECONDS
    number = len(orders)
    for i, at in enumerate(times):
        if i < len(orders):
            kind, order = 1, orders[i]
        else:
            number += 1
            kind, order = _move(rng, resting, number)
        resting = [*resting, order] if kind == 1 else [o for o in resting if o != order]
        cells = (order.order_id, order.size, order.price * TICK_UNITS, order.side)
        messages.append(f"{DAY_OPEN + at:.6f},{kind}," + ",".join(map(str, cells)))
        books.append(_book_row(resting))
    paths = folder / "TEST_message_10.csv", folder / "TEST_orderbook_10.csv"
    for path, lines in zip(paths, (messages, books), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return paths


def _move(rng: np.random.Generator, resting: list[_Resting], number: int) -> tuple[int, _Resting]:
    """A message type and the order it is about."""
    side = int(rng.choice([1, -1]))
    own = sorted((o for o in resting if o.side == side), key=lambda o: -side * o.price)
    draw = rng.random()
    if len(own) > 12 and draw < 0.25:
        return 4, own[0]
    if len(own) > 12 and draw < 0.5:
        return 3, own[int(rng.integers(DAY_LEVELS))]
    limit = min(side * o.price for o in resting if o.side != side) - 1
    price = min(side * own[0].price + int(rng.integers(-3, 2)), limit)
    return 1, _Resting(number, side, side * price, 100 * int(rng.integers(1, 6)))


def _book_row(resting: list[_Resting]) -> str:
    """The ten best levels of both sides."""
    sides = []
    for side in (-1, 1):
        volume: dict[int, int] = {}
        for order in resting:
            if order.side == side:
                volume[order.price] = volume.get(order.price, 0) + order.size
        levels = [(p * TICK_UNITS, volume[p]) for p in sorted(volume, key=lambda p: -side * p)]
        none = (-side * NO_PRICE, 0)
        sides.append((levels + [none] * DAY_LEVELS)[:DAY_LEVELS])
    cells = [cell for ask, bid in zip(*sides, strict=True) for cell in (*ask, *bid)]
    return ",".join(map(str, cells))
