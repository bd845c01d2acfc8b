"""LOB-Bench: how far generated sequences of messages and books are from real ones.

The benchmark is that of Nagy et al., arXiv 2502.09172. Beside every number stands its noise floor:
the same number for random halves of the real sequences against each other. A generator cannot be
told from the market where its number is not above the floor. Halves are smaller than the whole, so
the floor is a little too high rather than too low.
"""

import pathlib
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import NamedTuple

import numpy as np
import pandas as pd

from jaxmars.errors import InputError
from jaxmars.tasks.lob_bench_data import (
    Progress,
    Sequence,
    check_lengths,
    check_sequences,
    common_levels,
    with_levels,
)
from jaxmars.tasks.lob_bench_discriminator import Discrimination, changes, discriminate
from jaxmars.tasks.lob_bench_distances import (
    Averages,
    Distances,
    Interval,
    averages,
    interval,
    iqm,
)
from jaxmars.tasks.lob_bench_divergence import Divergence, Halves, follow_divergence
from jaxmars.tasks.lob_bench_impact import Impact, Moves, difference, impact, mean_difference, moves
from jaxmars.tasks.lob_bench_impact import responses as mean_responses
from jaxmars.tasks.lob_bench_scores import (
    SCORES,
    UNCONDITIONAL,
    Observations,
    Score,
    distances,
    observe,
    pooled,
)

HALVINGS = 10  # random pairs of halves of the real sequences
SEEDS = 3  # networks of the discriminator
AVERAGES = Averages._fields


class ScoreResult(NamedTuple):
    """One score of the generated sequences."""

    name: str
    l1: Interval  # total variation, 0 to 1
    wasserstein: Interval  # in pooled standard deviations
    floor_l1: np.ndarray  # [halvings] float64
    floor_wasserstein: np.ndarray  # [halvings] float64
    conditioning_l1: float  # of the conditioning sequences; nan without them
    conditioning_wasserstein: float


class Size(NamedTuple):
    """How much was compared."""

    sequences: int
    messages: int


class LobBenchResult(NamedTuple):
    """Everything the benchmark found."""

    scores: list[ScoreResult]
    l1: Averages  # over the unconditional scores that have a floor, as those of the floor
    wasserstein: Averages
    floor_l1: np.ndarray  # [halvings, 3] float64, averages over scores: mean, median, IQM
    floor_wasserstein: np.ndarray  # [halvings, 3] float64
    divergence: Divergence
    impact: Impact
    floor_impact: np.ndarray  # [halvings] float64, ticks
    discriminator: Discrimination
    floor_discriminator: Discrimination  # one pair of halves per seed
    real: Size
    generated: Size
    levels: int  # of the book that were compared
    seed: int

    def table(self) -> pd.DataFrame:
        """Scores and, last, their averages: distances, 99 % intervals, noise floors.

        Columns: score; then for each of l1 and wasserstein the value, low, high, floor (mean over
        halvings), floor_high (the largest of them) and that of the conditioning data.
        """
        rows = [
            {"score": score.name}
            | _columns("l1", score.l1, score.floor_l1, score.conditioning_l1)
            | _columns(
                "wasserstein",
                score.wasserstein,
                score.floor_wasserstein,
                score.conditioning_wasserstein,
            )
            for score in self.scores
        ]
        known = self.scores[: len(UNCONDITIONAL)]
        past_l1 = _past_averages([(s.l1, s.floor_l1, s.conditioning_l1) for s in known])
        past_wasserstein = _past_averages(
            [(s.wasserstein, s.floor_wasserstein, s.conditioning_wasserstein) for s in known]
        )
        rows += [
            {"score": name}
            | _columns("l1", self.l1[number], self.floor_l1[:, number], past_l1[number])
            | _columns(
                "wasserstein",
                self.wasserstein[number],
                self.floor_wasserstein[:, number],
                past_wasserstein[number],
            )
            for number, name in enumerate(AVERAGES)
        ]
        return pd.DataFrame(rows)

    def plot(self, path: pathlib.Path) -> None:
        """Writes the chart of all scores with their noise floors as PNG."""
        from jaxmars.tasks.lob_bench_figure import draw_scores

        draw_scores(path, self)


def lob_bench(
    real: Ordered[Sequence],
    generated: Ordered[Sequence],
    conditioning: Ordered[Sequence] = (),
    *,
    seed: int = 0,
    seeds: int = SEEDS,
    progress: Progress = lambda done, wanted, text: None,
) -> LobBenchResult:
    """Runs the whole benchmark.

    Args:
      real: sequences of the market.
      generated: sequences of a generator, in any number; prices in ticks of the same size.
      conditioning: what the generator was shown, if anything. It is compared with the real
        sequences as if it were generated: what repeating the past would score.
      seed: of resamples, halves, splits and networks.
      seeds: networks of the discriminator, each with its own split.
      progress: told of every step.

    Returns:
      The result. Books are compared on the levels that all sequences have, at most 10; sequences
      with more are cut to what LOBSTER records with fewer. Averages, also those of the floor, are
      over the unconditional scores with a value and a floor: halves may lack what is rare.

    Raises:
      InputError: fewer than 4 sequences of a kind, one of fewer than 102 messages on the levels
        compared, or other ticks.
    """
    levels, (real, generated, conditioning) = _comparable(real, generated, conditioning)
    steps = len(SCORES) + len(UNCONDITIONAL) + 3
    done = 0

    def step(text: str) -> None:
        nonlocal done
        done += 1
        progress(done, steps, text)

    rng = np.random.default_rng(seed)
    halves = _halves(len(real), rng)
    scores, drawn = [], []
    for score in SCORES:
        found = [[observe(score, s) for s in x] for x in (real, generated, conditioning)]
        row, draws = _score(score, found, halves, rng)
        scores.append(row)
        drawn += [draws] if score in UNCONDITIONAL else []
        step(score.name)
    drawn_l1, drawn_wasserstein = (np.stack(x) for x in zip(*drawn, strict=True))
    divergence = follow_divergence(real, generated, halves, step)
    real_moves, generated_moves = moves(real), moves(generated)
    step("responses of the mid")
    told, floor_told = _discriminate(real, generated, seed, seeds, step)
    averaged = scores[: len(UNCONDITIONAL)]
    l1, floor_l1 = _averages(drawn_l1, [s.floor_l1 for s in averaged], rng)
    wasserstein, floor_wasserstein = _averages(
        drawn_wasserstein, [s.floor_wasserstein for s in averaged], rng
    )
    return LobBenchResult(
        scores=scores,
        l1=l1,
        wasserstein=wasserstein,
        floor_l1=floor_l1,
        floor_wasserstein=floor_wasserstein,
        divergence=divergence,
        impact=impact(real_moves, generated_moves, rng),
        floor_impact=_impact_floor(real_moves, halves),
        discriminator=told,
        floor_discriminator=floor_told,
        real=_size(real),
        generated=_size(generated),
        levels=levels,
        seed=seed,
    )


def _comparable(
    real: Ordered[Sequence], generated: Ordered[Sequence], conditioning: Ordered[Sequence]
) -> tuple[int, list[list[Sequence]]]:
    """Common levels and the three sets cut to them, after refusing what cannot be compared."""
    if not real:
        raise InputError("there are no real sequences, expected some to compare with")
    tick = real[0].tick
    sets = {"real": real, "generated": generated, "conditioning": conditioning}
    for name, sequences in sets.items():
        if name != "conditioning" or sequences:
            check_sequences(sequences, name, tick)
    levels = common_levels([x for x in sets.values() if x])
    cut = {name: with_levels(sequences, levels) for name, sequences in sets.items()}
    where = f" on {levels} level{'s' if levels > 1 else ''}, as many as all books have"
    for name, sequences in cut.items():
        check_lengths(sequences, name, where)
    return levels, list(cut.values())


def _halves(sequences: int, rng: np.random.Generator) -> list[Halves]:
    """Random pairs of halves of the numbers of the sequences."""
    orders = [rng.permutation(sequences) for _ in range(HALVINGS)]
    return [(order[: sequences // 2], order[sequences // 2 :]) for order in orders]


def _score(
    score: Score,
    found: list[list[Observations]],
    halves: list[Halves],
    rng: np.random.Generator,
) -> tuple[ScoreResult, Distances]:
    """One score and its resamples; `found` is real, generated, conditioning."""
    real, generated, conditioning = found
    everything = pooled(real)
    draws = distances(score, everything, pooled(generated), rng)
    past = Distances(*np.full((2, 1), np.nan))
    if conditioning:
        past = distances(score, everything, pooled(conditioning))
    parts = ([pooled([real[i] for i in half]) for half in pair] for pair in halves)
    floor = Distances(*np.concatenate([np.stack(distances(score, a, b)) for a, b in parts], 1))
    row = ScoreResult(
        score.name,
        interval(draws.l1),
        interval(draws.wasserstein),
        floor.l1,
        floor.wasserstein,
        float(past.l1[0]),
        float(past.wasserstein[0]),
    )
    return row, draws


def _averages(
    drawn: np.ndarray, floor: list[np.ndarray], rng: np.random.Generator
) -> tuple[Averages, np.ndarray]:
    """Averages of the generated sequences and of the floor over the scores that both have.

    Args:
      drawn: `[scores, 1 + resamples]`.
      floor: `[halvings]` of each score.
      rng: of the intervals.
    """
    known = np.array([_averaged(x, y) for x, y in zip(drawn[:, 0], floor, strict=True)])
    return averages(drawn[known], rng), _point_averages(np.stack(floor, 1)[:, known])


def _past_averages(scores: list[tuple[Interval, np.ndarray, float]]) -> np.ndarray:
    """Averages `[3]` of the conditioning data over the scores of the other averages."""
    past = [past for found, floor, past in scores if _averaged(found.value, floor)]
    return _point_averages(np.array([past], float))[0]


def _averaged(value: float, floor: np.ndarray) -> bool:
    """Whether a score enters the averages: it has a value, and a floor in all halvings."""
    return bool(np.isfinite(value) and np.isfinite(floor).all())


def _point_averages(table: np.ndarray) -> np.ndarray:
    """Mean, median and IQM of the scores known in all rows, `[rows, scores]` to `[rows, 3]`."""
    known = table[:, np.isfinite(table).all(0)]
    if not known.shape[1]:
        return np.full((len(table), len(AVERAGES)), np.nan)
    return np.stack([known.mean(1), np.median(known, 1), iqm(known)], 1)


def _impact_floor(found: Moves, halves: list[Halves]) -> np.ndarray:
    """Impact score `[halvings]` of halves of the real sequences."""
    part = lambda rows: mean_responses(Moves(*(x[rows] for x in found)))[0]
    pairs = [difference(part(a), part(b)) for a, b in halves]
    return mean_difference(np.stack(pairs))


def _discriminate(
    real: Ordered[Sequence],
    generated: Ordered[Sequence],
    seed: int,
    seeds: int,
    step: Callable[[str], None],
) -> tuple[Discrimination, Discrimination]:
    """Real against generated, and halves of the real sequences against each other."""
    found = [[changes(s) for s in x] for x in (real, generated)]
    told = discriminate(found[0], found[1], seed, seeds)
    step("discriminator")
    rng = np.random.default_rng(seed)
    floor = []
    for number in range(seeds):
        order = rng.permutation(len(real))
        first, second = ([found[0][i] for i in half] for half in np.array_split(order, 2))
        floor.append(discriminate(first, second, seed + number, 1))
    step("discriminator of halves")
    return told, Discrimination(*(np.concatenate(x) for x in zip(*floor, strict=True)))


def _columns(
    metric: str, found: Interval, floor: np.ndarray, conditioning: float
) -> dict[str, float]:
    """Columns of one metric."""
    known = floor[np.isfinite(floor)]
    return {
        metric: found.value,
        f"{metric}_low": found.low,
        f"{metric}_high": found.high,
        f"{metric}_floor": float(known.mean()) if len(known) else np.nan,
        f"{metric}_floor_high": float(known.max()) if len(known) else np.nan,
        f"{metric}_conditioning": conditioning,
    }


def _size(sequences: Ordered[Sequence]) -> Size:
    return Size(len(sequences), sum(len(s.type) for s in sequences))
