"""A market to trade in by hand: look, send, cancel, let time pass, fork, save.

    market = Market(start, agents, params, cfg, seed=1)
    market.advance_to("10:00:00")
    receipt = market.submit(Kind.LIMIT, Side.BUY, size=300, price=19.98)
    market.advance(60)
    market.cancel(receipt.order_id)
    futures = market.futures(128, seconds=300)

You are one more agent, with the next free id, an account and, if you like, latency. The others are
whatever agents the market was made with.
"""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars import clock
from jaxmars.agents.base import EVERYTHING, Agent, Ask, Request, make_request
from jaxmars.agents.manual import ManualState, manual_agent
from jaxmars.book import (
    Account,
    account_row,
    cash,
    empty_accounts,
    holdings,
    resting_orders,
    tradable,
    wide_from_int,
    wide_to_int,
)
from jaxmars.clock_text import clock_text
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.errors import InputError, quote
from jaxmars.sim.flight import Delay, no_delay
from jaxmars.sim.lanes import Finished, Start, trajectory_keys
from jaxmars.sim.run import run_futures, run_until
from jaxmars.sim.state import MarketState, init_market
from jaxmars.tasks import interactive_values as values
from jaxmars.tasks.market_file import load_market, save_market
from jaxmars.tasks.simulate_tables import Labels, event_frame, fill_frame
from jaxmars.types import Event, Kind, Params, Side, Time, describe

FIRST_OWN_ID = 2_000_000_000  # your orders are numbered from here, apart from everybody else's
YOU = "you"
NEXT = -1  # queued before every wake-up of its moment
FORK_DRAWS = 2**32 - 2  # folded into a key where steps fold in their number
SUBMITTED = (Kind.LIMIT, Kind.MARKET, Kind.IOC, Kind.FOK, Kind.POST_ONLY)
MAX_FUTURES = 1_000_000
MAX_SEED = 2**32 - 1


class Receipt(NamedTuple):
    """What became of something you sent, up to now."""

    order_id: int
    filled: int  # shares
    price: float  # average of them in currency, nan without any
    trouble: tuple[str, ...]  # one sentence per status bit


class Market:
    """One trajectory in your hands. Times are seconds or "HH:MM:SS", prices currency.

    With the same start, agents, seed and actions everything repeats. Results of a model with an
    anchored context also depend on where you stop, because a context is anchored anew whenever time
    starts to run.
    """

    def __init__(
        self,
        start: Start,
        agents: tuple[Agent, ...],
        params: tuple[Params, ...],
        cfg: SimConfig,
        *,
        seed: int = 0,
        cash: float = 0.0,
        shares: int = 0,
        latency: Delay | None = None,
    ) -> None:
        """Opens the market.

        Args:
          start: one start (no leading axis); its `end` is not read. Accounts and delays are those
            of `agents`, without you.
          agents: the others, ids 0, 1, …
          params: theirs.
          cfg: instrument and steps per compiled call.
          seed: of everything random.
          cash: yours, currency.
          shares: yours.
          latency: yours, unbatched; needs `cfg.market.max_in_flight`.

        Raises:
          InputError: not as many params or memories as agents, a seed that is no whole number from
            0 to `MAX_SEED`, or cash or shares that are negative or too many.
        """
        self._agents = (*agents, manual_agent())
        self._params = (*params, None)
        self._cfg = cfg
        self._you = len(agents)
        self._sent = 0
        self._events: list[Event] = []
        self._key = trajectory_keys(seed, np.zeros(1, int))[0]
        if not len(agents) == len(params) == len(start.memories):
            raise InputError(
                f"the market has {len(agents)} agents, {len(params)} params and "
                f"{len(start.memories)} memories in its start, expected as many of each"
            )
        seed = values.whole("seed", seed, 0, MAX_SEED)
        money, owned = values.money(cash, cfg.market.tick_size), values.owned(shares)
        others = empty_accounts(self._you) if start.accounts is None else start.accounts
        mine = empty_accounts(1)._replace(
            cash=wide_from_int(np.array([money])), shares=jnp.array([owned], jnp.int32)
        )
        delay = start.delay
        if latency is not None:
            before = no_delay(self._you) if delay is None else delay
            delay = jax.tree.map(lambda x, y: jnp.append(x, y), before, latency)
        elif delay is not None:
            delay = jax.tree.map(lambda x: jnp.append(x, 0), delay)
        self._state = init_market(
            self._key,
            self._params,
            start.book,
            start.time,
            start.end,
            start.last_price,
            (*start.memories, None),
            agents=self._agents,
            cfg=cfg.market,
            accounts=jax.tree.map(lambda x, y: jnp.concatenate([x, y]), others, mine),
            delay=delay,
            reference=0 if start.reference is None else start.reference,
        )
        self._run(start.time)

    @property
    def config(self) -> MarketConfig:
        """The instrument."""
        return self._cfg.market

    @property
    def state(self) -> MarketState:
        """Everything, on the device."""
        return self._state

    @property
    def seconds(self) -> float:
        """Now, seconds since midnight."""
        time = self._state.end
        return int(time.sec) + int(time.nsec) / clock.NANOS

    @property
    def account(self) -> dict[str, float]:
        """Your cash and shares: owned, and not bound by your resting orders."""
        mine = account_row(self._state.accounts, self._you)
        free_cash, free_shares = tradable(mine, self._state.book, self._you)
        money = lambda wide: float(wide_to_int(wide)) * self.config.tick_size
        return {
            "cash": money(cash(mine)),
            "shares": int(holdings(mine)),
            "tradable_cash": money(free_cash),
            "tradable_shares": int(free_shares),
            "bought": int(mine.bought),
            "sold": int(mine.sold),
        }

    def book(self) -> pd.DataFrame:
        """The best levels, one row per level: bid size, bid, ask, ask size."""
        price, size = (np.asarray(x) for x in self._state.l2)
        shown = np.where(size > 0, self._labels().price(price), np.nan)
        return pd.DataFrame(
            {
                "bid_size": size[Side.BUY],
                "bid": shown[Side.BUY],
                "ask": shown[Side.SELL],
                "ask_size": size[Side.SELL],
            }
        )

    def orders(self) -> pd.DataFrame:
        """Your resting orders, in the order each side would trade."""
        book = jax.tree.map(np.asarray, self._state.book)
        rows = [
            (o.side.name, o.price * self.config.tick_size, o.size, o.order_id)
            for side in Side
            for o in resting_orders(book, side)
            if o.agent_id == self._you
        ]
        return pd.DataFrame(rows, columns=pd.Index(["side", "price", "size", "order_id"]))

    def events(self) -> pd.DataFrame:
        """Everything that has happened, one row per event."""
        return self._table(self._history())

    def fills(self) -> pd.DataFrame:
        """Your fills: one row per trade of yours.

        Raises:
          InputError: the market records no trades (`cfg.market.max_trades` is 0).
        """
        if not self.config.max_trades:
            raise InputError(
                "this market records no trades, expected max_trades of its configuration above 0"
            )
        frame = fill_frame(_finished(0, self._state, self._history()), self._labels())
        return frame.loc[frame["agent_id"] == self._you].reset_index(drop=True)

    def advance(self, seconds: float) -> pd.DataFrame:
        """Lets time pass; returns the events of it."""
        until = clock.plus(self._state.end, clock.make_time(*values.span(seconds)))
        return self._table(self._run(until))

    def advance_to(self, time: str | float) -> pd.DataFrame:
        """Lets time pass until a moment, "HH:MM:SS" or seconds since midnight."""
        moment = values.moment(time)
        now = (int(self._state.end.sec), int(self._state.end.nsec))
        if moment < now:
            raise InputError(
                f"cannot advance to {time}, expected a time not before now, {clock_text(*now)}"
            )
        return self._table(self._run(clock.make_time(*moment)))

    def submit(self, kind: Kind, side: Side, size: int, price: float | None = None) -> Receipt:
        """Sends an order, which arrives at once or after your latency.

        Args:
          kind: LIMIT, MARKET, IOC, FOK or POST_ONLY.
          side: BUY or SELL.
          size: shares.
          price: currency, on the grid of ticks; None for MARKET only.

        Raises:
          InputError: an order that is none.
        """
        if kind not in SUBMITTED:
            raise InputError(
                f"{quote(kind)} is no kind of order to submit, expected one of "
                + ", ".join(f"Kind.{known.name}" for known in SUBMITTED)
            )
        kind = Kind(kind)
        if (price is None) != (kind == Kind.MARKET):
            raise InputError(
                f"a {kind.name} order got the price {price}, expected "
                + ("none" if kind == Kind.MARKET else "a number")
            )
        ticks = 0 if price is None else self._ticks(price)
        order_id = FIRST_OWN_ID + self._sent
        request = make_request(kind, values.a_side(side), ticks, values.shares(size), order_id)
        return self._send(request, order_id)

    def cancel(self, order_id: int, size: int | None = None) -> Receipt:
        """Takes an order of yours out, or `size` shares of it."""
        shares = EVERYTHING if size is None else values.shares(size)
        order_id = values.order_number(order_id)
        return self._send(make_request(Ask.CANCEL_ORDER, 0, 0, shares, order_id), order_id)

    def modify(self, order_id: int, price: float, size: int) -> Receipt:
        """Changes an order of yours; fewer shares at the same price keep its place in the queue.
        Anything else makes it a new limit order; if that one is rejected, the old one rests on."""
        order_id, shares = values.order_number(order_id), values.shares(size)
        request = make_request(Ask.MODIFY, 0, self._ticks(price), shares, order_id)
        return self._send(request, order_id)

    def fork(self, seed: int) -> "Market":
        """An independent copy whose future is drawn anew."""
        seed = values.whole("seed", seed, 0, MAX_SEED)
        twin = self.copy()
        twin._key = jax.random.fold_in(jax.random.fold_in(self._key, FORK_DRAWS), seed)
        return twin

    def copy(self) -> "Market":
        """An independent copy with the same future, as long as both are treated alike."""
        twin = object.__new__(Market)
        twin.__dict__ |= self.__dict__
        twin._events = list(self._events)
        return twin

    def futures(self, num: int, seconds: float, seed: int = 0) -> list[Finished]:
        """Runs `num` forks for some time, side by side; this market stays as it is.

        A model whose context policy is `shared_prefix` reads the orders so far once for all forks.

        Returns:
          Trajectories with the events after now; `tasks.simulate_tables` makes tables of them.
        """
        num = values.whole("number of futures", num, 1, MAX_FUTURES)
        seed = values.whole("seed", seed, 0, MAX_SEED)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(self._key, FORK_DRAWS), i))(
            seed + jnp.arange(num, dtype=jnp.uint32)
        )
        until = clock.plus(self._state.end, clock.make_time(*values.span(seconds)))
        states, events = run_futures(
            keys, self._state, self._params, until, agents=self._agents, cfg=self._cfg
        )
        ends = jax.device_get(states)
        return [
            _finished(number, jax.tree.map(lambda x, i=number: x[i], ends), events[number])
            for number in range(num)
        ]

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the market to one file, atomically.

        Raises:
          InputError: a folder is in the way, or may not be written to.
        """
        facts = {"sent": self._sent}
        save_market(pathlib.Path(path), (self._state, self._key), self._history(), facts)

    def restore(self, path: str | pathlib.Path) -> None:
        """Puts back what `save` wrote, into a market made with the same agents and configuration.

        Raises:
          InputError: the file is no saved market, or one of other agents or another configuration.
        """
        kept, past, facts = load_market(
            pathlib.Path(path), (self._state, self._key), self._history()
        )
        self._state, self._key = kept
        self._sent, self._events = facts["sent"], [past]

    def _table(self, events: Event) -> pd.DataFrame:
        return event_frame(_finished(0, self._state, events), self._labels())

    def _run(self, until: Time) -> Event:
        """Lets time pass; the events of it."""
        one = jax.tree.map(lambda x: x[None], (self._key, self._state))
        state, events = run_until(*one, self._params, until, agents=self._agents, cfg=self._cfg)
        self._state = jax.tree.map(lambda x: x[0], state)
        self._events.append(events[0])
        return events[0]

    def _send(self, request: Request, order_id: int) -> Receipt:
        """Puts a request into your hands, wakes you, and lets this moment happen."""
        state, you = self._state, self._you
        now = state.end
        mine = jnp.arange(you + 1) == you
        agents = (*state.agents[:you], ManualState(request))
        self._state = state._replace(
            agents=agents,
            wake=clock.choose(mine, now, state.wake),
            queued=jnp.where(mine, NEXT, state.queued),
        )
        self._sent += 1
        events = self._run(now)
        own = (events.agent_id == you) & (events.order_id == order_id)
        filled = int(events.filled[own].sum())
        bits = int(np.bitwise_or.reduce(events.status[events.agent_id == you], initial=0))
        before = jax.tree.map(np.asarray, account_row(state.accounts, you))
        after = jax.tree.map(np.asarray, account_row(self._state.accounts, you))
        return Receipt(order_id, filled, self._average(before, after, filled), (*describe(bits),))

    def _average(self, before: Account, after: Account, filled: int) -> float:
        """Average price of what an order traded at once."""
        if not filled:
            return float("nan")
        paid = wide_to_int(after.paid) - wide_to_int(before.paid)
        received = wide_to_int(after.received) - wide_to_int(before.received)
        return float(paid + received) / filled * self.config.tick_size

    def _ticks(self, price: float) -> int:
        return values.ticks(price, self.config.tick_size)

    def _labels(self) -> Labels:
        names = (*(f"agent {i}" for i in range(self._you)), YOU)
        return Labels(names, ("agent",) * self._you + (YOU,), self.config.tick_size)

    def _history(self) -> Event:
        return jax.tree.map(lambda *x: np.concatenate(x), *self._events)


def _finished(number: int, state: MarketState, events: Event) -> Finished:
    """A trajectory as the batch runner would return it."""
    kept = (state.book, state.accounts, state.record)
    return Finished(number, events, int(state.status), int(state.step), *kept)
