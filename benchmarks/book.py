"""How many messages per second does the book match, and how does that compare?

One question, one table: 1, 16, 128 and 1024 books of 128 and 512 slots per side, up to 16,384 on an
accelerator, on a steady flow that differs from book to book (beyond 1,024 books the flows repeat).
Every contestant runs in one process on the same flow, and the final books, fills and quotes are
compared with a plain Python book before a number is printed.

  python benchmarks/book.py --out benchmarks/results/book_cpu.json
  python benchmarks/book.py --peer PATH      # beside JaxMARL-HFT's book, from its own checkout

On a CPU the whole is measured in the settings of `SETTINGS`, each in a process of its own because
XLA reads them when it starts; the last lines set our best setting beside the peer's best.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import book_peers
import book_table
import common
import jax
import jax.numpy as jnp
import numpy as np
import roofline
from book_flow import Flow, generate

from jaxmars.book import (
    Book,
    apply_order,
    best_key,
    book_from_orders,
    l2_snapshot,
    l2_update,
    resting_orders,
)
from jaxmars.book.onchip import match_on_chip
from jaxmars.book.state import NO_KEY
from jaxmars.types import L2, Fills, Order, Side, Trades

PER_SIDE = {128: 64, 512: 250}  # resting orders per side by slots
# Per book, by number of books.
MESSAGES = {1: 4000, 16: 1000, 128: 250, 1024: 60, 4096: 60, 16_384: 60}
# The peer takes seconds for more.
PEER_MESSAGES = {1: 2000, 16: 200, 128: 24, 1024: 6, 4096: 6, 16_384: 6}
MOST_ON_CPU = 1024  # books
# Messages per book: fewer take an accelerator less time than calling it.
LEAST_ON_ACCELERATOR = 500
DISTINCT = 1024  # flows; more books repeat them
BASELINE_BOOKS = (1, 128)  # where the single-core baselines are run
MAX_TRADES, LEVELS = 8, 10
ROUNDS, SECONDS = 11, 1.5


class Setting(NamedTuple):
    """How XLA:CPU runs the loop over messages."""

    environment: dict[str, str]
    chunk: dict[int, int]  # books matched together, by slots: as many as its cache holds


IN_CACHE = {128: 64, 512: 16}
ONE_THREAD = {"NPROC": "1"}
ONE_FUNCTION = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000000"
SETTINGS = {
    "default": Setting({}, IN_CACHE),
    "one thread": Setting(ONE_THREAD, IN_CACHE),
    "one function": Setting(ONE_THREAD | {"XLA_FLAGS": ONE_FUNCTION}, {128: 1, 512: 1}),
}
HERE = "as it is"  # the environment this process was started in


class Output(NamedTuple):
    """What is returned for every message."""

    max_trades: int
    keeps_levels: bool  # whether a snapshot is carried from message to message
    view: Callable[[Book, Fills, L2], Any]


def quotes(book: Book) -> jax.Array:
    """Best bid and ask, `[2]` int32 ticks, 0 if none."""
    key = best_key(book)
    return jnp.where(key == NO_KEY, 0, jnp.abs(key))


OUTPUTS = {
    "quotes": Output(
        0, False, lambda book, fills, l2: {"filled": fills.filled, "quotes": quotes(book)}
    ),
    "trades": Output(
        MAX_TRADES, False,
        lambda book, fills, l2: {
            "filled": fills.filled, "quotes": quotes(book), "trades": fills.trades,
        },
    ),
    "fills": Output(0, False, lambda book, fills, l2: fills._asdict() | {"quotes": quotes(book)}),
    "levels": Output(0, True, lambda book, fills, l2: fills._asdict() | {"levels": l2}),
    "snapshot": Output(
        0, False, lambda book, fills, l2: fills._asdict() | {"levels": l2_snapshot(book, LEVELS)}
    ),
}  # fmt: skip
PEER_OUTPUTS = ("quotes", "trades")
ON_CHIP = "quotes, on chip"


def matched(books: Book, rows: jax.Array, *, output: Output, chunk: int) -> Any:
    """Runs messages `[books, num, 6]` through as many books."""

    def one(book: Book, rows: jax.Array) -> Any:
        def step(carry: tuple[Book, L2], row: jax.Array) -> Any:
            book, l2 = carry
            order = Order(*row)
            book, fills = apply_order(book, order, max_trades=output.max_trades)
            l2 = l2_update(l2, book, order, fills) if output.keeps_levels else l2
            return (book, l2), output.view(book, fills, l2)

        (book, _), seen = jax.lax.scan(step, (book, l2_snapshot(book, LEVELS)), rows)
        return book, seen

    num = rows.shape[0]
    if num == 1:
        first = jax.tree.map(lambda x: x[0], (books, rows))
        return jax.tree.map(lambda x: x[None], one(*first))
    if num <= chunk:
        return jax.vmap(one)(books, rows)
    split = lambda x: x.reshape(num // chunk, chunk, *x.shape[1:])
    join = lambda x: x.reshape(num, *x.shape[2:])
    if chunk == 1:
        return jax.lax.map(lambda pair: one(*pair), (books, rows))
    pairs = jax.tree.map(split, (books, rows))
    return jax.tree.map(join, jax.lax.map(lambda pair: jax.vmap(one)(*pair), pairs))


def matched_on_chip(books: Book, rows: jax.Array) -> Any:
    """`matched` with the output `quotes`, each book held on chip."""
    books, told = jax.vmap(match_on_chip)(books, Order(*jnp.moveaxis(rows, -1, 0)))
    return books, told._asdict()


def starting_books(flows: Sequence[Flow], slots: int) -> Book:
    """Our books holding the orders the flows start from, with a leading axis of books."""
    start = np.zeros((len(flows), 2 * max(PER_SIDE.values()) + 1, 6), np.int32)
    for row, flow in zip(start, flows, strict=True):
        row[: len(flow.start)] = flow.start
    start = start[:, : max(len(flow.start) for flow in flows)]

    def build(rows: jax.Array) -> Book:
        _, side, price, size, order_id, agent_id = rows.T
        return book_from_orders(slots, side, price, size, order_id, agent_id)

    return jax.jit(lambda x: jax.lax.map(build, x))(jnp.asarray(start))


def is_exact(outputs: Any, flows: Sequence[Flow]) -> bool:
    """Whether fills, quotes, trades and final books equal those of the dict book."""
    outputs = jax.tree.map(np.asarray, outputs)
    for place, flow in enumerate(flows):
        book, seen = jax.tree.map(lambda x, place=place: x[place], outputs)
        orders = [[tuple(order[1:]) for order in resting_orders(book, side)] for side in Side]
        expected = {
            "filled": [sum(fill[1] for fill in fills) for fills in flow.fills],
            "quotes": flow.quotes.tolist(),
        }
        same = [seen[name].tolist() == rows for name, rows in expected.items() if name in seen]
        if "trades" in seen and seen["trades"].size.shape[1]:
            same.append(
                _trade_lists(seen["trades"]) == [fills[:MAX_TRADES] for fills in flow.fills]
            )
        if not all(same) or orders != list(flow.orders):
            return False
    return True


def _trade_lists(trades: Trades) -> list[list[tuple]]:
    """The records in use of every message."""
    rows = np.stack(trades[1:], -1).tolist()
    return [[tuple(record) for record in records if record[1]] for records in rows]


def peer_contestant(
    peer: book_peers.JaxmarlBook, name: str, flows: Sequence[Flow], num_books: int
) -> tuple[common.Contestant, float, bool]:
    """The peer on a prefix of the same flows; its compile seconds; whether its books are right."""
    num = PEER_MESSAGES[num_books]
    sides = tuple(np.stack(x) for x in zip(*(peer.start(flow) for flow in flows), strict=True))
    rows = np.stack([peer.messages(flow, num) for flow in flows])
    sides, rows = repeated((sides, rows), num_books // len(flows))
    run = peer.run_quotes
    if name == "trades":
        run = functools.partial(peer.run_trades, max_trades=MAX_TRADES)
    if num_books == 1:
        sides, rows = jax.tree.map(lambda x: x[0], (sides, rows))
    else:
        run = jax.vmap(run)
    compiled, seconds = common.compile_timed(run, sides, rows)
    ended = jax.tree.map(np.asarray, compiled(sides, rows)[0])
    if num_books == 1:
        ended = jax.tree.map(lambda x: x[None], ended)
    exact = all(
        peer.orders((ended[0][k], ended[1][k])) == book_peers.replayed(flow, num)
        for k, flow in enumerate(flows)
    )
    contestant = common.Contestant(
        lambda _: compiled(sides, rows),
        num * num_books,
        warm_ups=0,  # the run above was one
    )
    return contestant, seconds, exact


def measure(
    slots: int, num_books: int, chunk: int, peer_path: str | None, rounds: int
) -> list[dict]:
    """The rows of the table for one number of books: ours, and the peer's where asked."""
    on_cpu = jax.default_backend() == "cpu"
    num = MESSAGES[num_books] if on_cpu else max(MESSAGES[num_books], LEAST_ON_ACCELERATOR)
    distinct = range(min(num_books, DISTINCT))
    flows = [generate(seed, PER_SIDE[slots], slots, num) for seed in distinct]
    start = starting_books(flows, slots), jnp.asarray(np.stack([flow.messages for flow in flows]))
    books, rows = repeated(start, num_books // len(flows))
    most = None if on_cpu else roofline.bandwidth() / moved_bytes(books)
    table: dict[str, Callable[..., Any]] = {
        name: functools.partial(matched, output=output, chunk=chunk)
        for name, output in OUTPUTS.items()
    }
    if jax.default_backend() == "gpu":
        table[ON_CHIP] = matched_on_chip
    found = []
    for name, run in table.items():
        try:
            compiled, seconds = common.compile_timed(run, books, rows)
            exact = is_exact(compiled(books, rows), flows)
        except Exception as reason:  # one that does not compile here must not cost the others
            found.append(book_table.failed(slots, num_books, name, reason))
            continue
        record: dict[str, Any] = {
            "slots": slots, "books": num_books, "output": name, "messages_per_book": num,
            "chunk": min(chunk, num_books), "compile_s": round(seconds, 2), "exact": exact,
        }  # fmt: skip
        sides = {
            "jaxmars": common.Contestant(lambda _, c=compiled: c(books, rows), num * num_books)
        }
        if peer_path and name in PEER_OUTPUTS:
            peer = book_peers.JaxmarlBook.load(peer_path, slots)
            sides["peer"], record["peer_compile_s"], record["peer_exact"] = peer_contestant(
                peer, name, flows, num_books
            )
        if name == "quotes" and num_books in BASELINE_BOOKS:
            sides["dict"] = book_peers.dict_book(flows)
        rates = common.race(sides, rounds, SECONDS)
        record |= {side: common.summary(rate) for side, rate in rates.items()}
        for other in sorted(set(rates) - {"jaxmars"}):
            record[f"times_{other}"] = common.speed_up(rates["jaxmars"], rates[other])
        if most:
            record["share_of_memory_bound"] = round(record["jaxmars"].median / most, 3)
        if "dict" in sides:
            add_ladder(record, flows, rates["jaxmars"], rounds)
        book_table.print_row(record)
        found.append(record)
    return found


def repeated(tree: Any, times: int) -> Any:
    """The same books several times over."""
    return jax.tree.map(lambda x: jnp.tile(x, (times, *[1] * (x.ndim - 1))), tree)


def moved_bytes(books: Book) -> float:
    """Bytes of a message if its book is read and written once in memory."""
    return 2 * sum(x.nbytes for x in jax.tree.leaves(books)) / len(books.key)


def add_ladder(record: dict, flows: Sequence[Flow], ours: list[float], rounds: int) -> None:
    """Adds the C++ ladder to a row, or says that there is no compiler."""
    result = book_peers.ladder(flows, rounds)
    if result is None:
        print("no C++ compiler found: the ladder is left out")
        return
    rates, record["ladder_exact"] = result
    record["ladder"] = common.summary(rates)
    record["times_ladder"] = common.speed_up(ours, rates)


def measure_here(args: argparse.Namespace) -> dict:
    """Everything, in this process."""
    conditions = common.conditions()
    print(f"setting: {args.setting}\n{common.describe_conditions(conditions)}\n{book_table.HEAD}")
    on_cpu = jax.default_backend() == "cpu"
    if jax.default_backend() != "gpu":
        print(f"{ON_CHIP}: left out, its program is for GPUs")
    chunk = SETTINGS.get(args.setting, SETTINGS["default"]).chunk
    rows = [
        row
        for slots in args.slots
        for num_books in args.books
        for row in measure(
            slots, num_books, chunk[slots] if on_cpu else num_books, args.peer, args.rounds
        )
    ]
    return {"setting": args.setting, "conditions": conditions, "rows": rows}


def measure_in_process(setting: str, arguments: Sequence[str]) -> dict:
    """Everything, in a process of its own that starts in the environment of a setting."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.json")
        script = os.path.abspath(__file__)
        command = [sys.executable, script, *arguments, "--setting", setting, "--out", path]
        environment = os.environ | SETTINGS[setting].environment
        subprocess.run(command, check=True, env=environment)
        with open(path) as file:
            return json.load(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", help="result file (JSON); nothing is written without it")
    parser.add_argument("--peer", help="checkout of JaxMARL-HFT to measure beside ours")
    parser.add_argument(
        "--books", type=int, nargs="+", choices=MESSAGES, help="default: all that suit the device"
    )
    parser.add_argument("--slots", type=int, nargs="+", default=list(PER_SIDE), choices=PER_SIDE)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed runs of each contestant")
    parser.add_argument(
        "--setting",
        choices=(HERE, *SETTINGS),
        help="measure in this process alone; its environment must be that of the setting",
    )
    args = parser.parse_args()
    on_cpu = jax.default_backend() == "cpu"
    args.books = args.books or [n for n in MESSAGES if not on_cpu or n <= MOST_ON_CPU]
    if args.setting:
        record = measure_here(args)
    else:
        if on_cpu:
            runs = [measure_in_process(setting, sys.argv[1:]) for setting in SETTINGS]
        else:
            args.setting = HERE
            runs = [json.loads(common.as_json(measure_here(args)))]
        table = book_table.best_of_settings(runs)
        book_table.print_best(table)
        record = {"question": "messages matched per second", "best": table, "runs": runs}
    if args.out:
        common.write_json(args.out, record)


if __name__ == "__main__":
    main()
