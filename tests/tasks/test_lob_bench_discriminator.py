"""The discriminator tells what can be told, and nothing else."""

import numpy as np
import pytest
from oracles.lob_sequences import make_sequence, random_sequence

from jaxmars.tasks.lob_bench_discriminator import (
    CHANNELS,
    GRID,
    WINDOW,
    changes,
    discriminate,
    patches,
    roc_curve,
    windows,
)

SEQUENCES, LENGTH = 40, 4 * WINDOW


def noise(seed: int, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = SEQUENCES, LENGTH, CHANNELS
    return list(shift + rng.normal(size=shape).astype(np.float32))


def test_equal_distributions_cannot_be_told_apart() -> None:
    found = discriminate(noise(0), noise(1), seed=0, seeds=2)
    assert found.auc.mean() == pytest.approx(0.5, abs=0.12)
    assert found.roc.shape == (2, len(GRID))


def test_a_shift_is_found_and_the_seed_decides() -> None:
    found = discriminate(noise(0), noise(1, 0.15), seed=0, seeds=2)
    assert (found.auc > 0.85).all() and found.auc[0] != found.auc[1]
    again = discriminate(noise(0), noise(1, 0.15), seed=1, seeds=1)
    assert again.auc[0] == found.auc[1]


def test_order_in_time_is_found() -> None:
    """Equal marginals; the generated changes repeat themselves."""
    repeated = [np.repeat(x[: LENGTH // 2], 2, 0) for x in noise(1)]
    assert discriminate(noise(0), repeated, seed=0, seeds=1).auc[0] > 0.85


def test_too_short_sequences_have_no_answer() -> None:
    found = discriminate([x[:50] for x in noise(0)], noise(1), seed=0, seeds=1)
    assert np.isnan(found.auc).all() and np.isnan(found.roc).all()


def test_changes_of_a_book() -> None:
    rows = [(float(i), 1, i, 1, 100, 1) for i in range(5)]
    bids = [[(99, 10), (98, 5)]] * 2 + [[(99, 10), (98, 30)]] * 2 + [[(98, 30), (97, 1)]]
    asks = [[(101, 7), (102, 4)]] + [[(101, 2), (102, 4)]] * 4
    found = changes(make_sequence(rows, bids, asks))
    assert found.dtype == np.float32
    move, level, size = found.T
    assert np.sinh(move) == pytest.approx([0, 0, -0.5], abs=1e-6)
    assert level.tolist() == [0.5, -1, -0.5]  # ask 1, bid 2, bid 1, of two levels
    # The first bid has a new price: its whole size.
    assert 100 * np.sinh(size) == pytest.approx([-5, 25, 30], rel=1e-5)


def test_windows_are_whole() -> None:
    found = windows([np.zeros((250, CHANNELS)), np.ones((99, CHANNELS)), np.ones((100, CHANNELS))])
    assert found.shape == (3, WINDOW, CHANNELS) and found.sum((1, 2)).tolist() == [0, 0, 300]
    assert windows([]).shape == (0, WINDOW, CHANNELS)
    assert np.isfinite(changes(random_sequence(0))).all()


def test_patches_are_the_stretches_a_kernel_sees() -> None:
    x = np.arange(22.0).reshape(1, 11, 2)
    found = np.asarray(patches(x))  # type: ignore[arg-type]
    assert found.shape == (1, 4, 10)
    for number, start in enumerate((0, 2, 4, 6)):
        assert found[0, number].tolist() == x[0, start : start + 5].ravel().tolist()


def test_the_roc_curve_encloses_the_area() -> None:
    rng = np.random.default_rng(0)
    from jaxmars.tasks.lob_bench_distances import roc_auc

    negative, positive = rng.normal(size=900), rng.normal(1.0, size=700)
    curve = roc_curve(negative, positive)
    assert (np.diff(curve) >= 0).all() and curve[-1] == 1
    area = ((curve[1:] + curve[:-1]) / 2 * np.diff(GRID)).sum()
    assert area == pytest.approx(roc_auc(negative, positive), abs=0.005)
    assert roc_curve(np.zeros(5), np.ones(5)).tolist() == [1.0] * len(GRID)
