"""64-bit numbers from 32-bit words, and what agents own after trading."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.book_desk import bits
from oracles.lob import MAX_PRICE, MAX_VOLUME

from jaxmars.book import (
    Account,
    Book,
    account_row,
    apply_order,
    cash,
    empty_accounts,
    execute,
    execute_uncross,
    holdings,
    init_book,
    price_band,
    tradable,
    wide_add,
    wide_dot,
    wide_from_int,
    wide_negate,
    wide_product,
    wide_to_int,
)
from jaxmars.book.wide import MAX_TERMS
from jaxmars.config import RulesConfig
from jaxmars.types import Fills, Kind, Side, Status, make_order

BUY, SELL = Side.BUY, Side.SELL
int32 = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from((0, -1, 1, 2**16, -(2**31))))
int63 = st.one_of(st.integers(-(2**62), 2**62 - 1), st.sampled_from((0, -1, 2**32, -(2**32))))


# Wide numbers.


@hypothesis.given(a=int63, b=int63)
@hypothesis.settings(deadline=None, max_examples=60)
def test_sums_and_negation(a: int, b: int) -> None:
    x, y = wide_from_int(a), wide_from_int(b)
    assert int(wide_to_int(x)) == a
    assert int(wide_to_int(wide_add(x, y))) == a + b
    assert int(wide_to_int(wide_negate(x))) == -a


@hypothesis.given(a=int32, b=int32)
@hypothesis.settings(deadline=None, max_examples=60)
def test_product(a: int, b: int) -> None:
    assert int(wide_to_int(wide_product(jnp.int32(a), jnp.int32(b)))) == a * b


def test_numbers_beyond_64_bits_are_refused() -> None:
    with pytest.raises(OverflowError):
        wide_from_int(2**63)


@pytest.mark.parametrize("terms", [1, 7, 1000, MAX_TERMS])
def test_dot_is_exact(terms: int) -> None:
    rng = np.random.default_rng(terms)
    size = rng.multinomial(MAX_VOLUME, np.ones(terms) / terms).astype(np.int32)
    price = rng.integers(1, MAX_PRICE, terms, dtype=np.int32)
    mask = np.stack((np.ones(terms, bool), rng.random(terms) < 0.5))
    money, total = jax.jit(wide_dot)(mask, size, price)
    exact = [sum(int(s) * int(p) for s, p in zip(size[m], price[m], strict=True)) for m in mask]
    assert wide_to_int(money).tolist() == exact
    np.testing.assert_array_equal(total, [size[m].sum() for m in mask])


def test_dot_of_full_limbs_and_too_many_terms() -> None:
    many = lambda num: wide_dot(jnp.ones(num, bool), jnp.full(num, 2**15), jnp.full(num, -1))[0]
    assert int(wide_to_int(many(MAX_TERMS))) == -MAX_TERMS * 2**15
    with pytest.raises(ValueError, match=f"at most {MAX_TERMS}"):
        many(MAX_TERMS + 1)


# Accounts.


@functools.cache
def compiled_execute():
    return jax.jit(functools.partial(execute, rules=RulesConfig()))


class Firm:
    """A book and two accounts."""

    def __init__(self, agents: int = 2) -> None:
        self.book: Book = init_book(8)
        self.accounts: Account = empty_accounts(agents)

    def send(self, *order: int) -> Fills:
        band = price_band(0, RulesConfig())
        self.book, self.accounts, fills = compiled_execute()(
            self.book, self.accounts, make_order(*order), band
        )
        return fills

    def row(self, agent_id: int) -> Account:
        return account_row(self.accounts, agent_id)

    def owns(self, agent_id: int) -> tuple[int, int]:
        """Cash and shares."""
        return int(wide_to_int(cash(self.row(agent_id)))), int(holdings(self.row(agent_id)))

    def may_spend(self, agent_id: int) -> tuple[int, int]:
        """Tradable cash and shares."""
        money, shares = tradable(self.row(agent_id), self.book, agent_id)
        return int(wide_to_int(money)), int(shares)


def test_both_owners_of_every_fill_are_settled() -> None:
    firm = Firm()
    firm.send(Kind.LIMIT, SELL, 101, 10, 1, 1)
    firm.send(Kind.LIMIT, SELL, 102, 10, 2, 5)  # has no account
    firm.send(Kind.LIMIT, BUY, 105, 15, 3, 0)
    assert firm.owns(0) == (-(101 * 10 + 102 * 5), 15)
    assert firm.owns(1) == (1010, -10)
    row = firm.row(0)
    assert (int(row.bought), int(row.sold), int(wide_to_int(row.received))) == (15, 0, 0)
    firm.send(Kind.MARKET, BUY, 0, 5, 4, 5)
    assert firm.owns(0) == (-(101 * 10 + 102 * 5), 15)


def test_self_trade_counts_on_both_sides() -> None:
    firm = Firm()
    firm.send(Kind.LIMIT, SELL, 100, 10, 1, 0)
    firm.send(Kind.IOC, BUY, 100, 4, 2, 0)
    assert firm.owns(0) == (0, 0) and int(firm.row(0).bought) == int(firm.row(0).sold) == 4


def test_tradable_is_what_resting_orders_leave() -> None:
    """The walk of the release (section 6.1) without its quirks."""
    firm = Firm()
    firm.accounts = firm.accounts._replace(
        cash=wide_from_int(np.array([10**12, 0])), shares=jnp.array([500, 0], jnp.int32)
    )
    firm.send(Kind.LIMIT, SELL, 100, 30, 1, 1)
    firm.send(Kind.LIMIT, BUY, 104, 50, 2, 0)  # trades 30 at 100 and rests 20 at 104
    assert firm.owns(0) == (10**12 - 3000, 530)
    assert firm.may_spend(0) == (10**12 - 3000 - 20 * 104, 530)
    firm.send(Kind.LIMIT, SELL, 110, 80, 3, 0)
    assert firm.may_spend(0) == (10**12 - 3000 - 20 * 104, 450)
    firm.send(Kind.CANCEL, BUY, 0, 20, 2, 0)
    firm.send(Kind.CANCEL, SELL, 0, 50, 3, 0)
    assert firm.may_spend(0) == (10**12 - 3000, 500)
    assert firm.owns(1) == (3000, -30) == firm.may_spend(1)


def test_tradable_shares_stop_at_the_lowest_number() -> None:
    firm = Firm()
    firm.accounts = firm.accounts._replace(shares=jnp.array([-(2**31) + 5, 0], jnp.int32))
    firm.send(Kind.LIMIT, SELL, 100, 30, 1, 0)
    assert firm.may_spend(0)[1] == -(2**31)


def test_auction_settles_both_sides_at_one_price() -> None:
    firm = Firm(agents=3)
    for number, (side, price, size, owner) in enumerate(
        [(BUY, 102, 300, 0), (BUY, 101, 200, 1), (SELL, 99, 200, 0), (SELL, 100, 400, 2)]
    ):
        order = make_order(Kind.LIMIT, side, price, size, number, owner)
        firm.book, _ = apply_order(firm.book, order, collecting=True)
    firm.book, firm.accounts, fills = jax.jit(execute_uncross)(
        firm.book, firm.accounts, jnp.int32(0)
    )
    assert (int(fills.price), int(fills.filled), bits(fills)) == (100, 500, Status.OK)
    assert [firm.owns(agent) for agent in range(3)] == [
        (-100 * 100, 100), (-200 * 100, 200), (300 * 100, -300),
    ]  # fmt: skip


def trade(firm: Firm, size: int, price: int = MAX_PRICE - 1) -> Fills:
    """Agent 0 buys from agent 1."""
    firm.send(Kind.LIMIT, SELL, price, size, 1, 1)
    return firm.send(Kind.LIMIT, BUY, price, size, 2, 0)


def test_account_counts_up_to_2_to_31_shares_and_is_frozen_then() -> None:
    firm, price = Firm(), MAX_PRICE - 1
    assert bits(trade(firm, MAX_VOLUME)) == Status.OK
    full = [(-MAX_VOLUME * price, MAX_VOLUME), (MAX_VOLUME * price, -MAX_VOLUME)]
    assert [firm.owns(agent) for agent in range(2)] == full
    for size in (1, MAX_VOLUME):
        assert bits(trade(firm, size)) == Status.ACCOUNT_OVERFLOW
        assert [firm.owns(agent) for agent in range(2)] == full
    assert np.asarray(firm.accounts.frozen).all()
    assert Status(int(firm.book.status)) == Status.ACCOUNT_OVERFLOW
    assert bits(firm.send(Kind.LIMIT, BUY, 1, 1, 3, 0)) == Status.OK  # it trades on, uncounted


def test_account_whose_holdings_would_wrap_is_frozen_alone() -> None:
    firm = Firm()
    firm.accounts = firm.accounts._replace(shares=jnp.array([MAX_VOLUME, MAX_VOLUME], jnp.int32))
    assert bits(trade(firm, 5, 10)) == Status.ACCOUNT_OVERFLOW
    assert np.asarray(firm.accounts.frozen).tolist() == [True, False]
    assert firm.owns(0) == (0, MAX_VOLUME) and firm.owns(1) == (50, MAX_VOLUME - 5)
    firm.send(Kind.LIMIT, BUY, 10, 3, 3, 1)
    fills = firm.send(Kind.LIMIT, SELL, 10, 3, 4, 0)  # it would fit again, but is not counted
    assert int(fills.filled) == 3 and bits(fills) == Status.ACCOUNT_OVERFLOW
    assert firm.owns(0) == (0, MAX_VOLUME) and firm.owns(1) == (20, MAX_VOLUME - 2)


def test_there_may_be_no_accounts() -> None:
    firm = Firm(agents=0)
    trade(firm, 10)
    firm.book, firm.accounts, fills = execute_uncross(firm.book, firm.accounts, 0)
    assert firm.accounts.shares.shape == (0,) and bits(fills) == Status.OK
