"""What every agent has traded, and with that what it owns.

Cash is counted in ticks times shares and passes 2**31 within minutes, so it is kept as a pair of
32-bit words (`Wide`). Only trades change an account. What the release keeps beside it as *tradable*
holdings and cash follows from the account and the resting orders (`tradable`), which repairs three
of its quirks (spec 6.1): a buyer that trades below its limit gets the difference back, a cancel in
a call auction frees what the order had bound, and nothing is freed twice.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Wide(NamedTuple):
    """A signed 64-bit number, `high * 2**32 + low`."""

    high: jax.Array  # [...] int32
    low: jax.Array  # [...] uint32


class Account(NamedTuple):
    """One agent; `Accounts` are these stacked `[agents]`."""

    cash: Wide  # ticks x shares, endowed at the start
    shares: jax.Array  # [] int32, endowed at the start
    bought: jax.Array  # [] int32, shares
    sold: jax.Array  # [] int32, shares
    paid: Wide  # ticks x shares
    received: Wide  # ticks x shares


def empty_accounts(num: int) -> Account:
    """Accounts `[num]` that own nothing and have traded nothing."""
    shares = jnp.zeros(num, jnp.int32)
    wide = Wide(shares, jnp.zeros(num, jnp.uint32))
    return Account(wide, shares, shares, shares, wide, wide)
