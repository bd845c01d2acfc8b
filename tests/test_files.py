"""Folders that runs claim, and what stopped runs leave in them."""

import pathlib
from typing import Any

import pytest

from jaxmars.errors import InputError
from jaxmars.files import CONFIG, PART, claim, remove_parts, to_json

ABOUT = {"seed": 0}


@pytest.mark.parametrize("others", [(), ("chunk",)])
@pytest.mark.parametrize("name", ["exists", "iterdir"])
@pytest.mark.parametrize("looks", [1, 2, 3])
def test_another_process_of_the_run_may_be_first(
    name: str,
    looks: int,
    others: tuple[str, ...],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whenever it comes: here right after a look at the folder."""
    look, left = getattr(pathlib.Path, name), [looks]

    def interrupted(path: pathlib.Path) -> Any:
        found = look(path)
        left[0] -= 1
        if left[0] == 0:
            (tmp_path / CONFIG).write_text(to_json(ABOUT))
            for other in others:
                (tmp_path / other).touch()
        return found if name == "exists" else iter(list(found))

    monkeypatch.setattr(pathlib.Path, name, interrupted)
    claim(tmp_path, ABOUT, "backtest")
    with pytest.raises(InputError, match="holds a backtest with seed 0, not 1"):
        claim(tmp_path, {"seed": 1}, "backtest")


def test_what_is_no_run_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InputError, match="holds no backtest, expected one or an empty or new"):
        claim(tmp_path, ABOUT, "backtest")
    with pytest.raises(InputError, match="something holds no backtest"):
        claim(tmp_path / "something", ABOUT, "backtest")
    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_half_written_files_are_removed_and_no_others(tmp_path: pathlib.Path) -> None:
    (tmp_path / f"{PART}1").mkdir()
    (tmp_path / f"{PART}1" / "half").touch()
    (tmp_path / "whole").touch()
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    remove_parts(tmp_path / "absent")
