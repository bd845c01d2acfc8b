"""Trajectories as tables in currency: events, fills, accounts."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from jaxmars import clock
from jaxmars.book import Book, cash, holdings, wide_to_int
from jaxmars.sim.lanes import Finished
from jaxmars.types import Kind, Side, Status

NOBODY_NAME = "nobody"
EXTRA_DECIMALS = 2  # that an average has beyond a price
ROLES = ("MAKER", "TAKER", "AUCTION")
MAKER, TAKER, AUCTION = range(len(ROLES))


class Labels(NamedTuple):
    """What turns numbers of the device into words and currency."""

    names: tuple[str, ...]  # of the agents
    kinds: tuple[str, ...]
    tick_size: float  # currency per tick

    @property
    def decimals(self) -> int:
        """Decimals of a price on the grid of ticks."""
        return max(0, len(f"{self.tick_size:.9f}".rstrip("0").split(".")[1]))

    def price(self, ticks: ArrayLike) -> np.ndarray:
        """Currency; nan where the price is 0, that is unknown."""
        value = np.round(np.asarray(ticks, np.float64) * self.tick_size, self.decimals)
        return np.where(np.asarray(ticks) > 0, value, np.nan)

    def name(self, agent_id: np.ndarray) -> pd.Categorical:
        """Names of agents by id."""
        known = (agent_id >= 0) & (agent_id < len(self.names))
        codes = np.where(known, agent_id, len(self.names))
        return pd.Categorical.from_codes(codes, [*self.names, NOBODY_NAME])


def time_ns(trajectory: Finished) -> np.ndarray:
    """Nanoseconds since midnight of every event, `[events]` int64."""
    time = trajectory.events.time
    return np.asarray(time.sec, np.int64) * clock.NANOS + np.asarray(time.nsec)


def event_frame(trajectory: Finished, labels: Labels) -> pd.DataFrame:
    """One row per event: what was asked for, what it did, the market just after it."""
    event = trajectory.events
    return pd.DataFrame(
        {
            "trajectory": np.full(len(event.kind), trajectory.number, np.int32),
            "time_ns": time_ns(trajectory),
            "kind": _named(event.kind, [kind.name for kind in Kind]),
            "side": _named(event.side, [side.name for side in Side]),
            "price": labels.price(event.price),
            "size": event.size,
            "order_id": event.order_id,
            "agent_id": event.agent_id,
            "agent": labels.name(np.asarray(event.agent_id)),
            "filled": event.filled,
            "fills": (np.asarray(event.trades.size) > 0).sum(1, dtype=np.int32),
            "first_price": labels.price(event.first_price),
            "last_price": labels.price(event.last_price),
            "best_bid": labels.price(event.best_bid),
            "best_ask": labels.price(event.best_ask),
            "status": event.status,
        }
    )


def fill_frame(trajectory: Finished, labels: Labels) -> pd.DataFrame:
    """One row per fill and agent: both sides of every trade, in their order.

    A trade of two agents is a row of the resting order (MAKER) and one of the incoming order
    (TAKER) with the same size; a call auction fills resting orders only (AUCTION).
    """
    event = trajectory.events
    trades = event.trades
    row, place = np.nonzero(np.asarray(trades.size) > 0)
    at = lambda column: np.asarray(column)[row, place]
    uncrossed = np.asarray(event.kind)[row] == Kind.UNCROSS
    both = lambda mine, theirs: np.concatenate([mine, theirs[~uncrossed]])
    of_event = lambda column: np.asarray(column)[row]
    ids = both(at(trades.agent_id), of_event(event.agent_id))
    frame = pd.DataFrame(
        {
            "trajectory": np.int32(trajectory.number),
            "time_ns": both(time_ns(trajectory)[row], time_ns(trajectory)[row]),
            "agent_id": ids,
            "agent": labels.name(ids),
            "side": _named(both(at(trades.side), 1 - at(trades.side)), [s.name for s in Side]),
            "price": labels.price(both(at(trades.price), at(trades.price))),
            "size": both(at(trades.size), at(trades.size)),
            "order_id": both(at(trades.order_id), of_event(event.order_id)),
            "role": _named(
                both(np.where(uncrossed, AUCTION, MAKER), np.full(len(row), TAKER)), list(ROLES)
            ),
        }
    )
    order = np.lexsort((frame["role"].cat.codes, both(place, place), both(row, row)))
    return frame.iloc[order].reset_index(drop=True)


def account_frame(trajectory: Finished, labels: Labels, mid: float) -> pd.DataFrame:
    """One row per agent at the end.

    Args:
      trajectory: with its final book and accounts.
      labels: names and tick.
      mid: final mid, ticks; nan if there is none.

    Returns:
      Columns: shares bought, sold, held and tradable; average prices, cash and profit in currency.
      Tradable is what resting orders do not bind (`book.tradable`). The profit is what trading
      brought, with shares at the final mid.
    """
    account = trajectory.accounts
    money = lambda value: np.round(np.asarray(value) * labels.tick_size, labels.decimals)
    paid, received = wide_to_int(account.paid), wide_to_int(account.received)
    bought, sold = (np.asarray(x, np.int64) for x in (account.bought, account.sold))
    held, owned = np.asarray(holdings(account), np.int64), wide_to_int(cash(account))
    bound_cash, bound_shares = _bound(trajectory.book, len(labels.names))
    each = labels.decimals + EXTRA_DECIMALS
    average: Any = lambda value, shares: np.round(
        np.where(shares > 0, value / np.maximum(shares, 1), np.nan) * labels.tick_size, each
    )
    marked = (bought - sold) * mid if np.isfinite(mid) else np.where(bought == sold, 0.0, np.nan)
    return pd.DataFrame(
        {
            "trajectory": np.int32(trajectory.number),
            "agent_id": np.arange(len(labels.names), dtype=np.int32),
            "agent": pd.Categorical.from_codes(
                np.arange(len(labels.names)), [*labels.names, NOBODY_NAME]
            ),
            "kind": labels.kinds,
            "bought": bought,
            "sold": sold,
            "average_bought": average(paid, bought),
            "average_sold": average(received, sold),
            "holdings": held,
            "cash": money(owned),
            "tradable_cash": money(owned - bound_cash),
            "tradable_shares": held - bound_shares,
            "profit": money(received - paid + marked),
        }
    )


def status_table(trajectories: list[Finished]) -> dict[str, dict[str, int]]:
    """How many events and how many trajectories raised each status bit."""
    whole = np.array([t.status for t in trajectories])
    single = np.concatenate([np.asarray(t.events.status) for t in trajectories])
    return {
        str(bit.name): {
            "events": int((single & bit != 0).sum()),
            "trajectories": int((whole & bit != 0).sum()),
        }
        for bit in Status
        if (whole & bit).any()
    }


def _bound(book: Book, num: int) -> tuple[np.ndarray, np.ndarray]:
    """What the resting orders of `num` agents bind: bids cash, ticks x shares, and asks shares,
    `[num]` int64 both."""
    size, price = (np.asarray(x, np.int64) for x in (book.size, np.abs(book.key)))
    own = np.asarray(book.agent_id) == np.arange(num)[:, None, None]
    money, shares = np.where(own, size * price, 0).sum(2), np.where(own, size, 0).sum(2)
    return money[:, Side.BUY], shares[:, Side.SELL]


def _named(codes: Any, names: list[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(np.asarray(codes), names)
