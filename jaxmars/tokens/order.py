"""Orders as model input: the 15 numbers of one order, its summary, and the merging of cancels.

Source: release `OrderState`, spec "Order state: feature vector and tokenisation". One difference:
the release computes the price change in float64, whose rounding error can lower the magnitude of
an exactly whole number of basis points by one; here the fraction is truncated exactly.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars import calendar, clock
from jaxmars.book import mid_price
from jaxmars.config import MarketConfig
from jaxmars.tokens.bins import BinTable, TokenTables, encode
from jaxmars.tokens.summary import NUM_SUMMARY, Memory, init_memory, remember, summarise
from jaxmars.types import L2, REJECTING, Event, Kind, Side, Time

NUM_FEATURES = 15  # of the release
ROW_WIDTH = NUM_FEATURES + NUM_SUMMARY
# Columns of a row; the book slots fill the rest of the release's, `tokens.summary` the others.
ORDER_INDEX, VOLUME_RATIO, TRADE_RATIO, CHANGE, ELAPSED, FIRST_BOOK_SLOT = range(6)
NUM_TYPES = 3
TYPE_SELL, TYPE_BUY, TYPE_CANCEL = range(NUM_TYPES)
LOB_SLOTS = 10  # ticks of the book around the mid that a row shows
LOB_BELOW = 5  # of them below the mid
BASIS_DIGITS = 4  # a basis point is 10**-4
MAX_CHANGE = 2000  # basis points, either way
CHANGE_LIMIT = 5  # price changes are clipped at one fifth of the open
NO_ROW, APPEND, REPLACE = 0, 1, 2


class FeatureState(NamedTuple):
    """What the next row needs to know of the orders before it."""

    started: jax.Array  # [] bool, a first record was seen
    has_before: jax.Array  # [] bool, the previous order has a snapshot before it
    open_time: Time  # time of the first record
    open_price: jax.Array  # [] int32, ticks of the first trade, 0 before it
    time: Time  # of the previous order
    interval: Time  # between the previous order and the one before it
    kind: jax.Array  # [] int32, Kind of the previous order
    agent_id: jax.Array  # [] int32, its owner
    price: jax.Array  # [] int32, ticks
    size: jax.Array  # [] int32, shares (merged cancels added up)
    before: L2  # snapshot before the previous order
    before_last: jax.Array  # [] int32, last trade price at that moment
    after: L2  # snapshot after the previous order
    after_last: jax.Array  # [] int32, last trade price at that moment
    memory: Memory  # of the summary


def init_features(levels: int) -> FeatureState:
    """The state before the first record of a day, for snapshots of `levels` levels."""
    zero = jnp.zeros((), jnp.int32)
    no = jnp.zeros((), bool)
    empty = L2(jnp.zeros((2, levels), jnp.int32), jnp.zeros((2, levels), jnp.int32))
    start = clock.make_time(0)
    return FeatureState(
        no,
        no,
        start,
        zero,
        start,
        start,
        zero,
        zero,
        zero,
        zero,
        empty,
        zero,
        empty,
        zero,
        init_memory(),
    )


def is_record(cfg: MarketConfig, event: Event) -> jax.Array:
    """Whether an event counts as an order, `[]` bool: not of kind NONE, rejected or of a call
    auction."""
    record = (event.kind != Kind.NONE) & (event.kind != Kind.UNCROSS)
    record &= (event.status & REJECTING) == 0
    if cfg.calendar.auction_ends:
        record &= ~calendar.in_auction(cfg.calendar, event.time)
    return record


def advance(
    tables: TokenTables,
    cfg: MarketConfig,
    state: FeatureState,
    event: Event,
    after: L2,
    is_other: jax.Array | bool = False,
) -> tuple[FeatureState, jax.Array, jax.Array]:
    """Takes in one event and returns the row it makes.

    Events that are no records (`is_record`) change nothing. The first record of a day makes no row.
    A cancel with the time, price and owner of the cancel before it is merged into it: sizes add up,
    its row replaces the last one.

    Args:
      tables: bins of the model the rows are for.
      cfg: the instrument (its calendar, late hour and shift).
      state: what came before.
      event: the order and its fills.
      after: snapshot after it.
      is_other: `[]` bool, whether it is of another trader than those the model stands for.

    Returns:
      The state after it; the row `[ROW_WIDTH]` int32 (order index, volume-ratio slot, trade-ratio
      slot, change to open, elapsed seconds, ten book slots, summary); and NO_ROW, APPEND or
      REPLACE.
    """
    record = is_record(cfg, event)
    cancel = event.kind == Kind.CANCEL
    merged = (
        cancel
        & (state.kind == Kind.CANCEL)
        & state.has_before
        & clock.same(event.time, state.time)
        & (event.price == state.price)
        & (event.agent_id == state.agent_id)
    )
    pick = lambda a, b: jax.tree.map(lambda x, y: jnp.where(merged, x, y), a, b)
    before = pick(state.before, state.after)
    before_last = pick(state.before_last, state.after_last)
    interval = pick(state.interval, clock.minus(event.time, state.time))
    size = event.size + jnp.where(merged, state.size, 0)
    traded = event.filled > 0
    open_price = jnp.where((state.open_price == 0) & traded, event.first_price, state.open_price)
    mid = mid_price(after, event.last_price)

    index = order_index(tables, event, size, interval, mid_price(before, before_last))
    ratios = _ratio_slots(event, size, before)
    change = change_to_open(mid, open_price)
    elapsed = _elapsed(cfg, state.open_time, event.time)
    head = jnp.stack([index, *ratios, change, elapsed])
    memory = remember(state.memory, event, after, cfg.lot_size, record, is_other)
    book = lob_slots(tables.lob_volume, after, mid)
    row = jnp.concatenate([head, book, summarise(memory, after, mid, is_other)])

    first = ~state.started
    action = jnp.where(merged, REPLACE, APPEND)
    action = jnp.where(record & ~first, action, NO_ROW)
    following = FeatureState(
        started=jnp.ones((), bool),
        has_before=~first,
        open_time=clock.choose(first, event.time, state.open_time),
        open_price=jnp.where(first, 0, open_price),
        time=event.time,
        interval=interval,
        kind=event.kind,
        agent_id=event.agent_id,
        price=event.price,
        size=size,
        before=before,
        before_last=before_last,
        after=after,
        after_last=event.last_price,
        memory=memory,
    )
    state = jax.tree.map(lambda new, old: jnp.where(record, new, old), following, state)
    return state, row, action


def order_features(
    tables: TokenTables, cfg: MarketConfig, state: FeatureState, event: Event, after: L2
) -> jax.Array:
    """The fifteen numbers of one order, `[15]` int32; arguments as for `advance`."""
    return advance(tables, cfg, state, event, after)[1][:NUM_FEATURES]


def order_index(
    tables: TokenTables, event: Event, size: jax.Array, interval: Time, mid_before: jax.Array
) -> jax.Array:
    """The joint token of an order, `[]` int32 (spec step 7)."""
    cancel = event.kind == Kind.CANCEL
    side_type = jnp.where(event.side == Side.SELL, TYPE_SELL, TYPE_BUY)
    zero = jnp.zeros_like(size)
    slots = (
        jnp.where(cancel, TYPE_CANCEL, side_type),
        encode(tables.price_level, event.price - mid_before, zero),
        encode(tables.order_volume, size, zero),
        encode(tables.order_interval, interval.sec, interval.nsec),
    )
    return join_slots(slots, slot_shape(tables))


def slot_shape(tables: TokenTables) -> tuple[int, int, int, int]:
    """Slots per attribute (type, price, volume, interval) of a set of tables."""
    count = lambda table: table.value_whole.shape[0]
    return (
        NUM_TYPES,
        count(tables.price_level),
        count(tables.pred_order_volume),
        count(tables.order_interval),
    )


def join_slots(slots: tuple[jax.Array, ...], shape: tuple[int, ...]) -> jax.Array:
    """Joint index of (type, price, volume, interval) slots, any common shape."""
    index = jnp.zeros_like(slots[0])
    for slot, size in zip(slots, shape, strict=True):
        index = index * size + slot
    return index


def lob_slots(table: BinTable, l2: L2, mid: jax.Array) -> jax.Array:
    """Volumes at the ten ticks from mid - 5 to mid + 4 as slots, `[10]` int32 (spec step 4).

    0 is an empty tick, otherwise the volume's bin plus one.
    """
    ticks = mid - LOB_BELOW + jnp.arange(LOB_SLOTS, dtype=jnp.int32)
    here = (l2.price.reshape(-1)[None] == ticks[:, None]) & (l2.size.reshape(-1)[None] > 0)
    volume = jnp.where(here, l2.size.reshape(-1)[None], 0).sum(1, dtype=jnp.int32)
    slot = jax.vmap(encode, (None, 0, 0))(table, volume, jnp.zeros_like(volume))
    return jnp.where(volume > 0, slot + 1, 0)


def change_to_open(mid: jax.Array, open_price: jax.Array) -> jax.Array:
    """Basis points from the open to the mid, truncated toward zero, `[]` int32 in +-2000.

    0 while the open is unknown. Exact for prices below 2**28 ticks.
    """
    known = open_price > 0
    base = jnp.maximum(open_price, 1).astype(jnp.uint32)
    gap = jnp.abs(mid - open_price).astype(jnp.uint32)
    beyond = gap >= (base + CHANGE_LIMIT - 1) // CHANGE_LIMIT
    rest = jnp.where(beyond, 0, gap)
    digits = jnp.uint32(0)
    for _ in range(BASIS_DIGITS):
        digits = digits * 10 + rest * 10 // base
        rest = rest * 10 % base
    size = jnp.where(beyond, MAX_CHANGE, digits.astype(jnp.int32))
    return jnp.where(known, jnp.sign(mid - open_price) * size, 0)


def _elapsed(cfg: MarketConfig, open_time: Time, time: Time) -> jax.Array:
    """Seconds since the first record less the break, truncated toward zero, `[]` int32 (step 3)."""
    since = clock.minus(time, open_time)
    if cfg.has_late_shift:
        closed = jnp.where(time.sec >= cfg.late_hour * 3600, cfg.late_shift, 0)
    else:
        closed = calendar.break_seconds(cfg.calendar, open_time, time)
    whole = since.sec - closed
    return whole + ((whole < 0) & (since.nsec > 0))


def _ratio_slots(event: Event, size: jax.Array, before: L2) -> tuple[jax.Array, jax.Array]:
    """Slots of the volume ratio and of the trade ratio (spec step 8)."""
    at_price = (before.price == event.price) & (before.size > 0)
    level = jnp.where(at_price, before.size, 0).sum(dtype=jnp.int32)
    volume = jnp.where(level > 0, _tenths(size, level), 9)
    traded = _tenths(event.filled, event.size - event.filled)
    return volume, jnp.where(event.kind == Kind.CANCEL, 9, traded)


def _tenths(part: jax.Array, rest: jax.Array) -> jax.Array:
    """floor(9.9 * part / (part + rest)) in 0..9, exact for all int32 sizes.

    Compares 99 * part with 10 * k * (part + rest) in two 16-bit limbs each.
    """
    steps = jnp.arange(1, 10, dtype=jnp.int32)
    low = lambda x: x & 0xFFFF
    high = lambda x: x >> 16
    part_low = 99 * low(part)
    left = (99 * high(part) + high(part_low), low(part_low))
    whole_low = low(part) + low(rest)
    whole_high = high(part) + high(rest) + high(whole_low)
    right_low = 10 * steps * low(whole_low)
    right = (10 * steps * whole_high + high(right_low), low(right_low))
    reached = (left[0] > right[0]) | ((left[0] == right[0]) & (left[1] >= right[1]))
    return reached.sum(dtype=jnp.int32)
