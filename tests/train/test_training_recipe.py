"""Configurations of training runs: what is refused, and weights to go on from."""

import dataclasses
import pathlib
import tomllib

import jax
import numpy as np
import pytest
from oracles.training_runs import CONFIG

from jaxmars.cli import main
from jaxmars.config import OrderModelConfig
from jaxmars.convert.store import file_hash
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.tasks.train_recipe import example, read_run
from jaxmars.train.settings import SIZES, TrainConfig


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "sead = 3", "unknown key 'sead', expected one of accumulate, batch"),
        ("steps = 12", "steps = 0", "training steps must be positive, got 0"),
        ("batch = 4", "batch = 4\naccumulate = 3", "batch 4 must be a multiple of accumulate 3"),
        ("save_every = 4", "save_every = 4.5", "save_every is 4.5, expected a whole number"),
        ("save_every = 4", "save_every = 5\n", None),
        ("report_every = 1", "report_every = 3", "save_every 4 must be a multiple of report_every"),
        ('size = "nano"', 'size = "nanu"', "size is 'nanu', expected one of nano, micro"),
        ("price_level = 8", "price_level = 16", "level is 16, expected 8, as the dataset was"),
        ("order_interval = 4", "order_interval = 5", "interval is 5, expected 4, as the dataset"),
        ("num_bins_order_interval = 4", "", None),
        ("dropout = 0.1", "dropout = 1.0", "dropout must be in [0, 1), got 1.0"),
        ("emb_dim = 8", "emb_dim = 9", "emb_dim 9 must be a multiple of twice num_heads"),
        ('dataset = "data"', "", "names no data, expected either dataset or reference_market"),
        ('dataset = "data"', 'dataset = "data"\nreference_market = true', "names both data"),
        ('dataset = "data"', 'dataset = "nothing"', "nothing"),
        ("num_max_orders = 7", "num_max_orders = 500", "longer than every train shard"),
        ("[model]", '[model]\nfrom = "absent"', "absent"),
        ("[train]", "[tran]", "unknown key 'tran'"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(
    world: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    message: str | None,
) -> None:
    """Exit code 2, one line on stderr, nothing written."""
    path = world / "wrong.toml"
    path.write_text(CONFIG.replace(old, new))
    if message is None:
        read_run(path, tmp_path, {})
        return
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists()


def test_the_example_is_a_configuration(world: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """With the defaults it shows; only its data are not there."""
    path = world / "example.toml"
    path.write_text(example())
    with pytest.raises(InputError, match=r"data/tokens"):
        read_run(path, tmp_path, {})
    shown = tomllib.loads(example())
    assert shown["train"] == dataclasses.asdict(TrainConfig())
    assert SIZES[shown["model"]["size"]] == OrderModelConfig.default()


def test_going_on_from_other_weights(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """They are the first parameters; a size beside them is refused."""
    head, tail = CONFIG.split("[model]")[0], CONFIG.split("[train]")[1]
    path = world / "on.toml"
    path.write_text(f'{head}[model]\nfrom = "{whole / "model"}"\n[train]{tail}')
    run = read_run(path, tmp_path, {})
    start = OrderModel.from_pretrained(whole / "model")
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, run.model.params, start.params)))
    tensors = whole / "model" / "model.safetensors"
    known = {"weights_sha256": file_hash(tensors), "orders_seen": start.manifest["orders_seen"]}
    assert run.about["from"] == known and known["orders_seen"] > 0
    run.model.save(tmp_path / "second", run.made_by)
    path.write_text(f'{head}[model]\nfrom = "{tmp_path / "second"}"\n[train]{tail}')
    assert read_run(path, tmp_path, {}).about["from"]["from"] == known
    path.write_text(f'{head}[model]\nfrom = "{whole / "model"}"\nsize = "nano"\n[train]{tail}')
    with pytest.raises(InputError, match="size is 'nano', expected no size"):
        read_run(path, tmp_path, {})


def test_weights_without_a_summary_are_given_one(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path, key: jax.Array
) -> None:
    head, tail = CONFIG.split("[model]")[0], CONFIG.split("[train]")[1]
    known = OrderModel.from_pretrained(whole / "model")
    plain = OrderModel.init(dataclasses.replace(known.config, has_summary=False), key)
    dataclasses.replace(plain, converters=known.converters).save(tmp_path / "plain")
    path = world / "grown.toml"
    path.write_text(
        f'{head}[model]\nfrom = "{tmp_path / "plain"}"\nhas_summary = true\n[train]{tail}'
    )
    grown = read_run(path, tmp_path, {}).model
    assert known.config.has_summary and grown.config == known.config
    assert not grown.params["embedding"].pop("summary")["out"]["kernel"].any()
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, grown.params, plain.params)))


def test_weights_go_on_in_another_window(
    world: pathlib.Path, whole: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """With the parameters they have; what they read already cannot be taken from them."""
    head, tail = CONFIG.split("[model]")[0], CONFIG.split("[train]")[1]
    path, start = world / "window.toml", OrderModel.from_pretrained(whole / "model")

    def read(line: str) -> OrderModel:
        path.write_text(f'{head}[model]\nfrom = "{whole / "model"}"\n{line}\n[train]{tail}')
        return read_run(path, tmp_path, {}).model

    shorter = read("num_max_orders = 3")
    assert shorter.config == dataclasses.replace(start.config, num_max_orders=3)
    assert shorter.net().cfg == shorter.config
    for name in ("fitting_cancels", "never_sweeps"):
        constrained = read(f"{name} = true")
        assert constrained.config == dataclasses.replace(start.config, **{name: True})
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, shorter.params, start.params)))
    for line, message in (
        (
            "has_summary = false",
            "has_summary is false, expected true, as the weights of 'from' read",
        ),
        ("num_max_orders = 0", "num_max_orders is 0, expected a whole number"),
        ("num_max_orders = 500", "longer than every train shard"),
        ("emb_dim = 8", "unknown key 'emb_dim'"),
    ):
        with pytest.raises(InputError, match=message):
            read(line)
