"""Two-sample tests with known power, trajectories in numbers, and the report on disk."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracles.forecast_world import GROWTH
from scipy import stats

from jaxmars.agents.policy import anchored
from jaxmars.config import SimConfig
from jaxmars.data.start import StartPoint
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished
from jaxmars.tasks.forecast import ForecastResult
from jaxmars.tasks.verify_policy import ATTRIBUTES, Distances, anchored_table, distance_table
from jaxmars.tasks.verify_policy_files import FILES, Report, resumed_sample, write_policy
from jaxmars.tasks.verify_policy_statistics import (
    LEVEL,
    POWER,
    STATISTICS,
    Pair,
    Variant,
    compare_samples,
    critical_distance,
    detectable_shift,
    holm,
    ks_distance,
    permutation_test,
    policy_variant,
    power_at,
    shuffled,
    standardised,
    start_states,
    trajectory_row,
)
from jaxmars.types import Event, Kind, Side, Time, no_trades

SECONDS = 60  # horizon of the forecast that tests share


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("sizes", [(30, 40), (5, 5), (64, 17)])
def test_ks_distance_is_that_of_scipy(sizes: tuple[int, int], rng: np.random.Generator) -> None:
    values = rng.integers(0, 12, (6, sum(sizes))).astype(float)  # many ties
    second = np.arange(sum(sizes)) >= sizes[0]
    ours = ks_distance(values, second)
    for row, own in zip(values, ours, strict=True):
        theirs: Any = stats.ks_2samp(row[~second], row[second])
        np.testing.assert_allclose(own, theirs.statistic)


def test_labels_stay_in_their_block(rng: np.random.Generator) -> None:
    block = rng.integers(0, 4, 40) * 7
    second = rng.random(40) < 0.3
    labels = shuffled(second, block, 50, rng)
    for number in np.unique(block):
        here = block == number
        assert (labels[:, here].sum(1) == second[here].sum()).all()
        assert abs(labels[:, here].mean() - second[here].mean()) < 1e-12
    assert len(np.unique(labels, axis=0)) > 40


def test_standardised_values_have_mean_zero_and_deviation_one(rng: np.random.Generator) -> None:
    block = np.array([5, 5, 9, 9, 9, 1, 7, 7])
    values = rng.normal(3, 2, (2, 8))
    values[:, 6:] = 4.0
    own = standardised(values, block)
    for number in (5, 9):
        np.testing.assert_allclose(own[:, block == number].mean(1), 0, atol=1e-12)
        np.testing.assert_allclose(own[:, block == number].std(1, ddof=1), 1)
    assert not own[:, 5:].any(), "nothing to compare with, or no difference"


def pair(rng: np.random.Generator, size: int, shift: float = 0.0) -> Pair:
    """Two normal samples of `size` and three more in four blocks with different means."""
    block = np.arange(2 * size + 3) % 4
    second = np.arange(2 * size + 3) >= size
    return Pair(rng.normal(10 * block, 1.0) + shift * second, second, block)


def test_p_is_uniform_without_a_difference_and_small_with_one(rng: np.random.Generator) -> None:
    p = np.array([permutation_test(pair(rng, 24), rng, 199).p for _ in range(400)])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert (p <= level).mean() == pytest.approx(
            level, abs=4 * (level * (1 - level) / 400) ** 0.5
        )
    shifted = [permutation_test(pair(rng, 24, 2.0), rng, 199).p for _ in range(20)]
    assert max(shifted) < LEVEL


def test_power_begins_at_the_level_and_rises_to_one(rng: np.random.Generator) -> None:
    own = pair(rng, 40)
    tested = permutation_test(own, rng, 1999)
    critical = critical_distance(tested.null, LEVEL)
    labels = shuffled(own.second, own.block, 1000, rng)
    powers = [power_at(own, shift, critical, labels) for shift in (0, 0.4, 0.8, 3)]
    assert powers[0] < LEVEL + 0.025
    assert powers[0] < powers[1] < powers[2] < powers[3] == 1


def test_the_detectable_shift_is_found_with_the_power_promised(rng: np.random.Generator) -> None:
    shifts = []
    for _ in range(8):
        own = pair(rng, 40)
        null = permutation_test(own, rng, 999).null
        shifts.append(detectable_shift(own, null, LEVEL, rng, splits=200))
    shift = float(np.mean(shifts))
    fresh = [permutation_test(pair(rng, 40, shift), rng, 199).p for _ in range(200)]
    assert (np.array(fresh) < LEVEL).mean() == pytest.approx(POWER, abs=0.1)


def test_more_trajectories_find_smaller_shifts(rng: np.random.Generator) -> None:
    shifts = []
    for size in (40, 160):
        own = pair(rng, size)._replace(block=np.zeros(2 * size + 3, int))
        own = own._replace(values=rng.normal(size=2 * size + 3))
        null = permutation_test(own, rng, 999).null
        shifts.append(detectable_shift(own, null, LEVEL, rng, splits=200))
    assert shifts[0] / shifts[1] == pytest.approx(2, rel=0.25)


def test_a_constant_has_no_detectable_shift(rng: np.random.Generator) -> None:
    own = pair(rng, 8)._replace(values=np.ones(19))
    assert detectable_shift(own, np.zeros(9), LEVEL, rng) == np.inf


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(
        holm(np.array([0.01, 0.04, 0.03, 0.005, 0.9])), [0.04, 0.09, 0.09, 0.025, 0.9]
    )


def finished(number: int, rows: list[tuple[int, ...]]) -> Finished:
    """A trajectory from (kind, side, size, filled, bid, ask) per order."""
    table: Any = np.array(rows, np.int32).reshape(len(rows), 6)
    kind, side, size, filled, bid, ask = table.T
    none: Any = np.zeros(len(rows), np.int32)
    nothing: Any = None
    event = Event(
        time=Time(none, none),
        kind=kind,
        side=side,
        price=none,
        size=size,
        order_id=none,
        agent_id=none,
        filled=filled,
        first_price=none,
        last_price=none,
        best_bid=bid,
        best_ask=ask,
        status=none,
        trades=no_trades(len(rows)),
    )
    return Finished(number, event, 0, len(rows), nothing, nothing, ())


def test_a_trajectory_in_numbers() -> None:
    rows = [
        (Kind.LIMIT, Side.BUY, 300, 100, 99, 101),
        (Kind.LIMIT, Side.BUY, 300, 200, 99, 104),
        (Kind.CANCEL, Side.SELL, 100, 0, 0, 104),
        (Kind.NONE, Side.SELL, 100, 50, 1, 104),
        (Kind.LIMIT, Side.SELL, 100, 0, 100, 102),
    ]
    row = trajectory_row(finished(7, [tuple(map(int, r)) for r in rows]), 2, 100.0)
    assert row.keys() == {"trajectory", "start", *STATISTICS}
    assert (row["trajectory"], row["start"]) == (7, 2)
    np.testing.assert_allclose(row["log_return"], 1e4 * np.log(1.01))
    assert row["abs_return"] == row["log_return"]
    np.testing.assert_allclose(row["spread"], (2 + 5 + 2) / 3)
    assert (row["volume"], row["orders"]) == (300, 4)
    np.testing.assert_allclose(row["sign_balance"], 1 / 3)
    nothing = trajectory_row(finished(0, []), 0, 100.0)
    assert np.isnan(nothing["spread"])
    assert {nothing[x] for x in STATISTICS if x != "spread"} == {0}


def sample(rng: np.random.Generator, size: int = 60, **shifts: float) -> pd.DataFrame:
    """Normal statistics of `size` trajectories from four starts."""
    table = pd.DataFrame({"trajectory": np.arange(size), "start": np.arange(size) % 4})
    for name in STATISTICS:
        table[name] = rng.normal(5 * table["start"] + shifts.get(name, 0.0))
    return table


def test_only_what_differs_is_found(rng: np.random.Generator) -> None:
    samples = {"exact": sample(rng), "same": sample(rng), "other": sample(rng, spread=1.5)}
    samples["other"].loc[3, "volume"] = np.nan
    table = compare_samples(samples, 0)
    assert table["variant"].tolist() == ["same"] * len(STATISTICS) + ["other"] * len(STATISTICS)
    differing = table.query("differs")
    assert differing[["variant", "statistic"]].to_numpy().tolist() == [["other", "spread"]]
    assert (table["p_holm"].to_numpy() >= table["p"].to_numpy()).all()
    row = differing.iloc[0]
    assert row["mean"] - row["reference_mean"] == pytest.approx(1.5, abs=0.5)
    apart = np.sqrt(1 + 1.5**2 / 4)  # deviation of both samples together
    np.testing.assert_allclose(row["difference"] * apart, 1.5, atol=0.5)
    np.testing.assert_allclose(row["difference_error"] * apart, np.sqrt(2 / 60), rtol=0.25)
    assert row["detectable"] < row["difference"]


class StopError(RuntimeError):
    """What ends a run half way."""


def test_a_sample_goes_on_where_it_was(tmp_path: pathlib.Path) -> None:
    asked: list[list[int]] = []

    def run(numbers: np.ndarray) -> Iterator[Finished]:
        asked.append(numbers.tolist())
        for number in numbers[::-1]:
            yield finished(int(number), [(int(Kind.LIMIT), 0, 1, 0, 9, 11 + int(number) % 3)])
            if len(asked) == 1 and len(numbers) - len(asked) > number:
                raise StopError

    start_of, mids = np.arange(6) % 2, np.array([10.0, 10.5])
    variant = Variant("a, b", run, {"seed": 1})
    with pytest.raises(StopError):
        resumed_sample(tmp_path, variant, start_of, mids)
    found = resumed_sample(tmp_path, variant, start_of, mids)
    assert asked == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3]]
    fresh = resumed_sample(tmp_path / "other", variant, start_of, mids)
    pd.testing.assert_frame_equal(found, fresh, check_exact=True)
    assert found["trajectory"].tolist() == list(range(6))
    again = resumed_sample(tmp_path, variant, start_of[:3], mids)
    assert len(asked) == 3 and again["trajectory"].tolist() == [0, 1, 2]
    resumed_sample(tmp_path, variant._replace(identity={"seed": 2}), start_of, mids)
    files = list(tmp_path.glob("*.parquet"))
    assert len(asked) == 4 and len(files) == 2
    for path in files:
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="is no sample of trajectories, delete it"):
        resumed_sample(tmp_path, variant, start_of, mids)


def test_a_variant_runs_what_a_forecast_runs(
    builtin_start: StartPoint, model: OrderModel, cfg: SimConfig, nine: ForecastResult
) -> None:
    policy = anchored(model.config, GROWTH)
    states = start_states([builtin_start], model, cfg.market, SECONDS)
    variant = policy_variant("x", model, policy, states, seed=0, cfg=cfg, identity={})
    for own in variant.run(np.array([4, 1])):
        theirs = nine.trajectories[own.number]
        for a, b in zip(own.events[1:-1], theirs.events[1:-1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_report_is_written_whole(tmp_path: pathlib.Path, rng: np.random.Generator) -> None:
    tests = compare_samples({"exact": sample(rng), "anchored(4)": sample(rng, orders=2.0)}, 0)
    one = Distances(*(rng.random((4, *more)) for more in ((), (4,), (), (), ())))
    every = {n: Distances(*(x * (32 - n) for x in one)) for n in range(32, 0, -1)}
    flow = np.array([0, 0, 1, 1])
    lengths = distance_table(every, flow, "orders")
    controls = distance_table({"hot": one}, flow, "control")
    policies = anchored_table(every, flow, 32)
    tiny = Distances(*(x / 2**30 for x in one))
    narrow = distance_table({"int8": tiny}, flow, "precision")
    report = Report("title", ["note"], 32, lengths, policies, controls, narrow, tests)
    write_policy(tmp_path, report, {"seed": 0})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    facts = json.loads((tmp_path / "policy.json").read_text())
    assert facts["seed"] == 0 and len(facts["tests"]) == len(STATISTICS)
    assert {f"kl_{name}" for name in ATTRIBUTES} <= facts["anchored"][0].keys()
    assert [row["orders"] for row in facts["lengths"]] == list(range(32, 0, -1))
    assert facts["anchored"][0]["tokens_per_order"] == 1 + 30 / 2
    own = facts["precisions"][0]
    np.testing.assert_allclose(own["kl"], narrow["kl"][0], rtol=1e-5)
    assert facts["lengths"][0]["kl"] == 0 and own["precision"] == "int8"
    text = (tmp_path / "policy.md").read_text()
    assert "| anchored(4) | orders |" in text and "yes |" in text
    table = pd.read_csv(tmp_path / "policy_anchored.csv")
    np.testing.assert_allclose(table["kl"], report.anchored["kl"])
    assert (tmp_path / "policy.png").read_bytes().startswith(b"\x89PNG")
