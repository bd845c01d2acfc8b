"""One row of order features to one input vector of the decoder."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmars.config import OrderModelConfig
from jaxmars.models.layers import INIT_STD, LayerNorm
from jaxmars.tokens import order
from jaxmars.tokens.order import (
    CHANGE,
    ELAPSED,
    FIRST_BOOK_SLOT,
    NUM_FEATURES,
    ORDER_INDEX,
    TRADE_RATIO,
    VOLUME_RATIO,
)
from jaxmars.tokens.summary import NUM_SUMMARY, UNIT

NUM_BOOK_SLOTS = NUM_FEATURES - FIRST_BOOK_SLOT


class Table(nnx.Module):
    """Rows of learned vectors. An index outside the table reads the nearest row.

    Training keeps tables in float32 when it computes in bfloat16, so whoever adds a row to an
    activation casts it.
    """

    def __init__(self, rows: int, width: int, *, std: float = INIT_STD, rngs: nnx.Rngs):
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (rows, width)) * std)

    def __call__(self, index: jax.Array) -> jax.Array:
        """Rows at `index` int32[...]: [..., width]."""
        rows = self.weight[...]
        return rows[jnp.clip(index, 0, rows.shape[0] - 1)]


class BookProjection(nnx.Module):
    """LayerNorm(Linear(10 -> d)) of the book slots taken as plain numbers."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        init = jax.nn.initializers.normal(INIT_STD)
        self.linear = nnx.Linear(NUM_BOOK_SLOTS, width, kernel_init=init, rngs=rngs)
        self.norm = LayerNorm(width)

    def __call__(self, slots: jax.Array) -> jax.Array:
        """Slots int32[10] to [width]."""
        return self.norm(self.linear(slots.astype(self.linear.kernel.dtype)))


class SummaryProjection(nnx.Module):
    """Linear(NUM_SUMMARY -> d), SiLU, Linear(d -> d) of the summary. It begins as zero, so that a
    model that is given one later begins as it was."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        init = jax.nn.initializers.lecun_normal()
        self.hidden = nnx.Linear(NUM_SUMMARY, width, kernel_init=init, rngs=rngs)
        zeros = jax.nn.initializers.zeros
        self.out = nnx.Linear(width, width, use_bias=False, kernel_init=zeros, rngs=rngs)

    def __call__(self, summary: jax.Array) -> jax.Array:
        """Columns int32[NUM_SUMMARY] to [width]."""
        numbers = (summary.astype(jnp.float32) / UNIT).astype(self.hidden.kernel.dtype)
        return self.out(jax.nn.silu(self.hidden(numbers)))


def split_index(index: jax.Array, cfg: OrderModelConfig) -> jax.Array:
    """Order index int32[] to (type, price, volume, interval) slots, int32[4].

    An index outside [0, vocab) is clamped.
    """
    inside = jnp.clip(index, 0, cfg.vocab - 1)
    return jnp.stack(jnp.unravel_index(inside, cfg.slot_shape)).astype(jnp.int32)


def join_slots(slots: jax.Array, cfg: OrderModelConfig) -> jax.Array:
    """(type, price, volume, interval) slots int32[4] to the order index, int32[]."""
    return order.join_slots(tuple(slots), cfg.slot_shape)


class OrderEmbedding(nnx.Module):
    """Sum of the tables of a row and the projected book (release spec 2.1).

    The change and time tables start at zero, so that a row never met in training adds nothing.
    Released models of 2M, 5M and 10M parameters hold two more tables of eleven rows. Their names
    and use are not published; they are taken as tables of the volume-ratio and the trade-ratio
    slot, row = slot, which leaves the eleventh row unused.
    """

    def __init__(self, cfg: OrderModelConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        types, prices, volumes, intervals = cfg.slot_shape
        self.type = Table(types, cfg.emb_dim, rngs=rngs)
        self.price = Table(prices, cfg.emb_dim, rngs=rngs)
        self.volume = Table(volumes, cfg.emb_dim, rngs=rngs)
        self.interval = Table(intervals, cfg.emb_dim, rngs=rngs)
        self.change = Table(2 * cfg.max_change + 1, cfg.emb_dim, std=0.0, rngs=rngs)
        self.time = Table(cfg.num_time_rows, cfg.emb_dim, std=0.0, rngs=rngs)
        self.book = BookProjection(cfg.emb_dim, rngs=rngs)
        if cfg.num_ratio_rows:
            self.volume_ratio = Table(cfg.num_ratio_rows, cfg.emb_dim, rngs=rngs)
            self.trade_ratio = Table(cfg.num_ratio_rows, cfg.emb_dim, rngs=rngs)
        if cfg.has_summary:
            self.summary = SummaryProjection(cfg.emb_dim, rngs=rngs)

    def __call__(self, row: jax.Array) -> jax.Array:
        """Features int32[15] or int32[ROW_WIDTH], of which a model without summary reads the first
        fifteen, to [d]. Change is clipped; other indices are clamped to the tables."""
        cfg = self.cfg
        kind, price, volume, interval = split_index(row[ORDER_INDEX], cfg)
        change = jnp.clip(row[CHANGE], -cfg.max_change, cfg.max_change) + cfg.max_change
        x = self.type(kind) + self.price(price) + self.volume(volume) + self.interval(interval)
        x = x + self.change(change) + self.time(row[ELAPSED] // cfg.seconds_per_row)
        if cfg.num_ratio_rows:
            x = x + self.volume_ratio(row[VOLUME_RATIO]) + self.trade_ratio(row[TRADE_RATIO])
        book = self.book(row[FIRST_BOOK_SLOT:NUM_FEATURES])
        if cfg.has_summary:
            book = book + self.summary(row[NUM_FEATURES:])
        return x.astype(book.dtype) + book
