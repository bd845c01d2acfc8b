"""The release's TWAP agent in plain Python, written from its description (spec 7.3).

Prices are the release's units, 100 to a tick; nothing here is shared with the package.
"""

import dataclasses
import math

TICK = 100  # price units
LOT = 100  # shares


@dataclasses.dataclass(frozen=True)
class Task:
    """What it is told."""

    is_buy: bool
    total: int  # seconds
    target: int  # shares
    passive_ratio: float = 0.1
    aggressive_ratio: float = 1.0
    passive_seconds: int = 20
    idle_seconds: int = 10
    change: int = 500  # price units


@dataclasses.dataclass(frozen=True)
class Live:
    """One of its resting orders."""

    order_id: int
    price: int  # price units
    volume: int  # shares


@dataclasses.dataclass(frozen=True)
class Move:
    """What it does at a wake-up."""

    cancels: dict[int, int]  # order id -> shares
    order: tuple[int, int] | None  # price, volume
    sleep: int | None  # seconds, None for stop


def up100(volume: int) -> int:
    return math.ceil(volume / LOT) * LOT


def quotes(asks: list[int], bids: list[int], last: int) -> tuple[int, int]:
    """(ask1, bid1) from the prices of all orders."""
    if not asks and not bids:
        return last, last
    ask = min(asks) if asks else max(bids) + TICK
    bid = max(bids) if bids else min(asks) - TICK
    return ask, bid


def move(
    task: Task,
    is_aggressive: bool,
    seconds: float,
    completed: int,
    live: list[Live],
    asks: list[int],
    bids: list[int],
    last: int,
) -> Move:
    """The next move; `live` oldest first, `seconds` since the start."""
    if seconds >= task.total:
        return Move({order.order_id: order.volume for order in live}, None, None)
    if completed >= task.target:
        return Move({}, None, None)
    ask, bid = quotes(asks, bids, last)
    near, far = (bid, ask) if task.is_buy else (ask, bid)
    change = task.change if task.is_buy else -task.change
    if is_aggressive:
        return _aggressive(task, seconds, completed, live, far + change)
    return _passive(task, completed, live, near)


def _passive(task: Task, completed: int, live: list[Live], near: int) -> Move:
    cancels = {order.order_id: order.volume for order in live if order.price != near}
    here = [order for order in live if order.price == near]
    resting = sum(order.volume for order in here)
    available = task.target - completed - resting
    quota = up100(int(task.passive_ratio * task.target))
    new = None
    if resting < quota:
        volume = min(up100(quota - resting), available)
        new = (near, volume) if volume > 0 else None
    elif resting - quota >= LOT:
        cancels |= _take(here, resting - quota)
    return Move(cancels, new, task.passive_seconds)


def _aggressive(task: Task, seconds: float, completed: int, live: list[Live], price: int) -> Move:
    due = round(task.target * (round(seconds) + task.idle_seconds) / task.total)
    cancels: dict[int, int] = {}
    new = None
    if due > completed:
        most = up100(int(task.aggressive_ratio * task.target))
        wanted = min(up100(due - completed), most)
        available = task.target - completed - sum(order.volume for order in live)
        if available < wanted:
            cancels = _take(live, wanted - available)
            available += sum(cancels.values())
            wanted = available
        new = (price, wanted) if wanted > 0 else None
    return Move(cancels, new, task.idle_seconds)


def _take(live: list[Live], volume: int) -> dict[int, int]:
    """Cancels of `volume` shares, oldest orders first, never more than rests."""
    taken = {}
    for order in live:
        part = min(order.volume, volume)
        if part > 0:
            taken[order.order_id] = part
        volume -= part
    return taken
