"""A run of the benchmark on disk: report, table, numbers, figures."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxmars.files import to_json, write_together
from jaxmars.tasks.lob_bench import LobBenchResult
from jaxmars.tasks.lob_bench_discriminator import Discrimination
from jaxmars.tasks.lob_bench_distances import Averages, Interval
from jaxmars.tasks.lob_bench_figure import (
    area,
    draw_divergence,
    draw_responses,
    draw_roc,
)
from jaxmars.tasks.lob_bench_impact import KINDS, LAGS, Response
from jaxmars.tasks.lob_bench_scores import UNCONDITIONAL

SUMMARY, TABLE, REPORT = "summary.json", "scores.csv", "report.md"
SCORES, DIVERGENCE, RESPONSES, ROC = "scores.png", "divergence.png", "responses.png", "roc.png"
COMPARISON = "comparison.md"  # of several sets
FILES = (REPORT, SUMMARY, TABLE, SCORES, RESPONSES, DIVERGENCE, ROC)
DIGITS = 3  # decimals of the report
FINE = 6  # decimals of the numbers


def write_lob_bench(
    out: pathlib.Path, result: LobBenchResult, name: str, made_by: dict[str, Any]
) -> None:
    """Writes the report, the numbers, the table and the figures: all of them or none.

    Args:
      out: folder.
      result: what to write.
      name: of the generated sequences, the title of the report.
      made_by: provenance, in summary.json.
    """
    numbers = to_json(summary(result) | made_by)
    report = markdown(result, name)
    frame = result.table().round(FINE)
    text = lambda words: lambda path: path.write_text(words, encoding="utf-8")
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        REPORT: text(report),
        SUMMARY: text(numbers),
        TABLE: lambda path: frame.to_csv(path, index=False),
        SCORES: result.plot,
        RESPONSES: lambda path: draw_responses(path, result),
        DIVERGENCE: lambda path: draw_divergence(path, result),
        ROC: lambda path: draw_roc(path, result),
    }
    write_together(out, writers)


def summary(result: LobBenchResult) -> dict[str, Any]:
    """The numbers of a run as JSON values; None where there is none."""
    return {
        "real": result.real._asdict(),
        "generated": result.generated._asdict(),
        "levels": result.levels,
        "seed": result.seed,
        "averages": {
            "l1": _averages(result.l1, result.floor_l1),
            "wasserstein": _averages(result.wasserstein, result.floor_wasserstein),
        },
        "scores": {
            row["score"]: {key: _plain(value) for key, value in row.items() if key != "score"}
            for row in result.table().head(len(result.scores)).to_dict("records")
        },
        "divergence": {
            "messages": result.divergence.messages.tolist(),
            "generated": _by_score(result.divergence.generated),
            "floor": _by_score(result.divergence.floor),
        },
        "impact": {
            "score": _interval(result.impact.score),
            "floor": _plain(result.floor_impact),
            "lags": LAGS.tolist(),
            "differences": dict(zip(KINDS, _plain(result.impact.differences), strict=True)),
            "real": _responses(result.impact.real),
            "generated": _responses(result.impact.generated),
        },
        "discriminator": {
            "auc": _told(result.discriminator),
            "floor": _told(result.floor_discriminator),
        },
    }


def markdown(result: LobBenchResult, name: str) -> str:
    """The table, what it rests on, and how to read it."""
    table = result.table()
    past = bool(np.isfinite(table["l1_conditioning"]).any())
    metrics = (("L1", "l1"), ("W1", "wasserstein"))
    heads = ["score"]
    for head, _ in metrics:
        heads += [head, "99 %", "floor", *(["past"] if past else [])]
    lines = [
        f"# LOB-Bench of {name}",
        "",
        *(
            f"* {which}: {size.sequences:,} sequences, {size.messages:,} messages"
            for which, size in (("real", result.real), ("generated", result.generated))
        ),
        f"* books compared on {result.levels} levels; seed {result.seed}",
        "",
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 1)}",
    ]
    for number, row in enumerate(table.to_dict("records")):
        cells = [row["score"] if number < len(result.scores) else f"**{row['score']}**"]
        for _, metric in metrics:
            low, high = row[f"{metric}_low"], row[f"{metric}_high"]
            cells += [
                _number(row[metric]),
                f"{_number(low)} to {_number(high)}" if np.isfinite(low) else "-",
                _number(row[f"{metric}_floor"]),
                *([_number(row[f"{metric}_conditioning"])] if past else []),
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_others(result), "", *_remarks(past)]) + "\n"


def comparison(results: dict[str, LobBenchResult]) -> str:
    """Averages, impact and discriminator of several runs by name, each with its floor."""
    heads = [f"{metric} {name}" for metric in ("L1", "W1") for name in Averages._fields]
    heads = ["generated", *heads, "impact, ticks", "AUC"]
    lines = [
        "# LOB-Bench of several generators",
        "",
        f"| {' | '.join(heads)} |",
        f"|---|{'---:|' * (len(heads) - 1)}",
    ]
    for name, result in results.items():
        found = [*result.l1, *result.wasserstein, result.impact.score]
        value = [x.value for x in found] + [_mean(result.discriminator.auc)]
        floors = [*result.floor_l1.T, *result.floor_wasserstein.T, result.floor_impact]
        floor = [_mean(x) for x in [*floors, result.floor_discriminator.auc]]
        cells = [f"{_number(a)} ({_number(b)})" for a, b in zip(value, floor, strict=True)]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return "\n".join([*lines, "", "In brackets the noise floor."]) + "\n"


def _mean(values: np.ndarray) -> float:
    """Mean of what is finite; nan where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _others(result: LobBenchResult) -> list[str]:
    """Drift, responses and discriminator in a line each."""
    found, floor = result.divergence.generated, result.divergence.floor
    known = np.isfinite(found).any(1) if found.size else np.zeros(len(found), bool)
    lines = []
    if known.any():
        first, last = (_number(float(np.nanmean(found[known, block]))) for block in (0, -1))
        low, high = (_number(float(np.nanmean(floor[known, block]))) for block in (0, -1))
        lines.append(
            f"* divergence, mean L1 of a hundred messages: first {first} (floor {low}), messages "
            f"up to {result.divergence.messages[-1]:,} {last} (floor {high})"
        )
    score = result.impact.score
    lines += [
        f"* impact, mean summed difference of responses: {_number(score.value)} ticks "
        f"({_number(score.low)} to {_number(score.high)}), floor "
        f"{_number(_mean(result.floor_impact))}",
        f"* discriminator: {area(result.discriminator)}, floor {area(result.floor_discriminator)}",
    ]
    return lines


def _remarks(past: bool) -> list[str]:
    """What a reader must know to use the table."""
    lines = [
        "L1 is the total variation of histograms, W1 the Wasserstein distance in pooled standard "
        f"deviations. The averages are over those of the {len(UNCONDITIONAL)} unconditional scores "
        "that have a number and a floor. The floor is the mean of the same number over random "
        "halves of the real sequences against each other: what is not above it cannot be told from "
        "the market with data of this size.",
    ]
    if past:
        lines += [
            "",
            "The past is the conditioning data in place of the generated: what repeating them "
            "would score.",
        ]
    return lines


def _number(value: float) -> str:
    return f"{value:.{DIGITS}f}" if np.isfinite(value) else "-"


def _averages(found: Averages, floor: np.ndarray) -> dict[str, Any]:
    """Averages over scores, each with its floor."""
    return {
        name: _interval(getattr(found, name)) | {"floor": _plain(floor[:, number])}
        for number, name in enumerate(Averages._fields)
    }


def _interval(found: Interval) -> dict[str, Any]:
    return {name: _plain(value) for name, value in found._asdict().items()}


def _by_score(table: np.ndarray) -> dict[str, Any]:
    return {score.name: _plain(row) for score, row in zip(UNCONDITIONAL, table, strict=True)}


def _responses(found: Response) -> dict[str, Any]:
    return {
        kind: {name: _plain(rows[number]) for name, rows in found._asdict().items()}
        for number, kind in enumerate(KINDS)
    }


def _told(found: Discrimination) -> list[Any]:
    return _plain(found.auc)


def _plain(value: Any) -> Any:
    """A JSON value: numbers rounded, None for what is not finite."""
    if isinstance(value, np.ndarray):
        return [_plain(float(x)) for x in value]
    return round(float(value), FINE) if np.isfinite(value) else None
