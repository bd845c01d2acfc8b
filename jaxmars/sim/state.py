"""The state of one market, and how it begins."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import calendar, clock
from jaxmars.agents.base import Agent, AgentState, MarketView, Request
from jaxmars.book import Account, Book, account_row, empty_accounts, l2_snapshot, price_band
from jaxmars.config import MarketConfig
from jaxmars.sim import requests as lines
from jaxmars.sim.flight import Delay, empty_flight, no_delay
from jaxmars.types import L2, Band, Params, Time

FIRST_ORDER_ID = 1_000_000_000  # the release numbers generated orders from here; so do we, or after
# the largest id in the start book
START_DRAWS = 2**32 - 1  # folded into a key where steps fold in their number


class MarketState(NamedTuple):
    """One trajectory: the exchange, its clock and its agents."""

    book: Book
    l2: L2  # snapshot of `book`
    time: Time  # of the last event
    end: Time  # agents that would wake after it do not act any more
    last_price: jax.Array  # [] int32, ticks of the last trade, 0 before any
    reference: jax.Array  # [] int32, ticks: price of the day before, 0 if unknown
    band: Band  # the day's price limits
    auctions: jax.Array  # [] int32, call auctions of the calendar that are over
    accounts: Account  # [agents]
    order_id: jax.Array  # [] int32, id of the next order
    pending: Request  # [k] requests being carried out; kind NONE where there is none
    actor: jax.Array  # [] int32, agent the pending requests belong to
    flight: Any  # Flight: requests under way; None if `max_in_flight` of the market is 0
    delay: Delay  # [agents] latency
    wake: Time  # [agents] when each agent looks at the market next
    queued: jax.Array  # [agents] int32, step at which that was queued
    step: jax.Array  # [] int32, steps taken
    done: jax.Array  # [] bool, nothing will happen any more
    status: jax.Array  # [] int32, bits of Status raised so far
    agents: tuple[AgentState, ...]
    record: Any  # what the recorder made of the events so far


def init_market(
    key: jax.Array,
    params: tuple[Params, ...],
    book: Book,
    time: Time,
    end: Time,
    last_price: jax.Array,
    memories: tuple[Any, ...],
    *,
    agents: tuple[Agent, ...],
    cfg: MarketConfig,
    accounts: Account | None = None,
    delay: Delay | None = None,
    reference: jax.Array | int = 0,
    record: Any = (),
) -> MarketState:
    """A market at `time` whose agents see `book` and get ids 0, 1, … in the order given.

    Args:
      key: may be the one `step` gets; what is drawn here is apart from the draws of every step.
      params: one pytree per agent.
      book: resting orders.
      time: start.
      end: last moment at which an agent acts.
      last_price: `[]` int32 ticks of the last trade, 0 if none.
      memories: what each agent knows of the time before (None for most).
      agents: who trades.
      cfg: the instrument.
      accounts: `[agents]`, what they own; nothing by default.
      delay: `[agents]` latency; none by default.
      reference: `[]` int32 ticks, price of the day before: middle of the price limits, and what
        call auctions lean to before the first trade; 0 if unknown.
      record: what the recorder starts from.

    Raises:
      ValueError: latency without room for requests under way (`cfg.max_in_flight`).
    """
    if delay is not None and not cfg.max_in_flight:
        raise ValueError("agents with latency need max_in_flight of the market above 0, got 0")
    params = prepare(params, agents)
    l2 = l2_snapshot(book, cfg.levels)
    accounts = empty_accounts(len(agents)) if accounts is None else accounts
    delay = no_delay(len(agents)) if delay is None else delay
    keys = jax.random.split(jax.random.fold_in(key, START_DRAWS), len(agents))
    states, wakes, batch = [], [], 1
    for i, agent in enumerate(agents):
        view = MarketView(time, book, l2, last_price, jnp.int32(i), account_row(accounts, i))
        state, wake = agent.init(params[i], keys[i], view, memories[i])
        _, wish = jax.eval_shape(agent.act, params[i], keys[i], state, view)
        batch = max(batch, lines.length_of(wish))
        states.append(state)
        wakes.append(queue_wake(cfg, agent, time, wake, row(delay.communication, i)))
    zero = jnp.zeros((), jnp.int32)
    reference = jnp.asarray(reference, jnp.int32)
    return MarketState(
        book=book,
        l2=l2,
        time=time,
        end=end,
        last_price=last_price,
        reference=reference,
        band=price_band(reference, cfg.rules),
        auctions=calendar.auctions_before(cfg.calendar, time),
        accounts=accounts,
        order_id=jnp.maximum(FIRST_ORDER_ID, book.order_id.max() + 1),
        pending=lines.nothing_pending(batch),
        actor=zero,
        flight=empty_flight(cfg.max_in_flight, batch) if cfg.max_in_flight else None,
        delay=delay,
        wake=jax.tree.map(lambda *x: jnp.stack(x), *wakes),
        queued=jnp.zeros(len(agents), jnp.int32),
        step=zero,
        done=jnp.zeros((), bool),
        status=zero,
        agents=tuple(states),
        record=record,
    )


def prepare(params: tuple[Params, ...], agents: tuple[Agent, ...]) -> tuple[Params, ...]:
    """Every agent's params as `step` takes them; call it once, outside a loop over `step`."""
    return tuple(agent.prepare(p) for agent, p in zip(agents, params, strict=True))


def queue_wake(cfg: MarketConfig, agent: Agent, now: Time, wake: Time, delay: Time) -> Time:
    """When an agent that asks for a wake-up looks at the market: a communication delay before it,
    but not before now and, unless it keeps to the clock, not in a break."""
    if not cfg.calendar.is_always_open and not agent.keeps_to_clock:
        wake = calendar.skip_breaks(cfg.calendar, wake)
    if cfg.max_in_flight:
        wake = clock.choose(wake.sec == clock.NEVER_SEC, wake, clock.minus(wake, delay))
    return clock.choose(clock.earlier(wake, now), now, wake)


def view_of(market: MarketState, time: Time, i: int) -> MarketView:
    """What agent `i` sees."""
    account = account_row(market.accounts, i)
    return MarketView(time, market.book, market.l2, market.last_price, jnp.int32(i), account)


def row(times: Time, i: jax.Array | int) -> Time:
    """Entry `i` of stacked times."""
    return Time(times.sec[i], times.nsec[i])
