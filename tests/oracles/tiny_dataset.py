"""A small dataset on disk whose rows say where they are from."""

import dataclasses
import pathlib

import numpy as np
from oracles.tiny_world import tiny_converters

from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.tokens.bins import save_converters
from jaxmars.tokens.domain import Domain
from jaxmars.tokens.order import ROW_WIDTH
from jaxmars.train.shards import (
    BINS,
    Manifest,
    Shard,
    converters_digest,
    domain_entries,
    market_entries,
    write_manifest,
    write_shard,
)

LENGTH = 7
MODEL = dataclasses.replace(
    OrderModelConfig.tiny(),
    num_max_orders=LENGTH,
    head="factored",
    num_layers=1,
    emb_dim=8,
    num_heads=2,
)
ROWS = {"train": [56, 7, 8, 29, 15], "validation": [40], "test": [9]}
NUMBER, PLACE = 1, 2  # columns in which rows say where they are from


def write_dataset(folder: pathlib.Path, lengths: dict[str, list[int]] = ROWS) -> pathlib.Path:
    """Shards whose rows say which shard they are of and where they stand in it."""
    domain = domain_entries(Domain(0.0, (1.0,) * 5, (100.0,) * 5))
    shards = []
    for split, counts in lengths.items():
        for number, count in enumerate(counts):
            rows = np.zeros((count, ROW_WIDTH), np.int32)
            rows[:, 0] = np.arange(count) % MODEL.vocab
            rows[:, NUMBER], rows[:, PLACE] = number, np.arange(count)
            name = f"S{number}_2030-01-0{1 + list(lengths).index(split)}_{split}.npy"
            shards.append(
                Shard(
                    file=name,
                    symbol=f"S{number}",
                    date=name.split("_")[1],
                    split=split,
                    rows=count,
                    sha256=write_shard(folder / name, rows),
                    source=["x"],
                    source_sha256=["0"],
                    tick_size=0.05,
                    lot_size=10,
                    open_time=[34_200, 5],
                    open_price=100,
                    last_elapsed=20_000,
                    domain=domain,
                )
            )
    save_converters(folder, tiny_converters())
    manifest = Manifest(
        plan_sha256="0",
        converters_sha256=converters_digest(tiny_converters()),
        market=market_entries(MarketConfig.chinese_a_share()),
        bins={name: getattr(MODEL, name) for name in BINS},
        split={},
        domain=domain,
        made_by={},
        shards=tuple(shards),
    )
    write_manifest(folder, manifest)
    return folder
