"""Invented days for datasets: random orders before random books, which nobody has to match."""

import datetime
import pathlib
from typing import Any

import numpy as np

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.data import Flow, write_events
from jaxmars.train.build import Day, Recipe
from jaxmars.train.flows import DayFlow, events_day
from jaxmars.train.splits import Split
from jaxmars.types import L2, Event, Kind, Side, Time, no_trades

OPEN = 34_200  # seconds
LEVELS = 3  # as in the hand-made day, so that programs are shared
MODEL = OrderModelConfig.tiny()
MARKET = MarketConfig(levels=LEVELS)

ORDER_COLUMNS = """
time = "time"
action = "what"
side = "way"
price = "px"
size = "qty"
order_id = "id"
actions = {add = "ADD", red = "REDUCE", mkt = "MARKET"}
sides = {b = "BUY", s = "SELL"}
time_unit = 1_000_000_000
price_scale = 100
"""
ORDER_TABLE = """time,what,way,px,qty,id
34200,add,b,10.00,100,1
34201,add,s,10.02,50,2
34202,add,s,10.03,70,3
34203,add,b,10.03,80,4
34204,red,s,10.03,10,3
34205,add,b,9.99,40,5
34206,mkt,s,0,120,6
"""


def random_flow(seed: int, orders: int, scale: int = 1) -> Flow:
    """A day with bursts of cancels at one time and price, which merge.

    Args:
      seed: of the day.
      orders: rows.
      scale: of sizes, so that days can differ in what they would do to bins.
    """
    rng = np.random.default_rng(seed)
    whole: Any = lambda low, high: rng.integers(low, high, orders).astype(np.int32)
    kind = np.where(rng.random(orders) < 0.6, Kind.LIMIT, Kind.CANCEL).astype(np.int32)
    price = whole(990, 1010)
    together = np.flatnonzero((kind[1:] == Kind.CANCEL) & (kind[:-1] == Kind.CANCEL))
    gaps = rng.integers(1, 2_000_000_000, orders)
    for at in together[::2]:
        gaps[at + 1], price[at + 1] = 0, price[at]
    stamps = OPEN * 10**9 + np.cumsum(gaps)
    size = scale * whole(1, 400)
    bid = whole(995, 1000)
    levels = np.arange(LEVELS)
    prices = np.stack([bid[:, None] - levels, bid[:, None] + whole(1, 5)[:, None] + levels], 1)
    sizes = scale * rng.integers(1, 900, (orders, 2, LEVELS))
    filled = np.where((kind == Kind.LIMIT) & (rng.random(orders) < 0.3), size, 0).astype(np.int32)
    narrow: Any = lambda x: np.ascontiguousarray(x, np.int32)
    zero = narrow(np.zeros(orders))
    event = Event(
        time=Time(narrow(stamps // 10**9), narrow(stamps % 10**9)),
        kind=narrow(kind),
        side=whole(0, len(Side)),
        price=narrow(price),
        size=narrow(size),
        order_id=zero,
        agent_id=zero,
        filled=narrow(filled),
        first_price=narrow(np.where(filled > 0, price, 0)),
        last_price=narrow(np.maximum.accumulate(np.where(filled > 0, price, 0))),
        best_bid=narrow(bid),
        best_ask=narrow(prices[:, 1, 0]),
        status=zero,
        trades=no_trades(orders),
    )
    return Flow(event, L2(narrow(prices), narrow(sizes)))


def day_of(folder: pathlib.Path, symbol: str, date: str, flow: Flow, reads: list[str]) -> Day:
    """A day written to a file; `reads` gets a line whenever it is read."""
    path = folder / f"{symbol}_{date}.parquet"
    write_events(path, flow.event, flow.l2, {})

    def read() -> DayFlow:
        reads.append(path.stem)
        return events_day(path, 0.01)

    return Day(symbol, datetime.date.fromisoformat(date), (path,), {}, read)


def recipe_of(days: list[Day], split: Split) -> Recipe:
    return Recipe(tuple(days), MARKET, MODEL, split, None)
