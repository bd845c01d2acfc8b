"""A hand-written day and the recorded days."""

import gzip
import pathlib
import zipfile

import pytest

from jaxmars.data import LobsterData, read_lobster

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def hand_files() -> tuple[pathlib.Path, pathlib.Path]:
    """33 messages at 3 levels: sweeps, hidden executions, partial cancels, a halt, a cross."""
    return HERE / "hand_message_3.csv", HERE / "hand_orderbook_3.csv"


@pytest.fixture(scope="session")
def hand_day(hand_files: tuple[pathlib.Path, pathlib.Path]) -> LobsterData:
    return read_lobster(*hand_files)


@pytest.fixture(scope="session")
def goog_day(real_data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> LobsterData:
    """GOOG, 2012-06-21, 10 levels."""
    folder = tmp_path_factory.mktemp("goog")
    found = sorted(real_data.glob("lobster/*GOOG*_10.zip"))
    if not found:
        pytest.skip(f"no GOOG day in {real_data}")
    with zipfile.ZipFile(found[0]) as archive:
        archive.extractall(folder)
    (message,), (book,) = folder.glob("*_message_10.csv"), folder.glob("*_orderbook_10.csv")
    return read_lobster(message, book)


@pytest.fixture(scope="session")
def aapl_files(real_data: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The first 999 rows of AAPL, 2012-06-21, 10 levels, gzip."""
    pair = tuple(sorted(real_data.glob("lobster/AAPL*first999_*_10.csv.gz")))
    if len(pair) != 2:
        pytest.skip(f"no AAPL excerpt in {real_data}")
    return pair[0], pair[1]


@pytest.fixture(scope="session")
def aapl_day(aapl_files: tuple[pathlib.Path, pathlib.Path]) -> LobsterData:
    return read_lobster(*aapl_files)


@pytest.fixture(scope="session")
def aapl_times(aapl_files: tuple[pathlib.Path, pathlib.Path]) -> list[str]:
    """The time cells of that file, as written."""
    with gzip.open(aapl_files[0], "rt") as file:
        return [line.split(",")[0] for line in file]
