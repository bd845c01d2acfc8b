"""A market and its past as one file."""

import json
import pathlib
import zipfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmars import __version__
from jaxmars.book import MATCHING_VERSION
from jaxmars.errors import InputError
from jaxmars.files import check_out, write_atomically

FACTS = "facts"
PAST = "past"  # its arrays may have any length

Tree = Any


def save_market(path: pathlib.Path, kept: Tree, past: Tree, facts: dict[str, int]) -> None:
    """Writes arrays of the present, arrays of the past and a few numbers.

    Raises:
      InputError: a folder is in the way, or may not be written to.
    """
    check_out(path.parent, [path.name])
    about = {"made_by": f"jaxmars {__version__}", "matching_version": MATCHING_VERSION, **facts}
    arrays = _named({"now": kept, PAST: past})
    write_atomically(path, lambda part: _write(part, {FACTS: json.dumps(about), **arrays}))


def load_market(path: pathlib.Path, kept: Tree, past: Tree) -> tuple[Tree, Tree, dict[str, int]]:
    """Reads what `save_market` wrote; the arguments say what it must look like.

    Raises:
      InputError: no such file, a damaged one, or one of another kind of market.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a saved market")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(str(arrays.pop(FACTS)))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a whole file that Market.save has written") from error
    if facts["matching_version"] != MATCHING_VERSION:
        raise InputError(
            f"{path} was saved under matching version {facts['matching_version']}, expected "
            f"{MATCHING_VERSION}: its future would not be the same"
        )
    template = {"now": kept, PAST: past}
    expected = _named(template)
    for name in sorted({*expected, *arrays}):
        here, there = (_shape(name, x.get(name)) for x in (arrays, expected))
        if here != there:
            raise InputError(
                f"{path} is a market of other agents or another configuration: {name} is {here}, "
                f"expected {there}"
            )
    leaves, structure = jax.tree.flatten(template)
    found = [_like(leaf, arrays[name]) for leaf, name in zip(leaves, expected, strict=True)]
    tree = jax.tree.unflatten(structure, found)
    return tree["now"], tree[PAST], facts


def _shape(name: str, array: np.ndarray | None) -> str:
    if array is None:
        return "absent"
    return f"{array.dtype}{list(array.shape[name.startswith(PAST) :])}"


def _named(tree: Tree) -> dict[str, np.ndarray]:
    """Arrays of a tree by their path; random keys as their numbers."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")
    return {name(path): np.asarray(_numbers(leaf)) for path, leaf in pairs}


def _numbers(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: Any, array: np.ndarray) -> Any:
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array))
    return jnp.asarray(array) if isinstance(leaf, jax.Array) else array


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _write(path: pathlib.Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
