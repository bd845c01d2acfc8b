"""Shared fixtures: quick compiles, strict numerics, real data where it is present."""

import os
import pathlib
import tempfile

import jax
import pytest

# Most of the time goes into compiling, so it is done with few optimisations, and each program once
# for all workers and the processes that tests start: they inherit these variables. A variable that
# is given stays as it is: JAX_DISABLE_MOST_OPTIMIZATIONS=0 tests what users run, in twice the time.
COMPILED = "JAX_COMPILATION_CACHE_DIR"
if COMPILED not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="jaxmars-compiled-")  # goes with this process
    os.environ[COMPILED] = _compiled.name
    jax.config.update(COMPILED.lower(), _compiled.name)
for _name, _value in {
    "jax_disable_most_optimizations": True,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}.items():
    if _name.upper() not in os.environ:
        os.environ[_name.upper()] = str(_value)
        jax.config.update(_name, _value)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # XLA reports every program that is read back

jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = pathlib.Path(
    os.environ.get("JAXMARS_DATA", pathlib.Path(__file__).parents[2] / "shared" / "data")
)


@pytest.fixture(scope="session", autouse=True)
def devices() -> None:
    """Commands that tests run in this process keep its devices."""
    jax.devices()


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
