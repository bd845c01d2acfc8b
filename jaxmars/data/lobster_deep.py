"""LOBSTER messages that come without their books, such as those of 50 levels, against another
record of the same day (realism spec 1.1).

| what is needed | where it comes from |
|---|---|
| the book before the first message | row 0 of a record that begins with the same message |
| books to compare with | a record of fewer levels, after every message that both hold |
"""

import numpy as np
import pandas as pd

from jaxmars.data.lobster import LobsterData, nanoseconds
from jaxmars.data.lobster_continuous import ContinuousDay, book_before_first, lobster_messages
from jaxmars.data.orderflow import NO_CHECK, Recorded
from jaxmars.errors import InputError

_SAME = ("type", "order_id", "size", "price", "direction")


def lobster_deep(deep: LobsterData, first: LobsterData, against: LobsterData) -> ContinuousDay:
    """The flow of messages without books, from one record's first book, checked by another's books.

    Args:
      deep: the messages; its books are not read.
      first: a record that begins with the same message.
      against: a record of fewer levels.

    Returns:
      The flow of `lobster_messages`.

    Raises:
      InputError: records of other ticks, that begin with another message or share none.
    """
    ticks = [record.tick for record in (deep, first, against)]
    if len(set(ticks)) > 1:
        raise InputError(
            f"the messages, the first book and the books to compare with have ticks of {ticks[0]}, "
            f"{ticks[1]} and {ticks[2]}, expected one tick"
        )
    if not len(deep.sec) or _table(deep).iloc[:1].to_numpy().tolist() != (
        _table(first).iloc[:1].to_numpy().tolist()
    ):
        raise InputError(
            "the first book belongs to another message than the first one without books, expected "
            "records that begin alike"
        )
    at = same_messages(deep, against)
    if (at == NO_CHECK).all():
        raise InputError("no message is in both records, expected records of one day")
    recorded = Recorded(against.l2, None, np.full(against.l2.price.shape, True))
    return lobster_messages(deep, book_before_first(first), recorded, at)


def same_messages(data: LobsterData, other: LobsterData) -> np.ndarray:
    """Row of `other` that is the same message, `[rows]` int32; `NO_CHECK` for none.

    Messages are the same if all their columns are; of several such ones, the first goes with the
    first, the second with the second.
    """
    ours, theirs = (_table(record).reset_index(names="row") for record in (data, other))
    names = [name for name in ours.columns if name != "row"]
    both = ours.merge(theirs, on=names, suffixes=("", "_other"))
    at = np.full(len(ours), NO_CHECK, np.int32)
    at[both["row"].to_numpy()] = both["row_other"].to_numpy()
    return at


def _table(data: LobsterData) -> pd.DataFrame:
    """Messages, numbered among equal ones."""
    columns = {name: getattr(data, name) for name in _SAME}
    table = pd.DataFrame({"time": nanoseconds(data.sec, data.nsec)} | columns)
    return table.assign(repeat=table.groupby(list(table)).cumcount())
