"""Paths and repository ids; the hub itself is replaced, nothing goes over a network."""

import pathlib
from typing import Any

import huggingface_hub
import pytest
from oracles.released_folder import golden_script, released_entries, used_shapes, write_folder

from jaxmars.config import OrderModelConfig
from jaxmars.convert import fetch
from jaxmars.errors import InputError
from jaxmars.models import OrderModel


def test_an_existing_folder_is_itself(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert fetch(tmp_path) == tmp_path
    assert fetch("owner/name") == pathlib.Path("owner/name")


def test_a_repository_is_fetched_once_with_safe_files_only(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    cfg = OrderModelConfig.tiny()
    weights = golden_script().formula_weights(used_shapes(cfg))
    folder = write_folder(tmp_path, released_entries(cfg), weights)
    asked: list[Any] = []

    def snapshot_download(repo: str, **options: Any) -> str:
        asked.append((repo, options))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    model = OrderModel.from_pretrained("owner/name", revision="v1")
    assert model.config == cfg
    patterns = ["*.json", "*.safetensors", "*.zstd"]
    assert asked == [("owner/name", {"revision": "v1", "allow_patterns": patterns})]


def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def snapshot_download(repo: str, **options: Any) -> str:
        raise RuntimeError("many\nlines\n" * 100)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(InputError, match=r"owner/name is no folder here and could not be") as error:
        fetch("owner/name")
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_offline_the_cache_is_all_there_is(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="owner/name is no folder here and could not be fetched"):
        fetch("owner/name")


@pytest.mark.parametrize(
    "text", ["missing", "a/b/c", "../up", "/no/such/folder", "https://host/x", "a b/c", "-x/y"]
)
def test_text_that_is_neither_is_refused(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is neither an existing folder nor a repository id"):
        fetch(text)


def test_a_file_is_refused(tmp_path: pathlib.Path):
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(InputError, match="is a file, expected the folder of a model"):
        fetch(tmp_path / "model.safetensors")
