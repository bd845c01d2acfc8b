"""Whether two ways of running a model give the same trajectories: two-sample tests with power.

Every variant runs its own trajectories from the same starts, with a seed of its own, so samples are
independent. Each trajectory is reduced to a few numbers; for each of them the distributions under
the reference and under a variant are compared by Kolmogorov and Smirnov's distance. Trajectories of
one start have more in common than others, so values are taken relative to mean and standard
deviation of their start over both samples, and labels are permuted within starts only: exact under
the null hypothesis, and the differences between starts do not drown those between variants. How
large a difference the test would have found is simulated on the same values.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxmars.agents.policy import ContextPolicy
from jaxmars.book import with_slots
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.data.start import StartPoint, event_mid
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished, Pace, Start, run_lanes
from jaxmars.tasks.forecast import crowd
from jaxmars.tokens.window import history_of
from jaxmars.types import Kind, Side

STATISTICS = {
    "log_return": "bp",
    "abs_return": "bp",
    "spread": "ticks",
    "volume": "shares",
    "orders": "",
    "sign_balance": "",
}  # name -> unit
BASIS_POINT = 1e-4
LEVEL = 0.05  # of a family of tests, one per statistic
POWER = 0.8  # with which a shift should be found
PERMUTATIONS = 4999
SPLITS = 400  # random halves per shift
SHIFTS = np.arange(0.0, 3.01, 0.05)  # tried, in standard deviations
TRAJECTORY, START = "trajectory", "start"


class Variant(NamedTuple):
    """A way of running trajectories."""

    name: str
    run: Callable[[np.ndarray], Iterable[Finished]]
    """Numbers of trajectories `[n]` -> those trajectories, finished, in any order. What a
    trajectory does may depend on its number only."""
    identity: dict[str, Any]  # JSON: everything that decides what `run` gives


class Pair(NamedTuple):
    """Two samples of one statistic."""

    values: np.ndarray  # [n] float64, finite
    second: np.ndarray  # [n] bool, of the second sample
    block: np.ndarray  # [n] int, values of one block are exchangeable


class Tested(NamedTuple):
    """What a permutation test found."""

    distance: float  # Kolmogorov and Smirnov's, in [0, 1]
    p: float
    null: np.ndarray  # [permutations] distances under the null hypothesis


def start_states(
    starts: Sequence[StartPoint], model: OrderModel, market: MarketConfig, seconds: int
) -> Start:
    """Starts with what the model knows at each, `[starts]`.

    Args:
      starts: recorded flows, as long as each other.
      model: with converters.
      market: the instrument.
      seconds: horizon.

    Raises:
      InputError: a start with fewer orders before it than the model's window.
    """
    window = model.config.num_max_orders
    build = functools.partial(history_of, model.tables(), market, window)
    stack = lambda *x: jnp.stack([jnp.asarray(part) for part in x])
    parts = [(*start.flow, start.open_time, start.open_price, start.memory) for start in starts]
    histories = jax.jit(jax.vmap(build))(*jax.tree.map(stack, *parts))
    fewest = int(histories.window.count.min())
    if fewest < window:
        raise InputError(
            f"a start has {fewest} orders before it (cancels at one price and time count once), "
            f"expected at least {window}, the window of this model"
        )
    times = jax.tree.map(stack, *[start.time for start in starts])
    books = [with_slots(start.book, market.slots) for start in starts]
    return Start(
        book=jax.tree.map(stack, *books),
        time=times,
        end=times._replace(sec=times.sec + seconds),
        last_price=stack(*[start.last_price for start in starts]),
        memories=(histories,),
    )


def policy_variant(
    name: str,
    model: OrderModel,
    policy: ContextPolicy,
    starts: Start,
    *,
    seed: int,
    cfg: SimConfig,
    identity: dict[str, Any],
    temperature: float = 1.0,
    watch: Callable[[Pace], None] = lambda pace: None,
) -> Variant:
    """A model under a context policy; trajectory i begins from start i modulo their number.

    Args:
      name: of the variant.
      model: with converters.
      policy: how much of the past the model reads.
      starts: of `start_states`.
      seed: of all draws.
      cfg: lanes, event budget, instrument; the segment is that of the policy.
      identity: JSON; of model and starts.
      temperature: of the model's softmax.
      watch: called after every segment.
    """
    cfg = dataclasses.replace(cfg, segment=policy.segment)
    agent, params = crowd(model, policy, cfg.market, temperature)
    count = len(starts.last_price)

    def run(numbers: np.ndarray) -> Iterable[Finished]:
        of = (numbers % count).astype(np.int32)
        return run_lanes(
            seed, numbers, of, starts, (params,), agents=(agent,), cfg=cfg, watch=watch
        )

    whole = identity | {
        "seed": seed,
        "temperature": temperature,
        "segment": cfg.segment,
        "slots": cfg.market.slots,
        "max_events": cfg.max_events,
        "seconds": [int(x) for x in np.asarray(starts.end.sec - starts.time.sec)],
    }
    return Variant(name, run, whole)


def trajectory_row(finished: Finished, start: int, start_mid: float) -> dict[str, float]:
    """A trajectory in numbers.

    Args:
      finished: the trajectory, up to its horizon.
      start: which start it began from.
      start_mid: mid there, ticks.

    Returns:
      Its number and start; log return of the mid to the horizon and its absolute value, basis
      points; mean spread after its orders, ticks (nan without one); shares traded; orders; buys
      less sells over both, among orders that are no cancels (0 without one).
    """
    event = finished.events
    real = np.asarray(event.kind) != Kind.NONE
    event = event._replace(**{x: np.asarray(getattr(event, x))[real] for x in _COLUMNS})
    mid = event_mid(event)
    both = (event.best_bid > 0) & (event.best_ask > 0)
    move = math.log(mid[-1] / start_mid) / BASIS_POINT if len(mid) else 0.0
    placed = event.kind != Kind.CANCEL
    buys, sells = (int((placed & (event.side == side)).sum()) for side in (Side.BUY, Side.SELL))
    spread = (event.best_ask - event.best_bid)[both]
    return {
        TRAJECTORY: finished.number,
        START: start,
        "log_return": move,
        "abs_return": abs(move),
        "spread": float(spread.mean()) if len(spread) else math.nan,
        "volume": float(np.asarray(event.filled, np.int64).sum()),
        "orders": float(real.sum()),
        "sign_balance": (buys - sells) / max(buys + sells, 1),
    }


_COLUMNS = ("kind", "side", "filled", "best_bid", "best_ask", "last_price")


def pair_of(reference: pd.DataFrame, other: pd.DataFrame, statistic: str) -> Pair:
    """One statistic of two samples; values that are not finite are left out."""
    both = pd.concat([reference, other])
    values = both[statistic].to_numpy(float)
    second = np.arange(len(both)) >= len(reference)
    known = np.isfinite(values)
    return Pair(values[known], second[known], both[START].to_numpy()[known])


def ks_distance(values: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Largest distance between the empirical distributions of two samples, `[...]`.

    Args:
      values: `[..., n]`.
      second: `[..., n]` bool, which of them are of the second sample; as many in every row.
    """
    values, second = np.broadcast_arrays(values, second)
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, -1)
    number = second.sum(-1, keepdims=True)
    rest = second.shape[-1] - number
    steps = np.where(np.take_along_axis(second, order, -1), rest, -number)
    last = np.ones(values.shape, bool)  # of equal values
    last[..., :-1] = ordered[..., 1:] != ordered[..., :-1]
    return (np.abs(steps.cumsum(-1)) * last).max(-1) / (number * rest)[..., 0]


def standardised(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Values `[..., n]` less the mean of their block `[n]`, over its standard deviation; zero in a
    block without any."""
    _, of = np.unique(block, return_inverse=True)
    member = np.eye(of.max() + 1)[of]
    size = member.sum(0)
    rest = values - (values @ member / size) @ member.T
    scale = np.sqrt((rest**2) @ member / np.maximum(size - 1, 1)) @ member.T
    return np.divide(rest, scale, out=np.zeros_like(rest), where=scale > 0)


def shuffled(
    second: np.ndarray, block: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """`count` permutations of the labels `[n]` within their blocks, `[count, n]` bool."""
    _, of = np.unique(block, return_inverse=True)
    order = np.argsort(of + rng.random((count, len(of))), axis=-1)
    found = np.empty((count, len(of)), bool)
    np.put_along_axis(found, order, second[np.argsort(of, kind="stable")][None], -1)
    return found


def permutation_test(
    pair: Pair, rng: np.random.Generator, permutations: int = PERMUTATIONS
) -> Tested:
    """Kolmogorov and Smirnov's distance of two samples, and how often chance gives as much.

    Args:
      pair: the samples.
      rng: source of the permutations.
      permutations: of the labels within blocks.
    """
    values = standardised(pair.values, pair.block)
    found = float(ks_distance(values, pair.second))
    null = ks_distance(values, shuffled(pair.second, pair.block, permutations, rng))
    return Tested(found, float((1 + (null >= found).sum()) / (1 + permutations)), null)


def power_at(pair: Pair, shift: float, critical: float, labels: np.ndarray) -> float:
    """Share of random splits of the pooled values in which a shift is found.

    Args:
      pair: the samples, which are pooled.
      shift: added to the second part of a split, in standard deviations of its start.
      critical: distance above which the test rejects.
      labels: `[splits, n]` bool, the second part of every split.
    """
    values = standardised(pair.values, pair.block) + shift * labels
    found = ks_distance(standardised(values, pair.block), labels)
    return float((found > critical).mean())


def critical_distance(null: np.ndarray, level: float) -> float:
    """The smallest distance that chance exceeds with a probability of at most `level`."""
    return float(np.quantile(null, 1 - level, method="higher"))


def detectable_shift(
    pair: Pair,
    null: np.ndarray,
    level: float,
    rng: np.random.Generator,
    splits: int = SPLITS,
) -> float:
    """The smallest shift that the test finds with probability `POWER`, by simulation.

    Args:
      pair: the samples.
      null: distances under the null hypothesis.
      level: of one test.
      rng: source of the splits.
      splits: of the pooled values, for every shift that is tried.

    Returns:
      In standard deviations of a start; infinite if it exceeds all that are tried.
    """
    if not standardised(pair.values, pair.block).any():
        return math.inf
    critical = critical_distance(null, level)
    labels = shuffled(pair.second, pair.block, splits, rng)
    before = 0.0
    for last, shift in itertools.pairwise(SHIFTS):
        power = power_at(pair, shift, critical, labels)
        if power >= POWER:
            return float(last + (shift - last) * (POWER - before) / (power - before))
        before = power
    return math.inf


def holm(p: np.ndarray) -> np.ndarray:
    """P-values `[m]` corrected for their number (Holm 1979): at most a share of LEVEL of families
    without any difference have one below LEVEL."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def compare_samples(
    samples: dict[str, pd.DataFrame],
    seed: int,
    watch: Callable[[int, int], object] = lambda done, wanted: None,
) -> pd.DataFrame:
    """Every variant beside the first one.

    Args:
      samples: rows of `trajectory_row` by the name of the variant; the first is the reference.
      seed: of permutations and splits.
      watch: called after every variant with what is done and wanted.

    Returns:
      One row per variant and statistic: means of both; difference and its standard error, in
      standard deviations of a start; ks; p; p_holm, over the statistics of one variant;
      detectable, the shift that would have been found with probability `POWER` even as the only
      one, in the same unit; differs, whether p_holm is below `LEVEL`.
    """
    rng = np.random.default_rng(seed)
    (_, reference), *others = samples.items()
    rows = []
    for done, (name, other) in enumerate(others, 1):
        pairs = {x: pair_of(reference, other, x) for x in STATISTICS}
        tested = {x: permutation_test(pair, rng) for x, pair in pairs.items()}
        corrected = holm(np.array([found.p for found in tested.values()]))
        for (statistic, pair), p_holm in zip(pairs.items(), corrected, strict=True):
            found = tested[statistic]
            shift = detectable_shift(pair, found.null, LEVEL / len(STATISTICS), rng)
            rows.append(
                {"variant": name, "statistic": statistic}
                | _difference(pair)
                | {"ks": found.distance, "p": found.p, "p_holm": float(p_holm)}
                | {"detectable": shift, "differs": bool(p_holm < LEVEL)}
            )
        watch(done, len(others))
    return pd.DataFrame(rows)


def _difference(pair: Pair) -> dict[str, float]:
    """Means of both samples, and their difference in standard deviations of a start."""
    sides = [~pair.second, pair.second]
    values = standardised(pair.values, pair.block)
    first, second = (float(values[side].mean()) for side in sides)
    rest = values - np.where(pair.second, second, first)
    spare = len(rest) - len(np.unique(pair.block)) - 1
    within = (rest**2).sum() / spare if spare > 0 else math.nan
    return {
        "reference_mean": float(pair.values[sides[0]].mean()),
        "mean": float(pair.values[sides[1]].mean()),
        "difference": second - first,
        "difference_error": math.sqrt(within * sum(1 / side.sum() for side in sides)),
    }
