"""The raw quantities behind the slots, for fitting bins."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmars.book import mid_price
from jaxmars.config import MarketConfig, OrderModelConfig
from jaxmars.tokens.bins import BinConverter, BinTable, Converters, TokenTables
from jaxmars.tokens.order import LOB_BELOW, LOB_SLOTS, advance, init_features
from jaxmars.tokens.window import final_rows
from jaxmars.types import L2, Event

INTERVAL_DECIMALS = 6  # intervals are binned in whole microseconds


class Quantities(NamedTuple):
    """What the orders of a flow looked like before binning; one entry per final row."""

    offset: jax.Array  # [rows] int32, ticks from the mid before the order
    size: jax.Array  # [rows] int32, shares
    interval: jax.Array  # [rows, 2] int32, seconds and nanoseconds
    lob: jax.Array  # [rows, 10] int32, shares at the ticks around the mid after it
    final: jax.Array  # [rows] bool, False for rows that do not count


def _one_bin() -> TokenTables:
    """Tables of one bin each: enough where only the merging of orders matters."""
    zero = jnp.zeros((1, 1), jnp.int32)
    edges = jnp.zeros(2, jnp.int32)
    table = BinTable(edges, edges, zero, zero, jnp.ones((1, 1)))
    return TokenTables(table, table, table, table, table)


def quantities(cfg: MarketConfig, events: Event, snapshots: L2) -> Quantities:
    """Raw quantities of a stacked flow `[T]`."""
    tables = _one_bin()

    def step(state, item):
        event, after = item
        state, _, action = advance(tables, cfg, state, event, after)
        offset = state.price - mid_price(state.before, state.before_last)
        ticks = mid_price(after, event.last_price) - LOB_BELOW + jnp.arange(LOB_SLOTS)
        here = after.price.reshape(-1)[None] == ticks[:, None]
        lob = jnp.where(here, after.size.reshape(-1)[None], 0).sum(1, dtype=jnp.int32)
        interval = jnp.stack([state.interval.sec, state.interval.nsec])
        return state, (offset, state.size, interval, lob, action)

    start = init_features(snapshots.price.shape[-1])
    _, (offset, size, interval, lob, action) = lax.scan(step, start, (events, snapshots))
    return Quantities(offset, size, interval, lob, final_rows(action))


def fit_converters(found: Quantities, cfg: OrderModelConfig) -> Converters:
    """Bins for a model from the quantities of its training flow (paper choice C-TOK-1).

    Args:
      found: host arrays, any number of leading axes merged into one.
      cfg: gives the numbers of bins. The volume of orders has one converter for both directions;
        book volumes use as many bins as orders have.

    Raises:
      InputError: too little variety to make that many bins.
    """
    keep = np.asarray(found.final).reshape(-1)
    flat = lambda x, *shape: np.asarray(x).reshape(-1, *shape)[keep]
    seconds = flat(found.interval, 2) @ np.array([1.0, 1e-9])
    volume = BinConverter.fit(flat(found.size), cfg.num_bins_pred_order_volume)
    lob = flat(found.lob, LOB_SLOTS).reshape(-1)
    return Converters(
        price_level=BinConverter.fit(flat(found.offset), cfg.num_bins_price_level),
        order_volume=volume,
        pred_order_volume=volume,
        order_interval=BinConverter.fit(
            seconds.round(INTERVAL_DECIMALS), cfg.num_bins_order_interval
        ),
        lob_volume=BinConverter.fit(lob[lob > 0], cfg.num_bins_pred_order_volume),
    )
