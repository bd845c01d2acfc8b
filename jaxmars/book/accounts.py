"""What every agent has traded, and with that what it owns.

Cash is counted in ticks times shares and passes 2**31 within minutes, so it is kept as a pair of
32-bit words (`Wide`). Only trades change an account. What the release keeps beside it as *tradable*
holdings and cash follows from the account and the resting orders (`tradable`), which repairs three
of its quirks (spec 6.1): a buyer that trades below its limit gets the difference back, a cancel in
a call auction frees what the order had bound, and nothing is freed twice.

Agents are 0, 1, … up to the number of accounts; what other owners trade is counted for nobody.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.book.state import MAX_VOLUME, Book
from jaxmars.book.wide import Wide, wide_add, wide_dot, wide_negate, wide_product
from jaxmars.types import Order, Side, Status

LOWEST = -(2**31)  # shares


class Account(NamedTuple):
    """One agent; `Accounts` are these stacked `[agents]`."""

    cash: Wide  # ticks x shares, endowed at the start
    shares: jax.Array  # [] int32, endowed at the start
    bought: jax.Array  # [] int32, shares
    sold: jax.Array  # [] int32, shares
    paid: Wide  # ticks x shares
    received: Wide  # ticks x shares
    frozen: jax.Array  # [] bool, a count would have passed 2**31; nothing is counted any more


class Turnover(NamedTuple):
    """What every agent traded at once; fields are stacked `[agents]`."""

    bought: jax.Array  # [] int32, shares
    sold: jax.Array  # [] int32, shares
    paid: Wide  # ticks x shares
    received: Wide  # ticks x shares


def empty_accounts(num: int) -> Account:
    """Accounts `[num]` that own nothing and have traded nothing."""
    shares = jnp.zeros(num, jnp.int32)
    wide = Wide(shares, jnp.zeros(num, jnp.uint32))
    return Account(wide, shares, shares, shares, wide, wide, jnp.zeros(num, bool))


def account_row(accounts: Account, agent_id: jax.Array | int) -> Account:
    """The account of one agent, out of accounts `[agents]`."""
    return jax.tree.map(lambda x: x[agent_id], accounts)


def holdings(account: Account) -> jax.Array:
    """Shares an agent owns, negative if short, `[...]` int32."""
    return account.shares + (account.bought - account.sold)


def cash(account: Account) -> Wide:
    """Cash an agent owns, ticks x shares, `[...]`."""
    traded = wide_add(account.received, wide_negate(account.paid))
    return wide_add(account.cash, traded)


def tradable(account: Account, book: Book, agent_id: jax.Array | int) -> tuple[Wide, jax.Array]:
    """Cash and shares of an agent that its resting orders do not bind.

    A bid binds size x price, an ask its size. Nothing stops an agent from binding more than it
    owns, as in the release (spec 6.1).

    Args:
      account: of that agent.
      book: where its orders rest.
      agent_id: `[]` int32.

    Returns:
      Cash `[]`, ticks x shares, and shares, `[]` int32 (not below -2**31).
    """
    own = book.agent_id == agent_id
    money, shares = wide_dot(own, book.size, jnp.abs(book.key))
    bids = jax.tree.map(lambda x: x[Side.BUY], money)
    asks, held = shares[Side.SELL], holdings(account)
    free = jnp.where(held < LOWEST + asks, LOWEST, held - asks)
    return wide_add(cash(account), wide_negate(bids)), free


def turnover(book: Book, order: Order, filled: jax.Array, num: int) -> Turnover:
    """What each of `num` agents trades when an order fills `filled` shares of the opposite side.

    One reduction over that side for every agent, and one for the order's own, behind a branch: an
    order without fills costs nothing where one book runs alone.

    Args:
      book: the book before the trade.
      order: the order.
      filled: `[]` int32, shares.
      num: agents.
    """
    none = jnp.zeros(num, jnp.int32)
    nothing = Turnover(none, none, *(Wide(none, jnp.zeros(num, jnp.uint32)) for _ in range(2)))
    count = functools.partial(_turnover, num=num)
    return lax.cond(filled > 0, count, lambda *_: nothing, book, order, filled)


def _turnover(book: Book, order: Order, filled: jax.Array, *, num: int) -> Turnover:
    """`turnover` of an order that fills something."""
    buy = order.side == Side.BUY
    side = lambda x: jnp.where(buy, x[Side.SELL], x[Side.BUY])
    agents = jnp.arange(num, dtype=jnp.int32)[:, None]
    fill = jnp.where(filled > 0, jnp.clip(filled - side(book.ahead), 0, side(book.size)), 0)
    owned = side(book.agent_id)[None] == agents
    everyone = jnp.ones((1, owned.shape[1]), bool)
    masks = jnp.concatenate((owned, everyone))
    money, shares = wide_dot(masks, fill, jnp.abs(side(book.key)))
    active = agents[:, 0] == order.agent_id
    taken = (
        jnp.where(active, shares[-1], 0),
        jax.tree.map(lambda x: jnp.where(active, x[-1], 0), money),
    )
    given = (shares[:-1], jax.tree.map(lambda x: x[:-1], money))
    choose = lambda a, b: jax.tree.map(lambda x, y: jnp.where(buy, x, y), a, b)
    (bought, paid), (sold, received) = choose(taken, given), choose(given, taken)
    return Turnover(bought, sold, paid, received)


def turnover_at(book: Book, price: jax.Array, volume: jax.Array, num: int) -> Turnover:
    """What each of `num` agents trades when the first `volume` shares of both sides meet.

    Args:
      book: the book before the trade.
      price: `[]` int32, ticks, of all of them.
      volume: `[]` int32, shares.
      num: agents.
    """
    fill = jnp.clip(volume - book.ahead, 0, book.size)
    owned = book.agent_id[None] == jnp.arange(num, dtype=jnp.int32)[:, None, None]
    shares = jnp.where(owned, fill[None], 0).sum(-1, dtype=jnp.int32)
    money = wide_product(shares, jnp.broadcast_to(price, shares.shape))
    side = lambda x, side: jax.tree.map(lambda y: y[:, side], x)
    return Turnover(
        side(shares, Side.BUY), side(shares, Side.SELL), side(money, Side.BUY),
        side(money, Side.SELL),
    )  # fmt: skip


def settle(accounts: Account, traded: Turnover) -> tuple[Account, jax.Array]:
    """Accounts `[agents]` after a turnover, and status bits, `[]` int32.

    An account whose shares bought, sold or held would pass 2**31 is frozen as it was:
    `ACCOUNT_OVERFLOW`, then and whenever it trades again.
    """
    full = (accounts.bought > MAX_VOLUME - traded.bought) | (
        accounts.sold > MAX_VOLUME - traded.sold
    )
    after = accounts._replace(
        bought=accounts.bought + traded.bought,
        sold=accounts.sold + traded.sold,
        paid=wide_add(accounts.paid, traded.paid),
        received=wide_add(accounts.received, traded.received),
    )
    net, held = after.bought - after.sold, holdings(after)
    wrapped = ((accounts.shares ^ held) & (net ^ held)) < 0
    frozen = accounts.frozen | full | wrapped
    lost = frozen & ((traded.bought > 0) | (traded.sold > 0))
    kept = jax.tree.map(lambda old, new: jnp.where(frozen, old, new), accounts, after)
    status = jnp.where(lost.any(), jnp.int32(Status.ACCOUNT_OVERFLOW), 0)
    return kept._replace(frozen=frozen), status
