"""What importing the package does not do."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

import jaxmars

ROOT = pathlib.Path(jaxmars.__file__).parents[1]
HEAVY = ("torch", "transformers", "matplotlib")
TEXTS = {path.stem: path.read_text() for path in (ROOT / "scripts").glob("*.py")}
KEEP_PROGRAMS = sorted(name for name, text in TEXTS.items() if "prepare_jax()" in text)
SILENCE = 'os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")'
PROBE = f"""
import importlib, json, logging, pkgutil, sys
handlers = lambda: [
    name
    for name, logger in [("root", logging.root), *logging.root.manager.loggerDict.items()]
    if name.split(".")[0] in ("root", "jaxmars") and getattr(logger, "handlers", None)
]
import jaxmars
names = [module.name for module in pkgutil.walk_packages(jaxmars.__path__, "jaxmars.")]
heavy = {{}}
for name in names:
    importlib.import_module(name)
    for other in {HEAVY!r}:
        if other in sys.modules:
            heavy.setdefault(other, name)
from jax._src import xla_bridge
print(json.dumps({{
    "modules": names,
    "heavy": heavy,
    "handlers": handlers(),
    "backend": xla_bridge.backends_are_initialized(),
}}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """What a fresh interpreter saw after importing every module."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_module_was_imported(found: dict) -> None:
    paths = (ROOT / "jaxmars").rglob("*.py")
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    assert set(found["modules"]) | {"jaxmars"} == {f.removesuffix(".__init__") for f in files}


def test_no_backend_is_initialised(found: dict) -> None:
    """Otherwise the number of devices could not be chosen any more."""
    assert not found["backend"]


def test_heavy_packages_are_left_alone(found: dict) -> None:
    """Value: the module of ours that had imported it."""
    assert found["heavy"] == {}


def test_logging_is_left_alone(found: dict) -> None:
    assert found["handlers"] == []


@pytest.mark.parametrize("script", KEEP_PROGRAMS)
def test_a_script_silences_xla_before_jax_is_imported(script: str) -> None:
    """XLA reports every program it reads back, and asks for the log level once, at the import."""
    text = TEXTS[script]
    imported = re.search(r"^(import|from) (jax|jaxmars)\b", text, re.MULTILINE)
    assert imported is not None and 0 < text.find(SILENCE) < imported.start()
