"""The instrument of a scenario: tables [market] and [market.rules]."""

import dataclasses

from jaxmars.config import (
    Calendar,
    MarketConfig,
    Phase,
    PhaseKind,
    RulesConfig,
    SelfTrade,
)
from jaxmars.errors import InputError
from jaxmars.tasks.scenario_table import Table

MOST_SLOTS = 65_535  # sums over a side of the book are exact up to here
MOST_LEVELS = 1_000
MOST_SHARES = 2**30
LEAST_TICK, LARGEST_TICK = 1e-8, 1e6  # currency
MOST_RECORDS = 4_096  # fills of an event, requests under way

# The market a calendar belongs to; of it the calendar and the rule for the elapsed time are taken.
CALENDARS: dict[str, MarketConfig] = {
    "always": MarketConfig(),
    "us_equity": MarketConfig(calendar=Calendar.us_equity()),
    "chinese_a_share": MarketConfig.chinese_a_share(),
    "release": MarketConfig.release(),
}
PHASES = {kind.name.lower(): kind for kind in PhaseKind}
SELF_TRADES = {rule.name.lower(): rule for rule in SelfTrade}
ORDER_KINDS = {kind.name.lower(): kind for kind in RulesConfig().kinds}


def read_market(table: Table, base: MarketConfig, is_fixed: bool) -> tuple[MarketConfig, int]:
    """The instrument, and the price of the day before.

    Args:
      table: [market].
      base: what is not said there.
      is_fixed: whether tick and lot are those of a book that is given.

    Returns:
      The market, whose `max_trades` and `max_in_flight` are `base`'s, and the reference price in
      ticks, 0 if unknown.
    """
    tick_size = table.number("tick_size", LEAST_TICK, LARGEST_TICK, base.tick_size)
    lot_size = table.whole("lot_size", 1, MOST_SHARES, base.lot_size)
    for key, value in (("tick_size", tick_size), ("lot_size", lot_size)):
        there = getattr(base, key)
        if is_fixed and value != there:
            raise table.fail(key, f"{there:g} as in the book the market starts from")
    slots = table.whole("slots", 1, MOST_SLOTS, base.slots)
    levels = table.whole("levels", 1, MOST_LEVELS, base.levels)
    reference = table.price("reference", tick_size) if "reference" in table else 0
    rules = _read_rules(table.table("rules"), tick_size)
    if rules.price_limit and not reference:
        raise table.fail("reference", "the price that the price_limit of its rules is about")
    market = dataclasses.replace(
        _with_calendar(table, base),
        tick_size=tick_size,
        lot_size=lot_size,
        slots=slots,
        levels=levels,
        rules=rules,
    )
    return market, reference


def _with_calendar(table: Table, base: MarketConfig) -> MarketConfig:
    """`base` on the trading day the table asks for."""
    expected = f"one of {', '.join(CALENDARS)}, or a list of phases {{kind, start, end}}"
    try:
        if not table.is_list("calendar"):
            preset = CALENDARS[table.choice("calendar", CALENDARS, "always")]
            return dataclasses.replace(
                base,
                calendar=preset.calendar,
                late_hour=preset.late_hour,
                late_shift=preset.late_shift,
            )
        phases = []
        for row in table.tables("calendar", expected):
            kind = PHASES[row.choice("kind", PHASES)]
            start = _second(row, "start", row.clock("start"))
            phases.append(Phase(kind, start, _second(row, "end", row.clock_end("end"))))
            row.finish()
        return dataclasses.replace(base, calendar=Calendar(tuple(phases)))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{table.where}: {error}") from error


def _second(row: Table, key: str, time: tuple[int, int]) -> int:
    """The second of a time of the day, which must be a whole one."""
    seconds, nanoseconds = time
    if nanoseconds:
        raise row.fail(key, "a time of the day in whole seconds")
    return seconds


def _read_rules(table: Table, tick_size: float) -> RulesConfig:
    """What the exchange accepts."""
    usual = RulesConfig()
    kinds = usual.kinds
    if "kinds" in table:
        expected = f"a list of order kinds out of {', '.join(ORDER_KINDS)}"
        names = table.items("kinds", expected)
        if not names or not all(isinstance(name, str) and name in ORDER_KINDS for name in names):
            raise table.fail("kinds", expected)
        kinds = tuple(ORDER_KINDS[name] for name in names)
    rules = RulesConfig(
        price_step=table.steps("price_step", tick_size, 1, usual.price_step),
        size_step=table.whole("size_step", 1, MOST_SHARES, usual.size_step),
        price_limit=table.number("price_limit", 0, 0.99, usual.price_limit),
        self_trade=SELF_TRADES[table.choice("self_trade", SELF_TRADES, "allow")],
        kinds=kinds,
    )
    table.finish()
    return rules
