"""Reading LOBSTER files: what is read exactly, and every way it refuses."""

import decimal
import gzip
import lzma
import pathlib
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from jaxmars.data import LobsterData, MessageType, cut_levels, read_lobster
from jaxmars.errors import InputError
from jaxmars.types import Side

Paths = tuple[pathlib.Path, pathlib.Path]

MESSAGES = [
    "34200.1,1,5,100,1000000,1",
    "34200.2,1,6,100,1000100,-1",
    "34200.3,3,5,100,1000000,1",
]
BOOKS = [
    "9999999999,0,1000000,100,9999999999,0,-9999999999,0",
    "1000100,100,1000000,100,9999999999,0,-9999999999,0",
    "1000100,100,-9999999999,0,9999999999,0,-9999999999,0",
]


def write(folder: pathlib.Path, messages: list[str], books: list[str]) -> Paths:
    paths = folder / "m.csv", folder / "b.csv"
    for path, lines in zip(paths, (messages, books), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return paths


def replaced(lines: list[str], row: int, line: str) -> list[str]:
    return [*lines[:row], line, *lines[row + 1 :]]


def book_by_hand(day: LobsterData) -> list[tuple[list, list]]:
    """Books after each message, from the messages alone: a dictionary per side."""
    sides: dict[int, dict[int, int]] = {1: {}, -1: {}}
    books = []
    for kind, size, price, direction in zip(
        day.type, day.size, day.price, day.direction, strict=True
    ):
        if kind <= MessageType.EXECUTION:
            change = size if kind == MessageType.NEW else -size
            sides[direction][price] = sides[direction].get(price, 0) + change
            sides[direction] = {p: s for p, s in sides[direction].items() if s}
        bids, asks = sorted(sides[1].items(), reverse=True), sorted(sides[-1].items())
        books.append((bids, asks))
    return books


def test_hand_day_columns(hand_day: LobsterData) -> None:
    assert hand_day.tick == 100
    assert hand_day.lot == 5
    assert hand_day.l2.price.shape == hand_day.l2.size.shape == (33, 2, 3)
    assert all(x.dtype == np.int32 for x in (hand_day.sec, hand_day.nsec, *hand_day.l2))
    assert hand_day.price[:5].tolist() == [10000, 10003, 10004, 9999, 9998]
    assert hand_day.price[11] == 10003, "a hidden execution between ticks is rounded down"
    assert hand_day.price[18:21].tolist() == [-1, 0, 1], "halt codes are no prices"
    assert hand_day.order_id[21] == -3


def test_hand_day_books_are_those_of_its_messages(hand_day: LobsterData) -> None:
    price, size = np.asarray(hand_day.l2.price), np.asarray(hand_day.l2.size)
    for row, sides in enumerate(book_by_hand(hand_day)):
        for side in Side:
            expected = (sides[side] + [(0, 0)] * 3)[:3]
            got = list(zip(price[row, side], size[row, side], strict=True))
            assert got == expected, (row, side)


def test_time_is_exact(tmp_path: pathlib.Path) -> None:
    cells = ["0", "34200", "34200.000000001", "34200.004241176", "34200.1", "57599.999999999"]
    messages = [f"{cell},1,{i + 1},100,1000000,1" for i, cell in enumerate(cells)]
    books = [f"9999999999,0,1000000,{100 * (i + 1)}" for i in range(len(cells))]
    day = read_lobster(*write(tmp_path, messages, books))
    assert day.sec.tolist() == [0, 34200, 34200, 34200, 34200, 57599]
    assert day.nsec.tolist() == [0, 0, 1, 4_241_176, 100_000_000, 999_999_999]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("43002.632812672004", (43002, 632_812_672)),
        ("43002.6328126724999", (43002, 632_812_672)),
        ("43002.6328126726", (43002, 632_812_673)),
        ("43002.9999999999", (43003, 0)),
    ],
)
def test_more_than_nine_decimals_round(
    tmp_path: pathlib.Path, cell: str, expected: tuple[int, int]
) -> None:
    day = read_lobster(
        *write(tmp_path, [f"{cell},1,1,100,1000000,1"], ["9999999999,0,1000000,100"])
    )
    assert (day.sec[0], day.nsec[0]) == expected


def test_real_times_are_the_decimal_text(aapl_day: LobsterData, aapl_times: list[str]) -> None:
    exact = [decimal.Decimal(cell) * 10**9 for cell in aapl_times]
    assert len(exact) == 999
    assert (aapl_day.sec.astype(np.int64) * 10**9 + aapl_day.nsec).tolist() == exact


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.xz", ".zip", ".GZ"])
def test_compressed_files_read_the_same(
    hand_files: Paths, hand_day: LobsterData, tmp_path: pathlib.Path, suffix: str
) -> None:
    paths = []
    for path in hand_files:
        target = tmp_path / (path.stem + suffix)
        content = path.read_bytes()
        if suffix == ".zip":
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(path.name, content)
        else:
            target.write_bytes(
                lzma.compress(content) if suffix.endswith("xz") else gzip.compress(content)
            )
        paths.append(target)
    day = read_lobster(*paths)
    assert all(
        np.array_equal(a, b)
        for a, b in zip((*day[:7], *day.l2), (*hand_day[:7], *hand_day.l2), strict=True)
    )


def test_both_files_in_one_archive(
    hand_files: Paths, hand_day: LobsterData, tmp_path: pathlib.Path
) -> None:
    """As LOBSTER's samples come, with a read-me."""
    path = tmp_path / "sample.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in zip(("message", "orderbook"), hand_files, strict=True):
            archive.write(file, f"day/A_2012-06-21_34200000_57600000_{name}_3.csv")
        archive.writestr("day/ReadMe.txt", "about")
    day = read_lobster(path, path)
    assert np.array_equal(day.order_id, hand_day.order_id)
    assert np.array_equal(day.l2.size, hand_day.l2.size)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("B_message_3.csv", "more")
    with pytest.raises(InputError, match=r"holds 4 files .* one file with _message_ in its name"):
        read_lobster(path, path)


def test_tick_can_be_given(hand_files: Paths, hand_day: LobsterData) -> None:
    day = read_lobster(*hand_files, tick=50)
    visible = day.type <= MessageType.EXECUTION
    assert (day.price[visible] == 2 * hand_day.price[visible]).all()
    assert day.price[11] == 20007, "and the hidden execution lies on it"
    assert (np.asarray(day.l2.price) == 2 * np.asarray(hand_day.l2.price)).all()
    with pytest.raises(InputError, match=r"row 2: price is 1000300, expected a multiple of .* 200"):
        read_lobster(*hand_files, tick=200)
    with pytest.raises(InputError, match="tick is 0, expected a positive"):
        read_lobster(*hand_files, tick=0)


def test_trailing_blank_lines_and_windows_line_ends_are_harmless(tmp_path: pathlib.Path) -> None:
    m, b = write(tmp_path, MESSAGES, BOOKS)
    m.write_bytes(m.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert read_lobster(m, b).size.tolist() == [100, 100, 100]


BAD_MESSAGES = [
    ("one column less", "34200.2,1,6,100,1000100", "row 2 has 5 columns, expected 6"),
    ("broker column", "34200.2,1,6,100,1000100,-1,X", "row 2 has 7 columns, expected 6"),
    ("blank line", "", "row 2 has 1 columns, expected 6"),
    ("text size", "34200.2,1,6,abc,1000100,-1", r"row 2 column 4 \(size\) is 'abc'"),
    ("float price", "34200.2,1,6,100,1000100.5,-1", r"column 5 \(price\) is '1000100.5'"),
    ("nan", "34200.2,1,6,NaN,1000100,-1", r"column 4 \(size\) is 'NaN', expected an integer"),
    ("empty cell", "34200.2,1,6,,1000100,-1", r"column 4 \(size\) is ''"),
    ("beyond int64", f"34200.2,1,6,{10**30},1000100,-1", r"column 4 \(size\)"),
    ("not text", "34200.2,1,6,\xff\xfe,1000100,-1", r"row 2 column 4 \(size\)"),
    ("text time", "9:30,1,6,100,1000100,-1", r"column 1 \(time\) is '9:30', expected seconds"),
    ("nan time", "nan,1,6,100,1000100,-1", r"column 1 \(time\) is 'nan'"),
    ("negative time", "-1.5,1,6,100,1000100,-1", r"\(time\) is '-1.5'"),
    ("no decimals", "34200.,1,6,100,1000100,-1", r"\(time\) is '34200.'"),
    ("endless time", "3" * 5000 + ",1,6,100,1000100,-1", r"\(time\) is '3{40}', expected"),
    ("bytes in time", "34\xff,1,6,100,1000100,-1", r"row 2 column 1 \(time\)"),
    ("time back", "34200.099999999,1,6,100,1000100,-1", "row 2: time is 34200.099999999, expected"),
    ("beyond a day", "86400,1,6,100,1000100,-1", "row 2: time is 86400, expected less than 86400"),
    ("type 0", "34200.2,0,6,100,1000100,-1", "row 2: type is 0, expected 1 to 7"),
    ("type 8", "34200.2,8,6,100,1000100,-1", "row 2: type is 8, expected 1 to 7"),
    ("negative size", "34200.2,1,6,-100,1000100,-1", "row 2: size is -100, expected a positive"),
    ("size 0", "34200.2,1,6,0,1000100,-1", "row 2: size is 0, expected a positive"),
    ("size 2**31", f"34200.2,1,6,{2**31},1000100,-1", "expected at most 2147483647"),
    ("price 0", "34200.2,1,6,100,0,-1", "row 2: price is 0, expected a positive"),
    ("negative price", "34200.2,5,6,100,-5,-1", "row 2: price is -5, expected a positive"),
    ("halt code", "34200.2,7,0,0,2,-1", "row 2: price is 2, expected -1, 0 or 1 for a trading"),
    ("direction", "34200.2,1,6,100,1000100,0", "row 2: direction is 0, expected 1 or -1"),
    ("huge price", f"34200.2,1,6,100,{2**30 * 100},-1", "expected less than 1073741824 ticks"),
    ("huge hidden", f"34200.2,5,0,100,{2**40},1", "row 2: price is .* expected less than"),
]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [case[1:] for case in BAD_MESSAGES],
    ids=[case[0] for case in BAD_MESSAGES],
)
def test_bad_messages(tmp_path: pathlib.Path, line: str, sentence: str) -> None:
    m, b = write(tmp_path, MESSAGES, BOOKS)
    m.write_bytes("\n".join(replaced(MESSAGES, 1, line)).encode("latin-1"))
    with pytest.raises(InputError, match=sentence) as caught:
        read_lobster(m, b)
    assert str(m) in str(caught.value)
    assert "\n" not in str(caught.value)


EMPTY = "9999999999,0,-9999999999,0"
BAD_BOOKS = [
    ("row too short", "1000100,100,1000000,100", "row 2 has 4 columns, expected 8 as in row 1"),
    ("text", f"x,100,1000000,100,{EMPTY}", r"row 2 column 1 \(ask price 1\) is 'x'"),
    ("no size", f"1000100,0,1000000,100,{EMPTY}", "row 2: ask size 1 is 0, expected its shares"),
    ("negative size", f"1000100,9,1000000,-1,{EMPTY}", "row 2: bid size 1 is -1"),
    ("no price", f"0,100,1000000,100,{EMPTY}", "row 2: ask price 1 is 0, expected a positive"),
    ("negative price", f"-7,100,1000000,100,{EMPTY}", "row 2: ask price 1 is -7, expected a pos"),
    ("locked", f"1000000,100,1000000,100,{EMPTY}", r"row 2: best bid 1000000 meets best ask"),
    ("crossed", f"1000000,100,1000100,100,{EMPTY}", r"1000100 meets .* 1000000 \(1 such rows\)"),
    (
        "ask order",
        "1000100,100,1000000,100,1000100,5,-9999999999,0",
        r"row 2: ask price 2 is 1000100, expected more than 1000100 \(ask price 1\)",
    ),
    (
        "bid order",
        "1000100,100,1000000,100,9999999999,0,1000050,5",
        r"row 2: bid price 2 is 1000050, expected less than 1000000 \(bid price 1\)",
    ),
    (
        "gap",
        "9999999999,0,1000000,100,1000100,100,-9999999999,0",
        r"row 2: ask price 2 is 1000100, expected none \(ask price 1\)",
    ),
    (
        "volume",
        f"1000100,{2**31 - 1},1000000,100,1000200,1,-9999999999,0",
        "row 2: the volume is 2147483648, expected at most 2147483647",
    ),
    ("off tick", f"1000110,100,1000000,100,{EMPTY}", "row 2: price is 1000110, expected a mult"),
]


@pytest.mark.parametrize(
    ("line", "sentence"), [case[1:] for case in BAD_BOOKS], ids=[case[0] for case in BAD_BOOKS]
)
def test_bad_books(tmp_path: pathlib.Path, line: str, sentence: str) -> None:
    m, b = write(tmp_path, MESSAGES, replaced(BOOKS, 1, line))
    with pytest.raises(InputError, match=sentence) as caught:
        read_lobster(m, b, tick=100)
    assert str(b) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_good_rows_behind_the_bad_cases_are_good(tmp_path: pathlib.Path) -> None:
    assert len(read_lobster(*write(tmp_path, MESSAGES, BOOKS), tick=100).sec) == 3


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def gzip_path(path: pathlib.Path) -> pathlib.Path:
    target = path.with_suffix(".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


def test_bad_files(tmp_path: pathlib.Path) -> None:
    m, b = write(tmp_path, MESSAGES, BOOKS)

    def refuses(message: pathlib.Path, book: pathlib.Path, sentence: str) -> None:
        with pytest.raises(InputError, match=sentence):
            read_lobster(message, book)

    def made(name: str, content: bytes) -> pathlib.Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    refuses(tmp_path / "none.csv", b, r"none.csv does not exist")
    refuses(tmp_path, b, "cannot be read")
    refuses(m, made("empty.csv", b" \n\n"), "empty.csv is empty")
    refuses(made("header.csv", b"time,type,id,size,price,dir\n" + m.read_bytes()), b, "row 1 col")
    refuses(b, b, "row 1 has 8 columns, expected 6")
    refuses(m, m, "row 1 has 6 columns, expected a multiple of 4")
    refuses(m, made("short.csv", "\n".join(BOOKS[:2]).encode()), "has 2 rows, expected 3")
    cut = gzip_path(m)
    truncate(cut)
    refuses(cut, b, "is not a whole .gz file")
    refuses(made("plain.gz", m.read_bytes()), b, "is not a whole .gz file")
    refuses(made("plain.xz", m.read_bytes()), b, "is not a whole .xz file")
    refuses(made("plain.zip", m.read_bytes()), b, "is not a whole .zip file")
    refuses(made("bomb.gz", gzip.compress(b"1" * 2**26)), b, "expands to over")
    both = tmp_path / "both.zip"
    with zipfile.ZipFile(both, "w") as archive:
        archive.write(m, "m.csv")
        archive.write(b, "b.csv")
    refuses(both, b, r"both.zip holds 2 files \('m.csv', 'b.csv'\), expected one table.*; unpack")
    refuses(made("nothing.csv", b"34200,7,0,0,-1,-1"), made("nobook.csv", EMPTY.encode()), "no vis")


MUTATIONS: list[Callable[[bytes], bytes]] = [
    lambda x: x[: len(x) // 2],
    lambda x: x.replace(b",", b"\t"),
    lambda x: x.replace(b"1", b'"'),
    lambda x: b"\x00" + x,
    lambda x: x[:-1] + b",",
    lambda x: b"\xff\xfe" + x,
]


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_damaged_bytes_end_in_one_sentence(
    tmp_path: pathlib.Path, hand_files: Paths, mutate: Callable[[bytes], bytes]
) -> None:
    for damaged in (0, 1):
        paths = []
        for i, path in enumerate(hand_files):
            target = tmp_path / f"{damaged}{path.name}"
            content = path.read_bytes()
            target.write_bytes(mutate(content) if i == damaged else content)
            paths.append(target)
        with pytest.raises(InputError):
            read_lobster(*paths)


def test_cut_levels_gives_the_recorded_row_counts(goog_day: LobsterData) -> None:
    assert [len(cut_levels(goog_day, n).sec) for n in (10, 5, 1)] == [147_916, 112_673, 49_482]
    with pytest.raises(InputError, match="levels is 11, expected 1 to 10"):
        cut_levels(goog_day, 11)


def test_cut_levels_gives_the_file_recorded_with_fewer(
    aapl_day: LobsterData, aapl_best_day: LobsterData
) -> None:
    ours = cut_levels(aapl_day, 1)
    rows = len(ours.sec)
    assert rows == 546
    for mine, recorded in zip(
        (*ours[:7], *ours.l2), (*aapl_best_day[:7], *aapl_best_day.l2), strict=True
    ):
        assert np.array_equal(mine, recorded[:rows])


def test_goog_day(goog_day: LobsterData) -> None:
    counts = np.bincount(goog_day.type, minlength=8).tolist()
    assert counts == [0, 71_258, 19, 64_961, 7_765, 3_913, 0, 0]
    assert (goog_day.tick, goog_day.lot) == (100, 1)
