"""Does a small model that drafts orders make a large model's market faster?

Both sides generate whole markets (book, features, network, sampling) from one start: plain decoding
in anchored contexts, and speculative decoding with the same contexts, in turns. The parts are timed
in the same run, and the gain that they explain is printed beside the gain that was measured.

    python benchmarks/speculative.py --out benchmarks/results/speculative_cpu.json

By default the large model is the built-in one and the draft is its first layer with its own final
norm and head; `--target` and `--draft` take model folders, for example two sizes that
scripts/scaling_law.py trained.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmars import clock, devices
from jaxmars.agents import policy as policies
from jaxmars.book import with_slots
from jaxmars.builtin import default_starts, default_weights
from jaxmars.cli_values import positive
from jaxmars.config import MarketConfig, SimConfig
from jaxmars.data.start import load_start
from jaxmars.models import KVCache, OrderModel
from jaxmars.models.heads import NUM_SLOTS
from jaxmars.models.order_model import shape_of
from jaxmars.sim import MarketState, init_market, rollout, trajectory_keys
from jaxmars.sim.reference_market import CLOSE_SEC, reference_market
from jaxmars.sim.speculative import Speculation, speculate
from jaxmars.sim.speculative_crowd import Net
from jaxmars.tasks.forecast import crowd, start_history
from jaxmars.tokens.order import ROW_WIDTH

TRIAL = 24  # rounds from which the orders per round are taken
BATCHES = (1, 16)
DRAFTS = (1, 2, 4)


class Setup(NamedTuple):
    """What all contestants of a batch share."""

    keys: jax.Array
    markets: MarketState
    params: tuple
    agent: Any
    market: MarketConfig
    model: OrderModel
    draft: OrderModel


def first_layers(model: OrderModel, num_layers: int) -> OrderModel:
    """The model cut off after some layers; final norm and head stay."""
    config = dataclasses.replace(model.config, num_layers=num_layers)
    layers = jax.tree.map(lambda x: x[:num_layers], model.params["layers"])
    return dataclasses.replace(
        model,
        config=config,
        graphdef=shape_of(config)[0],
        params={**model.params, "layers": layers},
    )


def growth_of(model: OrderModel) -> int:
    """Orders between anchors."""
    return model.config.num_max_orders // 2


def speculation(
    model: OrderModel, draft: OrderModel, market: MarketConfig, drafts: int, rounds: int
) -> Speculation:
    """What a speculative run compiles for.

    Raises:
      ValueError: the models have another window, other slots or another kind of head, or the window
        is too short.
    """
    large, small = (Net(x.graphdef, x.config) for x in (model, draft))
    return Speculation(large, small, market, drafts, growth_of(model), rounds)


def prepare(model: OrderModel, draft: OrderModel, batch: int) -> Setup:
    """Markets `[batch]` that all begin at the committed start."""
    market = reference_market()
    policy = policies.anchored(model.config, growth_of(model))
    agent, params = crowd(model, policy, market, 1.0)
    start = load_start(default_starts(), 0)
    history = start_history(start, model, market, model.config.num_max_orders)
    begin = functools.partial(
        init_market,
        params=(params,),
        book=with_slots(start.book, market.slots),
        time=clock.make_time(start.time.sec),
        end=clock.make_time(CLOSE_SEC),
        last_price=jnp.int32(start.last_price),
        memories=(history,),
        agents=(agent,),
        cfg=market,
    )
    keys = trajectory_keys(0, np.arange(batch))
    return Setup(keys, jax.jit(jax.vmap(begin))(keys), (params,), agent, market, model, draft)


def plain(setup: Setup) -> Callable[[], Any]:
    """Compiled: events of each trajectory from one anchor to the next."""
    growth = growth_of(setup.model)
    cfg = SimConfig(market=setup.market, segment=growth)
    run = functools.partial(rollout, agents=(setup.agent,), cfg=cfg, num_events=growth)
    arguments = setup.keys, setup.markets, setup.params
    compiled, _ = common.compile_timed(jax.vmap(run, (0, 0, None)), *arguments)
    return lambda: compiled(*arguments)


def drafted(setup: Setup, drafts: int, rounds: int) -> Callable[[], Any]:
    """Compiled: `rounds` rounds of each trajectory, one anchor."""
    cfg = speculation(setup.model, setup.draft, setup.market, drafts, rounds)
    run = functools.partial(speculate, cfg=cfg, num_rounds=rounds)
    arguments = setup.keys, setup.markets, setup.params, setup.draft.params
    compiled, _ = common.compile_timed(jax.vmap(run, (0, 0, None, None)), *arguments)
    return lambda: compiled(*arguments)


def passes_of(model: OrderModel) -> int:
    """Passes over the longest round's orders, an order further each, that a grown window holds."""
    return growth_of(model) - max(DRAFTS)


def network(model: OrderModel, batch: int, rows: int) -> Callable[[], Any]:
    """Compiled: passes over `rows` orders of each trajectory, with the cache kept."""
    graphdef, params = nnx.split(model.net().unstack())
    length = model.config.num_max_orders - growth_of(model)
    features = jnp.zeros((length, ROW_WIDTH), jnp.int32)
    cache = jax.jit(model.net().prefill)(features)[1].widened(model.config.num_max_orders)
    caches = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch, *x.shape)), cache)

    def run(params: nnx.State, cache: KVCache, first: jax.Array) -> jax.Array:
        net = nnx.merge(graphdef, params)

        def step(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
            cache, added, last, at = carry
            if rows == 1:
                hidden, cache = net.decode(last[0], at[0], cache)
            else:
                cache = cache.written(at - 1, added)
                states, added = net.extend(last, at, cache)
                hidden = states[-1]
            slot = (hidden[0] > 0).astype(jnp.int32)  # the next rows depend on this pass
            return (cache, added, last.at[:, 0].set(slot), at + 1), hidden[0]

        last = jnp.zeros((rows, ROW_WIDTH), jnp.int32)
        begin = cache, cache.cut(0, rows), last, first + jnp.arange(rows)
        return jax.lax.scan(step, begin, None, length=passes_of(model))[1]

    arguments = params, caches, jnp.full(batch, length, jnp.int32)
    compiled, _ = common.compile_timed(jax.vmap(run, (None, 0, 0)), *arguments)
    return lambda: compiled(*arguments)


def counted(rounds: Any) -> dict[str, Any]:
    """Orders, and shares of drafts kept: whole orders, and each attribute of those that reached
    it."""
    kept, is_real = np.asarray(rounds.kept), np.asarray(rounds.is_real)
    judged = kept[kept >= 0]
    reached = [(judged >= i).sum() for i in range(NUM_SLOTS + 1)]
    return {
        "orders": int(is_real.sum()),
        "orders_per_round": round(float(is_real.sum(-1)[is_real.any(-1)].mean()), 3),
        "kept_per_order": round(float((judged == NUM_SLOTS).mean()), 3),
        "kept_per_attribute": [
            round(float(b / max(a, 1)), 3) for a, b in itertools.pairwise(reached)
        ],
    }


def measure(model: OrderModel, draft: OrderModel, batch: int, rounds: int) -> dict[str, Any]:
    """One batch size: rates, parts, measured and explained gains."""
    setup, growth = prepare(model, draft, batch), growth_of(model)
    calls, counts = {"plain": plain(setup)}, {}
    items = {"plain": batch * growth}
    for drafts in DRAFTS:
        trial = counted(drafted(setup, drafts, TRIAL)()[1])
        name = f"drafts {drafts}"
        calls[name] = drafted(setup, drafts, int(growth / trial["orders_per_round"]))
        counts[name] = counted(calls[name]()[1])
        items[name] = counts[name]["orders"]
    for name, net, rows in (
        ("large decode", model, 1),
        ("draft decode", draft, 1),
        *((f"large pass of {k + 1}", model, k + 1) for k in DRAFTS),
    ):
        calls[name], items[name] = network(net, batch, rows), batch * passes_of(model)
    contestants = {
        name: common.Contestant(lambda _, call=call: call(), items[name])
        for name, call in calls.items()
    }
    rates = common.race(contestants, rounds)
    cost = {name: 1e6 / common.summary(rates[name]).median for name in calls}
    own = cost["plain"] - cost["large decode"]
    rows = []
    for drafts in DRAFTS:
        name = f"drafts {drafts}"
        round_cost = (drafts + 1) * (own + cost["draft decode"])
        round_cost += cost[f"large pass of {drafts + 1}"]
        per_round = counts[name]["orders_per_round"]
        explained = per_round * cost["plain"] / round_cost
        rows.append(
            {
                "drafts": drafts,
                **counts[name],
                "orders_per_second": common.summary(rates[name]),
                "gain": common.speed_up(rates[name], rates["plain"]),
                "gain_explained_by_parts": round(explained, 2),
                "microseconds_of_a_round": round(per_round * cost[name], 1),
                "of_them_in_parts": round(round_cost, 1),
            }
        )
    return {
        "batch": batch,
        "plain_orders_per_second": common.summary(rates["plain"]),
        "microseconds": {name: round(cost[name], 1) for name in calls if name not in counts},
        "microseconds_of_an_order_beside_the_network": round(own, 1),
        "speculative": rows,
    }


def show(row: dict[str, Any]) -> None:
    """Prints one batch size."""
    print(f"batch {row['batch']}: plain {row['plain_orders_per_second']}")
    print(f"  microseconds per trajectory and call: {row['microseconds']}")
    print(f"  beside the network: {row['microseconds_of_an_order_beside_the_network']}")
    for found in row["speculative"]:
        print(
            f"  drafts {found['drafts']}: {found['orders_per_second']}  gain {found['gain']}  "
            f"explained {found['gain_explained_by_parts']}\n"
            f"    microseconds of a round {found['microseconds_of_a_round']}, "
            f"of them in parts {found['of_them_in_parts']}\n"
            f"    orders per round {found['orders_per_round']}, kept {found['kept_per_order']}, "
            f"by attribute {found['kept_per_attribute']}",
            flush=True,
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="result file (JSON)")
    parser.add_argument("--target", help="model folder (default: the built-in weights)")
    parser.add_argument("--draft", help="model folder (default: the target's first layer)")
    parser.add_argument("--rounds", type=positive, default=5, help="repeats (default 5)")
    args = parser.parse_args(argv)
    devices.use_all_cores()
    taken = common.conditions()
    print(common.describe_conditions(taken))
    model = OrderModel.from_pretrained(args.target or default_weights())
    draft = OrderModel.from_pretrained(args.draft) if args.draft else first_layers(model, 1)
    try:
        speculation(model, draft, reference_market(), max(DRAFTS), rounds=1)
    except ValueError as error:
        parser.error(str(error))
    names = {
        "target": pathlib.Path(args.target).parent.name if args.target else "built-in",
        "draft": pathlib.Path(args.draft).parent.name if args.draft else "first layer of it",
    }
    rows = []
    for batch in BATCHES:
        rows.append(measure(model, draft, batch, args.rounds))
        show(rows[-1])
    if args.out:
        folders = {"--target": args.target, "--draft": args.draft}
        given = [f" {name} {folder}" for name, folder in folders.items() if folder]
        record = {
            "question": (__doc__ or "").splitlines()[0],
            "command": f"python benchmarks/speculative.py --rounds {args.rounds}" + "".join(given),
            "conditions": taken,
            "models": names,
            "parameters": {"target": model.num_params, "draft": draft.num_params},
            "batches": rows,
        }
        common.write_json(args.out, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
