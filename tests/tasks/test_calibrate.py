"""Calibration of the Cont-Stoikov-Talreja book: known rates come back, and counts are exact."""

import collections
import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.forecast_world import write_day
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.poisson_book import PoissonBookParams, poisson_book_agent
from jaxmars.book import init_book
from jaxmars.config import MarketConfig
from jaxmars.data import Flow, lobster_flow, read_lobster, slice_flow
from jaxmars.errors import InputError
from jaxmars.sim import init_market, record
from jaxmars.tasks.calibrate import fit_poisson_book
from jaxmars.types import Kind, Side

RATES = PoissonBookParams(
    limit_rate=jnp.array([0.9, 0.7, 0.5, 0.3, 0.0, 0.4]),
    trade_rate=0.6,
    cancel_rate=jnp.array([0.8, 0.4, 0.3, 0.2, 0.15, 0.1]),
    unit=40,
    price=1_000,
)
DISTANCES = len(RATES.limit_rate)
LANES, EVENTS = 8, 1_500
CFG = MarketConfig(slots=64, levels=8)
AGENT = poisson_book_agent()


@functools.cache
def simulated() -> list[Flow]:
    """Markets of known rates, with their books."""

    def run(key: jax.Array) -> Flow:
        end = clock.make_time(86_000)
        start = (init_book(CFG.slots), clock.make_time(0), end, jnp.int32(0), (None,))
        market = init_market(key, (RATES,), *start, agents=(AGENT,), cfg=CFG)
        options = {"agents": (AGENT,), "cfg": CFG, "num_events": EVENTS}
        return Flow(*record(key, market, (RATES,), **options)[1])

    flows = jax.device_get(quick_jit(jax.vmap(run))(jax.random.split(jax.random.key(1), LANES)))
    return [jax.tree.map(lambda x, i=i: x[i], flows) for i in range(LANES)]


def test_known_rates_come_back() -> None:
    """Within five standard errors of a Poisson count, in the mean of all markets."""
    found = [fit_poisson_book(flow) for flow in simulated()]
    limit = np.mean([f.limit_rate for f in found], 0)
    trade = np.mean([float(f.trade_rate) for f in found])
    cancel = np.mean([f.cancel_rate for f in found], 0)
    time = [f.event.time.sec[-1] - f.event.time.sec[0] for f in simulated()]
    exposure = 2 * np.sum(time)
    near = lambda x, y, events: abs(x - y) < 5 * y / max(events, 1) ** 0.5 + 1e-9
    assert {int(f.unit) for f in found} == {40}
    assert limit.shape == (DISTANCES,) and limit[4] == 0
    for rate, known in zip(limit, RATES.limit_rate, strict=True):
        assert near(rate, float(known), float(known) * exposure)
    assert near(trade, 0.6, 0.6 * exposure)
    gone = _cancels(simulated())
    assert min(gone) > 100, "every distance counts"
    for rate, known, events in zip(cancel, RATES.cancel_rate, gone, strict=True):
        assert near(rate, float(known), events)


def _cancels(flows: list[Flow]) -> np.ndarray:
    """Cancels at each distance, the last one or farther, `[DISTANCES]`."""
    count = np.zeros(DISTANCES)
    for flow in flows:
        side, price = flow.event.side[1:], flow.event.price[1:]
        opposite = flow.l2.price[np.arange(len(side)), 1 - side, 0]
        distance = np.minimum(np.abs(opposite - price), DISTANCES)
        cancels = (flow.event.kind[1:] == Kind.CANCEL) & (opposite > 0)
        count += np.bincount(distance[cancels], minlength=DISTANCES + 1)[1:]
    return count


def _distance(flow: Flow, row: int) -> int:
    """Ticks of an order from the opposite best price before it; 0 without one."""
    side, price = int(flow.event.side[row]), int(flow.event.price[row])
    opposite = int(flow.l2.price[row - 1, 1 - side, 0])
    return max(opposite - price if side == Side.BUY else price - opposite, 0) if opposite else 0


Counts = functools.partial(collections.defaultdict, float)


@dataclasses.dataclass
class Counted:
    """What a loop over a flow finds."""

    seconds: float
    arrived: dict[int, float] = dataclasses.field(default_factory=Counts)
    gone: dict[int, float] = dataclasses.field(default_factory=Counts)
    volume: dict[int, float] = dataclasses.field(default_factory=Counts)  # shares x seconds
    shown: dict[int, float] = dataclasses.field(default_factory=Counts)  # seconds
    limit_sizes: list[int] = dataclasses.field(default_factory=list)
    cancel_sizes: list[int] = dataclasses.field(default_factory=list)
    traded: list[int] = dataclasses.field(default_factory=list)


def counted(flow: Flow, farthest: int) -> Counted:
    """The same counts, one order and one level at a time."""
    event, now = flow.event, np.asarray(flow.event.time.sec) + flow.event.time.nsec * 1e-9
    found = Counted(float(now[-1] - now[0]))
    for row in range(1, len(now)):
        distance = _distance(flow, row)
        if event.filled[row]:
            found.traded.append(int(event.filled[row]))
        elif event.kind[row] == Kind.LIMIT and distance:
            found.arrived[distance] += 1
            found.limit_sizes.append(int(event.size[row]))
        elif event.kind[row] == Kind.CANCEL and distance:
            found.gone[distance] += 1
            found.cancel_sizes.append(int(event.size[row]))
        lasted = now[row] - now[row - 1]
        for side in Side:
            opposite = int(flow.l2.price[row - 1, 1 - side, 0])
            levels = zip(flow.l2.price[row - 1, side], flow.l2.size[row - 1, side], strict=True)
            far = [abs(int(price) - opposite) for price, size in levels if size]
            reach = farthest if len(far) < flow.l2.price.shape[2] else far[-1]
            for distance in range(1, min(reach, farthest) + 1 if opposite else 1):
                found.shown[distance] += lasted
            sizes = flow.l2.size[row - 1, side]
            for distance, size in zip(far, sizes, strict=False):
                found.volume[distance] += float(size * lasted) if opposite else 0.0
    return found


def test_rates_are_counts_over_exposure(tmp_path: pathlib.Path) -> None:
    """Against loops, on a day whose window hides distant prices at times."""
    flow = lobster_flow(read_lobster(*write_day(tmp_path)))
    flow = slice_flow(flow, 40, len(flow.event.kind))
    rates = fit_poisson_book(flow)
    num = len(rates.limit_rate)
    found = counted(flow, 60)
    unit = round(np.mean(found.limit_sizes))
    assert int(rates.unit) == unit
    last = [d for d in range(1, 60) if found.shown[d] >= 0.05 * 2 * found.seconds]
    assert num == min(last[-1], max(found.arrived)) > 5
    traded = len(found.traded) * np.mean(found.traded) / unit
    assert rates.trade_rate == pytest.approx(traded / (2 * found.seconds), rel=1e-5)
    scale = float(np.mean(found.cancel_sizes)) / unit
    beyond = range(num, 200)
    for place in range(num):
        distance = place + 1
        here = beyond if distance == num else [distance]
        volume = sum(found.volume[d] for d in here) / unit
        gone = sum(found.gone[d] for d in here) * scale
        assert rates.limit_rate[place] == pytest.approx(
            found.arrived[distance] / found.shown[distance], rel=1e-5
        )
        if volume:
            assert rates.cancel_rate[place] == pytest.approx(gone / volume, rel=1e-5)


def test_a_flow_without_limit_orders_is_refused() -> None:
    with pytest.raises(InputError, match="0 limit orders in 0 seconds"):
        fit_poisson_book(slice_flow(simulated()[0], 0, 1))
