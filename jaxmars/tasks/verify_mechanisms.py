"""The reference market with its mechanisms switched off: each takes its fact with it.

A synthetic market explains a stylized fact only if the fact disappears without the mechanism that
is said to make it (realism spec 2.1). Every switch is a set of parameters, so all of them run in
one compiled program.
"""

import math
from typing import NamedTuple

import pandas as pd

from jaxmars.agents.reference import ReferenceParams
from jaxmars.tasks.verify_statistics import MEASURES, Statistics, estimate

NOT_PUBLISHED = ()

# Columns of the published table.
COLUMNS = (
    "kurtosis 1 min",
    "kurtosis 5 min",
    "kurtosis 20 min",
    "Fano factor",
    "abs return acf 1",
    "abs return acf 5",
    "abs return acf 20",
    "conditional kurtosis",
    "volume with abs return",
    "coarse-fine asymmetry",
    "variance ratio 20",
    "trade sign acf 1",
    "trade sign acf 10",
    "trade sign acf 50",
)


class Check(NamedTuple):
    """What the mean of a statistic must be."""

    statistic: str  # of `verify_statistics.MEASURES`
    low: float = -math.inf
    high: float = math.inf

    @property
    def rule(self) -> str:
        """The check in words."""
        if self.low == -math.inf:
            return f"{self.statistic} at most {self.high:g}"
        if self.high == math.inf:
            return f"{self.statistic} at least {self.low:g}"
        return f"{self.statistic} from {self.low:g} to {self.high:g}"


class Switch(NamedTuple):
    """A market without some of its mechanisms."""

    name: str
    params: ReferenceParams
    checks: tuple[Check, ...]
    published: tuple[float, ...] = NOT_PUBLISHED  # of `COLUMNS`, in the realism spec 2.1


NO_SPLITTING = {"split_prob": 0.0}
NO_VALUE = {"value_rate": 0.0}
NO_LEANING = {"lean": 0.0}
NO_HAWKES = {"hawkes_share": 0.0}
NO_FEEDBACK = {"trend_share": 0.0}
NO_LEVELS = {"level_variances": (0.0, 0.0, 0.0)}
CONSTANT_ACTIVITY = NO_LEVELS | NO_HAWKES | NO_FEEDBACK
ZERO_INTELLIGENCE = NO_SPLITTING | NO_VALUE | NO_LEANING | CONSTANT_ACTIVITY
BRANCHING = {"hawkes_share": 0.75}  # trades per trade of the market with Hawkes trades only


def without(*switched_off: dict) -> ReferenceParams:
    """The default market with these parameters replaced."""
    replaced = {name: value for part in switched_off for name, value in part.items()}
    return ReferenceParams()._replace(**replaced)


def _only(*kept: str, **changed: float) -> ReferenceParams:
    """Zero intelligence with these parameters as they are by default, or changed."""
    off = {name: value for name, value in ZERO_INTELLIGENCE.items() if name not in kept}
    return ReferenceParams()._replace(**(off | changed))


NO_CLUSTERING = (
    Check("abs return acf 1", high=0.06),
    Check("abs return acf 5", high=0.04),
    Check("Fano factor", high=1.2),
)
NO_SIGN_MEMORY = (
    Check("trade sign acf 1", -0.03, 0.06),
    Check("trade sign acf 10", -0.03, 0.04),
)
NOTHING = (
    Check("kurtosis 1 min", high=1.0),
    *NO_CLUSTERING,
    Check("volume with abs return", high=0.2),
    Check("coarse-fine asymmetry", low=-0.03),
    *NO_SIGN_MEMORY,
)
SWITCHES = (
    Switch(
        "everything",
        ReferenceParams(),
        (
            Check("kurtosis 1 min", 1.0, 12.0),
            Check("abs return acf 1", 0.1, 0.4),
            Check("Fano factor", low=1.2),
            Check("coarse-fine asymmetry", high=-0.03),
            Check("trade sign acf 10", low=0.05),
            Check("variance ratio 20", 0.7, 1.4),
        ),
        (6.6, 7.0, 2.9, 1.84, 0.25, 0.133, 0.07, 1.74, 0.52, -0.086, 1.06, 0.217, 0.078, 0.02),
    ),
    Switch("no splitting", without(NO_SPLITTING), NO_SIGN_MEMORY),
    Switch(
        "no value traders or leaning",
        without(NO_VALUE, NO_LEANING),
        (Check("variance ratio 20", low=1.5),),
    ),
    Switch(
        "constant activity",
        without(CONSTANT_ACTIVITY),
        (*NO_CLUSTERING, Check("trade sign acf 10", low=0.05)),
        (0.7, 0.7, 0.1, 1.07, 0.03, 0.0, 0.0, 0.1, 0.16, 0.03, 1.18, 0.22, 0.08, 0.03),
    ),
    Switch(
        "no feedback",
        without(NO_FEEDBACK),
        (Check("coarse-fine asymmetry", low=-0.03), Check("abs return acf 1", 0.1, 0.4)),
        (3.1, 2.1, 0.8, 1.5, 0.16, 0.11, 0.08, 1.1, 0.44, 0.03, 1.24, 0.22, 0.08, 0.03),
    ),
    Switch(
        "zero intelligence",
        _only(),
        (*NOTHING, Check("variance ratio 20", 0.7, 1.3)),
        (0.2, 0.0, -0.3, 0.96, 0.0, 0.0, 0.0, -0.1, 0.1, 0.0, 0.96, 0.0, 0.0, 0.0),
    ),
    Switch(
        "Hawkes trades only",
        _only(**BRANCHING),
        NOTHING,
        (0.25, 0.1, -0.3, 1.0, 0.01, 0.0, 0.0, -0.1, 0.13, 0.0, 0.92, 0.0, 0.0, 0.0),
    ),
    Switch(
        "splitting only",
        _only("split_prob"),
        (
            Check("variance ratio 20", low=1.5),
            Check("trade sign acf 10", low=0.05),
            *NO_CLUSTERING,
        ),
        (0.3, 0.2, 0.6, 0.94, 0.02, 0.0, 0.0, -0.1, 0.11, 0.0, 2.11, 0.29, 0.09, 0.02),
    ),
    Switch(
        "value traders only",
        _only("value_rate"),
        (Check("variance ratio 20", 0.7, 1.4), *NO_SIGN_MEMORY, *NO_CLUSTERING),
        (0.9, 0.5, -0.2, 1.03, 0.03, 0.0, 0.0, 0.05, 0.16, 0.04, 1.12, 0.03, 0.02, 0.02),
    ),
)


def switch_table(switch: Switch, found: Statistics) -> pd.DataFrame:
    """A switched market beside the published one.

    Returns:
      One row per column of the published table, and columns statistic, value, error (standard),
      published (nan where it is not).
    """
    published = switch.published or (math.nan,) * len(COLUMNS)
    rows = []
    for name, known in zip(COLUMNS, published, strict=True):
        mean, error, _ = estimate(MEASURES[name].value(found))
        rows.append({"statistic": name, "value": mean, "error": error, "published": known})
    return pd.DataFrame(rows)


def check_table(switch: Switch, found: Statistics) -> pd.DataFrame:
    """The checks of a switch.

    Returns:
      Columns: market, rule, value, error (standard), passes.
    """
    rows = []
    for check in switch.checks:
        mean, error, _ = estimate(MEASURES[check.statistic].value(found))
        rows.append(
            {
                "market": switch.name,
                "rule": check.rule,
                "value": mean,
                "error": error,
                "passes": bool(check.low <= mean <= check.high),
            }
        )
    return pd.DataFrame(rows)


def switch_is_published(name: str) -> bool:
    """Whether the realism spec has a row for a switch."""
    return any(switch.name == name and switch.published for switch in SWITCHES)


def ablation_table(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All switched markets, two rows each: ours with its standard error, and the published one.

    Args:
      tables: of `switch_table`, by the name of the switch.
    """
    rows = []
    for name, table in tables.items():
        ours = (f"{v:.2f}±{e:.2f}" for v, e in zip(table["value"], table["error"], strict=True))
        rows.append({"market": name} | dict(zip(table["statistic"], ours, strict=True)))
        if switch_is_published(name):
            known = (f"{v:g}" for v in table["published"])
            rows.append({"market": "— published"} | dict(zip(COLUMNS, known, strict=True)))
    return pd.DataFrame(rows)
