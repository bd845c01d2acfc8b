"""Reports of verifications on disk: a Markdown table for people, JSON for programs."""

import pathlib
from typing import Any

import numpy as np
import pandas as pd

from jaxmars.files import to_json, write_together

FINE = 6  # decimals of the numbers


def write_report(
    out: pathlib.Path, name: str, text: str, numbers: dict[str, Any], made_by: dict[str, Any]
) -> None:
    """Writes NAME.md and NAME.json: both of them or none.

    Args:
      out: folder, made if absent.
      name: of the report.
      text: Markdown.
      numbers: tables, named tuples, arrays and numbers.
      made_by: provenance.
    """
    facts = to_json(plain(numbers) | made_by)
    write_together(
        out,
        {
            f"{name}.md": lambda path: path.write_text(text, encoding="utf-8"),
            f"{name}.json": lambda path: path.write_text(facts, encoding="utf-8"),
        },
    )


def report_files(name: str) -> tuple[str, str]:
    """The files of a report."""
    return f"{name}.md", f"{name}.json"


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers rounded, None for what is not finite."""
    if isinstance(value, pd.DataFrame):
        return [plain(row) for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return round(float(value), FINE) if np.isfinite(value) else None
    if isinstance(value, int | np.integer):
        return int(value)
    return value
