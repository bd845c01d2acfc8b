"""A path or a Hugging Face repository id to a local folder."""

import os
import pathlib
import re

from jaxmars.errors import InputError

PATTERNS = ("*.json", "*.safetensors", "*.zstd")  # the only files fetched
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def fetch(path_or_repo: str | os.PathLike[str], revision: str | None = None) -> pathlib.Path:
    """The local folder of a model; a repository is downloaded into the hub's own cache.

    Args:
      path_or_repo: a folder, or a repository id "owner/name". With `HF_HUB_OFFLINE=1` in the
        environment only the cache is looked at.
      revision: commit, tag or branch of the repository; by default its main branch. A folder has
        none.

    Raises:
      InputError: neither a folder nor a repository that can be fetched.
    """
    path = pathlib.Path(path_or_repo)
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{path} is a file, expected the folder of a model")
    repo = os.fspath(path_or_repo)
    if not _REPO_ID.fullmatch(repo):
        raise InputError(f"{repo!r:.200} is neither an existing folder nor a repository id")

    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            repo, revision=revision, allow_patterns=list(PATTERNS)
        )
    except Exception as error:  # the hub's clients raise errors of several libraries
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{repo} is no folder here and could not be fetched from the hub: {reason}"
        ) from error
    return pathlib.Path(folder)
