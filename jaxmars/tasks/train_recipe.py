"""The TOML file that says what to train on what."""

import dataclasses
import pathlib
from typing import Any

import jax

from jaxmars.config import OrderModelConfig
from jaxmars.convert.store import TENSOR_FILE, file_hash
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.tasks.scenario_table import Table, read_table
from jaxmars.tokens.domain import domain_from_json
from jaxmars.train.dataset import Dataset, dataset_source
from jaxmars.train.run import Run
from jaxmars.train.settings import SIZES, TrainConfig
from jaxmars.train.shards import BINS, TRAIN
from jaxmars.train.sources import Source, reference_source

MOST = 2**31 - 1
CONSTRAINTS = ("fitting_cancels", "never_sweeps")  # on what a model sends; they shape no parameter

EXAMPLE = """\
# A training run for jaxmars train. Paths are relative to this file. Whatever is left out has the
# value shown.

[data]
dataset = "data/tokens"      # folder made by jaxmars data build
# reference_market = true    # or fresh sessions of the synthetic market instead

[model]
size = "default"             # {sizes}
# from = "my_weights"        # go on from these weights; their bins must be those of the data
# has_summary = true         # with from: let weights without a summary learn to read it
# num_max_orders = 128       # with from: another context window, orders
# fitting_cancels = true     # with from: whether cancels look for an order of their size
# never_sweeps = true        # with from: whether orders that trade stay within the best queue
# head = "factored"          # any field of the model's config.json changes the named size

[train]
{train}
"""


def example() -> str:
    """A commented file with every default."""
    values = dataclasses.asdict(TrainConfig())
    show = lambda x: str(x).lower() if isinstance(x, bool) else f"{x}"
    train = "\n".join(f"{name} = {show(value)}" for name, value in values.items())
    return EXAMPLE.format(sizes=", ".join(SIZES), train=train)


def read_run(path: pathlib.Path, out: pathlib.Path, made_by: dict[str, Any]) -> Run:
    """The run a file describes, with its data opened and its model built.

    Args:
      path: TOML.
      out: folder of the run.
      made_by: kept in the manifest of the weights.

    Raises:
      InputError: no such file, not TOML, an unknown or missing key, a value out of its range, or
        data and weights that do not fit.
    """
    top, values = read_table(path)
    cfg = _train_config(top.table("train"))
    model_table, data_table = top.table("model"), top.table("data")
    here = path.resolve().parent
    start, before = None, {}
    if "from" in model_table:
        folder = here / model_table.text("from", "a model folder")
        start = OrderModel.from_pretrained(folder)
        before = {"from": about_weights(start, folder)}
        start = _changed(start, model_table, jax.random.key(cfg.seed))
    config = _model_config(model_table) if start is None else start.config
    model_table.finish()
    top.finish()
    source = _source(data_table, here, config, start, cfg)
    _check_bins(model_table, config, source.model)
    if start is None:
        start = OrderModel.init(source.model, jax.random.key(cfg.seed))
    model = dataclasses.replace(start, converters=source.converters)
    about = {"data": source.text, "config": values, "train": dataclasses.asdict(cfg)} | before
    return Run(source, model, cfg, out, about, made_by | {"config": values} | before)


def _changed(start: OrderModel, table: Table, key: jax.Array) -> OrderModel:
    """The weights to go on from with what [model] changes of them."""
    if "size" in table:
        raise table.fail("size", "no size, as the weights of 'from' have one")
    has = start.config.has_summary
    wanted = table.flag("has_summary", has)
    if has and not wanted:
        raise table.fail("has_summary", "true, as the weights of 'from' read the summary")
    if "num_max_orders" in table:
        start = start.with_settings(num_max_orders=table.whole("num_max_orders", 1, MOST))
    for name in CONSTRAINTS:
        flag = table.flag(name, getattr(start.config, name))
        start = start.with_settings(**{name: flag})
    return start.with_summary(key) if wanted else start


def about_weights(model: OrderModel, folder: pathlib.Path) -> dict[str, Any]:
    """Which weights a run goes on from: their hash, the orders their own run saw if known, and in
    `from` the same of the weights that run went on from, and so on."""
    known = {
        "weights_sha256": file_hash(folder / TENSOR_FILE),
        "orders_seen": model.manifest.get("orders_seen"),
    }
    if "from" in model.manifest:
        known["from"] = model.manifest["from"]
    return known


def _train_config(table: Table) -> TrainConfig:
    """The numbers of [train]."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(TrainConfig):
        if field.name not in table:
            continue
        if field.type is bool:
            found[field.name] = table.flag(field.name, True)
        elif field.type is int:
            found[field.name] = table.whole(field.name, 0, MOST)
        else:
            found[field.name] = table.number(field.name, 0, MOST)
    table.finish()
    try:
        return TrainConfig(**found)
    except ValueError as error:
        raise InputError(f"{table.where}: {error}") from None


def _model_config(table: Table) -> OrderModelConfig:
    """The size that [model] names, with the fields it changes."""
    size = SIZES[table.choice("size", SIZES, "default")]
    found: dict[str, Any] = {}
    for field in dataclasses.fields(OrderModelConfig):
        if field.name not in table:
            continue
        if field.type is int:
            found[field.name] = table.whole(field.name, 0, MOST)
        elif field.type is float:
            found[field.name] = table.number(field.name, 0, 1)
        elif field.type is bool:
            found[field.name] = table.flag(field.name, False)
        else:
            found[field.name] = table.text(field.name, "the name of a head")
    try:
        return dataclasses.replace(size, **found)
    except ValueError as error:
        raise InputError(f"{table.where}: {error}") from None


def _source(
    table: Table,
    here: pathlib.Path,
    config: OrderModelConfig,
    start: OrderModel | None,
    cfg: TrainConfig,
) -> Source:
    """The data that [data] names, checked against the weights to go on from."""
    synthetic = table.flag("reference_market", False)
    if synthetic == ("dataset" in table):
        raise InputError(
            f"{table.where} names {'both' if synthetic else 'no'} data, expected either dataset or "
            "reference_market = true"
        )
    folder = None if synthetic else here / table.text("dataset", "the folder of a dataset")
    table.finish()
    if folder is None:
        return reference_source(cfg.seed, config, _known(start))
    if start is not None:
        if start.converters is None:
            raise InputError("the weights to go on from hold no bins, expected converters.json")
        data = Dataset(folder, TRAIN, config.num_max_orders)
        data.check_model("the weights to go on from", config, start.converters)
        return dataset_source(folder, config)._replace(model=config)
    return dataset_source(folder, config)


def _check_bins(table: Table, asked: OrderModelConfig, model: OrderModelConfig) -> None:
    """Refuses numbers of bins that are not those of the data."""
    for name in BINS:
        there = getattr(model, name)
        if name in table and getattr(asked, name) != there:
            raise table.fail(name, f"{there}, as the dataset was built with, or nothing")


def _known(start: OrderModel | None):
    """Bins and domain of the weights to go on from, None without any."""
    if start is None:
        return None
    if start.converters is None or "domain" not in start.manifest:
        raise InputError(
            "the weights to go on from hold no bins or no summary of their training flow, expected "
            "a model that jaxmars trained"
        )
    return start.converters, domain_from_json(start.manifest["domain"])
