"""The shuffle that is never written down: a bijection, whatever is asked of it and when."""

import numpy as np
import pytest

from jaxmars.train.mixing import MOST_POSITIONS, key_of, mix, permuted


def test_the_first_numbers_of_splitmix64_from_zero() -> None:
    """Published values of the generator whose state starts at 0."""
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert mix(np.arange(1, 4, dtype=np.uint64)).tolist() == expected


@pytest.mark.parametrize("count", [*range(1, 40), 64, 65, 255, 256, 257, 1000, 4097])
def test_every_place_is_taken_once(count: int) -> None:
    for seed in range(3):
        found = permuted(np.arange(count), count, key_of(seed))
        assert sorted(found.tolist()) == list(range(count))


def test_it_does_not_matter_what_else_is_asked() -> None:
    key, count = key_of("x"), 1000
    whole = permuted(np.arange(count), count, key)
    some = np.random.default_rng(0).integers(0, count, 50)
    assert np.array_equal(permuted(some, count, key), whole[some])


def test_shuffles_of_more_things_than_fit_in_memory() -> None:
    count = 10**15 + 7
    places = np.concatenate([np.arange(1000), count - 1 - np.arange(1000)])
    found = permuted(places, count, key_of(1))
    assert len(set(found.tolist())) == 2000
    assert found.min() >= 0
    assert found.max() < count
    assert abs(found.mean() / count - 0.5) < 0.05


def test_every_thing_comes_to_every_place_equally_often() -> None:
    count, trials = 6, 1500
    met = np.zeros((count, count))
    for trial in range(trials):
        met[np.arange(count), permuted(np.arange(count), count, key_of("trial", trial))] += 1
    expected = trials / count
    assert ((met - expected) ** 2 / expected).sum() < 60  # chi-square, 25 degrees of freedom


def test_neighbours_part() -> None:
    """The steps of a shuffle are not those of another shuffle, nor mostly of one length."""
    first, second = (np.diff(permuted(np.arange(5000), 5000, key_of(seed))) for seed in (0, 1))
    assert np.unique(first).size > 3000
    assert (first == second).mean() < 0.01


@pytest.mark.parametrize("count", [0, -1, MOST_POSITIONS + 1])
def test_counts_that_cannot_be_shuffled(count: int) -> None:
    with pytest.raises(ValueError, match="cannot shuffle"):
        permuted(np.zeros(0, np.int64), count, key_of(0))


def test_keys_depend_on_every_part() -> None:
    keys = [key_of(*x).item() for x in (("a", 1), ("a", 2), ("b", 1), ("a1",), ("a", "1", ""))]
    assert len(set(keys)) == len(keys)
    assert key_of("a", 1) == key_of("a", "1")
