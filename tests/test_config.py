"""Configurations: what is refused, named sizes, and that no field is there for nothing."""

import ast
import dataclasses
import inspect
import math
import pathlib
import re
from typing import Any

import pytest

from jaxmars import config
from jaxmars.config import (
    Calendar,
    MarketConfig,
    OrderModelConfig,
    Phase,
    PhaseKind,
    RulesConfig,
    SimConfig,
)
from jaxmars.train.settings import SIZES, TrainConfig

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = [*(ROOT / "jaxmars").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
CONFIGS = [
    kind
    for kind in (*vars(config).values(), TrainConfig)
    if inspect.isclass(kind) and dataclasses.is_dataclass(kind)
]
HOMES = ("config.py", "config_model.py")  # of the configurations
NEEDED: dict[type, tuple[Any, ...]] = {Phase: (PhaseKind.CONTINUOUS, 0, 1)}  # no defaults
HOLDERS = {
    "calendar",
    "cfg",
    "config",
    "days",
    "market",
    "model",
    "phase",
    "rules",
}  # names that configurations go by

WRONG: list[tuple[type, str, list[Any]]] = [
    (MarketConfig, "tick_size", [0, -0.01, math.nan, math.inf, "x", True]),
    (MarketConfig, "lot_size", [0, -1, 1.5]),
    (MarketConfig, "slots", [0, -1, 2.5, True]),
    (MarketConfig, "levels", [0, -1, "x"]),
    (MarketConfig, "late_hour", [-5, 25, 13.5]),
    (MarketConfig, "late_shift", [-1, 0.5]),
    (MarketConfig, "max_trades", [-1, 2.0]),
    (MarketConfig, "max_in_flight", [-1, None]),
    (RulesConfig, "price_step", [0, -1, 2.5]),
    (RulesConfig, "size_step", [0, -1, 2.5]),
    (RulesConfig, "price_limit", [-0.1, 1, math.nan, "x"]),
    (RulesConfig, "self_trade", ["reject", 7, None]),
    (RulesConfig, "crowd", [(0.5,)]),
    (OrderModelConfig, "emb_dim", [0, -1, 1.5, "8", 100]),
    (OrderModelConfig, "num_bins_order_interval", [0, -1, 1.5]),
    (OrderModelConfig, "num_bins_pred_order_volume", [0, -1, 1.5]),
    (OrderModelConfig, "num_bins_price_level", [0, -1, 1.5]),
    (OrderModelConfig, "num_heads", [0, -1, 1.5, 7]),
    (OrderModelConfig, "num_layers", [0, -1, 1.5]),
    (OrderModelConfig, "num_max_orders", [0, -1, 1.5]),
    (OrderModelConfig, "num_kv_heads", [3, 32, 0, -2]),
    (OrderModelConfig, "num_ratio_rows", [-1]),
    (OrderModelConfig, "max_change", [0, -1, 1.5]),
    (OrderModelConfig, "num_time_rows", [0, -1, 1.5]),
    (OrderModelConfig, "seconds_per_row", [0, -1, 1.5]),
    (SimConfig, "segment", [0, -1, 1.5]),
    (SimConfig, "lanes", [0, -1, 1.5]),
    (SimConfig, "max_events", [0, -1, 1.5]),
    (SimConfig, "model_devices", [0, 1.5]),
    (SimConfig, "opening_lanes", [-1, 1.5]),
    (TrainConfig, "steps", [0, -1]),
    (TrainConfig, "batch", [0, -1]),
    (TrainConfig, "warmup", [0, -1]),
    (TrainConfig, "report_every", [0, -1, 7]),
    (TrainConfig, "save_every", [0, -1, 30]),
    (TrainConfig, "accumulate", [0, -1, 3]),
    (TrainConfig, "validation_windows", [0, -1]),
    (TrainConfig, "learning_rate", [-1.0, 0, math.inf]),
    (TrainConfig, "clip", [-1.0, 0]),
    (TrainConfig, "final_fraction", [-0.5, 1.5]),
    (TrainConfig, "weight_decay", [-1.0]),
]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [(kind, field, value) for kind, field, values in WRONG for value in values],
)
def test_a_wrong_value_is_refused_by_name(kind: type, field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{field} .*{re.escape(str(value))}") as caught:
        kind(**{field: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ([(34_200, 41_400), (39_600, 46_800)], "one from 11:00:00 to 13:00:00 after 11:30:00"),
        ([(46_800, 34_200)], "one from 13:00:00 to 09:30:00 after 00:00:00"),
        ([(0, 86_401)], "at whole seconds from 0 to 86400, got 0 to 86401"),
        ([(0.5, 9)], "at whole seconds from 0 to 86400, got 0.5 to 9"),
    ],
)
def test_phases_that_cannot_be_are_refused(times: list[Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^calendar phases must .*{sentence}$"):
        Calendar(tuple(Phase(PhaseKind.CONTINUOUS, *ends) for ends in times))


@pytest.mark.parametrize("kind", CONFIGS)
def test_configs_are_frozen_and_hashable(kind: type) -> None:
    one = kind(*NEEDED.get(kind, ()))
    assert hash(one) == hash(dataclasses.replace(one)) and one == dataclasses.replace(one)
    name = dataclasses.fields(one)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, name, 1)


def test_named_sizes() -> None:
    released = OrderModelConfig.released()
    assert (released.num_layers, released.emb_dim, released.vocab) == (24, 1024, 49_152)
    assert released.slot_shape == (3, 32, 32, 16) and released.kv_heads == released.num_heads
    default = OrderModelConfig.default()
    assert (default.head, default.kv_heads, default.head_dim) == ("factored", 1, 32)
    assert default.slot_shape == (3, 64, 32, 64)
    assert default.with_released_bins().slot_shape == released.slot_shape
    tiny = OrderModelConfig.tiny()
    assert tiny.vocab == math.prod(tiny.slot_shape) == 3 * 8 * 8 * 4
    assert SIZES["default"] == default
    assert SIZES["xl"] == released
    assert {size.num_max_orders for size in SIZES.values()} == {128, 1024}
    a_share = MarketConfig.chinese_a_share()
    assert a_share.calendar.breaks == ((33_900, 34_200), (41_400, 46_800))
    assert not a_share.has_late_shift
    release = MarketConfig.release()
    assert (release.late_hour, release.late_shift) == (13, 5400)
    assert (a_share.tick_size, a_share.lot_size) == (0.01, 100)


def attributes_read(path: pathlib.Path) -> set[tuple[str, str]]:
    """(what it is read from, name) of every attribute read in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            base = node.value
            holder = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
            found.add((holder, node.attr))
    return found


def property_sources() -> dict[str, set[str]]:
    """Names of properties of configurations and what of themselves they read."""
    trees = [ast.parse((ROOT / "jaxmars" / name).read_text()) for name in HOMES]
    return {
        node.name: {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }


def test_every_field_is_read_somewhere() -> None:
    assert len(CONFIGS) >= 4
    others = [path for path in SOURCES if path.name not in HOMES]
    pairs = set().union(*(attributes_read(path) for path in others))
    read = {name for holder, name in pairs if holder in HOLDERS}
    for name, sources in property_sources().items():
        if name in read:
            read |= sources
    fields = {f"{kind.__name__}.{f.name}" for kind in CONFIGS for f in dataclasses.fields(kind)}
    assert {name for name in fields if name.split(".")[1] not in read} == set()


def test_every_field_is_documented() -> None:
    for kind in CONFIGS:
        text = inspect.getdoc(kind) or ""
        for field in dataclasses.fields(kind):
            if field.name != "market":
                assert f"{field.name}:" in text, f"{kind.__name__}.{field.name}"
