"""The TOML file that says which recorded days make a dataset."""

import dataclasses
import datetime
import functools
import pathlib
import re
from typing import Any

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.tasks.scenario_market import CALENDARS, LARGEST_TICK, LEAST_TICK, MOST_LEVELS
from jaxmars.tasks.scenario_table import Table, read_table
from jaxmars.tokens.bins import Converters
from jaxmars.train.build import Day, Recipe
from jaxmars.train.flows import events_day, lobster_day, table_day
from jaxmars.train.shards import BINS
from jaxmars.train.splits import Split

FEWEST_BINS, MOST_BINS = 2, 4096
MOST_TICK = 10**9  # price units of a tick
KINDS = ("lobster", "events", "orders")
PRICE_SLOTS, VOLUME_SLOTS, INTERVAL_SLOTS = BINS

EXAMPLE = """\
# Recorded days for jaxmars data build. Paths are relative to this file. Whatever has a default may
# be left out.

# calendar = "always"    # or "us_equity", "chinese_a_share", "release": auctions and breaks
# levels = 10            # of books that are rebuilt from a table of orders

# [bins]                 # slots of a token; not used with --bins
# num_bins_price_level = 64          # 32, and 16 intervals, for released sizes: a joint head
# num_bins_pred_order_volume = 32
# num_bins_order_interval = 64       # has the product of all of them

[[folders]]              # every LOBSTER pair in a folder, named as LOBSTER names them
lobster = "lobster"
# tick = 100             # 1e-4 currency (default: found from the prices of each day)

# [[days]]               # a LOBSTER pair of another name
# symbol = "GOOG"
# date = "2012-06-21"
# lobster = ["message.csv", "orderbook.csv"]
# tick = 100             # 1e-4 currency (default: found from the prices)

# [[days]]               # what jaxmars.data.write_events wrote, with its books
# symbol = "SIM"
# date = "2030-01-02"
# events = "events.parquet"
# tick_size = 0.01       # currency

# [[days]]               # a table of the orders that were sent (not of book changes)
# symbol = "XYZ"
# date = "2023-03-09"
# orders = "orders.csv"
# columns = "columns.toml"
"""

_LOBSTER_NAME = re.compile(r"(.+)_(\d{4}-\d\d-\d\d)_\d+_\d+_message_(\d+\.csv(?:\.gz|\.xz)?)")


def read_recipe(path: pathlib.Path, split: Split, bins: Converters | None) -> Recipe:
    """The recipe a file describes; no data are read.

    Args:
      path: TOML.
      split: which part of the data trains, validates and tests.
      bins: those of a model, to make data for it; None to fit them.

    Raises:
      InputError: no such file, not TOML, an unknown or missing key, or a value out of its range.
    """
    top, _ = read_table(path)
    levels = top.whole("levels", 1, MOST_LEVELS, MarketConfig().levels)
    market = dataclasses.replace(
        CALENDARS[top.choice("calendar", CALENDARS, "always")], levels=levels
    )
    model = _model(top.table("bins"), bins)
    here = path.resolve().parent
    days: list[Day] = []
    for table in top.tables("folders", "a list of tables [[folders]]"):
        days += _folder(table, here)
    days += [_day(x, here, market) for x in top.tables("days", "a list of tables [[days]]")]
    top.finish()
    if not days:
        raise InputError(f"{path} names no days, expected [[days]] or [[folders]]")
    return Recipe(tuple(days), market, model, split, bins)


def _model(table: Table, bins: Converters | None) -> OrderModelConfig:
    """The numbers of bins."""
    model = OrderModelConfig.default()
    asked = {x: table.whole(x, FEWEST_BINS, MOST_BINS, getattr(model, x)) for x in BINS}
    if bins is not None:
        for name in BINS:
            if name in table:
                raise table.fail(name, "nothing, as the bins of a model are used")
        found = (bins.price_level, bins.pred_order_volume, bins.order_interval)
        asked = {name: x.num_bins for name, x in zip(BINS, found, strict=True)}
    table.finish()
    return dataclasses.replace(model, **asked)


def _folder(table: Table, here: pathlib.Path) -> list[Day]:
    """The LOBSTER pairs of a folder, by name."""
    folder = here / table.text("lobster", "the folder of LOBSTER pairs")
    tick = _tick(table)
    table.finish()
    if not folder.is_dir():
        raise InputError(f"{table.where}: {folder} is not a folder, expected LOBSTER pairs there")
    days = []
    for message in sorted(folder.iterdir()):
        found = _LOBSTER_NAME.fullmatch(message.name)
        if found is None:
            continue
        book = message.with_name(message.name.replace("_message_", "_orderbook_"))
        days.append(_lobster(found[1], _date(found[2], str(message)), message, book, tick))
    if not days:
        raise InputError(
            f"{table.where}: {folder} holds no LOBSTER pair, expected files such as "
            "GOOG_2012-06-21_34200000_57600000_message_10.csv"
        )
    return days


def _day(table: Table, here: pathlib.Path, market: MarketConfig) -> Day:
    """One [[days]] table."""
    symbol = table.text("symbol", "a text such as GOOG")
    date = _date(table.text("date", 'a date such as "2012-06-21"'), table.where)
    given = [kind for kind in KINDS if kind in table]
    if len(given) != 1:
        raise InputError(f"{table.where} has {len(given)} of {', '.join(KINDS)}, expected one")
    if given == ["events"]:
        file = here / table.text("events", "a Parquet file")
        tick_size = table.number("tick_size", LEAST_TICK, LARGEST_TICK, market.tick_size)
        options: dict[str, Any] = {"kind": "events", "tick_size": tick_size}
        table.finish()
        return Day(symbol, date, (file,), options, functools.partial(events_day, file, tick_size))
    tick = _tick(table)
    if given == ["lobster"]:
        files = table.items("lobster", "the message file and the book file")
        if len(files) != 2 or not all(isinstance(x, str) and x for x in files):
            raise table.fail("lobster", "the names of the message file and of the book file")
        table.finish()
        return _lobster(symbol, date, here / files[0], here / files[1], tick)
    file = here / table.text("orders", "a table of orders")
    columns = here / table.text("columns", "a TOML file that names the columns")
    table.finish()
    read = functools.partial(table_day, file, columns, tick, market)
    return Day(symbol, date, (file, columns), {"kind": "orders", "tick": tick}, read)


def _tick(table: Table) -> int | None:
    """Price units of a tick, None to find it from the prices."""
    return table.whole("tick", 1, MOST_TICK) if "tick" in table else None


def _lobster(
    symbol: str, date: datetime.date, message: pathlib.Path, book: pathlib.Path, tick: int | None
) -> Day:
    read = functools.partial(lobster_day, message, book, tick)
    return Day(symbol, date, (message, book), {"kind": "lobster", "tick": tick}, read)


def _date(text: str, where: str) -> datetime.date:
    """A day of the calendar."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{where} is of the date {text!r:.80}, expected one such as 2012-06-21"
        ) from None
