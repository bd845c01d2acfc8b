"""The compiled book and market against the release's own code, order by order.

Set JAXMARS_RELEASE to a checkout of microsoft/MarS (commit 77e7845); without it all of this is
skipped. JAXMARS_RELEASE_FLOWS sets how many random flows of each kind are compared.
"""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import release_code
from oracles.book_differential import Mix, drawn_flow
from oracles.release_code import LEVELS, Records, ReleaseBook, Session

from jaxmars.book import (
    Book,
    apply_order,
    float_mid_price,
    init_book,
    l2_snapshot,
    mid_price,
    resting_orders,
    spread,
    uncross,
    weighted_mid_price,
)
from jaxmars.types import Fills, Kind, Order, Side, Status

ORDERS = 3_000  # of a flow
FLOWS = int(os.environ.get("JAXMARS_RELEASE_FLOWS", "1"))
SLOTS, MAX_TRADES = 512, 48
NANO = 10**9
START, END, PRICE = 34_200 * NANO, 34_800 * NANO, 1_000
SEEDS = (0, 1, 2)
AUCTIONS, BEFORE, COLLECTED, CANCELS, AUCTION_SLOTS = 150, 15, 25, 5, 40
MIXES = {
    "deep": Mix({"limit": 62, "partial": 20, "cancel": 26, "sweep": 4}, 25, 2, 500),
    "lively": Mix({"limit": 80, "partial": 12, "cancel": 8}, 6, 5, 300),
    "thin": Mix({"limit": 45, "partial": 5, "cancel": 50}, 8, 2, 300),
}


@pytest.fixture(scope="module")
def release() -> Any:
    return release_code.load()


@pytest.fixture(scope="module")
def session(release: Any) -> Session:
    return release_code.run_session(release, SEEDS, START, END, PRICE, MAX_TRADES)


@functools.cache
def noise_flow(mix_name: str, seed: int = 0) -> np.ndarray:
    """`ORDERS` limit orders and cancels of resting orders, `[ORDERS, 6]`."""
    rows, _ = drawn_flow(seed, MIXES[mix_name], SLOTS, 3 * ORDERS)
    drawn_in_vain = (rows[:, 0] == Kind.CANCEL) & ~np.isin(
        rows[:, 4], rows[rows[:, 0] == Kind.LIMIT, 4]
    )
    rows = rows[~drawn_in_vain][:ORDERS]
    assert len(rows) == ORDERS
    rows[:, 4] = abs(rows[:, 4])  # the release numbers an order anew if its number is negative
    return rows


@functools.cache
def compiled_replay() -> Any:
    """A jitted function of messages `[num, 6]`: records, and the status after the last of them."""

    def step(carry: tuple, row: jax.Array) -> tuple:
        book, last = carry
        order = Order(*row)
        book, fills = apply_order(book, order, max_trades=MAX_TRADES)
        last = jnp.where(fills.filled > 0, fills.last_price, last)
        return (book, last), view(book, order, fills, last)

    def run(rows: jax.Array) -> Any:
        (book, _), seen = jax.lax.scan(step, (init_book(SLOTS), jnp.int32(0)), rows)
        return seen, book.status

    return jax.jit(run)


def view(book: Book, order: Order, fills: Fills, last: jax.Array) -> Records:
    """What the release's record shows, of our book."""
    l2, trades = l2_snapshot(book, LEVELS), fills.trades
    incoming = jnp.where(trades.size > 0, order.order_id, 0)
    cancelled = fills.cancelled > 0
    return Records(
        levels=jnp.stack((l2.price, l2.size), -1),
        trades=jnp.stack((trades.price, trades.size, trades.order_id, incoming), -1),
        cancel=jnp.where(cancelled, jnp.stack((fills.price, fills.cancelled, order.order_id)), 0),
        last_price=last,
        mid=mid_price(l2, last),
        spread=spread(l2),
        float_mid=float_mid_price(l2, last),
        weighted_mid=weighted_mid_price(l2, last),
    )


def replayed(rows: np.ndarray) -> Records:
    """Our records of a flow in which nothing is refused."""
    records, status = jax.tree.map(np.asarray, compiled_replay()(jnp.asarray(rows)))
    assert status == Status.OK
    return records


@pytest.mark.parametrize("seed", range(FLOWS))
@pytest.mark.parametrize("mix_name", MIXES)
def test_book_equals_the_releases_after_every_order(release: Any, mix_name: str, seed: int) -> None:
    rows = noise_flow(mix_name, seed)
    book = ReleaseBook(release)
    theirs = release_code.records_of([book.send(tuple(row)) for row in rows.tolist()], MAX_TRADES)
    difference = release_code.first_difference(replayed(rows), theirs, rows)
    assert difference is None, difference


def test_flows_exercise_the_book() -> None:
    """The comparison means something: sweeps over levels, cancels, full snapshots, empty sides."""
    deep, lively, thin = (replayed(noise_flow(name)) for name in MIXES)
    assert (deep.levels[-1, :, :, 1] > 0).all()
    assert (deep.trades[:, 3, 1] > 0).sum() > 20
    assert (lively.trades[:, :2, 0].min(1) > 0).sum() > 100
    empty = thin.levels[:, :, 0, 1] == 0
    assert empty.all(1).sum() > 20 and (empty.sum(1) == 1).sum() > 100
    assert (deep.cancel[:, 1] > 0).mean() > 0.2


def test_a_difference_is_reported_with_its_order() -> None:
    rows = noise_flow("lively")
    ours = replayed(rows)
    wrong = ours._replace(trades=ours.trades.copy())
    wrong.trades[41, 0, 1] += 1
    report = release_code.first_difference(ours, wrong, rows)
    assert report is not None and report.startswith("order 41:")
    assert "trades" in report and "levels" not in report


def test_book_equals_the_releases_in_a_whole_session(session: Session) -> None:
    difference = release_code.first_difference(
        replayed(session.messages), session.records, session.messages
    )
    assert difference is None, difference


def auction_flow(rng: np.random.Generator, closing: bool) -> tuple[np.ndarray, np.ndarray]:
    """Orders of a session, if there is one before the auction, and orders of the auction.

    Orders of size 0 fill up the shapes; both sides reach over the middle in the auction.
    """
    ids = np.arange(1, BEFORE + COLLECTED + 1)
    side = rng.integers(0, 2, len(ids))
    away = np.where(ids <= BEFORE, rng.integers(1, 6, len(ids)), rng.integers(-5, 4, len(ids)))
    price = PRICE + np.where(side == Side.BUY, -away, away)
    size = rng.integers(1, 9, len(ids)) * rng.choice([1, 100], len(ids))
    agent = rng.integers(0, 3, len(ids))
    rows = np.stack([np.full(len(ids), Kind.LIMIT), side, price, size, ids, agent], 1)
    rows = rows.astype(np.int32)
    if closing:
        return rows[:BEFORE], rows[BEFORE:]
    cancels = rows[rng.permutation(np.arange(BEFORE, len(rows)))[:CANCELS]].copy()
    cancels[:, 0] = Kind.CANCEL
    cancels[:, 3] = np.maximum(1, cancels[:, 3] // rng.integers(1, 3, CANCELS))
    return rows[:0], np.concatenate((rows[BEFORE:], cancels))


@functools.cache
def compiled_auction() -> Any:
    """A jitted function of messages `[auctions, num, 6]`, collected from a given place on."""

    def one(rows: jax.Array, first: jax.Array) -> tuple[Book, Fills]:
        def step(book: Book, item: tuple[jax.Array, jax.Array]) -> tuple[Book, None]:
            row, place = item
            return apply_order(book, Order(*row), collecting=place >= first)[0], None

        book, _ = jax.lax.scan(step, init_book(AUCTION_SLOTS), (rows, jnp.arange(len(rows))))
        return uncross(book, 0, max_trades=AUCTION_SLOTS)

    return jax.jit(jax.vmap(one, (0, None)))


def tied_prices(before: np.ndarray, collected: np.ndarray) -> int:
    """How many prices reach the largest volume that the release's rules allow."""
    left = {m[4]: m for m in np.concatenate((before, collected)).tolist() if m[0] == Kind.LIMIT}
    shares = {order_id: m[3] for order_id, m in left.items()}
    for kind, _, _, size, order_id, _ in collected.tolist():
        shares[order_id] -= size if kind == Kind.CANCEL else 0
    volumes = []
    for price in {left[i][2] for i, size in shares.items() if size}:
        buys = [(left[i][2], size) for i, size in shares.items() if left[i][1] == Side.BUY]
        sells = [(left[i][2], size) for i, size in shares.items() if left[i][1] == Side.SELL]
        above = sum(size for p, size in buys if p > price)
        below = sum(size for p, size in sells if p < price)
        buy = above + sum(size for p, size in buys if p == price)
        sell = below + sum(size for p, size in sells if p == price)
        if buy >= below and above <= sell:
            volumes.append(min(buy, sell))
    return volumes.count(max(volumes, default=0))


@pytest.mark.parametrize("closing", [False, True])
def test_auctions_equal_the_releases(release: Any, closing: bool) -> None:
    """Price, volume, every order's fill and the book left; where several prices have the largest
    volume, which the release leaves to chance, the volume alone."""
    rng = np.random.default_rng(int(closing))
    flows = [auction_flow(rng, closing) for _ in range(AUCTIONS)]
    rows = np.stack([np.concatenate(flow) for flow in flows])
    found = compiled_auction()(jnp.asarray(rows), BEFORE if closing else 0)
    books, fills = jax.tree.map(np.asarray, found)
    assert (books.status == Status.OK).all()
    unique = traded = 0
    for i, (before, collected) in enumerate(flows):
        theirs = release_code.run_auction(
            release, [tuple(m) for m in before.tolist()], [tuple(m) for m in collected.tolist()]
        )
        assert fills.filled[i] == theirs.volume
        traded += theirs.volume > 0
        if tied_prices(before, collected) != 1:
            continue
        unique += 1
        book, trades = jax.tree.map(lambda x, i=i: x[i], (books, fills.trades))
        used = trades.size > 0
        assert fills.price[i] == theirs.price
        pairs = zip(trades.order_id[used].tolist(), trades.size[used].tolist(), strict=True)
        assert dict(pairs) == theirs.matched
        resting = [[order[1:4] for order in resting_orders(book, side)] for side in Side]
        assert resting == theirs.resting
    assert unique > AUCTIONS // 2 and traded > AUCTIONS // 2
