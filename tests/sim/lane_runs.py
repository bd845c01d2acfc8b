"""Runs of a tiny model's market through lanes; as a program it prints what it computed.

A program of its own because the number of devices is fixed before JAX starts.
"""

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from oracles.tiny_world import history_after, loud_model, noise_past, tiny_converters

from jaxmars import clock, devices
from jaxmars.agents.background import BackgroundParams, background_agent
from jaxmars.agents.base import Agent
from jaxmars.agents.policy import anchored, shared_prefix
from jaxmars.config import MarketConfig, OrderModelConfig, SimConfig
from jaxmars.sim.lanes import Finished, Start, run_lanes

MODEL = OrderModelConfig.tiny()
SEGMENT = 8
CFG = SimConfig(MarketConfig(slots=128, levels=4), segment=SEGMENT, lanes=2, max_events=512)
SECONDS = 15
SEED = 4
HEALTHY, POISONED, LATE = range(3)  # starts
POISONED_ROW = 2_000  # of the time table
LATEST = MODEL.num_time_rows * MODEL.seconds_per_row
GRAPH = loud_model(MODEL).graphdef
AGENT = background_agent(GRAPH, MODEL, CFG.market, anchored(MODEL, SEGMENT))
SHARING = background_agent(GRAPH, MODEL, CFG.market, shared_prefix(MODEL, SEGMENT))


@functools.cache
def make_starts() -> Start:
    """One market three times: as it is, opened so long ago that the model's time row holds NaN,
    and opened longer ago than the time table reaches."""
    past = noise_past(CFG.market)
    history = history_after(past, MODEL.num_max_orders, CFG.market)
    ago = [
        int(past.time.sec - past.events.time.sec[0]),
        POISONED_ROW * MODEL.seconds_per_row,
        LATEST + 1,
    ]
    copies = lambda tree: jax.tree.map(lambda x: jnp.stack([x] * len(ago)), tree)
    opened = clock.make_time(past.time.sec - jnp.asarray(ago), jnp.zeros(len(ago), jnp.int32))
    memory = copies(history)
    memory = memory._replace(features=memory.features._replace(open_time=opened))
    end = clock.make_time(past.time.sec + SECONDS)
    return Start(
        copies(past.book), copies(past.time), copies(end), copies(past.last_price), (memory,)
    )


@functools.cache
def make_params() -> BackgroundParams:
    """The loud model with NaN where only a `POISONED` start looks."""
    params = loud_model(MODEL).params
    weight = params["embedding"]["time"]["weight"]
    bad = weight.at[POISONED_ROW : POISONED_ROW + SECONDS].set(jnp.nan)
    embedding = params["embedding"] | {"time": {"weight": bad}}
    return BackgroundParams(params | {"embedding": embedding}, tiny_converters().tables(), 1.0)


def run(
    numbers: Sequence[int],
    starts: Sequence[int] | None = None,
    cfg: SimConfig = CFG,
    agent: Agent = AGENT,
) -> dict[int, Finished]:
    """Trajectories by number; all from the healthy start unless told."""
    start_of = np.zeros(len(numbers), np.int32) if starts is None else np.array(starts, np.int32)
    found = run_lanes(
        SEED,
        np.array(numbers),
        start_of,
        make_starts(),
        (make_params(),),
        agents=(agent,),
        cfg=cfg,
    )
    return {finished.number: finished for finished in found}


def digest(finished: Finished) -> str:
    """A hash of everything a trajectory holds."""
    parts = [np.ascontiguousarray(x).tobytes() for x in jax.tree.leaves(finished.events)]
    parts.append(np.array([finished.status, finished.steps]).tobytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def share_of_parameters(model_devices: int) -> float:
    """How much of the parameters one device holds."""
    mesh = devices.local_mesh(model_devices)
    params = jax.tree.leaves(make_params().model)
    placed = jax.device_put(params, [devices.divided(x, mesh) for x in params])
    held = sum(x.addressable_shards[0].data.nbytes for x in placed)
    return held / sum(x.nbytes for x in params)


if __name__ == "__main__":
    model_devices, *numbers = (int(x) for x in sys.argv[1:])
    cfg = dataclasses.replace(CFG, model_devices=model_devices)
    found = {number: digest(of) for number, of in run(numbers, cfg=cfg, agent=SHARING).items()}
    share = share_of_parameters(model_devices)
    print(json.dumps({"devices": jax.device_count(), "digests": found, "share": share}))
