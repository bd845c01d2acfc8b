"""Sends a million random messages to the compiled exchange and to the oracle.

Half go to the book alone (`apply_order`), half are trading days: rules, self-trade policies, call
auctions and accounts. Every book, fill, trade record, snapshot, mid price, spread, account and
status must be equal after every message. Exits with 1 at the first difference and prints the
message that caused it.

  python scripts/check_book.py                  # about 1.2 million messages, a few minutes
  python scripts/check_book.py --messages 20000 # a quick look
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
from oracles.exchange_differential import (  # pyright: ignore[reportMissingImports]
    RULES,
    DayRecord,
    drawn_day,
    expected_day,
    played_day,
)

CAPACITIES = (2, 8, 32, 128)
DAY_MIXES = ("kinds", "faulty", "huge", "crowded")
DAY_CAPACITIES = (4, 16)
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


Flows = tuple[np.ndarray, Any, np.ndarray]  # rows, record, invariants; leading axis of books


def check(
    name: str,
    rounds: int,
    seed: int,
    play: Callable[[Sequence[int]], Flows],
    expect: Callable[[np.ndarray], Any],
) -> Tally:
    """Runs `rounds` batches of flows; exits the program at the first difference.

    Args:
      name: printed with a difference.
      rounds: batches of `BOOKS` flows.
      seed: of the first flow.
      play: draws the flows of some seeds and sends them to the compiled exchange.
      expect: what the oracle makes of one flow.
    """
    started = time.perf_counter()
    sums, deepest = np.zeros(5, np.int64), 0
    for batch in range(rounds):
        seeds = [seed + batch * BOOKS + book for book in range(BOOKS)]
        rows, record, sound = play(seeds)
        for book in range(BOOKS):
            ours = type(record)(*(x[book] for x in record))
            difference = first_difference(rows[book], ours, expect(rows[book]))
            if difference is None and not sound[book].all():
                at = int(np.argmin(sound[book]))
                difference = f"message {at}: {describe_message(rows[book][at])}\nbook not sound"
            if difference is not None:
                print(f"DIFFERENCE: {name}, seed {seeds[book]}")
                sys.exit(f"{difference}")
        sums += counts(record.fills)
        deepest = max(deepest, int((record.orders[..., 1] > 0).sum(-1).max()))
    messages, fills, multi_level, cancels, rejected = sums.tolist()
    seconds = time.perf_counter() - started
    return Tally(messages, fills, multi_level, cancels, rejected, deepest, seconds)


def check_book(mix: str, capacity: int, rounds: int, seed: int) -> Tally:
    """Messages of one mix to the book alone."""

    def play(seeds: Sequence[int]) -> Flows:
        rows = np.stack([drawn_flow(s, MIXES[mix], capacity, LENGTH)[0] for s in seeds])
        record, sound = compiled_record(compiled_outputs(capacity, MAX_TRADES, LEVELS)(rows))
        return rows, record, sound

    def expect(rows: np.ndarray) -> Record:
        return expected_record(rows, capacity, MAX_TRADES, LEVELS)

    return check(f"mix {mix}, capacity {capacity}", rounds, seed, play, expect)


def check_days(name: str, mix: str, capacity: int, rounds: int, seed: int) -> Tally:
    """Trading days of one mix under one set of rules."""
    rules = RULES[name]

    def play(seeds: Sequence[int]) -> Flows:
        rows = np.stack([drawn_day(s, MIXES[mix], rules, capacity, LENGTH) for s in seeds])
        return rows, *played_day(rows, rules, capacity)

    def expect(rows: np.ndarray) -> DayRecord:
        return expected_day(rows, rules, capacity)

    title = f"rules {name}, mix {mix}, capacity {capacity}"
    return check(title, rounds, seed, play, expect)


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
    books = [(mix, capacity) for mix in MIXES for capacity in CAPACITIES]
    days = [(name, mix, c) for name in RULES for mix in DAY_MIXES for c in DAY_CAPACITIES]
    rounds = lambda cases: max(1, round(args.messages / 2 / (len(cases) * BOOKS * LENGTH)))
    heads = ("messages", "fills", "multi-level", "cancels", "rejected", "deepest", "seconds")
    print(f"{'rules':15} {'mix':8} {'capacity':>8} " + " ".join(f"{head:>11}" for head in heads))
    checked, seconds, seed = 0, 0.0, args.seed
    for case in [("", *book) for book in books] + days:
        name, mix, capacity = case
        num = rounds(days if name else books)
        if name:
            row = check_days(name, mix, capacity, num, seed)
        else:
            row = check_book(mix, capacity, num, seed)
        checked, seconds, seed = checked + row.messages, seconds + row.seconds, seed + num * BOOKS
        cells = " ".join(f"{value:11,.0f}" for value in row)
        print(f"{name:15} {mix:8} {capacity:8} {cells}", flush=True)
    print(f"no difference in {checked:,} messages, {seconds:.0f} s")


if __name__ == "__main__":
    main()
