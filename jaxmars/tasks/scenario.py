"""A scenario: who trades what, from when to when, how often. `read_scenario` reads one from TOML.

| table | says |
|---|---|
| [run] | how many trajectories, the seed, start and end |
| [market], [market.rules] | the instrument and what the exchange accepts |
| [book] | what rests at the start: nothing, a built-in start, a recorded moment, a list of orders |
| [fundamental] | what value agents believe in |
| [[agents]] | who trades, with parameters, endowment and latency |
"""

import dataclasses
import math
import pathlib
from typing import Any, NamedTuple

import jax

from jaxmars import clock
from jaxmars.agents.base import Agent
from jaxmars.agents.fundamental import Fundamental, mean_reverting
from jaxmars.book import Book
from jaxmars.clock_text import clock_text
from jaxmars.config import DAY_SECONDS, Calendar, MarketConfig, SimConfig
from jaxmars.errors import InputError
from jaxmars.tasks.lane_plan import default_lanes
from jaxmars.tasks.scenario_agents import BUILDERS, CROWDS, FOR_MANY, Built, World
from jaxmars.tasks.scenario_book import NOBODY, read_source
from jaxmars.tasks.scenario_market import MOST_RECORDS, read_market
from jaxmars.tasks.scenario_table import Table, read_table
from jaxmars.tasks.simulate_tables import NOBODY_NAME
from jaxmars.types import Params

MOST_TRAJECTORIES = 1_000_000
MOST_SEEDS = 2**32  # a key of JAX holds no more
MOST_AGENTS = 100  # each is compiled into every step
MOST_LANES = 65_536
MOST_EVENTS = 10_000_000
MOST_CASH = 2**52  # ticks x shares; exact in double precision
MOST_SHARES_OWNED = 2**30
LONGEST_NAME = 40
LONGEST_DELAY = 3_600.0  # seconds
LONGEST_PATH = 1_000_000  # values of a fundamental
DEFAULT_TRAJECTORIES = 16
RECORDS = 16  # fills recorded per event
AUCTION_RECORDS = 32  # the same when a call auction ends within the run
REQUESTS_UNDER_WAY = 16  # per agent with latency
FUNDAMENTAL_DRAW = 2**32 - 1  # folded into the key of the seed where trajectories fold in theirs


class Trader(NamedTuple):
    """One agent of a scenario."""

    name: str
    kind: str  # a key of `BUILDERS`, or any word
    agent: Agent
    params: Params
    memory: Any = None  # what it knows of the time before
    cash: int = 0  # ticks x shares it owns at the start
    shares: int = 0  # it owns at the start
    communication: float = 0.0  # seconds, one way
    computation: float = 0.0  # seconds


class Scenario(NamedTuple):
    """Everything a simulation needs. Traders get ids 0, 1, … in their order."""

    traders: tuple[Trader, ...]
    book: Book  # at the start, unbatched
    begin: tuple[int, int]  # (seconds since midnight, nanoseconds)
    end: tuple[int, int]
    cfg: SimConfig
    trajectories: int = DEFAULT_TRAJECTORIES
    seed: int = 0
    last_price: int = 0  # ticks of the last trade, 0 before any
    reference: int = 0  # ticks, price of the day before, 0 if unknown
    start_mid: float = 0.0  # ticks, 0 if there is no price yet
    words: str = "a market"  # for titles
    weights: tuple[str, ...] = ()  # folders or hub ids of the models in use
    source: dict[str, Any] | None = None  # the file as it was read


class _Head(NamedTuple):
    """What every agent has, whatever its kind."""

    table: Table
    kind: str
    names: tuple[str, ...]  # one per copy


def read_scenario(path: pathlib.Path) -> Scenario:
    """Reads a scenario from a TOML file; its paths start at the folder of the file.

    Raises:
      InputError: anything that is missing, unknown, of the wrong type or impossible, with the file
        and the key.
    """
    top, values = read_table(path)
    heads = _read_heads(top)
    names = [name for head in heads for name in head.names]
    if len(names) > MOST_AGENTS:
        raise InputError(f"{top.where} has {len(names)} agents, expected at most {MOST_AGENTS}")
    kinds = [head.kind for head in heads for _ in head.names]
    owners = {name: i for i, name in enumerate(names)}
    crowd = next((i for i, kind in enumerate(kinds) if kind in CROWDS), NOBODY)
    source = read_source(top.table("book"), path.parent, owners, crowd)
    market_table, run = top.table("market"), top.table("run")
    market, reference = read_market(market_table, source.market, source.is_fixed)
    begin, end = _read_times(run, source.at, market.calendar)
    opening = source.open(market, begin)
    price = reference or round(opening.mid)
    seed = run.whole("seed", 0, MOST_SEEDS - 1, 0)
    fundamental = _read_fundamental(top, market, begin, end, price, seed)
    top.finish()
    world = World(market, begin, end, opening, price, fundamental, path.parent)
    built = [(head, BUILDERS[head.kind](head.table, world)) for head in heads]
    traders = tuple(t for head, one in built for t in _traders(head, one, market))
    market = _with_room(market_table, market, begin, end, traders)
    trajectories = run.whole("trajectories", 1, MOST_TRAJECTORIES, DEFAULT_TRAJECTORIES)
    cfg = _read_sim(run, market, trajectories, [one for _, one in built])
    return Scenario(
        traders=traders,
        book=opening.book,
        begin=begin,
        end=end,
        cfg=cfg,
        trajectories=trajectories,
        seed=seed,
        last_price=opening.last_price,
        reference=reference,
        start_mid=opening.mid,
        words=source.words,
        weights=tuple(dict.fromkeys(one.weights for _, one in built if one.weights)),
        source=values,
    )


def _read_heads(top: Table) -> list[_Head]:
    """Kinds and names of the agents."""
    heads: list[_Head] = []
    seen: set[str] = set()
    for table in top.tables("agents", "tables [[agents]], one for each agent"):
        kind = table.choice("kind", BUILDERS)
        count = table.whole("count", 1, MOST_AGENTS, 1)
        expected = f"a name of at most {LONGEST_NAME} printable characters but {NOBODY_NAME!r}"
        name = table.text("name", expected, kind)
        names = (name,) if count == 1 else tuple(f"{name} {i}" for i in range(1, count + 1))
        if len(name) > LONGEST_NAME or not name.isprintable() or name == NOBODY_NAME:
            raise table.fail("name", expected)
        if repeated := seen.intersection(names):
            raise InputError(
                f"{table.where}: name {min(repeated)!r} is taken, expected another one for each "
                "agent (key name)"
            )
        seen.update(names)
        heads.append(_Head(table, kind, names))
    if not heads:
        raise InputError(f"{top.where} has no agents, expected at least one table [[agents]]")
    return heads


def _read_times(
    run: Table, at: tuple[int, int] | None, calendar: Calendar
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and end of the run."""
    begin = run.clock("start", at)
    if at is not None and begin != at:
        raise run.fail("start", f"{clock_text(*at)}, the moment of the book in [book], or no start")
    if ("end" in run) == ("minutes" in run):
        raise InputError(f"{run.where} needs either end, a time of the day, or minutes")
    if "minutes" in run:
        seconds = begin[0] + round(60 * run.number("minutes", 1 / 60, DAY_SECONDS / 60))
        end = min(seconds, DAY_SECONDS), begin[1]
    else:
        end = run.clock_end("end")
    if end <= begin:
        raise run.fail("end", f"a time after the start, {clock_text(*begin)}")
    if not any(begin[0] <= p.end and end[0] >= p.start for p in calendar.phases):
        raise InputError(
            f"{run.where}: the market is closed from {clock_text(*begin)} to {clock_text(*end)}, "
            "expected a phase of its calendar in between"
        )
    return begin, end


def _read_fundamental(
    top: Table,
    market: MarketConfig,
    begin: tuple[int, int],
    end: tuple[int, int],
    price: int,
    seed: int,
) -> Fundamental | None:
    """The path that value agents observe: one for all trajectories, drawn from the seed."""
    if "fundamental" not in top:
        return None
    table, tick = top.table("fundamental"), market.tick_size
    if "mean" not in table and not price:
        raise table.fail("mean", "a price, since the market has none at its start")
    mean = table.price("mean", tick, price or None)
    first = table.price("first", tick, mean)
    spacing = table.above_zero("spacing", 1.0)
    num = 2 + math.ceil((end[0] - begin[0] + 1) / spacing)
    if num > LONGEST_PATH:
        raise table.fail("spacing", f"at most {LONGEST_PATH} values from start to end")
    path = mean_reverting(
        jax.random.fold_in(jax.random.key(seed), FUNDAMENTAL_DRAW),
        clock.make_time(*begin),
        spacing,
        num,
        mean=mean,
        first=first,
        reversion=table.above_zero("reversion"),
        volatility=table.distance("volatility", tick),
    )
    table.finish()
    return path


def _traders(head: _Head, built: Built, market: MarketConfig) -> list[Trader]:
    """The copies of an agent."""
    table = head.table
    cash = table.number("cash", 0, MOST_CASH * market.tick_size, 0.0)
    rest = {
        "cash": round(cash / market.tick_size),
        "shares": table.whole("shares", 0, MOST_SHARES_OWNED, 0),
        "communication": table.number("communication", 0, LONGEST_DELAY, 0.0),
        "computation": table.number("computation", 0, LONGEST_DELAY, 0.0),
    }
    table.finish()
    for key in ("communication", "computation"):
        if built.draws_anew and rest[key]:
            raise table.fail(key, f"0, since {head.kind} draws its next order anew at every event")
    return [
        Trader(name, head.kind, built.agent, built.params, built.memory, **rest)
        for name in head.names
    ]


def _with_room(
    table: Table,
    market: MarketConfig,
    begin: tuple[int, int],
    end: tuple[int, int],
    traders: tuple[Trader, ...],
) -> MarketConfig:
    """The market with room for the fills of an event and for requests under way, that knows which
    agents stand for many traders."""
    ends = market.calendar.auction_ends
    uncrosses = any(begin[0] <= second <= end[0] for second in ends)
    late = sum(t.communication + t.computation > 0 for t in traders)
    records = AUCTION_RECORDS if uncrosses else RECORDS
    crowd = tuple(number for number, t in enumerate(traders) if t.kind in FOR_MANY)
    under_way = min(REQUESTS_UNDER_WAY * late, MOST_RECORDS)
    market = dataclasses.replace(
        market,
        rules=dataclasses.replace(market.rules, crowd=crowd),
        max_trades=table.whole("max_trades", 0, MOST_RECORDS, records),
        max_in_flight=table.whole("max_in_flight", min(late, 1), MOST_RECORDS, under_way),
    )
    table.finish()
    return market


def _read_sim(run: Table, market: MarketConfig, trajectories: int, built: list[Built]) -> SimConfig:
    """How the trajectories are run.

    Models decide how long a segment is. The event budget is rounded up to whole segments, so that
    accounts and events end at the same step.
    """
    usual = SimConfig()
    segments = {one.segment for one in built if one.segment is not None}
    if len(segments) > 1:
        raise InputError(
            f"{run.where}: order models have growth {min(segments)} and {max(segments)}, expected "
            "one for all of them"
        )
    segment = run.whole("segment", 1, MOST_EVENTS, min(segments, default=usual.segment))
    if segments and segment not in segments:
        raise run.fail("segment", f"{min(segments)}, the growth of the order model, or no segment")
    each = -(-trajectories // jax.local_device_count())
    budget = run.whole("max_events", 1, MOST_EVENTS, usual.max_events)
    cfg = SimConfig(
        market=market,
        segment=segment,
        lanes=run.whole("lanes", 1, MOST_LANES, min(default_lanes(trajectories), each)),
        max_events=-(-budget // segment) * segment,
    )
    run.finish()
    return cfg
