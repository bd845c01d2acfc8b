"""Random flows of the plain Python book as the tables a venue would publish."""

from typing import Any

import numpy as np
import pandas as pd
from oracles.book_differential import Mix, drawn_flow
from oracles.lob import Oracle

from jaxmars.data.l3 import Action, L3Columns
from jaxmars.types import Kind, Side

TICK = 5  # price units
OWNER = 0
CALM = Mix({"limit": 50, "sweep": 8, "cancel": 24, "partial": 12, "market": 6}, 12, 2, 300)
CODES = {"add": Action.ADD, "market": Action.MARKET, "less": Action.REDUCE, "gone": Action.CANCEL}
COLUMNS = L3Columns(
    time="when",
    action="what",
    side="way",
    price="at",
    size="shares",
    order_id="number",
    actions=CODES,
    sides={"buy": Side.BUY, "sell": Side.SELL},
    price_scale=100,
    sequence="line",
)


def drawn_messages(seed: int, num: int, capacity: int) -> np.ndarray:
    """`[num, 6]` messages of one owner, all of which the oracle accepts; ids are positive."""
    rows, _ = drawn_flow(seed, CALM, capacity, num)
    rows[:, 5] = OWNER
    rows[:, 4] = abs(rows[:, 4])
    oracle, kept = Oracle(capacity), []
    for row in rows.tolist():
        before = [oracle.volume(side) for side in Side]
        outcome = oracle.apply(*row)
        if outcome.filled or outcome.cancelled or before != [oracle.volume(s) for s in Side]:
            kept.append(row)
    return np.array(kept, np.int32)


def books(messages: np.ndarray, capacity: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """After each message: (price, size) `[num, 2, levels, 2]`, orders `[num, 2, levels]`."""
    oracle, found, orders = Oracle(capacity), [], []
    for row in messages.tolist():
        oracle.apply(*row)
        found.append([oracle.l2(side, levels) for side in Side])
        counts = [[len(oracle.levels[s][p]) for p in oracle.prices(s)[:levels]] for s in Side]
        orders.append([row + [0] * (levels - len(row)) for row in counts])
    return np.array(found, np.int32), np.array(orders, np.int32)


def order_table(messages: np.ndarray) -> pd.DataFrame:
    """One row per message, as it was sent."""
    codes = {Kind.LIMIT: "add", Kind.MARKET: "market", Kind.CANCEL: "less"}
    rows = [
        _row(n, codes[Kind(kind)], side, price, size, name)
        for n, (kind, side, price, size, name, _) in enumerate(messages.tolist())
    ]
    return _table(rows)


def change_table(messages: np.ndarray, capacity: int) -> tuple[pd.DataFrame, np.ndarray]:
    """One row per change of the book; and the last row of each message."""
    oracle, rows, last = Oracle(capacity), [], []
    for n, (kind, side, price, size, name, owner) in enumerate(messages.tolist()):
        left = {order.order_id: order.size for s in Side for order in oracle.orders(s)}
        outcome = oracle.apply(kind, side, price, size, name, owner)
        for trade in outcome.trades:
            rows.append(_row(n, "less", 1 - side, trade.price, trade.size, trade.order_id))
        if kind == Kind.LIMIT and outcome.filled < size:
            rows.append(_row(n, "add", side, price, size - outcome.filled, name))
        if outcome.cancelled:
            whole = outcome.cancelled == left[name]
            rows.append(_row(n, "gone" if whole else "less", side, 0, outcome.cancelled, name))
        last.append(len(rows) - 1)
    return _table(rows), np.array(last)


def a_share_tables(messages: np.ndarray, capacity: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same day as an order table and a table of executions and cancels, one sequence."""
    oracle, sequence = Oracle(capacity), iter(range(1, 10**6))
    numbers: dict[int, int] = {}  # recorded number of an id: its place in the sequence
    orders, trades = [], []
    for n, (kind, side, price, size, name, owner) in enumerate(messages.tolist()):
        outcome = oracle.apply(kind, side, price, size, name, owner)
        if kind == Kind.CANCEL:
            own = numbers[name]
            pair = (own, 0) if side == Side.BUY else (0, own)
            trades.append((next(sequence), _clock(n), *pair, "0", outcome.cancelled, "C"))
            continue
        numbers[name] = next(sequence)
        code = "2" if kind == Kind.LIMIT else "1"
        shown = _price(price) if kind == Kind.LIMIT else "-1"
        orders.append((numbers[name], _clock(n), "BS"[side], shown, size, code))
        for trade in outcome.trades:
            pair = (numbers[name], numbers[trade.order_id])
            pair = pair if side == Side.BUY else pair[::-1]
            row = (next(sequence), _clock(n), *pair, _price(trade.price), trade.size, "F")
            trades.append(row)
    order_names = ["order_number", "time", "side", "price", "size", "order_type"]
    trade_names = ["sequence", "time", "buy_number", "sell_number", "price", "size", "flag"]
    return pd.DataFrame(orders, columns=order_names), pd.DataFrame(trades, columns=trade_names)


def _price(ticks: int) -> str:
    """Currency with two decimals."""
    return f"{ticks * TICK / 100:.2f}"


def _clock(message: int) -> str:
    """Ten messages a millisecond, from 09:59:59.990."""
    micros = 990_000 + 100 * message
    second = 59 + micros // 10**6
    return f"2024-03-01 {9 + second // 60:02d}:{(59 + second // 60) % 60:02d}:{second % 60:02d}" + (
        f".{micros % 10**6:06d}"
    )


def _row(message: int, what: str, side: int, price: int, size: int, name: int) -> tuple[Any, ...]:
    return (_clock(message), what, ("buy", "sell")[side], _price(price), size, name)


def _table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["when", "what", "way", "at", "shares", "number"])
    return frame.assign(line=np.arange(len(frame)) // 2)
