"""Questions asked of simulations."""

from jaxmars.tasks.forecast import ForecastResult, forecast

__all__ = ["ForecastResult", "forecast"]
