"""How generated sequences drift from the market as they go on."""

from collections.abc import Callable
from collections.abc import Sequence as Ordered
from typing import NamedTuple

import numpy as np

from jaxmars.tasks.lob_bench_data import Sequence, cut_sequence
from jaxmars.tasks.lob_bench_distances import compare
from jaxmars.tasks.lob_bench_scores import UNCONDITIONAL, Observations, Score, observe, pooled

BLOCK = 100  # messages that are one point of the drift
FLOOR_HALVINGS = 3  # of the real sequences, for the floor

Halves = tuple[np.ndarray, np.ndarray]  # numbers of the sequences of either half
Samples = list[list[Observations]]  # [sequences][blocks]


class Divergence(NamedTuple):
    """Total variation of each block of 100 messages of a sequence against whole sequences."""

    messages: np.ndarray  # [blocks] int64, end of the block
    generated: np.ndarray  # [scores, blocks] float64; nan where a block has no observation
    floor: np.ndarray  # [scores, blocks] float64, mean over halvings of the real sequences


def follow_divergence(
    real: Ordered[Sequence],
    generated: Ordered[Sequence],
    halves: list[Halves],
    step: Callable[[str], None],
) -> Divergence:
    """Distance of the k-th hundred messages from all real messages.

    It is followed as far as half of the sequences of either kind go on.
    """
    blocks = min(int(np.median([len(s.type) // BLOCK for s in x])) for x in (real, generated))
    cut = [[cut_sequence(s, BLOCK)[:blocks] for s in x] for x in (real, generated)]
    halves = halves[:FLOOR_HALVINGS]
    shape = len(UNCONDITIONAL), blocks
    found, floor = np.full(shape, np.nan), np.full((len(halves), *shape), np.nan)
    for row, score in enumerate(UNCONDITIONAL):
        whole = [observe(score, s) for s in real]
        real_parts, parts = ([[observe(score, b) for b in s] for s in x] for x in cut)
        for block in range(blocks):
            sample = _block(parts, block)
            if not len(sample):
                continue
            found[row, block] = _total_variation(score, pooled(whole).value, sample)
            for number, (a, b) in enumerate(halves):
                own = _block([real_parts[i] for i in a], block)
                other = pooled([whole[i] for i in b]).value
                if len(own):
                    floor[number, row, block] = _total_variation(score, other, own)
        step(f"divergence of {score.name}")
    return Divergence(BLOCK * np.arange(1, blocks + 1), found, _mean_of_known(floor))


def _block(parts: Samples, block: int) -> np.ndarray:
    """Values of one block of all sequences that reach it."""
    reached = [x[block].value for x in parts if len(x) > block]
    return np.concatenate([np.empty(0), *reached])


def _total_variation(score: Score, real: np.ndarray, sample: np.ndarray) -> float:
    return float(compare(real, sample, score.binning).l1[0])


def _mean_of_known(table: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is finite; nan where nothing is."""
    known = np.isfinite(table)
    total, count = np.where(known, table, 0).sum(0), known.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
