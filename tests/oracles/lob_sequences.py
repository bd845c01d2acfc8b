"""Made-up and recorded sequences of messages and books, and LOBSTER files of them."""

import pathlib
import zipfile

import numpy as np
import pytest

from jaxmars.data import nanoseconds, read_lobster
from jaxmars.data.lobster import host_l2
from jaxmars.tasks import Sequence, cut_sequence

LEVELS = 3
START = 34_200  # seconds since midnight
NO_PRICE = 9_999_999_999
BLOCK, BLOCKS = 500, 64  # messages, and how many of them are spread over a day


def make_sequence(
    rows: list[tuple[float, int, int, int, int, int]],
    bids: list[list[tuple[int, int]]],
    asks: list[list[tuple[int, int]]],
) -> Sequence:
    """From (seconds, type, order id, size, price, direction) and (price, size) of the levels."""
    time, kind, order_id, size, price, direction = (np.array(x) for x in zip(*rows, strict=True))
    nanos = np.round(time * 1e9).astype(np.int64)
    book = np.stack([np.array(bids), np.array(asks)], 1).astype(np.int32)
    narrow = lambda x: x.astype(np.int32)
    return Sequence(
        sec=narrow(nanos // 10**9),
        nsec=narrow(nanos % 10**9),
        type=narrow(kind),
        order_id=order_id.astype(np.int64),
        size=narrow(size),
        price=narrow(price),
        direction=narrow(direction),
        l2=host_l2(book[..., 0], book[..., 1]),
        tick=100,
        lot=1,
    )


def random_sequence(seed: int, messages: int = 260, mean_size: float = 100.0) -> Sequence:
    """A random walk of a book of three levels: orders, their cancels, executions at the touch."""
    rng = np.random.default_rng(seed)
    bid = 1000 + rng.choice([-1, 0, 0, 0, 1], messages).cumsum()
    spread = rng.integers(1, 5, messages)
    side = rng.integers(0, 2, messages)
    depth = np.arange(LEVELS)
    book = np.stack([bid[:, None] - depth, (bid + spread)[:, None] + depth], 1)
    size = rng.poisson(mean_size, (messages, 2, LEVELS)) + 1
    kind = rng.choice([1, 1, 1, 3, 3, 4], messages)
    order_id = np.arange(messages) // 2
    level = np.where(kind == 4, 0, rng.integers(0, LEVELS, messages))
    price = book[np.arange(messages), side, level]
    time = START + rng.exponential(0.05, messages).cumsum()
    rows = zip(time, kind, order_id, size[:, 0, 0], price, 1 - 2 * side, strict=True)
    pairs = np.stack([book, size], -1)
    return make_sequence(list(rows), list(pairs[:, 0]), list(pairs[:, 1]))


def write_pair(folder: pathlib.Path, name: str, sequence: Sequence) -> None:
    """`name_message.csv` and `name_orderbook.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    time = nanoseconds(sequence.sec, sequence.nsec)
    columns = (
        sequence.type,
        sequence.order_id,
        sequence.size,
        sequence.price * sequence.tick,
        sequence.direction,
    )
    lines = [
        f"{t // 10**9}.{t % 10**9:09d},{','.join(map(str, row))}"
        for t, *row in zip(time.tolist(), *(x.tolist() for x in columns), strict=True)
    ]
    (folder / f"{name}_message.csv").write_text("\n".join(lines) + "\n")
    price, size = (np.asarray(x, np.int64) for x in sequence.l2)
    price = np.where(size > 0, price * sequence.tick, np.array([-NO_PRICE, NO_PRICE])[:, None])
    cells = np.stack([price[:, 1], size[:, 1], price[:, 0], size[:, 0]], -1)
    np.savetxt(folder / f"{name}_orderbook.csv", cells.reshape(len(time), -1), "%d", ",")


def recorded_lines(
    real_data: pathlib.Path, ticker: str, blocks: int = BLOCKS
) -> tuple[list[str], list[str]]:
    """Lines of the message and the book file of blocks that are spread evenly over the day."""
    found = sorted((real_data / "lobster").glob(f"*{ticker}*.zip"))
    if not found:
        pytest.skip(f"no day of {ticker} in {real_data}")
    tables = []
    with zipfile.ZipFile(found[0]) as archive:
        for kind in ("message", "orderbook"):
            (name,) = (x for x in archive.namelist() if kind in x)
            lines = archive.read(name).decode().splitlines()
            starts = np.arange(blocks) * (len(lines) // blocks)
            tables.append([line for start in starts for line in lines[start : start + BLOCK]])
    return tables[0], tables[1]


def recorded_blocks(real_data: pathlib.Path, ticker: str, folder: pathlib.Path) -> list[Sequence]:
    """Sequences of a recorded day."""
    paths = [folder / f"{ticker}_{kind}.csv" for kind in ("message", "orderbook")]
    for path, lines in zip(paths, recorded_lines(real_data, ticker), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return cut_sequence(read_lobster(*paths, tick=100), BLOCK)
