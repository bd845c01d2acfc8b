"""Trajectories written and read back: LOBSTER pairs and Parquet tables."""

import datetime
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from jax import lax
from pyarrow import parquet

from jaxmars.book import Book, apply_order, best_price, book_from_levels, init_book, l2_snapshot
from jaxmars.data import (
    LobsterData,
    MessageType,
    lobster_flow,
    nanoseconds,
    one_step_mismatches,
    read_lobster,
)
from jaxmars.data.continuous import replay
from jaxmars.data.lobster_continuous import lobster_continuous
from jaxmars.data.lobster_writer import write_lobster
from jaxmars.data.parquet import METADATA_KEY, SCHEMA_VERSION, read_events, write_events
from jaxmars.errors import InputError
from jaxmars.types import L2, Event, Kind, Order, Side, Status, Time

DAY = datetime.date(2012, 6, 21)
TICK = 100
LEVELS = 3
ALL_LEVELS = 14  # more than the random orders have prices on a side
SLOTS = 128
TRADES = 24
ORDERS = 600
OPEN = 34_200
KINDS = (Kind.LIMIT, Kind.LIMIT, Kind.LIMIT, Kind.MARKET, Kind.IOC, Kind.FOK, Kind.POST_ONLY)


def random_orders(seed: int) -> tuple[Order, Time]:
    """Orders around one price; cancels name any order so far, so many of them are refused."""
    draw = np.random.default_rng(seed)
    ids = np.arange(1, ORDERS + 1)
    side = draw.integers(0, 2, ORDERS)
    kind = draw.choice(np.array(KINDS), ORDERS)
    distance = draw.integers(-3, 9, ORDERS)
    price = 1000 + np.where(side == Side.BUY, -distance, distance)
    size = draw.integers(1, 60, ORDERS)
    order_id = ids.copy()
    for i in np.flatnonzero(draw.random(ORDERS) < 0.35):
        target = draw.integers(0, max(i, 1))
        kind[i], order_id[i] = Kind.CANCEL, order_id[target]
        side[i], size[i] = side[target], size[target] if draw.random() < 0.5 else 1
    time = np.cumsum(draw.integers(0, 3, ORDERS) * 700_000_001) + OPEN * 10**9 + 7
    columns = (kind, side, price, size, order_id, np.zeros(ORDERS))
    narrow = lambda x: jnp.asarray(x, jnp.int32)
    return Order(*map(narrow, columns)), Time(narrow(time // 10**9), narrow(time % 10**9))


@functools.partial(jax.jit, static_argnames=("max_trades", "levels"))
def _trajectory(order: Order, time: Time, max_trades: int, levels: int) -> tuple[Event, L2]:
    def step(carry: tuple[Book, jax.Array], row: tuple[Order, Time]) -> Any:
        book, last = carry
        order, time = row
        book, fills = apply_order(book, order, max_trades=max_trades)
        last = jnp.where(fills.filled > 0, fills.last_price, last)
        event = Event(
            time=time,
            kind=order.kind,
            side=order.side,
            price=fills.price,
            size=order.size,
            order_id=order.order_id,
            agent_id=order.agent_id,
            filled=fills.filled,
            first_price=fills.first_price,
            last_price=last,
            best_bid=best_price(book, Side.BUY),
            best_ask=best_price(book, Side.SELL),
            status=fills.status,
            trades=fills.trades,
        )
        return (book, last), (event, l2_snapshot(book, levels))

    return lax.scan(step, (init_book(SLOTS), jnp.int32(0)), (order, time))[1]


def trajectory(seed: int, max_trades: int = TRADES, levels: int = LEVELS) -> tuple[Event, L2]:
    """Events and books on the host."""
    order, time = random_orders(seed)
    return jax.tree.map(np.asarray, _trajectory(order, time, max_trades, levels))


def first_events(event: Event, l2: L2, keep: slice) -> tuple[Event, L2]:
    return jax.tree.map(lambda x: x[keep], (event, l2))


def written_flow(event: Event, l2: L2) -> list[tuple[int, ...]]:
    """Rows (time, kind, side, price, size, id, filled) a reader finds: executions of one time and
    side in a row are one order without a name, what then rests is another; what no level shows is
    left out."""
    found: list[tuple[int, ...]] = []
    joins = False
    names = ("kind", "side", "price", "size", "order_id", "filled", "last_price", "status")
    stamps = nanoseconds(*event.time).tolist()
    moved = [(np.diff(x, axis=0, prepend=0 * x[:1]) != 0).any((1, 2)) for x in l2]
    columns = (stamps, moved[0] | moved[1], *(getattr(event, name) for name in names))
    for time, shows, kind, side, price, size, order_id, filled, last, status in zip(
        *columns, strict=True
    ):
        if status not in (0, Status.UNFILLED_MARKET) or not shows:
            continue
        if filled:
            before = 0
            if joins and found[-1][0] == time and found[-1][2] == side:
                before = found.pop()[6]
            sum_ = before + filled
            found.append((time, Kind.LIMIT, side, last, sum_, 0, sum_))
            joins = True
        rest = size - filled
        if kind == Kind.CANCEL or (rest and kind in (Kind.LIMIT, Kind.POST_ONLY)):
            found.append(
                (
                    time,
                    Kind.CANCEL if kind == Kind.CANCEL else Kind.LIMIT,
                    side,
                    price,
                    rest,
                    order_id,
                    0,
                )
            )
            joins = False
    return found


def read_flow(data: LobsterData) -> list[tuple[int, ...]]:
    event = lobster_flow(data).event
    names = ("kind", "side", "price", "size", "order_id", "filled")
    stamps = nanoseconds(*event.time).tolist()
    columns = (np.asarray(getattr(event, name)).tolist() for name in names)
    return list(zip(stamps, *columns, strict=True))


def write_and_read(folder: pathlib.Path, event: Event, l2: L2) -> LobsterData:
    return read_lobster(*write_lobster(folder, "TEST", DAY, event, l2, TICK), TICK)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("max_trades", "levels"), [(TRADES, LEVELS), (0, ALL_LEVELS)])
def test_lobster_round_trip(
    seed: int, max_trades: int, levels: int, tmp_path: pathlib.Path
) -> None:
    """Without the fills of an order, its execution is one row, so its levels must be known."""
    event, l2 = trajectory(seed, max_trades, levels)
    assert ((event.status & Status.TRADES_TRUNCATED) == 0).all()
    assert (event.filled > 0).sum() > 50
    data = write_and_read(tmp_path, event, l2)
    report = one_step_mismatches(data)
    assert (report.mismatched, report.checked) == (0, len(data.sec) - 1)
    assert read_flow(data) == written_flow(event, l2)
    assert (np.asarray(data.l2.price)[-1] == l2.price[-1]).all()
    assert (np.asarray(data.l2.size)[-1] == l2.size[-1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_was_written_replays(seed: int, tmp_path: pathlib.Path) -> None:
    """Also every fill: the order our book fills is the one the file names."""
    event, l2 = trajectory(seed)
    data = write_and_read(tmp_path, event, l2)
    day = lobster_continuous(data)
    start = day.l3.start
    assert start is not None
    book = book_from_levels(jax.tree.map(jnp.asarray, start), SLOTS, jnp.int32(0))
    report = replay(day.l3.flow, day.l3.recorded, book, levels=LEVELS, resting=False)
    assert report.equal == report.checked > 200
    assert report.status == {}


def test_every_fill_is_a_row(tmp_path: pathlib.Path) -> None:
    event, l2 = trajectory(1)
    data = write_and_read(tmp_path, event, l2)
    fill = data.type == MessageType.EXECUTION
    traded = event.trades.size > 0
    assert fill.sum() == traded.sum() > (event.filled > 0).sum()
    for name, column in (("order_id", data.order_id), ("size", data.size), ("price", data.price)):
        assert (column[fill] == getattr(event.trades, name)[traded]).all(), name


def test_a_cancel_of_all_that_is_left_is_a_delete(tmp_path: pathlib.Path) -> None:
    event, l2 = trajectory(2)
    data = write_and_read(tmp_path, event, l2)
    left: dict[int, int] = {}
    kinds = set()
    rows = zip(*(x.tolist() for x in (data.type, data.order_id, data.size)), strict=True)
    for kind, order_id, size in rows:
        if kind == MessageType.NEW:
            left[order_id] = size
        elif order_id in left:
            left[order_id] -= size
            if kind != MessageType.EXECUTION:
                kinds.add(kind)
                assert (kind == MessageType.DELETE) == (left[order_id] == 0)
    assert kinds == {MessageType.PARTIAL_CANCEL, MessageType.DELETE}


def test_a_recorded_day_comes_back(hand_day: LobsterData, tmp_path: pathlib.Path) -> None:
    """Without fills per order, a sweep is one row; its first price is all that is lost."""
    flow = lobster_flow(hand_day)
    named = np.where(np.asarray(flow.event.filled) > 0, 999, flow.event.order_id)
    back = lobster_flow(write_and_read(tmp_path, changed_ids(flow.event, named), flow.l2))
    lost = flow.event._replace(first_price=back.event.first_price)
    for one, other in zip(jax.tree.leaves(lost), jax.tree.leaves(back.event), strict=True):
        assert (one == other).all()
    for one, other in zip(flow.l2, back.l2, strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()


def test_names_and_cells_are_those_of_lobster(tmp_path: pathlib.Path) -> None:
    event, l2 = first_events(*trajectory(0), slice(0, 40))
    message, book = write_lobster(tmp_path / "new", "A.B-1", DAY, event, l2, TICK)
    lines = message.read_text().splitlines()
    first, last = (int(lines[row].split(".")[0]) for row in (0, -1))
    span = f"{first * 1000}_{(last + 1) * 1000}"
    assert message.name == f"A.B-1_2012-06-21_{span}_message_3.csv"
    assert book.name == f"A.B-1_2012-06-21_{span}_orderbook_3.csv"
    stamps = [f"{s}.{n:09d}" for s, n in zip(*event.time, strict=True)]
    assert {line.split(",")[0] for line in lines} <= set(stamps)
    assert {line.count(",") for line in lines} == {5}
    cells = [line.split(",") for line in book.read_text().splitlines()]
    assert len(cells) == len(lines) and {len(row) for row in cells} == {4 * LEVELS}
    assert cells[0].count("9999999999") + cells[0].count("-9999999999") == 2 * LEVELS - 1
    assert all(row[2][0] == "-" for row in cells if row[3] == "0")
    assert '"' not in message.read_text()


def changed_ids(event: Event, ids: Any) -> Event:
    return event._replace(order_id=ids)


def changed(event: Event, field: str, row: int, value: int) -> Event:
    column = np.array(getattr(event, field))
    column[row] = value
    return event._replace(**{field: column})


def test_what_lobster_cannot_hold_is_refused(tmp_path: pathlib.Path) -> None:
    event, l2 = first_events(*trajectory(0), slice(0, 40))
    locked = L2(l2.price.copy(), l2.size.copy())
    locked.price[7, :, 0], locked.size[7, :, 0] = 1000, 1  # pyright: ignore[reportIndexIssue]
    late = event._replace(time=event.time._replace(sec=event.time.sec + 60_000))
    empty = first_events(event, l2, slice(0, 0))
    bad: list[tuple[dict[str, Any], str]] = [
        ({"event": changed(event, "kind", 5, Kind.UNCROSS)}, "event 5 is an auction"),
        ({"event": changed(event, "status", 6, Status.SELF_TRADE)}, "event 6 met the self-trade"),
        ({"l2": locked}, "event 7 leaves the book locked or crossed"),
        ({"event": late}, "comes after 86400 seconds"),
        ({"l2": L2(l2.price[1:], l2.size[1:])}, r"shape \[39, 2, 3\], expected \[40, 2, levels\]"),
        ({"event": empty[0], "l2": empty[1]}, "no event changes the book"),
        ({"ticker": "../x"}, "ticker is '../x', expected letters"),
        ({"tick": 0}, "tick is 0, expected a positive number"),
    ]
    good = {"ticker": "T", "date": DAY, "event": event, "l2": l2, "tick": TICK}
    for change, sentence in bad:
        with pytest.raises(InputError, match=sentence):
            write_lobster(tmp_path, **(good | change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("max_trades", [TRADES, 0])
@pytest.mark.parametrize("with_books", [True, False])
def test_parquet_round_trip(max_trades: int, with_books: bool, tmp_path: pathlib.Path) -> None:
    event, l2 = trajectory(3, max_trades)
    path = tmp_path / "new" / "events.parquet"
    note = {"seed": 3, "config": {"slots": SLOTS}}
    write_events(path, event, l2 if with_books else None, note)
    back = read_events(path)
    assert back.provenance == note
    assert (back.l2 is not None) == with_books
    expected = jax.tree.leaves((event, l2 if with_books else None))
    for one, other in zip(expected, jax.tree.leaves((back.event, back.l2)), strict=True):
        assert other.dtype == np.int32 and one.shape == other.shape and (one == other).all()
    table = parquet.read_table(path)
    assert table.schema.field("time_ns").type == pa.int64()
    assert table.schema.field("kind").type == pa.dictionary(pa.int32(), pa.string())
    assert table["side"][0].as_py() == Side(event.side[0]).name
    assert [p.name for p in path.parent.iterdir()] == ["events.parquet"]


def spoiled(path: pathlib.Path, change: Any) -> pathlib.Path:
    event, l2 = first_events(*trajectory(3), slice(0, 5))
    write_events(path, event, l2, {})
    parquet.write_table(change(parquet.read_table(path)), path)
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop_columns("price"), "has no column price"),
        (lambda t: t.drop_columns("ask_size"), "has no column ask_size"),
        (lambda t: t.set_column(0, "time_ns", t["price"]), "column time_ns holds int32, expected"),
        (lambda t: t.set_column(1, "kind", pa.array(["SWAP"] * 5)), "column kind holds other"),
        (lambda t: t.set_column(1, "kind", t["size"]), "column kind holds other names than NONE"),
        (lambda t: t.replace_schema_metadata({}), "version None, expected version 1"),
        (
            lambda t: t.replace_schema_metadata(
                {METADATA_KEY: json.dumps({"schema_version": SCHEMA_VERSION + 1})}
            ),
            "version 2, expected version 1",
        ),
        (
            lambda t: t.set_column(
                t.column_names.index("bid_size"), "bid_size", pa.array([[1]] * 5)
            ),
            "column bid_size holds list",
        ),
    ],
)
def test_a_spoiled_table_is_refused(change: Any, sentence: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_events(spoiled(tmp_path / "events.parquet", change))


def test_other_files_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_events(tmp_path / "none.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("not a table")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_events(text)


def test_what_fails_leaves_nothing(tmp_path: pathlib.Path) -> None:
    event, l2 = first_events(*trajectory(3), slice(0, 5))
    with pytest.raises(InputError, match="event 2 has kind 99"):
        write_events(tmp_path / "x.parquet", changed(event, "kind", 2, 99), l2, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_events(tmp_path / "x.parquet", event, l2, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())
