"""The README's Python runs as printed, and it names only files that exist."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
MOST_LINES = 250


@pytest.mark.parametrize("block", BLOCKS)
def test_python_block_runs(
    block: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_there_is_a_python_block() -> None:
    assert BLOCKS


def test_named_files_exist() -> None:
    named = re.findall(r"`((?:jaxmars|scripts|benchmarks|weights|tests)/[\w/.]+\.\w+)`", TEXT)
    named += re.findall(r"\]\(([\w/.]+)\)", TEXT)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert named
    assert not missing


def test_length() -> None:
    assert len(TEXT.splitlines()) <= MOST_LINES
