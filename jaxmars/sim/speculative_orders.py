"""One drafted order against the model that decides: kept, corrected, or drawn anew.

Speculative sampling (Leviathan, Kalman, Matias 2023; Chen et al. 2023): a draft x from q is kept
with probability min(1, p(x) / q(x)), otherwise the draw is made from max(p - q, 0), normalised; the
outcome has distribution p whatever q is. With a factored head every attribute of an order is a
draft of its own: after the first that is not kept the rest of the order is drawn from p.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmars.models.embedding import join_slots, split_index
from jaxmars.models.heads import (
    NUM_SLOTS,
    VOLUME,
    FactoredHead,
    JointHead,
    cut_volumes,
    invert_cdf,
    invert_cdf_in_blocks,
    up_to,
    weights_of,
)

VERDICT_DRAWS = 2 * NUM_SLOTS  # uniforms of a verdict: to keep, to draw


class Verdict(NamedTuple):
    """What becomes of a drafted order."""

    slots: jax.Array  # [4] int32, distributed as the target says
    kept: jax.Array  # [] int32, attributes before the first that was not kept, 0 to 4
    finite: jax.Array  # [] bool, every logit looked at was finite


Verify = Callable[..., Verdict]
"""(target's head, draft's head, target's hidden [d], draft's hidden [d'], drafted slots int32[4],
uniforms [8] in [0, 1), temperature [], largest volumes int32[types, prices] or None as in
`Head.sample`) -> verdict."""


def verify_factored(
    target: FactoredHead,
    draft: FactoredHead,
    target_hidden: jax.Array,
    draft_hidden: jax.Array,
    drafted: jax.Array,
    uniforms: jax.Array,
    temperature: jax.Array,
    most: jax.Array | None = None,
) -> Verdict:
    """Attribute by attribute, each given the outcome of those before."""
    slots = jnp.zeros((0,), jnp.int32)
    alive, finite = jnp.array(True), jnp.array(True)
    kept = jnp.zeros((), jnp.int32)
    pairs = zip(target.stages, draft.stages, strict=True)
    for i, (sure, quick) in enumerate(pairs):
        logits = sure(target_hidden, slots), quick(draft_hidden, slots)
        finite &= jnp.isfinite(logits[0]).all()
        if i == VOLUME and most is not None:
            logits = tuple(up_to(x, most[slots[0], slots[1]]) for x in logits)
        slot, alive = _settle(
            weights_of(logits[0], temperature),
            weights_of(logits[1], temperature),
            drafted[i],
            alive,
            uniforms[i],
            lambda weights, i=i: invert_cdf(weights, uniforms[NUM_SLOTS + i])[0],
        )
        slots = jnp.append(slots, slot)
        kept += alive
    return Verdict(slots, kept, finite)


def verify_joint(
    target: JointHead,
    draft: JointHead,
    target_hidden: jax.Array,
    draft_hidden: jax.Array,
    drafted: jax.Array,
    uniforms: jax.Array,
    temperature: jax.Array,
    most: jax.Array | None = None,
) -> Verdict:
    """All four attributes as one token."""
    cfg = target.cfg
    types, prices, _, _ = cfg.slot_shape
    logits = target.logits(target_hidden), draft.logits(draft_hidden)
    finite = jnp.isfinite(logits[0]).all()
    if most is not None:
        logits = tuple(cut_volumes(x, most, temperature, cfg) for x in logits)
    token, kept = _settle(
        weights_of(logits[0], temperature),
        weights_of(logits[1], temperature),
        join_slots(drafted, cfg),
        jnp.array(True),
        uniforms[0],
        lambda weights: invert_cdf_in_blocks(
            weights.reshape(types * prices, -1), uniforms[NUM_SLOTS]
        ),
    )
    return Verdict(split_index(token, cfg), NUM_SLOTS * kept.astype(jnp.int32), finite)


VERIFY: dict[str, Verify] = {"joint": verify_joint, "factored": verify_factored}
"""By the name of the head that both models have."""


def _settle(
    target: jax.Array,
    draft: jax.Array,
    drafted: jax.Array,
    alive: jax.Array,
    uniform: jax.Array,
    draw: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """One token.

    Args:
      target: weights `[n]` of the model that decides, the largest 1.
      draft: weights `[n]` of the model that drafted, the largest 1.
      drafted: `[]` int32.
      alive: `[]` bool, everything before was kept; if not, the token is drawn from the target.
      uniform: decides whether it is kept.
      draw: weights `[n]` -> index.

    Returns:
      The token and whether it is the drafted one, kept.
    """
    p, q = target / target.sum(), draft / draft.sum()
    kept = alive & (uniform * q[drafted] < p[drafted])
    missing = jnp.maximum(p - q, 0.0)
    missing = jnp.where(alive & (missing.sum() > 0), missing, p)  # p and q alike up to rounding
    return jnp.where(kept, drafted, draw(missing)), kept
