"""Bins merged with their neighbours."""

import dataclasses

import numpy as np
import pytest
from oracles.tiny_world import tiny_converters

from jaxmars.builtin import default_weights
from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.tokens.bins import BinConverter, save_converters
from jaxmars.tokens.coarser import coarser

TINY = OrderModelConfig.tiny()  # 8 prices, 8 volumes, 4 intervals
EMPTY = np.zeros(0)


def test_runs_of_neighbours_become_one_bin() -> None:
    values = [np.array([1.0]), np.array([2.0, 3.0]), EMPTY, np.array([4.0])] + [EMPTY] * 4
    probs = [np.ones(1), np.array([0.25, 0.75]), EMPTY, np.ones(1)] + [EMPTY] * 4
    given = tiny_converters()._replace(
        price_level=BinConverter.from_arrays(np.arange(9.0), values, probs)
    )
    own = coarser(given, dataclasses.replace(TINY, num_bins_price_level=4)).price_level
    assert own.edges.tolist() == [0, 2, 4, 6, 8]
    assert [x.tolist() for x in own.values] == [[1, 2, 3], [4], [], []]
    assert [x.tolist() for x in own.probs] == [[0.5, 0.125, 0.375], [1], [], []]
    uneven = coarser(given, dataclasses.replace(TINY, num_bins_price_level=3)).price_level
    assert uneven.edges.tolist() == [0, 2, 5, 8]


def test_as_many_bins_stay_as_they_are() -> None:
    given = tiny_converters()
    for own, before in zip(coarser(given, TINY), given, strict=True):
        np.testing.assert_array_equal(own.edges, before.edges)
        np.testing.assert_equal(own.values, before.values)
        np.testing.assert_equal(own.probs, before.probs)


def test_bins_cannot_be_divided() -> None:
    cfg = dataclasses.replace(TINY, num_bins_order_interval=5)
    with pytest.raises(InputError, match="order_interval has 4 bins, expected at least 5"):
        coarser(tiny_converters(), cfg)


def test_built_in_bins_for_a_released_model(tmp_path) -> None:
    given = OrderModel.from_pretrained(default_weights()).converters
    assert given is not None
    own = coarser(given, OrderModelConfig.released())
    save_converters(tmp_path, own)
    counts = {name: bins.num_bins for name, bins in own._asdict().items()}
    assert counts == {
        "price_level": 32,
        "order_volume": 32,
        "pred_order_volume": 32,
        "order_interval": 16,
        "lob_volume": 32,
    }
    for before, after in zip(given, own, strict=True):
        slots = after.encode(np.concatenate(before.values))
        parts = before.num_bins // after.num_bins
        np.testing.assert_array_equal(slots, before.encode(np.concatenate(before.values)) // parts)
