"""What training asks of its data: a stream of batches that knows its place."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from jaxmars.errors import InputError
from jaxmars.train.losses import Batch


class Stream(Protocol):
    """An endless iterator of batches whose place can be kept and gone back to."""

    def __iter__(self) -> "Stream": ...

    def __next__(self) -> Batch: ...

    def state(self) -> dict[str, Any]:
        """The place in the stream, JSON: before the batch that comes next."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Goes to a place that `state` gave.

        Raises:
          InputError: it is of another stream.
        """
        ...


class Generations:
    """Batches from generations that are made when their turn comes and met once."""

    def __init__(
        self, make: Callable[[int], Iterator[Batch]], name: str, batch: int, seed: int
    ) -> None:
        """A stream from its beginning.

        Args:
          make: number of a generation to its batches, the same ones every time.
          name: of the data, kept with the place.
          batch: windows per batch.
          seed: that `make` was given.
        """
        self._make = make
        self._identity = {"data": name, "batch": batch, "seed": seed}
        self._generation = 0
        self._done = 0  # batches of the generation that were handed out
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> "Generations":
        return self

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._make(self._generation)
            for _ in range(self._done):
                next(self._batches)
        batch = next(self._batches, None)
        while batch is None:
            if self._done == 0:
                raise InputError(
                    f"generation {self._generation} of {self._identity['data']} makes no batch of "
                    f"{self._identity['batch']} windows, expected a smaller batch or window"
                )
            self._generation, self._done = self._generation + 1, 0
            self._batches = self._make(self._generation)
            batch = next(self._batches, None)
        self._done += 1
        return batch

    def state(self) -> dict[str, Any]:
        """The place in the stream."""
        return {**self._identity, "generation": self._generation, "batches": self._done}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes to a place that `state` gave; the generation it lies in is made again.

        Raises:
          InputError: it is of another stream.
        """
        check_identity(state, self.state(), tuple(self._identity))
        for key in ("generation", "batches"):
            if type(state[key]) is not int or state[key] < 0:
                raise InputError(
                    f"the place in the data has {key} {state[key]!r:.80}, expected a count"
                )
        self._generation, self._done, self._batches = state["generation"], state["batches"], None


def check_identity(state: dict[str, Any], here: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Refuses the place of another stream.

    Args:
      state: the place.
      here: a place of this stream.
      keys: that say which stream it is.

    Raises:
      InputError: other keys, or another value of one of `keys`.
    """
    if set(state) != set(here):
        raise InputError(
            f"the place in the data has the keys {', '.join(sorted(state))!s:.80}, expected "
            f"{', '.join(sorted(here))}"
        )
    for key in keys:
        if state[key] != here[key]:
            raise InputError(
                f"the place in the data is of {key} {state[key]!r:.80}, expected {here[key]!r}"
            )
