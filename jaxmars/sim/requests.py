"""Requests of agents turned into orders, one per step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmars.agents.base import Ask, Request, choose_request, no_request
from jaxmars.book import NO_KEY, Book
from jaxmars.types import Kind, Order, Status


def is_pending(requests: Request) -> jax.Array:
    """Whether anything is asked for, `[]` bool."""
    return (requests.kind != Kind.NONE).any()


def nothing_pending(num: int) -> Request:
    """`num` requests that ask for nothing."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num,)), no_request())


def in_line(wish: Request, num: int) -> Request:
    """One request, or `[k]` of them, as `num` in a row."""
    rows = jax.tree.map(jnp.atleast_1d, wish)
    return jax.tree.map(lambda x: jnp.pad(x, (0, num - x.shape[0])), rows)


def length_of(wish: Request) -> int:
    """How many requests an agent sends at once."""
    return wish.kind.shape[0] if wish.kind.ndim else 1


def next_order(
    book: Book,
    requests: Request,
    agent_id: jax.Array,
    order_id: jax.Array,
    key: jax.Array,
    modifies: bool,
) -> tuple[Order, Request, jax.Array, jax.Array]:
    """The next order of a line of requests: the first that asks for something makes one.

    Args:
      book: the book.
      requests: `[k]` leaves.
      agent_id: as in `resolve`.
      order_id: as in `resolve`.
      key: as in `resolve`.
      modifies: as in `resolve`.

    Returns:
      The order (kind NONE without one), the line that is left, status bits, and whether the order
      makes way for the first order of that line (`resolve`).
    """
    request = first_of(requests)
    order, rest, status, replaces = resolve(book, request, agent_id, order_id, key, modifies)
    left = jax.tree.map(lambda line, x: jnp.where(_is_first(requests), x, line), requests, rest)
    return order, left, status, replaces


def first_of(requests: Request) -> Request:
    """The first of a line of requests that asks for something; the first of all if none does."""
    return jax.tree.map(lambda x: x[jnp.argmax(requests.kind != Kind.NONE)], requests)


def without_first(requests: Request, drop: jax.Array) -> Request:
    """A line of requests without `first_of` it, where `drop` `[]` bool."""
    gone = drop & _is_first(requests)
    return requests._replace(kind=jnp.where(gone, Kind.NONE, requests.kind))


def as_order(request: Request, agent_id: jax.Array) -> Order:
    """A request for a new order with an id of its own, as that order."""
    return Order(*request[:4], request.order_id, agent_id)


def _is_first(requests: Request) -> jax.Array:
    """Which place of a line `first_of` it has, `[k]` bool."""
    return jnp.arange(requests.kind.shape[0]) == jnp.argmax(requests.kind != Kind.NONE)


def resolve(
    book: Book,
    request: Request,
    agent_id: jax.Array,
    order_id: jax.Array,
    key: jax.Array,
    modifies: bool = True,
) -> tuple[Order, Request, jax.Array, jax.Array]:
    """Turns a request into one order and the rest of the request.

    `Kind.CANCEL` takes the agent's resting price nearest to the one asked for (a tie of one price
    above and one below is decided by a coin) and cancels its oldest order there, at most the size
    asked for; the rest of the size goes on to the next order at that price, in the next step.
    Without a resting order there is no order at all and `NOTHING_TO_CANCEL` is set (spec 6.2).
    `Ask.CANCEL_FITTING` is the same, but of the prices at which an order of the size asked for, or
    a larger one, rests. The other kinds of `Ask` cancel in the same way the orders they name;
    `CANCEL_ORDER` and `MODIFY` of an order that does not rest are sent to the book, which reports
    `UNKNOWN_ORDER`. Orders of different prices are ranked by their ids, which rise with arrival
    unless the agent chose them.

    Args:
      book: the book.
      request: `[]` leaves.
      agent_id: `[]` int32, who asks.
      order_id: `[]` int32, id of a new order without an id of its own.
      key: of the coin.
      modifies: whether `Ask.MODIFY` is known; else it is sent to the book, which knows no such
        kind (`BAD_KIND`).

    Returns:
      The order, the rest of the request (kind NONE if it is complete), status bits, and whether
      order and rest are the cancel and the new order of one modification, `[]` bool.
    """
    cancel = request.kind == Kind.CANCEL
    changes = (request.kind == Ask.MODIFY) & modifies
    by_id = (request.kind == Ask.CANCEL_ORDER) | changes
    fitting = request.kind == Ask.CANCEL_FITTING
    takes_out = cancel | changes | fitting
    takes_out |= (request.kind >= Ask.CANCEL_ORDER) & (request.kind <= Ask.CANCEL_OLDEST)
    # A branch where one trajectory runs alone; under vmap both sides are computed.
    target = lax.cond(takes_out, _find, _find_nothing, book, request, agent_id, key)
    size, price, side, level = target.size, target.price, target.side, target.level
    found = size > 0
    modify = found & changes
    smaller = modify & (request.price == price) & (request.size > 0) & (request.size <= size)
    unchanged = smaller & (request.size == size)
    removed = jnp.where(modify, size - jnp.where(smaller, request.size, 0), request.size)
    removed = jnp.where(found, jnp.minimum(removed, size), request.size)
    nothing = (takes_out & ~found & ~by_id) | unchanged
    kind = jnp.where(takes_out, Kind.CANCEL, request.kind)
    new_id = jnp.where(request.order_id > 0, request.order_id, order_id)
    named = jnp.where(found, target.order_id, request.order_id)
    order = Order(
        kind=jnp.where(nothing, Kind.NONE, kind),
        side=jnp.where(takes_out, side, request.side),
        price=request.price,
        size=jnp.where(takes_out, removed, request.size),
        order_id=jnp.where(takes_out, named, new_id),
        agent_id=agent_id,
    )
    left = jnp.minimum(request.size, target.volume) - removed
    more = takes_out & found & ~modify & (left > 0)
    replaces = modify & ~smaller
    rest = Request(
        kind=jnp.where(replaces, Kind.LIMIT, jnp.where(fitting, Ask.CANCEL_AT, request.kind)),
        side=side,
        price=level,
        size=jnp.where(replaces, request.size, left),
        order_id=request.order_id,
    )
    missed = jnp.where((cancel | fitting) & ~found, jnp.int32(Status.NOTHING_TO_CANCEL), 0)
    return order, choose_request(more | replaces, rest, no_request()), missed, replaces


class _Target(NamedTuple):
    """The order a request takes out first; all 0 if there is none."""

    size: jax.Array  # [] int32, shares
    price: jax.Array  # [] int32, ticks
    order_id: jax.Array  # [] int32
    side: jax.Array  # [] int32, Side
    volume: jax.Array  # [] int32, shares of all orders the request names
    level: jax.Array  # [] int32, ticks: the price it names


def _find_nothing(book: Book, request: Request, agent_id: jax.Array, key: jax.Array) -> _Target:
    """What a request finds that takes nothing out."""
    del book, agent_id, key
    zero = jnp.int32(0)
    return _Target(zero, zero, zero, zero, zero, request.price)


def _find(book: Book, request: Request, agent_id: jax.Array, key: jax.Array) -> _Target:
    """The oldest of the orders a request names."""
    fitting = request.kind == Ask.CANCEL_FITTING
    near = fitting | (request.kind == Kind.CANCEL)
    own = (book.size > 0) & (book.agent_id == agent_id)
    fits = own & (book.size >= request.size)
    wanted = jnp.where(fitting & fits.any(), fits, own)
    level = jnp.where(near, _nearest_price(book, wanted, request.price, key), request.price)
    meant = own & _is_meant(book, request, level)
    one_queue = near | (request.kind == Ask.CANCEL_AT)
    rank = jnp.where(meant, jnp.where(one_queue, book.ahead, book.order_id), NO_KEY)
    least, volume = lax.reduce(
        (rank, jnp.where(meant, book.size, 0)),
        (jnp.int32(NO_KEY), jnp.int32(0)),
        lambda a, b: (jnp.minimum(a[0], b[0]), a[1] + b[1]),
        (0, 1),
    )
    first = meant & (rank == least)
    columns = (
        book.size,
        jnp.abs(book.key),
        book.order_id,
        jnp.broadcast_to(jnp.arange(2, dtype=jnp.int32)[:, None], book.size.shape),
    )
    picked = lax.reduce(
        tuple(jnp.where(first, column, 0) for column in columns),
        (jnp.int32(0),) * len(columns),
        lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True)),
        (0, 1),
    )
    size, price, order_id, side = picked
    return _Target(size, price, order_id, side, volume, level)


def _nearest_price(book: Book, wanted: jax.Array, price: jax.Array, key: jax.Array) -> jax.Array:
    """The price of a wanted order nearest to `price`, `[]` int32 ticks; a coin decides a tie."""
    gap = jnp.abs(book.key) - price
    above, below = lax.reduce(
        (
            jnp.where(wanted & (gap >= 0), gap, NO_KEY),
            jnp.where(wanted & (gap <= 0), -gap, NO_KEY),
        ),
        (jnp.int32(NO_KEY), jnp.int32(NO_KEY)),
        lambda a, b: (jnp.minimum(a[0], b[0]), jnp.minimum(a[1], b[1])),
        (0, 1),
    )
    is_above = (above < below) | ((above == below) & jax.random.bernoulli(key))
    return jnp.where(is_above, price + above, price - below)


def _is_meant(book: Book, request: Request, level: jax.Array) -> jax.Array:
    """Which orders a request that takes orders out names, `[2, slots]` bool."""
    at_level = jnp.abs(book.key) == level
    named = book.order_id == request.order_id
    elsewhere = (request.kind == Ask.CANCEL_ELSEWHERE) & ~at_level
    everywhere = request.kind == Ask.CANCEL_OLDEST
    by_price = request.kind == Kind.CANCEL
    by_price |= (request.kind == Ask.CANCEL_AT) | (request.kind == Ask.CANCEL_FITTING)
    by_id = (request.kind == Ask.CANCEL_ORDER) | (request.kind == Ask.MODIFY)
    return (by_price & at_level) | (by_id & named) | elsewhere | everywhere
