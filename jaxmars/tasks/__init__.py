"""Questions asked of simulations."""

from jaxmars.tasks.forecast import ForecastResult, forecast
from jaxmars.tasks.interactive import Market, Receipt
from jaxmars.tasks.scenario import Scenario, Trader, read_scenario
from jaxmars.tasks.simulate import SimulationResult, run_scenario

__all__ = [
    "ForecastResult",
    "Market",
    "Receipt",
    "Scenario",
    "SimulationResult",
    "Trader",
    "forecast",
    "read_scenario",
    "run_scenario",
]
