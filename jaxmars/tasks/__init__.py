"""Questions asked of simulations."""

from jaxmars.tasks.facts_minutes import Minutes, event_minutes
from jaxmars.tasks.facts_report import FactsResult, stylized_facts
from jaxmars.tasks.forecast import ForecastResult, forecast
from jaxmars.tasks.interactive import Market, Receipt
from jaxmars.tasks.lob_bench import LobBenchResult, lob_bench
from jaxmars.tasks.lob_bench_data import (
    Sequence,
    cut_sequence,
    read_sequences,
    sequence_of_events,
)
from jaxmars.tasks.scenario import Scenario, Trader, read_scenario
from jaxmars.tasks.simulate import SimulationResult, run_scenario

__all__ = [
    "FactsResult",
    "ForecastResult",
    "LobBenchResult",
    "Market",
    "Minutes",
    "Receipt",
    "Scenario",
    "Sequence",
    "SimulationResult",
    "Trader",
    "cut_sequence",
    "event_minutes",
    "forecast",
    "lob_bench",
    "read_scenario",
    "read_sequences",
    "run_scenario",
    "sequence_of_events",
    "stylized_facts",
]
