"""What a forecast leaves on disk: three whole files, or nothing."""

import json
import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import image
from pyarrow import parquet

from jaxmars.data.start import MidPath, StartPoint
from jaxmars.errors import InputError
from jaxmars.files import check_out
from jaxmars.tasks import forecast_files
from jaxmars.tasks.forecast import ForecastResult
from jaxmars.tasks.forecast_files import FILES, draw_fan, write_forecast

TICK = 0.01
MADE_BY = {"made_by": "a test", "seed": 0, "config": {"flags": {"start": None}}}
NAMES = ["fan.png", "summary.json", "trajectories.parquet"]
Written = tuple[pathlib.Path, ForecastResult]


@pytest.fixture(scope="module")
def written(
    nine: ForecastResult, builtin_start: StartPoint, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    out = tmp_path_factory.mktemp("written") / "deep" / "out"
    write_forecast(out, nine, builtin_start, TICK, MADE_BY, "a title")
    return out, nine


def pixels(path: pathlib.Path) -> np.ndarray:
    return image.imread(path)[..., :3]


def test_three_files_and_nothing_else(written: Written) -> None:
    out, _ = written
    assert sorted(p.name for p in out.iterdir()) == NAMES
    assert len({p.stat().st_mode for p in out.iterdir()}) == 1


def test_one_row_per_event(written: Written) -> None:
    out, result = written
    path = out / "trajectories.parquet"
    assert parquet.read_metadata(path).num_rows == len(result.events())
    pd.testing.assert_frame_equal(pd.read_parquet(path), result.events())


def test_provenance_travels_in_the_event_file(written: Written) -> None:
    out, _ = written
    metadata = parquet.read_schema(out / "trajectories.parquet").metadata
    assert json.loads(metadata[b"jaxmars"]) == MADE_BY | {"tick_size": TICK}


def test_the_summary_holds_the_tables(written: Written) -> None:
    out, result = written

    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not strict JSON")

    found = json.loads((out / "summary.json").read_text(), parse_constant=refuse)
    assert found["seed"] == 0 and found["made_by"] == "a test"
    assert found["trajectories"] == 9 and found["events"] == len(result.events())
    assert found["status"] == {"trajectories": {}, "meaning": []}
    assert found["compile_seconds"] == round(result.pace.compile_seconds, 3)
    assert found["orders_per_second"] == pytest.approx(
        found["events"] / result.pace.run_seconds, rel=1e-3
    )
    (minute,) = found["minutes"]
    middle = np.median(result.paths[:, -1]) * TICK
    assert minute["minute"] == 1 and minute["mid"]["q50"] == pytest.approx(middle)
    (row,) = found["classes"]
    assert row["P(down)"] + row["P(flat)"] + row["P(up)"] == pytest.approx(1)
    assert [line["minute"] for line in found["score"]] == [1]
    assert len(found["class_borders_bp"]["low"]) == 5


def test_the_figure_shows_bands_median_history_and_record(written: Written) -> None:
    shown = pixels(written[0] / "fan.png")
    assert shown.shape[:2] == (650, 1170)
    flat = (255 * shown.reshape(-1, 3)).round().astype(int)
    colours, counts = np.unique(flat, axis=0, return_counts=True)
    often = {tuple(c.tolist()) for c, n in zip(colours, counts, strict=True) if n > 100}
    for name, rgb in {"median": (0, 0, 128), "history": (0, 0, 0), "record": (214, 39, 40)}.items():
        assert rgb in often, name
    blues = [c for c in often if c[2] > c[0] + 10 and c[2] > 200]
    assert len(blues) >= 3, "three shades of bands"


def test_without_record_or_history_the_figure_lacks_just_these(
    written: Written, builtin_start: StartPoint, tmp_path: pathlib.Path
) -> None:
    _, result = written
    nothing = np.zeros(0)
    bare = result._replace(truth=None, truth_labels=None)
    start = builtin_start._replace(past=MidPath(nothing, nothing))
    draw_fan(tmp_path / "fan.png", bare, start, TICK, "bare")
    shown = (255 * pixels(tmp_path / "fan.png").reshape(-1, 3)).round()
    assert not (shown == [214, 39, 40]).all(1).any(), "no record"
    assert (shown == [0, 0, 128]).all(1).any(), "the median is still there"


@pytest.mark.parametrize("fails", ["draw_fan", "write_events", "summary"])
def test_a_failure_leaves_the_folder_as_it_was(
    written: Written,
    builtin_start: StartPoint,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(forecast_files, fails, full)
    old = tmp_path / "old"
    old.mkdir()
    (old / "summary.json").write_text("kept")
    for out in (old, tmp_path / "new"):
        with pytest.raises(OSError, match="No space"):
            write_forecast(out, written[1], builtin_start, TICK, MADE_BY, "")
    assert [p.name for p in tmp_path.rglob("*")] == ["old", "summary.json"]
    assert (old / "summary.json").read_text() == "kept"


def test_older_results_are_replaced(
    written: Written, builtin_start: StartPoint, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "fan.png").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    write_forecast(tmp_path, written[1], builtin_start, TICK, MADE_BY, "a title")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*NAMES, "notes.txt"])
    assert (tmp_path / "fan.png").read_bytes() == (written[0] / "fan.png").read_bytes()


def test_folders_that_cannot_be_written_to_are_refused_early(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "out" / "fan.png").mkdir(parents=True)
    refused = {
        tmp_path / "file": "file is a file, expected a folder",
        tmp_path / "file" / "below" / "it": "file is a file, expected a folder",
        tmp_path / "out": "fan.png is a folder, expected a file that may be replaced",
    }
    for path, sentence in refused.items():
        with pytest.raises(InputError, match=re.escape(sentence)):
            check_out(path, FILES)
    check_out(tmp_path, FILES)
    check_out(tmp_path / "not" / "there", FILES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "out"], "nothing was made"
