"""The order model as users hold it: configuration, parameters, converters, where it came from."""

import dataclasses
import functools
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmars.config import OrderModelConfig
from jaxmars.convert import hub, keymap, store
from jaxmars.errors import InputError
from jaxmars.models.decoder import OrderNet, row_widths
from jaxmars.models.heads import HEADS
from jaxmars.tokens.bins import Converters, TokenTables, load_converters, save_converters
from jaxmars.tokens.order import (
    ELAPSED,
    NUM_FEATURES,
    ORDER_INDEX,
    TRADE_RATIO,
    VOLUME_RATIO,
)
from jaxmars.types import Params

SAVED_DTYPES = (jnp.float32, jnp.bfloat16)
FEATURE_DTYPES = (np.int32, np.int64)


@dataclasses.dataclass(frozen=True)
class OrderModel:
    """A model ready to use. Compiled code takes `graphdef` (static) and `params` (traced).

    Attributes:
      config: every shape of the model.
      graphdef: structure of the network; hashable.
      params: nested dict of arrays, float32 unless `with_precision` has made them something else;
        `nnx.merge(graphdef, params)` is the network.
      converters: bins of the model's slots, or None if its folder held none.
      manifest: where the weights come from; {} if unknown.
    """

    config: OrderModelConfig
    graphdef: nnx.GraphDef
    params: Params
    converters: Converters | None = None
    manifest: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def init(cls, config: OrderModelConfig, key: jax.Array) -> "OrderModel":
        """A model with random parameters; the key is consumed.

        Raises:
          InputError: `config` names a head that does not exist.
        """
        _check_head(config)
        graphdef, state = nnx.split(OrderNet(config, rngs=nnx.Rngs(key)))
        return cls(config, graphdef, nnx.to_pure_dict(state))

    @classmethod
    def from_pretrained(
        cls, path_or_repo: str | os.PathLike[str], revision: str | None = None
    ) -> "OrderModel":
        """Loads a folder written by `save`, a released folder, or a hub repository.

        Args:
          path_or_repo: folder with config.json and model.safetensors, or a hub id "owner/name".
          revision: commit, tag or branch of the hub repository.

        Raises:
          InputError: one sentence on what is missing, malformed or does not fit.
        """
        folder = hub.fetch(path_or_repo, revision)
        config = store.read_config(folder)
        _check_head(config)
        manifest = store.read_manifest(folder)
        with store.open_tensors(folder) as file:
            config = keymap.fit_config(config, file)
            graphdef, template = shape_of(config)
            params = jax.tree.map(jnp.asarray, keymap.to_params(file, template))
        if config.num_ratio_rows:
            warnings.warn(
                f"{folder}: the use of its two ratio tables is not published; their rows are "
                "taken to be the ratio slots themselves",
                stacklevel=2,
            )
        converters = load_converters(folder)
        if converters is not None:
            _check_converters(str(folder), config, converters)
        return cls(config, graphdef, params, converters, manifest)

    def save(
        self,
        path: str | os.PathLike[str],
        manifest: Mapping[str, Any] | None = None,
        dtype: Any = jnp.float32,
    ) -> None:
        """Writes a model folder, whole or not at all.

        Args:
          path: folder; an older model there is replaced, anything else is refused.
          manifest: JSON object; by default the model's own. The sha256 of each file is added.
          dtype: float32, or bfloat16 for half the size; loading always gives float32.

        Raises:
          InputError: an unknown dtype, parameters that are not float32, a folder that holds
            something else, or a disk error.
        """
        if dtype not in SAVED_DTYPES:
            raise InputError(f"weights are saved as float32 or bfloat16, got {dtype!r:.80}")
        other = {x.dtype for x in jax.tree.leaves(self.params)} - {jnp.dtype(jnp.float32)}
        if other:
            raise InputError(
                f"the model holds {other.pop()} parameters, expected the float32 model it was made "
                "from"
            )
        arrays = keymap.to_tensors(self.params)
        tensors = {name: array.astype(dtype, copy=False) for name, array in arrays.items()}
        store.write_model(
            pathlib.Path(path),
            self.config,
            tensors,
            self.manifest if manifest is None else manifest,
            lambda folder: self.converters and save_converters(folder, self.converters),
        )

    def with_summary(self, key: jax.Array) -> "OrderModel":
        """The same function, by a model that can learn to read the summary of a row.

        Args:
          key: of the new parameters; consumed.
        """
        if self.config.has_summary:
            return self
        grown = OrderModel.init(dataclasses.replace(self.config, has_summary=True), key)
        params = {**self.params}
        params["embedding"] = {**grown.params["embedding"], **self.params["embedding"]}
        return dataclasses.replace(
            self, config=grown.config, graphdef=grown.graphdef, params=params
        )

    def with_settings(self, **settings: Any) -> "OrderModel":
        """The same parameters with other fields of the configuration, of those that shape no
        parameter: `num_max_orders`, `fitting_cancels`, `never_sweeps`, `dropout`,
        `rounded_rope`."""
        config = dataclasses.replace(self.config, **settings)
        return dataclasses.replace(self, config=config, graphdef=shape_of(config)[0])

    def tables(self) -> TokenTables:
        """The device tables of its bins.

        Raises:
          InputError: no converters, or with other numbers of bins than the model has slots.
        """
        if self.converters is None:
            raise InputError(
                "the model folder holds no converters, expected converters.json beside it"
            )
        _check_converters("the model", self.config, self.converters)
        return self.converters.tables()

    def net(self) -> OrderNet:
        """The network with its parameters. Inside compiled code merge traced params instead."""
        return nnx.merge(self.graphdef, self.params)

    def logits(self, features: jax.typing.ArrayLike) -> jax.Array:
        """Scores of the order that follows each row.

        Args:
          features: int32 or int64 [batch, length, 15], oldest order first, length at most
            `config.num_max_orders`; a model that reads the summary needs its columns too. A change
            beyond the tables is clipped, as in the release; any other index outside its table is
            refused, as torch does.

        Returns:
          float32[batch, length, vocab], unnormalised log-probabilities.

        Raises:
          InputError: wrong shape, dtype or range.
        """
        checked = check_features(np.asarray(features), self.config)
        return _logits(self.graphdef, self.params, jnp.asarray(checked))

    @property
    def num_params(self) -> int:
        """Parameters in use."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def shape_of(config: OrderModelConfig) -> tuple[nnx.GraphDef, Params]:
    """Structure and parameter shapes (`jax.ShapeDtypeStruct`) of a model; allocates nothing."""
    net = nnx.eval_shape(lambda: OrderNet(config, rngs=nnx.Rngs(0)))
    graphdef, state = nnx.split(net)
    return graphdef, nnx.to_pure_dict(state)


def check_features(features: np.ndarray, config: OrderModelConfig) -> np.ndarray:
    """`features` as int32 after checking shape, dtype and every index that reads a table.

    Raises:
      InputError: says which row and column is out of which range.
    """
    most = config.num_max_orders
    widths = row_widths(config)
    if features.ndim != 3 or features.shape[2] not in widths:
        raise InputError(
            f"features have shape {list(features.shape)}, expected [batch, length, {widths[0]}]"
        )
    if not 1 <= features.shape[1] <= most:
        raise InputError(f"features hold {features.shape[1]} orders, expected 1 to {most}")
    if features.dtype not in FEATURE_DTYPES:
        raise InputError(f"features have dtype {features.dtype}, expected int32 or int64")
    limits: dict[int, tuple[int, int]] = dict.fromkeys(range(NUM_FEATURES), (-(2**31), 2**31))
    limits[ORDER_INDEX] = (0, config.vocab)
    limits[ELAPSED] = (0, config.num_time_rows * config.seconds_per_row)
    if config.num_ratio_rows:
        limits[VOLUME_RATIO] = limits[TRADE_RATIO] = (0, config.num_ratio_rows)
    for column, (low, high) in limits.items():
        values = features[:, :, column]
        bad = (values < low) | (values >= high)
        if bad.any():
            batch, row = np.argwhere(bad)[0]
            raise InputError(
                f"features[{batch}, {row}, {column}] is {values[batch, row]}, "
                f"expected a value in [{low}, {high})"
            )
    return features.astype(np.int32)


@functools.partial(jax.jit, static_argnums=0)
def _logits(graphdef: nnx.GraphDef, params: Params, features: jax.Array) -> jax.Array:
    net = nnx.merge(graphdef, params)
    return jax.vmap(lambda window: jax.vmap(net.head.logits)(net.encode(window)))(features)


def _check_head(config: OrderModelConfig) -> None:
    if config.head not in HEADS:
        raise InputError(
            f"model head {config.head!r:.80} is unknown, expected {' or '.join(HEADS)}"
        )


def _check_converters(where: str, config: OrderModelConfig, converters: Converters) -> None:
    """Every converter a draw is decoded with must have as many bins as the model has slots."""
    _, prices, volumes, intervals = config.slot_shape
    for name, slots in (
        ("price_level", prices),
        ("pred_order_volume", volumes),
        ("order_interval", intervals),
    ):
        bins = getattr(converters, name).num_bins
        if bins != slots:
            raise InputError(f"{where}: converter {name} has {bins} bins, expected {slots}")
