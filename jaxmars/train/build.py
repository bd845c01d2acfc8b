"""Recorded days to a dataset of token shards, in two passes over the days.

First a bounded sample of the training orders gives the bins; then every day is tokenised and its
shards are written, one day in memory at a time. A build that was stopped goes on where it was, and
a build that was finished repairs what is damaged: shards with the right checksum are kept.
"""

import datetime
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.convert.store import file_hash
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.tokens.bins import FILE_NAME, Converters, TokenTables
from jaxmars.tokens.order import ELAPSED
from jaxmars.train.bin_sample import BinSample
from jaxmars.train.flows import DayFlow
from jaxmars.train.journal import (
    JOURNAL,
    Bins,
    is_whole,
    note_shard,
    read_finished,
    start_journal,
    sweep,
)
from jaxmars.train.shards import (
    BINS,
    MANIFEST,
    SYMBOL,
    TRAIN,
    VERSION,
    Manifest,
    Shard,
    converters_digest,
    domain_entries,
    market_entries,
    shard_name,
    write_manifest,
    write_shard,
)
from jaxmars.train.splits import Split, check_split
from jaxmars.train.tokenise import measure, opening, order_times, part_domain, tokenise

MOST_DATES = 5  # of each tick that an error names
BOTH_PASSES = FITTING, TOKENISING = "bins", "tokens"


class Day(NamedTuple):
    """A recorded day."""

    symbol: str
    date: datetime.date
    files: tuple[pathlib.Path, ...]
    options: dict[str, Any]  # what else decides its flow, JSON
    read: Callable[[], DayFlow]


class Recipe(NamedTuple):
    """What a dataset is made of."""

    days: tuple[Day, ...]
    market: MarketConfig  # its calendar and its rule for the elapsed time count
    model: OrderModelConfig  # its numbers of bins count
    split: Split
    bins: Converters | None  # bins of a model to use; None to fit them on the training part


class Ticks:
    """The tick of every day. Bins are in ticks, so the days of a symbol must have the same."""

    def __init__(self) -> None:
        self._days: dict[str, dict[float, list[str]]] = {}

    def add(self, day: Day, tick_size: float) -> None:
        """One day; ticks that differ by rounding are the same."""
        ticks = self._days.setdefault(day.symbol, {})
        ticks.setdefault(float(f"{tick_size:.9g}"), []).append(day.date.isoformat())

    def check(self) -> None:
        """Refuses several ticks of one symbol.

        Raises:
          InputError: says which days have which.
        """
        for symbol, ticks in self._days.items():
            if len(ticks) > 1:
                found = "; ".join(f"{tick:g} on {_some(ticks[tick])}" for tick in sorted(ticks))
                raise InputError(
                    f"the days of {symbol} have ticks of {found}: expected one tick, as bins are "
                    "in ticks; give the tick of each day in the recipe, or build them apart"
                )


def _some(dates: list[str]) -> str:
    more = len(dates) - MOST_DATES
    return ", ".join(dates[:MOST_DATES]) + (f" and {more:,} more days" if more > 0 else "")


Report = Callable[[str, int, int], None]
"""(pass, days done, days in all)"""


def build_dataset(
    recipe: Recipe, out: pathlib.Path, made_by: dict[str, Any], report: Report
) -> Manifest:
    """Builds a dataset, goes on with one, or repairs one.

    Args:
      recipe: what it is made of.
      out: its folder: empty, absent, or one where a build of the same recipe was at work.
      made_by: provenance, JSON.
      report: called after every day of either pass.

    Returns:
      The manifest, as written.

    Raises:
      InputError: a day that cannot be read or is given twice, days of one symbol with other ticks,
        a folder with something else in it, or too little variety to fit the bins.
    """
    _check(recipe)
    check_out(out, (MANIFEST, FILE_NAME, JOURNAL))
    hashes = [[file_hash(path) for path in day.files] for day in recipe.days]
    plan = _plan(recipe, hashes)
    finished = read_finished(out, plan)
    sweep(out)
    bins = finished.bins
    if bins is None:
        bins = _fit(recipe, report)
    if finished.bins is None or not (out / JOURNAL).exists():
        start_journal(out, plan, bins)
    tables = bins.converters.tables()
    shards: list[Shard] = []
    ticks = Ticks()
    for done, (day, sums) in enumerate(zip(recipe.days, hashes, strict=True), 1):
        names = [shard_name(day.symbol, day.date, x) for x in recipe.split.splits(day.date)]
        kept = [finished.shards[x] for x in names if is_whole(out, finished.shards.get(x))]
        shards += (
            kept if len(kept) == len(names) else _write_day(day, sums, recipe, bins, tables, out)
        )
        ticks.add(day, shards[-1].tick_size)
        report(TOKENISING, done, len(recipe.days))
    ticks.check()
    manifest = Manifest(
        plan_sha256=plan,
        converters_sha256=converters_digest(bins.converters),
        market=market_entries(recipe.market),
        bins={name: getattr(recipe.model, name) for name in BINS},
        split=recipe.split.entries(),
        domain=bins.domain,
        made_by=made_by,
        shards=tuple(shards),
    )
    write_manifest(out, manifest)
    (out / JOURNAL).unlink()
    return manifest


def _check(recipe: Recipe) -> None:
    """Refuses days that are given twice or have no proper name, and bins of other numbers."""
    check_split(recipe.split)
    if not recipe.days:
        raise InputError("no day was given, expected at least one")
    seen = set()
    for day in recipe.days:
        if not SYMBOL.fullmatch(day.symbol):
            raise InputError(
                f"the symbol {day.symbol!r:.80} is not one of up to 20 letters, digits, dots and "
                "hyphens"
            )
        if (day.symbol, day.date) in seen:
            raise InputError(f"{day.symbol} on {day.date} is given twice, expected once")
        seen.add((day.symbol, day.date))
        for path in day.files:
            if not path.is_file():
                raise InputError(f"{path} does not exist, expected a file of {day.symbol}")


def _plan(recipe: Recipe, hashes: list[list[str]]) -> str:
    """Hex sha256 of everything that decides the content of the dataset, but not its provenance."""
    days = [
        [day.symbol, day.date.isoformat(), sums, day.options]
        for day, sums in zip(recipe.days, hashes, strict=True)
    ]
    parts = {
        "version": VERSION,
        "days": days,
        "market": market_entries(recipe.market) | {"levels": recipe.market.levels},
        "bins": {name: getattr(recipe.model, name) for name in BINS},
        "split": recipe.split.entries(),
        "given_bins": None if recipe.bins is None else converters_digest(recipe.bins),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fit(recipe: Recipe, report: Report) -> Bins:
    """The first pass: bins and domain of the training part, whose days alone are read."""
    days = [day for day in recipe.days if TRAIN in recipe.split.splits(day.date)]
    sample, ticks = BinSample(), Ticks()
    for done, day in enumerate(days, 1):
        flow, tick_size, _ = day.read()
        ticks.add(day, tick_size)
        found = measure(flow, recipe.market)
        stamps = order_times(day.symbol, day.date, flow.event)
        for part in recipe.split.parts(day.date, stamps):
            if part.split == TRAIN:
                sample.add(day.symbol, day.date, part, found, flow.l2)
        report(FITTING, done, len(days))
    ticks.check()
    converters = sample.fit(recipe.model) if recipe.bins is None else recipe.bins
    return Bins(converters, domain_entries(sample.domain(converters)))


def _write_day(
    day: Day,
    hashes: list[str],
    recipe: Recipe,
    bins: Bins,
    tables: TokenTables,
    out: pathlib.Path,
) -> list[Shard]:
    """Tokenises one day and writes its shards."""
    flow, tick_size, lot_size = day.read()
    rows, final = tokenise(flow, tables, recipe.market)
    found = measure(flow, recipe.market)
    opened = opening(flow.event, recipe.market)
    shards = []
    stamps = order_times(day.symbol, day.date, flow.event)
    for part in recipe.split.parts(day.date, stamps):
        here = slice(part.start, part.stop)
        kept = rows[here][final[here]]
        name = shard_name(day.symbol, day.date, part.split)
        shard = Shard(
            file=name,
            symbol=day.symbol,
            date=day.date.isoformat(),
            split=part.split,
            rows=len(kept),
            sha256=write_shard(out / name, kept),
            source=[path.name for path in day.files],
            source_sha256=hashes,
            tick_size=tick_size,
            lot_size=lot_size,
            open_time=opened.time,
            open_price=opened.price,
            last_elapsed=int(np.max(kept[:, ELAPSED], initial=0)),
            domain=domain_entries(part_domain(bins.converters, flow, found, part)),
        )
        note_shard(out, shard)
        shards.append(shard)
    return shards
