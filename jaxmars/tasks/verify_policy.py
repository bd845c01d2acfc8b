"""How far a way of reading the past is from the model's own: distances per order.

The model's own way (context policy `exact`) reads its whole window of W orders for every order. A
policy that reads less, or a model of lower precision, is a *reader*: contexts to log-probabilities
of the next order. On contexts of recorded orders every reader is compared with the first one over
all joint tokens, without sampling, so a distance has no error but that of which contexts were
taken. How much of the past a policy reads decides its distance: `anchored(C)` reads W - C + 1 to W
orders, each number as often, so its distance is the mean of those of the readers of the last n.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from flax import nnx
from jax import lax
from scipy.special import logsumexp, rel_entr

from jaxmars import devices
from jaxmars.errors import InputError
from jaxmars.models import KVCache, OrderModel
from jaxmars.models.heads import FactoredHead
from jaxmars.tokens.order import ORDER_INDEX
from jaxmars.types import Params

ATTRIBUTES = ("type", "price", "volume", "interval")
TOGETHER = 4  # contexts a device encodes side by side; more do not fit its caches
DENSE_SHARES = (3 / 8, 5 / 8, 3 / 4, 7 / 8, 15 / 16, 31 / 32, 63 / 64)  # of the window
GROWTH_SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 15 / 16)  # of the window

Name = TypeVar("Name", bound=Hashable)
Read = Callable[[np.ndarray], np.ndarray]
"""int32 rows `[contexts, W, columns]`, oldest first -> normalised log-probabilities of the joint
tokens that may follow, float64 `[contexts, vocab]`."""


class Contexts(NamedTuple):
    """Full windows of recorded orders, and what followed each. Host arrays."""

    rows: np.ndarray  # [contexts, window, columns] int32, oldest first
    came: np.ndarray  # [contexts] int32, joint token of the order that came next
    flow: np.ndarray  # [contexts] int32, which recorded flow it is from


class Distances(NamedTuple):
    """A reader beside the reference, for each context. Host arrays, float64."""

    kl: np.ndarray  # [contexts] KL(reference || reader) of the next order, nats
    attribute_kl: np.ndarray  # [contexts, 4] the same of each attribute's marginal, nats
    total_variation: np.ndarray  # [contexts] half the sum of absolute differences, in [0, 1]
    loss_gap: np.ndarray  # [contexts] nats lost against the reference on the order that came
    entropy: np.ndarray  # [contexts] of the reader, nats


class Mean(NamedTuple):
    """A mean over flows of their means over contexts."""

    value: np.ndarray  # [...]
    error: np.ndarray  # [...] standard error between flows; nan with fewer than two


def contexts_of(flows: Sequence[np.ndarray], window: int, per_flow: int) -> Contexts:
    """Windows of recorded orders, at even distances from the first that is full to the last.

    Args:
      flows: consecutive rows `[orders, columns]` int32 of each recorded flow.
      window: W, orders of a context.
      per_flow: contexts of each flow.

    Raises:
      InputError: a flow that is too short for as many different contexts.
    """
    rows, came, of = [], [], []
    for number, flow in enumerate(flows):
        if len(flow) < window + per_flow:
            raise InputError(
                f"flow {number} has {len(flow)} orders, expected at least {window + per_flow} for "
                f"{per_flow} contexts of {window}"
            )
        for end in np.linspace(window, len(flow) - 1, per_flow).round().astype(int):
            rows.append(flow[end - window : end])
            came.append(flow[end, ORDER_INDEX])
            of.append(number)
    return Contexts(np.stack(rows), np.array(came, np.int32), np.array(of, np.int32))


def last_orders_readers(model: OrderModel, lengths: Sequence[int]) -> dict[int, Read]:
    """The model on the last n orders of every context, for each n of `lengths`.

    Compiled once per n; contexts are split over all devices, which share one copy of the
    parameters each.
    """
    params = jax.device_put(model.params, devices.everywhere())

    def read(orders: int, rows: np.ndarray) -> np.ndarray:
        there = jax.device_put(rows[:, rows.shape[1] - orders :], devices.split())
        logits = np.asarray(_next_logits(model.graphdef, params, there), np.float64)
        return logits - _log_sum(logits, (-1,))

    return {n: functools.partial(read, n) for n in lengths}


def decoding_reader(model: OrderModel) -> Read:
    """The model on the whole of every context, the second half of it decoded order by order.

    Reads the cache in the type the model keeps it in (`models.precision`), which an encoding of the
    whole context never does.
    """
    params = jax.device_put(model.params, devices.everywhere())

    def read(rows: np.ndarray) -> np.ndarray:
        there = jax.device_put(rows, devices.split())
        logits = np.asarray(_decoded_logits(model.graphdef, params, there), np.float64)
        return logits - _log_sum(logits, (-1,))

    return read


def tempered_reader(read: Read, model: OrderModel, temperature: float) -> Read:
    """What the head draws from at another temperature, given what it would at one.

    Source: `Head.sample`; a factored head divides the logits of each attribute given the earlier
    ones, a joint head those of whole orders.
    """
    staged = isinstance(model.net().head, FactoredHead)
    shape = model.config.slot_shape if staged else (model.config.vocab,)
    return lambda rows: tempered(read(rows), shape, temperature)


def tempered(log_probs: np.ndarray, shape: tuple[int, ...], temperature: float) -> np.ndarray:
    """Log-probabilities `[contexts, vocab]` with each draw of a sequence at a temperature.

    Args:
      log_probs: normalised, at temperature one.
      shape: outcomes of the draws, one after the other; their product is the vocabulary.
      temperature: by which the logits of every draw are divided.
    """
    joint = log_probs.reshape(-1, *shape)
    total = np.zeros_like(joint)
    for axis in range(1, joint.ndim):
        later = tuple(range(axis + 1, joint.ndim))
        own = _log_sum(joint, later) / temperature
        total += own - _log_sum(own, (axis,))
    return total.reshape(log_probs.shape)


def _log_sum(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Logarithm of the sum of exponentials over `axes`, which stay with length one."""
    return np.asarray(logsumexp(x, axis=axes, keepdims=True)) if axes else x


@functools.partial(jax.jit, static_argnums=0)
def _next_logits(graphdef: nnx.GraphDef, params: Params, rows: jax.Array) -> jax.Array:
    """Logits float32[contexts, vocab] after the last of rows `[contexts, orders, columns]`."""
    net = nnx.merge(graphdef, params)
    return jax.vmap(lambda context: net.head.logits(net.encode(context)[-1]))(rows)


@functools.partial(jax.jit, static_argnums=0)
def _decoded_logits(graphdef: nnx.GraphDef, params: Params, rows: jax.Array) -> jax.Array:
    """`_next_logits` by `OrderNet.decode` from the middle of the rows on."""
    net = nnx.merge(graphdef, params).unstack()
    orders = rows.shape[1]
    middle = orders // 2

    def one(context: jax.Array) -> jax.Array:
        cache = net.prefill(context[:middle])[1].widened(orders)

        def step(cache: KVCache, item: tuple[jax.Array, jax.Array]) -> tuple[KVCache, jax.Array]:
            hidden, cache = net.decode(*item, cache)
            return cache, hidden

        places = jnp.arange(middle, orders)
        return net.head.logits(lax.scan(step, cache, (context[middle:], places))[1][-1])

    return jax.vmap(one)(rows)


def compare_readers(
    contexts: Contexts,
    readers: dict[Name, Read],
    slot_shape: tuple[int, ...],
    watch: Callable[[int, int], object] = lambda done, wanted: None,
) -> dict[Name, Distances]:
    """Distances of every reader from the first one.

    Args:
      contexts: what is read.
      readers: by name; the first is the reference, its own distances are zero.
      slot_shape: slots of the attributes; their product is the vocabulary.
      watch: called after every reader of every batch of contexts with what is done and wanted.
    """
    count = len(contexts.came)
    width = min(TOGETHER, -(-count // jax.device_count())) * jax.device_count()
    firsts = range(0, count, width)
    parts: dict[Name, list[Distances]] = {name: [] for name in readers}
    for turn, first in enumerate(firsts):
        here = np.arange(first, min(first + width, count))
        padded = np.resize(here, width)  # every batch has one shape
        reference = None
        for done, (name, read) in enumerate(readers.items(), 1):
            found = read(contexts.rows[padded])[: len(here)]
            reference = found if reference is None else reference
            parts[name].append(distances(reference, found, contexts.came[here], slot_shape))
            watch(turn * len(readers) + done, len(firsts) * len(readers))
    return {
        name: Distances(*(np.concatenate(x) for x in zip(*own, strict=True)))
        for name, own in parts.items()
    }


def distances(
    reference: np.ndarray, found: np.ndarray, came: np.ndarray, slot_shape: tuple[int, ...]
) -> Distances:
    """Distances of one batch.

    Args:
      reference: normalised log-probabilities, float64 `[contexts, vocab]`.
      found: of the reader.
      came: `[contexts]` joint token of the order that came.
      slot_shape: slots of the attributes.
    """
    p, q = np.exp(reference), np.exp(found)
    at = (np.arange(len(came)), came)
    shaped = [x.reshape(-1, *slot_shape) for x in (p, q)]
    own = []
    for axis in range(1, len(slot_shape) + 1):
        others = tuple(a for a in range(1, len(slot_shape) + 1) if a != axis)
        a, b = (x.sum(others) for x in shaped)
        own.append(rel_entr(a, b).sum(-1))
    return Distances(
        kl=(p * (reference - found)).sum(-1),
        attribute_kl=np.stack(own, -1),
        total_variation=np.abs(p - q).sum(-1) / 2,
        loss_gap=reference[at] - found[at],
        entropy=-(q * found).sum(-1),
    )


def grid_lengths(window: int) -> list[int]:
    """Numbers of orders to measure at, largest first: the window, one less, its halvings, and
    denser near it, where the contexts of anchored policies lie."""
    halvings = [window >> shift for shift in range(window.bit_length())]
    dense = [round(share * window) for share in DENSE_SHARES]
    return sorted({n for n in [window - 1, *halvings, *dense] if n >= 1}, reverse=True)


def growths(window: int) -> list[int]:
    """The growths C of `anchored(C)` that are reported."""
    found = {round(share * window) for share in GROWTH_SHARES}
    return sorted(c for c in found if 1 <= c < window)


def anchored_weights(lengths: Sequence[int], window: int, growth: int) -> np.ndarray:
    """How much each measured length counts in the mean of `anchored(growth)`, `[lengths]`.

    The policy reads n = window - growth + 1 … window orders, each n once between two anchors.
    Between measured lengths a distance is interpolated linearly in n.

    Args:
      lengths: that were measured; the window and one of at most window - growth + 1 among them.
      window: W.
      growth: C.
    """
    order = np.argsort(lengths)
    known = np.asarray(lengths)[order]
    read = np.arange(window - growth + 1, window + 1)
    if known[-1] != window or known[0] > read[0]:
        raise ValueError(
            f"lengths from {read[0]} to {window} are read, got measurements from {known[0]} to "
            f"{known[-1]}"
        )
    unit = np.eye(len(known))
    weights = np.zeros(len(known))
    weights[order] = [np.interp(read, known, column).mean() for column in unit]
    return weights


def anchored_distances(found: dict[int, Distances], window: int, growth: int) -> Distances:
    """Distances of `anchored(growth)` from those of the readers of the last n orders, by n."""
    weights = anchored_weights(list(found), window, growth)
    columns = zip(*found.values(), strict=True)
    return Distances(*(np.tensordot(weights, np.stack(column), 1) for column in columns))


def mean_over_flows(values: np.ndarray, flow: np.ndarray) -> Mean:
    """Mean and standard error of `[contexts, ...]`; contexts of one flow overlap, so the error is
    that between flows."""
    own = np.stack([values[flow == number].mean(0) for number in np.unique(flow)])
    spare = len(own) - 1
    error = own.std(0, ddof=1) / np.sqrt(len(own)) if spare else np.full(own.shape[1:], np.nan)
    return Mean(own.mean(0), np.asarray(error))


def distance_table(found: dict[Name, Distances], flow: np.ndarray, label: str) -> pd.DataFrame:
    """One row per reader.

    Args:
      found: by name.
      flow: `[contexts]` which flow each context is from.
      label: column of the names.

    Returns:
      Columns: label; kl and kl_error, nats per order; total_variation, loss_gap with their errors;
      kl_type, kl_price, kl_volume, kl_interval; entropy.
    """
    rows = []
    for name, own in found.items():
        row: dict[str, Any] = {label: name}
        for column in ("kl", "total_variation", "loss_gap"):
            mean = mean_over_flows(getattr(own, column), flow)
            row |= {column: float(mean.value), f"{column}_error": float(mean.error)}
        parts = mean_over_flows(own.attribute_kl, flow).value
        row |= {f"kl_{name}": float(x) for name, x in zip(ATTRIBUTES, parts, strict=True)}
        row["entropy"] = float(mean_over_flows(own.entropy, flow).value)
        rows.append(row)
    return pd.DataFrame(rows)


def anchored_table(found: dict[int, Distances], flow: np.ndarray, window: int) -> pd.DataFrame:
    """One row per growth: what the policy reads and costs, and its distances.

    Args:
      found: of the readers of the last n orders, by n.
      flow: `[contexts]` which flow each context is from.
      window: W.

    Returns:
      Columns: growth; least_read; tokens_per_order, encoded for each order, both for anchors and
      decoding; then those of `distance_table`.
    """
    chosen = growths(window)
    own = {growth: anchored_distances(found, window, growth) for growth in chosen}
    table = distance_table(own, flow, "growth").drop(columns="entropy")
    table.insert(1, "least_read", [window - growth + 1 for growth in chosen])
    table.insert(2, "tokens_per_order", [1 + (window - c) / c for c in chosen])
    return table
