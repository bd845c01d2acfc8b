"""What the exchange accepts: every rule shown on and off."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.book_desk import Desk, bits, is_sound, trade_list
from oracles.exchange import price_band as exact_band

from jaxmars.book import (
    empty_accounts,
    execute,
    price_band,
    rejected,
)
from jaxmars.book.rules import ALL_KINDS
from jaxmars.book.state import MAX_PRICE
from jaxmars.config import RulesConfig, SelfTrade
from jaxmars.types import Kind, Side, Status, make_order

BUY, SELL = Side.BUY, Side.SELL
REFERENCE = 100
OFF = RulesConfig()


@functools.cache
def compiled_execute(rules: RulesConfig):
    return jax.jit(functools.partial(execute, rules=rules, max_trades=4))


def send(desk: Desk, rules: RulesConfig, *order: int):
    """Kind, side, price, size, order id, owner. A rejected order must change nothing."""
    before = desk.snapshot()
    accounts = empty_accounts(2)
    desk.book, after, fills = compiled_execute(rules)(
        desk.book, accounts, make_order(*order), price_band(REFERENCE, rules)
    )
    assert bool(is_sound(desk.book)) and bits(fills) & ~Status(int(desk.book.status)) == 0
    if bool(rejected(fills)):
        assert desk.snapshot() == before and int(fills.filled) == 0
        jax.tree.map(np.testing.assert_array_equal, after, accounts)
    return jax.tree.map(np.asarray, fills)


# Static rules.

BROKEN = {
    Status.OFF_TICK: (RulesConfig(price_step=5), (Kind.LIMIT, BUY, 99, 10, 1, 0)),
    Status.OFF_LOT: (RulesConfig(size_step=100), (Kind.MARKET, BUY, 0, 150, 1, 0)),
    Status.PRICE_LIMIT: (RulesConfig(price_limit=0.1), (Kind.IOC, BUY, 111, 10, 1, 0)),
    Status.BAD_KIND: (RulesConfig(kinds=(Kind.LIMIT,)), (Kind.FOK, BUY, 90, 10, 1, 0)),
}


@pytest.mark.parametrize("bit", BROKEN, ids=lambda bit: bit.name)
def test_rule_rejects_when_on_and_not_when_off(bit: Status) -> None:
    rules, order = BROKEN[bit]
    fills = send(Desk(), rules, *order)
    assert bits(fills) == bit and bool(rejected(fills))
    assert not bits(send(Desk(), OFF, *order)) & bit


def test_rules_are_reported_together_but_a_refused_order_is_not_matched() -> None:
    rules = RulesConfig(price_step=5, size_step=100, price_limit=0.1)
    fills = send(Desk(), rules, Kind.LIMIT, BUY, 121, 10, 1, 0)
    assert bits(fills) == Status.OFF_TICK | Status.OFF_LOT | Status.PRICE_LIMIT


def test_rules_let_through_what_they_are_not_about() -> None:
    rules = RulesConfig(price_step=5, size_step=100, price_limit=0.1)
    desk = Desk()
    assert bits(send(desk, rules, Kind.LIMIT, SELL, 110, 100, 1, 0)) == Status.OK
    assert bits(send(desk, rules, Kind.LIMIT, BUY, 90, 100, 2, 0)) == Status.OK
    assert bits(send(desk, rules, Kind.MARKET, BUY, 3, 100, 3, 0)) == Status.OK
    assert bits(send(desk, rules, Kind.CANCEL, BUY, 3, 33, 2, 0)) == Status.OK
    assert bits(send(desk, rules, Kind.NONE, 5, 3, 33, 2, 0)) == Status.OK


@pytest.mark.parametrize("kinds", [(Kind.LIMIT, Kind.CANCEL, Kind.FOK),
                                   (Kind.MARKET, Kind.IOC, Kind.POST_ONLY)])  # fmt: skip
def test_every_kind_can_be_refused_and_accepted(kinds: tuple[Kind, ...]) -> None:
    rules = RulesConfig(kinds=kinds)
    for kind in ALL_KINDS:
        desk = Desk()
        desk.limit(BUY, 99, 10, order_id=1)
        desk.limit(SELL, 101, 10, order_id=2)
        price = 100 if kind == Kind.POST_ONLY else 101
        fills = send(desk, rules, kind, BUY, price, 10, 1 if kind == Kind.CANCEL else 9, 0)
        assert bits(fills) == (Status.OK if kind in kinds else Status.BAD_KIND)


def test_rules_that_are_off_compile_to_nothing() -> None:
    """The text of the compiled exchange grows with every rule that is on, and only with those."""
    args = (Desk(4).book, empty_accounts(0), make_order(*(0,) * 6), price_band(0, OFF))
    text = lambda rules: str(jax.make_jaxpr(functools.partial(execute, rules=rules))(*args))
    assert text(RulesConfig(price_limit=0.0, price_step=1, size_step=1)) == text(OFF)
    assert " rem " not in text(OFF) and "while" not in text(OFF)
    for policy in set(SelfTrade) - {SelfTrade.ALLOW}:
        assert len(text(RulesConfig(self_trade=policy))) > len(text(OFF))
    for rules, _ in BROKEN.values():
        assert len(text(rules)) > len(text(OFF))


# The price band.


@pytest.mark.parametrize("ratio", ["0.05", "0.1", "0.2", "0.3", "0.125", "0.9999"])
def test_band_is_rounded_half_up_exactly(ratio: str) -> None:
    references = [*range(1, 400), 1005, 12_345, 10**6 + 5, 2**24 + 5, 10**9 + 5, MAX_PRICE - 1]
    rules = RulesConfig(price_limit=float(ratio))
    band = jax.vmap(lambda reference: price_band(reference, rules))(jnp.asarray(references))
    expected = [exact_band(reference, ratio) for reference in references]
    np.testing.assert_array_equal(np.stack(band, 1), expected)


@pytest.mark.parametrize(("reference", "ratio"), [(0, 0.1), (100, 0.0), (0, 0.0)])
def test_no_reference_or_no_limit_allows_every_price(reference: int, ratio: float) -> None:
    band = price_band(reference, RulesConfig(price_limit=ratio))
    assert (int(band.low), int(band.high)) == (1, MAX_PRICE - 1)


def test_shanghai_example_of_the_band() -> None:
    """A close of 10.05 with 10 %: 9.045 and 11.055 are rounded half up to 9.05 and 11.06."""
    band = price_band(1005, RulesConfig(price_limit=0.1))
    assert (int(band.low), int(band.high)) == (905, 1106)


# Self-trades: agent 0 owns the first ask at 102 and the one at 103.


def crossing() -> Desk:
    desk = Desk()
    for order_id, price, owner in ((1, 101, 1), (2, 102, 0), (3, 102, 1), (4, 103, 0)):
        desk.limit(SELL, price, 10, order_id, owner)
    return desk


ALL_FOUR = [(101, 10, 1, 1), (102, 10, 2, 0), (102, 10, 3, 1), (103, 10, 4, 0)]


def under(policy: SelfTrade, kind: Kind, size: int, price: int = 102):
    desk = crossing()
    fills = send(desk, RulesConfig(self_trade=policy), kind, BUY, price, size, 9, 0)
    return desk, fills


@pytest.mark.parametrize("policy", SelfTrade)
@pytest.mark.parametrize("kind", [Kind.LIMIT, Kind.IOC, Kind.FOK, Kind.MARKET])
def test_policy_does_nothing_before_an_own_order_is_reached(policy: SelfTrade, kind: Kind) -> None:
    desk, fills = under(policy, kind, size=10)
    assert (fills.filled, fills.cancelled, bits(fills)) == (10, 0, Status.OK)
    assert desk.orders(SELL) == ALL_FOUR[1:]


def test_allow() -> None:
    _, fills = under(SelfTrade.ALLOW, Kind.LIMIT, 15)
    assert [trade[2] for trade in trade_list(fills)] == [1, 2] and bits(fills) == Status.OK


def test_reject() -> None:
    desk, fills = under(SelfTrade.REJECT, Kind.LIMIT, 15)
    assert bits(fills) == Status.SELF_TRADE and bool(rejected(fills))
    assert desk.snapshot() == [[], ALL_FOUR]


def test_cancel_resting() -> None:
    desk, fills = under(SelfTrade.CANCEL_RESTING, Kind.LIMIT, 25)
    assert [trade[2] for trade in trade_list(fills)] == [1, 3] and fills.cancelled == 10
    assert bits(fills) == Status.SELF_TRADE and not bool(rejected(fills))
    assert desk.snapshot() == [[(102, 5, 9, 0)], ALL_FOUR[3:]]


def test_cancel_resting_takes_out_several_and_no_more_than_it_meets() -> None:
    desk, fills = under(SelfTrade.CANCEL_RESTING, Kind.MARKET, 21)
    assert (fills.filled, fills.cancelled) == (20, 20) and desk.orders(SELL) == []
    assert bits(fills) == Status.SELF_TRADE | Status.UNFILLED_MARKET
    desk, fills = under(SelfTrade.CANCEL_RESTING, Kind.MARKET, 20)
    assert (fills.filled, fills.cancelled) == (20, 10) and desk.orders(SELL) == ALL_FOUR[3:]


@pytest.mark.parametrize("kind", [Kind.LIMIT, Kind.IOC, Kind.MARKET])
def test_cancel_incoming(kind: Kind) -> None:
    desk, fills = under(SelfTrade.CANCEL_INCOMING, kind, 25)
    assert [trade[2] for trade in trade_list(fills)] == [1] and fills.last_price == 101
    assert bits(fills) == Status.SELF_TRADE and not bool(rejected(fills))
    assert desk.snapshot() == [[], ALL_FOUR[1:]]


def test_cancel_incoming_that_meets_its_own_at_once_counts_as_rejected() -> None:
    desk = Desk()
    desk.limit(SELL, 101, 10, order_id=1, agent_id=0)
    rules = RulesConfig(self_trade=SelfTrade.CANCEL_INCOMING)
    fills = send(desk, rules, Kind.LIMIT, BUY, 101, 5, 9, 0)
    assert bits(fills) == Status.SELF_TRADE and bool(rejected(fills))
    assert desk.snapshot() == [[], [(101, 10, 1, 0)]]


@pytest.mark.parametrize(
    ("policy", "size", "status", "filled"),
    [
        (SelfTrade.ALLOW, 30, Status.OK, 30),
        (SelfTrade.REJECT, 30, Status.SELF_TRADE, 0),
        (SelfTrade.REJECT, 31, Status.NOT_FILLED, 0),
        (SelfTrade.CANCEL_RESTING, 20, Status.SELF_TRADE, 20),
        (SelfTrade.CANCEL_RESTING, 21, Status.NOT_FILLED, 0),
        (SelfTrade.CANCEL_INCOMING, 11, Status.NOT_FILLED, 0),
    ],
)
def test_fill_or_kill_counts_what_it_can_trade_under_the_policy(
    policy: SelfTrade, size: int, status: Status, filled: int
) -> None:
    desk, fills = under(policy, Kind.FOK, size)
    assert (bits(fills), fills.filled) == (status, filled)
    assert filled or desk.orders(SELL) == ALL_FOUR


@pytest.mark.parametrize("policy", SelfTrade)
def test_post_only_is_refused_before_any_policy(policy: SelfTrade) -> None:
    desk, fills = under(policy, Kind.POST_ONLY, 25)
    assert bits(fills) == Status.WOULD_TRADE and desk.snapshot() == [[], ALL_FOUR]


def test_own_orders_stay_when_the_order_that_meets_them_is_rejected() -> None:
    """Without a free slot for its remainder the order is rejected, so nothing was taken out."""
    desk = Desk(slots=2)
    desk.limit(BUY, 98, 1, order_id=1)
    desk.limit(BUY, 97, 1, order_id=2)
    desk.limit(SELL, 101, 10, order_id=3, agent_id=0)
    rules = RulesConfig(self_trade=SelfTrade.CANCEL_RESTING)
    assert bits(send(desk, rules, Kind.LIMIT, BUY, 101, 5, 9, 0)) == Status.BOOK_FULL
    assert bits(send(desk, rules, Kind.LIMIT, BUY, 101, 5, 3, 0)) == Status.DUPLICATE_ID
    assert desk.orders(SELL) == [(101, 10, 3, 0)]


def test_a_crowd_trades_with_itself() -> None:
    """Agent 1 stands for many traders, agent 2 does not."""
    rules = RulesConfig(self_trade=SelfTrade.REJECT, crowd=(1,))
    for agent, filled in ((1, 10), (2, 0)):
        desk = Desk()
        send(desk, rules, Kind.LIMIT, SELL, 100, 10, 1, agent)
        fills = send(desk, rules, Kind.LIMIT, BUY, 100, 10, 2, agent)
        assert fills.filled == filled
