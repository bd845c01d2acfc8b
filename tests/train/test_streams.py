"""Streams of generations: everything once, in order, from any place."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jaxmars.errors import InputError
from jaxmars.train.losses import Batch, all_own
from jaxmars.train.streams import Generations

LENGTHS = (3, 1, 4, 2)  # batches of the first generations


def make(number: int) -> Iterator[Batch]:
    """Batches that say which generation they are of and where they stand in it."""
    for place in range(LENGTHS[number % len(LENGTHS)]):
        yield all_own(np.array([[[number, place]]], np.int32))


def stream() -> Generations:
    return Generations(make, "numbers", 1, 5)


def first(batches: Generations, count: int) -> list[list[int]]:
    return [np.asarray(batch.rows)[0, 0].tolist() for batch in itertools.islice(batches, count)]


EXPECTED = [[g, i] for g in range(8) for i in range(LENGTHS[g % 4])]


def test_generations_come_one_after_the_other() -> None:
    assert first(stream(), len(EXPECTED)) == EXPECTED


@pytest.mark.parametrize("done", range(len(EXPECTED)))
def test_a_stream_goes_on_from_any_place(done: int) -> None:
    """At the end of a generation too, and a place may be taken twice."""
    before = stream()
    first(before, done)
    place = before.state()
    after = stream()
    first(after, 3)
    after.restore(place)
    assert after.state() == place
    assert first(after, len(EXPECTED) - done) == EXPECTED[done:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "letters"}, "of data 'letters', expected 'numbers'"),
        ({"batch": 2}, "of batch 2, expected 1"),
        ({"seed": 6}, "of seed 6, expected 5"),
        ({"generation": -1}, "has generation -1, expected a count"),
        ({"batches": 1.5}, "has batches 1.5, expected a count"),
        ({"more": 1}, "has the keys batch, batches, data, generation, more"),
    ],
)
def test_a_place_of_another_stream_is_refused(change: dict[str, Any], message: str) -> None:
    batches = stream()
    first(batches, 2)
    before = batches.state()
    with pytest.raises(InputError, match=message):
        batches.restore(before | change)
    assert batches.state() == before


def test_a_generation_without_a_batch_is_an_error() -> None:
    empty = Generations(lambda number: iter(()), "nothing", 4, 0)
    with pytest.raises(InputError, match="makes no batch of 4 windows, expected a smaller batch"):
        next(empty)
