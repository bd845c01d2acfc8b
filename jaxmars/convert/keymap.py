"""Tensor names of the released order model and where each one goes in our parameters.

The table `ORDER_MODEL` is read in both directions, so files travel both ways. It has to balance: a
parameter without a tensor, a tensor without a parameter, and a wrong shape are errors, except for
the tensors that the release stores and never uses (`UNUSED`, weights spec 1.1).
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from jaxmars.config import OrderModelConfig
from jaxmars.convert.store import TensorFile
from jaxmars.errors import InputError
from jaxmars.types import Params

LAYER = "{layer}"  # stands for the layer number; such parameters are stacked along axis 0
Shape = tuple[int, ...]


class Rule(NamedTuple):
    """One line of a key map."""

    name: str  # tensor name
    path: str  # parameter path, parts joined by "/"
    transpose: bool = False  # torch keeps a projection as [outputs, inputs]


_EMBEDDING = "order_info_tokenizer"
_LAYER = f"decoder.model.layers.{LAYER}"

ORDER_MODEL = (
    Rule(f"{_EMBEDDING}.emb_order_type.weight", "embedding/type/weight"),
    Rule(f"{_EMBEDDING}.emb_price_level.weight", "embedding/price/weight"),
    Rule(f"{_EMBEDDING}.emb_pred_order_volume.weight", "embedding/volume/weight"),
    Rule(f"{_EMBEDDING}.emb_order_interval.weight", "embedding/interval/weight"),
    Rule(f"{_EMBEDDING}.emb_chg_to_open.weight", "embedding/change/weight"),
    Rule(f"{_EMBEDDING}.emb_time_to_open.weight", "embedding/time/weight"),
    Rule(f"{_EMBEDDING}.emb_volume_ratio.weight", "embedding/volume_ratio/weight"),
    Rule(f"{_EMBEDDING}.emb_trade_ratio.weight", "embedding/trade_ratio/weight"),
    Rule(f"{_EMBEDDING}.lob_tokenizer.0.weight", "embedding/book/linear/kernel", True),
    Rule(f"{_EMBEDDING}.lob_tokenizer.0.bias", "embedding/book/linear/bias"),
    Rule(f"{_EMBEDDING}.lob_tokenizer.1.weight", "embedding/book/norm/weight"),
    Rule(f"{_EMBEDDING}.lob_tokenizer.1.bias", "embedding/book/norm/bias"),
    Rule("summary_tokenizer.0.weight", "embedding/summary/hidden/kernel", True),
    Rule("summary_tokenizer.0.bias", "embedding/summary/hidden/bias"),
    Rule("summary_tokenizer.2.weight", "embedding/summary/out/kernel", True),
    Rule(f"{_LAYER}.input_layernorm.weight", "layers/attention_norm/weight"),
    Rule(f"{_LAYER}.self_attn.q_proj.weight", "layers/attention/query/kernel", True),
    Rule(f"{_LAYER}.self_attn.k_proj.weight", "layers/attention/key/kernel", True),
    Rule(f"{_LAYER}.self_attn.v_proj.weight", "layers/attention/value/kernel", True),
    Rule(f"{_LAYER}.self_attn.o_proj.weight", "layers/attention/out/kernel", True),
    Rule(f"{_LAYER}.post_attention_layernorm.weight", "layers/mlp_norm/weight"),
    Rule(f"{_LAYER}.mlp.gate_proj.weight", "layers/mlp/gate/kernel", True),
    Rule(f"{_LAYER}.mlp.up_proj.weight", "layers/mlp/up/kernel", True),
    Rule(f"{_LAYER}.mlp.down_proj.weight", "layers/mlp/down/kernel", True),
    Rule("decoder.model.norm.weight", "norm/weight"),
    Rule("decoder.lm_head.weight", "head/out/kernel", True),
    Rule("factored_head.type.out.weight", "head/type/out/kernel", True),
    Rule("factored_head.price.hidden.weight", "head/price/hidden_map/kernel", True),
    Rule("factored_head.price.picks.weight", "head/price/picks/weight"),
    Rule("factored_head.price.out.weight", "head/price/out/kernel", True),
    Rule("factored_head.volume.hidden.weight", "head/volume/hidden_map/kernel", True),
    Rule("factored_head.volume.picks.weight", "head/volume/picks/weight"),
    Rule("factored_head.volume.out.weight", "head/volume/out/kernel", True),
    Rule("factored_head.interval.hidden.weight", "head/interval/hidden_map/kernel", True),
    Rule("factored_head.interval.picks.weight", "head/interval/picks/weight"),
    Rule("factored_head.interval.out.weight", "head/interval/out/kernel", True),
)

UNUSED = re.compile(
    r"decoder\.model\.embed_tokens\.weight|linear_head\.[01]\.(weight|bias)"
    r"|(.+\.)?rotary_emb\.(original_)?inv_freq"
)
VOLUME_RATIO = f"{_EMBEDDING}.emb_volume_ratio.weight"
TRADE_RATIO = f"{_EMBEDDING}.emb_trade_ratio.weight"

_RATIO = re.compile(rf"{_EMBEDDING}\.emb_\w*ratio\w*\.weight")
_TRADE = re.compile(r"trade|trans")
_LAYER_NUMBER = re.compile(_LAYER.replace(".", r"\.").replace(LAYER, r"(\d{1,6})\."))
_NAMES_SHOWN = 3


def tensor_shapes(template: Params) -> dict[str, Shape]:
    """Name and shape of every tensor of a model.

    Args:
      template: nested dict of the parameters, arrays or `jax.ShapeDtypeStruct`.
    """
    shapes = {}
    for rule, leaf in _matched(template):
        for name, _ in _names(rule, leaf.shape):
            shape = tuple(leaf.shape[1:] if LAYER in rule.name else leaf.shape)
            shapes[name] = shape[::-1] if rule.transpose else shape
    return shapes


def to_tensors(params: Params) -> dict[str, np.ndarray]:
    """Parameters as named tensors in the released layout."""
    tensors = {}
    for rule, leaf in _matched(params):
        array = np.asarray(leaf)
        for name, layer in _names(rule, array.shape):
            part = array if layer is None else array[layer]
            tensors[name] = np.ascontiguousarray(part.T if rule.transpose else part)
    return tensors


def to_params(file: TensorFile, template: Params) -> Params:
    """Reads every parameter of a model from a file.

    Args:
      file: an open file of tensors.
      template: nested dict of `jax.ShapeDtypeStruct`, the parameters to fill.

    Returns:
      Nested dict of float32 numpy arrays.

    Raises:
      InputError: a tensor is missing, unknown, of another shape or type, or not finite.
    """
    source = _sources(file)
    check_shapes({name: file.shapes[source[name]] for name in source}, template, str(file.path))
    filled = {}
    for rule, leaf in _matched(template):
        array = np.empty(leaf.shape, np.float32)
        for name, layer in _names(rule, leaf.shape):
            tensor = file.read(source[name])
            array[() if layer is None else layer] = tensor.T if rule.transpose else tensor
        filled[tuple(rule.path.split("/"))] = array
    return traverse_util.unflatten_dict(filled)


def check_shapes(found: Mapping[str, Shape], template: Params, where: str) -> None:
    """Compares a file's tensors with those of a model.

    Raises:
      InputError: names the tensors that are missing or unknown, or the first wrong shape.
    """
    expected = tensor_shapes(template)
    missing = [name for name in expected if name not in found]
    if missing:
        raise InputError(f"{where} lacks {_some(missing)}, which the model needs")
    unknown = [name for name in found if name not in expected and not UNUSED.fullmatch(name)]
    if unknown:
        raise InputError(f"{where} holds {_some(unknown)}, which the model does not know")
    for name, shape in expected.items():
        if found[name] != shape:
            raise InputError(
                f"{where}: tensor {name} has shape {list(found[name])}, expected {list(shape)}"
            )


def fit_config(cfg: OrderModelConfig, file: TensorFile) -> OrderModelConfig:
    """The configuration with what only the tensors tell: the rows of the ratio tables.

    Raises:
      InputError: another number of layers in the file, or ratio tables that cannot be told apart.
    """
    numbers = {int(m[1]) for name in file.shapes if (m := _LAYER_NUMBER.match(name))}
    if len(numbers) != cfg.num_layers:
        raise InputError(
            f"{file.path} holds {len(numbers)} layers, expected the {cfg.num_layers} of its config"
        )
    table = _sources(file).get(VOLUME_RATIO)
    if table is None or cfg.num_ratio_rows:
        return cfg
    return dataclasses.replace(cfg, num_ratio_rows=file.shapes[table][0])


def _sources(file: TensorFile) -> dict[str, str]:
    """Our name of each tensor to its name in the file; they differ for ratio tables only."""
    names = {name: name for name in file.shapes}
    ratios = [name for name in names if _RATIO.fullmatch(name)]
    if not ratios:
        return names
    trades = [name for name in ratios if _TRADE.search(name)]
    if len(ratios) != 2 or len(trades) != 1:
        raise InputError(
            f"{file.path} holds the ratio tables {', '.join(ratios)}, expected two, one of them "
            "named after trades"
        )
    for name in ratios:
        del names[name]
        names[TRADE_RATIO if name in trades else VOLUME_RATIO] = name
    return names


def _matched(template: Params) -> Iterable[tuple[Rule, Any]]:
    """Every leaf with its rule, in the order of the table."""
    leaves = traverse_util.flatten_dict(template, sep="/")
    paths = {rule.path for rule in ORDER_MODEL}
    strangers = [path for path in leaves if path not in paths]
    if strangers:
        raise ValueError(f"parameters without a tensor name: {', '.join(strangers)}")
    return [(rule, leaves[rule.path]) for rule in ORDER_MODEL if rule.path in leaves]


def _names(rule: Rule, shape: Shape) -> list[tuple[str, int | None]]:
    """Tensor names of a parameter, with the layer each one belongs to."""
    if LAYER not in rule.name:
        return [(rule.name, None)]
    return [(rule.name.replace(LAYER, str(layer)), layer) for layer in range(shape[0])]


def _some(names: list[str]) -> str:
    """The first few names."""
    rest = len(names) - _NAMES_SHOWN
    shown = ", ".join(name[:200] for name in names[:_NAMES_SHOWN])
    return f"the tensors {shown}" + (f" and {rest} more" if rest > 0 else "")
