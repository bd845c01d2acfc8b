"""Views of hand-made markets for agents that are tested without one, and what their requests mean.

Orders are (side, price, size, order_id, agent_id), in order of arrival.
"""

import jax
import jax.numpy as jnp
import numpy as np
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.base import Ask, MarketView, Request
from jaxmars.book import account_row, book_from_orders, empty_accounts, l2_snapshot
from jaxmars.types import Kind, Time

Resting = tuple[int, int, int, int, int]
LEVELS = 10


def view_of(
    rows: jax.Array | np.ndarray,
    time: Time,
    *,
    agent_id: jax.Array | int = 1,
    last_price: jax.Array | int = 0,
    bought: jax.Array | int = 0,
    sold: jax.Array | int = 0,
) -> MarketView:
    """What `agent_id` sees of a book of the orders `[n, 5]`; rows of size 0 are none."""
    table = jnp.asarray(rows, jnp.int32).reshape(-1, 5)
    book = book_from_orders(max(table.shape[0], 1), *table.T)
    account = account_row(empty_accounts(1), 0)._replace(
        bought=jnp.asarray(bought, jnp.int32), sold=jnp.asarray(sold, jnp.int32)
    )
    return MarketView(
        time=time,
        book=book,
        l2=l2_snapshot(book, LEVELS),
        last_price=jnp.asarray(last_price, jnp.int32),
        agent_id=jnp.asarray(agent_id, jnp.int32),
        account=account,
    )


host_view = quick_jit(view_of)
"""`view_of` outside compiled code."""


def at(seconds: float) -> Time:
    """A time from seconds, to the millisecond."""
    whole, milli = divmod(round(seconds * 1000), 1000)
    return clock.make_time(whole, milli * 1_000_000)


def listed(requests: Request) -> list[tuple[int, int, int, int, int]]:
    """(kind, side, price, size, order_id) of every request that asks for something."""
    rows = np.stack([np.atleast_1d(np.asarray(x)) for x in requests], 1)
    return [tuple(row) for row in rows.tolist() if row[0] != Kind.NONE]


def carried_out(
    requests: Request, own: list[Resting]
) -> tuple[dict[int, int], list[tuple[int, int, int, int]]]:
    """Shares taken out of each own order (oldest first), and the new orders as (kind, side, price,
    size)."""
    left = {order_id: size for _, _, size, order_id, _ in own}
    taken: dict[int, int] = {}
    new = []
    for kind, side, price, size, order_id in listed(requests):
        if kind < Ask.CANCEL_ORDER:
            new.append((kind, side, price, size))
            continue
        for _, at_price, _, number, _ in own:
            meant = {
                Ask.CANCEL_AT: at_price == price,
                Ask.CANCEL_ELSEWHERE: at_price != price,
                Ask.CANCEL_OLDEST: True,
                Ask.CANCEL_ORDER: number == order_id,
            }[Ask(kind)]
            part = min(size, left[number]) if meant else 0
            if part:
                taken[number] = taken.get(number, 0) + part
                left[number] -= part
                size -= part
    return taken, new
