"""Measures a model trained on the reference market against what the market itself knows.

Twice, on sessions it never saw: of the default market alone (`plain`), and of random markets beside
traders from outside, as in training (`varied`). Prints and writes into the folder's manifest the
model's loss over the crowd's orders, the generator's own loss over the same orders (no model can be
below it), that of a guess that knows how often each type, price, size and wait occurs and nothing
else (no model should be above it), and the terciles of the forecast label in the default market.

    python scripts/evaluate_order_model.py weights/default
"""

import argparse
import functools
import sys
from typing import NamedTuple

import jax
import numpy as np

from jaxmars import devices
from jaxmars.agents.outside import outside_rate
from jaxmars.agents.reference_likelihood import plan_nats
from jaxmars.data.start import event_mid
from jaxmars.errors import InputError
from jaxmars.models import OrderModel
from jaxmars.sim.market import step
from jaxmars.sim.reference_market import reference_market
from jaxmars.sim.reference_sessions import (
    CROWD,
    Draw,
    plain_session,
    session_agents,
    start_session,
    varied_session,
)
from jaxmars.sim.state import view_of
from jaxmars.tasks.labels import Thresholds, cut, start_labels
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.window import rows_of
from jaxmars.train.losses import position_losses
from jaxmars.train.reference_data import (
    EVENTS_PER_CALL,
    WARM_UP_EVENTS,
    Flow,
    ReferencePlan,
    session_keys,
    windows_of,
)
from jaxmars.types import L2, Event, Kind

PLAN = ReferencePlan(sessions=64, rounds=8)
KINDS: dict[str, Draw] = {"plain": plain_session, "varied": varied_session}
SEED = 77
BATCH = 16
NANOS = 1e-9


class Sessions(NamedTuple):
    """Sessions `[sessions, events]` from the open on."""

    event: Event
    l2: L2  # after each event
    nats: np.ndarray | jax.Array  # of the order the crowd plans after each event
    fresh: np.ndarray | jax.Array  # whether that plan was drawn just then


def run_sessions(tables: TokenTables, draw: Draw) -> Sessions:
    """Sessions with the generator's nats of every planned order."""
    cfg = reference_market()
    agents = session_agents(cfg)

    def one(key, params, market, _):
        market, event = step(key, market, tuple(params), agents=agents, cfg=cfg)
        crowd, outside = (view_of(market, market.time, i) for i in range(len(agents)))
        rival = outside_rate(params.outside, market.agents[1], outside)
        nats = plan_nats(params.crowd, market.agents[0], crowd, tables, cfg.lot_size, rival)
        fresh = (market.pending.kind == Kind.NONE).all()
        return market, Sessions(event, market.l2, nats, fresh)

    @jax.jit
    @jax.vmap
    def call(key, params, market):
        return jax.lax.scan(
            functools.partial(one, key, params), market, None, length=EVENTS_PER_CALL
        )

    keys = session_keys(SEED, 0, PLAN)
    params = jax.jit(jax.vmap(draw))(keys)
    opened = jax.jit(jax.vmap(functools.partial(start_session, cfg=cfg)))(keys, params)
    markets, parts = opened.market, []
    for _ in range(WARM_UP_EVENTS // EVENTS_PER_CALL + PLAN.rounds):
        markets, part = call(keys, params, markets)
        parts.append(jax.tree.map(np.asarray, part))
    return jax.tree.map(lambda *x: np.concatenate(x, 1), *parts)


def is_crowds(event: Event) -> np.ndarray:
    """Orders of the crowd, `[sessions, events]` bool."""
    return np.asarray((event.agent_id == CROWD) & (event.kind != Kind.NONE))


def generator_nats(sessions: Sessions) -> np.ndarray:
    """Of every order of the crowd after the warm-up, `[orders]`: those of the plan it came from.

    A plan that an order from outside overtook was never carried out and does not count.
    """
    carried_out = np.asarray(sessions.fresh)[:, :-1] & is_crowds(sessions.event)[:, 1:]
    carried_out[:, : WARM_UP_EVENTS - 1] = False
    return np.asarray(sessions.nats)[:, :-1][carried_out]


def flows_of(sessions: Sessions, tables: TokenTables) -> list[Flow]:
    """What the model reads of the sessions after their warm-up."""
    make = jax.jit(jax.vmap(functools.partial(rows_of, tables, reference_market())))
    own = is_crowds(sessions.event)
    rows, final = map(np.array, make(sessions.event, sessions.l2, ~own))
    final[:, :WARM_UP_EVENTS] = False
    return [Flow(r[f], o[f]) for r, o, f in zip(rows, own, final, strict=True)]


def guess_nats(flows: list[Flow], shape: tuple[int, ...]) -> float:
    """Loss of frequencies, nats per order of the crowd in every second session.

    Type, price, size and wait are taken as independent; how often each occurs is counted in the
    other sessions, from one on.

    Args:
      flows: sessions.
      shape: slots of type, price, volume and interval.
    """
    indices = [flow.rows[flow.own, 0].astype(np.int64) for flow in flows]
    counted, scored = (np.concatenate(indices[first::2]) for first in (0, 1))
    total = 0.0
    for slots, seen, met in zip(
        shape, np.unravel_index(counted, shape), np.unravel_index(scored, shape), strict=True
    ):
        counts = 1 + np.bincount(seen, minlength=slots)
        total -= float(np.log(counts / counts.sum())[met].mean())
    return total


def measure(model: OrderModel, sessions: Sessions, tables: TokenTables) -> dict[str, float]:
    """Losses of model and generator over the crowd's orders, nats per order."""
    window = model.config.num_max_orders
    losses, owns, flows = [], [], flows_of(sessions, tables)
    for batch in windows_of(flows, window, BATCH, np.random.default_rng(SEED)):
        rows = np.asarray(batch.rows, np.int32)
        losses.append(np.asarray(position_losses(model.graphdef, model.params, rows)))
        owns.append(np.asarray(batch.own)[:, 1:])
    loss, own = np.concatenate(losses).astype(np.float64), np.concatenate(owns)
    total, count = (loss * own).sum(1), own.sum(1)
    mean = total.sum() / count.sum()
    late = np.s_[:, window // 2 :]
    bound = generator_nats(sessions).astype(np.float64)
    return {
        "loss_nats": float(mean),
        "loss_standard_error": float(
            (total - mean * count).std(ddof=1) / count.mean() / len(count) ** 0.5
        ),
        "loss_full_context_nats": float(loss[late][own[late]].mean()),
        "generator_nats": float(bound.mean()),
        "generator_standard_error": float(bound.std(ddof=1) / len(bound) ** 0.5),
        "frequencies_nats": guess_nats(flows, model.config.slot_shape),
        "orders": int(own.sum()),
        "outside_share": float(1 - own.mean()),
    }


def label_borders(event: Event) -> Thresholds:
    """Terciles of the forecast label after the warm-up."""
    seconds = event.time.sec + event.time.nsec * NANOS
    found = [
        start_labels(s[WARM_UP_EVENTS:], m[WARM_UP_EVENTS:])
        for s, m in zip(seconds, event_mid(event), strict=True)
    ]
    return cut(np.concatenate(found))


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
    tables = model.tables()
    measured, terciles = {}, {}
    for kind, draw in KINDS.items():
        sessions = run_sessions(tables, draw)
        measured[kind] = measure(model, sessions, tables)
        for name, value in measured[kind].items():
            print(f"{kind:8s} {name:28s} {value:,.4f}", flush=True)
        if draw is plain_session:
            borders = label_borders(sessions.event)
            terciles = {"low": borders.low.tolist(), "high": borders.high.tolist()}
            print(
                "label terciles (bp)", (1e4 * borders.low).round(2), (1e4 * borders.high).round(2)
            )
    manifest = {**model.manifest, "reference_market": measured, "label_terciles": terciles}
    model.save(args.model, manifest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
