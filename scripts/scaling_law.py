"""Trains sizes of the ladder on one stream of the reference market and fits a power law.

Every size sees the same orders in the same sequence. Draws the loss curves, and the final
validation loss over the number of parameters that meet every order (tables of vectors, of which an
order reads one row each, are not counted). The fitted law is loss = bound + a * parameters ** -b,
with the bound that the generator itself sets on the same kind of sessions. A run that was stopped
goes on.

    python scripts/scaling_law.py --sizes nano micro default plus --steps 400 --out out/scaling
    python scripts/scaling_law.py --sizes default --joint --steps 100 --out out/heads
"""

import argparse
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from jaxmars import devices
from jaxmars.cli_values import positive
from jaxmars.config import OrderModelConfig
from jaxmars.errors import InputError
from jaxmars.files import to_json, write_together
from jaxmars.models import OrderModel
from jaxmars.provenance import environment
from jaxmars.train.flops import kernel_weights
from jaxmars.train.log import LINES, read_lines
from jaxmars.train.loop import TrainingError
from jaxmars.train.losses import Batch
from jaxmars.train.run import Line, Run, train
from jaxmars.train.settings import SIZES, TrainConfig
from jaxmars.train.sources import Source, reference_source
from jaxmars.train.streams import Generations

LINES_PER_RUN = 20
SAVES_PER_RUN = 4
WARM_UP_SHARE = 0.05
FIGURE_INCHES = (11.0, 4.4)
DOTS_PER_INCH = 130
FINE = 100  # points of the fitted curve
BELOW, ABOVE = 0.05, 1.5  # nats around the bound that are drawn
JOINT = " joint"
JOINT_PARTS = 4  # the joint logits of a whole batch would not fit beside anything else


def shared(source: Source, cfg: TrainConfig) -> Source:
    """The source with the batches of a run kept in memory, for every size alike."""
    batches = list(itertools.islice(source.training(cfg.batch, cfg.seed), cfg.steps))
    held_out = list(source.validation(cfg.batch, cfg.validation_windows))

    def generation(number: int) -> Iterator[Batch]:
        if number:
            raise InputError("the shared batches of a scaling run are used up")
        return iter(batches)

    def validation(batch: int, most: int | None = None) -> Iterator[Batch]:
        del most  # as many as there are
        rows = np.concatenate([np.asarray(x.rows) for x in held_out])
        own = np.concatenate([np.asarray(x.own) for x in held_out])
        for first in range(0, len(rows) - batch + 1, batch):
            yield Batch(rows[first : first + batch], own[first : first + batch])

    return source._replace(
        training=lambda batch, seed: Generations(generation, "shared batches", batch, seed),
        validation=validation,
    )


def run_of(
    name: str, config: OrderModelConfig, source: Source, cfg: TrainConfig, out: pathlib.Path
) -> Run:
    """One size."""
    fitted = dataclasses.replace(
        source.model,
        **{
            field: getattr(config, field)
            for field in ("emb_dim", "num_layers", "num_heads", "num_kv_heads", "head", "dropout")
        },
    )
    model = OrderModel.init(fitted, jax.random.key(cfg.seed))
    model = dataclasses.replace(model, converters=source.converters)
    about = {
        "data": source.text,
        "model": dataclasses.asdict(fitted),
        "train": dataclasses.asdict(cfg),
    }
    return Run(source._replace(model=fitted), model, cfg, out / name.replace(" ", "_"), about, {})


def show(name: str, line: Line) -> bool:
    """A line of progress; True."""
    held_out = "" if line.validation is None else f"  validation {line.validation:.4f}"
    print(
        f"{name}: step {line.progress.step}/{line.steps}  loss {line.progress.loss:.4f}  "
        f"{line.progress.orders_per_second:,.0f} orders/s{held_out}",
        file=sys.stderr,
        flush=True,
    )
    return True


def fit_law(weights: np.ndarray, loss: np.ndarray, bound: float) -> tuple[float, float]:
    """a and b of loss = bound + a * weights ** -b, by least squares of the log of the excess."""
    line = lambda x: np.log(loss - bound) - x[0] + x[1] * np.log(weights)
    found = least_squares(line, (0.0, 0.1)).x
    return float(np.exp(found[0])), float(found[1])


def collect(runs: dict[str, Run]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """One row per size, and the lines of every size."""
    rows, curves = [], {}
    for name, run in runs.items():
        lines = pd.DataFrame(read_lines(run.out / LINES))
        lines["orders"] = lines["step"] * run.cfg.batch * run.model.config.num_max_orders
        curves[name] = lines
        last = lines.iloc[-1]
        rows.append(
            {
                "size": name,
                "parameters": run.model.num_params,
                "weights_per_order": kernel_weights(run.model.config),
                "orders": int(last["orders"]),
                "training_nats": lines["loss"].tail(3).mean(),
                "validation_nats": last["validation"],
                "standard_error": last["validation_error"],
                "orders_per_second": lines["orders_per_second"].median(),
            }
        )
    return pd.DataFrame(rows), curves


def draw(
    path: pathlib.Path,
    table: pd.DataFrame,
    curves: dict[str, pd.DataFrame],
    bound: float | None,
    law: tuple[float, float] | None,
) -> None:
    """Loss by orders seen, and final loss by weights, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=FIGURE_INCHES, layout="constrained", sharey=True
    )
    for number, (name, lines) in enumerate(curves.items()):
        held_out = lines.dropna(subset="validation")
        colour = f"C{number}"
        left.plot(lines["orders"], lines["loss"], color=colour, linewidth=0.8, alpha=0.5)
        left.plot(
            held_out["orders"], held_out["validation"], color=colour, marker="o", markersize=3
        )
        row = table[table["size"] == name].iloc[0]
        right.errorbar(
            row["weights_per_order"],
            row["validation_nats"],
            row["standard_error"],
            color=colour,
            marker="o",
            capsize=2,
            linestyle="none",
            label=f"{name} ({row['parameters']:,} parameters)",
        )
    if law is not None and bound is not None:
        a, b = law
        low, high = table["weights_per_order"].min(), table["weights_per_order"].max()
        weights = np.geomspace(low, high, FINE)
        right.plot(weights, bound + a * weights**-b, color="black", linewidth=1)
        right.set_title(f"{bound:.3f} + {a:.3g} · weights^-{b:.3f}", fontsize=10)
    for axes in (left, right):
        if bound is not None:
            axes.axhline(bound, color="grey", linestyle="--", linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    if bound is not None:
        left.annotate("the generator's own loss", (0, bound), color="grey", va="bottom")
    best, first = table["validation_nats"].min(), max(x["loss"].iloc[0] for x in curves.values())
    low = best if bound is None else bound
    left.set(
        xlabel="orders seen", ylabel="nats per order", ylim=(low - 0.05, min(first, low + 1.5))
    )
    right.set(xlabel="weights that meet every order", xscale="log")
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", choices=SIZES, required=True, help="from smallest to largest")
    add("--joint", action="store_true", help="also each size with the joint head")
    add("--steps", type=positive, required=True, help="of every size")
    add("--batch", type=positive, default=32, help="windows per step (default 32)")
    add("--bound", type=float, help="the generator's own loss (scripts/evaluate_order_model.py)")
    add("--out", type=pathlib.Path, required=True, help="folder of the runs and results")
    args = parser.parse_args(argv)
    devices.use_all_cores()
    every = max(args.steps // LINES_PER_RUN, 1)
    cfg = TrainConfig(
        steps=args.steps,
        batch=args.batch,
        warmup=max(int(WARM_UP_SHARE * args.steps), 1),
        report_every=every,
        save_every=every * max(LINES_PER_RUN // SAVES_PER_RUN, 1),
    )
    try:
        # A joint head multiplies the bins; those of the released models make 49,152 slots.
        sizes = {name: SIZES[name].with_released_bins() for name in args.sizes}
        source = shared(reference_source(cfg.seed, sizes[args.sizes[0]]), cfg)
        runs = {}
        for name, size in sizes.items():
            runs[name] = run_of(name, size, source, cfg, args.out)
            if args.joint:
                config = dataclasses.replace(size, head="joint")
                parts = dataclasses.replace(cfg, accumulate=JOINT_PARTS)
                runs[name + JOINT] = run_of(name + JOINT, config, source, parts, args.out)
        for name, run in runs.items():
            train(run, lambda line, name=name: show(name, line))
    except (InputError, TrainingError, ValueError) as error:
        print(f"scaling_law: {error}", file=sys.stderr)
        return 2
    table, curves = collect(runs)
    law = None
    if args.bound is not None and len(table) > 2:
        weights, loss = (table[x].to_numpy(float) for x in ("weights_per_order", "validation_nats"))
        law = fit_law(weights, loss, args.bound)
    about: dict[str, Any] = environment() | {"train": dataclasses.asdict(cfg), "data": source.text}
    about |= {"bound_nats": args.bound, "law_a_b": law}
    write_together(
        args.out,
        {
            "scaling.csv": lambda path: table.to_csv(path, index=False),
            "scaling.json": lambda path: path.write_text(to_json(about)),
            "scaling.png": lambda path: draw(path, table, curves, args.bound, law),
        },
    )
    print(table.to_string(index=False))
    if law is not None:
        print(f"loss = {args.bound:.4f} + {law[0]:.4g} * weights ** -{law[1]:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
