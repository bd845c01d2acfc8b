"""The report of distances from exact on disk, and samples that a killed run goes on from."""

import hashlib
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxmars.errors import InputError
from jaxmars.files import to_json, write_atomically, write_together
from jaxmars.tasks.verify_policy import ATTRIBUTES
from jaxmars.tasks.verify_policy_statistics import (
    LEVEL,
    POWER,
    START,
    STATISTICS,
    TRAJECTORY,
    Variant,
    trajectory_row,
)
from jaxmars.tasks.verify_statistics import markdown_table

TABLE, NUMBERS, FIGURE = "policy.md", "policy.json", "policy.png"
LENGTHS, ANCHORED, TESTS = "policy_lengths.csv", "policy_anchored.csv", "policy_tests.csv"
CONTROLS, PRECISIONS = "policy_controls.csv", "policy_precisions.csv"
FILES = (TABLE, NUMBERS, FIGURE, LENGTHS, ANCHORED, CONTROLS, PRECISIONS, TESTS)
SAMPLES = "samples"  # folder of unfinished and finished samples
DIGEST = 12  # hex digits of an identity in a file name
DIGITS = 6  # of numbers; distances lie powers of ten apart, so decimals would not do

PANEL_INCHES = (6.6, 4.8)
DOTS_PER_INCH = 140
INK, INK_QUIET, QUIET, BAND, MARK = "#1f5fa8", "#495057", "#adb5bd", "#e9ecef", "#c4501b"
ATTRIBUTE_COLOURS = ("#0b7285", "#5f3dc4", "#2b8a3e", "#e67700")
STATISTIC_COLOURS = ("#1f5fa8", "#0b7285", "#5f3dc4", "#2b8a3e", "#e67700", "#c2255c")
STATISTIC_MARKERS = ("o", "s", "^", "D", "v", "P")
CLEAR = 1.96  # standard errors of a 95 % interval
ROW_SPREAD = 0.66  # of the height of a row that its statistics fill
TEXT_NOTE = 7.5
LEAST_SHOWN = 1e-7  # nats; floors the logarithmic axis
LABEL_GAP = 1.08  # of the window, to where labels of policies begin
LABEL_STEP = 0.033  # of the height of the axes, least between two labels
CONTROL_AT = 1 / 32  # of the window, where labels of controls begin
ROOM = 3  # factor of KL shown beyond the least and the largest
KEY: dict[str, Any] = {
    "fontsize": TEXT_NOTE,
    "frameon": False,
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
}


class Report(NamedTuple):
    """Everything that was found."""

    title: str
    notes: list[str]
    window: int  # orders
    lengths: pd.DataFrame  # distance_table of the readers of the last n orders
    anchored: pd.DataFrame  # anchored_table
    controls: pd.DataFrame  # distance_table of the whole window at other temperatures, by "control"
    precisions: pd.DataFrame  # distance_table of the whole window decoded in fewer bits
    tests: pd.DataFrame | None  # compare_samples, None if no trajectories were run


def resumed_sample(
    folder: pathlib.Path,
    variant: Variant,
    start_of: np.ndarray,
    start_mid: np.ndarray,
    watch: Callable[[int, int], object] = lambda done, wanted: None,
) -> pd.DataFrame:
    """A variant's trajectories in numbers; those already in its file are not run again.

    Args:
      folder: of the files; a variant of another identity has another file.
      variant: what to run.
      start_of: `[trajectories]` which start each begins from.
      start_mid: `[starts]` mids, ticks.
      watch: called after every trajectory with what is done and wanted.

    Returns:
      Rows of `trajectory_row`, by number.

    Raises:
      InputError: a file in the way that is no such sample.
    """
    about = json.dumps({"name": variant.name, **variant.identity}, sort_keys=True)
    digest = hashlib.sha256(about.encode()).hexdigest()[:DIGEST]
    plain_name = "".join(x if x.isalnum() else "-" for x in variant.name)
    path = folder / f"{plain_name}-{digest}.parquet"
    table = _read_sample(path) if path.is_file() else pd.DataFrame()
    rows = table.to_dict("records")
    known = {int(row[TRAJECTORY]) for row in rows}
    missing = [number for number in range(len(start_of)) if number not in known]
    for finished in variant.run(np.array(missing, int)) if missing else ():
        start = int(start_of[finished.number])
        rows.append(trajectory_row(finished, start, float(start_mid[start])))
        table = pd.DataFrame(rows)
        write_atomically(path, lambda part, table=table: table.to_parquet(part))
        watch(len(rows), len(start_of))
    table = pd.DataFrame(table[table[TRAJECTORY] < len(start_of)])
    table = table.astype({TRAJECTORY: int, START: int})
    return table.sort_values(by=TRAJECTORY, ignore_index=True)


def _read_sample(path: pathlib.Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=[TRAJECTORY, START, *STATISTICS])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no sample of trajectories, delete it: {error}") from error


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [f"# {report.title}", "", *[f"* {note}" for note in report.notes], ""]
    parts = [
        "\n".join(lines),
        "## Reading only the last n orders\n\nKL(whole window || last n orders) of the next order "
        "over all joint tokens, nats per order, with its standard error between sessions; total "
        "variation; nats lost on the order that really came; KL of each attribute's marginal.\n",
        markdown_table(_with_errors(report.lengths)),
        f"## anchored(C)\n\nReads {report.window} - C + 1 to {report.window} orders, each number "
        "as often; means of the table above, interpolated linearly between its lengths.\n",
        markdown_table(_with_errors(report.anchored)),
        "## For scale\n\nThe whole window at another temperature.\n",
        markdown_table(_with_errors(report.controls)),
        "## In fewer bits\n\nThe whole window, the second half of it decoded from a cache, beside "
        "the whole window in float32.\n",
        markdown_table(_with_errors(report.precisions)),
    ]
    if report.tests is not None:
        parts += [
            "## Trajectories\n\nEach variant beside exact, from the same starts with other seeds. "
            "Difference of means, its standard error, and the smallest shift found "
            f"with {POWER:.0%} probability, in standard deviations of a start; distance of "
            "Kolmogorov and Smirnov, permutation p-value, corrected over a variant's statistics "
            f"(Holm); differs: corrected p below {LEVEL}.\n",
            markdown_table(_with_errors(report.tests)).replace("**no**", "no"),
        ]
    return "\n".join(parts)


def _with_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text with few significant digits, errors beside what they belong to."""
    shown = {}
    for name, column in table.items():
        error = f"{name}_error"
        if str(name).endswith("_error"):
            continue
        if column.dtype.kind != "f":
            shown[name] = column
        elif error in table:
            pairs = zip(column, table[error], strict=True)
            shown[name] = [f"{value:.3g} ± {spread:.1g}" for value, spread in pairs]
        else:
            shown[name] = [f"{value:.3g}" for value in column]
    return pd.DataFrame(shown)


def write_policy(out: pathlib.Path, report: Report, made_by: dict[str, Any]) -> None:
    """Writes the report, its numbers, tables and figure: all of them or none."""
    numbers = {
        "title": report.title,
        "notes": report.notes,
        "window": report.window,
        "lengths": _rows(report.lengths),
        "anchored": _rows(report.anchored),
        "controls": _rows(report.controls),
        "precisions": _rows(report.precisions),
        "tests": None if report.tests is None else _rows(report.tests),
    }
    text, facts = markdown(report), to_json(numbers | made_by)
    table = lambda frame: lambda path: frame.to_csv(path, index=False)
    writers: dict[str, Callable[[pathlib.Path], object]] = {
        FIGURE: lambda path: draw(path, report),
        TABLE: lambda path: path.write_text(text, encoding="utf-8"),
        NUMBERS: lambda path: path.write_text(facts, encoding="utf-8"),
        LENGTHS: table(report.lengths),
        ANCHORED: table(report.anchored),
        CONTROLS: table(report.controls),
        PRECISIONS: table(report.precisions),
    }
    if report.tests is not None:
        writers[TESTS] = table(report.tests)
    write_together(out, writers)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them, None for what is not finite."""
    short = lambda x: float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None
    return [
        {str(name): short(x) if isinstance(x, float) else x for name, x in row.items()}
        for row in table.to_dict("records")
    ]


def draw(path: pathlib.Path, report: Report) -> None:
    """KL against the number of orders read; differences of trajectories beside it, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = 1 if report.tests is None else 2
    width, height = PANEL_INCHES
    figure, grid = plt.subplots(
        1, panels, figsize=(panels * width, height), layout="constrained", squeeze=False
    )
    _draw_lengths(grid[0, 0], report)
    if report.tests is not None:
        _draw_tests(grid[0, 1], report.tests)
    for axes in grid[0]:
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(report.title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)


def _draw_lengths(axes: Any, report: Report) -> None:
    """KL of the next order against orders read, and the mean of every anchored policy."""
    shown = report.lengths.query("orders < @report.window")
    orders = shown["orders"].to_numpy()
    kl, error = shown["kl"].to_numpy(), np.nan_to_num(shown["kl_error"].to_numpy())
    low = np.maximum(kl - CLEAR * error, LEAST_SHOWN)
    axes.fill_between(orders, low, kl + CLEAR * error, color=INK, alpha=0.18, lw=0)
    axes.plot(orders, kl, "o-", color=INK, ms=4, lw=1.8, label="next order, last n read")
    axes.plot([], [], color=MARK, lw=1.4, label="anchored(C), mean over the n it reads")
    for name, colour in zip(ATTRIBUTES, ATTRIBUTE_COLOURS, strict=True):
        axes.plot(orders, shown[f"kl_{name}"], color=colour, lw=0.9, label=f"its {name} alone")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    least = min(report.anchored["kl"].min(), kl[kl > 0].min(initial=1.0))
    most = max(*report.controls["kl"], *kl)
    axes.set_ylim(max(least / ROOM, LEAST_SHOWN), most * ROOM)
    axes.set_xlim(right=report.window * 2)
    _mark_policies(axes, report)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(f"orders read, of a window of {report.window}")
    axes.set_ylabel("KL from reading the whole window, nats per order")
    axes.grid(color=BAND, lw=0.6)
    axes.set_axisbelow(True)
    axes.legend(**KEY, ncols=3)


def _mark_policies(axes: Any, report: Report) -> None:
    """Means of the anchored policies over the orders they read, and the controls for scale."""
    table = report.anchored.sort_values("kl")
    low, high = np.log(axes.get_ylim())
    heights = np.log(table["kl"].to_numpy())
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + LABEL_STEP * (high - low))
    for row, height in zip(table.to_dict("records"), np.exp(heights), strict=True):
        axes.plot([row["least_read"], report.window], [row["kl"]] * 2, color=MARK, lw=1.4)
        x, label = report.window * LABEL_GAP, f"C = {row['growth']}"
        axes.text(x, height, label, fontsize=TEXT_NOTE, color=MARK, va="center")
    for row in report.controls.to_dict("records"):
        axes.axhline(row["kl"], color=QUIET, lw=1.0, ls=(0, (4, 3)), zorder=1)
        x, label = report.window * CONTROL_AT, str(row["control"])
        axes.text(x, row["kl"], label, fontsize=TEXT_NOTE, color=INK_QUIET, va="bottom")


def _draw_tests(axes: Any, tests: pd.DataFrame) -> None:
    """Differences of means with 95 % intervals, and the shifts that would have been found."""
    names = list(dict.fromkeys(tests["variant"]))
    offsets = np.linspace(-ROW_SPREAD / 2, ROW_SPREAD / 2, len(STATISTICS))
    thickness = ROW_SPREAD / (len(STATISTICS) - 1)
    styles = zip(STATISTICS, offsets, STATISTIC_COLOURS, STATISTIC_MARKERS, strict=True)
    for statistic, offset, colour, marker in styles:
        own = tests[tests["statistic"] == statistic].set_index("variant").loc[names]
        height = np.arange(len(names)) + offset
        found = np.minimum(own["detectable"].to_numpy(), np.abs(tests["difference"]).max() + 1)
        axes.barh(height, 2 * found, left=-found, height=thickness, color=BAND, lw=0)
        axes.errorbar(
            own["difference"], height, xerr=CLEAR * own["difference_error"], fmt="none",
            ecolor=colour, elinewidth=0.9,
        )  # fmt: skip
        for differs in (False, True):
            part = own["differs"].to_numpy() == differs
            axes.scatter(
                own["difference"][part], height[part], marker=marker, s=26, zorder=3,
                facecolor=colour if differs else "white", edgecolor=colour, lw=1.1,
            )  # fmt: skip
        label = statistic.replace("_", " ")
        axes.plot([], [], marker=marker, color=colour, mfc="white", ls="", ms=5, label=label)
    axes.barh([0], [0], color=BAND, label=f"not found with {POWER:.0%} power")
    axes.plot([], [], "o", color="black", ms=5, label="differs (Holm, 5 %)")
    axes.axvline(0, color=QUIET, lw=0.8, zorder=1)
    axes.set_yticks(np.arange(len(names)), [x.replace(", ", ",\n") for x in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("difference of means from exact, standard deviations of a start")
    axes.legend(**KEY, ncols=4)
