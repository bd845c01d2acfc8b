"""Windows of a dataset of token shards, streamed in a shuffled order that can be resumed anywhere.

The stream is a function of (dataset, split, length, seed): window number n belongs to epoch
n // num_windows. In every epoch each shard is cut into windows that do not overlap, from an offset
that is drawn anew, and a keyed permutation (`train.mixing`) says which window comes when. So no
list of windows is ever made; memory is one cumulative count per shard, the map of the shards in use
and one batch, whatever the number of rows (shards of 10**9 rows and 10**12 windows are fine), and
the place in the stream is one number.
"""

import hashlib
import os
import pathlib
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.tokens.bins import Converters
from jaxmars.tokens.domain import Domain, domain_from_json
from jaxmars.tokens.order import ROW_WIDTH
from jaxmars.train.losses import Batch, all_own
from jaxmars.train.mixing import MOST_POSITIONS, key_of, mix, permuted
from jaxmars.train.shards import (
    MANIFEST,
    SPLITS,
    TRAIN,
    VALIDATION,
    Manifest,
    Shard,
    check_bins,
    check_shard,
    market_of,
    model_of,
    open_shard,
    read_bins,
    read_manifest,
)
from jaxmars.train.sources import Source
from jaxmars.train.streams import check_identity

MOST_OPEN = 256  # memory maps kept open
PATIENCE = 5.0  # seconds between two lines of a check of all shards


class Dataset:
    """One split of a dataset, read only.

    Attributes:
      folder: where it lies.
      manifest: what it is.
      converters: the bins of its rows.
      length: orders a window predicts; a window has one row more.
      shards: those of the split that hold a window.
      num_windows: of one epoch.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str, length: int) -> None:
        """Opens a split for windows of `length` + 1 rows.

        Every shard's file is looked for and its size compared; `verify` also reads them.

        Raises:
          InputError: no dataset, a damaged one, no such split, or `length` longer than every shard.
        """
        self.folder = pathlib.Path(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        self.converters = read_bins(self.folder, self.manifest.converters_sha256)
        self.length = length
        if split not in SPLITS or length < 1:
            raise InputError(
                f"windows of {length} orders of the split {split!r:.80} were asked for, expected "
                f"at least 1 of one of {', '.join(SPLITS)}"
            )
        mine = [shard for shard in self.manifest.shards if shard.split == split]
        if not mine:
            raise InputError(f"{self.folder} has no {split} part, expected at least one shard")
        self.shards: list[Shard] = [shard for shard in mine if shard.rows > length]
        if not self.shards:
            longest = max(shard.rows for shard in mine)
            raise InputError(
                f"a window of {length} orders is longer than every {split} shard of {self.folder}, "
                f"expected at most {max(longest - 1, 0)}"
            )
        for shard in self.shards:
            open_shard(self.folder, shard)
        self._rows = np.array([shard.rows for shard in self.shards], np.int64)
        self._ends = np.cumsum((self._rows - 1) // length)
        self.num_windows = int(self._ends[-1])
        if self.num_windows > MOST_POSITIONS:
            raise InputError(f"{self.folder} holds more than {MOST_POSITIONS} windows")
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()

    @property
    def domain(self) -> Domain:
        """The summary of the training orders."""
        return domain_from_json(self.manifest.domain)

    @property
    def market(self) -> MarketConfig:
        """Calendar and elapsed time of the rows; tick and lot of the first shard."""
        return market_of(self.manifest, self.folder / MANIFEST)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of what the stream of windows depends on besides its seed."""
        text = "\n".join([str(self.length), *(shard.sha256 for shard in self.shards)])
        return hashlib.sha256(text.encode()).hexdigest()

    def model(self, model: OrderModelConfig) -> OrderModelConfig:
        """A model with the bins of this dataset and a time table that reaches its last row."""
        return model_of(self.manifest, model)

    def check_model(self, name: str, model: OrderModelConfig, converters: Converters) -> None:
        """Refuses a model that these rows are not for.

        Args:
          name: of the model, for the error.
          model: its configuration.
          converters: its bins.

        Raises:
          InputError: other bins, or a time table that ends before the last row.
        """
        check_bins(name, converters, str(self.folder), self.converters)
        needed = self.model(model).num_time_rows
        if model.num_time_rows < needed:
            raise InputError(
                f"{self.folder} needs a time table of {needed} rows, expected at most the "
                f"{model.num_time_rows} of {name}"
            )

    def verify(self, report: Callable[[], None] = lambda: None) -> None:
        """Reads every shard that holds a window through.

        Args:
          report: called after every shard.

        Raises:
          InputError: a file that is missing or has changed.
        """
        for shard in self.shards:
            check_shard(self.folder, shard)
            report()

    def windows(self, batch: int, seed: int) -> "Windows":
        """The endless stream of batches for a seed, from its beginning."""
        return Windows(self, batch, seed)

    def in_order(self, batch: int, most: int | None = None) -> Iterator[Batch]:
        """Windows in the order of the shards; the last batch holds what is left.

        Args:
          batch: windows.
          most: windows to take, spread evenly over all shards; None for every window.

        Yields:
          Windows of `length` + 1 rows.
        """
        count = self.num_windows if most is None else min(most, self.num_windows)
        for first in range(0, count, batch):
            place = np.arange(first, min(first + batch, count))
            yield all_own(self.read(self._spread(place, count), None))

    def _spread(self, place: np.ndarray, count: int) -> np.ndarray:
        """Windows `[n]` by their place `[n]` among `count`: one of each of `count` stretches of
        equal length, at a fixed random place in it, so that no time of the day is preferred."""
        whole, rest = divmod(self.num_windows, count)
        begin, end = (x * whole + x * rest // count for x in (place, place + 1))
        return begin + _below(end - begin, begin, key_of(0, 0))

    def read(self, number: np.ndarray, key: np.ndarray | None) -> np.ndarray:
        """Windows by their number within an epoch.

        Args:
          number: `[n]` in [0, num_windows).
          key: `[]` uint64 of the epoch, which moves the windows of every shard by an offset of
            its own; None cuts all shards at their beginning.

        Returns:
          `[n, length + 1, ROW_WIDTH]` int32.
        """
        shard = np.searchsorted(self._ends, number, "right")
        count = (self._rows[shard] - 1) // self.length
        place = number - (self._ends[shard] - count)
        room = self._rows[shard] - count * self.length
        offset = np.zeros_like(room) if key is None else _below(room, shard, key)
        start = offset + place * self.length
        out = np.empty((len(number), self.length + 1, ROW_WIDTH), np.int32)
        for i, (where, first) in enumerate(zip(shard.tolist(), start.tolist(), strict=True)):
            out[i] = self._map(where)[first : first + self.length + 1]
        return out

    def _map(self, shard: int) -> np.ndarray:
        """The memory map of a shard; of those in use the most recent stay open."""
        if shard not in self._maps:
            self._maps[shard] = open_shard(self.folder, self.shards[shard])
            if len(self._maps) > MOST_OPEN:
                self._maps.popitem(last=False)
        self._maps.move_to_end(shard)
        return self._maps[shard]


class Windows:
    """An endless iterator of batches of windows of `length` + 1 rows that knows its place.

    The windows come in one order whatever the batch, so a run may be resumed with another one.
    """

    def __init__(self, dataset: Dataset, batch: int, seed: int) -> None:
        if batch < 1:
            raise InputError(f"a batch of {batch} windows was asked for, expected at least 1")
        self._dataset, self._batch, self._seed = dataset, batch, seed
        self._done = 0

    def __iter__(self) -> "Windows":
        return self

    def __next__(self) -> Batch:
        number = self._done + np.arange(self._batch)
        epochs = number // self._dataset.num_windows
        parts = []
        for epoch in np.unique(epochs):
            key = key_of(self._seed, int(epoch))
            place = number[epochs == epoch] % self._dataset.num_windows
            chosen = permuted(place, self._dataset.num_windows, key)
            parts.append(self._dataset.read(chosen, key))
        self._done += self._batch
        return all_own(np.concatenate(parts))

    def state(self) -> dict[str, Any]:
        """The place in the stream, JSON: before the batch that comes next."""
        return {
            "dataset": self._dataset.fingerprint,
            "seed": self._seed,
            "windows": self._done,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes to a place that `state` gave.

        Raises:
          InputError: it is of another dataset, split, length or seed.
        """
        check_identity(state, self.state(), ("dataset", "seed"))
        done = state["windows"]
        if type(done) is not int or done < 0:
            raise InputError(f"the place in the data is window {done!r:.80}, expected a count")
        self._done = done


def dataset_source(folder: str | os.PathLike[str], model: OrderModelConfig) -> Source:
    """A dataset with a train and a validation part, as training reads it.

    Args:
      folder: the dataset.
      model: its window counts; bins and time table become those of the dataset.

    Raises:
      InputError: as in `Dataset`.
    """
    train = Dataset(folder, TRAIN, model.num_max_orders)
    held_out = Dataset(folder, VALIDATION, model.num_max_orders)
    names = sorted({shard.symbol for shard in train.shards})
    rows = sum(shard.rows for shard in train.shards)

    return Source(
        text=f"{rows:,} orders of {', '.join(names)} ({len(train.shards)} shards)",
        licence="that of the recorded data",
        market=train.market,
        model=train.model(model),
        converters=train.converters,
        domain=train.domain,
        training=train.windows,
        validation=held_out.in_order,
        verify=lambda: _verify((train, held_out)),
    )


def _verify(parts: tuple[Dataset, ...]) -> None:
    """Reads all shards of some splits through, with a line on stderr now and then."""
    wanted, done = sum(len(part.shards) for part in parts), 0
    shown = time.monotonic()

    def report() -> None:
        nonlocal done, shown
        done += 1
        if time.monotonic() - shown > PATIENCE:
            shown = time.monotonic()
            print(f"checking the shards: {done:,}/{wanted:,}", file=sys.stderr, flush=True)

    for part in parts:
        part.verify(report)


def _below(room: np.ndarray, place: np.ndarray, key: np.ndarray) -> np.ndarray:
    """One number in [0, room) per place and key, int64 (`room` is far below 2**32: no bias)."""
    high = mix(place.astype(np.uint64) ^ mix(key)) >> np.uint64(32)
    return ((high * room.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
