"""What neither ten ticks around the mid nor the last W orders show: the summary of a row.

The released model knows nothing of the market but its window, about two minutes of a busy stock,
and ten ticks of the book. Busy spells, orders worked in pieces and traders who lean against a price
that has gone too far last for many minutes, and where the spread is wide the ten ticks are empty.
And a trader who joins the market, buying minute after minute, looks like the crowd's own parent
orders, which go on, unless the crowd knows its orders from his.

The summary is our extension: decayed sums over four scales of time, whose order it was, and the
shape of the whole snapshot. Unlike a longer window it makes the context no longer: it costs the
built-in model 6 to 8 % of its speed (`benchmarks/README.md`). A model reads it if its configuration
says so (`OrderModelConfig.has_summary`); released models do not. In recorded flow everything is the
crowd's.

Numbers are logarithms or inverse hyperbolic sines, so that one scale serves every instrument, in
units of 1 / `UNIT`. Time is that of the clock, breaks included.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import clock
from jaxmars.book import mid_price
from jaxmars.types import L2, Event, Side, Time

SCALES = (10.0, 60.0, 360.0, 2160.0)  # s
# activity, trades of the crowd, lots of others, distance from the average mid, volatility
NUM_PAST = 5 * len(SCALES)
LEVELS = 10  # of a snapshot, per side; a shorter snapshot has empty ones behind
NUM_BOOK = 2 * (2 * LEVELS + 1)  # per side: distance and size of each level, size of all
NUM_SUMMARY = NUM_PAST + NUM_BOOK + 1  # and whose order it was
UNIT = 64  # parts of one
QUIET = 1.0  # s added to the time observed: the first orders of a day are no burst
STILL = 1e-3  # ticks**2 per second, added to the variance
LIMIT = 2**15  # numbers lie within +-LIMIT / UNIT


class Memory(NamedTuple):
    """Decayed sums over the records of a day so far, one entry per scale of `SCALES`."""

    started: jax.Array  # [] bool, a first record was seen
    time: Time  # of the last record
    mid: jax.Array  # [] int32, half ticks, after it
    mass: jax.Array  # [4] float32, share of the scale that was observed, in [0, 1)
    orders: jax.Array  # [4] float32, records
    trades: jax.Array  # [4] float32, buys less sells of the crowd that traded
    others: jax.Array  # [4] float32, lots, bought less sold by orders of other traders
    away: jax.Array  # [4] float32, ticks from the average mid to the mid
    squares: jax.Array  # [4] float32, ticks**2, of changes of the mid


DECAYED = ("mass", "orders", "trades", "others", "away", "squares")  # the sums of a `Memory`


def init_memory() -> Memory:
    """Before the first record of a day."""
    zero = jnp.zeros(len(SCALES))
    at = clock.make_time(0)
    return Memory(jnp.zeros((), bool), at, jnp.int32(0), zero, zero, zero, zero, zero, zero)


def remember(
    memory: Memory,
    event: Event,
    after: L2,
    lot: int,
    is_record: jax.Array,
    is_other: jax.Array | bool,
) -> Memory:
    """Takes in one event; what is no record changes nothing.

    Merged cancels count one by one.

    Args:
      memory: of the records before it.
      event: the order and its fills.
      after: snapshot after it.
      lot: shares.
      is_record: `[]` bool, see `tokens.order.is_record`.
      is_other: `[]` bool, whether the order is of another trader than the crowd.
    """
    scales = jnp.array(SCALES)
    first = ~memory.started
    gap = jnp.where(first, 0.0, clock.to_seconds(clock.minus(event.time, memory.time)))
    keep = jnp.exp(-gap / scales)
    mid = _half_ticks(after, event.last_price)
    moved = jnp.where(first, 0, mid - memory.mid).astype(jnp.float32) / 2
    toward = jnp.where(event.side == Side.BUY, 1.0, -1.0)
    trade, lots = toward * (event.filled > 0), toward * event.filled / lot
    following = Memory(
        started=jnp.ones((), bool),
        time=event.time,
        mid=mid,
        mass=memory.mass * keep - jnp.expm1(-gap / scales),
        orders=memory.orders * keep + 1,
        trades=memory.trades * keep + jnp.where(is_other, 0, trade),
        others=memory.others * keep + jnp.where(is_other, lots, 0),
        away=memory.away * keep + moved,
        squares=memory.squares * keep + moved**2,
    )
    return jax.tree.map(lambda new, old: jnp.where(is_record, new, old), following, memory)


def summarise(memory: Memory, after: L2, mid: jax.Array, is_other: jax.Array | bool) -> jax.Array:
    """The columns of a row, `[NUM_SUMMARY]` int32.

    For each scale the logarithm of records per second, per square root of a second the signed
    trades of the crowd and the signed lots that orders of others traded, ticks from the average
    mid, the logarithm of the mid's volatility; then for each side the distances of the best
    `LEVELS` levels from the mid, then their sizes (0 and 0 for a level that is empty), then the
    size of the whole snapshot; then one for an order of another trader.

    Args:
      memory: with the last record in it.
      after: snapshot after that record.
      mid: `[]` int32 ticks, after it.
      is_other: `[]` bool, whether that record is of another trader than the crowd.
    """
    scales = jnp.array(SCALES)
    observed = memory.mass * scales + QUIET
    past = (
        jnp.log(jnp.maximum(memory.orders, 1) / observed),
        jnp.arcsinh(memory.trades / observed * jnp.sqrt(scales)),
        jnp.arcsinh(memory.others / observed * jnp.sqrt(scales)),
        jnp.arcsinh(memory.away),
        jnp.log(memory.squares / observed + STILL) / 2,
    )
    gap = jnp.where(after.size > 0, jnp.abs(after.price - mid), 0).astype(jnp.float32)
    size = after.size.astype(jnp.float32)
    book = (_levels(gap), _levels(size), size.sum(1))
    whose = jnp.asarray(is_other, jnp.float32)[None]
    columns = jnp.concatenate([*past, *(jnp.log1p(x) for x in book), whose])
    return jnp.clip(jnp.round(columns * UNIT), -LIMIT, LIMIT).astype(jnp.int32)


def _levels(numbers: jax.Array) -> jax.Array:
    """The best `LEVELS` of `[2, levels]`, side after side, with zeros where there are fewer."""
    numbers = numbers[:, :LEVELS]
    return jnp.pad(numbers, ((0, 0), (0, LEVELS - numbers.shape[1]))).reshape(-1)


def _half_ticks(l2: L2, last_price: jax.Array) -> jax.Array:
    """Bid plus ask; on a one-sided book twice what `mid_price` takes instead. `[]` int32."""
    both = (l2.size[:, 0] > 0).all()
    return jnp.where(both, l2.price[:, 0].sum(dtype=jnp.int32), 2 * mid_price(l2, last_price))
