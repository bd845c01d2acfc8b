"""What a recorded day leaves in a model's memory (`tokens.summary`)."""

import functools

import jax
import numpy as np

from jaxmars.config import MarketConfig
from jaxmars.data.flow import Flow, padded
from jaxmars.tokens.summary import Memory, init_memory
from jaxmars.tokens.window import memories
from jaxmars.types import L2, Event


def flow_memories(flow: Flow, market: MarketConfig, before: Memory | None = None) -> Memory:
    """The memory after each order of a flow, host arrays `[orders, ...]`.

    Args:
      flow: in time order.
      market: the instrument.
      before: of the orders before the flow; none by default.
    """
    whole = padded(flow)
    found = _memories(init_memory() if before is None else before, whole.event, whole.l2, market)
    return jax.tree.map(lambda x: np.asarray(x)[: len(flow.event.kind)], found)


@functools.partial(jax.jit, static_argnames="market")
def _memories(before: Memory, event: Event, l2: L2, market: MarketConfig) -> Memory:
    return memories(market, before, event, l2)
