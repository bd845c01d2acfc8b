"""Distances from exact: per order against enumeration, trajectories by tests with known power."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles.forecast_world import GROWTH
from oracles.tiny_world import loud_model, quick_jit
from scipy import stats
from scipy.special import softmax

from jaxmars.agents.policy import anchored
from jaxmars.config import OrderModelConfig, SimConfig
from jaxmars.data.start import StartPoint
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.lanes import Finished
from jaxmars.tasks.forecast import ForecastResult
from jaxmars.tasks.verify_policy import (
    ATTRIBUTES,
    Contexts,
    Distances,
    anchored_distances,
    anchored_table,
    anchored_weights,
    compare_readers,
    contexts_of,
    distance_table,
    distances,
    grid_lengths,
    growths,
    last_orders_readers,
    mean_over_flows,
    tempered,
    tempered_reader,
)
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
from jaxmars.tokens.order import APPEND, CHANGE, ELAPSED, NUM_FEATURES, ORDER_INDEX
from jaxmars.tokens.window import Window
from jaxmars.types import Event, Kind, Side, Time, no_trades

PER_FLOW = 3
LENGTHS = (32, 20, 4)
SECONDS = 60  # horizon of the forecast that tests share


@pytest.fixture(scope="module")
def contexts(model: OrderModel) -> Contexts:
    """Three of each of two flows of random orders."""
    rng, cfg = np.random.default_rng(2), model.config
    shape = (2, cfg.num_max_orders + 10)
    rows = rng.integers(0, 8, (*shape, NUM_FEATURES), np.int32)
    rows[..., ORDER_INDEX] = rng.integers(0, cfg.vocab, shape)
    rows[..., CHANGE] = rng.integers(-50, 50, shape)
    rows[..., ELAPSED] = np.sort(rng.integers(0, 10_000, shape))
    return contexts_of(list(rows), cfg.num_max_orders, PER_FLOW)


@pytest.fixture(scope="module")
def found(contexts: Contexts, model: OrderModel) -> dict[int, Distances]:
    readers = last_orders_readers(model, LENGTHS)
    return compare_readers(contexts, readers, model.config.slot_shape)


def test_contexts_are_followed_by_what_came() -> None:
    flows = [np.tile(np.arange(n, dtype=np.int32)[:, None], NUM_FEATURES) for n in (9, 14)]
    own = contexts_of(flows, 4, 3)
    assert own.came.tolist() == [4, 6, 8, 4, 8, 13] and own.flow.tolist() == [0, 0, 0, 1, 1, 1]
    for rows, came in zip(own.rows, own.came, strict=True):
        np.testing.assert_array_equal(rows[:, 0], np.arange(came - 4, came))


def test_a_flow_must_be_long_enough() -> None:
    with pytest.raises(InputError, match="flow 0 has 6 orders, expected at least 7 for 3"):
        contexts_of([np.zeros((6, NUM_FEATURES), np.int32)], 4, 3)


def test_distances_are_those_of_enumerated_distributions(
    contexts: Contexts, found: dict[int, Distances], model: OrderModel
) -> None:
    window = model.config.num_max_orders

    def enumerated(rows: np.ndarray, n: int) -> np.ndarray:
        """Probabilities after the last n rows; what follows them is not seen."""
        logits = model.logits(np.resize(rows[window - n :], rows.shape)[None])
        return softmax(np.asarray(logits, float)[0, n - 1])

    for n in LENGTHS:
        for i in (0, 4):
            full, part = (enumerated(contexts.rows[i], k) for k in (window, n))
            came = contexts.came[i]
            np.testing.assert_allclose(
                found[n].kl[i], sum(full * np.log(full / part)), rtol=1e-3, atol=1e-9
            )
            np.testing.assert_allclose(
                found[n].total_variation[i], sum(np.maximum(full - part, 0)), rtol=1e-3, atol=1e-6
            )
            np.testing.assert_allclose(
                found[n].loss_gap[i], np.log(full[came] / part[came]), rtol=1e-3, atol=1e-5
            )
            np.testing.assert_allclose(found[n].entropy[i], stats.entropy(part), rtol=1e-5)
            types = [x.reshape(3, -1).sum(1) for x in (full, part)]
            np.testing.assert_allclose(
                found[n].attribute_kl[i, 0], stats.entropy(*types), rtol=1e-3, atol=1e-9
            )


def test_kl_is_zero_for_the_whole_window_only(found: dict[int, Distances]) -> None:
    whole, *parts = (found[n] for n in LENGTHS)
    assert not whole.kl.any() and not whole.total_variation.any() and not whole.loss_gap.any()
    for part in parts:
        assert (part.kl > 1e-4).all()
        assert (part.attribute_kl >= 0).all()
        assert (part.attribute_kl <= part.kl[:, None] + 1e-12).all(), "marginals lose information"
        assert (part.total_variation <= np.sqrt(part.kl / 2)).all(), "Pinsker's inequality"


def test_the_expected_loss_gap_is_the_kl(rng: np.random.Generator) -> None:
    p, q = (np.log(rng.dirichlet(np.ones(24))) for _ in range(2))
    every = np.arange(24)
    own = distances(np.tile(p, (24, 1)), np.tile(q, (24, 1)), every, (3, 2, 2, 2))
    np.testing.assert_allclose((np.exp(p) * own.loss_gap).sum(), own.kl[0])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_factored_head_is_tempered_stage_by_stage(rng: np.random.Generator) -> None:
    cfg = dataclasses.replace(OrderModelConfig.tiny(), head="factored")
    model = loud_model(cfg)
    head: Any = model.net().head
    hidden = jnp.asarray(rng.normal(size=cfg.emb_dim), jnp.float32)
    slots = jnp.array([2, 5, 1, 3], jnp.int32)

    def both() -> tuple[jax.Array, jax.Array]:
        """Of every order at temperature one, and of one at another, as `Head.sample` draws it."""
        own = [jax.nn.log_softmax(s(hidden, slots[:i]) / 1.7) for i, s in enumerate(head.stages)]
        return head.logits(hidden), jnp.stack([x[k] for x, k in zip(own, slots, strict=True)]).sum()

    logits, drawn = quick_jit(both)()
    read = lambda rows: np.asarray(logits, float)[None]
    found = tempered_reader(read, model, 1.7)(np.zeros(0))
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-5)
    token = np.ravel_multi_index(tuple(map(int, slots)), cfg.slot_shape)
    np.testing.assert_allclose(found[0, token], drawn, rtol=1e-5)


def test_a_joint_head_is_tempered_as_a_whole(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(3, 24))
    found = tempered(np.log(softmax(logits, axis=1)), (24,), 0.4)
    np.testing.assert_allclose(np.exp(found), softmax(logits / 0.4, axis=1))


def test_batches_change_nothing(contexts: Contexts, model: OrderModel) -> None:
    reads = last_orders_readers(model, (32, 20))
    many = Contexts(*(np.concatenate([x] * 3) for x in contexts))
    calls: list[tuple[int, int]] = []
    watch = lambda done, wanted: calls.append((done, wanted))
    own = compare_readers(many, reads, model.config.slot_shape, watch)
    assert len(own[20].kl) == 6 * PER_FLOW
    np.testing.assert_allclose(own[20].kl[: 2 * PER_FLOW], own[20].kl[-2 * PER_FLOW :], rtol=1e-3)
    assert [done for done, _ in calls] == list(range(1, calls[0][1] + 1))


def test_lengths_halve_and_are_dense_near_the_window() -> None:
    assert grid_lengths(32) == [32, 31, 30, 28, 24, 20, 16, 12, 8, 4, 2, 1]
    assert growths(512) == [32, 64, 128, 256, 384, 480]
    assert grid_lengths(1) == [1] and growths(1) == []


def test_anchored_mean_by_hand() -> None:
    # Reads 5, 6, 7, 8 of a window of 8; 5, 6 and 7 lie between the measured 4 and 8.
    np.testing.assert_allclose(anchored_weights([8, 4, 1], 8, 4), [0.625, 0.375, 0])
    every = list(range(1, 9))
    np.testing.assert_allclose(anchored_weights(every, 8, 3), [0, 0, 0, 0, 0, 1 / 3, 1 / 3, 1 / 3])
    with pytest.raises(ValueError, match="are read"):
        anchored_weights([8, 4], 8, 6)


def test_an_anchored_context_is_read_at_every_length_once(
    contexts: Contexts, model: OrderModel
) -> None:
    net, policy, size = model.net(), anchored(model.config, 12), model.config.num_max_orders
    rows = jnp.asarray(contexts.rows[0])
    begin = quick_jit(lambda window: policy.anchor(net, policy.share(net, window), window)[0])
    window = begin(Window(rows, jnp.int32(size)))
    read = []
    for row in rows[: policy.segment]:
        window = policy.put(window, row, jnp.int32(APPEND))
        read.append(int(window.count))
    weights = anchored_weights(range(1, size + 1), size, policy.segment)
    np.testing.assert_allclose(weights, np.bincount(read, minlength=size + 1)[1:] / len(read))


def test_anchored_distances_average_every_column(found: dict[int, Distances]) -> None:
    own = anchored_distances(found, 32, 12)  # reads 21 ... 32
    part = np.mean([(32 - n) / 12 for n in range(21, 33)])
    for mean, short in zip(own[:4], found[20][:4], strict=True):
        np.testing.assert_allclose(mean, part * short)


def test_errors_are_between_flows() -> None:
    values = np.array([1.0, 3.0, 5.0, 7.0, 2.0, 2.0])
    mean = mean_over_flows(values, np.array([0, 0, 1, 1, 2, 2]))
    np.testing.assert_allclose(mean, (10 / 3, np.std([2, 6, 2], ddof=1) / np.sqrt(3)))
    assert np.isnan(mean_over_flows(values, np.zeros(6)).error)


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


def test_the_report_is_written_whole(
    tmp_path: pathlib.Path,
    contexts: Contexts,
    found: dict[int, Distances],
    rng: np.random.Generator,
) -> None:
    tests = compare_samples({"exact": sample(rng), "anchored(4)": sample(rng, orders=2.0)}, 0)
    every = {n: Distances(*(x * (32 - n) for x in found[4])) for n in range(32, 0, -1)}
    lengths = distance_table(every, contexts.flow, "orders")
    controls = distance_table({"hot": found[4]}, contexts.flow, "control")
    policies = anchored_table(every, contexts.flow, 32)
    report = Report("title", ["note"], 32, lengths, policies, controls, tests)
    write_policy(tmp_path, report, {"seed": 0})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    facts = json.loads((tmp_path / "policy.json").read_text())
    assert facts["seed"] == 0 and len(facts["tests"]) == len(STATISTICS)
    assert {f"kl_{name}" for name in ATTRIBUTES} <= facts["anchored"][0].keys()
    assert [row["orders"] for row in facts["lengths"]] == list(range(32, 0, -1))
    assert facts["anchored"][0]["tokens_per_order"] == 1 + 30 / 2
    text = (tmp_path / "policy.md").read_text()
    assert "| anchored(4) | orders |" in text and "yes |" in text
    table = pd.read_csv(tmp_path / "policy_anchored.csv")
    np.testing.assert_allclose(table["kl"], report.anchored["kl"])
    assert (tmp_path / "policy.png").read_bytes().startswith(b"\x89PNG")
