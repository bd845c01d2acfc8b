"""What a model's configuration may ask of its orders: cancels that fit, trades within the queue."""

import jax
import jax.numpy as jnp
import numpy as np
from oracles.tiny_world import PRICE, quick_jit, rows_equal, tiny_converters

from jaxmars.agents.background import fitting_cancel, largest_volumes, within_queue
from jaxmars.agents.base import Ask, make_request
from jaxmars.tokens.order import TYPE_BUY, TYPE_CANCEL, TYPE_SELL
from jaxmars.types import L2, Kind, Side


def test_a_fitting_cancel_goes_where_its_shares_rest() -> None:
    """Nearest first, a fair coin between the sides; what is out of sight is left to the book."""
    rng = np.random.default_rng(8)
    fit = quick_jit(fitting_cancel)
    moved = beyond = 0
    for i in range(300):
        gaps = rng.integers(1, 4, (2, 4)).cumsum(1)
        used = np.arange(4) < rng.integers(0, 5, (2, 1))
        price = np.where(used, [PRICE - gaps[0], PRICE + gaps[1]], 0)
        size = np.where(used, 100 * rng.integers(1, 6, (2, 4)), 0)
        asked, shares = PRICE + int(rng.integers(-14, 15)), 100 * int(rng.integers(1, 8))
        l2 = L2(jnp.asarray(price, jnp.int32), jnp.asarray(size, jnp.int32))
        found = fit(make_request(Kind.CANCEL, 0, asked, shares), l2, jax.random.key(i))
        seen = price[used].tolist()
        inside = bool(seen) and min(seen) <= asked <= max(seen)
        enough = price[used & (size >= shares)].tolist()
        nearest = min((abs(at - asked) for at in enough), default=None)
        if inside and nearest is not None:
            assert int(found.price) in [at for at in enough if abs(at - asked) == nearest]
            moved += int(found.price) != asked
        else:
            assert int(found.price) == asked
        assert int(found.kind) == (Kind.CANCEL if inside else Ask.CANCEL_FITTING)
        beyond += not inside
        other = make_request(Kind.LIMIT, 1, asked, shares)
        assert rows_equal(fit(other, l2, jax.random.key(i)), other)
    assert moved > 30 and beyond > 30


def test_a_tie_between_the_sides_is_decided_by_a_fair_coin() -> None:
    l2 = L2(jnp.array([[99], [101]], jnp.int32), jnp.array([[500], [500]], jnp.int32))
    keys = jax.random.split(jax.random.key(1), 400)
    request = make_request(Kind.CANCEL, 0, 100, 300)
    found = jax.vmap(lambda key: fitting_cancel(request, l2, key).price)(keys)
    assert set(found.tolist()) == {99, 101}
    assert abs((np.asarray(found) == 99).mean() - 0.5) < 4 * 0.5 / 400**0.5


def test_an_order_that_trades_stays_within_the_best_queue() -> None:
    """Its size when it is sent; its volume slot when it is planned, for every type and price."""
    rng = np.random.default_rng(3)
    within, limits = quick_jit(within_queue), quick_jit(largest_volumes)
    converters = tiny_converters()
    tables, sizes = converters.tables(), converters.pred_order_volume
    cut = limited = 0
    for _ in range(200):
        gaps, size = rng.integers(1, 4, (2, 3)).cumsum(1), 100 * rng.integers(1, 6, (2, 3))
        used = np.arange(3) < rng.integers(0, 4, (2, 1))
        price = np.where(used, [PRICE - gaps[0], PRICE + gaps[1]], 0)
        l2 = L2(*(jnp.asarray(np.where(used, x, 0), jnp.int32) for x in (price, size)))
        resting = [
            dict(zip(p[u].tolist(), s[u].tolist(), strict=True))
            for p, u, s in zip(price, used, size, strict=True)
        ]

        def queue(side: int, at: int, resting: list[dict] = resting) -> int | None:
            """What rests at the best price that an order of `side` at a price meets."""
            best = (min if side == Side.BUY else max)(resting[1 - side], default=None)
            meets = best is not None and (at >= best if side == Side.BUY else at <= best)
            return resting[1 - side][best] if meets else None

        side, shares = int(rng.integers(2)), 100 * int(rng.integers(1, 8))
        at, kind = PRICE + int(rng.integers(-9, 10)), rng.choice([Kind.CANCEL, Kind.LIMIT])
        most = queue(side, at) if kind == Kind.LIMIT else None
        request = make_request(kind, side, at, shares)
        expected = request._replace(size=jnp.int32(shares if most is None else min(shares, most)))
        assert rows_equal(within(request, l2), expected)
        cut += int(expected.size) < shares
        found = np.asarray(limits(tables, l2, jnp.int32(PRICE)))
        assert (found[TYPE_CANCEL] == sizes.num_bins - 1).all()
        for kind, side in ((TYPE_BUY, Side.BUY), (TYPE_SELL, Side.SELL)):
            for slot, values in enumerate(converters.price_level.values):
                rests = {queue(side, PRICE + int(value)) for value in values}
                rest = rests.pop()
                last = sizes.num_bins - 1 if rests or rest is None else sizes.encode(np.array(rest))
                assert found[kind, slot] == last
                limited += last < sizes.num_bins - 1
    assert cut > 20 and limited > 200
