"""From a hidden state to the next order: two heads behind one interface.

Slots are int32[4], (type, price, volume, interval); the joint token is their order index. Drawing
uses inverse CDFs of given uniforms, so a draw costs no random bits beyond them. A head's `sample`
never returns a slot outside its table and never one whose probability is zero in float32.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmars.config import OrderModelConfig
from jaxmars.models.embedding import Table, join_slots, split_index
from jaxmars.models.layers import linear

NUM_SLOTS = 4
VOLUME = 2  # place of the volume among them
MIN_TEMPERATURE = 1e-8


class Head(Protocol):
    """What the rest of the package asks of a head."""

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Hidden [d] to unnormalised log-probabilities of all joint tokens, float32[vocab]."""
        ...

    def log_prob(self, hidden: jax.Array, slots: jax.Array) -> jax.Array:
        """Log-probability of `slots` int32[4] at temperature one, float32[]."""
        ...

    def sample(
        self,
        hidden: jax.Array,
        uniforms: jax.Array,
        temperature: jax.Array,
        most: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Draws an order.

        Args:
          hidden: [d].
          uniforms: float32[4], each in [0, 1).
          temperature: float32[], logits are divided by it; 0 takes the most probable slot.
          most: int32[types, prices], the largest volume slot to draw for each; None for no limit.
            Types and prices are as probable as without.

        Returns:
          (slots int32[4], finite bool[]: whether every logit looked at was finite).
        """
        ...


def weights_of(logits: jax.Array, temperature: jax.Array) -> jax.Array:
    """exp((logits - max) / temperature), float32, the largest entry 1; the maximum is taken off
    before the division, so that a small temperature cannot overflow."""
    return jnp.exp((logits - jnp.max(logits)) / jnp.maximum(temperature, MIN_TEMPERATURE))


def invert_cdf(weights: jax.Array, uniform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The entry of `weights` [n] >= 0 whose share of the total holds `uniform` in [0, 1).

    Returns:
      (index int32[], share float32[]: where in that entry's own share `uniform` fell, in [0, 1]).
      The index is that of a positive weight whenever there is one, even where the running sum,
      added in another order than it is compared, is not monotone.
    """
    cdf = jnp.cumsum(weights)
    target = uniform * cdf[-1]
    positive = weights > 0
    holds = positive & (cdf > target)
    last_positive = weights.shape[0] - 1 - jnp.argmax(positive[::-1])
    index = jnp.where(holds.any(), jnp.argmax(holds), last_positive).astype(jnp.int32)
    share = (target - (cdf[index] - weights[index])) / weights[index]
    return index, jnp.clip(share, 0.0, 1.0)


def invert_cdf_in_blocks(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """`invert_cdf` over `weights` [blocks, n]: first the block, then the entry inside it.

    One uniform serves both levels, so a probability below its resolution (2^-23 for
    `jax.random.uniform`) is rounded to a multiple of it.

    Returns:
      Flat index, int32[].
    """
    block, share = invert_cdf(weights.sum(axis=1), uniform)
    inside, _ = invert_cdf(weights[block], share)
    return block * weights.shape[1] + inside


def up_to(logits: jax.Array, most: jax.Array) -> jax.Array:
    """Logits `[n]` of the volumes with those beyond slot `most` `[]` made impossible."""
    return jnp.where(jnp.arange(logits.shape[0]) <= most, logits, -jnp.inf)


def cut_volumes(
    logits: jax.Array, most: jax.Array, temperature: jax.Array, cfg: OrderModelConfig
) -> jax.Array:
    """Logits of joint tokens without the volumes beyond `most` int32[types, prices].

    At that temperature every (type, price) pair is as probable as before.

    Args:
      logits: [vocab].
      most: see there.
      temperature: float32[].
      cfg: of the tokens.
    """
    types, prices, volumes, intervals = cfg.slot_shape
    scale = jnp.maximum(temperature, MIN_TEMPERATURE)
    pairs = logits.reshape(types * prices, volumes, intervals)
    beyond = jnp.arange(volumes)[None, :, None] > most.reshape(-1, 1, 1)
    kept = jnp.where(beyond, -jnp.inf, pairs)
    share = lambda x: scale * jax.nn.logsumexp(x / scale, axis=(1, 2), keepdims=True)
    return (kept + share(pairs) - share(kept)).reshape(-1)


class JointHead(nnx.Module):
    """The released head: one matrix d x vocab, one softmax over all joint tokens."""

    def __init__(self, cfg: OrderModelConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        self.out = linear(cfg.emb_dim, cfg.vocab, rngs=rngs)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """See `Head.logits`."""
        return self.out(hidden).astype(jnp.float32)

    def log_prob(self, hidden: jax.Array, slots: jax.Array) -> jax.Array:
        """See `Head.log_prob`."""
        logits = self.logits(hidden)
        return logits[join_slots(slots, self.cfg)] - jax.nn.logsumexp(logits)

    def sample(
        self,
        hidden: jax.Array,
        uniforms: jax.Array,
        temperature: jax.Array,
        most: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """See `Head.sample`; only `uniforms[0]` is used. A block is one (type, price) pair."""
        logits = self.logits(hidden)
        finite = jnp.isfinite(logits).all()
        types, prices, _, _ = self.cfg.slot_shape
        if most is not None:
            logits = cut_volumes(logits, most, temperature, self.cfg)
        weights = weights_of(logits, temperature).reshape(types * prices, -1)
        index = invert_cdf_in_blocks(weights, uniforms[0])
        return split_index(index, self.cfg), finite


class Stage(nnx.Module):
    """One attribute given the hidden state and the attributes picked before it.

    out(silu(hidden_map(hidden) + sum of an embedding per earlier pick)); the first stage has no
    earlier pick and reads the hidden state as it is. The embeddings of all earlier attributes lie
    in one table, one attribute after the other.
    """

    def __init__(self, width: int, earlier: tuple[int, ...], slots: int, *, rngs: nnx.Rngs):
        self.offsets = tuple(sum(earlier[:i]) for i in range(len(earlier)))
        if earlier:
            self.hidden_map = linear(width, width, rngs=rngs)
            self.picks = Table(sum(earlier), width, rngs=rngs)
        self.out = linear(width, slots, rngs=rngs)

    def __call__(self, hidden: jax.Array, earlier: jax.Array) -> jax.Array:
        """Logits float32[slots] from hidden [d] and the earlier slots int32[number of them]."""
        if self.offsets:
            picks = self.picks(earlier + jnp.array(self.offsets, jnp.int32))
            hidden = self.hidden_map(hidden)
            hidden = jax.nn.silu(hidden + picks.sum(axis=0).astype(hidden.dtype))
        return self.out(hidden).astype(jnp.float32)


class FactoredHead(nnx.Module):
    """p(type) p(price | type) p(volume | type, price) p(interval | type, price, volume).

    About a hundredth of the joint head's work per order at the released sizes, and no softmax wider
    than one attribute.
    """

    def __init__(self, cfg: OrderModelConfig, *, rngs: nnx.Rngs):
        self.cfg = cfg
        sizes = cfg.slot_shape
        self.type = Stage(cfg.emb_dim, sizes[:0], sizes[0], rngs=rngs)
        self.price = Stage(cfg.emb_dim, sizes[:1], sizes[1], rngs=rngs)
        self.volume = Stage(cfg.emb_dim, sizes[:2], sizes[2], rngs=rngs)
        self.interval = Stage(cfg.emb_dim, sizes[:3], sizes[3], rngs=rngs)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The four stages in the order of the slots."""
        return self.type, self.price, self.volume, self.interval

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Joint log-probabilities, exact and normalised. Runs the last stage once for each of the
        vocab / intervals earlier picks: as much work as the joint head. For tests and comparisons.
        """
        earlier = jnp.zeros((1, 0), jnp.int32)
        joint = jnp.zeros((1, 1))
        for stage, slots in zip(self.stages, self.cfg.slot_shape, strict=True):
            own = jax.nn.log_softmax(jax.vmap(stage, in_axes=(None, 0))(hidden, earlier))
            joint = joint.reshape(-1, 1) + own
            added = jnp.tile(jnp.arange(slots, dtype=jnp.int32), earlier.shape[0])[:, None]
            earlier = jnp.concatenate([jnp.repeat(earlier, slots, axis=0), added], axis=1)
        return joint.reshape(-1)

    def log_prob(self, hidden: jax.Array, slots: jax.Array) -> jax.Array:
        """See `Head.log_prob`."""
        total = jnp.zeros(())
        for i, stage in enumerate(self.stages):
            total += jax.nn.log_softmax(stage(hidden, slots[:i]))[slots[i]]
        return total

    def sample(
        self,
        hidden: jax.Array,
        uniforms: jax.Array,
        temperature: jax.Array,
        most: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """See `Head.sample`; one uniform per stage."""
        slots = jnp.zeros((0,), jnp.int32)
        finite = jnp.array(True)
        for i, stage in enumerate(self.stages):
            logits = stage(hidden, slots)
            finite &= jnp.isfinite(logits).all()
            if i == VOLUME and most is not None:
                logits = up_to(logits, most[slots[0], slots[1]])
            slot, _ = invert_cdf(weights_of(logits, temperature), uniforms[i])
            slots = jnp.append(slots, slot)
        return slots, finite


HEADS: dict[str, type[JointHead] | type[FactoredHead]] = {
    "joint": JointHead,
    "factored": FactoredHead,
}
