"""Checks our book against every row of recorded LOBSTER days, one message at a time.

Usage: python scripts/check_lobster.py FOLDER

FOLDER holds LOBSTER sample zips (a message and an orderbook file each), or such pairs compressed as
.csv.gz or .csv.xz. Days with more than 5 or 1 levels are also checked as LOBSTER records them with
5 and 1. Prints one line per check; exit code 1 if any row differs, 2 on bad input.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator

from jaxmars.data import LobsterData, cut_levels, one_step_mismatches, read_lobster
from jaxmars.errors import InputError

SMALLER_LEVELS = (5, 1)
COLUMNS = "{:44} {:>6} {:>8} {:>10} {:>9} {:>8}"


def find_days(folder: pathlib.Path, scratch: pathlib.Path) -> Iterator[tuple[str, LobsterData]]:
    """Every pair of message and book file of a folder; zips are unpacked into `scratch`."""
    for archive in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(scratch)
    pairs = [
        (message, message.with_name(message.name.replace("_message_", "_orderbook_")))
        for place in (folder, scratch)
        for message in sorted(place.glob("*_message_*.csv*"))
    ]
    for message, orderbook in pairs:
        if orderbook.exists():
            name = message.name.partition("_message_")[0]
            yield name, read_lobster(message, orderbook)


def check_folder(folder: pathlib.Path) -> int:
    """Prints the table and returns the number of rows that differ."""
    print(COLUMNS.format("day", "levels", "rows", "mismatches", "revealed", "seconds"))
    rows = mismatches = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, day in find_days(folder, pathlib.Path(scratch)):
            recorded = day.l2.price.shape[2]
            for levels in (recorded, *(n for n in SMALLER_LEVELS if n < recorded)):
                begun = time.perf_counter()
                data = cut_levels(day, levels)
                report = one_step_mismatches(data)
                seconds = time.perf_counter() - begun
                share = f"{report.revealed / max(report.checked, 1):.1%}"
                counts = (levels, len(data.sec), report.mismatched, share, f"{seconds:.2f}")
                print(COLUMNS.format(name, *counts), flush=True)
                for reason, where in report.first_rows.items():
                    if where:
                        print(f"  {reason}: {report.by_reason[reason]} rows, first {where}")
                rows += len(data.sec)
                mismatches += report.mismatched
    if not rows:
        raise InputError(f"{folder} holds no LOBSTER day, expected message and orderbook files")
    print(COLUMNS.format("all", "", rows, mismatches, "", ""))
    return mismatches


def main() -> int:
    """Command line entry."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="folder of LOBSTER files")
    folder = parser.parse_args().folder
    try:
        return 1 if check_folder(folder) else 0
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
