"""Evaluation sequences on disk, and what the script refuses."""

import json
import pathlib

import jax
import pytest
from oracles.sequence_days import COND, MESSAGES, good_flags, named_day, same, script

from jaxmars.data import LobsterData, read_lobster
from jaxmars.errors import InputError
from jaxmars.tasks.sequence_files import check_target, recorded_of, write_rows, write_sequences
from jaxmars.tasks.sequences import Sequence, take_rows
from jaxmars.types import Status, describe


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    return named_day(tmp_path_factory.mktemp("day"))


@pytest.fixture(scope="module")
def day(files: tuple[pathlib.Path, pathlib.Path]) -> LobsterData:
    return read_lobster(*files)


@pytest.fixture(scope="module")
def made(day: LobsterData) -> list[Sequence]:
    """Three sequences of recorded rows; who made them does not matter."""
    cut = lambda first, num: take_rows(day, slice(first, first + num))
    return [
        Sequence(i, cut(10 * i, COND), cut(100 + i, MESSAGES), cut(200 + i, MESSAGES), 0)
        for i in range(3)
    ]


def test_files_hold_the_sequences(tmp_path: pathlib.Path, made: list[Sequence]) -> None:
    recorded = recorded_of(pathlib.Path("A.B-1_2024-05-06_1_2_message_10.csv"))
    target = check_target(tmp_path, "a_model", recorded.stock)
    write_sequences(target, recorded, made, 7, {"seed": 7})
    stale = target / "data_gen" / "stale.csv"
    stale.touch()
    assert check_target(tmp_path, "a_model", recorded.stock) == target
    summary = write_sequences(target, recorded, made[:2], 7, {"seed": 7})
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    ends = {"cond": "", "real": "", "gen": "_gen_id_7"}
    expected = [
        f"a_model/A.B-1/data_{which}/A.B-1_2024-05-06_{kind}_real_id_000{number}{end}.csv"
        for which, end in ends.items()
        for kind in ("message", "orderbook")
        for number in range(2)
    ]
    assert found == sorted([*expected, "a_model/A.B-1/sequences.json"])
    assert [p.name for p in tmp_path.iterdir()] == ["a_model"]
    assert [p.name for p in (tmp_path / "a_model").iterdir()] == ["A.B-1"]
    for name in expected:
        if "_message_" in name:
            pair = (tmp_path / name, tmp_path / name.replace("_message_", "_orderbook_"))
            sequence = made[int(name.partition("real_id_")[2][:4])]
            part = getattr(sequence, name.partition("data_")[2].partition("/")[0])
            assert same(read_lobster(*pair, part.tick), part)
    assert json.loads((target / "sequences.json").read_text()) == summary
    first = summary["sequences"][0]
    assert (first["cond"], first["real"], first["gen"]) == (COND, MESSAGES, MESSAGES)


def test_rows_without_a_level_are_written_as_lobster_writes_them(
    tmp_path: pathlib.Path, day: LobsterData
) -> None:
    one = take_rows(day, slice(0, 1))
    write_rows(tmp_path / "m", tmp_path / "b", one)
    message, book = (x.read_text().strip().split(",") for x in (tmp_path / "m", tmp_path / "b"))
    assert message[0] == "36000.000000000" and message[4] == "199900" and message[5] == "1"
    assert book[:4] == ["9999999999", "0", "199900", str(day.size[0])]
    assert book[6] == "-9999999999"


def test_other_folders_and_names_are_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "m" / "GOOG").mkdir(parents=True)
    (tmp_path / "m" / "GOOG" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="GOOG holds something else than sequences"):
        check_target(tmp_path, "m", "GOOG")
    with pytest.raises(InputError, match="file is a file, expected a folder"):
        check_target(tmp_path / "file", "m", "GOOG")
    for name in ("..", "a/b", "", ".part"):
        with pytest.raises(InputError, match="the model is named"):
            check_target(tmp_path, name, "GOOG")
    for name in ("message.csv", "GOOG_2012-13-01_1_2_message_10.csv"):
        with pytest.raises(InputError, match="does not tell stock and date"):
            recorded_of(pathlib.Path(name))


def test_troubles_are_told(tmp_path: pathlib.Path, made: list[Sequence]) -> None:
    recorded = recorded_of(pathlib.Path("X_2024-05-06_1_2_message_10.csv"))
    late = made[0]._replace(status=int(Status.BOOK_FULL))
    summary = write_sequences(tmp_path / "X", recorded, [late], 0, {})
    assert summary["sequences"][0]["troubles"] == describe(Status.BOOK_FULL)
    assert summary["sequences"][0]["start"] == "10:00:20.755514"


def test_nothing_is_left_of_files_that_could_not_be_written(
    tmp_path: pathlib.Path, made: list[Sequence]
) -> None:
    recorded = recorded_of(pathlib.Path("X_2024-05-06_1_2_message_10.csv"))
    write_sequences(tmp_path / "X", recorded, made[:1], 0, {})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sequences(tmp_path / "X", recorded, made, 0, {"rate": float("nan")})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--baseline", "--from", "10:06"], "--from is not before --until"),
        (["--baseline", "--calibrate-until", "10:04"], "--calibrate-until is after --from"),
        (["--model", "no", "--calibrate-until", "10:01"], "belongs to --baseline"),
        (["--model", "no"], "no is not a folder, expected an order model"),
        (["--baseline", "--starts", "900"], "expected at least 900"),
        (["--baseline", "--slots", "12"], "12 slots per side, expected the 10 levels"),
        (["--baseline", "--name", "../x"], "the model is named '../x'"),
    ],
)
def test_bad_input_is_one_sentence(
    files: tuple[pathlib.Path, pathlib.Path],
    tmp_path: pathlib.Path,
    flags: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    jax.devices()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "unused")
    assert script().main([*good_flags(files, tmp_path / "out"), *flags]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert out == "" and len(lines) == 1 and sentence in lines[0]
    assert not (tmp_path / "out").exists()
