"""Scenarios from TOML: what is read, in which units, and what is refused with which sentence."""

import dataclasses
import pathlib
import re
from typing import Any

import jax
import numpy as np
import pytest
from oracles.forecast_world import GROWTH, small_model, write_day

from jaxmars.agents.market_maker import MarketMakerParams
from jaxmars.agents.reference import ReferenceParams
from jaxmars.agents.zero_intelligence import ZeroIntelligenceParams
from jaxmars.book import invariants, resting_orders
from jaxmars.builtin import default_starts
from jaxmars.cli_simulate import EXAMPLE
from jaxmars.config import Calendar, Phase, PhaseKind, RulesConfig, SelfTrade
from jaxmars.data.start import load_start
from jaxmars.errors import InputError
from jaxmars.tasks.scenario import (
    AUCTION_RECORDS,
    RECORDS,
    REQUESTS_UNDER_WAY,
    Scenario,
    read_scenario,
)
from jaxmars.tasks.scenario_agents import BUILDERS
from jaxmars.tasks.scenario_book import NOBODY
from jaxmars.types import Kind, Side

MARKETS = pathlib.Path(__file__).parents[2] / "scripts" / "markets"
RUN = '[run]\nstart = "09:30:00"\nend = "09:31:00"\n'
MARKET = "[market]\nreference = 10.0\n"
NOISE = '[[agents]]\nkind = "noise"\ngap = 1.0\n'
BUILTIN = "[run]\nminutes = 1\n[book]\nbuiltin = 2\n"
PHASE = '{ kind = "continuous", start = "09:30:00", end = "24:00:00" }'
CROWD = '[[agents]]\nkind = "reference"\n'
TWAP = 'side = "buy"\ntarget = 1000\ntotal = 60\n'
PAPER_TWAP = 'side = "buy"\ntarget = 1000\npassive_ratio = 0.2\nlevel = 3\n'
A_SHARE_RUN = '[run]\nstart = "10:00:00"\nend = "14:00:00"\n'
A_SHARE_MARKET = MARKET + 'calendar = "chinese_a_share"\n'
FUNDAMENTAL = "[fundamental]\nreversion = 0.01\nvolatility = 0.001\n"
LARGE = "1" + 400 * "0"


def read(folder: pathlib.Path, *parts: str) -> Scenario:
    path = folder / "m.toml"
    path.write_text("\n".join(parts))
    return read_scenario(path)


def agent(kind: str, text: str = "") -> str:
    return f'[[agents]]\nkind = "{kind}"\n{text}\n'


def test_the_smallest_file_and_its_defaults(tmp_path: pathlib.Path) -> None:
    found = read(tmp_path, RUN, MARKET, NOISE)
    assert (found.begin, found.end) == ((34_200, 0), (34_260, 0))
    assert (found.trajectories, found.seed, found.reference) == (16, 0, 1000)
    assert found.cfg.market.calendar == Calendar()
    assert found.cfg.market.rules == RulesConfig(crowd=(0,))
    assert (found.cfg.market.max_trades, found.cfg.market.max_in_flight) == (RECORDS, 0)
    (trader,) = found.traders
    assert (trader.name, trader.kind, trader.cash, trader.shares) == ("noise", "noise", 0, 0)
    assert trader.params == (1000, 1.0)
    assert not found.book.size.any()


def test_the_devices_of_this_process_share_the_trajectories(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other processes run other trajectories."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    assert read(tmp_path, RUN, "trajectories = 40", MARKET, NOISE).cfg.lanes == 10


def test_times_may_be_toml_times_or_minutes(tmp_path: pathlib.Path) -> None:
    found = read(tmp_path, "[run]\nstart = 09:30:00.25\nminutes = 1.5", MARKET, NOISE)
    assert (found.begin, found.end) == ((34_200, 250_000_000), (34_290, 250_000_000))


def test_currency_becomes_ticks(tmp_path: pathlib.Path) -> None:
    market = "[market]\ntick_size = 0.05\nlot_size = 10\nreference = 10.0\n"
    rules = '[market.rules]\nprice_step = 0.1\nsize_step = 10\nself_trade = "cancel_resting"\n'
    maker = "half_spread = 0.125\nstep = 0.1\nskew = 0.01\nsize = 30\nprice = 9.95\ncash = 20.0"
    found = read(tmp_path, RUN, market, rules, agent("market_maker", maker))
    (trader,) = found.traders
    assert isinstance(trader.params, MarketMakerParams)
    usual = MarketMakerParams(price=199)
    assert trader.params == usual._replace(half_spread=2.5, step=2, skew=0.2, size=30, lot=10)
    assert (trader.cash, found.reference) == (400, 200)
    assert found.cfg.market.rules == RulesConfig(2, 10, self_trade=SelfTrade.CANCEL_RESTING)


def test_numbers_not_given_are_those_of_the_code(tmp_path: pathlib.Path) -> None:
    found = read(tmp_path, RUN, MARKET, agent("zero_intelligence", "limit_rate = 3"))
    assert found.traders[0].params == ZeroIntelligenceParams(price=1000, limit_rate=3.0)
    found = read(tmp_path, BUILTIN, agent("reference", "trade_rate = 0.7"))
    assert found.traders[0].params == ReferenceParams(trade_rate=0.7)


def test_every_kind_of_agent_can_be_built(tmp_path: pathlib.Path) -> None:
    (tmp_path / "o.csv").write_text(
        "time,kind,side,price,size,order_id\n10:00:01,LIMIT,BUY,20.00,100,1\n"
    )
    small_model().save(tmp_path / "w", {})
    settings = {
        "noise": "gap = 1",
        "background": f'weights = "w"\ngrowth = {GROWTH}',
        "twap": 'side = "sell"\ntarget = 1000\ntotal = 60\nchange = 0.0',
        "paper_twap": 'side = "buy"\ntarget = 1000\npassive_ratio = 0.2\nlevel = 3',
        "momentum": "short = 3\nlong = 9",
        "script": 'file = "o.csv"',
    }
    fundamental = "[fundamental]\nreversion = 0.01\nvolatility = 0.001"
    parts = [agent(kind, settings.get(kind, "")) for kind in BUILDERS]
    found = read(tmp_path, BUILTIN, fundamental, *parts)
    assert [t.kind for t in found.traders] == list(BUILDERS)
    assert found.cfg.segment == GROWTH and found.weights == (str(tmp_path / "w"),)
    twap = found.traders[list(BUILDERS).index("twap")].params
    assert (twap.side, int(twap.start.sec), twap.total, twap.reach) == (Side.SELL, 36_000, 60, 0)


def test_copies_and_names(tmp_path: pathlib.Path) -> None:
    slow = agent("noise", 'gap = 2\nname = "slow"\ncount = 2')
    found = read(tmp_path, RUN, MARKET, NOISE, agent("market_maker"), slow)
    assert [t.name for t in found.traders] == ["noise", "market_maker", "slow 1", "slow 2"]
    assert [found.traders[i].params.gap for i in (0, 2, 3)] == [1.0, 2.0, 2.0]
    assert found.cfg.market.rules.crowd == (0, 2, 3)


def test_room_for_latency_and_for_auctions(tmp_path: pathlib.Path) -> None:
    late = agent("noise", "gap = 1\ncommunication = 0.1\ncount = 3")
    found = read(tmp_path, RUN, MARKET, late)
    assert found.cfg.market.max_in_flight == 3 * REQUESTS_UNDER_WAY
    assert [t.communication for t in found.traders] == [0.1] * 3
    day = 'calendar = "chinese_a_share"'
    times = '[run]\nstart = "09:15:00"\nend = "{}"\n'
    found = read(tmp_path, times.format("09:25:00"), MARKET + day, NOISE)
    assert found.cfg.market.max_trades == AUCTION_RECORDS
    assert found.cfg.market.calendar == Calendar.chinese_a_share()
    found = read(tmp_path, times.format("09:24:59"), MARKET + day, NOISE)
    assert found.cfg.market.max_trades == RECORDS


def test_a_calendar_of_phases(tmp_path: pathlib.Path) -> None:
    phases = (
        'calendar = [{ kind = "auction", start = "09:00:00", end = "09:10:00" },\n'
        '{ kind = "continuous", start = "09:20:00", end = "17:30:00" }]'
    )
    found = read(tmp_path, RUN, MARKET + phases, NOISE)
    assert found.cfg.market.calendar.phases == (
        Phase(PhaseKind.AUCTION, 32_400, 33_000),
        Phase(PhaseKind.CONTINUOUS, 33_600, 63_000),
    )


def test_the_release_calendar_brings_its_elapsed_time(tmp_path: pathlib.Path) -> None:
    market = read(tmp_path, RUN, MARKET + 'calendar = "release"', NOISE).cfg.market
    assert (market.late_hour, market.late_shift) == (13, 5400)


def test_a_builtin_start_belongs_to_the_crowd(tmp_path: pathlib.Path) -> None:
    start = load_start(default_starts(), 2)
    found = read(tmp_path, BUILTIN, NOISE, CROWD)
    assert (found.begin, found.end) == ((36_000, 0), (36_060, 0))
    assert found.last_price == start.last_price
    np.testing.assert_array_equal(found.book.size, start.book.size)
    assert (found.book.agent_id[found.book.size > 0] == 1).all()
    found = read(tmp_path, BUILTIN, 'owner = "noise"', NOISE, CROWD)
    assert (found.book.agent_id[found.book.size > 0] == 0).all()
    found = read(tmp_path, BUILTIN, NOISE)
    assert (found.book.agent_id[found.book.size > 0] == NOBODY).all()


def test_a_recorded_book(tmp_path: pathlib.Path) -> None:
    message, book = write_day(tmp_path)
    names = f'[book]\nlobster = ["{message.name}", "{book.name}"]\n'
    run = '[run]\nstart = "10:02:00"\nminutes = 1\n'
    found = read(tmp_path, run, names, NOISE)
    cells = [float(x) for x in _last_row(message, book, 36_120).split(",")]
    best = [resting_orders(found.book, side)[0] for side in (Side.SELL, Side.BUY)]
    assert [(o.price * 100, o.size) for o in best] == [tuple(cells[:2]), tuple(cells[2:4])]
    assert found.words == "TEST" and found.cfg.market.levels == 10
    with pytest.raises(InputError, match=r"tick_size is 0\.05, expected 0\.01 as in the book"):
        read(tmp_path, run, "[market]\ntick_size = 0.05", names, NOISE)


def _last_row(message: pathlib.Path, book: pathlib.Path, second: int) -> str:
    """The recorded book at a second."""
    times = np.loadtxt(message, delimiter=",", usecols=0)
    return book.read_text().splitlines()[int((times <= second).sum()) - 1]


def test_a_book_of_orders(tmp_path: pathlib.Path) -> None:
    orders = (
        '[book]\norders = [{ side = "buy", price = 9.99, size = 300, agent = "b" },\n'
        '{ side = "buy", price = 9.99, size = 100 }, { side = "sell", price = 10.00, size = 7 }]'
    )
    found = read(tmp_path, RUN, orders, NOISE, agent("noise", 'gap = 1\nname = "b"'))
    bids = resting_orders(found.book, Side.BUY)
    assert [(o.price, o.size, o.agent_id) for o in bids] == [(999, 300, 1), (999, 100, NOBODY)]
    (ask,) = resting_orders(found.book, Side.SELL)
    assert (ask.price, ask.size, ask.agent_id) == (1000, 7, NOBODY)
    assert bool(invariants(jax.tree.map(np.asarray, found.book)))
    assert found.start_mid == 999.5 and found.traders[0].params.price == 1000


def test_a_market_can_end_at_midnight(tmp_path: pathlib.Path) -> None:
    run = RUN.replace("09:31:00", "24:00:00")
    found = read(tmp_path, run, MARKET + f"calendar = [{PHASE}]", NOISE)
    assert found.end == (86_400, 0)
    assert found.cfg.market.calendar == Calendar.continuous(34_200, 86_400)


def test_the_fundamental_is_drawn_from_the_seed(tmp_path: pathlib.Path) -> None:
    table = "[fundamental]\nfirst = 9.9\nreversion = 0.01\nvolatility = 0.01\nspacing = 2.0"
    path = lambda seed: read(
        tmp_path, RUN + f"seed = {seed}", MARKET, table, agent("value", "count = 2")
    )
    first, again, other = (path(seed).traders[0].params.fundamental for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.value, again.value)
    assert first.value[0] == 990 and not np.array_equal(first.value, other.value)
    assert 2.0 * (len(first.value) - 1) >= 60


@pytest.mark.parametrize("path", sorted(MARKETS.glob("*.toml")), ids=lambda p: p.stem)
def test_the_sample_markets_are_good(path: pathlib.Path) -> None:
    assert read_scenario(path).trajectories > 1


def test_the_example_is_good_with_and_without_its_options(tmp_path: pathlib.Path) -> None:
    assert [t.name for t in read(tmp_path, EXAMPLE).traders] == ["crowd", "market_maker", "buyer"]
    options = re.findall(r"^# (\w+ = [^#\[]+?)\s+#", EXAMPLE, re.MULTILINE)
    assert len(options) > 10
    usual, given = read(tmp_path, EXAMPLE), EXAMPLE
    for option in ["[fundamental]", *options]:
        assert f"# {option}" in given
        given = given.replace(f"# {option}", option)
    given = re.sub(r"^# ((mean|reversion|volatility) = )", r"\1", given, flags=re.MULTILINE)
    changed = read(tmp_path, given)
    market = dataclasses.replace(changed.cfg.market, slots=usual.cfg.market.slots)
    assert market == usual.cfg.market and changed.begin == usual.begin


WRONG: list[tuple[tuple[str, ...], str]] = [
    ((RUN, MARKET), "m.toml has no agents, expected at least one table"),
    (("[run", NOISE), "m.toml is not TOML: "),
    ((RUN, MARKET, NOISE, "[rum]\nx = 1"), "unknown key 'rum', expected one of agents, book"),
    ((RUN + "trajectores = 3", MARKET, NOISE), r"\[run\] has an unknown key 'trajectores'"),
    ((RUN + "trajectories = 0", MARKET, NOISE), "trajectories is 0, expected a whole number from"),
    ((RUN + "trajectories = true", MARKET, NOISE), "trajectories is true, expected a whole number"),
    ((RUN + 'seed = "7"', MARKET, NOISE), "seed is '7', expected a whole number from 0 to"),
    ((RUN + "seed = -1", MARKET, NOISE), "seed is -1, expected a whole number from 0 to"),
    (("[run]\nminutes = 1", MARKET, NOISE), r"\[run\] has no start, expected a time of the day"),
    ((RUN.replace("30:", "61:"), MARKET, NOISE), "start is '09:61:00', expected a time of the day"),
    ((RUN + "minutes = 1", MARKET, NOISE), "needs either end, a time of the day, or minutes"),
    (('[run]\nstart = "09:30:00"', MARKET, NOISE), "needs either end, a time of the day, or minut"),
    ((RUN.replace("09:31", "09:29"), MARKET, NOISE), "end is '09:29:00', expected a time after"),
    (
        (RUN, MARKET + 'calendar = "always"', '[[agents]]\nkind = "no"'),
        "kind is 'no', expected one",
    ),
    ((RUN, MARKET, '[[agents]]\nkind = "noise"'), "agents 1 has no gap, expected a number from"),
    ((RUN, MARKET, NOISE + "gap = 2"), "m.toml is not TOML: Cannot overwrite a value"),
    ((RUN, MARKET, NOISE + "size = 3"), "agents 1 has an unknown key 'size', expected one of cash"),
    ((RUN, MARKET, NOISE, NOISE), "agents 2: name 'noise' is taken"),
    ((RUN, MARKET, NOISE + "count = 101"), "count is 101, expected a whole number from 1 to 100"),
    ((RUN, MARKET, NOISE + 'count = 60\nname = "a"', NOISE + "count = 60"), "has 120 agents"),
    ((RUN, NOISE), "agents 1 has no price, expected one here, a reference of the market"),
    ((RUN, MARKET, NOISE + "price = 10.005"), "price is 10.005, expected a positive multiple of t"),
    (
        (RUN, MARKET, NOISE + "price = nan"),
        "price is nan, expected a positive multiple of the tick",
    ),
    ((RUN, "[market]\nreference = -1.0", NOISE), "reference is -1.0, expected a positive multiple"),
    ((RUN, MARKET + "tick_size = 0", NOISE), "tick_size is 0, expected a number from 1e-08 to"),
    ((RUN, MARKET + "tick_size = 1e-10", NOISE), r"tick_size is 1e-10, expected .* to 1e\+06"),
    ((RUN, MARKET + "tick_size = 1e308", NOISE), r"tick_size is 1e\+308, expected a number from"),
    ((RUN, MARKET + "tick_size = nan", NOISE), "tick_size is nan, expected a number from"),
    ((RUN, MARKET, NOISE + 'name = "nobody"'), "name is 'nobody', expected a name .* but 'nobody'"),
    ((RUN, MARKET, NOISE + r'name = "a\nb"'), r"name is 'a\\nb', expected .* printable characters"),
    (
        (RUN.replace('"09:30:00"', "2024-01-02T09:30:00Z"), MARKET, NOISE),
        "start is 2024-01-02T09:30:00Z, expected a time of the day",
    ),
    ((RUN.replace("09:30", "24:00"), MARKET, NOISE), "start is '24:00:00', expected a time of the"),
    ((RUN.replace("09:31:00", "24:00:01"), MARKET, NOISE), "end is '24:00:01', .* at most"),
    (
        (RUN, MARKET + f"calendar = [{PHASE}, {PHASE}]", NOISE),
        "phases must follow each other .* one from 09:30:00 to 24:00:00 after 24:00:00",
    ),
    ((RUN, MARKET + "slots = 99999", NOISE), "slots is 99999, expected a whole number from 1 to"),
    ((RUN, MARKET + 'calendar = "mars"', NOISE), "calendar is 'mars', expected one of always, us_"),
    ((RUN, MARKET + "calendar = 3", NOISE), "calendar is 3, expected one of always"),
    ((RUN, MARKET + "calendar = []", NOISE), "a calendar must have at least one phase"),
    (
        (RUN, MARKET + "max_in_flight = 0", NOISE + "computation = 1"),
        "max_in_flight is 0, expected",
    ),
    ((RUN, MARKET, "[market.rules]\nprice_limit = 2", NOISE), "price_limit is 2, expected a numbe"),
    ((RUN, "[market.rules]\nprice_limit = 0.1", NOISE), r"\[market\] has no reference, expected"),
    (
        (RUN, MARKET, '[market.rules]\nkinds = ["limit", "stop"]', NOISE),
        "kinds is .* expected a li",
    ),
    ((RUN, MARKET, '[market.rules]\nself_trade = "no"', NOISE), "self_trade is 'no', expected one"),
    ((RUN, MARKET, "[book]\nbuiltin = 99", NOISE), "starts 0 to 15, got 99"),
    (
        (RUN, MARKET, "[book]\nbuiltin = 0", NOISE),
        "start is '09:30:00', expected 10:00:00, the mom",
    ),
    ((BUILTIN, "orders = []", NOISE), r"\[book\] has builtin and orders, expected one of them"),
    ((BUILTIN, "[market]\nslots = 16", NOISE), "has 256 slots per side, expected a market with at"),
    ((BUILTIN, "[market]\nlot_size = 10", NOISE), "lot_size is 10, expected 100 as in the book"),
    ((BUILTIN, 'owner = "x"', NOISE), "owner is 'x', expected one of noise"),
    ((RUN, MARKET, CROWD), "the reference market needs a book with orders on both sides"),
    ((RUN, MARKET, agent("background")), "the order model needs the orders before the start"),
    ((RUN, MARKET, agent("value")), r"expected a table \[fundamental\]"),
    (
        (RUN, MARKET, "[fundamental]\nreversion = 0.1", NOISE),
        "has no volatility, expected an amoun",
    ),
    ((RUN, MARKET, agent("script", 'file = "no.csv"')), "no.csv cannot be read: No such file"),
    ((RUN, MARKET, agent("momentum", "short = 9\nlong = 9")), "momentum needs 0 < short < long"),
    ((RUN, MARKET, agent("zero_intelligence", "computation = 0.1")), "draws its next order anew"),
    (
        (RUN, MARKET, agent("twap", 'side = "buy"\ntarget = 150\ntotal = 60')),
        "agents 1: TWAP target must be a multiple of 100 shares",
    ),
    (
        (RUN, MARKET, agent("twap", TWAP + 'start = "09:29:59"')),
        "agents 1: start is '09:29:59', expected a time of the run, from 09:30:00 to before 09:31",
    ),
    (
        (RUN, MARKET, agent("paper_twap", PAPER_TWAP + 'start = "09:31:00"')),
        "agents 1: start is '09:31:00', expected a time of the run",
    ),
    (
        (A_SHARE_RUN, A_SHARE_MARKET, agent("twap", TWAP + 'start = "12:00:00"')),
        "start is '12:00:00', expected a time at which the calendar of the market is open",
    ),
    (
        (A_SHARE_RUN.replace("10:", "12:"), A_SHARE_MARKET, agent("twap", TWAP)),
        "agents 1 has no start, expected a time at which the calendar of the market is open",
    ),
    (
        (RUN, MARKET, "[market.rules]\nsize_step = 200", agent("twap", TWAP)),
        r"a TWAP trades by limit orders of 100 shares, .* expected rules that accept them",
    ),
    (
        (RUN, MARKET, '[market.rules]\nkinds = ["ioc"]', agent("twap", TWAP)),
        r"a TWAP trades by limit orders of 100 shares, .* expected rules that accept them",
    ),
    (
        (RUN, MARKET, "[market.rules]\nprice_step = 0.02", agent("twap", TWAP)),
        "agents 1 has no change, expected a multiple of the price_step of the rules, 2 ticks",
    ),
    (
        (RUN, MARKET, agent("twap", TWAP + "passive_ratio = 0\naggressive_ratio = 0")),
        "aggressive_ratio is 0, expected more than 0 where passive_ratio is 0",
    ),
    (
        (RUN, MARKET, agent("paper_twap", PAPER_TWAP.replace("0.2", "0").replace("3", "0"))),
        "level is 0, expected 1 to 5 where passive_ratio is 0",
    ),
    (
        (RUN, MARKET, "[market.rules]\nsize_step = 200", agent("momentum", "size = 300")),
        "agents 1: size is 300, expected a multiple of the size_step of the rules, 200 shares",
    ),
    (
        (RUN, MARKET, "[market.rules]\nsize_step = 200", agent("zero_intelligence")),
        "agents 1 has no size, expected a multiple of the size_step of the rules, 200 shares",
    ),
    ((RUN, MARKET, NOISE.replace("1.0", LARGE)), "gap is 1000000.*, expected a number from 1e-06"),
    ((RUN, MARKET, NOISE + f"price = {LARGE}"), "price is 1000000.*, expected a positive multiple"),
    ((RUN, MARKET, NOISE + "communication = -0.1"), "communication is -0.1, expected a number fro"),
    ((RUN, MARKET, NOISE + "cash = nan"), "cash is nan, expected a number from 0 to"),
    (
        (RUN, MARKET, FUNDAMENTAL, agent("value", "cross_prob = 1.5")),
        "cross_prob is 1.5, expected a number from 0 to 1",
    ),
    (
        (RUN, MARKET, '[book]\norders = [{ side = "buy", price = 9.0 }]', NOISE),
        "orders 1 has no size, expected a whole number from 1",
    ),
    (
        (
            RUN,
            '[book]\norders = [{ side = "buy", price = 9.0, size = 1 },'
            '{ side = "sell", price = 9.0, size = 1 }]',
            NOISE,
        ),
        "orders bid 9 and ask 9, expected every bid below every ask",
    ),
    (
        (
            '[run]\nstart = "12:00:00"\nend = "12:30:00"',
            MARKET + 'calendar = "chinese_a_share"',
            NOISE,
        ),
        "the market is closed from 12:00:00 to 12:30:00",
    ),
]


@pytest.mark.parametrize(("parts", "sentence"), WRONG)
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: pathlib.Path, parts: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, *parts)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("time", ["09:29:59", "09:31:00.5"])
def test_scripted_orders_lie_within_the_run(tmp_path: pathlib.Path, time: str) -> None:
    heading = "time,kind,side,price,size,order_id"
    row = "09:30:30,LIMIT,BUY,10.00,100,1"
    rows = sorted([row, f"{time},MARKET,BUY,,100,"])
    (tmp_path / "o.csv").write_text("\n".join([heading, *rows]))
    with pytest.raises(InputError, match=f"has a row at {time}, expected times from 09:30:00 to"):
        read(tmp_path, RUN, MARKET, agent("script", 'file = "o.csv"'))
    (tmp_path / "o.csv").write_text("\n".join([heading, row]))
    assert read(tmp_path, RUN, MARKET, agent("script", 'file = "o.csv"')).traders


def test_two_models_must_agree_on_segments(tmp_path: pathlib.Path) -> None:
    small_model().save(tmp_path / "w", {})
    model = lambda name, growth: agent(
        "background", f'weights = "w"\ngrowth = {growth}\nname = "{name}"'
    )
    with pytest.raises(InputError, match="order models have growth 8 and 16"):
        read(tmp_path, BUILTIN, model("a", 8), model("b", 16))
    with pytest.raises(InputError, match="segment is 64, expected 8, the growth of the order mod"):
        read(tmp_path, BUILTIN.replace("minutes", "segment = 64\nminutes"), model("a", 8))


def test_kinds_of_orders(tmp_path: pathlib.Path) -> None:
    found = read(tmp_path, RUN, MARKET, '[market.rules]\nkinds = ["limit", "cancel"]', NOISE)
    assert found.cfg.market.rules.kinds == (Kind.LIMIT, Kind.CANCEL)


def test_a_file_that_is_none(tmp_path: pathlib.Path) -> None:
    for path, words in ((tmp_path / "no.toml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=rf"cannot be read: .*{words}"):
            read_scenario(path)
    binary: Any = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"b\.toml is not TOML"):
        read_scenario(binary)
