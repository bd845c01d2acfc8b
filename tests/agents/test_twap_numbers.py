"""Numbers of a TWAP that are no whole numbers, or none at all."""

from typing import Any

import numpy as np
import pytest

from jaxmars import clock
from jaxmars.agents.twap import paper_twap_params, twap_params
from jaxmars.errors import InputError
from jaxmars.types import Side

TASK: dict[str, Any] = {"side": Side.BUY, "start": clock.make_time(34_200), "target": 1_000}
NAN = float("nan")


@pytest.mark.parametrize("name", ["target", "total", "change", "lot", "passive_seconds"])
@pytest.mark.parametrize("value", [NAN, 300.0, "300"])
def test_counts_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"TWAP {name} must be a whole number, got"):
        twap_params(**TASK | {"total": 300, name: value})


def test_levels_are_whole_numbers() -> None:
    with pytest.raises(InputError, match=r"TWAP level must be a whole number, got 1\.5"):
        paper_twap_params(**TASK, passive_ratio=0.1, level=1.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", ["x", None, NAN])
def test_ratios_are_numbers(value: Any) -> None:
    with pytest.raises(InputError, match="TWAP ratios must be from 0 to 1, got"):
        twap_params(**TASK, total=300, passive_ratio=value)


def test_whole_numbers_of_any_kind_are_taken() -> None:
    given = {"target": np.int64(1_000), "total": np.int32(300)}
    assert twap_params(**TASK | given).target == 1_000
