"""Shared fixtures: strict numerics, real data where it is present."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = pathlib.Path(
    os.environ.get("JAXMARS_DATA", pathlib.Path(__file__).parents[2] / "shared" / "data")
)


@pytest.fixture
def key() -> jax.Array:
    """One fixed key per test."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder of real order flow; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"real order flow not found at {DATA} (set JAXMARS_DATA to its folder)")
    return DATA
