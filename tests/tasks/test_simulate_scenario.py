"""Scenarios from TOML: what is read, in which units, and what is refused with which sentence."""

import dataclasses
import pathlib
import re
from typing import Any

import jax
import numpy as np
import pytest
from oracles.forecast_world import GROWTH, small_model, write_day
from oracles.scenario_text import BUILTIN, CROWD, MARKET, NOISE, PHASE, RUN, WRONG, agent

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


def read(folder: pathlib.Path, *parts: str) -> Scenario:
    path = folder / "m.toml"
    path.write_text("\n".join(parts))
    return read_scenario(path)


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
