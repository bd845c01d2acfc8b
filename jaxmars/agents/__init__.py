"""Who sends orders."""

from jaxmars.agents.background import BackgroundParams, background_agent
from jaxmars.agents.base import Agent, Decision, MarketView, Request
from jaxmars.agents.fundamental import Fundamental, mean_reverting, value_at
from jaxmars.agents.market_maker import MarketMakerParams, market_maker_agent
from jaxmars.agents.momentum import MomentumParams, momentum_agent
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.agents.policy import ContextPolicy, anchored, exact, shared_prefix
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.schedule_file import read_schedule
from jaxmars.agents.script import Schedule, most_at_once, scripted_agent
from jaxmars.agents.twap import (
    TwapParams,
    paper_twap_agent,
    paper_twap_params,
    twap_agent,
    twap_params,
)
from jaxmars.agents.value import ValueParams, value_agent
from jaxmars.agents.zero_intelligence import ZeroIntelligenceParams, zero_intelligence_agent

__all__ = [
    "Agent",
    "BackgroundParams",
    "ContextPolicy",
    "Decision",
    "Fundamental",
    "MarketMakerParams",
    "MarketView",
    "MomentumParams",
    "NoiseParams",
    "ReferenceParams",
    "Request",
    "Schedule",
    "TwapParams",
    "ValueParams",
    "ZeroIntelligenceParams",
    "anchored",
    "background_agent",
    "exact",
    "market_maker_agent",
    "mean_reverting",
    "momentum_agent",
    "most_at_once",
    "noise_agent",
    "paper_twap_agent",
    "paper_twap_params",
    "read_schedule",
    "reference_agent",
    "scripted_agent",
    "shared_prefix",
    "twap_agent",
    "twap_params",
    "value_agent",
    "value_at",
    "zero_intelligence_agent",
]
