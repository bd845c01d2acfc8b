"""Raw quantities of a flow against the oracle, bins fitted to them, and domains by hand."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import order_state as oracle
from oracles.tiny_world import quick_jit, replay, tiny_converters, wild_orders

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.tokens.domain import QUANTILES, Domain, departures, flow_domain
from jaxmars.tokens.quantities import Quantities, fit_converters, quantities
from jaxmars.types import L2, Event, Order, Time

LENGTH = 400
NANO = 10**9
OPEN = 34_200 * NANO
BINS = oracle.Bins([-1, 1], [0, 1], [0, 1], [0, 1])


@quick_jit
def flow_quantities(times: Time, orders: Order) -> tuple[Event, L2, Quantities]:
    events, snapshots = replay(24, times, orders)
    return events, snapshots, quantities(MarketConfig(), events, snapshots)


@pytest.fixture(scope="module")
def flow() -> tuple[Event, L2, Quantities]:
    found = flow_quantities(*wild_orders(np.random.default_rng(8), LENGTH, OPEN))
    return jax.tree.map(np.asarray, found)


def test_quantities_are_those_of_the_oracle(flow: tuple[Event, L2, Quantities]) -> None:
    events, snapshots, found = flow
    state = oracle.OrderState(BINS)
    steps = oracle.push_all(state, oracle.records_of(events, snapshots))
    assert sum(action == oracle.REPLACE for action, _ in steps) > 5
    keep = np.asarray(found.final)
    interval = np.asarray(found.interval, np.int64) @ [NANO, 1]
    columns = (found.offset, found.size, interval, found.lob)
    rows = zip(*(np.asarray(x)[keep].tolist() for x in columns), strict=True)
    assert list(rows) == state.raw


def test_fitted_bins_split_the_flow_evenly(flow: tuple[Event, L2, Quantities]) -> None:
    """Where values hardly tie, every bin of intervals holds as many; both volumes share bins."""
    _, _, found = flow
    cfg = OrderModelConfig.tiny()
    fitted = fit_converters(found, cfg)
    assert tuple(bins.num_bins for bins in fitted) == (8, 8, 8, 4, 8)
    assert fitted.order_volume is fitted.pred_order_volume
    keep = np.asarray(found.final)
    seconds = (np.asarray(found.interval)[keep] @ [1.0, 1e-9]).round(6)
    counts = np.bincount(fitted.order_interval.encode(seconds), minlength=4)
    assert counts[1:].max() - counts[1:].min() <= 1
    assert fitted.lob_volume.edges[0] > 0  # empty ticks are no volume


def test_a_flow_without_variety_cannot_be_binned(flow: tuple[Event, L2, Quantities]) -> None:
    _, _, found = flow
    same = found._replace(size=np.full_like(found.size, 100))
    with pytest.raises(InputError, match="more distinct values or fewer bins"):
        fit_converters(same, OrderModelConfig.tiny())


def hand_flow() -> tuple[L2, Quantities]:
    """Five orders, of which the last is not final; one book has one side only."""
    price = jnp.array([[[99], [100]], [[99], [101]], [[98], [101]], [[99], [0]], [[1], [500]]])
    size = jnp.where(price > 0, 100, 0)
    found = Quantities(
        offset=jnp.array([-4, 0, 4, 5, 9]),
        size=jnp.array([100, 200, 300, 800, 9_999]),
        interval=jnp.array([[0, 0], [0, NANO // 2], [1, 0], [1, NANO // 2], [9, 0]]),
        lob=jnp.zeros((5, 10), jnp.int32),
        final=jnp.array([True, True, True, True, False]),
    )
    return L2(price, size), found


def test_domain_by_hand() -> None:
    """Outside the bins are the offset at the first edge and the one past the last."""
    snapshots, found = hand_flow()
    domain = flow_domain(tiny_converters(), snapshots, found)
    assert domain.end_bins == 2 / 4
    assert domain.spread == pytest.approx(np.quantile([1, 2, 3], QUANTILES))
    assert domain.size == pytest.approx(np.quantile([100, 200, 300, 800], QUANTILES))


def test_domain_of_books_without_two_sides_has_no_spread() -> None:
    snapshots, found = hand_flow()
    one_sided = snapshots._replace(size=snapshots.size * jnp.array([1, 0])[None, :, None])
    assert flow_domain(tiny_converters(), one_sided, found).spread == ()


TRAINED = Domain(0.04, (1.0, 1.0, 1.0, 2.0, 4.0), (100.0, 100.0, 300.0, 500.0, 2_000.0))
CASES = types.MappingProxyType(
    {
        "same": (TRAINED, []),
        "some more outside": (TRAINED._replace(end_bins=0.11), []),
        "outside": (TRAINED._replace(end_bins=0.13), ["13% of its orders lie outside the bins"]),
        "wide": (
            TRAINED._replace(spread=(1.0, 3.0, 4.5, 6.0, 9.0)),
            ["median spread is 4.5 ticks"],
        ),
        "small": (TRAINED._replace(size=(1.0, 10.0, 50.0, 60.0, 90.0)), ["size is 50 shares"]),
        "no spread": (TRAINED._replace(spread=()), []),
    }
)


@pytest.mark.parametrize("case", CASES)
def test_departures(case: str) -> None:
    start, expected = CASES[case]
    found = departures(TRAINED, start)
    assert len(found) == len(expected)
    for sentence, part in zip(found, expected, strict=True):
        assert part in sentence


def test_a_small_share_outside_is_no_departure() -> None:
    """Three times next to nothing is still next to nothing."""
    calm = TRAINED._replace(end_bins=0.001)
    assert departures(calm, calm._replace(end_bins=0.049)) == []
