"""A trained model beside the market that its training data came from (realism spec 2.3).

Both go on from the same warm moments. They are compared by the battery of `verify_statistics` and
by LOB-Bench, whose noise floor here is the generator against itself with other seeds.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from jaxmars.sim.lanes import Finished
from jaxmars.tasks.facts_report import stylized_facts
from jaxmars.tasks.lob_bench import LobBenchResult, lob_bench
from jaxmars.tasks.lob_bench_data import Sequence, cut_sequence, sequence_of_events
from jaxmars.tasks.sequences import books_after
from jaxmars.tasks.verify_statistics import comparison_table, compute_statistics
from jaxmars.tasks.verify_windows import sample_of
from jaxmars.tasks.verify_worlds import World
from jaxmars.types import Status

ABOVE_FLOOR = 0.05  # by which a distance may exceed the generator's own from seed to seed
LARGEST_AUC = 0.65  # of a discriminator on stretches of 100 changes of the book
MESSAGES = 500  # of one sequence of LOB-Bench
EVENTS = 2048  # of a trajectory that LOB-Bench sees; its first ones
DISTANCES = ("mean", "median", "iqm")


class Compared(NamedTuple):
    """What was found."""

    battery: pd.DataFrame  # of `comparison_table`
    facts: dict[str, dict[int, bool | None]]  # of the model and of the generator
    bench: LobBenchResult
    windows: dict[str, int]  # of each market
    status: dict[str, dict[str, int]]  # trajectories of each that raised a bit


class Verdict(NamedTuple):
    """One rule; passes is None for information."""

    rule: str
    found: str
    passes: bool | None


def compare_markets(
    runs: dict[str, list[Finished]],
    worlds: dict[str, World],
    *,
    seed: int,
    progress: Callable[[int, int, str], object] = lambda done, wanted, text: None,
) -> Compared:
    """Compares the trajectories of a model with those of its generator.

    Args:
      runs: trajectories of "model" and of "generator", from the same moments.
      worlds: where they began.
      seed: of nulls, resamples, splits and networks.
      progress: told of every step of LOB-Bench.

    Raises:
      InputError: fewer than two groups of windows, or too little for LOB-Bench.
    """
    samples = {
        name: sample_of(runs[name], world.begins, world.cfg.market.lot_size)
        for name, world in worlds.items()
    }
    found = {name: compute_statistics(sample) for name, sample in samples.items()}
    sequences = {name: sequences_of(runs[name], world) for name, world in worlds.items()}
    bench = lob_bench(sequences["generator"], sequences["model"], seed=seed, progress=progress)
    return Compared(
        battery=comparison_table(found["model"], found["generator"]),
        facts={n: stylized_facts(s.minutes, seed=seed).verdicts() for n, s in samples.items()},
        bench=bench,
        windows={name: len(sample.flow) for name, sample in samples.items()},
        status={name: status_counts(finished) for name, finished in runs.items()},
    )


def sequences_of(runs: list[Finished], world: World) -> list[Sequence]:
    """The first `EVENTS` events of every trajectory as sequences of `MESSAGES` messages."""
    levels = world.cfg.market.levels
    found = []
    for run in runs:
        start = jax.tree.map(lambda x, n=run.number: x[n], world.starts.book)
        events: Any = jax.tree.map(lambda x: np.asarray(x)[:EVENTS], run.events)
        event, l2 = books_after(start, events, levels)
        found += cut_sequence(sequence_of_events(event, l2), MESSAGES)
    return found


def status_counts(runs: list[Finished]) -> dict[str, int]:
    """How many trajectories raised each status bit."""
    bits = np.array([run.status for run in runs])
    return {str(b.name): int((bits & b != 0).sum()) for b in Status if (bits & b != 0).any()}


def model_verdicts(
    compared: Compared, likelihood: Mapping[str, Mapping[str, float]]
) -> list[Verdict]:
    """The rules of the realism spec 2.3.

    Args:
      compared: the model and its generator.
      likelihood: what the manifest of the model says of its loss, by kind of session; empty if it
        says nothing.
    """
    bench, battery = compared.bench, compared.battery
    good, all_of = int(np.count_nonzero(battery["passes"])), len(battery)
    found = [Verdict("battery within tolerance of the generator", f"{good} of {all_of}", None)]
    for name, facts in compared.facts.items():
        held = sum(verdict is True for verdict in facts.values())
        found.append(Verdict(f"facts as expected, {name}", f"{held} of {len(facts)}", None))
    metrics = {"L1": (bench.l1, bench.floor_l1), "W1": (bench.wasserstein, bench.floor_wasserstein)}
    for metric, (averages, floors) in metrics.items():
        for place, average in enumerate(DISTANCES):
            value, floor = averages[place].value, float(np.mean(floors[:, place]))
            rule = f"LOB-Bench {metric} {average} at most the generator's own + {ABOVE_FLOOR}"
            text = f"{value:.3f} (own {floor:.3f})"
            found.append(Verdict(rule, text, bool(value <= floor + ABOVE_FLOOR)))
    auc, own = (float(np.mean(x.auc)) for x in (bench.discriminator, bench.floor_discriminator))
    found.append(
        Verdict(f"AUC below {LARGEST_AUC}", f"{auc:.3f} (own {own:.3f})", auc < LARGEST_AUC)
    )
    gap, own = bench.impact.score.value, float(np.mean(bench.floor_impact))
    text = f"{gap:.2f} ticks (own {own:.2f})"
    found.append(Verdict("response curves, mean difference over six events", text, None))
    for kind, loss in likelihood.items():
        text = f"{loss['loss_nats']:.3f} (generator's own {loss['generator_nats']:.3f})"
        found.append(Verdict(f"loss on unseen {kind} sessions, nats per order", text, None))
    return found
