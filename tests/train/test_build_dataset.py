"""Building a dataset: what shards hold, what bins depend on, and builds that are stopped."""

import datetime
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax
from oracles.shard_days import MARKET, MODEL, day_of, random_flow, recipe_of
from oracles.tiny_world import quick_jit

from jaxmars.data import Flow, lobster_flow, read_lobster
from jaxmars.errors import InputError
from jaxmars.tokens.bins import load_converters
from jaxmars.tokens.order import advance, init_features
from jaxmars.tokens.quantities import Quantities, fit_converters
from jaxmars.tokens.window import rows_of
from jaxmars.train.build import FITTING, TOKENISING, Day, build_dataset
from jaxmars.train.flows import lobster_day
from jaxmars.train.journal import JOURNAL
from jaxmars.train.shards import (
    VERSION,
    Manifest,
    converters_digest,
    open_shard,
    read_manifest,
)
from jaxmars.train.splits import DateSplit, Split, TimeSplit, check_split
from jaxmars.train.tokenise import measure

ORDERS = 300
VALIDATION = datetime.date(2030, 1, 3)
TEST = datetime.date(2030, 1, 4)
BY_DATE = DateSplit(VALIDATION, TEST)
NAMES = [("A", "2030-01-01"), ("B", "2030-01-02"), ("A", "2030-01-03"), ("B", "2030-01-04")]
HAND = pathlib.Path(__file__).parents[1] / "data"
NOON = (34_200 + 150, 0)  # in the middle of the invented days


def silent(*_: Any) -> None:
    """No progress."""


def files_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class World:
    """Four days of two symbols, and what was read of them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.reads: list[str] = []
        self.flows = [random_flow(seed, ORDERS) for seed in range(len(NAMES))]
        self.days = [self.day(i, flow) for i, flow in enumerate(self.flows)]

    def day(self, number: int, flow: Flow, folder: str = "days") -> Day:
        """A day of this symbol and date with these orders."""
        return day_of(self.folder / folder, *NAMES[number], flow, self.reads)

    def build(
        self, name: str, days: list[Day] | None = None, split: Split = BY_DATE, report=silent
    ):
        """A dataset in a folder of its own, and its manifest."""
        out = self.folder / name
        recipe = recipe_of(self.days if days is None else days, split)
        return out, build_dataset(recipe, out, {"made_by": "test"}, report)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def built(world: World) -> tuple[pathlib.Path, Manifest]:
    return world.build("whole")


@pytest.fixture(scope="module")
def expected_rows(world: World, built: tuple[pathlib.Path, Manifest]):
    """Rows, finality and the last feature state of a day, from the definition."""
    converters = load_converters(built[0])
    assert converters is not None
    tables = converters.tables()

    @quick_jit
    def of_day(flow: Flow):
        step = lambda state, item: (advance(tables, MARKET, state, *item)[0], None)
        last, _ = lax.scan(step, init_features(flow.l2.price.shape[-1]), flow)
        return *rows_of(tables, MARKET, flow.event, flow.l2), last

    return [jax.tree.map(np.asarray, of_day(flow)) for flow in world.flows]


def test_a_shard_holds_the_final_rows_of_its_day(world: World, built, expected_rows) -> None:
    out, manifest = built
    merged = 0
    for shard, (rows, final, last) in zip(manifest.shards, expected_rows, strict=True):
        assert np.array_equal(open_shard(out, shard), rows[final])
        assert shard.rows == final.sum()
        assert shard.open_time == [int(last.open_time.sec), int(last.open_time.nsec)]
        assert shard.open_price == int(last.open_price) > 0
        assert shard.last_elapsed == rows[final][-1, 4]
        merged += ORDERS - 1 - shard.rows
    assert merged > 20


def test_the_manifest_says_what_is_where(built) -> None:
    out, manifest = built
    assert read_manifest(out) == manifest
    assert [(x.symbol, x.date) for x in manifest.shards] == NAMES
    assert [x.split for x in manifest.shards] == ["train", "train", "validation", "test"]
    assert sorted(files_of(out)) == sorted(
        ["manifest.json", "converters.json", *(x.file for x in manifest.shards)]
    )
    assert manifest.split == {
        "by": "date",
        "validation_from": "2030-01-03",
        "test_from": "2030-01-04",
    }
    assert manifest.bins["num_bins_price_level"] == MODEL.num_bins_price_level
    assert 0 < manifest.shards[0].domain["end_bins"] < 0.5
    assert manifest.shards[0].lot_size == 1
    assert manifest.made_by == {"made_by": "test"}


def test_bins_are_those_of_all_training_orders(world: World, built) -> None:
    """Together, as the release fits them."""
    found = [measure(flow, MARKET) for flow in world.flows[:2]]
    together: Quantities = jax.tree.map(lambda *x: np.concatenate(x), *found)
    ours = load_converters(built[0])
    assert ours is not None
    assert converters_digest(ours) == converters_digest(fit_converters(together, MODEL))


@pytest.mark.parametrize("changed", range(4))
def test_bins_depend_on_training_dates_only(world: World, built, changed: int) -> None:
    """A day of other sizes, prices and number of orders moves the bins only where it trains."""
    other = world.day(changed, random_flow(100, 200, scale=7), f"other{changed}")
    days = [other if i == changed else day for i, day in enumerate(world.days)]
    out, manifest = world.build(f"changed{changed}", days)
    same = files_of(out)["converters.json"] == files_of(built[0])["converters.json"]
    assert same == (changed >= 2)
    assert (manifest.domain == built[1].domain) == (changed >= 2)
    assert manifest.shards[changed].sha256 != built[1].shards[changed].sha256
    kept = [x.sha256 == y.sha256 for x, y in zip(manifest.shards, built[1].shards, strict=True)]
    assert kept == [same and i != changed for i in range(4)]


def test_the_first_pass_does_not_open_what_it_must_not_see(world: World) -> None:
    world.reads.clear()
    steps: list[tuple] = []
    world.build("seen", report=lambda *step: steps.append((*step, len(world.reads))))
    assert world.reads[:2] == ["A_2030-01-01", "B_2030-01-02"]
    assert [x[:3] for x in steps] == [
        *((FITTING, i, 2) for i in (1, 2)),
        *((TOKENISING, i, 4) for i in (1, 2, 3, 4)),
    ]
    assert [x[3] for x in steps] == [1, 2, 3, 4, 5, 6]


def test_the_order_of_the_days_does_not_matter(world: World, built) -> None:
    out, manifest = world.build("backwards", world.days[::-1])
    assert manifest.shards == built[1].shards[::-1]
    for name in ("converters.json", manifest.shards[0].file):
        assert files_of(out)[name] == files_of(built[0])[name]


def test_parts_of_one_day(world: World, expected_rows) -> None:
    """By time of the day: the parts in a row are the day, and later orders do not move the bins."""
    split = TimeSplit(NOON, (NOON[0] + 60, 0))
    out, manifest = world.build("noon", world.days[:1], split)
    assert [x.split for x in manifest.shards] == ["train", "validation", "test"]
    rows = [open_shard(out, shard) for shard in manifest.shards]
    elapsed = np.concatenate([x[:, 4] for x in rows])
    assert np.array_equal(elapsed, expected_rows[0][0][expected_rows[0][1]][:, 4])
    opened = manifest.shards[0].open_time[0]
    assert rows[0][-1, 4] + opened <= NOON[0] + 1
    assert rows[1][0, 4] + opened >= NOON[0] - 1
    assert all(len(x) > 10 for x in rows)
    flow = world.flows[0]
    late = np.asarray(flow.event.time.sec) >= NOON[0]
    changed = flow._replace(event=flow.event._replace(size=flow.event.size * np.where(late, 9, 1)))
    changed = changed._replace(event=changed.event._replace(size=changed.event.size.astype("i4")))
    again, _ = world.build("noon2", [world.day(0, changed, "noon")], split)
    assert files_of(again)["converters.json"] == files_of(out)["converters.json"]
    assert files_of(again)[manifest.shards[0].file] == files_of(out)[manifest.shards[0].file]
    assert files_of(again)[manifest.shards[1].file] != files_of(out)[manifest.shards[1].file]


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", range(1, 6))
def test_a_build_that_was_killed_goes_on(world: World, built, step: int) -> None:
    """After any day of either pass, in the middle of a file and of a line of its journal."""

    def stop(stage: str, done: int, wanted: int) -> None:
        if done + (2 if stage == TOKENISING else 0) == step:
            raise KilledError

    name = f"killed{step}"
    with pytest.raises(KilledError):
        world.build(name, report=stop)
    journal = world.folder / name / JOURNAL
    assert not (world.folder / name / "manifest.json").exists()
    finished = max(step - 2, 0)
    if finished:
        lines = journal.read_text().splitlines(keepends=True)
        assert len(lines) == 1 + finished
        journal.write_text("".join(lines) + '{"file": "A_2030')
    (world.folder / name / ".part7").mkdir(parents=True)
    (world.folder / name / ".part7" / "A.npy").write_text("half")
    (world.folder / name / ".converters.json.8.part").write_text("half")
    world.reads.clear()
    out, manifest = world.build(name)
    assert manifest == built[1]
    assert files_of(out) == files_of(built[0])
    expected = [] if finished else ["A_2030-01-01", "B_2030-01-02"]
    assert world.reads == expected + ["_".join(x) for x in NAMES[finished:]]


def test_a_finished_build_is_repaired(world: World, built) -> None:
    """Only what is damaged is read and written again."""
    out, manifest = world.build("damaged")
    world.reads.clear()
    world.build("damaged")
    assert world.reads == []
    path = out / manifest.shards[2].file
    path.write_bytes(path.read_bytes()[:-1])
    (out / manifest.shards[1].file).unlink()
    world.build("damaged")
    assert world.reads == ["B_2030-01-02", "A_2030-01-03"]
    assert files_of(out) == files_of(built[0])


def test_a_folder_of_other_data_is_left_alone(world: World, tmp_path: pathlib.Path) -> None:
    out, _ = world.build("mine")
    before = files_of(out)
    with pytest.raises(InputError, match="dataset of other days, bins or splits"):
        world.build("mine", split=DateSplit(TEST, None))
    with pytest.raises(InputError, match="dataset of other days, bins or splits"):
        world.build("mine", world.days[:3])
    assert files_of(out) == before
    (world.folder / "theirs").mkdir()
    (world.folder / "theirs" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"holds thesis.tex, expected an empty folder"):
        world.build("theirs")


def test_a_damaged_journal_is_refused(world: World) -> None:
    out = world.folder / "journal"
    out.mkdir()
    (out / JOURNAL).write_text("no json\n")
    with pytest.raises(InputError, match="expected one JSON object a line"):
        world.build("journal")
    (out / JOURNAL).write_text('{"plan": 1}\n')
    with pytest.raises(InputError, match="line 1 has the unknown key 'plan'"):
        world.build("journal")


def test_bins_of_a_model(world: World, built, tmp_path: pathlib.Path) -> None:
    """Rows for a model that exists: its bins, whatever the training part."""
    bins = load_converters(built[0])
    assert bins is not None
    recipe = recipe_of(world.days[2:], DateSplit())._replace(bins=bins)
    out = tmp_path / "out"
    manifest = build_dataset(recipe, out, {}, silent)
    assert manifest.converters_sha256 == built[1].converters_sha256
    assert [x.sha256 for x in manifest.shards] == [x.sha256 for x in built[1].shards[2:]]
    assert manifest.domain != built[1].domain
    with pytest.raises(InputError, match="dataset of other days, bins or splits"):
        build_dataset(recipe._replace(bins=None), out, {}, silent)


def no_days(days: list[Day]) -> list[Day]:
    return []


def twice(days: list[Day]) -> list[Day]:
    return [*days, days[0]]


def bad_symbol(days: list[Day]) -> list[Day]:
    return [days[0]._replace(symbol="../A")]


def no_file(days: list[Day]) -> list[Day]:
    return [days[0]._replace(files=(pathlib.Path("nowhere.parquet"),))]


def only_late(days: list[Day]) -> list[Day]:
    return days[2:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_days, "no day was given"),
        (twice, "A on 2030-01-01 is given twice"),
        (bad_symbol, r"the symbol '\.\./A' is not"),
        (no_file, r"nowhere.parquet does not exist"),
        (only_late, "no order lies in the training part"),
    ],
)
def test_recipes_that_make_no_dataset(world: World, change, message: str, tmp_path) -> None:
    with pytest.raises(InputError, match=message):
        world.build("none", change(world.days))
    assert not (world.folder / "none").exists()


@pytest.mark.parametrize("coarse", [0, 2])
def test_other_ticks_of_one_symbol_are_refused(
    world: World, tmp_path: pathlib.Path, coarse: int
) -> None:
    """Of days that train and of days that validate; other symbols may have another one."""

    def change(day: Day) -> Day:
        return day._replace(read=lambda: day.read()._replace(tick_size=0.05))

    days = [change(day) if i in (coarse, 1, 3) else day for i, day in enumerate(world.days)]
    dates = ["2030-01-03", "2030-01-01"] if coarse == 0 else ["2030-01-01", "2030-01-03"]
    message = "days of A have ticks of 0.01 on {}; 0.05 on {}: expected one".format(*dates)
    split = DateSplit(VALIDATION if coarse else None, None)
    with pytest.raises(InputError, match=message):
        build_dataset(recipe_of(days, split), tmp_path, {}, silent)
    assert not (tmp_path / "manifest.json").exists()


def test_orders_out_of_time_are_refused(world: World, tmp_path: pathlib.Path) -> None:
    flow = random_flow(0, ORDERS)
    sec = np.array(flow.event.time.sec)
    sec[7] += 10_000
    event = flow.event._replace(time=flow.event.time._replace(sec=sec))
    day = day_of(tmp_path, "A", "2030-01-01", Flow(event, flow.l2), [])
    with pytest.raises(InputError, match="order 9 of A on 2030-01-01 comes before"):
        world.build("late", [day])


def test_parts_that_begin_in_the_wrong_order() -> None:
    check_split(DateSplit(None, VALIDATION))
    check_split(TimeSplit(NOON, None))
    with pytest.raises(InputError, match="begins at 2030-01-03, expected after 2030-01-04"):
        check_split(DateSplit(TEST, VALIDATION))
    with pytest.raises(InputError, match="begins at 09:32:30, expected after 09:32:30"):
        check_split(TimeSplit(NOON, NOON))


def test_a_lobster_day(built: tuple[pathlib.Path, Manifest], tmp_path: pathlib.Path) -> None:
    """The hand-made day in the bins of another dataset."""
    files = (HAND / "hand_message_3.csv", HAND / "hand_orderbook_3.csv")
    read = functools.partial(lobster_day, *files, None)
    day = Day("HAND", datetime.date(2030, 1, 1), files, {}, read)
    bins = load_converters(built[0])
    assert bins is not None
    recipe = recipe_of([day], DateSplit())._replace(bins=bins)
    (shard,) = build_dataset(recipe, tmp_path / "x", {}, silent).shards
    flow = lobster_flow(read_lobster(*files))
    rows, final = quick_jit(functools.partial(rows_of, bins.tables(), MARKET))(*flow)
    assert np.array_equal(open_shard(tmp_path / "x", shard), np.asarray(rows)[np.asarray(final)])
    assert shard.rows > 15
    assert (shard.tick_size, shard.lot_size) == (0.01, read().lot_size)
    assert json.loads((tmp_path / "x" / "manifest.json").read_text())["version"] == VERSION
