"""Evaluation sequences: records stay as they are, what is made follows from seed and start."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from oracles.forecast_world import (
    DAY_LEVELS,
    DAY_OPEN,
    GROWTH,
    LANES,
    SLOTS,
)
from oracles.sequence_days import (
    COND,
    FIELDS,
    MESSAGES,
    NAMED,
    STARTS,
    good_flags,
    hidden_day,
    named_day,
    same,
    script,
)

from jaxmars.agents.policy import anchored
from jaxmars.config import SimConfig
from jaxmars.data import (
    LobsterData,
    MessageType,
    flow_until,
    lobster_flow,
    nanoseconds,
    one_step_mismatches,
    read_lobster,
)
from jaxmars.data.start import lobster_start
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks import sequences
from jaxmars.tasks.calibrate import fit_poisson_book
from jaxmars.tasks.forecast import start_history
from jaxmars.tasks.sequence_makers import Maker, model_maker, poisson_maker
from jaxmars.tasks.sequences import (
    Sequence,
    generate_sequences,
    overlaps,
    start_rows,
    starts_of,
    take_rows,
)
from jaxmars.types import Status

BEGIN, END = (DAY_OPEN + 200, 0), (DAY_OPEN + 320, 0)  # of the synthetic day
MARKET = dataclasses.replace(reference_market(), slots=SLOTS)
SEGMENT = 50
Make = Callable[..., list[Sequence]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    return named_day(tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def day(files: tuple[pathlib.Path, pathlib.Path]) -> LobsterData:
    return hidden_day(*files)


@pytest.fixture(scope="module")
def rows(day: LobsterData) -> np.ndarray:
    return range_of(day, STARTS)


@pytest.fixture(scope="module")
def baseline(day: LobsterData) -> Maker:
    return poisson_maker(fit_poisson_book(flow_until(lobster_flow(day), *BEGIN)), SEGMENT)


@pytest.fixture(scope="module")
def make(day: LobsterData, rows: np.ndarray) -> Make:
    def run(maker: Maker, at: np.ndarray = rows, seed: int = 0, lanes: int = 2) -> list[Sequence]:
        options: dict[str, Any] = {"num_messages": MESSAGES, "num_cond": COND, "seed": seed}
        return generate_sequences(day, at, maker, cfg=SimConfig(MARKET, lanes=lanes), **options)

    return run


@pytest.fixture(scope="module")
def trajectories(make: Make, baseline: Maker) -> list[Finished]:
    """What the baseline does in as many events as its first run has."""
    kept: list[Finished] = []
    run = sequences.run_lanes

    def spy(*args: Any, cfg: SimConfig, **more: Any) -> list[Finished]:
        kept.extend(run(*args, cfg=dataclasses.replace(cfg, max_events=2 * SEGMENT), **more))
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "run_lanes", spy)
        make(baseline)
    return sorted(kept, key=lambda t: t.number)


@pytest.fixture(scope="module")
def made(make: Make, baseline: Maker, trajectories: list[Finished]) -> list[Sequence]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "run_lanes", lambda *_, **__: trajectories)
        return make(baseline)


@pytest.fixture(scope="module")
def by_model(make: Make, tiny: Maker) -> list[Sequence]:
    return make(tiny, lanes=LANES)


@pytest.fixture(scope="module")
def tiny(model: OrderModel) -> Maker:
    return model_maker(model, anchored(model.config, GROWTH), MARKET)


def range_of(data: LobsterData, starts: int, **more: Any) -> np.ndarray:
    """Rows in the range of the synthetic day."""
    options = {"num_messages": MESSAGES, "num_cond": COND, "needed": 20} | more
    return start_rows(data, BEGIN, END, starts, **options)


def joined(*parts: LobsterData) -> LobsterData:
    """Rows after rows."""
    columns = {f: np.concatenate([getattr(x, f) for x in parts]) for f in FIELDS}
    l2 = jax.tree.map(lambda *x: np.concatenate(x), *(x.l2 for x in parts))
    return parts[0]._replace(**columns, l2=l2)


def check_sequences(data: LobsterData, found: list[Sequence], messages: int, cond: int) -> None:
    """What holds of every sequence, whoever made it."""
    for sequence in found:
        assert len(sequence.gen.sec) == len(sequence.real.sec) == messages
        assert len(sequence.cond.sec) == cond
        last = take_rows(sequence.cond, slice(-1, None))
        stamp = nanoseconds(last.sec, last.nsec)[0]
        for part in (sequence.real, sequence.gen):
            report = one_step_mismatches(joined(last, part))
            assert (report.checked, report.mismatched) == (messages, 0)
            assert nanoseconds(part.sec, part.nsec)[0] >= stamp
            assert set(part.type) <= set(range(1, 5))
            assert part.l2.price.shape[2] == data.l2.price.shape[2]
        assert sequence.status == 0


def test_what_the_baseline_makes_obeys_the_book(day: LobsterData, made: list[Sequence]) -> None:
    check_sequences(day, made, MESSAGES, COND)
    assert {MessageType.NEW, MessageType.DELETE} <= set(np.concatenate([x.gen.type for x in made]))


def test_what_a_model_makes_obeys_the_book(day: LobsterData, by_model: list[Sequence]) -> None:
    check_sequences(day, by_model, MESSAGES, COND)
    new = by_model[0].gen
    assert len(set(new.order_id[new.type == MessageType.NEW])) == (new.type == 1).sum()


def test_an_order_leaves_only_after_it_came(made: list[Sequence], by_model: list[Sequence]) -> None:
    """Ids of a sequence mean the same order throughout; others rested at the start."""
    known = 0
    for sequence in made + by_model:
        left: dict[int, int] = {}
        columns = (getattr(sequence.gen, x).tolist() for x in ("type", "order_id", "size"))
        for kind, order_id, size in zip(*columns, strict=True):
            if kind == MessageType.NEW:
                left[order_id] = size
            elif order_id in left:
                known += 1
                left[order_id] -= size
                assert left[order_id] >= 0
                gone = {MessageType.DELETE: True, MessageType.PARTIAL_CANCEL: False}
                assert gone.get(kind, left[order_id] == 0) == (left[order_id] == 0)
            else:
                assert -2 * DAY_LEVELS <= order_id < 0
    assert known > 10


def test_recorded_rows_stay_as_they_are_without_the_hidden_ones(
    day: LobsterData, rows: np.ndarray, made: list[Sequence]
) -> None:
    check_recorded(day, rows, made, COND)


def check_recorded(data: LobsterData, rows: np.ndarray, found: list[Sequence], cond: int) -> None:
    visible = np.flatnonzero(data.type < MessageType.HIDDEN_EXECUTION)
    assert len(visible) < len(data.type)
    for row, sequence in zip(rows, found, strict=True):
        here = np.searchsorted(visible, row, "right")
        assert same(sequence.real, take_rows(data, visible[here : here + MESSAGES]))
        assert same(sequence.cond, take_rows(data, visible[here - cond : here]))


def test_a_model_starts_from_the_same_history_as_a_forecast(
    day: LobsterData, rows: np.ndarray, tiny: Maker, model: OrderModel
) -> None:
    """Though it is given the last orders only, for all starts at once."""
    starts = starts_of(day, rows, tiny, MARKET)
    window = model.config.num_max_orders
    for i, row in enumerate(rows[:1]):
        one = lobster_start(day, int(day.sec[row]), int(day.nsec[row]), MARKET, tiny.needed)
        expected = start_history(one, model, MARKET, tiny.needed)
        found = jax.tree.map(lambda x, i=i: x[i], starts.memories[0])
        assert int(found.window.count) == int(expected.window.count) == window
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(jax.tree.leaves(starts.book), jax.tree.leaves(one.book), strict=True):
            np.testing.assert_array_equal(a[i], b)
        assert int(starts.last_price[i]) == int(one.last_price)


def test_starts_are_spread_over_the_range(day: LobsterData) -> None:
    rows = range_of(day, 50)
    stamps = nanoseconds(day.sec, day.nsec)
    visible = np.flatnonzero(day.type < MessageType.HIDDEN_EXECUTION)
    place, stamps = np.searchsorted(visible, rows), stamps[visible]
    assert (visible[place] == rows).all()
    assert (stamps[place + 1] > stamps[place]).all()
    assert stamps[place[0]] >= nanoseconds(*BEGIN) > stamps[place[0] - 1]
    assert stamps[place[-1] + MESSAGES] <= nanoseconds(*END) < stamps[place[-1] + MESSAGES + 1]
    gaps = np.diff(place)
    assert len(gaps) == 49 and gaps.min() >= 1 and np.ptp(gaps) <= 1
    assert overlaps(day, rows, int(gaps.min())) == 0
    assert overlaps(day, rows, int(gaps.max()) + 1) == 49


def test_starts_that_cannot_be_are_refused(
    day: LobsterData, rows: np.ndarray, baseline: Maker, tiny: Maker
) -> None:
    with pytest.raises(InputError, match=r"moments .* expected at least 500"):
        range_of(day, 500)
    with pytest.raises(InputError, match=r"0 moments .* 699 messages before them"):
        range_of(day, 1, num_cond=699)
    with pytest.raises(InputError, match=r"0 moments .* \(699 orders\)"):
        range_of(day, 1, needed=699)
    with pytest.raises(InputError, match="0 starts"):
        range_of(day, 0)
    narrow = SimConfig(dataclasses.replace(MARKET, levels=3))
    options: dict[str, Any] = {"num_messages": 5, "num_cond": 5, "seed": 0, "cfg": narrow}
    with pytest.raises(InputError, match=r"3 levels and 256 slots .* 10 levels"):
        generate_sequences(day, rows, baseline, **options)
    with pytest.raises(InputError, match="has 5 orders before it, expected at least 17"):
        starts_of(day, np.array([5]), tiny, MARKET)


def test_short_sequences_run_again_for_longer_until_they_are_whole(
    make: Make,
    baseline: Maker,
    made: list[Sequence],
    trajectories: list[Finished],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sequence that needs two thirds more events than planned, and one that never has enough."""
    runs: list[tuple[list[int], int]] = []

    def fake(seed: int, numbers: np.ndarray, *_: Any, cfg: SimConfig, **__: Any) -> list[Finished]:
        runs.append((numbers.tolist(), cfg.max_events))
        room = {0: cfg.max_events, 1: cfg.max_events * 3 // 10, 2: 20}
        cut = lambda t: jax.tree.map(lambda x: x[: room[t.number]], t.events)
        whole = [trajectories[i] for i in numbers]
        return [t._replace(events=cut(t), steps=cfg.max_events) for t in whole]

    monkeypatch.setattr(sequences, "run_lanes", fake)
    found = make(baseline)
    assert runs == [([0, 1, 2], 100), ([1, 2], 200), ([2], 400), ([2], 800)]
    assert [len(x.gen.sec) == MESSAGES for x in found] == [True, True, False]
    for one, other in zip(found[:2], made, strict=False):
        assert same(one.gen, other.gen) and one.status == 0
    assert found[2].status == Status.EVENT_BUDGET


def test_a_market_at_rest_gives_a_clear_error(
    make: Make,
    baseline: Maker,
    trajectories: list[Finished],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = trajectories[0]
    asleep = one._replace(events=jax.tree.map(lambda x: x[:0], one.events), steps=0)
    monkeypatch.setattr(sequences, "run_lanes", lambda *_, **__: [asleep])
    with pytest.raises(InputError, match="sequence 0: nothing happens after its start"):
        make(baseline)


def test_recorded_days_give_sequences(real_data: pathlib.Path, baseline: Maker) -> None:
    """The first 999 rows of AAPL, with the rates of the synthetic day."""
    message, book = sorted(real_data.glob("lobster/AAPL*first999_*_10.csv.gz"))
    data = read_lobster(message, book)
    begin, until = ((int(data.sec[i]), int(data.nsec[i])) for i in (0, -1))
    options: dict[str, Any] = {"num_messages": MESSAGES, "num_cond": 100}
    rows = start_rows(data, begin, until, STARTS, needed=1, **options)
    market = dataclasses.replace(MARKET, tick_size=data.tick / 10_000)
    cfg = SimConfig(market, lanes=2)
    found = generate_sequences(data, rows, baseline, seed=0, cfg=cfg, **options)
    check_sequences(data, found, MESSAGES, 100)
    check_recorded(data, rows, found, 100)


def test_the_script_makes_the_same_sequences_on_other_lanes(
    files: tuple[pathlib.Path, pathlib.Path],
    made: list[Sequence],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """A sequence depends on seed, number and start only; rates come from the hours before."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "unused")
    flags = [*good_flags(files, tmp_path / "out"), "--baseline", "--growth", str(SEGMENT)]
    assert script().main(flags) == 0
    assert "3 sequences, 120 generated messages" in capsys.readouterr().out
    folder = tmp_path / "out" / "poisson_book" / "TEST"
    for sequence in made:
        end = f"real_id_000{sequence.number}_gen_id_0.csv"
        names = (f"{NAMED}_{kind}_{end}" for kind in ("message", "orderbook"))
        message, book = (folder / "data_gen" / name for name in names)
        assert same(read_lobster(message, book, sequence.gen.tick), sequence.gen)
    summary = json.loads((folder / "sequences.json").read_text())
    assert summary["seed"] == 0 and len(summary["rates"]["limit_rate"]) > 5


def test_another_seed_draws_otherwise(
    make: Make, baseline: Maker, monkeypatch: pytest.MonkeyPatch, trajectories: list[Finished]
) -> None:
    seeds = []
    monkeypatch.setattr(sequences, "run_lanes", lambda *x, **_: seeds.append(x[0]) or trajectories)
    make(baseline, seed=5)
    assert seeds == [5]
