"""A trained model with finer bins of prices and intervals, to be trained on."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxmars.errors import InputError
from jaxmars.models.order_model import OrderModel, shape_of
from jaxmars.tokens.bins import BinConverter, Converters
from jaxmars.types import Params


def refined(model: OrderModel, converters: Converters) -> OrderModel:
    """The model on other bins of prices and intervals.

    Every new slot begins as a copy of the old slot in which its middle lies, in the tables of
    learned vectors and in the head. Where every old slot has as many parts, the probabilities of an
    old slot's parts are equal and add up to its own.

    Args:
      model: with the factored head and bins.
      converters: of which `price_level` and `order_interval` replace those of the model.

    Raises:
      InputError: the model has another head or no bins.
    """
    if model.config.head != "factored" or model.converters is None:
        raise InputError("the model has no factored head or no bins, expected both")
    old = model.converters
    price = _parents(old.price_level, converters.price_level)
    interval = _parents(old.order_interval, converters.order_interval)
    config = dataclasses.replace(
        model.config, num_bins_price_level=len(price), num_bins_order_interval=len(interval)
    )
    types, old_prices, volumes, _ = model.config.slot_shape
    before_volume = np.concatenate([np.arange(types), types + price])
    before_interval = np.concatenate([before_volume, types + old_prices + np.arange(volumes)])
    embedding, head = model.params["embedding"], model.params["head"]
    embedding = embedding | {
        "price": _rows(embedding["price"], price),
        "interval": _rows(embedding["interval"], interval),
    }
    head = head | {
        "price": head["price"] | {"out": _columns(head["price"]["out"], price)},
        "volume": head["volume"] | {"picks": _rows(head["volume"]["picks"], before_volume)},
        "interval": head["interval"]
        | {
            "picks": _rows(head["interval"]["picks"], before_interval),
            "out": _columns(head["interval"]["out"], interval),
        },
    }
    params = {**model.params, "embedding": embedding, "head": head}
    kept = old._replace(
        price_level=converters.price_level, order_interval=converters.order_interval
    )
    return OrderModel(config, shape_of(config)[0], params, kept, model.manifest)


def _parents(old: BinConverter, new: BinConverter) -> np.ndarray:
    """The old slot of the middle of every new one, `[new slots]`."""
    pairs = zip(new.values, new.edges[1:], strict=True)
    middles = [values[len(values) // 2] if len(values) else edge for values, edge in pairs]
    return old.encode(np.array(middles))


def _rows(table: Params, rows: np.ndarray) -> Params:
    return {"weight": jnp.asarray(table["weight"])[rows]}


def _columns(layer: Params, columns: np.ndarray) -> Params:
    return {"kernel": jnp.asarray(layer["kernel"])[:, columns]}
