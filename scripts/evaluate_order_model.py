"""Measures a model trained on the reference market against what the market itself knows.

Prints and writes into the folder's manifest: the model's loss on sessions it never saw, the
generator's own loss on the same sessions (no model can be below it), and the terciles of the
forecast label.

    python scripts/evaluate_order_model.py weights/default
"""

import argparse
import functools
import sys

import jax
import numpy as np

from jaxmars import devices
from jaxmars.agents.reference import ReferenceParams, reference_agent
from jaxmars.agents.reference_likelihood import plan_nats
from jaxmars.data.start import event_mid
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.market import step
from jaxmars.sim.reference_market import open_session, reference_market
from jaxmars.sim.state import view_of
from jaxmars.tasks.labels import cut, start_labels
from jaxmars.tokens.window import rows_of
from jaxmars.train.losses import position_losses
from jaxmars.train.reference_data import EVENTS_PER_CALL, WARM_UP_EVENTS, windows_of
from jaxmars.types import Kind

SESSIONS = 64
ROUNDS = 8  # calls of EVENTS_PER_CALL after the warm-up
SEED = 77
BATCH = 16
NANOS = 1e-9


def run_sessions(tables) -> tuple:
    """Events, snapshots and the generator's nats of every planned order, `[sessions, events]`."""
    cfg, params = reference_market(), ReferenceParams()
    agents = (reference_agent(cfg.lot_size),)

    def one(key, market, _):
        market, event = step(key, market, (params,), agents=agents, cfg=cfg)
        view = view_of(market, market.time, 0)
        nats = plan_nats(params, market.agents[0], view, tables, cfg.lot_size)
        fresh = (market.pending.kind == Kind.NONE).all()
        return market, (event, market.l2, nats, fresh)

    @jax.jit
    @jax.vmap
    def call(key, market):
        return jax.lax.scan(functools.partial(one, key), market, None, length=EVENTS_PER_CALL)

    keys = jax.device_put(jax.random.split(jax.random.key(SEED), SESSIONS), devices.split())
    markets = jax.jit(jax.vmap(lambda key: open_session(key, params, cfg)))(keys)
    parts = []
    for _ in range(WARM_UP_EVENTS // EVENTS_PER_CALL + ROUNDS):
        markets, part = call(keys, markets)
        parts.append(jax.tree.map(np.asarray, part))
    return jax.tree.map(lambda *x: np.concatenate(x, 1), *parts)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder; its manifest is completed")
    args = parser.parse_args(argv)
    devices.use_all_cores()
    try:
        model = OrderModel.from_pretrained(args.model)
        if model.converters is None:
            raise InputError(f"{args.model} holds no converters, expected converters.json")
    except InputError as error:
        print(f"evaluate_order_model: {error}", file=sys.stderr)
        return 2
    tables, cfg = model.converters.tables(), reference_market()
    events, l2, nats, fresh = run_sessions(tables)
    warm = np.s_[:, WARM_UP_EVENTS:]
    bound = nats[warm][fresh[warm]]
    found = jax.jit(jax.vmap(functools.partial(rows_of, tables, cfg)))(events, l2)
    rows, final = (np.asarray(x)[warm] for x in found)
    sessions = [r[f] for r, f in zip(rows, final, strict=True)]
    window = model.config.num_max_orders
    losses = [
        np.asarray(position_losses(model.graphdef, model.params, batch.rows.astype(np.int32)))
        for batch in windows_of(sessions, window, BATCH, np.random.default_rng(SEED))
    ]
    by_position = np.concatenate(losses)
    seconds = events.time.sec + events.time.nsec * NANOS
    labels = [
        start_labels(s[WARM_UP_EVENTS:], m[WARM_UP_EVENTS:])
        for s, m in zip(seconds, event_mid(events), strict=True)
    ]
    borders = cut(np.concatenate(labels))
    measured = {
        "loss_nats": float(by_position.mean()),
        "loss_standard_error": float(by_position.mean(1).std(ddof=1) / len(by_position) ** 0.5),
        "loss_full_context_nats": float(by_position[:, window // 2 :].mean()),
        "generator_nats": float(bound.mean()),
        "generator_standard_error": float(bound.std(ddof=1) / len(bound) ** 0.5),
        "orders": int(by_position.size),
    }
    for name, value in measured.items():
        print(f"{name:28s} {value:,.4f}")
    terciles = {"low": borders.low.tolist(), "high": borders.high.tolist()}
    print("label terciles (bp)", (1e4 * borders.low).round(2), (1e4 * borders.high).round(2))
    manifest = {**model.manifest, "reference_market": measured, "label_terciles": terciles}
    model.save(args.model, manifest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
