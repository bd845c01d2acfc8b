"""The agents a scenario may name: table [[agents]]. Add an agent by adding it to `BUILDERS`.

Outside prices and distances between prices are in currency; a builder turns them into ticks. The
exception is the reference market, which is defined in ticks and lots. What is not said is as the
code of the agent has it.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxmars import clock
from jaxmars.agents import policy
from jaxmars.agents.base import Agent
from jaxmars.agents.fundamental import Fundamental
from jaxmars.agents.market_maker import MarketMakerParams, market_maker_agent
from jaxmars.agents.momentum import MomentumParams, momentum_agent
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.schedule_file import read_schedule
from jaxmars.agents.script import most_at_once, scripted_agent
from jaxmars.agents.twap import (
    LEVELS,
    MAX_TARGET,
    MAX_TOTAL,
    paper_twap_agent,
    paper_twap_params,
    twap_agent,
    twap_params,
)
from jaxmars.agents.value import ValueParams, value_agent
from jaxmars.agents.zero_intelligence import ZeroIntelligenceParams, zero_intelligence_agent
from jaxmars.builtin import default_weights
from jaxmars.clock_text import clock_text
from jaxmars.config import DAY_SECONDS, Context, MarketConfig
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.tasks.forecast import crowd, needed_orders, start_history
from jaxmars.tasks.scenario_book import SIDES, Opening
from jaxmars.tasks.scenario_market import MOST_SHARES
from jaxmars.tasks.scenario_table import Table
from jaxmars.types import Kind, Params

MOST_RATE = 1e6  # events per second
MOST_NOTES = 100_000  # of a momentum trader
MOST_QUOTES = 100  # of a market maker on each side


class World(NamedTuple):
    """What agents are built for."""

    market: MarketConfig
    begin: tuple[int, int]  # (sec, nsec)
    end: tuple[int, int]
    opening: Opening
    price: int  # ticks, what the instrument costs at the start; 0 if nobody knows
    fundamental: Fundamental | None
    folder: pathlib.Path  # where paths start


class Built(NamedTuple):
    """One agent, ready to run."""

    agent: Agent
    params: Params
    memory: Any = None
    segment: int | None = None  # steps between two refreshes, if it depends on them
    weights: str | None = None  # where its model came from
    draws_anew: bool = False  # its next order after every event; then latency makes no sense


Builder = Callable[[Table, World], Built]
Reader = Callable[[Table, str, MarketConfig], Any]
"""(table, key, market) -> what an agent is told."""


def _number(table: Table, key: str, market: MarketConfig) -> float:
    del market
    return table.number(key, 0, MOST_RATE)


def _share(table: Table, key: str, market: MarketConfig) -> float:
    del market
    return table.number(key, 0, 1)


def _shares(table: Table, key: str, market: MarketConfig) -> int:
    del market
    return table.whole(key, 1, MOST_SHARES)


def _steps(table: Table, key: str, market: MarketConfig) -> int:
    return table.steps(key, market.tick_size, 1)


def _steps_or_none(table: Table, key: str, market: MarketConfig) -> int:
    return table.steps(key, market.tick_size, 0)


def _distance(table: Table, key: str, market: MarketConfig) -> float:
    return table.distance(key, market.tick_size)


def _seconds(table: Table, key: str, market: MarketConfig) -> int:
    del market
    return table.whole(key, 1, MAX_TOTAL)


def _notes(table: Table, key: str, market: MarketConfig) -> int:
    del market
    return table.whole(key, 1, MOST_NOTES)


REFERENCE: dict[str, Reader] = {
    name: _number
    for name, value in ReferenceParams._field_defaults.items()
    if isinstance(value, float)
}
TWAP: dict[str, Reader] = {
    "passive_ratio": _share,
    "aggressive_ratio": _share,
    "passive_seconds": _seconds,
    "idle_seconds": _seconds,
    "change": _steps_or_none,
}
ZERO_INTELLIGENCE: dict[str, Reader] = {
    "limit_rate": _number,
    "trade_rate": _number,
    "cancel_rate": _number,
    "window": _steps,
    "size": _shares,
}
VALUE: dict[str, Reader] = {
    "rate": _number,
    "noise": _distance,
    "margin": _distance,
    "cross_prob": _share,
    "size": _shares,
}
AVERAGES: dict[str, Reader] = {"short": _notes, "long": _notes}
MOMENTUM: dict[str, Reader] = {"rate": _number, "size": _shares, "max_position": _shares}
MARKET_MAKER: dict[str, Reader] = {
    "rate": _number,
    "half_spread": _distance,
    "step": _steps,
    "size": _shares,
    "skew": _distance,
    "max_inventory": _shares,
}


def _read(table: Table, world: World, readers: dict[str, Reader]) -> dict[str, Any]:
    """What the table says of these keys; the others are left to the code of the agent."""
    return {key: read(table, key, world.market) for key, read in readers.items() if key in table}


def _price(table: Table, world: World) -> int:
    """The price an agent goes by while the market has none, ticks."""
    if "price" not in table and not world.price:
        raise table.fail("price", "one here, a reference of the market, or a book with orders")
    return table.price("price", world.market.tick_size, world.price or None)


def _noise(table: Table, world: World) -> Built:
    params = NoiseParams(_price(table, world), table.number("gap", 1e-6, DAY_SECONDS))
    return Built(noise_agent(clock.make_time(*world.begin), clock.make_time(*world.end)), params)


def _reference(table: Table, world: World) -> Built:
    if not (world.opening.book.total > 0).all():
        raise InputError(
            f"{table.where}: the reference market needs a book with orders on both sides at the "
            "start, expected for example builtin = 0 in [book]"
        )
    params = ReferenceParams(**_read(table, world, REFERENCE))
    return Built(reference_agent(world.market.lot_size), params, draws_anew=True)


def _background(table: Table, world: World) -> Built:
    past = world.opening.past
    if past is None:
        raise InputError(
            f"{table.where}: the order model needs the orders before the start, expected builtin "
            "or lobster in [book]"
        )
    source = str(default_weights())
    if "weights" in table:
        named = table.text("weights", "a model folder or a hub id")
        source = str(world.folder / named) if (world.folder / named).is_dir() else named
    model = OrderModel.from_pretrained(source)
    window = model.config.num_max_orders
    growth = table.whole("growth", 1, window - 1, window // 2)
    named = table.choice("context", policy.POLICIES, Context.ANCHORED)
    context = policy.POLICIES[named](model.config, growth)
    agent, params = crowd(model, context, world.market, table.above_zero("temperature", 1.0))
    history = start_history(past, model, world.market, needed_orders(model, context))
    return Built(agent, params, history, context.segment, source)


def _twap_task(table: Table, world: World) -> dict[str, Any]:
    """What both forms of TWAP are to do."""
    start, rules = table.clock("start", world.begin), world.market.rules
    if not world.begin <= start < world.end:
        expected = f"from {clock_text(*world.begin)} to before {clock_text(*world.end)}"
        raise table.fail("start", f"a time of the run, {expected}")
    if not any((p.start, 0) <= start < (p.end, 0) for p in world.market.calendar.phases):
        raise table.fail("start", "a time at which the calendar of the market is open")
    if Kind.LIMIT not in rules.kinds or world.market.lot_size % rules.size_step:
        raise InputError(
            f"{table.where}: a TWAP trades by limit orders of {world.market.lot_size} shares, the "
            "lot_size, or a multiple, expected rules that accept them (kinds, size_step)"
        )
    return {
        "side": SIDES[table.choice("side", SIDES)],
        "start": clock.make_time(*start),
        "target": table.whole("target", 1, MAX_TARGET),
        "lot": world.market.lot_size,
    }


def _tradable(table: Table, size: jax.Array | int, world: World) -> None:
    """Refuses an order size that the exchange never accepts."""
    step = world.market.rules.size_step
    if size % step:
        raise table.fail("size", f"a multiple of the size_step of the rules, {step} shares")


def _twap(table: Table, world: World) -> Built:
    total = table.whole("total", 1, MAX_TOTAL)
    numbers = {**_twap_task(table, world), **_read(table, world, TWAP)}
    built = _checked(table, lambda: (twap_agent(), twap_params(total=total, **numbers)))
    step = world.market.rules.price_step
    if built.params.reach % step:
        raise table.fail("change", f"a multiple of the price_step of the rules, {step} ticks")
    if not built.params.passive_size + built.params.aggressive_size:
        raise table.fail("aggressive_ratio", "more than 0 where passive_ratio is 0")
    return built


def _paper_twap(table: Table, world: World) -> Built:
    if world.market.levels < LEVELS:
        raise InputError(
            f"{table.where}: a market has {world.market.levels} levels, expected at least {LEVELS}"
        )
    numbers = {
        "passive_ratio": table.number("passive_ratio", 0, 1),
        "level": table.whole("level", 0, LEVELS),
        **_twap_task(table, world),
        **_read(table, world, {"total": _seconds}),
    }
    built = _checked(table, lambda: (paper_twap_agent(), paper_twap_params(**numbers)))
    if not built.params.passive_size + built.params.reach:
        raise table.fail("level", f"1 to {LEVELS} where passive_ratio is 0")
    return built


def _zero_intelligence(table: Table, world: World) -> Built:
    numbers = _read(table, world, ZERO_INTELLIGENCE)
    params = ZeroIntelligenceParams(price=_price(table, world), **numbers)
    _tradable(table, params.size, world)
    return Built(zero_intelligence_agent(), params, draws_anew=True)


def _value(table: Table, world: World) -> Built:
    if world.fundamental is None:
        raise InputError(
            f"{table.where}: a value agent needs to know the fundamental, expected a table "
            "[fundamental]"
        )
    params = ValueParams(fundamental=world.fundamental, **_read(table, world, VALUE))
    _tradable(table, params.size, world)
    return Built(value_agent(), params)


def _momentum(table: Table, world: World) -> Built:
    averages, params = (
        _read(table, world, AVERAGES),
        MomentumParams(**_read(table, world, MOMENTUM)),
    )
    _tradable(table, params.size, world)
    return _checked(table, lambda: (momentum_agent(**averages), params))


def _market_maker(table: Table, world: World) -> Built:
    levels = {"levels": table.whole("levels", 1, MOST_QUOTES)} if "levels" in table else {}
    numbers = {"lot": world.market.lot_size, **_read(table, world, MARKET_MAKER)}
    params = MarketMakerParams(price=_price(table, world), **numbers)
    _tradable(table, params.size, world)
    return Built(market_maker_agent(**levels), params)


def _script(table: Table, world: World) -> Built:
    path = world.folder / table.text("file", "a file of orders, see agents/schedule_file.py")
    schedule = read_schedule(path, world.market.tick_size)
    first, last = (tuple(int(x[at]) for x in schedule.time) for at in (0, -1))
    for time in (first, last):
        if not world.begin <= time <= world.end:
            raise InputError(
                f"{table.where}: schedule {path} has a row at {clock_text(*time)}, expected times "
                f"from {clock_text(*world.begin)} to {clock_text(*world.end)}, the run"
            )
    return Built(scripted_agent(most_at_once(schedule)), schedule)


def _checked(table: Table, make: Callable[[], tuple[Agent, Params]]) -> Built:
    """What `make` makes; what it refuses is said with the place in the file."""
    try:
        return Built(*make())
    except ValueError as error:
        raise InputError(f"{table.where}: {error}") from error


BUILDERS: dict[str, Builder] = {
    "noise": _noise,
    "reference": _reference,
    "background": _background,
    "twap": _twap,
    "paper_twap": _paper_twap,
    "zero_intelligence": _zero_intelligence,
    "value": _value,
    "momentum": _momentum,
    "market_maker": _market_maker,
    "script": _script,
}
CROWDS = ("background", "reference")  # agents that take the resting orders for their own
FOR_MANY = (*CROWDS, "noise", "zero_intelligence")  # agents that stand for many traders
