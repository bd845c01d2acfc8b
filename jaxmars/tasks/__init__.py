"""Questions asked of simulations."""

from jaxmars.tasks.facts_minutes import Minutes, event_minutes
from jaxmars.tasks.facts_report import FactsResult, stylized_facts
from jaxmars.tasks.forecast import ForecastResult, forecast
from jaxmars.tasks.interactive import Market, Receipt
from jaxmars.tasks.scenario import Scenario, Trader, read_scenario
from jaxmars.tasks.simulate import SimulationResult, run_scenario

__all__ = [
    "FactsResult",
    "ForecastResult",
    "Market",
    "Minutes",
    "Receipt",
    "Scenario",
    "SimulationResult",
    "Trader",
    "event_minutes",
    "forecast",
    "read_scenario",
    "run_scenario",
    "stylized_facts",
]
