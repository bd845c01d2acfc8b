"""Sends a million random messages to the compiled book and to the oracle.

Every book, fill, trade record, snapshot, mid price, spread and status must be equal after every
message. Exits with 1 at the first difference and prints the message that caused it.

  python scripts/check_book.py                  # about 1.2 million messages, a few minutes
  python scripts/check_book.py --messages 20000 # a quick look
"""

import argparse
import pathlib
import sys
import time
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests"))

from oracles.book_differential import (  # pyright: ignore[reportMissingImports]
    MIXES,
    Record,
    compiled_outputs,
    compiled_record,
    describe_message,
    drawn_flow,
    expected_record,
    first_difference,
)

CAPACITIES = (2, 8, 32, 128)
MAX_TRADES = 4
LEVELS = 10
BOOKS = 8  # flows run side by side
LENGTH = 1250  # messages of one flow
TOTAL = 1_200_000


class Tally(NamedTuple):
    """What the messages of one row of the table did."""

    messages: int
    fills: int
    multi_level: int  # fills at more than one price
    cancels: int
    rejected: int
    deepest: int  # most orders that rested on one side
    seconds: float


def check(mix_name: str, capacity: int, rounds: int, seed: int) -> Tally:
    """Runs `rounds` batches of flows; exits the program at the first difference."""
    started = time.perf_counter()
    sums, deepest = np.zeros(5, np.int64), 0
    for batch in range(rounds):
        seeds = [seed + batch * BOOKS + book for book in range(BOOKS)]
        rows = np.stack([drawn_flow(s, MIXES[mix_name], capacity, LENGTH)[0] for s in seeds])
        record, sound = compiled_record(compiled_outputs(capacity, MAX_TRADES, LEVELS)(rows))
        for book in range(BOOKS):
            expected = expected_record(rows[book], capacity, MAX_TRADES, LEVELS)
            ours = Record(*(x[book] for x in record))
            difference = first_difference(rows[book], ours, expected)
            if difference is None and not sound[book].all():
                at = int(np.argmin(sound[book]))
                difference = f"message {at}: {describe_message(rows[book][at])}\nbook not sound"
            if difference is not None:
                print(f"DIFFERENCE: mix {mix_name}, capacity {capacity}, seed {seeds[book]}")
                sys.exit(f"{difference}")
        sums += counts(record.fills)
        deepest = max(deepest, int((record.orders[..., 1] > 0).sum(-1).max()))
    messages, fills, multi_level, cancels, rejected = sums.tolist()
    seconds = time.perf_counter() - started
    return Tally(messages, fills, multi_level, cancels, rejected, deepest, seconds)


def counts(fills: np.ndarray) -> np.ndarray:
    """Messages, fills, fills on several levels, cancels and rejections in `[..., 6]` fills."""
    _, _, filled, cancelled, first, last = np.moveaxis(fills, -1, 0)
    rejected = (fills[..., 0] != 0) & (filled == 0) & (cancelled == 0)
    parts = (filled > 0, (filled > 0) & (first != last), cancelled > 0, rejected)
    return np.array([filled.size, *(part.sum() for part in parts)], np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares the book with the oracle.")
    parser.add_argument("--messages", type=int, default=TOTAL, help="messages in all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first flow")
    args = parser.parse_args()
    cases = [(mix, capacity) for mix in MIXES for capacity in CAPACITIES]
    rounds = max(1, round(args.messages / (len(cases) * BOOKS * LENGTH)))
    heads = ("messages", "fills", "multi-level", "cancels", "rejected", "deepest", "seconds")
    print(f"{'mix':8} {'capacity':>8} " + " ".join(f"{head:>11}" for head in heads))
    rows = []
    for number, (mix, capacity) in enumerate(cases):
        row = check(mix, capacity, rounds, args.seed + number * rounds * BOOKS)
        rows.append(row)
        print(f"{mix:8} {capacity:8} " + " ".join(f"{value:11,.0f}" for value in row), flush=True)
    checked = sum(row.messages for row in rows)
    print(f"no difference in {checked:,} messages, {sum(row.seconds for row in rows):.0f} s")


if __name__ == "__main__":
    main()
