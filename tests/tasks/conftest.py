"""Forecasts that several tests look at: the programs are compiled once."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from oracles.forecast_world import GROWTH, LANES, SLOTS, small_model

from jaxmars.agents import policy
from jaxmars.builtin import default_starts
from jaxmars.config import SimConfig
from jaxmars.data.start import StartPoint, load_start
from jaxmars.models import OrderModel
from jaxmars.sim.reference_market import reference_market
from jaxmars.tasks.forecast import ForecastResult, forecast

Run = Callable[..., ForecastResult]


@pytest.fixture(scope="session")
def builtin_start() -> StartPoint:
    return load_start(default_starts(), 3)


@pytest.fixture(scope="session")
def model() -> OrderModel:
    return small_model()


@pytest.fixture(scope="session")
def cfg() -> SimConfig:
    """Four lanes, the slots of the built-in starts."""
    market = dataclasses.replace(reference_market(), slots=SLOTS)
    return SimConfig(market=market, segment=GROWTH, lanes=LANES)


@pytest.fixture(scope="session")
def run(
    builtin_start: StartPoint,
    model: OrderModel,
    cfg: SimConfig,
) -> Run:
    """Nine futures of one minute; arguments of `forecast` may be changed."""
    context = policy.anchored(model.config, GROWTH)
    usual: dict[str, Any] = {"trajectories": 9, "minutes": 1, "seed": 0, "cfg": cfg}

    def start_it(**changes: Any) -> ForecastResult:
        options = {"start": builtin_start, "model": model, **usual, **changes}
        return forecast(options.pop("start"), options.pop("model"), context, **options)

    return start_it


@pytest.fixture(scope="session")
def nine(run: Run) -> ForecastResult:
    return run()
