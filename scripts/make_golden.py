"""Writes tests/golden/order_model_released.safetensors: logits of the released architecture.

Needs torch and transformers. The weights are a formula of tensor name and element number, so the
file holds only the features and a slice of the logits, and a test without torch can build the same
model.

    python scripts/make_golden.py
"""

import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jaxmars.config import OrderModelConfig

GOLDEN = pathlib.Path(__file__).parents[1] / "tests" / "golden" / "order_model_released.safetensors"
CONFIG = OrderModelConfig(
    dropout=0.1,
    emb_dim=64,
    num_bins_order_interval=4,
    num_bins_pred_order_volume=8,
    num_bins_price_level=8,
    num_heads=4,
    num_layers=2,
    num_max_orders=24,
)
BATCH = 2
POSITION_STEP, TOKEN_STEP = 3, 4  # the slice of the logits that is kept
RATIO_ROWS = 11

# Standard deviation of a tensor by the end of its name. They are chosen so that a wrong epsilon,
# a missing norm or two swapped tensors move the logits by far more than the tolerance.
SCALES = {
    "lob_tokenizer.0.weight": 3e-4,
    "lob_tokenizer.0.bias": 2e-3,
    "lob_tokenizer.1.weight": 1.5e-3,
    "lob_tokenizer.1.bias": 1.5e-3,
    "norm.weight": 0.3,
    "q_proj.weight": 0.25,
    "k_proj.weight": 0.25,
    "v_proj.weight": 0.05,
    "o_proj.weight": 0.02,
    "gate_proj.weight": 0.2,
    "up_proj.weight": 0.05,
    "down_proj.weight": 0.02,
    "lm_head.weight": 0.25,
}
EMBEDDING_SCALE = 1.5e-3
NORM_MEAN = 1.0


def formula_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Pseudo-random float32 tensors that depend on their name, shape and nothing else."""
    return {name: _formula_tensor(name, shape) for name, shape in shapes.items()}


def make_features(cfg: OrderModelConfig, batch: int) -> np.ndarray:
    """Rows int32[batch, num_max_orders, 15] that reach the ends of every table."""
    shape = (batch, cfg.num_max_orders)
    features = np.zeros((*shape, 15), np.int32)
    features[..., 0] = _whole("index", shape, 0, cfg.vocab)
    features[..., 1:3] = _whole("ratio", (*shape, 2), 0, 10)
    features[..., 3] = _whole("change", shape, -2600, 2600)
    features[..., 4] = np.sort(_whole("time", shape, 0, 14405), axis=1)
    features[..., 5:] = _whole("book", (*shape, 10), 0, 33)
    features[0, 0, [0, 3, 4]] = 0, -2000, 0
    features[0, 1, [0, 3, 4]] = cfg.vocab - 1, 2000, 14404
    return features


def released_model(cfg: OrderModelConfig, ratio_rows: int = 0) -> Any:
    """The released network in torch, in eval mode, weights by formula; weights spec 1.1 to 1.3."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import LlamaConfig, LlamaForCausalLM  # pyright: ignore[reportMissingImports]

    width, vocab = cfg.emb_dim, cfg.vocab
    tables = {
        "emb_order_type": 3,
        "emb_price_level": cfg.num_bins_price_level,
        "emb_pred_order_volume": cfg.num_bins_pred_order_volume,
        "emb_order_interval": cfg.num_bins_order_interval,
        "emb_chg_to_open": 4001,
        "emb_time_to_open": 2881,
    }
    if ratio_rows:
        tables |= {"emb_volume_ratio": ratio_rows, "emb_trans_ratio": ratio_rows}
    tokenizer = torch.nn.ModuleDict({k: torch.nn.Embedding(n, width) for k, n in tables.items()})
    tokenizer["lob_tokenizer"] = torch.nn.Sequential(
        torch.nn.Linear(10, width), torch.nn.LayerNorm(width)
    )
    llama = LlamaConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=cfg.num_layers,
        num_attention_heads=cfg.num_heads,
        num_key_value_heads=cfg.kv_heads,
        attention_dropout=cfg.dropout,
    )
    model = torch.nn.ModuleDict(
        {
            "order_info_tokenizer": tokenizer,
            "decoder": LlamaForCausalLM(llama),
            "linear_head": torch.nn.Sequential(
                torch.nn.LayerNorm(width), torch.nn.Linear(width, vocab)
            ),
        }
    ).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = formula_weights(shapes)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return model


def released_logits(model: Any, cfg: OrderModelConfig, features: np.ndarray) -> np.ndarray:
    """Logits [batch, length, vocab] of the torch network."""
    import torch  # pyright: ignore[reportMissingImports]

    tokenizer = model["order_info_tokenizer"]
    x = torch.from_numpy(features).long()
    rest, interval = x[..., 0], x[..., 0] % cfg.num_bins_order_interval
    rest = rest // cfg.num_bins_order_interval
    volume, rest = rest % cfg.num_bins_pred_order_volume, rest // cfg.num_bins_pred_order_volume
    price, kind = rest % cfg.num_bins_price_level, rest // cfg.num_bins_price_level
    indices = {
        "emb_order_type": kind,
        "emb_price_level": price,
        "emb_pred_order_volume": volume,
        "emb_order_interval": interval,
        "emb_chg_to_open": x[..., 3].clip(-2000, 2000) + 2000,
        "emb_time_to_open": x[..., 4] // 5,
        "emb_volume_ratio": x[..., 1],
        "emb_trans_ratio": x[..., 2],
    }
    with torch.no_grad():
        embedded = sum(tokenizer[name](i) for name, i in indices.items() if name in tokenizer)
        embedded = embedded + tokenizer["lob_tokenizer"](x[..., 5:].float())
        return model["decoder"](inputs_embeds=embedded).logits.numpy()


def main() -> None:
    """Writes the golden file."""
    features = make_features(CONFIG, BATCH)
    logits = released_logits(released_model(CONFIG), CONFIG, features)
    print(f"logits {logits.shape}, standard deviation {logits.std():.2f}")
    GOLDEN.parent.mkdir(exist_ok=True)
    kept = np.ascontiguousarray(logits[:, ::POSITION_STEP, ::TOKEN_STEP])
    part = GOLDEN.with_suffix(".part")
    save_file({"features": features, "logits": kept}, part)
    part.replace(GOLDEN)


def _formula_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    uniform = _bits(name, shape).astype(np.float64) / 2**32 - 0.5
    scale = next((s for end, s in SCALES.items() if name.endswith(end)), EMBEDDING_SCALE)
    mean = NORM_MEAN if name.endswith("norm.weight") else 0.0
    return (mean + uniform * scale * np.sqrt(12.0)).astype(np.float32)


def _whole(name: str, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    return (_bits(name, shape) % np.uint32(high - low)).astype(np.int32) + np.int32(low)


def _bits(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A well-mixed uint32 per element (the finaliser of MurmurHash3)."""
    x = np.arange(np.prod(shape, dtype=np.int64)).astype(np.uint32)
    x = x * np.uint32(0x9E3779B1) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return (x ^ (x >> np.uint32(16))).reshape(shape)


if __name__ == "__main__":
    main()
