"""What a training run leaves for people: the table of its lines and the picture of its losses."""

import pathlib
import textwrap
from typing import Any

import pandas as pd

from jaxmars.files import write_together
from jaxmars.train.log import LINES, read_lines

TABLE, FIGURE = "metrics.csv", "loss.png"
FIGURE_INCHES = (8.0, 4.5)
DOTS_PER_INCH = 130
TITLE_WIDTH = 100  # characters
ERRORS = 2  # standard errors of the validation bars


def write_losses(out: pathlib.Path, title: str) -> pd.DataFrame:
    """Writes `metrics.csv` and `loss.png` of the run in a folder.

    Args:
      out: folder of the run.
      title: of the picture.

    Returns:
      The table, one row per line of progress.
    """
    table = pd.DataFrame(read_lines(out / LINES))
    writers: dict[str, Any] = {TABLE: lambda path: table.to_csv(path, index=False)}
    if not table.empty:
        writers[FIGURE] = lambda path: draw(path, table, title)
    write_together(out, writers)
    return table


def draw(path: pathlib.Path, table: pd.DataFrame, title: str) -> None:
    """Writes the losses by step as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=FIGURE_INCHES, layout="constrained")
    axes.plot(table["step"], table["loss"], color="C0", linewidth=1, label="training")
    if "validation" in table:
        held_out = table.dropna(subset="validation")
        axes.errorbar(
            held_out["step"],
            held_out["validation"],
            ERRORS * held_out["validation_error"],
            color="C3",
            marker="o",
            markersize=4,
            capsize=2,
            label=f"validation ± {ERRORS} standard errors",
        )
    axes.set(xlabel="step", ylabel="loss, nats per order")
    axes.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")
    plt.close(figure)
