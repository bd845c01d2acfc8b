"""Bins between market quantities and model slots: host converters, device tables, their files.

Source: release `BinConverter`, spec "BinConverter"; paper section 2.2 ("Discretisation"). Encoding
takes the bin a value falls in, decoding draws one of the values seen in that bin.

On the device a number is a pair (whole int32, nano int32), worth whole + nano * 1e-9 with
0 <= nano < 1e9: prices in ticks and sizes in shares are (n, 0), intervals are (sec, nsec). So
encoding compares integers only, and equals the float64 rule of the host without float64.

An empty bin (repeated edges) makes the release fail when it decodes; here it gives its upper edge.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars.convert import released
from jaxmars.errors import InputError
from jaxmars.tokens import converter_file
from jaxmars.tokens import fit as fitting

NANO = 10**9  # parts of one
MAX_VALUES = 100  # values per bin table, as in the release
MAX_SAMPLES = 1_000_000  # values a fit looks at, as in the release
PROB_TOLERANCE = 1e-6  # how far the probabilities of a bin may sum from 1
WHOLE_LIMIT = 2**31  # whole parts lie in [-WHOLE_LIMIT, WHOLE_LIMIT)

FILE_NAME = "converters.json"
RELEASED_FOLDER = "converters"
RELEASED_PRICE_UNIT = 100  # price units (1e-4 CNY) of one tick in released files


class BinTable(NamedTuple):
    """One converter on the device: n bins, tables padded to m values by repeating the last."""

    edge_whole: jax.Array  # [n + 1] int32
    edge_nano: jax.Array  # [n + 1] int32, 1e-9 parts
    value_whole: jax.Array  # [n, m] int32
    value_nano: jax.Array  # [n, m] int32, 1e-9 parts
    cumulative: jax.Array  # [n, m] float32, probability of this value or an earlier one; ends at 1


class TokenTables(NamedTuple):
    """The device tables of a model, by order attribute."""

    price_level: BinTable  # ticks from the mid price before the order
    order_volume: BinTable  # shares, to encode
    pred_order_volume: BinTable  # shares, to decode
    order_interval: BinTable  # seconds since the previous order
    lob_volume: BinTable  # shares of a price level


def encode(table: BinTable, whole: jax.Array, nano: jax.Array) -> jax.Array:
    """Slot of one number: the edges strictly smaller than it, less one, within [0, n).

    Args:
      table: the converter.
      whole: [] int32.
      nano: [] int32, 1e-9 parts, 0 <= nano < 1e9.

    Returns:
      [] int32 slot; bin k is (edge k, edge k + 1], the ends are open.
    """
    smaller = (table.edge_whole < whole) | ((table.edge_whole == whole) & (table.edge_nano < nano))
    return jnp.clip(jnp.sum(smaller, dtype=jnp.int32) - 1, 0, table.edge_whole.shape[0] - 2)


def sample(table: BinTable, slot: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One of the values of a bin, with its probability, by inverse CDF.

    Args:
      table: the converter.
      slot: [] int32; clipped to [0, n).
      uniform: [] float32 in [0, 1).

    Returns:
      (whole, nano), [] int32 each.
    """
    num_bins, width = table.cumulative.shape
    row = jnp.clip(slot, 0, num_bins - 1)
    passed = jnp.sum(table.cumulative[row] <= uniform, dtype=jnp.int32)
    column = jnp.minimum(passed, width - 1)
    return table.value_whole[row, column], table.value_nano[row, column]


@dataclasses.dataclass(frozen=True, eq=False)
class BinConverter:
    """Bins of one quantity, on the host. Read-only arrays; `InputError` for impossible ones.

    Attributes:
      edges: float64[n + 1], ascending, repeats allowed.
      values: n arrays float64 of values seen in each bin; an empty bin has none.
      probs: n arrays float64, their probabilities, positive, sum 1.
    """

    edges: np.ndarray
    values: tuple[np.ndarray, ...]
    probs: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        _check_edges(self.edges)
        for name in ("values", "probs"):
            length = len(getattr(self, name))
            if length != self.num_bins:
                raise InputError(
                    f"{name} has {length} bins, expected {self.num_bins}, one less than edges"
                )
        for slot, (values, probs) in enumerate(zip(self.values, self.probs, strict=True)):
            _check_table(slot, values, probs)

    @classmethod
    def from_arrays(
        cls, edges: np.ndarray, values: Sequence[np.ndarray], probs: Sequence[np.ndarray]
    ) -> "BinConverter":
        """A converter from copies of numeric arrays of any dtype."""
        return cls(_frozen(edges), tuple(map(_frozen, values)), tuple(map(_frozen, probs)))

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        num_bins: int,
        max_values: int = MAX_VALUES,
        max_samples: int = MAX_SAMPLES,
        seed: int = 0,
    ) -> "BinConverter":
        """Quantile bins with an edge for every heavy value; algorithm and source in `tokens.fit`.

        Args:
          values: [N] finite numbers, left as they are.
          num_bins: n, at least 2.
          max_values: most values of one bin table; the most frequent are kept.
          max_samples: of more values than this a random subset is used.
          seed: of that choice.

        Raises:
          InputError: unusable values, or no n bins can be made of them (all equal, for one).
        """
        chosen = fitting.draw_sample(values, max_samples, seed)
        edges = fitting.fit_edges(chosen, num_bins)
        return cls.from_arrays(edges, *fitting.fit_tables(chosen, edges, max_values))

    @property
    def num_bins(self) -> int:
        """Number of bins n."""
        return len(self.edges) - 1

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Slots int32[...] of the numbers `x` [...]."""
        return fitting.slots_of(self.edges, np.asarray(x))

    def sample(self, slots: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One value float64[...] of the bin of each slot [...]; an empty bin gives its upper edge.

        Raises:
          InputError: a slot outside [0, n).
        """
        slots = np.asarray(slots)
        outside = slots[(slots < 0) | (slots >= self.num_bins)]
        if outside.size:
            raise InputError(f"slot {outside[0]} to sample is outside [0, {self.num_bins})")
        values, cumulative = self._padded()
        uniform = rng.random(slots.shape)
        drawn = np.empty(slots.shape)
        for slot in np.unique(slots):
            here = slots == slot
            column = np.searchsorted(cumulative[slot], uniform[here], side="right")
            drawn[here] = values[slot, np.minimum(column, values.shape[1] - 1)]
        return drawn

    def scaled(self, factor: float, divisor: float = 1.0) -> "BinConverter":
        """The converter in other units: every edge and value times `factor` over `divisor`.

        A change of unit by an integer is exact as a divisor (700 * 0.01 is not 7).

        Raises:
          InputError: `factor` or `divisor` is not a positive number.
        """
        if not (0 < factor < math.inf and 0 < divisor < math.inf):
            raise InputError(
                f"cannot scale bins by {factor} / {divisor}, expected positive numbers"
            )
        values = [x * factor / divisor for x in self.values]
        return BinConverter.from_arrays(self.edges * factor / divisor, values, self.probs)

    def table(self) -> BinTable:
        """The tables for `encode` and `sample` on the device.

        A number with at most nine decimals compares with an edge as its nearest float64 does, so
        an interval equal to a fitted edge falls into the bin that edge closes. Exact for integers
        and, with decimals, below 2**22.

        Raises:
          InputError: a number outside [-2**31, 2**31).
        """
        values, cumulative = self._padded()
        numbers = (*_pairs(self.edges), *_pairs(values), cumulative.astype(np.float32))
        return BinTable(*map(jnp.asarray, numbers))

    def _padded(self) -> tuple[np.ndarray, np.ndarray]:
        """Values float64[n, m] and cumulative probabilities float64[n, m], m >= 1."""
        width = max(1, *(len(x) for x in self.values))
        padded = np.repeat(self.edges[1:, None], width, axis=1)
        cumulative = np.ones((self.num_bins, width))
        for slot, (values, probs) in enumerate(zip(self.values, self.probs, strict=True)):
            if len(values):
                padded[slot] = values[-1]
                padded[slot, : len(values)] = values
                cumulative[slot, : len(values) - 1] = np.minimum(np.cumsum(probs)[:-1], 1.0)
        return padded, cumulative


class Converters(NamedTuple):
    """The five converters of a model, on the host; units in `UNITS`."""

    price_level: BinConverter
    order_volume: BinConverter
    pred_order_volume: BinConverter
    order_interval: BinConverter
    lob_volume: BinConverter

    def tables(self) -> TokenTables:
        """All device tables."""
        return TokenTables(*(converter.table() for converter in self))


UNITS = dict(zip(Converters._fields, "ticks shares shares seconds shares".split(), strict=True))


def save_converters(folder: str | os.PathLike[str], converters: Converters) -> pathlib.Path:
    """Write `converters.json` into `folder` (made if absent), whole or not at all.

    Every float64 is written so that it reads back bit for bit.

    Returns:
      The path of the file.

    Raises:
      InputError: more bins to encode volumes than to decode them, or the file cannot be written.
    """
    path = pathlib.Path(folder) / FILE_NAME
    _check_volumes(converters, path)
    tables = {
        name: converter_file.Table(UNITS[name], converter.edges, converter.values, converter.probs)
        for name, converter in converters._asdict().items()
    }
    converter_file.write(path, tables)
    return path


def load_converters(
    folder: str | os.PathLike[str], price_unit: float = RELEASED_PRICE_UNIT
) -> Converters | None:
    """The converters of a model folder: our `converters.json`, else a released `converters/`.

    Args:
      folder: the model folder.
      price_unit: price units of one tick in the released files; ours are in ticks already.

    Returns:
      The converters, or None if the folder holds neither form.

    Raises:
      InputError: not a folder, or a file that is missing, malformed, hostile or inconsistent.
    """
    root = pathlib.Path(folder)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder, expected the folder of a model")
    own, theirs = root / FILE_NAME, root / RELEASED_FOLDER
    if own.exists():
        tables = converter_file.read(own, UNITS)
        converters = Converters(*(_named(own, n, *tables[n][1:]) for n in Converters._fields))
        _check_volumes(converters, own)
    elif theirs.is_dir():
        converters = Converters(*(_read_released(theirs, name) for name in Converters._fields))
        converters = converters._replace(
            price_level=converters.price_level.scaled(1.0, divisor=price_unit)
        )
        _check_volumes(converters, theirs)
    else:
        return None
    return converters


def _read_released(folder: pathlib.Path, name: str) -> BinConverter:
    """One released file, in its own units."""
    path = folder / f"{name.replace('_', '-')}.zstd"
    content = released.read_converter(path)
    return _named(path, name, content["bins"], content["bin_values"], content["bin_probs"])


def _named(
    path: pathlib.Path,
    name: str,
    edges: np.ndarray,
    values: Sequence[np.ndarray],
    probs: Sequence[np.ndarray],
) -> BinConverter:
    """A converter from arrays of a file, whose errors name the file and the attribute."""
    try:
        return BinConverter.from_arrays(edges, values, probs)
    except InputError as error:
        raise InputError(f"{path}: {name}: {error}") from error


def _check_volumes(converters: Converters, path: pathlib.Path) -> None:
    """`InputError` if `order_volume` has slots that the model, sized by the other, lacks."""
    given, room = converters.order_volume.num_bins, converters.pred_order_volume.num_bins
    if given > room:
        raise InputError(
            f"{path}: order_volume has {given} bins, expected at most the {room} of "
            "pred_order_volume"
        )


def _frozen(x: np.ndarray) -> np.ndarray:
    """A read-only float64 copy."""
    copy = np.array(x, np.float64)
    copy.setflags(write=False)
    return copy


def _check_numbers(name: str, x: np.ndarray) -> None:
    """`InputError` unless `x` is a finite float64 vector."""
    if x.dtype != np.float64 or x.ndim != 1:
        raise InputError(f"{name} is {x.dtype}{list(x.shape)}, expected a float64 vector")
    bad = np.flatnonzero(~np.isfinite(x))
    if bad.size:
        raise InputError(f"{name}[{bad[0]}] is {x[bad[0]]}, expected a finite number")


def _check_edges(edges: np.ndarray) -> None:
    """`InputError` unless these can be edges."""
    _check_numbers("edges", edges)
    if len(edges) <= 1:
        raise InputError(f"edges has {len(edges)} numbers, expected at least 2")
    down = np.flatnonzero(np.diff(edges) < 0)
    if down.size:
        raise InputError(
            f"edges[{down[0] + 1}] is {edges[down[0] + 1]}, expected at least the edge before it, "
            f"{edges[down[0]]}"
        )


def _check_table(slot: int, values: np.ndarray, probs: np.ndarray) -> None:
    """`InputError` unless these can be the values and probabilities of one bin."""
    _check_numbers(f"values[{slot}]", values)
    _check_numbers(f"probs[{slot}]", probs)
    if len(values) != len(probs):
        raise InputError(
            f"probs[{slot}] has {len(probs)} numbers, expected {len(values)}, one per value"
        )
    total = math.fsum(probs)
    if len(probs) and (np.any(probs <= 0) or abs(total - 1) > PROB_TOLERANCE):
        raise InputError(
            f"probs[{slot}] sums to {total} with smallest {probs.min()}, expected positive "
            "numbers that sum to 1"
        )


def _pairs(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(whole, nano) int32 arrays of float64 numbers of any shape."""
    outside = numbers[(numbers < -WHOLE_LIMIT) | (numbers >= WHOLE_LIMIT)]
    if outside.size:
        raise InputError(f"bin number {outside[0]} does not fit the device, expected |x| < 2**31")
    units = [divmod(_nano_units(x), NANO) for x in numbers.ravel().tolist()]
    pairs = np.array(units, np.int32).reshape((*numbers.shape, 2))
    return pairs[..., 0], pairs[..., 1]


def _nano_units(number: float) -> int:
    """The largest n whose n / 1e9, as float64, is at most `number`; exact for integers.

    Reals up to halfway to the next float round to `number`, so n is that halfway point in 1e-9
    parts, rounded down. (No multiple of 1e-9 is itself halfway below 2**44.) A plain floor would
    put 0.3 at 0.299999999.
    """
    if number.is_integer():
        return int(number) * NANO
    above, above_div = math.nextafter(number, math.inf).as_integer_ratio()
    here, here_div = number.as_integer_ratio()
    return (above * here_div + here * above_div) * NANO // (2 * here_div * above_div)
