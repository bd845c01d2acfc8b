"""Snapshots, mid prices, books made from orders or levels, and the host's view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.book_desk import Desk, is_sound
from oracles.book_differential import MIXES, compiled_outputs, drawn_flow
from oracles.lob import Oracle

from jaxmars.book import (
    MarketError,
    best_price,
    book_from_levels,
    book_from_orders,
    float_mid_price,
    init_book,
    l2_snapshot,
    level_order_ids,
    mid_price,
    raise_on_error,
    resting_orders,
    spread,
    weighted_mid_price,
)
from jaxmars.types import L2, Side, Status

BUY, SELL = Side.BUY, Side.SELL
snapshot = jax.jit(l2_snapshot, static_argnums=1)


def two_sided(bid: int, ask: int, bid_size: int = 100, ask_size: int = 100) -> L2:
    """One level per side; price 0 leaves a side empty."""
    price = jnp.array([[bid], [ask]], jnp.int32)
    size = jnp.array([[bid_size], [ask_size]], jnp.int32)
    return L2(price, jnp.where(price > 0, size, 0))


@pytest.mark.parametrize(("gap", "above_bid"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)])
def test_mid_rounds_down_like_the_release(gap: int, above_bid: int) -> None:
    assert mid_price(two_sided(100, 100 + gap), jnp.int32(0)) == 100 + above_bid


@pytest.mark.parametrize(
    ("bid", "ask", "mid", "gap"), [(0, 105, 105, 10), (95, 0, 95, 10), (0, 0, 77, 10)]
)
def test_one_sided_books_fall_back(bid: int, ask: int, mid: int, gap: int) -> None:
    l2, last_price = two_sided(bid, ask), jnp.int32(77)
    assert mid_price(l2, last_price) == mid
    assert float_mid_price(l2, last_price) == float(mid)
    assert weighted_mid_price(l2, last_price) == float(mid)
    assert spread(l2) == gap


def test_float_mid_and_weighted_mid() -> None:
    l2 = two_sided(100, 103, bid_size=300, ask_size=100)
    assert spread(l2) == 3
    assert float_mid_price(l2, jnp.int32(0)) == 101.5
    assert weighted_mid_price(l2, jnp.int32(0)) == 102.25  # (103 * 300 + 100 * 100) / 400


def test_mid_of_the_largest_prices_does_not_wrap() -> None:
    top = 2**30 - 1
    assert mid_price(two_sided(top - 2, top), jnp.int32(0)) == top - 1
    assert float_mid_price(two_sided(top - 2, top), jnp.int32(0)) == np.float32(top - 1)


def test_mids_equal_the_oracle_after_every_message() -> None:
    rows, _ = drawn_flow(0, MIXES["sweeps"], 3, 500)
    book, _, l2, *_ = jax.tree.map(lambda x: x[0], compiled_outputs(3, 3, 5)(rows[None]))
    last = jnp.int32(50)
    over = lambda view: np.asarray(jax.jit(jax.vmap(lambda l2: view(l2, last)))(l2))
    float_mid, weighted = over(float_mid_price), over(weighted_mid_price)
    best = [np.asarray(jax.vmap(lambda b, s=side: best_price(b, s))(book)) for side in Side]
    oracle = Oracle(3)
    for k, row in enumerate(rows.tolist()):
        oracle.apply(*row)
        assert float_mid[k] == oracle.float_mid(50)
        np.testing.assert_allclose(weighted[k], oracle.weighted_mid(50), rtol=1e-6)
        assert [best[side][k] for side in Side] == [oracle.l2(side, 1)[0][0] for side in Side]


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_snapshot_adds_sizes_and_pads_with_zeros(levels: int) -> None:
    desk = Desk()
    for order_id, (price, size) in enumerate([(99, 10), (97, 5), (99, 1)]):
        desk.limit(BUY, price, size, order_id)
    l2 = snapshot(desk.book, levels)
    full = [(99, 11), (97, 5), (0, 0), (0, 0), (0, 0)]
    assert list(zip(l2.price[BUY].tolist(), l2.size[BUY].tolist(), strict=True)) == full[:levels]
    assert not np.any(l2.price[SELL]) and not np.any(l2.size[SELL])


def test_empty_book() -> None:
    book = init_book(3)
    assert bool(is_sound(book))
    assert best_price(book, BUY) == 0 and best_price(book, SELL) == 0
    assert resting_orders(book, BUY) == []


def test_book_from_orders_equals_sending_them() -> None:
    rng = np.random.default_rng(0)
    num, desk = 12, Desk(slots=16)
    side = rng.integers(0, 2, num)
    price = np.where(side == BUY, rng.integers(95, 100, num), rng.integers(100, 105, num))
    size = rng.integers(0, 4, num)
    for k in range(num):
        if size[k]:
            desk.limit(int(side[k]), int(price[k]), int(size[k]), order_id=k, agent_id=k % 3)
    columns = (side, price, size, np.arange(num), np.arange(num) % 3)
    made = jax.jit(book_from_orders, static_argnums=0)
    book = made(16, *(jnp.asarray(x, jnp.int32) for x in columns))
    assert bool(is_sound(book))
    assert [resting_orders(book, s) for s in Side] == [resting_orders(desk.book, s) for s in Side]
    np.testing.assert_array_equal(book.total, desk.book.total)


def test_book_from_levels_round_trip() -> None:
    desk = Desk()
    for order_id, (side, price) in enumerate([(BUY, 99), (BUY, 97), (SELL, 101)]):
        desk.limit(side, price, 10 + order_id, order_id)
    l2 = snapshot(desk.book, 3)
    book = jax.jit(book_from_levels, static_argnums=1)(l2, 8, jnp.int32(-1))
    assert bool(is_sound(book))
    for a, b in zip(l2, snapshot(book, 3), strict=True):
        np.testing.assert_array_equal(a, b)
    ids = np.asarray(level_order_ids(3))
    assert (ids < 0).all() and len(np.unique(ids)) == ids.size
    assert [o.order_id for o in resting_orders(book, BUY)] == ids[BUY, :2].tolist()
    assert {o.agent_id for o in resting_orders(book, BUY)} == {-1}


def test_more_orders_than_slots_is_an_error_before_compilation() -> None:
    column = jnp.ones(4, jnp.int32)
    with pytest.raises(ValueError, match="expected at most 3 orders"):
        jax.eval_shape(lambda x: book_from_orders(3, x, x, x, x, x), column)


def test_raise_on_error_names_every_bit() -> None:
    raise_on_error(np.zeros(3, np.int32))
    status = np.array([Status.OK, Status.BOOK_FULL, Status.BAD_PRICE], np.int32)
    with pytest.raises(MarketError, match=r"no free slot.*limit price"):
        raise_on_error(status)
