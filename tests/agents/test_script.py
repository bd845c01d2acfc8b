"""Scripted orders: what is sent when, in a market, and what a file may say."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.desk_view import at, host_view, listed
from oracles.tiny_world import quick_jit

from jaxmars import clock
from jaxmars.agents.base import EVERYTHING, Ask, MarketView, Request, make_request
from jaxmars.agents.schedule_file import MAX_ORDER_ID, read_schedule
from jaxmars.agents.script import Schedule, most_at_once, scripted_agent
from jaxmars.book import init_book
from jaxmars.config import MarketConfig
from jaxmars.errors import InputError
from jaxmars.sim import MarketState, init_market, record
from jaxmars.types import Event, Kind, Side

OPEN = 34_200
TICK = 0.01
KEY = jax.random.key(0)
EVENTS = 64
HEADING = "time,kind,side,price,size,order_id"
ROWS = """
09:30:05,LIMIT,BUY,9.90,500,1
09:30:10,LIMIT,SELL,10.10,400,2
09:30:10,LIMIT,SELL,10.10,300,3
09:30:10,IOC,BUY,10.10,500,

09:30:20.25,MODIFY,,9.90,200,1
09:30:20.25,CANCEL_ORDER,,,50,3
09:30:30,MODIFY,,9.95,200,1
09:30:40,POST_ONLY,SELL,10.20,100,4
09:30:41,CANCEL_AT,,10.10,,
09:30:42,MARKET,SELL,,100,
09:30:43,CANCEL,,10.00,30,
09:30:44,CANCEL_OLDEST,,,,
"""


def file_of(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "schedule.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def schedule(tmp_path: pathlib.Path) -> Schedule:
    return read_schedule(file_of(tmp_path, HEADING + ROWS), TICK)


def test_a_file_becomes_requests(schedule: Schedule) -> None:
    rows = np.stack([*schedule.time, *schedule.request], 1)
    assert rows.dtype == np.int32
    assert rows.tolist() == [
        [OPEN + 5, 0, Kind.LIMIT, Side.BUY, 990, 500, 1],
        [OPEN + 10, 0, Kind.LIMIT, Side.SELL, 1_010, 400, 2],
        [OPEN + 10, 0, Kind.LIMIT, Side.SELL, 1_010, 300, 3],
        [OPEN + 10, 0, Kind.IOC, Side.BUY, 1_010, 500, 0],
        [OPEN + 20, 250_000_000, Ask.MODIFY, 0, 990, 200, 1],
        [OPEN + 20, 250_000_000, Ask.CANCEL_ORDER, 0, 0, 50, 3],
        [OPEN + 30, 0, Ask.MODIFY, 0, 995, 200, 1],
        [OPEN + 40, 0, Kind.POST_ONLY, Side.SELL, 1_020, 100, 4],
        [OPEN + 41, 0, Ask.CANCEL_AT, 0, 1_010, EVERYTHING, 0],
        [OPEN + 42, 0, Kind.MARKET, Side.SELL, 0, 100, 0],
        [OPEN + 43, 0, Kind.CANCEL, 0, 1_000, 30, 0],
        [OPEN + 44, 0, Ask.CANCEL_OLDEST, 0, 0, EVERYTHING, 0],
    ]
    assert most_at_once(schedule) == 3


def test_a_market_carries_a_schedule_out(schedule: Schedule) -> None:
    """Alone in a market: every row meets the book its predecessors left."""
    event, market = run([schedule], most_at_once(schedule))
    new, gone = int(Kind.LIMIT), int(Kind.CANCEL)
    assert history(event) == [
        (5.0, new, 1, 500, 0),
        (10.0, new, 2, 400, 0),
        (10.0, new, 3, 300, 0),
        (10.0, int(Kind.IOC), None, 500, 500),
        (20.25, gone, 1, 300, 0),  # smaller at the same price: it keeps its place
        (20.25, gone, 3, 50, 0),
        (30.0, gone, 1, 200, 0),  # another price: taken out and sent anew
        (30.0, new, 1, 200, 0),
        (40.0, int(Kind.POST_ONLY), 4, 100, 0),
        (41.0, gone, 3, 150, 0),
        (42.0, int(Kind.MARKET), None, 100, 100),
        (43.0, gone, 1, 30, 0),
        (44.0, gone, 1, 70, 0),
        (44.0, gone, 4, 100, 0),
    ]
    assert market.book.total.tolist() == [0, 0]
    assert market.status == 0


def run(schedules: list[Schedule], num: int) -> tuple[Event, MarketState]:
    """One market of scripted agents, on the host."""
    cfg = MarketConfig(slots=16)
    agents = (scripted_agent(num),) * len(schedules)
    params = tuple(schedules)

    def one(key: jax.Array) -> tuple[Event, MarketState]:
        market = init_market(
            key,
            params,
            init_book(cfg.slots),
            clock.make_time(OPEN),
            clock.make_time(OPEN + 60),
            jnp.int32(0),
            (None,) * len(schedules),
            agents=agents,
            cfg=cfg,
        )
        after, (event, _) = record(key, market, params, agents=agents, cfg=cfg, num_events=EVENTS)
        return event, after

    return jax.tree.map(np.asarray, quick_jit(one)(KEY))


def history(event: Event) -> list[tuple[float, int, int | None, int, int]]:
    """(seconds since the start, kind, order id, size, filled) of every event; ids of the market's
    own choosing are None."""
    found = []
    for i in np.flatnonzero(event.kind != Kind.NONE):
        seconds = float(event.time.sec[i] - OPEN + event.time.nsec[i] / 1e9)
        name = int(event.order_id[i])
        number = name if name <= MAX_ORDER_ID else None
        kind, size, filled = (int(x[i]) for x in (event.kind, event.size, event.filled))
        found.append((seconds, kind, number, size, filled))
    return found


@pytest.mark.parametrize(("num", "senders"), [(3, [0, 0, 0, 1, 1, 1]), (2, [0, 0, 1, 1, 0, 1])])
def test_rows_of_one_moment_go_out_back_to_back(num: int, senders: list[int]) -> None:
    """Two scripts of three rows each for one moment."""
    time = clock.make_time(jnp.full(3, OPEN + 10), jnp.zeros(3))
    same = lambda x: np.full(3, x)

    def rows(ids: np.ndarray) -> Request:
        return make_request(same(Kind.LIMIT), same(Side.BUY), same(990), same(100), ids)

    script = [Schedule(time, rows(ids)) for ids in (np.arange(1, 4), np.arange(11, 14))]
    event, _ = run(script, num)
    sent = event.kind == Kind.LIMIT
    assert event.agent_id[sent].tolist() == senders
    assert (event.time.sec[sent] == OPEN + 10).all()
    mine = event.order_id[sent][event.agent_id[sent] == 1]
    assert mine.tolist() == [11, 12, 13]


def test_rows_are_sent_when_they_are_due(schedule: Schedule) -> None:
    agent = scripted_agent(3)
    act = quick_jit(agent.act)

    def seen(seconds: float) -> MarketView:
        return host_view(np.zeros((4, 5), np.int32), at(OPEN + seconds))

    state, wake = agent.init(schedule, KEY, seen(0), None)
    assert int(wake.sec) == OPEN + 5
    state, requests = act(schedule, KEY, state, seen(5))
    assert [row[-1] for row in listed(requests)] == [1]
    assert int(state.wake.sec) == OPEN + 10
    state, requests = act(schedule, KEY, state, seen(10))
    assert [row[-1] for row in listed(requests)] == [2, 3, 0]
    assert (int(state.wake.sec), int(state.wake.nsec)) == (OPEN + 20, 250_000_000)
    late, requests = act(schedule, KEY, agent.init(schedule, KEY, seen(0), None)[0], seen(12))
    assert [row[-1] for row in listed(requests)] == [1, 2, 3]  # all due by then
    assert int(late.wake.sec) == OPEN + 10
    event: Any = None  # not looked at
    later = agent.update(schedule, KEY, state, seen(10), event, jnp.array(True))
    assert clock.same(later.wake, state.wake)
    state, requests = act(schedule, KEY, state._replace(row=jnp.int32(11)), seen(44))
    assert [row[0] for row in listed(requests)] == [Ask.CANCEL_OLDEST]
    assert int(state.wake.sec) == clock.NEVER_SEC


def test_an_agent_must_send_something() -> None:
    with pytest.raises(ValueError, match="at least one row at once, got 0"):
        scripted_agent(0)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("09:30:05,LIMIT,BUY,9.90,500", "expected 6 cells, got 5"),
        ("9.30,LIMIT,BUY,9.90,500,1", "expected a time HH:MM:SS"),
        ("09:30:05.1234567891,LIMIT,BUY,9.90,500,1", "expected a time HH:MM:SS"),
        ("24:00:00,LIMIT,BUY,9.90,500,1", "expected a time of the day"),
        ("09:60:00,LIMIT,BUY,9.90,500,1", "expected a time of the day"),
        ("09:29:59,LIMIT,BUY,9.90,500,1", "earlier than that of the row before"),
        ("09:30:05,BUY,BUY,9.90,500,1", "kind must be one of LIMIT"),
        ("09:30:05,NONE,,,,", "kind must be one of LIMIT"),
        ("09:30:05,UNCROSS,,,,", "kind must be one of LIMIT"),
        ("09:30:05,LIMIT,buy,9.90,500,1", "side must be BUY or SELL"),
        ("09:30:05,LIMIT,,9.90,500,1", "LIMIT needs side"),
        ("09:30:05,LIMIT,BUY,,500,1", "LIMIT needs price"),
        ("09:30:05,MODIFY,,9.90,,1", "MODIFY needs size"),
        ("09:30:05,CANCEL_ORDER,,,100,", "CANCEL_ORDER needs order_id"),
        ("09:30:05,MARKET,BUY,9.90,500,1", "MARKET has no price, got '9.90'"),
        ("09:30:05,CANCEL,SELL,9.90,500,", "CANCEL has no side"),
        ("09:30:05,LIMIT,BUY,9.905,500,1", "multiple of the tick 0.01"),
        ("09:30:05,LIMIT,BUY,0,500,1", "multiple of the tick 0.01"),
        ("09:30:05,LIMIT,BUY,10737418.24,500,1", "multiple of the tick 0.01"),
        ("09:30:05,LIMIT,BUY,-9.90,500,1", "price must be a number of currency"),
        ("09:30:05,LIMIT,BUY,nan,500,1", "price must be a number of currency"),
        ("09:30:05,LIMIT,BUY,9.90,0,1", "size must be a whole number from 1"),
        ("09:30:05,LIMIT,BUY,9.90,2147483648,1", "size must be a whole number from 1"),
        ("09:30:05,LIMIT,BUY,9.90,1e3,1", "size must be a whole number from 1"),
        ("09:30:05,LIMIT,BUY,9.90,500,0", "order_id must be a whole number from 1"),
        ("09:30:05,LIMIT,BUY,9.90,500,1000000000", "order_id must be a whole number from 1"),
        ("09:30:05,CANCEL_ORDER,,,,8", "names order 8, which no row before it sends"),
        (f"09:30:05,LIMIT,BUY,{'9' * 50},500,1", "at most 40 characters"),
    ],
)
def test_rows_that_cannot_be_sent_are_refused(
    tmp_path: pathlib.Path, row: str, sentence: str
) -> None:
    good = "09:30:00,LIMIT,BUY,9.90,500,7"
    path = file_of(tmp_path, f"{HEADING}\n{good}\n{row}\n")
    with pytest.raises(InputError, match=r"^line 3 of schedule ") as error:
        read_schedule(path, TICK)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must start with the heading time,kind"),
        (b"time,kind\n", "must start with the heading time,kind"),
        (HEADING.encode(), "has no rows"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (HEADING.encode() + b'\n"09:30:00', "not a table of comma-separated cells"),
        (HEADING.encode() + b"\n" + b"9" * 200_000, "not a table of comma-separated cells"),
    ],
)
def test_files_that_are_no_schedules_are_refused(
    tmp_path: pathlib.Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "schedule.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_schedule(path, TICK)


def test_a_file_that_is_not_there_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_schedule(tmp_path / "none.csv", TICK)


def test_ticks_are_exact(tmp_path: pathlib.Path) -> None:
    """0.29 / 0.01 is 28.999… in binary; a tick may be a fraction of a cent."""
    rows = "\n09:30:00,LIMIT,BUY,0.29,500,1\n"
    path = file_of(tmp_path, HEADING + rows)
    assert read_schedule(path, 0.01).request.price.tolist() == [29]
    assert read_schedule(path, 1e-05).request.price.tolist() == [29_000]
