"""Who sends orders."""

from jaxmars.agents.background import BackgroundParams, background_agent
from jaxmars.agents.base import Agent, Decision, MarketView, Request
from jaxmars.agents.noise import NoiseParams, noise_agent
from jaxmars.agents.policy import ContextPolicy, anchored, exact
from jaxmars.agents.reference import ReferenceParams, reference_agent

__all__ = [
    "Agent",
    "BackgroundParams",
    "ContextPolicy",
    "Decision",
    "MarketView",
    "NoiseParams",
    "ReferenceParams",
    "Request",
    "anchored",
    "background_agent",
    "exact",
    "noise_agent",
    "reference_agent",
]
