"""`invariants` catches every planted corruption; shares are neither made nor lost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.book_desk import Desk, is_sound
from oracles.book_differential import MIXES, NEW_KINDS, compiled_outputs, drawn_flow

from jaxmars.book import Book, invariants
from jaxmars.types import Kind, Side, Status

CARRIED_OUT = Status.UNFILLED_MARKET | Status.TRADES_TRUNCATED


@functools.cache
def sound_book() -> Book:
    """Two bids at one price and one below, two asks; one empty slot per side."""
    desk = Desk(slots=4)
    for order_id, (side, price, size) in enumerate(
        [(0, 99, 10), (0, 99, 20), (0, 98, 5), (1, 101, 7), (1, 102, 8)]
    ):
        desk.limit(side, price, size, order_id)
    return desk.book


def slot_of(order_id: int) -> tuple[int, int]:
    book = sound_book()
    row, slot = np.argwhere(np.asarray((book.order_id == order_id) & (book.size > 0)))[0]
    return int(row), int(slot)


CORRUPTIONS = {
    "negative size": lambda b: b._replace(size=b.size.at[slot_of(2)].set(-5)),
    "total too large": lambda b: b._replace(total=b.total.at[0].add(1)),
    "size changed alone": lambda b: b._replace(size=b.size.at[slot_of(4)].add(1)),
    "gap in the queue": lambda b: b._replace(ahead=b.ahead.at[slot_of(4)].add(1)),
    "two orders at one place": lambda b: b._replace(ahead=b.ahead.at[slot_of(1)].set(0)),
    "worse price first": lambda b: b._replace(
        ahead=b.ahead.at[slot_of(3)].set(8).at[slot_of(4)].set(0)
    ),
    "crossed": lambda b: b._replace(key=b.key.at[slot_of(0)].set(-101).at[slot_of(1)].set(-101)),
    "same id on both sides": lambda b: b._replace(order_id=b.order_id.at[slot_of(4)].set(0)),
    "same id on one side": lambda b: b._replace(order_id=b.order_id.at[slot_of(1)].set(0)),
    "lost order": lambda b: b._replace(size=b.size.at[slot_of(2)].set(0)),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_planted_corruption_is_caught(corruption: str) -> None:
    assert bool(is_sound(sound_book()))
    assert not bool(is_sound(CORRUPTIONS[corruption](sound_book())))


def test_empty_slots_may_hold_anything() -> None:
    book = sound_book()
    empty = book.size == 0
    junk = {name: jnp.where(empty, 12345, getattr(book, name)) for name in ("key", "ahead")}
    ids = jnp.where(empty, book.order_id[slot_of(0)], book.order_id)
    assert bool(is_sound(book._replace(**junk, order_id=ids, agent_id=ids)))


def test_full_book_with_partial_ranks_swapped_is_caught() -> None:
    """Swapping two queue positions of unequal sizes breaks the sums even within one price."""
    book = sound_book()
    a, b = slot_of(0), slot_of(1)
    swapped = book.ahead.at[a].set(book.ahead[b]).at[b].set(book.ahead[a])
    assert not bool(is_sound(book._replace(ahead=swapped)))


@pytest.mark.parametrize("mix_name", MIXES)
def test_shares_are_conserved(mix_name: str) -> None:
    """submitted = filled + rested + dropped + rejected; resting = rested - taken - cancelled."""
    rows, _ = drawn_flow(3, MIXES[mix_name], 16, 500)
    book, fills, *_ = compiled_outputs(16, 3, 5)(rows[None])
    total = np.asarray(book.total[0], np.int64)
    resting = np.asarray(book.size[0], np.int64).sum(-1)
    np.testing.assert_array_equal(total, resting)
    before = np.concatenate([np.zeros((1, 2), np.int64), total[:-1]])
    change = total - before
    filled, cancelled, status = (
        np.asarray(x[0], np.int64) for x in (fills.filled, fills.cancelled, fills.status)
    )
    kind, side, _, size = rows.T[:4].astype(np.int64)
    rejected = (status & ~int(CARRIED_OUT)) != 0
    assert not change[rejected].any() and not filled[rejected].any()
    assert not cancelled[rejected].any()
    real = ~rejected & np.isin(side, list(Side))
    step = np.arange(len(rows))
    own, opposite = change[step, side * real], change[step, 1 - side * real]
    new = real & np.isin(kind, NEW_KINDS)
    np.testing.assert_array_equal(opposite[new], -filled[new])
    resting = np.isin(kind, (Kind.LIMIT, Kind.POST_ONLY))
    rested, dropped = own[new], np.where(resting, 0, size - filled)[new]
    assert (rested >= 0).all() and not rested[~resting[new]].any()
    np.testing.assert_array_equal(filled[new & (kind == Kind.FOK)], size[new & (kind == Kind.FOK)])
    assert not filled[kind == Kind.POST_ONLY].any()
    np.testing.assert_array_equal(size[new], (filled[new] + rested + dropped))
    cancels = real & (kind == Kind.CANCEL)
    np.testing.assert_array_equal(own[cancels], -cancelled[cancels])
    np.testing.assert_array_equal(size[cancels], cancelled[cancels])
    assert not change[kind == Kind.NONE].any()


def test_invariants_run_under_vmap() -> None:
    good = sound_book()
    bad = CORRUPTIONS["crossed"](good)
    books = jax.tree.map(lambda *x: jnp.stack(x), good, bad)
    assert jax.vmap(invariants)(books).tolist() == [True, False]
