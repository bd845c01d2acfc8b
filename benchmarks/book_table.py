"""The lines `book.py` prints, and its closing table."""

from collections.abc import Sequence
from typing import Any

MOST_TOLD = 2000  # characters of a failure
HEAD = (
    f"{'slots':>5} {'books':>5} {'output':>15}  {'M msg/s best':>12} {'median':>7}  exact  "
    "beside (M msg/s best; times as fast: best, median, worst)"
)


def print_row(record: dict) -> None:
    """One line of the table."""
    ours = record["jaxmars"]
    line = (
        f"{record['slots']:5} {record['books']:5} {record['output']:>15}  {ours.best / 1e6:12.3f} "
        f"{ours.median / 1e6:7.3f}  {'yes' if record['exact'] else 'NO':5}"
    )
    for name in ("peer", "dict", "ladder"):
        if name in record:
            ratio = record[f"times_{name}"]
            exact = record.get(f"{name}_exact", True)
            line += (
                f"  {name} {record[name].best / 1e6:.3f}{'' if exact else ' (WRONG BOOKS)'}: "
                f"{ratio.best:.3g}, {ratio.median:.3g}, {ratio.worst:.3g}x"
            )
    if "share_of_memory_bound" in record:
        line += f"  {record['share_of_memory_bound']:.3g} of the memory bound"
    print(line, flush=True)


def failed(slots: int, num_books: int, output: str, reason: Exception) -> dict:
    """The row of an output that could not be run, and its line."""
    text = f"{type(reason).__name__}: {reason}"[:MOST_TOLD]
    print(f"{slots:5} {num_books:5} {output:>15}  FAILED, {text}", flush=True)
    return {"slots": slots, "books": num_books, "output": output, "failed": text}


def best_of_settings(runs: Sequence[dict]) -> list[dict]:
    """Per row of the table, our best median over the settings beside the peer's best."""
    best: dict[tuple, dict] = {}
    for run in runs:
        for row in run["rows"]:
            if "failed" in row:
                continue
            found = best.setdefault((row["slots"], row["books"], row["output"]), {})
            for side in {"jaxmars", "peer"} & set(row):
                rate = row[side]["median"]
                if rate > found.get(side, (0.0, ""))[0]:
                    found[side] = (rate, run["setting"])
    table = []
    for (slots, books, output), found in best.items():
        record: dict[str, Any] = {"slots": slots, "books": books, "output": output}
        for side, (rate, setting) in found.items():
            record |= {side: rate, f"{side}_setting": setting}
        if "peer" in found:
            record["times_peer"] = record["jaxmars"] / record["peer"]
        table.append(record)
    return table


def print_best(table: Sequence[dict]) -> None:
    """The closing lines: medians, each side in its best setting."""
    print("\nmedians, each side in its best setting")
    for row in table:
        line = (
            f"{row['slots']:5} {row['books']:5} {row['output']:>15}  "
            f"{row['jaxmars'] / 1e6:.3f} M/s ({row['jaxmars_setting']})"
        )
        if "peer" in row:
            line += f"  peer {row['peer'] / 1e6:.4f} M/s ({row['peer_setting']})"
            line += f"  {row['times_peer']:.1f}x"
        print(line)
