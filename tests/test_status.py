"""Status bits: each has a meaning of its own and is reached by a test."""

import pathlib

from jaxmars.enums import REJECTING, STATUS_MEANING, Status, describe

TESTS = pathlib.Path(__file__).parent
MAX_BITS = 31  # of a non-negative int32


def test_every_bit_is_one_bit_with_one_sentence() -> None:
    assert set(STATUS_MEANING) == set(Status)
    assert len(set(STATUS_MEANING.values())) == len(Status)
    assert all(bit.bit_count() == 1 and bit < 1 << MAX_BITS for bit in Status)
    assert all("\n" not in sentence and sentence for sentence in STATUS_MEANING.values())


def test_bits_are_described_one_by_one() -> None:
    both = Status.BOOK_FULL | Status.STOPPED
    assert describe(both) == [STATUS_MEANING[Status.BOOK_FULL], STATUS_MEANING[Status.STOPPED]]
    assert describe(Status.OK) == []


def test_orders_that_are_rejected_say_so() -> None:
    for bit in Status:
        said = any(word in STATUS_MEANING[bit] for word in ("rejected", "ignored", "nothing was"))
        if bit in REJECTING:
            assert said or bit in (Status.UNKNOWN_ORDER, Status.BAD_SIZE, Status.BAD_PRICE), bit


def test_every_bit_is_asserted_somewhere() -> None:
    sources = [path for path in TESTS.rglob("test_*.py") if path.name != "test_status.py"]
    text = "\n".join(path.read_text() for path in sources)
    assert [bit.name for bit in Status if f"Status.{bit.name}" not in text] == []
