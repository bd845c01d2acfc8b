"""Which part of the package may import which: the tree as a table, checked against the source."""

import ast
import functools
import graphlib
import pathlib

import pytest

import jaxmars

ROOT = pathlib.Path(jaxmars.__file__).parent
PACKAGE = "jaxmars"

# Layer (a package or a module of the first level) -> layers it may import. From bottom to top;
# a new layer or a new import needs a line here.
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "cli_train": {"cli_pace", "errors", "files", "provenance", "tasks", "train"},
    "enums": set(),
    "types": {"enums"},
    "config_checks": set(),
    "config_model": {"config_checks"},
    "config": {"clock_text", "config_checks", "config_model", "enums"},
    "errors": set(),
    "devices": set(),
    "clock_text": set(),
    "cli_values": {"clock_text"},
    "clock": {"types"},
    "calendar": {"clock", "config", "types"},
    "files": {"errors"},
    "book": {"config", "types"},
    "convert": {"config", "errors", "types"},
    "tokens": {"book", "calendar", "clock", "config", "convert", "errors", "types"},
    "models": {"config", "convert", "errors", "tokens", "types"},
    "agents": {"book", "clock", "clock_text", "config", "errors", "models", "tokens", "types"},
    "sim": {
        "agents",
        "book",
        "calendar",
        "clock",
        "config",
        "devices",
        "models",
        "tokens",
        "types",
    },
    "data": {"book", "clock_text", "config", "errors", "files", "tokens", "types"},
    "train": {
        "book",
        "calendar",
        "clock_text",
        "config",
        "convert",
        "data",
        "devices",
        "errors",
        "files",
        "models",
        "sim",
        "tokens",
        "types",
    },
    "tasks": {
        "__init__",
        "agents",
        "book",
        "builtin",
        "clock",
        "clock_text",
        "config",
        "convert",
        "data",
        "devices",
        "errors",
        "files",
        "models",
        "sim",
        "tokens",
        "train",
        "types",
    },
    "builtin": set(),
    "provenance": {"__init__", "book", "convert"},
    "cli_pace": {"devices"},
    "cli_bench_lob": {"cli_pace", "cli_values", "errors", "files", "provenance", "tasks"},
    "cli_backtest": {
        "agents",
        "builtin",
        "cli_forecast",
        "cli_pace",
        "cli_values",
        "config",
        "convert",
        "data",
        "errors",
        "files",
        "models",
        "provenance",
        "sim",
        "tasks",
    },
    "cli_convert": {"errors", "models"},
    "cli_data": {
        "cli_pace",
        "cli_values",
        "errors",
        "files",
        "provenance",
        "tasks",
        "tokens",
        "train",
    },
    "cli_facts": {"cli_values", "convert", "files", "provenance", "tasks"},
    "cli_forecast": {
        "agents",
        "builtin",
        "cli_pace",
        "cli_values",
        "clock_text",
        "config",
        "convert",
        "data",
        "errors",
        "files",
        "models",
        "provenance",
        "sim",
        "tasks",
        "tokens",
    },
    "cli_replay_sources": {"cli_values", "data"},
    "cli_replay": {
        "book",
        "cli_pace",
        "cli_replay_sources",
        "convert",
        "data",
        "errors",
        "files",
        "provenance",
        "tasks",
        "types",
    },
    "cli_simulate": {"cli_pace", "convert", "errors", "files", "provenance", "tasks", "types"},
    "cli": {
        "__init__",
        "cli_backtest",
        "cli_bench_lob",
        "cli_convert",
        "cli_data",
        "cli_facts",
        "cli_forecast",
        "cli_replay",
        "cli_simulate",
        "cli_train",
        "errors",
    },
}


def layer_of(path: pathlib.Path) -> str:
    """`agents` for jaxmars/agents/noise.py, `clock` for jaxmars/clock.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@functools.cache
def layers() -> set[str]:
    return {layer_of(path) for path in ROOT.rglob("*.py")}


def imported(source: str) -> set[str]:
    """Layers a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {_layer_named(alias.name) for alias in node.names if _is_ours(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == PACKAGE:
                found |= {_layer_named(f"{PACKAGE}.{alias.name}") for alias in node.names}
            elif node.module and _is_ours(node.module):
                found.add(_layer_named(node.module))
    return found


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == PACKAGE


def _layer_named(name: str) -> str:
    """The layer of a dotted name; a name that is no module lies in the root of the package."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in layers() else "__init__"


@functools.cache
def imports_of(layer: str) -> set[str]:
    """Other layers that the modules of a layer import."""
    paths = [path for path in ROOT.rglob("*.py") if layer_of(path) == layer]
    return set().union(*(imported(path.read_text()) for path in paths)) - {layer}


def test_the_table_names_every_layer() -> None:
    assert layers() == set(ALLOWED)


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_a_layer_imports_what_the_table_allows(layer: str) -> None:
    assert imports_of(layer) <= ALLOWED[layer]


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_the_table_allows_no_more_than_is_used(layer: str) -> None:
    assert ALLOWED[layer] <= imports_of(layer)


def test_no_layer_depends_on_itself() -> None:
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())
    assert order.index("types") < order.index("book") < order.index("sim") < order.index("tasks")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy\nfrom collections import abc", set()),
        ("import jaxmars.sim.market", {"sim"}),
        ("from jaxmars import clock, __version__", {"clock", "__init__"}),
        ("def f():\n    from jaxmars.tokens.order import advance", {"tokens"}),
        ("from jaxmarsian import x", set()),
    ],
)
def test_imports_are_found(source: str, expected: set[str]) -> None:
    assert imported(source) == expected
