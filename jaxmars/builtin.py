"""Where the built-in weights and start states lie."""

import pathlib

FOLDER = "weights"


def default_weights() -> pathlib.Path:
    """Model folder of the built-in weights."""
    return _folder() / "default"


def default_starts() -> pathlib.Path:
    """File of the built-in start states."""
    return _folder() / "starts.npz"


def _folder() -> pathlib.Path:
    """Inside an installed package, or in a source checkout."""
    package = pathlib.Path(__file__).resolve().parent
    installed = package / FOLDER
    return installed if installed.is_dir() else package.parent / FOLDER
