"""Work that is needed in few steps of few trajectories."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

State = Any  # a pytree of arrays


def rarely(condition: jax.Array, work: Callable[[State], State], state: State) -> State:
    """`work(state)` where `condition` `[]` bool, else `state`.

    Under `vmap` a branch becomes a choice between two results, both computed. Here a batch computes
    `work` only in the steps in which at least one member needs it.

    Args:
      condition: whether the work is to be done.
      work: returns what it is given, changed; it may close over static values only.
      state: what it changes.
    """
    return _rarely(work)(condition, state)


def _rarely(work: Callable[[State], State]) -> Callable[[jax.Array, State], State]:
    @jax.custom_batching.custom_vmap
    def one(condition: jax.Array, state: State) -> State:
        return lax.cond(condition, work, lambda x: x, state)

    @one.def_vmap
    def many(size: int, batched: list[Any], condition: jax.Array, state: State) -> tuple:
        widen = lambda x, is_batched: (
            x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))
        )
        condition = widen(condition, batched[0])
        state = jax.tree.map(widen, state, batched[1])

        def all_of_them(state: State) -> State:
            pick = lambda new, old: jnp.where(
                condition.reshape(-1, *[1] * (old.ndim - 1)), new, old
            )
            return jax.tree.map(pick, jax.vmap(work)(state), state)

        found = lax.cond(condition.any(), all_of_them, lambda x: x, state)
        return found, jax.tree.map(lambda _: True, found)

    return one
