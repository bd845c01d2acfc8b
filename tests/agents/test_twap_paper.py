"""The TWAP agent of the paper, which goes to a level of the book."""

import jax
import numpy as np
import pytest
from oracles.desk_view import Resting, host_view
from oracles.twap_desk import KEY, OPEN, OTHERS, OWN, START, moves, order, state

from jaxmars.agents.twap import (
    paper_twap_agent,
    paper_twap_params,
)
from jaxmars.errors import InputError
from jaxmars.types import Side

PAPER = paper_twap_agent()
PAPER_BOOK: list[Resting] = [
    (Side.BUY, 99, 300, 1, OTHERS),
    (Side.BUY, 97, 300, 2, OTHERS),
    *[(Side.SELL, price, 300, price, OTHERS) for price in (101, 103, 104, 108, 109, 110)],
]


@pytest.mark.parametrize(
    ("side", "level", "price"),
    [
        (Side.BUY, 1, 101),
        (Side.BUY, 2, 103),
        (Side.BUY, 5, 109),
        (Side.SELL, 1, 99),
        (Side.SELL, 2, 97),
        (Side.SELL, 5, 97),  # only two levels exist
    ],
)
def test_the_papers_agent_goes_to_a_level(side: Side, level: int, price: int) -> None:
    params = paper_twap_params(side=side, start=START, target=1_000, passive_ratio=0.1, level=level)
    after, asked = moves(params, aggressive=True, seconds=25, book=PAPER_BOOK, agent=PAPER)
    assert asked == [order(side, price, 100)]
    assert int(after.wake.sec) == OPEN + 30


def test_the_papers_agent_without_an_aggressive_or_a_passive_part() -> None:
    none = paper_twap_params(side=Side.BUY, start=START, target=1_000, passive_ratio=0.5, level=0)
    mine: Resting = (Side.BUY, 99, 1_000, 500, OWN)
    asked = moves(none, aggressive=True, seconds=25, book=PAPER_BOOK, own=[mine], agent=PAPER)[1]
    assert asked == []
    pure = paper_twap_params(side=Side.BUY, start=START, target=1_000, passive_ratio=0, level=1)
    asked = moves(pure, aggressive=False, book=PAPER_BOOK, agent=PAPER)[1]
    assert asked == []
    after, _ = moves(pure, aggressive=False, book=PAPER_BOOK, agent=PAPER)
    assert int(after.wake.sec) == OPEN + 25


def test_an_empty_side_stands_in_for_every_level() -> None:
    params = paper_twap_params(side=Side.BUY, start=START, target=1_000, passive_ratio=0, level=3)
    asked = moves(params, aggressive=True, seconds=25, book=PAPER_BOOK[:2], agent=PAPER)[1]
    assert asked == [order(Side.BUY, 100, 100)]


def test_the_papers_agent_needs_five_levels() -> None:
    params = paper_twap_params(side=Side.BUY, start=START, target=1_000, passive_ratio=0, level=3)
    view = host_view(np.array(PAPER_BOOK), START)
    shallow = view._replace(l2=jax.tree.map(lambda x: x[:, :3], view.l2))
    with pytest.raises(ValueError, match="at least 5 levels, got 3"):
        PAPER.act(params, KEY, state(True), shallow)


def test_levels_out_of_range_are_refused() -> None:
    for level in (-1, 6):
        with pytest.raises(InputError, match="level must be from 0 to 5"):
            paper_twap_params(side=Side.BUY, start=START, target=100, passive_ratio=0, level=level)
