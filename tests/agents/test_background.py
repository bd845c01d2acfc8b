"""The order model as an agent: its plans, and its context against the model's full forward."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles import order_state as oracle
from oracles.background_runs import (
    CFG,
    GROWTH,
    MODEL,
    MODEL_AGENT,
    NOISE_AGENT,
    STEPS,
    WINDOW,
    Run,
    play,
)
from oracles.desk_view import host_view
from oracles.tiny_world import (
    PAST_EVENTS,
    Past,
    history_after,
    loud_model,
    noise_past,
    quick_jit,
    rows_equal,
    tiny_converters,
)

from jaxmars.agents.background import (
    BackgroundState,
    background_agent,
    decode_order,
)
from jaxmars.agents.base import make_request
from jaxmars.agents.policy import anchored, exact
from jaxmars.book import mid_price
from jaxmars.tokens.bins import BinConverter, Converters
from jaxmars.tokens.order import (
    APPEND,
    NO_ROW,
    NUM_FEATURES,
    REPLACE,
)
from jaxmars.tokens.summary import UNIT
from jaxmars.types import L2, Kind, Side, Status, Time

NANO = 10**9
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def past() -> Past:
    return noise_past(CFG)


@pytest.fixture(scope="module")
def exact_runs(past: Past) -> list[Run]:
    return play(exact(GROWTH), past)


@pytest.fixture(scope="module")
def anchored_runs(past: Past) -> list[Run]:
    return play(anchored(MODEL, GROWTH), past)


def texts(past: Past, run: Run) -> tuple[list[int], list[list[list[int]]]]:
    """Action of every step of a run and the whole text after it, by the oracle."""
    converters = tiny_converters()
    names = ("price_level", "order_volume", "order_interval", "lob_volume")
    state = oracle.OrderState(oracle.Bins(*(getattr(converters, n).edges.tolist() for n in names)))
    flows = jax.tree.map(lambda a, b: np.concatenate([a, b]), *[past[:2], run[:2]])
    actions, found = [], []
    for record in oracle.records_of(*flows):
        actions.append(NO_ROW if record is None else state.push(record))
        found.append(list(state.rows))
    return actions[PAST_EVENTS:], found[PAST_EVENTS - 1 :]


@quick_jit
def full_forward(rows: jax.Array, count: jax.Array) -> jax.Array:
    """Hidden state after the last of `count` rows of each window, in one pass."""
    net = loud_model(MODEL).net()
    return jax.vmap(lambda rows, count: net.encode(rows)[count - 1])(rows, count)


def expected_hidden(slices: list[list[list[int]]]) -> np.ndarray:
    rows = np.zeros((len(slices), WINDOW, NUM_FEATURES), np.int32)
    for i, text in enumerate(slices):
        rows[i, : len(text)] = text
    return np.asarray(full_forward(jnp.asarray(rows), jnp.asarray([len(t) for t in slices])))


def content(run: Run, i: int) -> list[list[int]]:
    """Rows in the agent's window after step i, without their summaries."""
    window = run.market.agents[MODEL_AGENT].history.window
    return window.rows[i][: window.count[i], :NUM_FEATURES].tolist()


def test_exact_reads_the_last_rows_of_the_text(past: Past, exact_runs: list[Run]) -> None:
    """Every hidden state is the model's on the last W rows, also after rewritten rows."""
    seen = np.zeros(3, int)
    for run in exact_runs:
        actions, text = texts(past, run)
        slices = [t[-WINDOW:] for t in text[1:]]
        assert all(content(run, i) == slices[i] for i in range(STEPS))
        assert np.abs(run.hidden - expected_hidden(slices)).max() < TOLERANCE
        assert {len(t) for t in slices} == {WINDOW}
        seen += np.bincount(actions, minlength=3)
    assert seen[REPLACE] > 5
    assert seen[NO_ROW] > 2
    assert seen[APPEND] > 100


def test_anchored_reads_the_rows_since_the_last_anchor(
    past: Past, anchored_runs: list[Run]
) -> None:
    """Every hidden state is the model's on a contiguous run of W - growth to W rows."""
    seen = np.zeros(3, int)
    for run in anchored_runs:
        actions, text = texts(past, run)
        slices = []
        for i in range(STEPS):
            known = len(text[i - i % GROWTH])
            slices.append(text[i + 1][known - (WINDOW - GROWTH) :])
        assert all(content(run, i) == slices[i] for i in range(STEPS))
        assert np.abs(run.hidden - expected_hidden(slices)).max() < TOLERANCE
        lengths = {len(t) for t in slices}
        assert min(lengths) >= WINDOW - GROWTH
        assert WINDOW - GROWTH + 8 <= max(lengths) <= WINDOW
        seen += np.bincount(actions, minlength=3)
    assert seen[REPLACE] > 5
    assert seen[NO_ROW] > 2


def test_rows_say_whose_orders_they_are(past: Past, anchored_runs: list[Run]) -> None:
    """The last column of a summary marks the orders of the noise agent."""
    marked = []
    for run in anchored_runs:
        actions = np.array(texts(past, run)[0])
        window = run.market.agents[MODEL_AGENT].history.window
        last = window.rows[np.arange(STEPS), window.count - 1, -1]
        is_other = run.event.agent_id == NOISE_AGENT
        np.testing.assert_array_equal(
            last[actions != NO_ROW], UNIT * is_other[actions != NO_ROW].astype(int)
        )
        marked += last[actions != NO_ROW].tolist()
    assert set(marked) == {0, UNIT}


def test_the_rows_before_matter(past: Past, exact_runs: list[Run]) -> None:
    """The tolerance of the tests above is tight: one row less changes the hidden state."""
    run = exact_runs[0]
    text = texts(past, run)[1]
    fewer = expected_hidden([t[-WINDOW + 1 :] for t in text[1:]])
    assert np.abs(run.hidden - fewer).max(1).min() > 3 * TOLERANCE


@pytest.mark.parametrize("growth", [0, -1, WINDOW, WINDOW + 1])
def test_growth_outside_the_window_is_refused(growth: int) -> None:
    with pytest.raises(ValueError, match=rf"must lie in \[1, {WINDOW - 1}\]"):
        anchored(MODEL, growth)


def nanoseconds(time: Time) -> np.ndarray:
    return np.asarray(time.sec, np.int64) * NANO + time.nsec


def own_turns(run: Run) -> np.ndarray:
    """Steps at which a request of the model agent was completed."""
    own = run.event.agent_id == MODEL_AGENT
    return np.flatnonzero(own & (run.market.pending.kind == Kind.NONE).all(1))


@pytest.fixture(scope="module", params=["exact", "anchored"])
def runs(
    request: pytest.FixtureRequest, exact_runs: list[Run], anchored_runs: list[Run]
) -> list[Run]:
    return exact_runs if request.param == "exact" else anchored_runs


def test_the_first_plan_is_made_at_the_start(past: Past, runs: list[Run]) -> None:
    for run in runs:
        assert own_turns(run)[0] == 0
        assert run.event.kind[0] == Kind.NONE
        assert nanoseconds(run.event.time)[0] == int(past.time.sec) * NANO + int(past.time.nsec)


def test_plans_wait_for_their_interval_and_price_from_the_mid_of_that_moment(
    runs: list[Run],
) -> None:
    bins = tiny_converters()
    for run in runs:
        turns = own_turns(run)
        state = run.market.agents[MODEL_AGENT]
        now = nanoseconds(run.event.time)[turns]
        waits = (nanoseconds(state.wake)[turns] - now) / NANO
        assert set(waits.round(9)) <= set(bins.order_interval.edges[1:])
        mids = np.asarray(jax.vmap(mid_price)(run.after, run.event.last_price))[turns]
        offsets = np.asarray(state.plan.price)[turns] - mids
        assert set(offsets.tolist()) <= set(bins.price_level.edges[1:])
        assert set(state.plan.size[turns].tolist()) <= set(bins.pred_order_volume.edges[1:])


def test_a_plan_is_kept_until_it_is_carried_out(runs: list[Run]) -> None:
    """Whatever others do meanwhile, and while its own cancels are under way."""
    for run in runs:
        state = run.market.agents[MODEL_AGENT]
        turns = set(own_turns(run).tolist())
        kept = [i for i in range(1, STEPS) if i not in turns]
        others = np.asarray(run.event.agent_id)[kept] == NOISE_AGENT
        for i, by_others in zip(kept, others, strict=True):
            planned = (state.plan, state.wake) if by_others else state.plan
            now, before = (jax.tree.map(lambda x, j=j: x[j], planned) for j in (i, i - 1))
            assert rows_equal(now, before)
        assert others.sum() > 10
        assert (np.asarray(run.event.filled)[kept] > 0).sum() > 2  # trades in between


def test_orders_are_submitted_as_planned_and_on_time(runs: list[Run]) -> None:
    several = 0
    for run in runs:
        turns = own_turns(run)
        state, event = run.market.agents[MODEL_AGENT], run.event
        for planned, done in itertools.pairwise(turns):
            plan = jax.tree.map(lambda x, i=planned: int(x[i]), state.plan)
            mine = np.flatnonzero(event.agent_id[: done + 1] == MODEL_AGENT)
            mine = mine[mine > planned]
            assert (nanoseconds(event.time)[mine] == nanoseconds(state.wake)[planned]).all()
            if plan.kind == Kind.LIMIT:
                assert mine.tolist() == [done]
                fields = (event.kind, event.side, event.price, event.size)
                assert tuple(int(x[done]) for x in fields) == plan[:4]
            elif event.kind[done] == Kind.NONE:
                assert event.status[done] == Status.NOTHING_TO_CANCEL
            else:
                assert (event.kind[mine] == Kind.CANCEL).all()
                assert event.size[mine].sum() <= plan.size
                assert len(set(event.price[mine].tolist())) == 1
                several += len(mine) > 1
    assert several > 0


def test_at_temperature_zero_the_plan_is_the_most_probable_order(runs: list[Run]) -> None:
    """A check of the whole chain: context, head, bins."""
    run = runs[-1]
    turns = own_turns(run)
    head = loud_model(MODEL).net().head
    best = np.asarray(jax.jit(jax.vmap(head.logits))(run.hidden[turns])).argmax(1)
    kind, price, volume, interval = np.unravel_index(best, MODEL.slot_shape)
    bins = tiny_converters()
    mids = np.asarray(jax.vmap(mid_price)(run.after, run.event.last_price))[turns]
    plan = jax.tree.map(lambda x: np.asarray(x)[turns], run.market.agents[MODEL_AGENT].plan)
    sides = np.where(kind == oracle.SELL, Side.SELL, Side.BUY)
    assert plan.kind.tolist() == np.where(kind == 2, Kind.CANCEL, Kind.LIMIT).tolist()
    assert plan.side.tolist() == sides.tolist()
    assert plan.price.tolist() == (mids + bins.price_level.edges[price + 1]).tolist()
    assert plan.size.tolist() == bins.pred_order_volume.edges[volume + 1].tolist()
    wake = jax.tree.map(lambda x: np.asarray(x)[turns], run.market.agents[MODEL_AGENT].wake)
    waits = (nanoseconds(wake) - nanoseconds(run.event.time)[turns]) / NANO
    assert waits.round(9).tolist() == bins.order_interval.edges[interval + 1].tolist()


ROUNDED = [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (3.4999, 3), (-7.6, -8)]


def test_decoded_values_are_rounded_to_even() -> None:
    """As the release rounds planned prices and volumes."""
    values = np.array(sorted(value for value, _ in ROUNDED))
    bins = BinConverter.from_arrays(
        np.append(values, 9.0), [values[i : i + 1] for i in range(8)], [np.ones(1)] * 8
    )
    waits = BinConverter.from_arrays(
        np.array([-1.0, 0, 9]), [np.zeros(1), np.full(1, 2.25)], [np.ones(1)] * 2
    )
    tables = Converters(bins, bins, bins, waits, bins).tables()
    decode = jax.jit(decode_order)
    expected = dict(ROUNDED)
    for i, value in enumerate(values.tolist()):
        slots = jnp.array([2, i, i, 1], jnp.int32)
        request, wait = decode(tables, slots, jnp.zeros(3), jnp.int32(100))
        rounded = expected[value]
        assert tuple(map(int, request)) == (Kind.CANCEL, Side.BUY, 100 + rounded, rounded, 0)
        assert (int(wait.sec), int(wait.nsec)) == (2, NANO // 4)
    request, wait = decode(tables, jnp.array([0, 0, 0, 0]), jnp.zeros(3), jnp.int32(100))
    assert (int(request.kind), int(request.side)) == (Kind.LIMIT, Side.SELL)
    assert (int(wait.sec), int(wait.nsec)) == (0, 0)


def test_a_crowd_fits_its_cancels_where_its_configuration_says_so(past: Past) -> None:
    """A market with nobody else, and a cancel of more than rests at the price it names."""
    levels = L2(
        jnp.array([[99, 97], [101, 102]], jnp.int32), jnp.array([[1, 9], [1, 9]], jnp.int32)
    )
    wish = make_request(Kind.CANCEL, 0, 99, 5)
    for config in (MODEL, dataclasses.replace(MODEL, fitting_cancels=True)):
        model = loud_model(config)
        agent = background_agent(model.graphdef, config, CFG, exact(config))
        state = BackgroundState(None, (), wish, past.time)  # pyright: ignore[reportArgumentType]
        view = host_view(np.zeros((1, 5)), past.time)._replace(l2=levels)
        sent = agent.act(None, jax.random.key(0), state, view)[1]
        assert int(sent.price) == (97 if config.fitting_cancels else 99)


def swept(run: Run) -> tuple[int, int]:
    """Limit orders of the model that traded, and those of them that swept; by the book before."""
    event = jax.tree.map(lambda x: x[1:], run.event)
    traded = (event.agent_id == MODEL_AGENT) & (event.kind == Kind.LIMIT) & (event.filled > 0)
    best = run.after.size[np.arange(STEPS - 1), 1 - event.side, 0]
    return int(traded.sum()), int((traded & (event.size > best)).sum())


def test_a_crowd_never_sweeps_where_its_configuration_says_so(
    past: Past, exact_runs: list[Run]
) -> None:
    """It trades no less for that."""
    config = dataclasses.replace(MODEL, never_sweeps=True)
    tame = play(exact(GROWTH), past, config)
    for runs, allowed in ((exact_runs, True), (tame, False)):
        counts = np.array([swept(run) for run in runs])
        assert counts[:, 0].sum() > 10
        assert (counts[:, 1].sum() > 5) == allowed


def test_reading_twice_changes_nothing(past: Past) -> None:
    """Nor does a row rewritten and written back."""
    policy, net = anchored(MODEL, GROWTH), loud_model(MODEL).net()
    graphdef, params = nnx.split(net)
    history = history_after(past, WINDOW, CFG)

    @quick_jit
    def readings(params: nnx.State) -> list[jax.Array]:
        net = nnx.merge(graphdef, params)
        window, cache = policy.anchor(net, (), history.window)
        last = window.rows[window.count - 1]
        found = []
        for row in (last, last, last.at[0].set(5), last):
            window = policy.put(window, row, jnp.int32(REPLACE))
            hidden, cache = policy.read(net, (), window, cache)
            found.append(hidden)
        return found

    first, again, other, back = map(np.asarray, readings(params))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.array_equal(first, back)
