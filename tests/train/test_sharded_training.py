"""Training over eight devices is training over one, with the state in eight parts."""

import json
import os
import subprocess
import sys

import numpy as np

DEVICES = 8
PROGRAM = """
import dataclasses, json, sys
import jax
devices = int(sys.argv[1])
jax.config.update("jax_num_cpu_devices", devices)
import numpy as np
from jaxmars.config import OrderModelConfig
from jaxmars.models import OrderModel
from jaxmars.train.loop import fit, init_state
from jaxmars.train.losses import Batch
from jaxmars.train.settings import TrainConfig
config = dataclasses.replace(OrderModelConfig.tiny(), head="factored")
model = OrderModel.init(config, jax.random.key(0))
rng = np.random.default_rng(1)
limits = [config.vocab, 10, 10, 200, 9_000, *[9] * 10]
batches = [
    Batch(rng.integers(0, limits, (16, 9, 15)).astype(np.int32), rng.random((16, 9)) < 0.8)
    for _ in range(4)
]
held = lambda tree: sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree))
share = lambda tree: held(tree) / sum(x.nbytes for x in jax.tree.leaves(tree))
def train(accumulate):
    cfg = TrainConfig(steps=4, batch=16, accumulate=accumulate, warmup=1, bfloat16=False,
                      report_every=1, save_every=1)
    lines = []
    state = init_state(model.params, cfg)
    before = share(state)
    keep = lambda line, _: lines.append(line.loss) or True
    state = fit(model.graphdef, state, batches, cfg, keep)
    sums = [float(np.abs(np.asarray(x)).sum()) for x in jax.tree.leaves(state.params)]
    return {"losses": lines, "share": before, "after": share(state), "sums": sums}
print(json.dumps([train(accumulate) for accumulate in (1, 2)]))
"""


def run(devices: int) -> list[dict]:
    """What the program prints on so many devices: with batches in one part, and in two."""
    command = [sys.executable, "-c", PROGRAM, str(devices)]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=env, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_eight_devices_train_like_one() -> None:
    """Losses to float32 rounding, with batches in one part and in two; each device holds an eighth
    of weights and moments, but for the few arrays that eight does not divide."""
    for one, eight in zip(run(1), run(DEVICES), strict=True):
        assert np.allclose(one["losses"], eight["losses"], rtol=1e-5)
        assert np.allclose(one["sums"], eight["sums"], rtol=1e-4)
        assert one["share"] == one["after"] == 1
        assert eight["share"] == eight["after"] < 1.2 / DEVICES
