"""Runs of scenarios: a market worked out by hand, and what must hold of every run."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from oracles.forecast_world import GROWTH, LANES, SLOTS

from jaxmars.book import tradable, wide_to_int
from jaxmars.models import OrderModel
from jaxmars.tasks import ForecastResult, SimulationResult, read_scenario, run_scenario
from jaxmars.tasks.simulate import GRID
from jaxmars.tasks.simulate_files import missing_fills, summary
from jaxmars.types import Side, Status

HEADING = "time,kind,side,price,size,order_id\n"
SELLER = """\
09:30:00,LIMIT,SELL,10.02,500,
09:30:30,MARKET,SELL,,50,
"""
BUYER = """\
09:30:10,LIMIT,BUY,10.03,300,
09:30:20,LIMIT,BUY,10.00,100,
"""
BY_HAND = """\
[run]
trajectories = 1
start = "09:30:00"
end = "09:32:00"
segment = 16
[market]
slots = 16
levels = 2
max_trades = 2
[[agents]]
kind = "script"
name = "seller"
file = "seller.csv"
shares = 1000
[[agents]]
kind = "script"
name = "buyer"
file = "buyer.csv"
cash = 10_000.0
communication = 0.5
computation = 0.25
"""
CROWDED = """\
[run]
trajectories = 4
start = "09:24:45"
end = "09:30:45"
lanes = 2
segment = 128
max_events = 1024
[market]
slots = 64
levels = 2
reference = 10.00
max_trades = 12
calendar = "chinese_a_share"
[[agents]]
kind = "noise"
gap = 0.8
cash = 1_000_000.0
communication = 0.2
[[agents]]
kind = "zero_intelligence"
shares = 500
"""


def run_text(folder: pathlib.Path, text: str) -> SimulationResult:
    path = folder / "m.toml"
    path.write_text(text)
    return run_scenario(read_scenario(path))


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    folder = tmp_path_factory.mktemp("hand")
    (folder / "seller.csv").write_text(HEADING + SELLER)
    (folder / "buyer.csv").write_text(HEADING + BUYER)
    return run_text(folder, BY_HAND)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    """Fifteen seconds of auction, a break, most of a minute of continuous matching."""
    return run_text(tmp_path_factory.mktemp("crowd"), CROWDED)


def test_events_by_hand(by_hand: SimulationResult) -> None:
    """The buyer's orders arrive a computation and two communications after its wake-up, which is
    a communication before the time in its script."""
    found: Any = by_hand.events()
    assert found["time_ns"].to_list() == [
        int((34_200 + second) * 1e9) for second in (0, 10.75, 20.75, 30)
    ]
    columns = ["agent", "kind", "side", "price", "size", "filled", "fills", "best_bid", "best_ask"]
    rows = found[columns].astype(object).where(found[columns].notna(), None)
    assert rows.to_numpy().tolist() == [
        ["seller", "LIMIT", "SELL", 10.02, 500, 0, 0, None, 10.02],
        ["buyer", "LIMIT", "BUY", 10.03, 300, 300, 1, None, 10.02],
        ["buyer", "LIMIT", "BUY", 10.0, 100, 0, 0, 10.0, 10.02],
        ["seller", "MARKET", "SELL", 10.0, 50, 50, 1, 10.0, 10.02],
    ]


def test_fills_by_hand(by_hand: SimulationResult) -> None:
    found: Any = by_hand.fills()
    ids = by_hand.events()["order_id"].to_list()
    assert found[["agent", "side", "price", "size", "order_id", "role"]].to_numpy().tolist() == [
        ["seller", "SELL", 10.02, 300, ids[0], "MAKER"],
        ["buyer", "BUY", 10.02, 300, ids[1], "TAKER"],
        ["buyer", "BUY", 10.0, 50, ids[2], "MAKER"],
        ["seller", "SELL", 10.0, 50, ids[3], "TAKER"],
    ]


def test_accounts_by_hand(by_hand: SimulationResult) -> None:
    """Final mid 10.01; the seller's ask of 200 and the buyer's bid of 50 still rest."""
    found: Any = by_hand.accounts().set_index("agent")
    found = found.drop(columns=["trajectory", "agent_id", "kind"])
    seller, buyer = found.loc["seller"], found.loc["buyer"]
    assert seller.drop("average_bought").to_dict() == {
        "bought": 0, "sold": 350, "average_sold": 10.0171, "holdings": 650, "cash": 3506.0,
        "tradable_cash": 3506.0, "tradable_shares": 450, "profit": 2.5,
    }  # fmt: skip
    assert buyer.drop("average_sold").to_dict() == {
        "bought": 350, "sold": 0, "average_bought": 10.0171, "holdings": 350, "cash": 6494.0,
        "tradable_cash": 5994.0, "tradable_shares": 350, "profit": -2.5,
    }  # fmt: skip
    assert np.isnan(seller["average_bought"]) and np.isnan(buyer["average_sold"])


def test_paths_and_volume_by_hand(by_hand: SimulationResult) -> None:
    (path,) = by_hand.paths
    at = lambda second: path[np.flatnonzero(by_hand.seconds <= 34_200 + second)[-1]]
    assert [at(s) for s in (0, 10, 20, 21, 120)] == [1002, 1002, 1002, 1001, 1001]
    assert len(path) == GRID + 1 and by_hand.volume.tolist() == [[350, 0]]
    assert by_hand.price_table()["time"].iloc[-1] == "09:32:00"
    assert by_hand.price_table()["q50"].iloc[-1] == pytest.approx(10.01)
    found = summary(by_hand)
    assert found["events_by_kind"] == {"LIMIT": 3, "MARKET": 1}
    assert found["shares_traded"] == 350 and found["status"] == {"meaning": []}
    table: Any = by_hand.table().set_index("agent")
    assert table.loc["seller", ["orders", "cancels", "sold"]].to_list() == [2, 0, 350]


def test_every_share_traded_is_in_the_ledger(crowded: SimulationResult) -> None:
    assert missing_fills(crowded) == 0
    events: Any = crowded.events()
    fills: Any = crowded.fills()
    accounts: Any = crowded.accounts()
    uncrosses = events["kind"] == "UNCROSS"
    assert uncrosses.sum() == 4 and (events.loc[uncrosses, "filled"] > 0).all()
    makers = fills.loc[fills["role"] == "MAKER", "size"].sum()
    assert makers == events.loc[~uncrosses, "filled"].sum() > 0
    assert fills.loc[fills["role"] == "TAKER", "size"].sum() == makers
    auction = fills[fills["role"] == "AUCTION"]
    assert auction["size"].sum() == 2 * events.loc[uncrosses, "filled"].sum()
    prices = events[uncrosses].set_index("trajectory")["price"]
    assert (auction["price"] == auction["trajectory"].map(prices)).all()
    fills["value"] = fills["price"] * fills["size"]
    keys = ["trajectory", "agent_id"]
    for side, shares, average in (
        ("BUY", "bought", "average_bought"),
        ("SELL", "sold", "average_sold"),
    ):
        told = fills[fills["side"] == side].groupby(keys)[["size", "value"]].sum()
        told = told.reindex(accounts.set_index(keys).index, fill_value=0)
        assert (told["size"].to_numpy() == accounts[shares].to_numpy()).all()
        mean = told["value"].to_numpy() / np.maximum(told["size"].to_numpy(), 1)
        traded = accounts[shares] > 0
        np.testing.assert_allclose(mean[traded], accounts.loc[traded, average], atol=6e-5)


def test_what_one_agent_wins_another_loses(crowded: SimulationResult) -> None:
    accounts: Any = crowded.accounts().groupby("trajectory")
    np.testing.assert_allclose(accounts["profit"].sum(), 0, atol=0.02)
    assert (accounts["holdings"].sum() == 500).all()
    np.testing.assert_allclose(accounts["cash"].sum(), 1_000_000, atol=0.02)
    assert np.abs(crowded.accounts()["profit"].to_numpy()).max() > 1


def test_tradable_is_what_the_exchange_says(crowded: SimulationResult) -> None:
    found: Any = crowded.accounts().groupby("trajectory")
    for trajectory in crowded.trajectories:
        rows = found.get_group(trajectory.number)
        for i in range(2):
            account = jax.tree.map(lambda x, i=i: x[i], trajectory.accounts)
            money, shares = tradable(account, trajectory.book, i)
            assert rows["tradable_shares"].iloc[i] == shares
            cash = round(100 * rows["tradable_cash"].iloc[i])
            assert cash == wide_to_int(money)
    whole: Any = crowded.accounts()
    assert (whole["tradable_shares"] < whole["holdings"]).any()


def test_paths_are_the_mids_of_the_events(crowded: SimulationResult) -> None:
    """Known from the uncrossing at 09:25 on, then the last mid at or before each moment."""
    open_second = 9 * 3600 + 25 * 60
    for trajectory, path in zip(crowded.trajectories, crowded.paths, strict=True):
        assert np.isnan(path[crowded.seconds < open_second]).all()
        event = trajectory.events
        second = np.asarray(event.time.sec) + np.asarray(event.time.nsec) * 1e-9
        for place in range(0, GRID + 1, 37):
            now = crowded.seconds[place]
            if now < open_second:
                continue
            last = np.flatnonzero(second <= now)[-1]
            best = event.best_bid[last], event.best_ask[last]
            assert path[place] == np.mean([x for x in best if x] or [event.last_price[last]])


def test_volume_per_minute_adds_up(crowded: SimulationResult) -> None:
    assert crowded.minutes.tolist() == list(range(564, 571))
    events: Any = crowded.events()
    for trajectory, volume in zip(crowded.trajectories, crowded.volume, strict=True):
        mine = events[events["trajectory"] == trajectory.number]
        minute = (mine["time_ns"] // 60_000_000_000).clip(upper=570)
        told = mine.groupby(minute)["filled"].sum().reindex(crowded.minutes, fill_value=0)
        assert volume.tolist() == told.to_list()


def test_a_trajectory_depends_on_its_number_only(
    crowded: SimulationResult, tmp_path: pathlib.Path
) -> None:
    fewer = run_text(tmp_path, CROWDED.replace("trajectories = 4", "trajectories = 3"))
    assert fewer.events().equals(crowded.events().iloc[: len(fewer.events())])
    times = [tuple(t.events.time.sec) for t in crowded.trajectories]
    assert len(set(times)) == 4


def test_quantiles_leave_out_what_is_not_known(crowded: SimulationResult) -> None:
    found = crowded.quantiles((0.0, 0.5, 1.0))
    known = np.isfinite(crowded.paths).all(0)
    np.testing.assert_array_equal(np.isfinite(found).all(0), known)
    np.testing.assert_array_equal(found[0, known], crowded.paths[:, known].min(0))
    np.testing.assert_array_equal(found[2, known], crowded.paths[:, known].max(0))


def test_an_event_budget_ends_the_path(tmp_path: pathlib.Path) -> None:
    """It is rounded up to whole segments."""
    short = CROWDED.replace("max_events = 1024", "max_events = 100")
    found = run_text(tmp_path, short.replace("trajectories = 4", "trajectories = 2"))
    assert [t.steps for t in found.trajectories] == [128, 128]
    assert np.isnan(found.paths[:, -1]).all()
    counts = summary(found)["status"]
    assert counts["EVENT_BUDGET"] == {"events": 0, "trajectories": 2}
    assert any("event budget" in sentence for sentence in counts["meaning"])


def test_records_cut_short_are_counted(crowded: SimulationResult) -> None:
    whole = crowded.trajectories[0]
    event = whole.events
    cut = event.trades._replace(size=event.trades.size[:, :1])
    lost = int(event.trades.size[:, 1:].sum())
    status = np.where(event.trades.size[:, 1:].any(1), Status.TRADES_TRUNCATED, 0)
    less = whole._replace(events=event._replace(trades=cut, status=status))
    assert missing_fills(crowded._replace(trajectories=[less])) == lost > 0


def test_the_order_model_alone_is_the_forecast(
    nine: ForecastResult, model: OrderModel, tmp_path: pathlib.Path
) -> None:
    model.save(tmp_path / "w", {})
    text = (
        f"[run]\ntrajectories = 4\nlanes = {LANES}\nminutes = 1\n"
        f"[market]\nmax_trades = 0\nslots = {SLOTS}\n[book]\nbuiltin = 3\n"
        f'[[agents]]\nkind = "background"\nweights = "w"\ngrowth = {GROWTH}\n'
    )
    found = run_text(tmp_path, text)
    for mine, theirs in zip(found.trajectories, nine.trajectories, strict=False):
        jax.tree.map(np.testing.assert_array_equal, mine.events, theirs.events)
        assert len(mine.events.kind) > GROWTH


def test_side_rows_match_the_enum(by_hand: SimulationResult) -> None:
    event = by_hand.trajectories[0].events
    assert [Side(s).name for s in event.side] == by_hand.events()["side"].to_list()
