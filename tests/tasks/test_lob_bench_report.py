"""The whole benchmark: result, table, files, sequences from folders and from events."""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from oracles.lob_sequences import LEVELS, random_sequence, write_pair

from jaxmars.errors import InputError
from jaxmars.files import to_json
from jaxmars.tasks import (
    LobBenchResult,
    Sequence,
    cut_sequence,
    lob_bench,
    read_sequences,
    sequence_of_events,
)
from jaxmars.tasks.lob_bench_data import content_hash, find_folders
from jaxmars.tasks.lob_bench_figure import draw_roc
from jaxmars.tasks.lob_bench_files import markdown, summary
from jaxmars.tasks.lob_bench_impact import KINDS, LAGS
from jaxmars.tasks.lob_bench_scores import SCORES, UNCONDITIONAL
from jaxmars.types import L2, Event, Kind, Time, Trades

MESSAGES, SHORT = 260, 110


class Run(NamedTuple):
    """A run of the benchmark and what it was told on the way."""

    result: LobBenchResult
    steps: list[tuple[int, int, str]]


def several(
    first: int, number: int = 6, mean_size: float = 100.0, messages: int = MESSAGES
) -> list[Sequence]:
    return [random_sequence(seed, messages, mean_size) for seed in range(first, first + number)]


def benchmark(**options: Any) -> LobBenchResult:
    """A generator with the right prices and orders that are too small."""
    return lob_bench(several(0, 8), several(100, 6, 60.0), several(200), seeds=1, **options)


@pytest.fixture(scope="module")
def run() -> Run:
    steps: list[tuple[int, int, str]] = []
    told = lambda *step: steps.append(step)
    return Run(benchmark(progress=told), steps)


def test_what_differs_stands_out_of_the_floor(run: Run) -> None:
    table = run.result.table().set_index("score")
    sizes = [name for name in table.index if "volume" in name and "minute" not in name]
    assert len(sizes) == 5
    for metric in ("l1", "wasserstein"):
        assert (table.loc[sizes, metric] > 2 * table.loc[sizes, f"{metric}_floor_high"]).all()
        same = ["spread", "ask limit depth", "bid cancel level", "log inter-arrival"]
        assert (table.loc[same, metric] < 2 * table.loc[same, f"{metric}_floor_high"]).all()
    assert (table.loc[sizes, "l1"] > 2 * table.loc[sizes, "l1_conditioning"]).all()
    assert run.result.discriminator.auc[0] > 0.9


def test_the_table(run: Run) -> None:
    table = run.result.table()
    assert table["score"].tolist() == [s.name for s in SCORES] + ["mean", "median", "iqm"]
    value, low, high, floor, most = (
        table[f"l1{end}"].to_numpy(float) for end in ("", "_low", "_high", "_floor", "_floor_high")
    )
    assert (value >= 0).all() and (value <= 1).all() and (low <= high).all()
    averaged = value[: len(UNCONDITIONAL)]
    assert value[-3] == pytest.approx(averaged.mean())
    assert value[-2] == pytest.approx(np.median(averaged))
    assert (floor <= most).all()
    past = table["wasserstein_conditioning"].to_numpy(float)
    assert past[-3] == pytest.approx(past[: len(UNCONDITIONAL)].mean())
    assert run.result.levels == LEVELS
    assert run.result.real == (8, 8 * MESSAGES) and run.result.generated == (6, 6 * MESSAGES)


def test_the_drift_is_followed_by_the_hundred(run: Run) -> None:
    found = run.result.divergence
    assert found.messages.tolist() == [100, 200]
    names = [score.name for score in UNCONDITIONAL]
    flows = [number for number, name in enumerate(names) if name.startswith("flow")]
    assert np.isnan(found.generated[flows]).all()  # need more than a hundred messages
    others = np.delete(found.generated, flows, 0)
    assert ((others >= 0) & (others <= 1)).all()
    size = names.index("ask volume, touch")
    assert (found.generated[size] > found.floor[size]).all()


def test_progress_is_told_to_the_end(run: Run) -> None:
    done, wanted, _ = zip(*run.steps, strict=True)
    assert list(done) == list(range(1, len(done) + 1)) and set(wanted) == {done[-1]}


def test_equal_seeds_give_equal_results(run: Run) -> None:
    again = benchmark()
    pd.testing.assert_frame_equal(run.result.table(), again.table())
    assert run.result.floor_impact.tolist() == again.floor_impact.tolist()
    assert run.result.discriminator.auc == again.discriminator.auc


def test_the_numbers_are_json(run: Run) -> None:
    found = json.loads(to_json(summary(run.result)))
    assert found["levels"] == LEVELS and found["generated"]["sequences"] == 6
    assert set(found["scores"]) == {score.name for score in SCORES}
    assert set(found["impact"]["real"]) == set(KINDS) and found["impact"]["lags"] == LAGS.tolist()
    assert found["divergence"]["generated"]["flow imbalance"] == [None, None]
    mean = found["averages"]["l1"]["mean"]
    assert mean["value"] == pytest.approx(run.result.l1.mean.value, abs=1e-5)
    assert len(mean["floor"]) == len(run.result.floor_l1)


def test_the_report_has_a_row_per_score(run: Run) -> None:
    text = markdown(run.result, "the name")
    assert text.startswith("# LOB-Bench of the name\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(SCORES) + 3
    assert {line.count("|") for line in rows} == {10}
    value = run.result.scores[0].l1.value
    assert rows[1].startswith(f"| spread | {value:.3f} | ")
    assert "* discriminator: AUC " in text and "* divergence, mean L1 " in text
    assert "repeating them would score" in text


def test_a_deeper_book_is_cut() -> None:
    shallow = []
    for sequence in several(50, 4, messages=SHORT):
        price, size = (np.asarray(x)[:, :, :1] for x in sequence.l2)
        shallow.append(sequence._replace(l2=sequence.l2._replace(price=price, size=size)))
    result = lob_bench(several(0, 4, messages=SHORT), shallow, seed=1, seeds=1)
    assert result.levels == 1 and result.seed == 1
    assert result.generated.messages == 4 * SHORT  # nothing deeper is in them
    assert result.scores[12].name == "ask limit level"
    assert result.scores[12].l1.value == 0  # there is one level only


def quiet_touch(sequence: Sequence, last: int) -> Sequence:
    """The sequence with a touch that stays as it is from row `last`."""
    rows = np.minimum(np.arange(len(sequence.type)), last)
    price, size = (np.array(x) for x in sequence.l2)
    for x in (price, size):
        x[:, :, 0] = x[rows, :, 0]
    return sequence._replace(l2=sequence.l2._replace(price=price, size=size))


def test_messages_are_counted_on_the_levels_compared() -> None:
    deep = [*several(0, 3, messages=SHORT), quiet_touch(random_sequence(3, SHORT), 89)]
    flat = [
        x._replace(l2=L2(*(level[:, :, :1] for level in x.l2)))
        for x in several(50, 4, messages=SHORT)
    ]
    sentence = "sequence 4 has 90 messages on 1 level, as many as all books have, expected at least"
    with pytest.raises(InputError, match=f"real {sentence} 102"):
        lob_bench(deep, flat, seeds=1)
    with pytest.raises(InputError, match=f"generated {sentence} 102"):
        lob_bench(flat, deep, seeds=1)


@pytest.mark.parametrize(
    ("real", "generated", "sentence"),
    [
        ([], several(0, 4), "there are no real sequences"),
        (several(0, 3), several(0, 4), "there are 3 real sequences, expected at least 4"),
        (several(0, 4), several(0, 1), "there are 1 generated sequences, expected at least 4"),
        (
            several(0, 4),
            [*several(0, 4), random_sequence(9, 101)],
            "generated sequence 5 has 101 messages, expected at least 102",
        ),
        (
            several(0, 4),
            [x._replace(tick=50) for x in several(0, 4)],
            "generated sequence 1 has a tick of 50 LOBSTER price units, expected 100",
        ),
    ],
)
def test_what_cannot_be_compared(
    real: list[Sequence], generated: list[Sequence], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        lob_bench(real, generated)


def test_folders_are_read_in_order(tmp_path: pathlib.Path) -> None:
    written = several(0, 3)
    for number, sequence in enumerate(written):
        write_pair(tmp_path, f"X_{number}", sequence)
    steps: list[int] = []
    found = read_sequences(tmp_path, progress=lambda done, wanted, text: steps.append(done))
    assert steps == [1, 2, 3]
    for a, b in zip(found, written, strict=True):
        assert a.l2.price.tolist() == b.l2.price.tolist() and a.price.tolist() == b.price.tolist()
        assert a.nsec.tolist() == b.nsec.tolist() and a.tick == 100
    before = content_hash(tmp_path)
    book = tmp_path / "X_1_orderbook.csv"
    book.write_text(book.read_text().replace("1", "2", 1))
    assert content_hash(tmp_path) != before


def test_the_layout_of_the_benchmark(tmp_path: pathlib.Path) -> None:
    for model in ("a", "b"):
        for kind in ("data_real", "data_gen", "data_cond"):
            (tmp_path / model / "GOOG" / kind).mkdir(parents=True)
    (tmp_path / "b" / "GOOG" / "data_cond" / "x.csv").touch()
    first, second = find_folders(tmp_path)
    assert (first.name, second.name) == ("a/GOOG", "b/GOOG")
    assert first.conditioning is None and second.conditioning is not None
    assert find_folders(tmp_path / "a" / "GOOG")[0].name == "."
    (tmp_path / "c" / "data_real").mkdir(parents=True)
    with pytest.raises(InputError, match="expected data_gen beside it"):
        find_folders(tmp_path)
    for path in (tmp_path / "none", tmp_path / "b" / "GOOG" / "data_cond"):
        with pytest.raises(InputError, match="expected MODEL/STOCK/data_real in it"):
            find_folders(path)


def test_cutting() -> None:
    whole = random_sequence(0, 260)
    parts = cut_sequence(whole, 100)
    assert [len(x.type) for x in parts] == [100, 100]
    assert parts[1].price.tolist() == whole.price[100:200].tolist()
    assert parts[1].l2.size.tolist() == np.asarray(whole.l2.size)[100:200].tolist()
    assert cut_sequence(whole, 261) == []
    with pytest.raises(InputError, match="expected a positive number"):
        cut_sequence(whole, 0)


def test_a_sequence_of_events() -> None:
    """A new order, one that takes part of it, and the cancel of the rest."""
    kinds = [Kind.LIMIT, Kind.MARKET, Kind.CANCEL]
    column: Any = lambda *values: np.array(values, np.int32)
    zero = column(0, 0, 0)
    trades = Trades(*(column(0, x, 0)[:, None] for x in (1, 101, 20, 7, 0)))
    event = Event(
        time=Time(column(36_000, 36_001, 36_002), column(5, 0, 0)),
        kind=column(*kinds),
        side=column(1, 0, 1),
        price=column(101, 0, 101),
        size=column(50, 20, 30),
        order_id=column(7, 8, 7),
        agent_id=zero,
        filled=column(0, 20, 0),
        first_price=column(0, 101, 0),
        last_price=column(0, 101, 101),
        best_bid=column(99, 99, 99),
        best_ask=column(101, 101, 102),
        status=zero,
        trades=trades,
    )
    price: Any = np.array([[[99, 98], [101, 102]]] * 2 + [[[99, 98], [102, 103]]], np.int32)
    size: Any = np.array(
        [[[9, 9], [50, 4]], [[9, 9], [30, 4]], [[9, 9], [4, 6]]],
        np.int32,
    )
    found = sequence_of_events(event, L2(price, size))
    assert found.type.tolist() == [1, 4, 3]
    assert found.order_id.tolist() == [7, 7, 7]
    assert found.size.tolist() == [50, 20, 30] and found.price.tolist() == [101] * 3
    assert found.direction.tolist() == [-1] * 3 and found.nsec.tolist() == [5, 0, 0]
    assert found.l2.size.tolist() == size.tolist()


def still(sequence: Sequence) -> Sequence:
    """The sequence with a book that stays as it is in the last twenty rows."""
    rows = np.minimum(np.arange(SHORT), SHORT - 20)
    return sequence._replace(l2=L2(*(x[rows] for x in sequence.l2)))


def no_trades(sequence: Sequence) -> Sequence:
    return sequence._replace(type=np.where(sequence.type == 4, 1, sequence.type))


def test_averages_are_over_the_scores_that_have_a_floor() -> None:
    """The real sequences have no trade (no floor at all), or one of them has (no W1 floor)."""
    trading, past = several(10, 4, messages=SHORT), several(20, 4, messages=SHORT)
    quiet = [no_trades(x) for x in several(0, 4, messages=SHORT)]
    for real, left_out in (
        (quiet, ("l1", "wasserstein")),
        ([*quiet, trading[0]], ("wasserstein",)),
    ):
        table = lob_bench(real, trading, past, seeds=1).table().set_index("score")
        assert table.loc["volume per minute", "l1"] > 0
        for metric in ("l1", "wasserstein"):
            names = [s.name for s in UNCONDITIONAL]
            if metric in left_out:
                names.remove("volume per minute")
            for end in ("", "_floor", "_conditioning"):
                each = table.loc[names, f"{metric}{end}"].to_numpy(float)
                assert table.loc["mean", f"{metric}{end}"] == pytest.approx(each.mean())


def test_what_does_not_exist_is_left_out(tmp_path: pathlib.Path) -> None:
    """No trade anywhere, and too few changes of the book for the discriminator."""
    quiet = [still(no_trades(x)) for x in several(0, 8, messages=SHORT)]
    result = lob_bench(quiet[:4], quiet[4:])
    table = result.table().set_index("score")
    assert table.loc["volume per minute", ["l1", "wasserstein"]].isna().all()
    assert np.isfinite(result.l1.mean.value) and np.isfinite(result.impact.score.value)
    text = markdown(result, "quiet")
    assert "| volume per minute | - | - | - | - | - | - |" in text
    assert "* discriminator: not enough data, floor not enough data" in text
    assert summary(result)["discriminator"]["auc"] == [None] * 3
    draw_roc(tmp_path / "roc.png", result)
