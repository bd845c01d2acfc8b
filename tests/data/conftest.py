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


def unpacked_day(archives: pathlib.Path, pattern: str, folder: pathlib.Path) -> LobsterData:
    """The day inside the one zip that matches `pattern`."""
    found = sorted(archives.glob(pattern))
    if not found:
        pytest.skip(f"no {pattern} in {archives}")
    with zipfile.ZipFile(found[0]) as archive:
        archive.extractall(folder)
    (message,), (book,) = folder.glob("*_message_*.csv"), folder.glob("*_orderbook_*.csv")
    return read_lobster(message, book)


@pytest.fixture(scope="session")
def goog_day(real_data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> LobsterData:
    """GOOG, 2012-06-21, 10 levels."""
    folder = tmp_path_factory.mktemp("goog")
    return unpacked_day(real_data / "lobster", "*GOOG*_10.zip", folder)


@pytest.fixture(scope="session")
def amzn_day(real_data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> LobsterData:
    """AMZN, 2012-06-21, 5 levels."""
    folder = tmp_path_factory.mktemp("amzn")
    return unpacked_day(real_data / "lobster", "*AMZN*_5.zip", folder)


@pytest.fixture(scope="session")
def aapl_best_day(real_data: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> LobsterData:
    """AAPL, 2012-06-21, 1 level."""
    folder = tmp_path_factory.mktemp("aapl")
    return unpacked_day(real_data / "lobster", "*AAPL*_1.zip", folder)


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
