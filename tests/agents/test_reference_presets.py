"""Random parameters of the reference market stay in their bounds and near their presets."""

import jax
import numpy as np
import pytest

from jaxmars.agents import reference_presets
from jaxmars.agents.reference_presets import DEFAULT, PRESETS, SPREADS, jittered
from jaxmars.agents.reference_state import ReferenceParams

DRAWS = 4_000


@pytest.fixture(scope="module")
def drawn() -> ReferenceParams:
    """Leaves `[DRAWS]`."""
    keys = jax.random.split(jax.random.key(2), DRAWS)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(jittered))(keys))


def test_probabilities_sum_to_one_and_most_is_the_default() -> None:
    chances = [preset.probability for preset in PRESETS.values()]
    assert sum(chances) == pytest.approx(1)
    assert PRESETS["default"].params == DEFAULT == ReferenceParams()
    assert max(chances) == PRESETS["default"].probability == 0.5


def test_the_traps_are_out_of_reach(drawn: ReferenceParams) -> None:
    """No liquidity that leans too much, no thin books, no feedback that feeds itself."""
    assert 0 < np.min(drawn.lean) < np.max(drawn.lean) <= 0.3
    thinness = (drawn.cancel_rate / drawn.limit_rate) / (DEFAULT.cancel_rate / DEFAULT.limit_rate)
    assert 0.949 < np.min(thinness) < np.max(thinness) < 1.351
    assert np.max(drawn.hawkes_share + drawn.trend_share) < 0.7501
    assert np.min(drawn.parent_tail) > 1.19
    assert 0.59 < np.min(drawn.split_prob) < np.max(drawn.split_prob) < 0.951
    assert 0 < np.min(drawn.best_prob) < np.max(drawn.best_prob) < 1


@pytest.mark.parametrize("name", ["value_time", "lean", "size_sigma", "jump_rate", "limit_rate"])
def test_numbers_vary_around_the_presets(drawn: ReferenceParams, name: str) -> None:
    """At most two standard deviations, in logarithms, from some preset; median near the default's.
    Rates share a second factor."""
    values = np.log(getattr(drawn, name))
    centres = np.log([float(getattr(preset.params, name)) for preset in PRESETS.values()])
    reach = 2 * (getattr(SPREADS, name) + reference_presets.CLOCK_SPREAD * (name == "limit_rate"))
    nearest = np.abs(values[:, None] - centres).min(1)
    assert nearest.max() <= reach + 1e-4
    assert nearest.std() > 0.1 * getattr(SPREADS, name)
    assert abs(np.median(values) - np.log(getattr(DEFAULT, name))) < 0.1


def test_what_adds_up_to_one_does_not_vary(drawn: ReferenceParams) -> None:
    for found, weight in zip(drawn.hawkes_weights, DEFAULT.hawkes_weights, strict=True):
        np.testing.assert_allclose(found, weight, rtol=1e-6)


def test_presets_are_met_with_their_probability(drawn: ReferenceParams) -> None:
    """The slow fundamental tells one of them from all others."""
    share = np.mean(drawn.value_time > 1800 * np.exp(-0.6))
    spread = np.sqrt(0.1 * 0.9 / DRAWS)
    assert abs(share - PRESETS["persistent"].probability) < 4 * spread
