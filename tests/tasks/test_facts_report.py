"""Reports of stylized facts: means, bands, verdicts, files."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jaxmars.tasks.facts_files import CURVES, FIGURE, FILES, NUMBERS, TABLE, markdown, write_facts
from jaxmars.tasks.facts_minutes import WINDOW, Minutes
from jaxmars.tasks.facts_report import FactsResult, estimate, stylized_facts
from jaxmars.tasks.facts_rules import ABSENT, FACT_NAMES, STATISTICS, Statistic
from jaxmars.tasks.facts_statistics import Facts

WINDOWS = 46 * 23
DAY = 1440


def market(seed: int, windows: int) -> Minutes:
    """A market with the nine facts: a reversal of last prices, slow volatility that falls back on
    trends, and volume that follows it."""
    rng = np.random.default_rng(seed)
    noise, steps = rng.standard_normal((windows, 60)), 60
    level, returns = np.zeros((windows, steps)), np.zeros((windows, steps))
    for t in range(6, steps):
        trend = np.abs(returns[:, t - 5 : t].sum(1))
        level[:, t] = 0.95 * level[:, t - 1] + 0.1 * rng.standard_normal(windows)
        returns[:, t] = noise[:, t] * np.exp(level[:, t]) * (0.5 + 0.3 * np.minimum(trend, 4.0))
    size = np.abs(returns[:, -WINDOW:])
    path = 1e-3 * returns[:, -WINDOW:].cumsum(1)
    bounce = 2e-4 * rng.standard_normal(path.shape)
    price = np.exp(path + bounce)
    minute = np.arange(windows)[:, None] * DAY + 600 + np.arange(WINDOW)
    volume = size + rng.exponential(size=size.shape)
    return Minutes(np.full(windows, "x"), minute, price, price, np.exp(path), price, volume)


def walk(seed: int, windows: int) -> Minutes:
    """A random walk, which has none but the absent ones."""
    rng = np.random.default_rng(seed)
    price = np.exp(1e-3 * rng.standard_normal((windows, WINDOW)).cumsum(1))
    shape = price.shape
    return market(seed, windows)._replace(last=price, volume=rng.exponential(size=shape))


@pytest.fixture(scope="module", autouse=True)
def small_null() -> Iterator[None]:
    """A null of few groups, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxmars.tasks.facts_report.NULL_WINDOWS", 40 * 23)
        yield


@pytest.fixture(scope="module")
def result() -> FactsResult:
    return stylized_facts(market(0, WINDOWS), walk(1, 460))


def test_a_market_with_the_facts_passes_and_a_random_walk_does_not(result: FactsResult) -> None:
    assert result.verdicts() == dict.fromkeys(FACT_NAMES, True)
    assert result.historical is not None
    found = result.verdicts(result.historical)
    del found[4]  # none of a kurtosis of zero is left over twenty minutes, give or take
    assert [fact for fact, good in found.items() if not good] == [2, 5, 6, 7, 8, 10, 11]


def test_the_table(result: FactsResult) -> None:
    table: Any = result.table()
    assert list(table["fact"].unique()) == list(range(1, 12))
    assert (table["passes"].isna() == (table["rule"] == "")).all()
    first: Any = table.iloc[0]
    values = result.simulated.facts.autocorrelation[:, 0]
    assert first["name"] == "absence of autocorrelation" and first["rule"] == "-0.2 to 0.05"
    assert np.isclose(first["simulated"], values.mean())
    assert np.isclose(first["simulated_error"], values.std(ddof=1) / np.sqrt(len(values)))
    worst: Any = table.iloc[1]
    means = result.simulated.facts.autocorrelation[:, 1:].mean(0)
    assert np.isclose(abs(worst["simulated"]), np.abs(means).max())


def test_the_null_band_holds_what_it_says() -> None:
    """Of many random walks about 95 % have their mean inside."""
    outside: list[bool] = []
    null = stylized_facts(walk(100, 115))
    low, high = null.null_band(lambda f: f.clustering)
    for seed in range(20):
        facts = stylized_facts_of(walk(seed, 115))
        mean = facts.clustering.mean(0)
        outside += ((mean < low) | (mean > high)).tolist()
    assert 0.01 < np.mean(outside) < 0.1


def stylized_facts_of(minutes: Minutes) -> Facts:
    from jaxmars.tasks.facts_minutes import group_windows
    from jaxmars.tasks.facts_statistics import compute_facts

    return compute_facts(minutes, group_windows(minutes))


def test_estimates_leave_out_what_is_not_a_number() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((400, 3))
    values[:100, 1], values[:, 2] = np.nan, np.nan
    found = estimate(values, 0)
    assert np.allclose(found.mean[:2], [values[:, 0].mean(), values[100:, 1].mean()])
    assert np.isnan(found.mean[2]) and np.isnan(found.low[2]) and np.isnan(found.error[2])
    half = (found.high - found.low)[:2] / 2
    assert np.allclose(half, 1.96 * found.error[:2], rtol=0.15)
    alone = estimate(values[:1], 0)
    assert np.isfinite(alone.mean[0]) and np.isnan([alone.error[0], alone.low[0]]).all()


@pytest.mark.parametrize(
    ("limits", "mean", "error", "expected"),
    [
        ({}, 0.0, 0.1, None),
        ({"low": 0.1, "high": 0.2}, 0.15, 0.1, True),
        ({"low": 0.1, "high": 0.2}, 0.05, 0.1, False),
        ({"low": 0.1, "high": 0.2}, 0.25, 0.1, False),
        ({"low": 0.1}, 99.0, np.nan, True),
        ({"high": 0.1}, np.nan, 0.1, None),
        ({"high": -0.03, "z_high": -2.0}, -0.1, 0.04, True),
        ({"high": -0.03, "z_high": -2.0}, -0.1, 0.06, False),
        ({"high": -0.03, "z_high": -2.0}, -0.01, 0.001, False),
        ({"high": -0.03, "z_high": -2.0}, -0.1, np.nan, None),
    ],
)
def test_rules(limits: dict[str, Any], mean: float, error: float, expected: bool | None) -> None:
    statistic = Statistic(1, "x", lambda f: f.volume, **limits)
    assert statistic.passes(mean, error) is expected
    lack = "two groups of windows" if np.isfinite(mean) else "returns that vary"
    assert statistic.lacking(mean, error) == (lack if limits and expected is None else "")


def test_every_fact_has_a_rule() -> None:
    assert {s.fact for s in STATISTICS if s.rule} == set(FACT_NAMES) and set(ABSENT) == {3, 9}


def test_the_files(result: FactsResult, tmp_path: pathlib.Path) -> None:
    write_facts(tmp_path, result, {"made_by": "a test"})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
    assert (tmp_path / FIGURE).read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / TABLE).read_text() == markdown(result)
    numbers = json.loads((tmp_path / NUMBERS).read_text())
    assert numbers["made_by"] == "a test" and numbers["seed"] == 0
    assert numbers["sources"]["simulated"]["groups"] == 46
    assert numbers["sources"]["historical"] == {
        "windows": 460,
        "groups": 20,
        "windows_of_symbol": {"x": 460},
    }
    assert numbers["as_expected"]["simulated"] == {str(fact): True for fact in FACT_NAMES}
    curve = numbers["curves"]["clustering"]
    assert len(curve["lag"]) == len(curve["simulated"]["mean"]) == len(curve["null"]["low"]) == 20
    fields = [field for curves in CURVES.values() for field in curves]
    assert sorted(fields) == sorted(Facts._fields)
    for name, curves in CURVES.items():
        frame: Any = pd.read_csv(tmp_path / name)
        assert list(frame) == ["source", "statistic", "lag", "group", "value"]
        assert set(frame["statistic"]) == set(curves)
        assert set(frame["source"]) == {"historical", "simulated"}
    frame = pd.read_csv(tmp_path / "fact_06_08_clustering.csv")
    row = frame[(frame["source"] == "simulated") & (frame["statistic"] == "clustering")]
    at = row[(row["lag"] == 3) & (row["group"] == "x 2")]["value"].item()
    assert np.isclose(at, result.simulated.facts.clustering[1, 2])


def test_the_markdown(result: FactsResult) -> None:
    lines = markdown(result).splitlines()
    assert "* simulated: 1,058 windows of 26 minutes, 1 symbol, 46 groups" in lines
    assert any(line.startswith("* 11 of 11 facts as expected") for line in lines)
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == len(STATISTICS) + 1 and all(row.count("|") == 9 for row in rows)
    assert sum(" yes |" in row for row in rows) == sum(bool(s.rule) for s in STATISTICS)


def test_one_group_and_no_history() -> None:
    """No bands, no z; a report nevertheless, and it says so."""
    alone = stylized_facts(walk(2, 15))
    text = markdown(alone)
    assert "A source of one group has no standard error." in text
    assert "Fewer than 1,000 simulated windows" in text and "**no**" in text
    unknown = {fact for fact, verdict in alone.verdicts().items() if verdict is None}
    assert 11 in alone.undecided() and set(alone.undecided()) == unknown
    assert f", {len(unknown)} undecided; facts 3 and 9" in text
    assert text.count(" | ? |") == len(unknown)
    assert "fact 11 (needs two groups of windows)." in text
    table: Any = alone.table()
    assert table["historical"].isna().all()


def test_the_seed_is_all_that_changes_a_report() -> None:
    windows = walk(3, 46)
    first, again = stylized_facts(windows), stylized_facts(windows)
    other = stylized_facts(windows, seed=1)
    pd.testing.assert_frame_equal(first.table(), again.table())
    assert not np.allclose(first.table()["null_low"], other.table()["null_low"], equal_nan=True)
    assert np.allclose(first.table()["simulated"], other.table()["simulated"], equal_nan=True)


def test_prices_and_volumes_may_have_any_unit() -> None:
    windows = market(4, 46)
    scaled = windows._replace(last=100 * windows.last, volume=7 * windows.volume)
    a, b = stylized_facts_of(windows), stylized_facts_of(scaled)
    for name in Facts._fields:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-6, err_msg=name)
