"""Matching with the book held on chip: one GPU program per book, for all its messages.

`apply_order` in a scan reads and writes the whole book in memory for every message. Here a Pallas
program loads its book into registers, loops over its messages, and stores the book after the last;
memory is touched for messages and answers only. The rules are those of `matching.py`, its own
functions; written a second time are only the reductions over the slots, one per number, because
Triton has none of several, and the reading of one slot, because it has no gather.

What makes the program small: one warp holds a book, so that a reduction needs no barrier (on Ampere
and later one instruction); and bids, asks, orders and cancels have code of their own, in which the
side is a constant and what does not concern it falls away. Such branches cost nothing where all
threads take the same.

How it is compiled: by Pallas' Triton backend, which runs on Ampere and Hopper. The other one for
NVIDIA, Mosaic GPU, gives a program four warps at least, which would meet at a barrier for every
reduction; JAX has called the Triton one deprecated since 0.11. `interpret` runs the same program
as plain JAX anywhere; so the tests compare it with its twin, `apply_order` in a scan.

Not used by default, and not imported by `jaxmars.book`: no GPU has measured it yet. The prediction
is in `benchmarks/README.md`, the measurement in `benchmarks/book.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxmars.book.matching import Effect, Target, answers, judge, questions, update
from jaxmars.book.records import NO_ROW, lanes, rows
from jaxmars.book.state import NO_KEY, Book, side_key
from jaxmars.types import Kind, Order, Side

ONE_WARP = triton.CompilerParams(num_warps=1, num_stages=1)


class Quoted(NamedTuple):
    """What is told of every message."""

    filled: jax.Array  # [num] int32, shares traded
    quotes: jax.Array  # [num, 2] int32, ticks: best bid and ask after it, 0 if none


def match_on_chip(book: Book, orders: Order, *, interpret: bool = False) -> tuple[Book, Quoted]:
    """Applies messages one after the other: `apply_order` without records or self-trade policy.

    Under `vmap` every book has a program of its own; thousands of them fill a GPU.

    Args:
      book: the book; as many slots as a power of two. One warp holds up to 512 in registers.
      orders: `[num]` int32 each, the messages of one launch.
      interpret: whether to run it as plain JAX, on any device, slowly.

    Returns:
      The book after the last message, and what happened at each.

    Raises:
      ValueError: for another number of slots.
    """
    slots, num = book.size.shape[1], orders.kind.shape[0]
    if slots & (slots - 1):
        raise ValueError(f"expected as many slots as a power of two, got {slots}")
    given = book._replace(status=book.status[None])
    shape: Any = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.int32)
    after, told = pl.pallas_call(
        _program,
        out_shape=(Book(*(shape(*x.shape) for x in given)), Quoted(shape(num), shape(num, 2))),
        compiler_params=ONE_WARP,
        interpret=interpret,
        name="match_on_chip",
    )(given, orders)
    return after._replace(status=after.status[0]), told


def _program(book_in: Any, orders: Any, book_out: Any, told: Any) -> None:
    """The program of one book; all arguments are references to memory."""

    def step(time: jax.Array, book: Book) -> Book:
        book, filled = _apply(book, Order(*(column[time] for column in orders)))
        bid, ask = _quotes(book)
        told.filled[time] = filled
        told.quotes[time, 0] = bid
        told.quotes[time, 1] = ask
        return book

    book = Book(*(ref[...] for ref in book_in[:-1]), status=book_in.status[0])
    book = lax.fori_loop(0, orders.kind.shape[0], step, book)
    for ref, value in zip(book_out[:-1], book[:-1], strict=True):
        ref[...] = value
    book_out.status[0] = book.status


def _apply(book: Book, order: Order) -> tuple[Book, jax.Array]:
    """The book after an order, and the shares it filled; side and cancel are branches."""

    def of(side: int) -> Callable[[Book], tuple[Book, jax.Array]]:
        new = order._replace(side=jnp.int32(side))
        cancel = new._replace(kind=jnp.int32(Kind.CANCEL))
        return lambda book: lax.cond(
            order.kind == Kind.CANCEL,
            lambda book: _match(book, cancel),
            lambda book: _match(book, new),
            book,
        )

    sell = lambda book: lax.cond(order.side == Side.SELL, of(Side.SELL), of(NO_ROW), book)
    return lax.cond(order.side == Side.BUY, of(Side.BUY), sell, book)


def _match(book: Book, order: Order) -> tuple[Book, jax.Array]:
    """`apply_order` with reductions Triton can do."""
    shares, least, worst = questions(book, order, False, None)
    least = _per_side(_min, least, NO_KEY)
    shares, worst = _per_side(_sum, shares, 0), _per_side(_max, worst, -NO_KEY)
    seen = answers(order, shares, least, worst)
    own = rows() == order.side
    here = own & (lanes(book) == seen.slot)
    at_slot = lambda field: _sum(jnp.where(here, field, 0))
    total = jnp.where(own.reshape(-1), book.total, 0).sum(dtype=jnp.int32)
    target = Target(at_slot(book.size), at_slot(book.ahead), at_slot(book.key), total)
    effect = judge(order, seen, target, book.size.shape[1], False, None, None)
    return update(book, order, effect, _as_it_is), effect.filled


def _as_it_is(effect: Effect, size: jax.Array) -> Effect:
    """One program updates all fields, and nothing of it needs to be held back."""
    return effect


def _quotes(book: Book) -> list[jax.Array]:
    """Best bid and ask, `[]` int32 ticks each, 0 if none."""
    best = _per_side(_min, jnp.where(book.size > 0, book.key, NO_KEY), NO_KEY)
    prices = (side_key(jnp.int32(side), key) for side, key in zip(Side, best, strict=True))
    return [jnp.where(key == NO_KEY, 0, price) for key, price in zip(best, prices, strict=True)]


def _per_side(
    reduce: Callable[[jax.Array], jax.Array], field: jax.Array, nothing: int
) -> tuple[jax.Array, jax.Array]:
    """A number of each side, `[]` int32: a reduction to which the other side gives `nothing`."""
    of = lambda side: reduce(jnp.where(rows() == side, field, nothing))
    return of(Side.BUY), of(Side.SELL)


# Sides first: a thread holds the same slots of both, and asks other threads for one number only.


def _sum(field: jax.Array) -> jax.Array:
    return field.sum(0, dtype=jnp.int32).sum(dtype=jnp.int32)


def _min(field: jax.Array) -> jax.Array:
    return field.min(0).min()


def _max(field: jax.Array) -> jax.Array:
    return field.max(0).max()
