"""Provenance, and files that are written whole or not at all."""

import json
import math
import os
import pathlib
import stat
from typing import Any

import jax
import pytest

from jaxmars import __version__
from jaxmars.book import MATCHING_VERSION
from jaxmars.convert import store
from jaxmars.files import to_json, write_atomically, write_together
from jaxmars.provenance import provenance


def fail(path: pathlib.Path) -> None:
    path.write_text("half")
    raise RuntimeError("in the middle")


def names(folder: pathlib.Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_provenance_says_what_made_a_result(tmp_path: pathlib.Path) -> None:
    (tmp_path / store.TENSOR_FILE).write_bytes(b"weights")
    found = provenance(7, tmp_path, {"flags": {"minutes": 5}})
    assert found == {
        "made_by": f"jaxmars {__version__}",
        "matching_version": MATCHING_VERSION,
        "jax": jax.__version__,
        "devices": [device.device_kind for device in jax.devices()],
        "seed": 7,
        "weights": str(tmp_path),
        "weights_sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
        "config": {"flags": {"minutes": 5}},
    }
    assert json.loads(json.dumps(found)) == found


def test_all_files_of_a_folder_or_none(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "a" / "b"
    with pytest.raises(RuntimeError, match="in the middle"):
        write_together(out, {"one": lambda p: p.write_text("1"), "two": fail})
    assert not out.exists()
    write_together(out, {"one": lambda p: p.write_text("1"), "two": lambda p: p.write_text("2")})
    assert names(out) == ["one", "two"]
    with pytest.raises(RuntimeError):
        write_together(out, {"one": lambda p: p.write_text("new"), "two": fail})
    assert names(out) == ["one", "two"] and (out / "one").read_text() == "1"


def test_an_interrupt_leaves_nothing_behind(tmp_path: pathlib.Path) -> None:
    def interrupted(path: pathlib.Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", interrupted)
    assert names(tmp_path) == []


def test_one_file_replaces_an_older_one_and_keeps_its_neighbours(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file.txt").write_text("old")
    (tmp_path / "other").write_text("kept")
    seen: list[pathlib.Path] = []

    def write(path: pathlib.Path) -> None:
        seen.append(path)
        assert (tmp_path / "file.txt").read_text() == "old", "until the end"
        path.write_text("new")

    write_atomically(tmp_path / "file.txt", write)
    assert names(tmp_path) == ["file.txt", "other"]
    assert (tmp_path / "file.txt").read_text() == "new"
    assert seen[0].suffix == ".txt" and seen[0].is_relative_to(tmp_path)


def test_whoever_may_read_other_files_may_read_this(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "file", lambda path: path.write_text(""))
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("plain", "file")}
    assert len(modes) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_is_strict(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"deep": [{"x": value}]})


def test_json_reads_back() -> None:
    value: dict[str, Any] = {"a": [1, 0.1, None, True], "ü": {"b": "\n"}}
    text = to_json(value)
    assert json.loads(text) == value and text.endswith("}\n")
