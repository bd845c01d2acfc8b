"""Windows of a dataset: where they lie, that they can be resumed anywhere, and damaged datasets."""

import dataclasses
import itertools
import json
import pathlib
import pickle
import resource
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from oracles.tiny_dataset import LENGTH, MODEL, NUMBER, PLACE, ROWS, write_dataset
from oracles.tiny_world import bins_of, tiny_converters

from jaxmars.config import MarketConfig
from jaxmars.errors import InputError
from jaxmars.models.order_model import shape_of
from jaxmars.tokens.bins import save_converters
from jaxmars.tokens.order import ROW_WIDTH
from jaxmars.train import dataset as datasets
from jaxmars.train.dataset import Dataset, dataset_source
from jaxmars.train.losses import mean_loss
from jaxmars.train.shards import write_shard


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_dataset(tmp_path / "data")


@pytest.fixture
def dataset(folder: pathlib.Path) -> Dataset:
    return Dataset(folder, "train", LENGTH)


def epoch_of(dataset: Dataset, seed: int) -> np.ndarray:
    """The windows of the first epoch."""
    return np.asarray(next(dataset.windows(dataset.num_windows, seed)).rows)


@pytest.mark.parametrize("seed", range(10))
def test_an_epoch_cuts_every_shard_into_windows_that_do_not_overlap(
    dataset: Dataset, seed: int
) -> None:
    windows = epoch_of(dataset, seed)
    assert windows.shape == (dataset.num_windows, LENGTH + 1, ROW_WIDTH)
    assert windows.dtype == np.int32
    assert dataset.num_windows == sum((rows - 1) // LENGTH for rows in ROWS["train"])
    scored = set()
    for window in windows:
        assert len(set(window[:, NUMBER].tolist())) == 1
        assert (np.diff(window[:, PLACE]) == 1).all()
        places = {(int(row[NUMBER]), int(row[PLACE])) for row in window[1:]}
        assert not scored & places
        scored |= places
    assert len(scored) == dataset.num_windows * LENGTH


def test_every_place_of_a_shard_is_met_at_some_offset(dataset: Dataset) -> None:
    starts = [epoch_of(dataset, seed)[:, 0] for seed in range(60)]
    first = {int(row[PLACE]) for rows in starts for row in rows if row[NUMBER] == 4}
    assert first == {0, 7}  # 15 rows leave no room
    second = {int(row[PLACE]) for rows in starts for row in rows if row[NUMBER] == 3}
    assert second == {0, 7, 14, 21}  # nor do 29
    third = {int(row[PLACE]) for rows in starts for row in rows if row[NUMBER] == 0}
    assert third == set(range(49))  # 56 leave seven offsets


def test_epochs_and_seeds_differ(dataset: Dataset) -> None:
    stream = dataset.windows(dataset.num_windows, 3)
    first, second = next(stream).rows, next(stream).rows
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epoch_of(dataset, 4))
    assert np.array_equal(first, epoch_of(dataset, 3))


def test_the_windows_are_the_same_whatever_the_batch(dataset: Dataset) -> None:
    total = 4 * dataset.num_windows
    alone = np.concatenate([next(x).rows for x in [dataset.windows(1, 0)] for _ in range(total)])
    for batch in (2, 4, dataset.num_windows + 1):
        stream = dataset.windows(batch, 0)
        found = np.concatenate([next(stream).rows for _ in range(total // batch)])
        assert np.array_equal(found, alone[: len(found)])


@pytest.mark.parametrize("stop", range(9))
def test_a_stream_goes_on_at_any_batch(folder: pathlib.Path, stop: int) -> None:
    """Also in another process, which knows the place from a JSON file and nothing else."""
    whole = Dataset(folder, "train", LENGTH).windows(5, 1)
    expected = [next(whole).rows for _ in range(12)]
    before = Dataset(folder, "train", LENGTH).windows(5, 1)
    for _ in range(stop):
        next(before)
    place = json.loads(json.dumps(before.state()))
    after = Dataset(folder, "train", LENGTH).windows(5, 1)
    after.restore(place)
    for batch in expected[stop:]:
        assert np.array_equal(next(after).rows, batch)
    assert after.state() == whole.state()


def test_a_stream_goes_on_with_another_batch(dataset: Dataset) -> None:
    whole = dataset.windows(1, 1)
    expected = np.concatenate([next(whole).rows for _ in range(13)])
    before, after = dataset.windows(3, 1), dataset.windows(5, 1)
    next(before)
    after.restore(before.state())
    assert np.array_equal(np.concatenate([next(after).rows, next(after).rows]), expected[3:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "is of seed 2, expected 1"),
        ({"dataset": "other"}, "is of dataset 'other'"),
        ({"windows": -1}, "window -1, expected a count"),
        ({"windows": True}, "window True, expected a count"),
        ({"more": 1}, "has the keys"),
    ],
)
def test_a_place_in_other_data_is_refused(
    dataset: Dataset, change: dict[str, Any], message: str
) -> None:
    stream = dataset.windows(5, 1)
    next(stream)
    before = stream.state()
    with pytest.raises(InputError, match=message):
        stream.restore(before | change)
    assert stream.state() == before


def test_a_place_depends_on_the_length_of_windows(folder: pathlib.Path, dataset: Dataset) -> None:
    other = Dataset(folder, "train", LENGTH - 1).windows(5, 1)
    with pytest.raises(InputError, match="is of dataset"):
        other.restore(dataset.windows(5, 1).state())


def test_few_maps_stay_open(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it changes nothing but that."""
    expected = epoch_of(dataset, 0)
    monkeypatch.setattr(datasets, "MOST_OPEN", 2)
    few = Dataset(dataset.folder, "train", LENGTH)
    assert np.array_equal(epoch_of(few, 0), expected)
    assert len(few._maps) == 2


def test_a_pass_in_order(folder: pathlib.Path) -> None:
    """With what does not fill a batch."""
    held_out = Dataset(folder, "validation", LENGTH)
    batches = list(held_out.in_order(2))
    assert [batch.rows[:, 0, PLACE].tolist() for batch in batches] == [[0, 7], [14, 21], [28]]


def test_a_few_windows_are_of_all_shards(tmp_path: pathlib.Path) -> None:
    """As many of each as its length asks for, at many times of the day, the same in every call."""
    shards = 20
    write_dataset(tmp_path, {"train": [9], "validation": [40 * LENGTH + 1] * shards})
    held_out = Dataset(tmp_path, "validation", LENGTH)
    rows = np.concatenate([x.rows for x in held_out.in_order(64, 4 * shards)])
    assert np.bincount(rows[:, 0, NUMBER]).tolist() == [4] * shards
    assert len(set(rows[:, 0, PLACE].tolist())) > shards
    again = np.concatenate([x.rows for x in held_out.in_order(7, 4 * shards)])
    assert np.array_equal(rows, again)
    every = np.concatenate([x.rows for x in held_out.in_order(64, 10**6)])
    assert len(every) == held_out.num_windows == len({tuple(x) for x in every[:, 0, 1:3].tolist()})


def test_a_source_of_training(folder: pathlib.Path) -> None:
    """Everything a training run asks for; its batches are what the loss takes."""
    source = dataset_source(folder, MODEL)
    assert source.market.tick_size == 0.05
    assert source.market.lot_size == 10
    assert source.market.calendar == MarketConfig.chinese_a_share().calendar
    assert source.model.num_time_rows * source.model.seconds_per_row > 20_000
    assert source.domain.size == (100.0,) * 5
    assert source.text == "108 orders of S0, S2, S3, S4 (4 shards)"
    (batch,) = source.validation(64)
    assert batch.rows.shape == (5, LENGTH + 1, ROW_WIDTH)
    assert batch.own.all()
    assert batch.own.shape == (5, LENGTH + 1)
    stream = source.training(3, 0)
    graphdef, params = shape_of(source.model)
    loss = lambda params, windows: mean_loss(nnx.merge(graphdef, params), windows)
    for windows in itertools.islice(stream, 4):
        assert jax.eval_shape(loss, params, windows).shape == ()
    one, other = (next(source.training(3, seed)).rows for seed in (0, 0))
    assert np.array_equal(one, other)


def test_a_whole_dataset_is_verified(dataset: Dataset) -> None:
    dataset.verify()


def damage_cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


def damage_header(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def damage_pickle(path: pathlib.Path) -> None:
    path.write_bytes(pickle.dumps({"rows": 1}))


def damage_objects(path: pathlib.Path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


def damage_type(path: pathlib.Path) -> None:
    np.save(path, np.zeros((50, ROW_WIDTH), np.int64))


def damage_away(path: pathlib.Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_cut, "damaged or truncated"),
        (damage_header, "damaged or truncated"),
        (damage_pickle, "damaged or truncated"),
        (damage_objects, "damaged or truncated"),
        (damage_type, "holds int64"),
        (damage_away, "which its manifest lists"),
    ],
)
def test_a_damaged_shard_is_refused_at_once(folder: pathlib.Path, damage, message: str) -> None:
    damage(folder / "S0_2030-01-01_train.npy")
    with pytest.raises(InputError, match=message):
        Dataset(folder, "train", LENGTH)
    Dataset(folder, "validation", LENGTH)


def test_a_changed_number_is_found_by_reading(folder: pathlib.Path) -> None:
    path = folder / "S3_2030-01-01_train.npy"
    rows = np.load(path)
    rows[5, 3] ^= 1
    np.save(path, rows)
    dataset = Dataset(folder, "train", LENGTH)
    with pytest.raises(InputError, match=r"S3_2030-01-01_train.npy differs from the sha256"):
        dataset.verify()


@pytest.mark.parametrize(
    ("split", "length", "message"),
    [
        ("train", 56, "longer than every train shard .*, expected at most 55"),
        ("test", 9, "longer than every test shard .*, expected at most 8"),
        ("train", 0, "expected at least 1"),
        ("practice", 5, "one of train, validation, test"),
    ],
)
def test_windows_that_cannot_be_cut(
    folder: pathlib.Path, split: str, length: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Dataset(folder, split, length)


def test_a_split_without_shards(tmp_path: pathlib.Path) -> None:
    write_dataset(tmp_path, {"train": [20]})
    with pytest.raises(InputError, match="has no validation part"):
        Dataset(tmp_path, "validation", LENGTH)


def test_a_shard_is_what_numpy_saves(tmp_path: pathlib.Path) -> None:
    rows = np.arange(3 * ROW_WIDTH, dtype=np.int32).reshape(3, ROW_WIDTH)
    for count in (0, 3):
        write_shard(tmp_path / "ours.npy", rows[:count])
        np.save(tmp_path / "numpy.npy", rows[:count])
        assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_shard_that_finds_no_room(tmp_path: pathlib.Path) -> None:
    """One sentence with the file and the reason; a file that was there stays."""
    path = tmp_path / "S.npy"
    write_shard(path, np.zeros((1, ROW_WIDTH)))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(InputError, match=r"S.npy cannot be written: File too large$"):
            write_shard(path, np.zeros((1000, ROW_WIDTH)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["S.npy"]


def edit(folder: pathlib.Path, change) -> None:
    """Changes the manifest's JSON."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.update(colour=1), "unknown key 'colour'"),
        (lambda x: x.pop("bins"), "lacks the key bins"),
        (lambda x: x.update(version=1), "another version.*build the dataset again"),
        (lambda x: x.update(shards={}), "expected list"),
        (lambda x: x.update(shards=[]), "lists no shard"),
        (lambda x: x["bins"].update(num_bins_price_level=0), "num_bins_price_level is 0"),
        (lambda x: x["bins"].update(more=3), "bins has the unknown key 'more'"),
        (lambda x: x["shards"][1].update(more=3), "shard 2 has the unknown key 'more'"),
        (lambda x: x["shards"][0].update(rows=-1), "shard 1: rows is -1"),
        (lambda x: x["shards"][0].update(file="../x.npy"), "shard 1: file is '../x.npy'"),
        (lambda x: x["shards"][0].update(rows=51), rf"expected int32\[51, {ROW_WIDTH}\]"),
        (lambda x: x.update(converters_sha256="0"), "holds other bins"),
        (lambda x: x.update(domain={}), "expected end_bins"),
    ],
)
def test_a_wrong_manifest(folder: pathlib.Path, change, message: str) -> None:
    edit(folder, change)
    with pytest.raises(InputError, match=message):
        Dataset(folder, "train", LENGTH)


@pytest.mark.parametrize(
    "market",
    [
        {"calendar": [["LUNCH", 0, 5]], "late_hour": 24, "late_shift": 0},
        {"calendar": [["CONTINUOUS", 5, 0]], "late_hour": 24, "late_shift": 0},
        {"calendar": 7, "late_hour": 24, "late_shift": 0},
        {"calendar": [], "late_hour": 24},
    ],
)
def test_a_wrong_calendar(folder: pathlib.Path, market: dict[str, Any]) -> None:
    edit(folder, lambda x: x.update(market=market))
    with pytest.raises(InputError, match=r"manifest.json: market"):
        _ = Dataset(folder, "train", LENGTH).market


def test_a_folder_that_is_no_dataset(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"has no manifest.json, expected a dataset"):
        Dataset(tmp_path, "train", LENGTH)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is not a JSON file"):
        Dataset(tmp_path, "train", LENGTH)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="holds list, expected a JSON object"):
        Dataset(tmp_path, "train", LENGTH)


def test_bins_of_another_model_are_refused(dataset: Dataset) -> None:
    ours = tiny_converters()
    model = dataset.model(MODEL)
    dataset.check_model("m", model, ours)
    other = ours._replace(order_interval=bins_of([-1, 0, 0.3, 0.7, 1.6]))
    with pytest.raises(InputError, match=r"order_interval bins .* are not those of m"):
        dataset.check_model("m", model, other)
    fewer = ours._replace(price_level=bins_of(range(-3, 4)))
    with pytest.raises(InputError, match="price_level bins"):
        dataset.check_model("m", model, fewer)


def test_a_time_table_that_ends_too_early_is_refused(dataset: Dataset) -> None:
    short = dataclasses.replace(dataset.model(MODEL), num_time_rows=100)
    with pytest.raises(InputError, match="needs a time table of 4001 rows"):
        dataset.check_model("m", short, tiny_converters())


def test_changed_bins_beside_the_shards(folder: pathlib.Path) -> None:
    save_converters(folder, tiny_converters()._replace(price_level=bins_of(range(-3, 6))))
    with pytest.raises(InputError, match="holds other bins than the rows were made with"):
        Dataset(folder, "train", LENGTH)
    (folder / "converters.json").unlink()
    with pytest.raises(InputError, match=r"has no converters.json"):
        Dataset(folder, "train", LENGTH)
