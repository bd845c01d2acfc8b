"""Progress, on a terminal and into a file."""

import sys

import pytest

from jaxmars.cli_pace import show_bar

STEPS = 1000


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_at_every_step_or_every_tenth(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs one after the other, each to its end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    for run in ("first", "second"):
        for done in range(STEPS + 1):
            show_bar(done, STEPS, f"{run} {done}")
    bars = capsys.readouterr().err.split("\r")[1:]
    assert len(bars) == 2 * (STEPS + 1 if terminal else 11)
    assert bars[-1] == f"[{'#' * 30}] second {STEPS}"
    assert f"[{'#' * 3}{'.' * 27}] second {STEPS // 10}" in bars
