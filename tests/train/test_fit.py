"""Losses with known answers, and the training loop on a stream that can be learnt."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from oracles.tiny_world import quick_jit

from jaxmars.config import OrderModelConfig
from jaxmars.models import OrderModel
from jaxmars.train import loop
from jaxmars.train.loop import (
    Progress,
    StepResult,
    TrainingError,
    TrainState,
    fit,
    init_state,
    make_step,
    optimizer,
    place,
    to_bfloat16,
)
from jaxmars.train.losses import Batch, all_own, evaluate, mean_loss, order_loss
from jaxmars.train.settings import TrainConfig
from jaxmars.types import Params

MODEL = dataclasses.replace(OrderModelConfig.tiny(), head="factored")
LENGTH = 12
BATCH = 4
PERIOD = 5
CFG = TrainConfig(
    steps=60,
    batch=BATCH,
    learning_rate=1e-2,
    warmup=5,
    bfloat16=False,
    report_every=20,
    save_every=20,
)


def random_windows(rng: np.random.Generator, cfg: OrderModelConfig, batch: int) -> np.ndarray:
    """Windows `[batch, LENGTH + 1, 15]` of rows in the tables of a model."""
    limits = [cfg.vocab, 10, 10, 200, 9_000, *[9] * 10]
    return rng.integers(0, limits, (batch, LENGTH + 1, 15)).astype(np.int32)


def repetitive(rng: np.random.Generator) -> Batch:
    """Windows of a cycle of `PERIOD` orders that start anywhere in it."""
    cycle = np.random.default_rng(0).integers(0, MODEL.vocab, PERIOD)
    start = rng.integers(0, PERIOD, (BATCH, 1))
    windows = np.zeros((BATCH, LENGTH + 1, 15), np.int32)
    windows[:, :, 0] = cycle[(start + np.arange(LENGTH + 1)) % PERIOD]
    return all_own(windows)


def with_head(model: OrderModel, change: float) -> Params:
    """Parameters whose head is multiplied by a number."""
    head = jax.tree.map(lambda x: x * change, model.params["head"])
    return model.params | {"head": head}


@pytest.fixture(scope="module")
def model() -> OrderModel:
    return OrderModel.init(MODEL, jax.random.key(0))


@pytest.mark.parametrize("head", ["joint", "factored"])
def test_the_loss_of_a_uniform_model_is_the_log_of_its_vocabulary(head: str) -> None:
    """Every window, every position, no spread."""
    uniform = OrderModel.init(dataclasses.replace(MODEL, head=head), jax.random.key(1))
    params = with_head(uniform, 0.0)
    rng = np.random.default_rng(2)
    batches = [all_own(random_windows(rng, MODEL, BATCH)) for _ in range(2)]
    mean, error = evaluate(uniform.graphdef, params, batches)
    assert mean == pytest.approx(math.log(MODEL.vocab), rel=1e-6)
    assert error == pytest.approx(0, abs=1e-6)


def test_losses_are_those_of_the_joint_logits(model: OrderModel) -> None:
    """Position i is scored on row i + 1; the mean is over positions and windows."""
    windows = random_windows(np.random.default_rng(3), MODEL, BATCH)
    logits = np.asarray(model.logits(windows[:, :-1]), np.float64)
    normal = np.log(np.exp(logits).sum(-1))
    labels = windows[:, 1:, 0]
    picked = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    expected = normal - picked
    net, rows = model.net(), jnp.asarray(windows)
    found = jax.jit(jax.vmap(order_loss, (None, 0)))(net, rows)
    assert np.abs(np.asarray(found) - expected).max() < 1e-4
    batch = all_own(windows)
    halves = [all_own(windows[:2]), all_own(windows[2:])]
    mean, error = evaluate(model.graphdef, model.params, halves)
    assert mean == pytest.approx(expected.mean(), rel=1e-5)
    assert mean == pytest.approx(float(jax.jit(mean_loss)(net, batch)), rel=1e-5)
    assert error == pytest.approx(expected.mean(1).std(ddof=1) / BATCH**0.5, rel=1e-3)


def test_orders_of_outside_traders_are_not_learnt(model: OrderModel) -> None:
    """They count neither in the mean nor in its gradient; the first row is never a label."""
    windows = random_windows(np.random.default_rng(5), MODEL, BATCH)
    own = np.random.default_rng(6).random(windows.shape[:2]) < 0.5
    batch = Batch(windows, own)
    net = model.net()
    found = np.asarray(jax.jit(jax.vmap(order_loss, (None, 0)))(net, jnp.asarray(windows)))
    expected = found[own[:, 1:]].mean()
    assert float(jax.jit(mean_loss)(net, batch)) == pytest.approx(expected, rel=1e-5)
    mean, error = evaluate(model.graphdef, model.params, [batch])
    assert mean == pytest.approx(expected, rel=1e-5)
    assert error > 0
    nothing = Batch(windows, np.zeros_like(own))
    assert float(jax.jit(mean_loss)(net, nothing)) == 0


def keep(lines: list[Progress], line: Progress) -> bool:
    """Goes on."""
    lines.append(line)
    return True


@pytest.fixture(scope="module")
def training(model: OrderModel) -> tuple[Params, list[Progress]]:
    """A run on the repetitive stream, which never ends by itself."""
    rng = np.random.default_rng(4)
    stream = (repetitive(rng) for _ in itertools.count())
    lines: list[Progress] = []
    state = init_state(model.params, CFG)
    state = fit(model.graphdef, state, stream, CFG, lambda line, _: keep(lines, line))
    assert int(state.step) == CFG.steps
    return state.params, lines


def test_training_learns_a_repetitive_stream(training: tuple[Params, list[Progress]]) -> None:
    """The cycle itself is certain; where it starts is one of five."""
    _, lines = training
    assert [line.step for line in lines] == [20, 40, 60]
    losses = [line.loss for line in lines]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.25 * math.log(MODEL.vocab)
    assert [line.seconds for line in lines] == sorted(line.seconds for line in lines)
    assert all(line.orders_per_second > 0 for line in lines)


def test_the_trained_parameters_come_back_and_the_given_ones_stay(
    model: OrderModel, training: tuple[Params, list[Progress]]
) -> None:
    windows = repetitive(np.random.default_rng(9))
    before, _ = evaluate(model.graphdef, model.params, [windows])
    after, _ = evaluate(model.graphdef, training[0], [windows])
    assert before == pytest.approx(math.log(MODEL.vocab), rel=0.05)
    assert after < 0.25 * before


@pytest.mark.parametrize(("num_batches", "step"), [(12, 10), (5, 5)])
def test_a_loss_that_is_not_finite_stops_training(
    model: OrderModel, num_batches: int, step: int
) -> None:
    """At the next report, or when the batches end before it is due."""
    broken = with_head(model, math.nan)
    batches = [repetitive(np.random.default_rng(1))] * num_batches
    cfg = dataclasses.replace(CFG, report_every=10)
    with pytest.raises(TrainingError, match=f"the loss is nan at step {step}, expected a finite"):
        fit(model.graphdef, init_state(broken, cfg), batches, cfg, lambda *_: True)


def test_a_gradient_that_is_not_finite_stops_training(
    model: OrderModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the loss is, at the step that is the last anyway."""
    results = iter([StepResult(jnp.float32(1), jnp.float32(x)) for x in (2, math.nan)])
    step = lambda state, _: (state._replace(step=state.step + 1), next(results))
    monkeypatch.setattr(loop, "make_step", lambda *_: step)
    cfg = dataclasses.replace(CFG, steps=2, report_every=2)
    batches = [repetitive(np.random.default_rng(1))] * 2
    with pytest.raises(TrainingError, match="the gradient norm is nan at step 2, expected a fin"):
        fit(model.graphdef, init_state(model.params, cfg), batches, cfg, lambda *_: True)


def test_training_ends_with_the_batches(model: OrderModel) -> None:
    lines: list[Progress] = []
    cfg = dataclasses.replace(CFG, report_every=1)
    batches = [repetitive(np.random.default_rng(1))] * 2
    fit(
        model.graphdef,
        init_state(model.params, cfg),
        batches,
        cfg,
        lambda line, _: keep(lines, line),
    )
    assert [line.step for line in lines] == [1, 2]


def test_training_ends_when_it_is_told_to(model: OrderModel) -> None:
    """And takes no batch of the step after."""
    cfg = dataclasses.replace(CFG, report_every=2)
    batches = iter([repetitive(np.random.default_rng(seed)) for seed in range(6)])
    state = init_state(model.params, cfg)
    state = fit(model.graphdef, state, batches, cfg, lambda line, _: line.step < 4)
    assert int(state.step) == 4
    assert len(list(batches)) == 2


def one_step(model: OrderModel, batch: Batch, **changes: object) -> TrainState:
    """The state after one step on a batch."""
    cfg = dataclasses.replace(CFG, warmup=1, **changes)
    step = make_step(model.graphdef, cfg)
    state = init_state(model.params, cfg)
    state, _ = step(state, place(batch, cfg))  # the first learning rate is zero
    return step(state, place(batch, cfg))[0]


def moments(state: TrainState) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(state.optimizer) if x.ndim]


def test_a_batch_in_parts_is_the_same_batch(model: OrderModel) -> None:
    """Parts with different numbers of own orders weigh by them."""
    rows = repetitive(np.random.default_rng(7)).rows
    own = np.random.default_rng(8).random(rows.shape[:2]) < [[0.1], [0.9], [0.5], [0.3]]
    whole = one_step(model, Batch(rows, own))
    parts = one_step(model, Batch(rows, own), accumulate=4)
    for one, other in zip(moments(whole), moments(parts), strict=True):
        assert np.allclose(one, other, rtol=1e-3, atol=1e-6)
    alone = one_step(model, Batch(rows, np.ones_like(own)))
    assert not all(
        np.allclose(one, other, rtol=1e-3, atol=1e-6)
        for one, other in zip(moments(whole), moments(alone), strict=True)
    )


def test_bfloat16_keeps_float32_weights(model: OrderModel) -> None:
    """The gradients agree to the precision of bfloat16, those of tables of few rows too."""
    batch = repetitive(np.random.default_rng(7))
    wide, narrow = (one_step(model, batch, bfloat16=flag) for flag in (False, True))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(narrow.params))
    pairs = zip(moments(wide), moments(narrow), strict=True)
    apart = [np.linalg.norm(x - y) / (np.linalg.norm(x) + 1e-12) for x, y in pairs]
    assert 0 < max(apart) < 0.1


def test_tables_stay_float32(model: OrderModel) -> None:
    """Everything else is cast, so that no activation is widened again."""
    cast = to_bfloat16(model.params)
    wide = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(cast)
        if leaf.dtype == jnp.float32
    }
    tables = ("type", "price", "volume", "interval", "change", "time")
    picks = ("price", "volume", "interval")
    assert wide == {f"embedding/{x}/weight" for x in tables} | {
        f"head/{x}/picks/weight" for x in picks
    }
    rows = jnp.asarray(repetitive(np.random.default_rng(1)).rows[0])
    encode = lambda params: nnx.merge(model.graphdef, params).encode(rows)
    assert jax.eval_shape(encode, cast).dtype == jnp.bfloat16


def test_weights_decay_but_norms_and_biases_do_not(model: OrderModel) -> None:
    """A step without gradients moves exactly the matrices; the norms of stacked layers are vectors,
    though they have two axes."""
    tx = optimizer(dataclasses.replace(CFG, warmup=1))
    params = jax.tree.map(lambda x: jnp.ones_like(x), model.params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    update = quick_jit(tx.update)
    _, state = update(zeros, tx.init(params), params)  # the first learning rate is zero
    updates, _ = update(zeros, state, params)
    moved = {
        jax.tree_util.keystr(path, simple=True, separator="/"): bool((update != 0).all())
        for path, update in jax.tree_util.tree_leaves_with_path(updates)
    }
    still = {name for name, moves in moved.items() if not moves}
    assert still == {name for name in moved if "norm" in name or name.endswith("bias")}
    assert {"layers/attention_norm/weight", "layers/mlp_norm/weight", "norm/weight"} <= still
    assert moved["layers/attention/key/kernel"]


def test_the_learning_rate_warms_up_and_decays() -> None:
    """Steps of a constant gradient show it: Adam's step is the learning rate itself."""
    cfg = TrainConfig(steps=40, warmup=10, learning_rate=0.1, final_fraction=0.2, weight_decay=0)
    tx = optimizer(cfg)
    params = {"weight": jnp.zeros(())}
    state = tx.init(params)
    step = jax.jit(tx.update)
    rates = []
    for _ in range(41):
        updates, state = step({"weight": jnp.ones(())}, state, params)
        rates.append(-float(updates["weight"]))
    assert rates[:11] == pytest.approx([0.01 * i for i in range(11)], abs=1e-6)
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[25] == pytest.approx(0.06, abs=1e-6)  # halfway between 0.1 and 0.02
    assert rates[40] == pytest.approx(0.02, abs=1e-6)
