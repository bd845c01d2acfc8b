"""A GARCH(1,1) model of many short windows, fitted once for all of them (Bollerslev 1986).

v_t = (1 - a - b) V + a r_{t-1}^2 + b v_{t-1}, where V is the variance of the sample that a window
belongs to, and where every window starts.
"""

import numpy as np
from scipy import optimize

SOLVER = {"xatol": 1e-2, "fatol": 1e-5, "maxiter": 120}
START = (-1.0, 1.0)  # shares before the soft maximum: a = 0.09, b = 0.67
FLOOR = 1e-8  # of a variance, as a share of V


def garch_residuals(returns: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Returns divided by their conditional deviation.

    Args:
      returns: `[windows, n]`.
      variance: V of each window, `[windows]`.

    Returns:
      `[windows, n]`; nan where V is 0. The coefficients maximise the Gaussian likelihood.
    """
    moving = variance > 0
    scaled = returns[moving] / np.sqrt(variance[moving])[:, None]
    residuals = np.full(returns.shape, np.nan)
    if not moving.any():
        return residuals

    def loss(shares: np.ndarray) -> float:
        path = conditional_variance(scaled, *_coefficients(shares))
        return float((np.log(path) + scaled**2 / path).mean())

    best = optimize.minimize(loss, START, method="Nelder-Mead", options=SOLVER)
    path = conditional_variance(scaled, *_coefficients(best.x))
    residuals[moving] = scaled / np.sqrt(path)
    return residuals


def conditional_variance(scaled: np.ndarray, a: float, b: float) -> np.ndarray:
    """v_t / V of every window, `[windows, n]`, of returns divided by the root of V."""
    square = scaled**2
    path = np.empty_like(square)
    path[:, 0] = 1.0
    for t in range(1, square.shape[1]):
        path[:, t] = (1 - a - b) + a * square[:, t - 1] + b * path[:, t - 1]
    return np.maximum(path, FLOOR)


def _coefficients(shares: np.ndarray) -> tuple[float, float]:
    """a and b, positive with a sum below 1, of two unbounded numbers."""
    weights = np.exp(np.append(shares, 0.0) - max(0.0, *shares))
    a, b, _ = weights / weights.sum()
    return float(a), float(b)
