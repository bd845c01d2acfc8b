"""The call auction against exhaustive search, and the recorded runs of the release."""

import functools
import random
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.book_desk import Desk, bits, is_sound, trade_list
from oracles.call_auction import clearing_price as searched_price
from oracles.lob import MAX_PRICE, MAX_VOLUME, Oracle

from jaxmars.book import Book, book_from_orders, clearing_price, invariants, uncross
from jaxmars.types import Kind, Side, Status

BUY, SELL = Side.BUY, Side.SELL
BOOKS = 2000
ORDERS, MAX_TRADES = 8, 16

Order = tuple[int, int, int]  # side, price, size


@functools.cache
def compiled_uncross(max_trades: int):
    return jax.jit(functools.partial(uncross, max_trades=max_trades))


def collected(orders: Sequence[Order], slots: int = 8) -> Desk:
    """A desk whose orders have been collected; ids count from 1, owners too."""
    desk = Desk(slots)
    for number, (side, price, size) in enumerate(orders, start=1):
        desk.collect(Kind.LIMIT, side, price, size, number, number)
    return desk


def end(desk: Desk, reference: int = 0, max_trades: int = MAX_TRADES):
    """Ends the auction; the book must be sound and uncrossed after it."""
    desk.book, fills = compiled_uncross(max_trades)(desk.book, jnp.int32(reference))
    assert bool(is_sound(desk.book))
    return jax.tree.map(np.asarray, fills)


# Recorded runs of the release (specification of the call auction, section 4.1).

RELEASE = [(BUY, 102, 300), (BUY, 101, 200), (BUY, 100, 500), (SELL, 99, 200), (SELL, 100, 400),
           (SELL, 101, 300), (SELL, 103, 100)]  # fmt: skip


def test_release_auction() -> None:
    desk = collected(RELEASE)
    fills = end(desk)
    assert (fills.price, fills.first_price, fills.last_price, fills.filled) == (100, 100, 100, 600)
    assert [(order_id, size) for _, size, order_id, _ in trade_list(fills)] == [
        (1, 300), (2, 200), (3, 100), (4, 200), (5, 400),
    ]  # fmt: skip
    assert fills.trades.side[:5].tolist() == [BUY, BUY, BUY, SELL, SELL]
    assert desk.orders(BUY) == [(100, 400, 3, 3)]
    assert desk.orders(SELL) == [(101, 300, 6, 6), (103, 100, 7, 7)]


def test_release_auction_with_a_cancel() -> None:
    desk = collected([(BUY, 102, 300), (BUY, 101, 200), (SELL, 99, 200), (SELL, 100, 400)])
    assert desk.collect(Kind.CANCEL, SELL, 0, 150, 4, 4).cancelled == 150
    fills = end(desk)
    assert (fills.price, fills.filled) == (101, 450)
    assert desk.snapshot() == [[(101, 50, 2, 2)], []]


def test_release_auction_of_one_pair_takes_the_higher_price() -> None:
    fills = end(collected([(BUY, 102, 300), (SELL, 99, 300)]))
    assert (fills.price, fills.filled) == (102, 300)


# Ties.


@pytest.mark.parametrize(("reference", "price"), [(0, 104), (1, 100), (101, 100), (102, 104)])
def test_equal_imbalance_goes_to_the_nearest_price_then_the_higher(
    reference: int, price: int
) -> None:
    fills = end(collected([(BUY, 104, 30), (SELL, 100, 30)]), reference)
    assert (fills.price, fills.filled) == (price, 30)


def test_smaller_imbalance_beats_the_nearest_price() -> None:
    orders = [(BUY, 104, 30), (BUY, 102, 30), (SELL, 100, 30)]
    assert end(collected(orders), reference=100).price == 104


# Books without a trade.


@pytest.mark.parametrize(
    "orders",
    [
        [],
        [(BUY, 100, 10)],
        [(SELL, 100, 10), (SELL, 101, 10)],
        [(BUY, 99, 10), (SELL, 100, 10)],
    ],
)
def test_nothing_trades(orders: Sequence[Order]) -> None:
    desk = collected(orders)
    before = desk.snapshot()
    fills = end(desk, reference=100)
    assert (fills.price, fills.filled, bits(fills)) == (0, 0, Status.OK)
    assert trade_list(fills) == [] and desk.snapshot() == before


# Limits.


def test_records_of_both_sides_are_truncated_with_a_bit() -> None:
    desk = collected(RELEASE)
    fills = end(desk, max_trades=4)
    assert bits(fills) == Status.TRADES_TRUNCATED and fills.filled == 600
    assert [record[2] for record in trade_list(fills)] == [1, 2, 3, 4]
    assert Status(int(desk.book.status)) == Status.TRADES_TRUNCATED


def test_extreme_prices_and_volumes() -> None:
    desk = collected([(BUY, MAX_PRICE - 1, MAX_VOLUME), (SELL, 1, MAX_VOLUME)])
    fills = end(desk, reference=1)
    assert (fills.price, fills.filled) == (1, MAX_VOLUME)
    assert [record[1] for record in trade_list(fills)] == [MAX_VOLUME, MAX_VOLUME]
    assert desk.snapshot() == [[], []]


def test_collected_book_may_be_crossed_and_no_other() -> None:
    book = collected([(BUY, 102, 1), (SELL, 99, 1)]).book
    assert not bool(invariants(book)) and bool(invariants(book, crossed_allowed=True))
    damaged = book._replace(total=book.total + 1)
    assert not bool(invariants(damaged, crossed_allowed=True))


# Exhaustive search.


def random_orders(seed: int, highest: int, largest: int) -> list[Order]:
    """Few prices and sizes, so that ties are the rule; sometimes one side is empty."""
    rng = random.Random(seed)
    sides = rng.choice(([BUY], [SELL], [BUY, SELL], [BUY, SELL], [BUY, SELL], [BUY, SELL]))
    return [
        (rng.choice(sides), rng.randint(1, highest), rng.randint(1, largest))
        for _ in range(rng.randint(0, ORDERS))
    ]


def as_books(flows: Sequence[Sequence[Order]], slots: int) -> Book:
    padded = np.zeros((len(flows), 3, slots), np.int32)
    for number, orders in enumerate(flows):
        for place, order in enumerate(orders):
            padded[number, :, place] = order
    ids = jnp.arange(slots, dtype=jnp.int32)
    make = lambda rows: book_from_orders(slots, rows[0], rows[1], rows[2], ids, ids)
    return jax.jit(jax.vmap(make))(padded)


@pytest.mark.parametrize(
    ("slots", "highest", "largest"), [(8, 4, 2), (8, 9, 3), (13, 30, 1000), (32, 6, 1)]
)
def test_equals_exhaustive_search(slots: int, highest: int, largest: int) -> None:
    flows = [random_orders(seed, highest, largest) for seed in range(BOOKS)]
    rng = random.Random(slots)
    references = np.asarray([rng.choice((0, rng.randint(1, highest))) for _ in flows], np.int32)
    found = jax.jit(jax.vmap(clearing_price))(as_books(flows, slots), references)
    expected = [
        searched_price(
            [order[1:] for order in orders if order[0] == BUY],
            [order[1:] for order in orders if order[0] == SELL],
            int(reference),
        )
        for orders, reference in zip(flows, references, strict=True)
    ]
    np.testing.assert_array_equal(np.stack(found, 1), expected)
    assert np.mean([volume > 0 for _, volume in expected]) > 0.2


def test_search_knows_rejected_prices() -> None:
    """A price that leaves sellers below it over is not taken, however near the reference is."""
    assert searched_price([(5, 1)], [(1, 2)], reference=5) == (1, 1)
    assert searched_price([(5, 2)], [(1, 1)], reference=1) == (5, 1)
    assert end(collected([(BUY, 5, 1), (SELL, 1, 2)]), reference=5).price == 1
    assert end(collected([(BUY, 5, 2), (SELL, 1, 1)]), reference=1).price == 5


@pytest.mark.parametrize("seed", range(20))
def test_book_after_the_auction_equals_the_oracle(seed: int) -> None:
    orders = random_orders(seed, 6, 9)
    desk, oracle = collected(orders), Oracle(ORDERS)
    for number, (side, price, size) in enumerate(orders, start=1):
        oracle.apply(Kind.LIMIT, side, price, size, number, number, collecting=True)
    fills, outcome = end(desk, 3), oracle.uncross(3)
    assert trade_list(fills) == [
        (trade.price, trade.size, trade.order_id, trade.agent_id) for trade in outcome.trades
    ]
    for side in Side:
        resting = [(o.price, o.size, o.order_id, o.agent_id) for o in oracle.orders(side)]
        assert desk.orders(side) == resting


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_auction_lowers_for_every_platform(platform: str) -> None:
    step = jax.jit(functools.partial(uncross, max_trades=2))
    exported = jax.export.export(step, platforms=(platform,))(Desk(4).book, jnp.int32(0))
    assert exported.platforms == (platform,)
