"""The program that holds a book on chip equals `apply_order` bit for bit, one message or many."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
from oracles.book_differential import MIXES, drawn_flow

from jaxmars.book import Book, apply_order, best_key, init_book
from jaxmars.book.onchip import Quoted, match_on_chip
from jaxmars.book.state import NO_KEY
from jaxmars.types import Kind, Order, Status

BOOKS, MESSAGES = 3, 300
CROWDED, ROOMY = 4, 16  # slots
interpreted = functools.partial(match_on_chip, interpret=True)


def flows(mix_name: str, capacity: int) -> Order:
    """Messages `[books, num]`."""
    draw = lambda seed: drawn_flow(seed, MIXES[mix_name], capacity, MESSAGES)[0]
    return Order(*np.moveaxis(np.stack([draw(seed) for seed in range(BOOKS)]), -1, 0))


def empty_books(capacity: int) -> Book:
    return jax.tree.map(lambda x: jnp.stack([x] * BOOKS), init_book(capacity))


def twin(book: Book, orders: Order) -> tuple[Book, Quoted]:
    """The same in plain JAX: `apply_order` in a scan."""

    def step(book: Book, order: Order) -> tuple[Book, Quoted]:
        book, fills = apply_order(book, order)
        key = best_key(book)
        return book, Quoted(fills.filled, jnp.where(key == NO_KEY, 0, jnp.abs(key)))

    return jax.lax.scan(step, book, orders)


@functools.cache
def launched(run: Any) -> Any:
    """`run`, compiled for several books."""
    return jax.jit(jax.vmap(run))


@functools.cache
def after_every_message(run: Any) -> Any:
    """The books and answers after each message of `run`; status has that message's bits alone."""

    def step(book: Book, order: Order) -> tuple[Book, tuple[Book, Quoted]]:
        before = book._replace(status=jnp.int32(Status.OK))
        book, told = run(before, jax.tree.map(lambda x: x[None], order))
        return book, (book, told)

    return jax.jit(jax.vmap(lambda book, orders: jax.lax.scan(step, book, orders)[1]))


def assert_equal(ours: Any, expected: Any) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mix_name", MIXES)
def test_equals_apply_order_after_every_message(mix_name: str) -> None:
    orders = flows(mix_name, CROWDED)
    ours = after_every_message(interpreted)(empty_books(CROWDED), orders)
    assert_equal(ours, after_every_message(twin)(empty_books(CROWDED), orders))


@pytest.mark.parametrize("mix_name", MIXES)
def test_one_launch_equals_a_scan(mix_name: str) -> None:
    orders = flows(mix_name, ROOMY)
    ours = launched(interpreted)(empty_books(ROOMY), orders)
    assert_equal(ours, launched(twin)(empty_books(ROOMY), orders))


def test_flows_are_of_every_kind_and_fault() -> None:
    """The comparisons above mean something."""
    status, kinds = 0, set()
    for mix_name in MIXES:
        orders = flows(mix_name, CROWDED)
        books, told = launched(twin)(empty_books(CROWDED), orders)
        status |= int(np.bitwise_or.reduce(books.status))
        kinds |= set(np.unique(orders.kind).tolist())
        assert (told.filled > 0).mean() > 0.02 and (told.quotes > 0).any()
    assert {Kind.NONE, *Kind} - {Kind.UNCROSS} <= kinds
    assert Status(status) == (
        Status.BOOK_FULL
        | Status.UNKNOWN_ORDER
        | Status.BAD_SIZE
        | Status.BAD_PRICE
        | Status.DUPLICATE_ID
        | Status.VOLUME_OVERFLOW
        | Status.UNFILLED_MARKET
        | Status.BAD_KIND
        | Status.NOT_FILLED
        | Status.WOULD_TRADE
    )


def test_the_next_launch_goes_on_where_one_ended() -> None:
    books, orders = empty_books(ROOMY), flows("faulty", ROOMY)
    parts, half = [], MESSAGES // 2
    for part in (slice(half), slice(half, None)):
        books, told = launched(interpreted)(books, Order(*(x[:, part] for x in orders)))
        parts.append(told)
    together = Quoted(*(jnp.concatenate(x, 1) for x in zip(*parts, strict=True)))
    assert_equal((books, together), launched(twin)(empty_books(ROOMY), orders))


def test_slots_that_are_no_power_of_two_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two, got 96"):
        match_on_chip(init_book(96), jax.tree.map(lambda x: x[0], flows("steady", CROWDED)))


@pytest.mark.parametrize("slots", [128, 512])
def test_lowers_for_a_gpu_without_one(slots: int) -> None:
    """One program per book, in Triton's form."""
    shape: Any = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.int32)
    book = jax.tree.map(lambda x: shape(5, *x.shape), init_book(slots))
    device = AbstractDevice("NVIDIA H200", None, "cuda")
    with use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device)):
        traced = jax.jit(jax.vmap(match_on_chip)).trace(book, Order(*[shape(5, 60)] * 6))
        try:
            text = traced.lower(lowering_platforms=("cuda",)).as_text()
        except ImportError as reason:
            pytest.skip(f"this jaxlib cannot lower Triton programs: {reason}")
    assert "gpu$xla.gpu.triton" in text
    assert "grid_x = 5 :" in text and "num_warps = 1 :" in text


@pytest.mark.gpu
@pytest.mark.parametrize("mix_name", MIXES)
def test_compiled_for_a_gpu_equals_a_scan(mix_name: str) -> None:
    if jax.default_backend() != "gpu":
        pytest.skip("needs a GPU")
    orders = flows(mix_name, ROOMY)
    ours = launched(match_on_chip)(empty_books(ROOMY), orders)
    assert_equal(ours, launched(twin)(empty_books(ROOMY), orders))
