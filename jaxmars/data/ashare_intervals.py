"""Executions of an A-share day against what its snapshots say of the time between them.

Executions name orders but do not say where the others rest, so no book follows from them. What a
snapshot tells of the trades since the one before is compared instead.
"""

import numpy as np
import pandas as pd

from jaxmars.data.ashare import PRICE_SCALE, AShareDay, Table
from jaxmars.data.lobster import nanoseconds
from jaxmars.data.tables import open_table, units

_PRICES = ("open", "high", "low", "close")


def interval_differences(day: AShareDay, ticks_csv: Table) -> pd.DataFrame:
    """How many intervals agree in volume, and in first, highest, lowest and last price.

    Args:
      day: what `read_ashare` made of the executions and of `ticks_csv`.
      ticks_csv: columns open, high, low, close are compared where they exist. An interval without
        executions has no price but its close, that of the interval before.

    Returns:
      One row per column: intervals compared, and how many of them differ.

    Raises:
      InputError: a price that is no number of 0.01 CNY.
    """
    frame, origin = open_table(ticks_csv)
    ours = _ours(day)
    anywhere = np.zeros(len(frame), bool)
    recorded = {
        name: units(origin, frame[name], PRICE_SCALE, anywhere)
        for name in _PRICES
        if name in frame.columns
    }
    recorded = {"volume": day.snapshot_volume} | recorded
    rows = [
        {"what": name, "compared": len(theirs), "differ": int((ours[name] != theirs).sum())}
        for name, theirs in recorded.items()
    ]
    return pd.DataFrame(rows).set_index("what")


def _ours(day: AShareDay) -> dict[str, np.ndarray]:
    """The same columns from the executions, `[rows]` int64, prices in 0.01 CNY; 0 for none."""
    trades = day.data.trades
    assert trades is not None, "the reader gives them"
    ends = nanoseconds(*day.snapshot_time)
    row = np.searchsorted(ends, nanoseconds(*trades.time), "left")
    inside = row < len(ends)
    price = pd.Series(trades.price[inside].astype(np.int64)).groupby(row[inside])
    every = lambda found: found.reindex(range(len(ends)))
    filled = lambda found: found.fillna(0).to_numpy().astype(np.int64)
    return {
        "volume": day.executed_volume(),
        "open": filled(every(price.first())),
        "high": filled(every(price.max())),
        "low": filled(every(price.min())),
        "close": filled(every(price.last()).ffill()),
    }
