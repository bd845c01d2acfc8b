"""The release's own exchange and engine (microsoft/MarS), driven in place as an oracle.

Nothing of it is copied here: `load` imports it from the checkout that `JAXMARS_RELEASE` names.
Prices are ticks and times nanoseconds since midnight on our side of this file; the release counts
prices in hundredths of a tick's currency unit (100 per tick) and numbers orders from 10**9.
"""

import functools
import importlib
import logging
import os
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest

from jaxmars.types import Kind, Side

VARIABLE = "JAXMARS_RELEASE"
MODULES = {
    "agents": "market_simulation.agents.noise_agent",
    "trade_info": "market_simulation.states.trade_info_state",
    "env": "mlib.core.env",
    "event": "mlib.core.event",
    "exchange": "mlib.core.exchange",
    "exchange_config": "mlib.core.exchange_config",
    "limit_order": "mlib.core.limit_order",
    "orderbook": "mlib.core.orderbook",
}
UNITS = 100  # price units of a tick
LEVELS = 10  # of its snapshots
SYMBOL = "000000"
MIDNIGHT = pd.Timestamp("2024-01-01")
DAY = 86_400 * 10**9  # nanoseconds
INITIAL_CASH = 1_000  # price units, of a noise agent
FLOAT32 = 3e-7  # relative precision: a quotient of rounded numbers
LETTERS = {Side.BUY: "B", Side.SELL: "S"}
SIDES = {letter: side for side, letter in LETTERS.items()}
NO_LETTER, NO_ID = "None", -1

Array = np.ndarray | jax.Array
Message = tuple[int, int, int, int, int, int]  # the fields of `Order`


class Records(NamedTuple):
    """What the market shows after each order; a leading axis of orders on every field."""

    levels: Array  # [2, LEVELS, 2] ticks and shares
    trades: Array  # [max_trades, 4] ticks, shares, id of the resting, of the incoming order
    cancel: Array  # [3] ticks, shares, id of the order; 0 if none was cancelled
    last_price: Array  # [] ticks, 0 before any trade
    mid: Array  # [] ticks
    spread: Array  # [] ticks
    float_mid: Array  # [] ticks, float64
    weighted_mid: Array  # [] ticks, float64


class Wish(NamedTuple):
    """What an agent of the release asked its exchange for, before it became orders."""

    time: int  # nanoseconds since midnight
    agent: int
    kind: Kind
    side: Side
    price: int  # ticks
    size: int  # shares


class Holding(NamedTuple):
    """What the release says its agents own after a number of records; `[agents]` each."""

    records: int  # processed so far
    cash: tuple[int, ...]  # ticks x shares, gained since the start
    shares: tuple[int, ...]
    tradable_cash: tuple[int, ...]  # likewise
    tradable_shares: tuple[int, ...]


class Auction(NamedTuple):
    """How a call auction of the release ended; nothing traded if the volume is 0."""

    price: int  # ticks
    volume: int  # shares
    matched: dict[int, int]  # shares by order id
    resting: list[list[tuple[int, int, int]]]  # bids, asks: price, size, id in priority order


class Session(NamedTuple):
    """A run of the release's event engine with noise agents, one entry per order it accepted."""

    times: np.ndarray  # [orders] int64, nanoseconds since midnight
    messages: np.ndarray  # [orders, 6] int32, the fields of `Order`
    records: Records
    wishes: list[Wish]  # in the order of the wake-ups
    holdings: list[Holding]  # at each wake-up, before the agent acts


@functools.cache
def load() -> Any:
    """The modules of the release by the short names of `MODULES`; skips the test without them."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        pytest.skip(f"the release is not here (set {VARIABLE} to a checkout of microsoft/MarS)")
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    sys.path.insert(0, str(pathlib.Path(folder).resolve()))
    try:
        found = {name: importlib.import_module(path) for name, path in MODULES.items()}
    except ImportError as error:
        pytest.skip(f"the release at {folder} does not import: {error}")
    finally:
        sys.path.pop(0)
        root.setLevel(level)
        root.handlers[:] = handlers  # it configures logging when it is imported
    return type("Release", (), found)


def moment(nanoseconds: int) -> Any:
    """A time of the trading day as the release writes it."""
    return pd.Timestamp(MIDNIGHT.value + nanoseconds)


def continuous_exchange(release: Any, start: int, end: int) -> tuple[Any, Any]:
    """Its configuration and the exchange, for one continuous session (nanoseconds, inclusive)."""
    config = release.exchange_config.create_exchange_config_without_call_auction(
        market_open=moment(start), market_close=moment(end), symbols=[SYMBOL]
    )
    return config, release.exchange.Exchange(config)


class ReleaseBook:
    """One instrument on the release's exchange, in continuous trading all day."""

    def __init__(self, release: Any) -> None:
        self._make = release.limit_order.LimitOrder
        _, self._exchange = continuous_exchange(release, 0, DAY)
        self._prices: dict[int, int] = {}

    def send(self, message: Message) -> Any:
        """What the exchange answers to a limit order or a cancel: one record."""
        kind, _, price, _, order_id, _ = message
        if kind == Kind.LIMIT:
            self._prices[order_id] = price * UNITS
        order = limit_order(self._make, message, self._prices[order_id])
        (answer,) = self._exchange.submit_continuous_auction_order(order)
        return answer


def run_auction(release: Any, before: Sequence[Message], collected: Sequence[Message]) -> Auction:
    """A call auction of the release: the opening one, or after `before` the closing one.

    Args:
      release: from `load`.
      before: limit orders and cancels of the continuous session.
      collected: the same for the auction; the closing one takes no cancels.
    """
    config = release.exchange_config.create_Chinese_stock_exchange_config(MIDNIGHT, [SYMBOL])
    exchange = release.exchange.Exchange(config)
    prices = {m[4]: m[2] * UNITS for m in (*before, *collected) if m[0] == Kind.LIMIT}
    make = release.limit_order.LimitOrder
    opens, closes = (config.open_auction_start_time, config.open_auction_end_time)
    if before:
        opens, closes = (config.close_auction_start_time, config.close_auction_end_time)
    for message in before:
        exchange.submit_continuous_auction_order(limit_order(make, message, prices[message[4]]))
    for message in collected:
        order = limit_order(make, message, prices[message[4]], opens)
        exchange.submit_call_auction_order(order)
    trades = exchange.match_call_auction_orders(closes)[SYMBOL]
    trades = [trade for trade in trades if trade.type != "C"]
    book = exchange.get_lob(SYMBOL)
    resting = [
        [(order.price // UNITS, order.volume, order.order_id) for order in level.orders]
        for level in (*book.bids, *book.asks)
    ]
    bids = [order for level in resting[: len(book.bids)] for order in level]
    asks = [order for level in resting[len(book.bids) :] for order in level]
    if not trades:
        return Auction(0, 0, {}, [bids, asks])
    (trade,) = trades
    return Auction(trade.price // UNITS, trade.volume, trade.order_matched_volume, [bids, asks])


def limit_order(make: Any, message: Message, price: int, time: Any = MIDNIGHT) -> Any:
    """A message as the release writes it, at `price` in its units; it numbers cancels itself."""
    kind, side, _, size, order_id, agent = message
    cancel = kind == Kind.CANCEL
    letter = LETTERS[Side(side)]
    return make(
        time=time,
        type="C" if cancel else letter,
        price=price,
        volume=size,
        symbol=SYMBOL,
        agent_id=agent,
        order_id=NO_ID if cancel else order_id,
        cancel_type=letter if cancel else NO_LETTER,
        cancel_id=order_id if cancel else NO_ID,
        tag="",
    )


def records_of(answers: Sequence[Any], max_trades: int) -> Records:
    """The release's records in the form that ours are compared in.

    Raises:
      ValueError: one of them has more than `max_trades` transactions.
    """
    rows = [_record(answer, max_trades) for answer in answers]
    return Records(*(np.stack(column) for column in zip(*rows, strict=True)))


def _record(answer: Any, max_trades: int) -> Records:
    order, lob = answer.order, answer.lob_snapshot
    trades, cancel = np.zeros((max_trades, 4), np.int64), np.zeros(3, np.int64)
    if len(answer.transactions) > max_trades:
        raise ValueError(f"{len(answer.transactions)} transactions exceed {max_trades} records")
    for place, trade in enumerate(answer.transactions):
        if trade.type == "C":
            (target,) = trade.buy_id + trade.sell_id
            cancel[:] = (trade.price // UNITS, trade.volume, target)
            continue
        (buy,), (sell,) = trade.buy_id, trade.sell_id
        resting, incoming = (sell, buy) if trade.type == "B" else (buy, sell)
        if trade.type != order.type:
            raise ValueError(f"a {order.type} order made a {trade.type} transaction")
        trades[place] = (trade.price // UNITS, trade.volume, resting, incoming)
    last = max(lob.last_price, 0)
    known = bool(lob.bid_prices or lob.ask_prices or last)
    floats = (lob.float_mid_price, lob.float_weighted_mid_price) if known else (0, 0)
    return Records(
        levels=np.stack(
            [
                _levels(lob.bid_prices, lob.bid_volumes),
                _levels(lob.ask_prices, lob.ask_volumes),
            ]
        ),
        trades=trades,
        cancel=cancel,
        last_price=np.array(last // UNITS),
        mid=np.array(lob.mid_price // UNITS if known else 0),
        spread=np.array(lob.spread // UNITS),
        float_mid=np.array(floats[0] / UNITS),
        weighted_mid=np.array(floats[1] / UNITS),
    )


def _levels(prices: Iterable[int], volumes: Iterable[int]) -> np.ndarray:
    found = np.zeros((LEVELS, 2), np.int64)
    for place, (price, volume) in enumerate(zip(prices, volumes, strict=True)):
        found[place] = (price // UNITS, volume)
    return found


def first_difference(ours: Records, theirs: Records, messages: np.ndarray) -> str | None:
    """What differs first, with the order after which it does; None if nothing differs.

    Everything is compared for equality but the weighted mid, a quotient, for which ours has the
    precision of float32.
    """
    wrong = {}
    for name, a, b in zip(Records._fields, ours, theirs, strict=True):
        same = np.isclose(a, b, rtol=FLOAT32, atol=0) if name == "weighted_mid" else a == b
        wrong[name] = ~same.reshape(len(messages), -1).all(1)
    differs = np.any(list(wrong.values()), axis=0)
    if not differs.any():
        return None
    at = int(np.argmax(differs))
    lines = [f"order {at}: {messages[at].tolist()}"]
    for name, a, b in zip(Records._fields, ours, theirs, strict=True):
        if wrong[name][at]:
            lines.append(f"{name}: ours {a[at].tolist()}, the release's {b[at].tolist()}")
    return "\n".join(lines)


def run_session(
    release: Any, seeds: Sequence[int], start: int, end: int, price: int, max_trades: int
) -> Session:
    """Noise agents of the release, one per seed, on its event engine; no delays, gaps of 1 s.

    Args:
      release: from `load`.
      seeds: of the agents; their numbers are the places in this list.
      start: first wake-up of all of them, nanoseconds since midnight.
      end: last moment at which they act.
      price: their first price, ticks.
      max_trades: room for the transactions of one order.
    """
    wishes: list[Wish] = []
    holdings: list[Holding] = []
    config, exchange = continuous_exchange(release, start, end)
    exchange.register_state(release.trade_info.TradeInfoState())
    env = release.env.Env(exchange=exchange)
    listening = _listening_agent(release, wishes)
    for seed in seeds:
        agent = listening(
            symbol=SYMBOL,
            init_price=price * UNITS,
            interval_seconds=1,
            start_time=moment(start),
            end_time=moment(end),
            seed=seed,
        )
        env.register_agent(agent)
    env.push_events(release.event.create_exchange_events(config))
    answers = exchange.states()[SYMBOL]["TradeInfoState"].trade_infos
    for observation in env.env():
        holdings.append(_holding(env.agents.values(), len(answers)))
        env.step(observation.agent.get_action(observation))
    return Session(
        times=np.array([(x.order.time - MIDNIGHT).value for x in answers]),
        messages=np.array([_message(x.order) for x in answers], np.int32),
        records=records_of(answers, max_trades),
        wishes=wishes,
        holdings=holdings,
    )


def _listening_agent(release: Any, wishes: list[Wish]) -> Any:
    """Its noise agent, which also notes what it asks for."""

    class Listening(release.agents.NoiseAgent):
        def construct_valid_orders(self, **asked: Any) -> Any:
            own = [p for p, held in self.lob_price_orders[SYMBOL].items() if held]
            orders = super().construct_valid_orders(**asked)
            letter, price = asked["type"], asked["price"]
            gaps = sorted(abs(p - price) for p in own)
            if letter == "C" and own and gaps[:1] == gaps[1:2]:
                price = orders[0].price  # two prices are as near: the one it drew
            wishes.append(
                Wish(
                    time=(asked["time"] - MIDNIGHT).value,
                    agent=self.agent_id,
                    kind=Kind.CANCEL if letter == "C" else Kind.LIMIT,
                    side=SIDES.get(letter, Side.BUY),
                    price=price // UNITS,
                    size=asked["volume"],
                )
            )
            return orders

    return Listening


def _holding(agents: Iterable[Any], records: int) -> Holding:
    agents = list(agents)
    return Holding(
        records=records,
        cash=tuple(int(agent.cash - INITIAL_CASH) // UNITS for agent in agents),
        shares=tuple(agent.holdings[SYMBOL] for agent in agents),
        tradable_cash=tuple(int(agent.tradable_cash - INITIAL_CASH) // UNITS for agent in agents),
        tradable_shares=tuple(agent.tradable_holdings[SYMBOL] for agent in agents),
    )


def _message(order: Any) -> Message:
    cancel = order.type == "C"
    return (
        Kind.CANCEL if cancel else Kind.LIMIT,
        SIDES[order.cancel_type if cancel else order.type],
        order.price // UNITS,
        order.volume,
        order.cancel_id if cancel else order.order_id,
        order.agent_id,
    )
