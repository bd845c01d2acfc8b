"""A small network that tries to tell generated from real changes of the book.

The adversarial test of LOB-Bench (arXiv 2502.09172): every change of the book is three numbers
(change of the mid, level that changed, change of its size); a 1-D convolutional network sees a
stretch of them and is scored by the area under its ROC curve on sequences it was not trained on.
0.5 means that it cannot tell, 1 that it always can.
"""

import functools
import itertools
from collections.abc import Sequence as Ordered
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxmars.tasks.lob_bench_data import Sequence
from jaxmars.tasks.lob_bench_distances import roc_auc
from jaxmars.tasks.lob_bench_scores import touch
from jaxmars.types import Side

WINDOW = 100  # changes of the book that are judged together
CHANNELS = 3
WIDTHS, KERNEL, STRIDE = (16, 32), 5, 2
STEPS, BATCH = 300, 64
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
HELD_OUT = 0.3  # share of the sequences
MOST_HELD_OUT = 4096  # windows that are judged
SIZE_SCALE = 100.0  # shares; sizes far above it enter by their logarithm
GRID = np.linspace(0, 1, 101)  # false positive rates of a ROC curve
NO_CHANGE = 1e-6  # least deviation of a channel


class Discrimination(NamedTuple):
    """How well generated sequences are told from real ones, one entry per seed."""

    auc: np.ndarray  # [seeds] float64, area under the ROC curve; nan without enough windows
    roc: np.ndarray  # [seeds, len(GRID)] float64, true positive rate at each rate of GRID


class Convolutions(nnx.Module):
    """Two strided convolutions, mean and maximum over time, one logit.

    A convolution is a matrix product with its patches: on a CPU many times faster in a scan.
    """

    def __init__(self, rngs: nnx.Rngs):
        sizes = (CHANNELS, *WIDTHS)
        self.layers = nnx.List(
            nnx.Linear(KERNEL * a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)
        )
        self.head = nnx.Linear(2 * WIDTHS[-1], 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits `[windows]` of "generated" of windows `[windows, WINDOW, CHANNELS]` float32."""
        for layer in self.layers:
            x = nnx.relu(layer(patches(x)))
        return self.head(jnp.concatenate([x.mean(1), x.max(1)], 1))[:, 0]


def patches(x: jax.Array) -> jax.Array:
    """Every STRIDE-th stretch of KERNEL steps, `[windows, steps, c]` to `[windows, n, KERNEL * c]`.

    Only whole stretches are taken.
    """
    reach = x.shape[1] - KERNEL + 1
    return jnp.concatenate([x[:, k : k + reach : STRIDE] for k in range(KERNEL)], 2)


def changes(sequence: Sequence) -> np.ndarray:
    """Changes of the book `[changes, CHANNELS]` float32.

    The change of the mid in ticks, the level nearest to the touch that changed (asks 1, 2, ...,
    bids -1, -2, ...), and the signed change of its size on a scale that is linear for small sizes
    and logarithmic for large ones. Where a level has a new price the change is its whole size.
    """
    price, size = (np.asarray(x) for x in sequence.l2)
    other = (np.diff(price, axis=0) != 0) | (np.diff(size, axis=0) != 0)
    rows = np.flatnonzero(other.any((1, 2)))
    levels = price.shape[2]
    first = other[rows].transpose(0, 2, 1).reshape(len(rows), -1).argmax(1)
    place, side = first // 2, first % 2
    pick = lambda x, shift: x[rows + shift, side, place].astype(np.int64)
    same_price = pick(price, 0) == pick(price, 1)
    change = pick(size, 1) - np.where(same_price, pick(size, 0), 0)
    move = np.nan_to_num(np.diff(touch(sequence).mid)[rows])
    sign = np.where(side == Side.SELL, 1.0, -1.0)
    columns = (np.arcsinh(move), sign * (place + 1) / levels, np.arcsinh(change / SIZE_SCALE))
    return np.stack(columns, 1).astype(np.float32)


def windows(found: Ordered[np.ndarray]) -> np.ndarray:
    """Whole stretches `[windows, WINDOW, CHANNELS]` of the changes of some sequences."""
    whole = [x[: len(x) // WINDOW * WINDOW].reshape(-1, WINDOW, CHANNELS) for x in found]
    return np.concatenate([np.zeros((0, WINDOW, CHANNELS), np.float32), *whole])


def discriminate(
    real: Ordered[np.ndarray], generated: Ordered[np.ndarray], seed: int, seeds: int
) -> Discrimination:
    """Trains and judges one network per seed, each on its own split of the sequences.

    Args:
      real: changes of each real sequence.
      generated: changes of each generated sequence.
      seed: of the first split and network.
      seeds: how many.
    """
    found = [_once(real, generated, seed + number) for number in range(seeds)]
    auc, roc = zip(*found, strict=True)
    return Discrimination(np.array(auc), np.stack(roc))


def roc_curve(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """True positive rate `[len(GRID)]` at the false positive rates of GRID."""
    bars = np.sort(np.concatenate([negative, positive]))[::-1]
    beyond = lambda x: 1 - np.searchsorted(np.sort(x), bars, "left") / len(x)
    false, true = (np.concatenate([[0.0], beyond(x)]) for x in (negative, positive))
    return np.interp(GRID, false, true)


def _once(
    real: Ordered[np.ndarray], generated: Ordered[np.ndarray], seed: int
) -> tuple[float, np.ndarray]:
    """Area and curve of one seed; nan if a part has no window."""
    rng = np.random.default_rng(seed)
    parts = [_split(x, rng) for x in (real, generated)]
    train, held_out = zip(*parts, strict=True)
    if not all(len(x) for x in (*train, *held_out)):
        return np.nan, np.full(len(GRID), np.nan)
    both = np.concatenate(train)
    centre = both.mean((0, 1))
    scale = np.maximum(both.std((0, 1)), NO_CHANGE)
    draws = [rng.integers(len(x), size=(STEPS, BATCH // 2)) for x in train]
    batches = np.concatenate([x[draw] for x, draw in zip(train, draws, strict=True)], 1)
    graph, params = nnx.split(Convolutions(nnx.Rngs(seed)), nnx.Param)
    params = _train(graph, params, (batches - centre) / scale)
    logits = [_judge(graph, params, (x - centre) / scale) for x in held_out]
    return roc_auc(*logits), roc_curve(*logits)


def _split(found: Ordered[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Windows of the sequences to train on, and of those held out."""
    order = rng.permutation(len(found))
    held = max(round(HELD_OUT * len(found)), 1)
    test = windows([found[i] for i in order[:held]])
    kept = rng.permutation(len(test))[:MOST_HELD_OUT]
    return windows([found[i] for i in order[held:]]), test[kept]


@functools.partial(jax.jit, static_argnums=0)
def _train(graph: nnx.GraphDef, params: nnx.State, batches: jax.Array) -> nnx.State:
    """Parameters after one step per batch; the first half of each batch is real."""
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, STEPS)
    optimizer = optax.adamw(schedule, weight_decay=WEIGHT_DECAY)
    labels = (jnp.arange(BATCH) >= BATCH // 2).astype(jnp.float32)

    def loss(params: nnx.State, batch: jax.Array) -> jax.Array:
        logits = nnx.merge(graph, params)(batch)
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean()

    def step(carry: tuple, batch: jax.Array) -> tuple[tuple, None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), batches)
    return params


def _judge(graph: nnx.GraphDef, params: nnx.State, x: np.ndarray) -> np.ndarray:
    """Logits `[windows]` of "generated", in batches of one shape."""
    chunks = -(-len(x) // BATCH)
    padded = np.zeros((chunks * BATCH, *x.shape[1:]), np.float32)
    padded[: len(x)] = x
    found = [np.asarray(_logits(graph, params, part)) for part in np.split(padded, chunks)]
    return np.concatenate(found)[: len(x)]


@functools.partial(jax.jit, static_argnums=0)
def _logits(graph: nnx.GraphDef, params: nnx.State, x: jax.Array) -> jax.Array:
    """Logits `[BATCH]` of windows."""
    return nnx.merge(graph, params)(x)
