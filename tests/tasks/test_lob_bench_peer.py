"""Against the original benchmark, where a checkout of it is named.

JAXMARS_LOB_BENCH is the folder of github.com/peernagy/lob_bench; JAXMARS_LOB_BENCH_PYTHON, if set,
the interpreter that has what it imports. Deliberate deviations:

| what | the original | here |
|---|---|---|
| volume per minute, first second | left out if long, scaled up if short | the reverse |
| volume per minute, one execution | counted as it is | left out |
| a decile that repeats | 0.01 is added to it | the next number up |
| hours | 23 groups of 3757 s | 24 of 3600 s |
| conditional W1, group of one side | counts 0 | left out |
| sum of response differences | lag 3 counts twice | once |
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from oracles.lob_sequences import recorded_lines

from jaxmars.tasks import Sequence, read_sequences
from jaxmars.tasks.lob_bench_impact import KINDS, LAGS, moves, responses
from jaxmars.tasks.lob_bench_scores import SCORES, distances, observe, pooled

ENVIRONMENT, INTERPRETER = "JAXMARS_LOB_BENCH", "JAXMARS_LOB_BENCH_PYTHON"
MESSAGES, SEQUENCES = 500, 8
DIFFERENT = ("volume per minute", "spread given hour")

RUN = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import impact, metrics, run_bench, scoring
from data_loading import Simple_Loader
folder, lags = sys.argv[1], json.loads(sys.argv[2])
loader = Simple_Loader(folder + "/data_real", folder + "/data_gen", folder + "/data_cond")
rows = [loader[i] for i in range(len(loader))]
for row in rows:
    row.materialize()
few = lambda metric: lambda table: metric(table, n_bootstrap=2)
measures = {"l1": few(metrics.l1_by_group), "wasserstein": few(metrics.wasserstein)}
found = {}
for config in (run_bench.DEFAULT_SCORING_CONFIG, run_bench.DEFAULT_SCORING_CONFIG_COND):
    scores, _, _ = scoring.run_benchmark(rows, config, measures)
    for name, score in scores.items():
        found[name] = [float(score[metric][0]) for metric in measures]
events = ["MO_0", "MO_1", "LO_0", "LO_1", "CA_0", "CA_1"]
classified = {}
for kind in ("real", "gen"):
    pairs = [(s.m_real, s.b_real) if kind == "real" else (s.m_gen[0], s.b_gen[0]) for s in rows]
    classified[kind] = [
        impact._classify_event_types(impact._filter_touch_events(m, b)) for m, b in pairs
    ]
means = {
    kind: [
        [
            float(impact.pd.concat([impact._response_func(e, l, 100, t) for t in tables]).mean())
            for l in lags
        ]
        for e in events
    ]
    for kind, tables in classified.items()
}
print("\\nRESULT" + json.dumps({"scores": list(found.values()), "responses": means}))
"""


def write_lines(folder: pathlib.Path, number: int, end: str, lines: list[list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, some in zip(("message", "orderbook"), lines, strict=True):
        path = folder / f"GOOG_2012-06-21_{kind}_real_id_{number}{end}.csv"
        path.write_text("\n".join(some) + "\n")


@pytest.fixture(scope="module")
def folder(real_data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Blocks of the morning as real, of the afternoon as generated sequences."""
    out = tmp_path_factory.mktemp("lob_bench")
    lines = recorded_lines(real_data, "GOOG", 2 * SEQUENCES)
    for number in range(2 * SEQUENCES):
        block = slice(MESSAGES * number, MESSAGES * (number + 1))
        part = [x[block] for x in lines]
        if number < SEQUENCES:
            write_lines(out / "data_real", number, "", part)
        else:
            write_lines(out / "data_gen", number - SEQUENCES, "_gen_id_0", part)
    return out


@pytest.fixture(scope="module")
def peer(folder: pathlib.Path) -> dict:
    """What the original finds."""
    checkout = os.environ.get(ENVIRONMENT)
    if not checkout:
        pytest.skip(f"no checkout of LOB-Bench (set {ENVIRONMENT} to its folder)")
    done = subprocess.run(
        [os.environ.get(INTERPRETER, sys.executable), "-c", RUN, folder, json.dumps(LAGS.tolist())],
        env=os.environ | {"PYTHONPATH": checkout, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.split("RESULT")[-1])


@pytest.fixture(scope="module")
def sequences(folder: pathlib.Path) -> tuple[list[Sequence], list[Sequence]]:
    return read_sequences(folder / "data_real"), read_sequences(folder / "data_gen")


@pytest.mark.parametrize("number", range(len(SCORES)), ids=[score.name for score in SCORES])
def test_scores_are_those_of_the_original(
    number: int, peer: dict, sequences: tuple[list[Sequence], list[Sequence]]
) -> None:
    score = SCORES[number]
    real, generated = (pooled([observe(score, s) for s in x]) for x in sequences)
    found = np.array(distances(score, real, generated))[:, 0]
    expected = np.array(peer["scores"][number])
    print(f"{score.name}: {found} {expected}")
    if score.name in DIFFERENT:
        assert found[0] == pytest.approx(expected[0], abs=0.2)
    elif score.condition is not None:
        assert found[0] == pytest.approx(expected[0], abs=1e-3)
        assert found[1] >= expected[1] - 1e-3
    else:
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("place", [0, 1], ids=["real", "generated"])
def test_responses_are_those_of_the_original(
    place: int, peer: dict, sequences: tuple[list[Sequence], list[Sequence]]
) -> None:
    found = responses(moves(sequences[place]))[0]
    expected = np.array(peer["responses"][("real", "gen")[place]], float)
    assert found.shape == expected.shape == (len(KINDS), len(LAGS))
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
