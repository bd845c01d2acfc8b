"""Where the built-in weights and start states lie."""

import pathlib

DEFAULT = pathlib.Path("weights") / "default"
STARTS = "starts.npz"


def default_weights() -> pathlib.Path:
    """Folder of the built-in weights: inside an installed package, or in a source checkout."""
    package = pathlib.Path(__file__).resolve().parent
    installed = package / DEFAULT
    return installed if installed.is_dir() else package.parent / DEFAULT
