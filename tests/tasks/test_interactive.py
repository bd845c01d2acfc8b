"""The market in your hands: what you send, what comes back, forks, and files."""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmars import clock
from jaxmars.agents import NoiseParams, noise_agent
from jaxmars.book import init_book
from jaxmars.config import Calendar, MarketConfig, RulesConfig, SelfTrade, SimConfig
from jaxmars.errors import InputError
from jaxmars.sim import Start
from jaxmars.sim.flight import Delay, make_delay
from jaxmars.tasks.interactive import FIRST_OWN_ID, YOU, Market
from jaxmars.types import Kind, Side, Status, describe

OPEN, CLOSE = 34_200, 57_600
YOUR_ID = 1
CROWD = (noise_agent(clock.make_time(OPEN), clock.make_time(CLOSE)),)
CFG = SimConfig(
    market=MarketConfig(
        slots=64, levels=5, max_trades=16, max_in_flight=4, calendar=Calendar.us_equity()
    ),
    segment=32,
)
START = Start(init_book(64), clock.make_time(OPEN), clock.make_time(CLOSE), jnp.int32(0), (None,))
MONEY = 1e5


def market(seed: int = 1, latency: Delay | None = None, cfg: SimConfig = CFG) -> Market:
    """Ten minutes into a day of noise."""
    start = START._replace(reference=jnp.int32(1000))
    made = Market(
        start, CROWD, (NoiseParams(1000, 1.0),), cfg, seed=seed, cash=MONEY, latency=latency
    )
    made.advance_to("09:40:00")
    return made


@pytest.fixture(scope="module")
def opened() -> Market:
    return market()


@pytest.fixture
def mine(opened: Market) -> Market:
    return opened.copy()


def test_time_passes_and_nothing_happens_after_it(mine: Market) -> None:
    events = mine.events()
    assert mine.seconds == 34_800
    assert 500 < len(events) < 800
    later: Any = mine.advance(2.5)
    assert mine.seconds == 34_802.5
    assert len(mine.events()) == len(events) + len(later)
    assert later["time_ns"].between(34_800 * 10**9 + 1, 34_802_500_000_000).all()


def test_a_limit_order_rests_and_binds_cash(mine: Market) -> None:
    receipt = mine.submit(Kind.LIMIT, Side.BUY, 300, 9.5)
    assert receipt == (FIRST_OWN_ID, 0, pytest.approx(np.nan, nan_ok=True), ())
    assert mine.orders().to_numpy().tolist() == [["BUY", 9.5, 300, FIRST_OWN_ID]]
    assert mine.account["tradable_cash"] == pytest.approx(MONEY - 300 * 9.5)
    assert mine.account["cash"] == MONEY
    mine.cancel(receipt.order_id, 100)
    assert mine.orders()["size"].tolist() == [200]
    mine.cancel(receipt.order_id)
    assert mine.orders().empty
    assert mine.account["tradable_cash"] == MONEY


def test_a_market_order_trades_at_the_book_it_saw(mine: Market) -> None:
    book: Any = mine.book()
    best = book.iloc[0]
    size = int(best["ask_size"]) // 2
    receipt = mine.submit(Kind.MARKET, Side.BUY, size)
    assert receipt.filled == size
    assert receipt.price == pytest.approx(best["ask"])
    assert mine.account["shares"] == size
    assert mine.account["cash"] == pytest.approx(MONEY - size * best["ask"])
    fills: Any = mine.fills()
    assert fills["size"].sum() == size
    assert set(fills["agent"]) == {YOU} and set(fills["role"]) == {"TAKER"}
    assert mine.book().iloc[0]["ask_size"] == best["ask_size"] - size


def test_orders_that_are_not_taken_say_why(mine: Market) -> None:
    book: Any = mine.book()
    ask = float(book["ask"][0])
    trouble = lambda receipt: list(receipt.trouble)
    assert trouble(mine.submit(Kind.FOK, Side.BUY, 10**6, ask)) == describe(Status.NOT_FILLED)
    assert trouble(mine.submit(Kind.POST_ONLY, Side.BUY, 100, ask)) == describe(Status.WOULD_TRADE)
    assert trouble(mine.cancel(77)) == describe(Status.UNKNOWN_ORDER)
    assert mine.orders().empty and mine.account["cash"] == MONEY


def test_fewer_shares_keep_their_place_and_more_lose_it(mine: Market) -> None:
    """Two orders of yours at a price nobody else uses: the first is made smaller, then larger."""
    first, second = (mine.submit(Kind.LIMIT, Side.BUY, 300, 5.0).order_id for _ in range(2))
    order = lambda: list(zip(mine.orders()["order_id"], mine.orders()["size"], strict=True))
    mine.modify(first, 5.0, 200)
    assert order() == [(first, 200), (second, 300)]
    mine.modify(first, 5.0, 400)
    assert order() == [(second, 300), (first, 400)]
    mine.modify(second, 5.01, 300)
    assert order() == [(second, 300), (first, 400)]
    assert mine.orders()["price"].tolist() == [5.01, 5.0]


STRICT = RulesConfig(price_limit=0.1, size_step=100, self_trade=SelfTrade.REJECT)


@pytest.fixture(scope="module")
def strict() -> Market:
    strict = dataclasses.replace(CFG.market, rules=STRICT)
    return market(cfg=dataclasses.replace(CFG, market=strict))


@pytest.mark.parametrize(
    ("price", "size", "trouble"),
    [
        (5.00, 300, Status.PRICE_LIMIT),
        (9.41, 350, Status.OFF_LOT),
        (10.60, 10**6, Status.SELF_TRADE | Status.STOPPED),
    ],
)
def test_a_change_that_is_rejected_leaves_the_order_alone(
    strict: Market, price: float, size: int, trouble: int
) -> None:
    """Nor is a cancel on record, and the place in the queue is kept."""
    mine = strict.copy()
    first, second = (mine.submit(Kind.LIMIT, Side.BUY, 300, 9.40).order_id for _ in range(2))
    sold = mine.submit(Kind.LIMIT, Side.SELL, 10_000, 10.60).order_id
    state, before = mine.orders(), len(mine.events())
    receipt = mine.modify(first, price, size)
    assert receipt.trouble == tuple(describe(trouble)) and receipt.filled == 0
    assert mine.orders().equals(state) and mine.orders()["order_id"].tolist() == [
        first,
        second,
        sold,
    ]
    row: Any = mine.events().iloc[before]
    assert len(mine.events()) == before + 1
    assert (row["kind"], row["price"], row["size"], row["order_id"]) == (
        "LIMIT",
        price,
        size,
        first,
    )
    assert mine.modify(first, 9.41, 400).trouble == ()
    assert mine.orders()["price"].tolist() == [9.41, 9.40, 10.60]


def test_a_maker_is_in_the_ledger_too(mine: Market) -> None:
    book: Any = mine.book()
    bid = float(book["bid"][0])
    mine.submit(Kind.LIMIT, Side.BUY, 5000, bid + 0.01)
    mine.advance(120)
    fills: Any = mine.fills()
    assert (fills["role"] == "MAKER").sum() > 3
    assert fills["size"].sum() == mine.account["bought"]
    spent = (fills["size"] * fills["price"]).sum()
    assert mine.account["cash"] == pytest.approx(MONEY - spent)


def test_copies_repeat_and_forks_differ(mine: Market) -> None:
    twin, other, again = mine.copy(), mine.fork(1), mine.fork(1)
    for one in (mine, twin, other, again):
        one.advance(60)
    assert twin.events().equals(mine.events())
    assert again.events().equals(other.events())
    assert not other.events().equals(mine.events())


def test_futures_are_forks_side_by_side(mine: Market) -> None:
    futures = mine.futures(3, 60.0, seed=4)
    for number, future in enumerate(futures):
        fork = mine.fork(4 + number)
        later: Any = fork.advance(60.0)
        assert later["order_id"].tolist() == future.events.order_id.tolist()
        assert later["size"].tolist() == future.events.size.tolist()


def test_a_saved_market_goes_on_where_it_was(mine: Market, tmp_path: pathlib.Path) -> None:
    mine.submit(Kind.LIMIT, Side.SELL, 200, 10.5)
    mine.save(tmp_path / "market.npz")
    other = market(seed=9)
    other.restore(tmp_path / "market.npz")
    assert other.events().equals(mine.events())
    for one in (mine, other):
        one.advance(60)
    assert other.events().equals(mine.events())
    assert other.submit(Kind.LIMIT, Side.SELL, 100, 11).order_id == FIRST_OWN_ID + 1


def test_files_that_are_no_saved_market(mine: Market, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "market.npz"
    with pytest.raises(InputError, match=r"market\.npz does not exist"):
        mine.restore(path)
    mine.save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"not a whole file that Market\.save has written"):
        mine.restore(path)
    two = mine.copy()
    two._state = mine.state._replace(agents=mine.state.agents * 2)  # compiles nothing
    two.save(path)
    with pytest.raises(InputError, match=r"another configuration: .* expected"):
        mine.restore(path)


def test_latency_delays_what_you_send() -> None:
    """Half a second each way and 0.2 s to think: 1.2 s after the market you see."""
    late = market(latency=make_delay(0.5, 0.2))
    assert late.submit(Kind.LIMIT, Side.BUY, 300, 9.5).trouble == ()
    assert late.orders().empty
    events: Any = late.advance(3)
    sent = events[events["agent_id"] == YOUR_ID]
    assert sent["time_ns"].tolist() == [34_801_200_000_000]
    assert late.orders()["size"].tolist() == [300]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 100, 9.995), "multiple of 0.01"),
        (
            lambda m: m.submit(Kind.LIMIT, Side.BUY, 0, 9.99),
            "size is 0, expected a whole number of shares",
        ),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 1.5, 9.99), "size is 1.5, expected a whole"),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, True, 9.99), "size is true, expected a whole"),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 2**31, 9.99), "from 1 to 2,147,483,647"),
        (lambda m: m.submit(Kind.LIMIT, "BUY", 100, 9.99), "side is 'BUY', expected Side.BUY or"),
        (lambda m: m.submit(Kind.LIMIT, 7, 100, 9.99), "side is 7, expected Side.BUY or"),
        (lambda m: m.submit("LIMIT", Side.BUY, 100, 9.99), "'LIMIT' is no kind of order"),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 100, "9.9"), "price is '9.9', expected a pos"),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 100, 1e300), "expected a positive multiple"),
        (lambda m: m.cancel("x"), "order id is 'x', expected a whole number"),
        (lambda m: m.cancel(2**40), "order id is 1099511627776, expected"),
        (lambda m: m.modify(None, 9.9, 100), "order id is None, expected"),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 100), "expected a number"),
        (lambda m: m.submit(Kind.MARKET, Side.BUY, 100, 9.99), "expected none"),
        (lambda m: m.submit(Kind.CANCEL, Side.BUY, 100, 9.99), "no kind of order to submit"),
        (lambda m: m.submit(Kind.LIMIT, Side.BUY, 100, float("nan")), "multiple of 0.01"),
        (lambda m: m.advance(0), "time to pass is 0, expected seconds above 0"),
        (lambda m: m.advance("x"), "time to pass is 'x', expected seconds"),
        (lambda m: m.advance(float("inf")), "time to pass is inf, expected seconds"),
        (lambda m: m.advance_to(1e12), "cannot advance to 1000000000000.0, expected a time"),
        (lambda m: m.advance_to(None), "cannot advance to None, expected a time"),
        (lambda m: m.futures(2.5, 3), "number of futures is 2.5, expected"),
        (lambda m: m.futures(2, float("inf")), "time to pass is inf"),
        (lambda m: m.fork("a"), "seed is 'a', expected"),
        (lambda m: m.save(pathlib.Path("/")), "expected a file"),
        (lambda m: m.advance_to("09:30:00"), "not before now, 09:40:00"),
        (lambda m: m.advance_to("noon"), "expected a time HH:MM:SS"),
        (lambda m: m.futures(0, 60), "number of futures is 0, expected a whole number from 1"),
    ],
)
def test_bad_input_is_one_sentence(mine: Market, act, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        act(mine)
    assert "\n" not in str(caught.value)
    assert mine.orders().empty


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cash": float("nan")}, "the cash is nan, expected an amount from 0 to"),
        ({"cash": -5.0}, "the cash is -5.0, expected an amount from 0 to"),
        ({"cash": 10**400}, "the cash is 1000.*, expected an amount from 0 to"),
        ({"cash": "5"}, "the cash is '5', expected an amount from 0 to"),
        ({"shares": -5}, "the number of shares owned is -5, expected a whole number from 0 to"),
        (
            {"shares": 2**40},
            "the number of shares owned is 1099511627776, expected a whole number from 0",
        ),
        ({"shares": 1.5}, "the number of shares owned is 1.5, expected a whole number from 0 to"),
        ({"seed": -1}, "the seed is -1, expected a whole number from 0 to"),
        ({"seed": 2**32}, "the seed is 4294967296, expected a whole number from 0 to"),
    ],
)
def test_what_a_market_cannot_open_with(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        Market(START, CROWD, (NoiseParams(1000, 1.0),), CFG, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("params", "memories"), [(0, 1), (2, 1), (1, 2)])
def test_every_agent_has_params_and_a_memory(params: int, memories: int) -> None:
    start = START._replace(memories=(None,) * memories)
    said = f"1 agents, {params} params and {memories} memories in its start, expected as many"
    with pytest.raises(InputError, match=said):
        Market(start, CROWD, (NoiseParams(1000, 1.0),) * params, CFG)
