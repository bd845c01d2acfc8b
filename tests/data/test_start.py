"""Start points: recorded moments against the record, files against what was saved."""

import functools
import pathlib
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.tiny_world import quick_jit, same_history, tiny_converters

from jaxmars.book import Book, invariants, l2_snapshot
from jaxmars.builtin import default_starts
from jaxmars.config import MarketConfig
from jaxmars.data import LobsterData, flow_until, lobster_flow, nanoseconds
from jaxmars.data.start import MidPath, StartPoint, load_start, lobster_start, save_starts
from jaxmars.errors import InputError
from jaxmars.tokens.bins import TokenTables
from jaxmars.tokens.window import history_of, init_history, push_event, rows_of
from jaxmars.types import L2, Event, Kind

WINDOW = 8
HALF_PAST_TEN = 37_800
HAND_TIME = (34_800, 250_000_000)  # 16 orders lie before it, 2 nanosecond ties among them
BUILTIN = 16

Market = tuple[LobsterData, MarketConfig]


def market_of(data: LobsterData) -> MarketConfig:
    return MarketConfig(
        tick_size=data.tick / 10_000, lot_size=data.lot, slots=32, levels=data.l2.size.shape[2]
    )


def recorded_mid(data: LobsterData, row: int) -> float:
    bid, ask = np.asarray(data.l2.price)[row, :, 0].tolist()
    return (bid + ask) / 2 if bid and ask else bid or ask


def same(a: Any, b: Any) -> bool:
    """Equal structure, dtypes and bits."""
    x, y = jax.tree.flatten(a), jax.tree.flatten(b)
    return x[1] == y[1] and all(
        np.asarray(p).dtype == np.asarray(q).dtype and np.array_equal(p, q)
        for p, q in zip(x[0], y[0], strict=True)
    )


@functools.partial(quick_jit, static_argnums=1)
def look(book: Book, levels: int) -> tuple[L2, jax.Array]:
    """The best levels, and whether the book is sound."""
    return l2_snapshot(book, levels), invariants(book)


def check_book(start: StartPoint, data: LobsterData, row: int) -> None:
    """The book is sound and shows the recorded levels of this row."""
    shown, sound = look(start.book, data.l2.size.shape[2])
    np.testing.assert_array_equal(shown.price, np.asarray(data.l2.price)[row])
    np.testing.assert_array_equal(shown.size, np.asarray(data.l2.size)[row])
    assert sound


@pytest.fixture(scope="module")
def hand_start(hand_day: LobsterData) -> StartPoint:
    return lobster_start(hand_day, *HAND_TIME, market_of(hand_day), 16)


def test_the_book_is_the_recorded_one(hand_day: LobsterData, hand_start: StartPoint) -> None:
    check_book(hand_start, hand_day, 23)
    assert hand_start.book.size.shape == (2, 32)
    assert not hand_start.book.agent_id.any() and int(hand_start.book.status) == 0


def test_open_and_last_trade(hand_start: StartPoint) -> None:
    assert (int(hand_start.open_time.sec), int(hand_start.open_time.nsec)) == (34_200, 0)
    assert int(hand_start.open_price) == 10_002, "the first of the sweep's prices"
    assert int(hand_start.last_price) == 10_005
    assert (int(hand_start.time.sec), int(hand_start.time.nsec)) == HAND_TIME
    assert len(hand_start.flow.event.kind) == 16


def test_before_the_first_trade_the_open_is_not_known(hand_day: LobsterData) -> None:
    early = lobster_start(hand_day, 34_201, 0, market_of(hand_day), 1)
    assert int(early.open_price) == 0 and int(early.last_price) == 0
    assert len(early.flow.event.kind) == 5


def test_orders_at_the_very_moment_belong_to_the_past(hand_day: LobsterData) -> None:
    exact = lobster_start(hand_day, 34_202, 123, market_of(hand_day), 1)
    earlier = lobster_start(hand_day, 34_202, 122, market_of(hand_day), 1)
    assert (len(exact.flow.event.kind), len(earlier.flow.event.kind)) == (10, 8)
    check_book(exact, hand_day, 13)
    check_book(earlier, hand_day, 7)
    assert int(exact.last_price) == 10_004 and int(earlier.last_price) == 0
    assert exact.past.seconds[-1] == 0 and (exact.future.seconds > 0).all()


def test_past_and_future_mids_are_those_after_each_order(
    hand_day: LobsterData, hand_start: StartPoint
) -> None:
    now = HAND_TIME[0] + HAND_TIME[1] * 1e-9
    rows_past = [0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16, 17, 22, 23]
    rows_future = [24, 25, 26, 30, 31, 32]
    for path, rows in ((hand_start.past, rows_past), (hand_start.future, rows_future)):
        expected = [hand_day.sec[r] + hand_day.nsec[r] * 1e-9 - now for r in rows]
        np.testing.assert_allclose(path.seconds, expected, atol=1e-9)
        assert path.mid.tolist() == [recorded_mid(hand_day, r) for r in rows]


def test_only_a_quarter_of_an_hour_of_the_past_is_kept(hand_day: LobsterData) -> None:
    whole = lobster_start(hand_day, 34_801, 123_456_789, market_of(hand_day), 1)
    assert whole.past.seconds[0] > -900 and len(whole.past.mid) == 22
    long_ago = hand_day.sec < 34_800
    sec, nsec = (np.where(long_ago, x, y) for x, y in ((33_000, hand_day.sec), (0, hand_day.nsec)))
    quiet = hand_day._replace(sec=sec, nsec=nsec)
    cut = lobster_start(quiet, 34_801, 123_456_789, market_of(hand_day), 1)
    assert cut.past.mid.tolist() == whole.past.mid[-8:].tolist()
    assert len(cut.flow.event.kind) > 8


@pytest.mark.parametrize(
    ("sec", "needed", "sentence"),
    [
        (34_199, 1, "the time 09:29:59 lies outside the record, expected 09:30:00 to 09:40:01"),
        (34_802, 1, "the time 09:40:02 lies outside the record"),
        (0, 1, "the time 00:00:00 lies outside the record"),
        (34_201, 6, "5 orders lie at or before 09:30:01, expected at least 6"),
        (34_801, 99, "20 orders lie at or before 09:40:01, expected at least 99"),
    ],
)
def test_moments_that_are_no_start_are_refused(
    hand_day: LobsterData, sec: int, needed: int, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        lobster_start(hand_day, sec, 0, market_of(hand_day), needed)


@functools.partial(quick_jit, static_argnums=0)
def history(market: MarketConfig, tables: TokenTables, start: StartPoint) -> Any:
    event, l2 = start.flow
    return history_of(
        tables,
        market,
        WINDOW,
        event,
        l2,
        start.open_time,
        jnp.asarray(start.open_price),
        jax.tree.map(jnp.asarray, start.memory),
    )


def test_history_is_that_of_the_events_fed_one_by_one(
    hand_day: LobsterData, hand_start: StartPoint
) -> None:
    market, tables = market_of(hand_day), tiny_converters().tables()
    push = quick_jit(functools.partial(push_event, tables, market))
    state = init_history(WINDOW, market.levels)
    pick = lambda tree, i: jax.tree.map(lambda x: jnp.asarray(x[i]), tree)
    for i in range(len(hand_start.flow.event.kind)):
        state = push(state, *pick(tuple(hand_start.flow), i))
    found = history(market, tables, hand_start)
    count = int(found.window.count)
    assert count == WINDOW
    assert same_history(found, state)


@functools.partial(quick_jit, static_argnums=0)
def all_rows(market: MarketConfig, tables: TokenTables, event: Event, l2: L2) -> Any:
    return rows_of(tables, market, event, l2)


@pytest.mark.parametrize("day", ["goog_day", "aapl_best_day"])
def test_a_recorded_day_at_half_past_ten(day: str, request: pytest.FixtureRequest) -> None:
    """Book, open and mids against the whole record."""
    data: LobsterData = request.getfixturevalue(day)
    start = lobster_start(data, HALF_PAST_TEN, 0, market_of(data), 1_000)
    stamps = nanoseconds(data.sec, data.nsec)
    row = int(np.searchsorted(stamps, HALF_PAST_TEN * 10**9, "right")) - 1
    check_book(start, data, row)
    executed = np.flatnonzero(data.type == 4)
    assert int(start.open_price) == data.price[executed[0]]
    assert int(start.last_price) == data.price[executed[executed <= row][-1]]
    assert start.past.mid[-1] == recorded_mid(data, row)
    assert start.past.seconds[0] >= -900 and start.past.seconds[-1] <= 0
    assert (start.future.seconds > 0).all() and start.future.seconds[-1] > 5 * 3600
    later = np.flatnonzero((stamps > HALF_PAST_TEN * 10**9) & (data.type <= 4))
    assert start.future.mid[-1] == recorded_mid(data, int(later[-1]))
    assert same(start.flow, flow_until(lobster_flow(data), HALF_PAST_TEN))


def test_the_window_of_a_recorded_day_is_its_last_final_rows(goog_day: LobsterData) -> None:
    market, tables = market_of(goog_day), tiny_converters().tables()
    start = lobster_start(goog_day, HALF_PAST_TEN, 0, market, 1_000)
    rows, final = map(np.asarray, all_rows(market, tables, *start.flow))
    window = history(market, tables, start).window
    np.testing.assert_array_equal(window.rows, rows[final][-WINDOW:])


def test_saved_starts_come_back_bit_for_bit(
    hand_day: LobsterData, hand_start: StartPoint, tmp_path: pathlib.Path
) -> None:
    nothing = np.zeros(0)
    other = lobster_start(hand_day, 34_203, 0, market_of(hand_day), 1)
    starts = [hand_start, other._replace(future=MidPath(nothing, nothing))]
    save_starts(tmp_path / "starts.npz", starts)
    assert [p.name for p in tmp_path.iterdir()] == ["starts.npz"]
    for number, start in enumerate(starts):
        assert same(load_start(tmp_path / "starts.npz", number), start)


@pytest.mark.parametrize("number", [0, BUILTIN - 1])
def test_builtin_starts_are_sound(number: int) -> None:
    start = load_start(default_starts(), number)
    event = start.flow.event
    shown, sound = look(start.book, 1)
    bid, ask = shown.price[:, 0].tolist()
    assert sound
    assert (bid, ask) == (event.best_bid[-1], event.best_ask[-1])
    assert int(start.last_price) == event.last_price[-1]
    assert set(np.unique(event.kind)) <= {Kind.LIMIT, Kind.CANCEL}
    assert (np.diff(nanoseconds(event.time.sec, event.time.nsec)) >= 0).all()
    assert start.past.mid[-1] == (bid + ask) / 2
    assert start.past.seconds[-1] <= 0 <= start.future.seconds[0]
    assert start.future.seconds[-1] > 1_700


@pytest.mark.parametrize("number", [-1, BUILTIN, 10**9])
def test_numbers_without_a_start_are_refused(number: int) -> None:
    with pytest.raises(InputError, match=rf"holds starts 0 to {BUILTIN - 1}, got {number}"):
        load_start(default_starts(), number)


@pytest.fixture
def saved(hand_start: StartPoint, tmp_path: pathlib.Path) -> pathlib.Path:
    save_starts(tmp_path / "starts.npz", [hand_start])
    return tmp_path / "starts.npz"


def refuses(path: pathlib.Path, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        load_start(path, 0)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: pathlib.Path) -> None:
    refuses(tmp_path / "starts.npz", "does not exist, expected a file of start states")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"text", b"\x93NUMPY\x01\x00v\x00{", b"\x80"]
)
def test_files_that_are_no_archives_are_refused(saved: pathlib.Path, content: bytes) -> None:
    saved.write_bytes(content)
    refuses(saved, "is not a whole file of start states")


def test_an_array_file_is_refused(saved: pathlib.Path) -> None:
    with saved.open("wb") as file:
        np.save(file, np.zeros(3))
    refuses(saved, "is not a whole file of start states")


def test_truncated_and_flipped_files_are_refused(saved: pathlib.Path) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[:-30])
    refuses(saved, "is not a whole file of start states")
    saved.write_bytes(whole)
    with zipfile.ZipFile(saved) as archive:
        inside = archive.getinfo("0.flow.event.price.npy").header_offset + 100
    flipped = bytearray(whole)
    flipped[inside] ^= 255
    saved.write_bytes(bytes(flipped))
    refuses(saved, "is not a whole file of start states")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("0.book.size", None, "is not a whole file of start states: .*0.book.size"),
        (
            "0.book.size",
            np.zeros((2, 32)),
            r"book.size is float64\[2, 32\], expected int32\[2, 32\]",
        ),
        (
            "0.book.key",
            np.zeros((2, 31), np.int32),
            r"key is int32\[2, 31\], expected int32\[2, 32\]",
        ),
        ("0.book.total", np.zeros(3, np.int32), r"total is int32\[3\], expected int32\[2\]"),
        ("0.flow.event.price", np.zeros(3, np.int32), r"is int32\[3\], expected int32\[16\]"),
        ("0.flow.l2.price", np.zeros((16, 3), np.int32), r"is int32\[16, 3\], exp.*16, 2, 3"),
        ("0.time.sec", np.zeros(1, np.int32), r"time.sec is int32\[1\], expected int32\[\]"),
        ("0.past.mid", np.zeros(2), r"past.mid is float64\[2\], expected float64\[16\]"),
        ("0.flow.event.kind", np.int32(3), r"sec is int32\[16\], expected int32\[\]"),
        ("0.flow.event.kind", np.array([{}], object), "is not a whole file of start states"),
    ],
)
def test_other_arrays_are_refused(
    saved: pathlib.Path, name: str, value: np.ndarray | None, sentence: str
) -> None:
    with np.load(saved) as file:
        arrays: dict[str, Any] = dict(file)
    arrays = {k: v for k, v in arrays.items() if k != name}
    if value is not None:
        arrays[name] = value
    np.savez(saved, **arrays)
    refuses(saved, sentence)
