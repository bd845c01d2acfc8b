"""Training the order model in torch/transformers; a baseline for training.py.

The same model as ours (LLaMA trunk of transformers, tables, projected book, factored head), the
same loss, AdamW with clipping. Prints one JSON line with the seconds of each step. Needs torch and
transformers; the arguments are a JSON object of sizes, see `Sizes`.
"""

import json
import sys
import time
from typing import NamedTuple

import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel

SLOTS = (3, 32, 32, 16)
BOOK_SLOTS = 10


class Sizes(NamedTuple):
    """What to train."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    window: int
    change_rows: int
    time_rows: int
    seconds_per_row: int
    batch: int
    steps: int
    bfloat16: bool
    device: str  # cpu or cuda


class Stage(nn.Module):
    """One attribute given the hidden state and the attributes before it."""

    def __init__(self, width: int, earlier: tuple[int, ...], slots: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, width) for n in earlier)
        self.hidden = nn.Linear(width, width, bias=False) if earlier else None
        self.out = nn.Linear(width, slots, bias=False)

    def forward(self, hidden: torch.Tensor, picks: list[torch.Tensor]) -> torch.Tensor:
        if self.hidden is not None:
            hidden = self.hidden(hidden) + sum(
                table(pick) for table, pick in zip(self.tables, picks, strict=True)
            )
            hidden = nn.functional.silu(hidden)
        return self.out(hidden)


class Network(nn.Module):
    """Rows to the loss of each next order."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.slots = nn.ModuleList(nn.Embedding(n, sizes.width) for n in SLOTS)
        self.change = nn.Embedding(sizes.change_rows, sizes.width)
        self.time = nn.Embedding(sizes.time_rows, sizes.width)
        self.book = nn.Linear(BOOK_SLOTS, sizes.width)
        self.norm = nn.LayerNorm(sizes.width)
        self.trunk = LlamaModel(
            LlamaConfig(
                hidden_size=sizes.width,
                intermediate_size=4 * sizes.width,
                num_hidden_layers=sizes.layers,
                num_attention_heads=sizes.heads,
                num_key_value_heads=sizes.kv_heads,
                vocab_size=1,
                max_position_embeddings=sizes.window,
            )
        )
        self.stages = nn.ModuleList(
            Stage(sizes.width, SLOTS[:i], SLOTS[i]) for i in range(len(SLOTS))
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        picks, left = [], rows[..., 0]
        for n in reversed(SLOTS):
            picks.insert(0, left % n)
            left = left // n
        x = sum(table(pick[:, :-1]) for table, pick in zip(self.slots, picks, strict=True))
        middle = self.sizes.change_rows // 2
        x = x + self.change(rows[:, :-1, 3].clamp(-middle, middle) + middle)
        x = x + self.time(rows[:, :-1, 4] // self.sizes.seconds_per_row)
        x = x + self.norm(self.book(rows[:, :-1, 5:].float()))
        hidden = self.trunk(inputs_embeds=x, use_cache=False).last_hidden_state
        labels = [pick[:, 1:] for pick in picks]
        losses = [
            nn.functional.cross_entropy(
                stage(hidden, labels[:i]).float().flatten(0, 1), labels[i].flatten()
            )
            for i, stage in enumerate(self.stages)
        ]
        return sum(losses)


def main() -> None:
    sizes = Sizes(**json.loads(sys.argv[1]))
    torch.manual_seed(0)
    net = Network(sizes).to(sizes.device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    high = torch.tensor([3 * 32 * 32 * 16, 10, 10, 200, 9_000, *[9] * BOOK_SLOTS])
    shape = (sizes.batch, sizes.window + 1, len(high))
    rows = (torch.rand(shape) * high).long().to(sizes.device)
    seconds = []
    for _ in range(sizes.steps):
        began = time.perf_counter()
        with torch.autocast(sizes.device, torch.bfloat16, enabled=sizes.bfloat16):
            loss = net(rows)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if sizes.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    answer = {"torch": torch.__version__, "threads": torch.get_num_threads(), "loss": float(loss)}
    answer["parameters"] = sum(p.numel() for p in net.parameters())
    print(json.dumps({**answer, "seconds": seconds}))


if __name__ == "__main__":
    main()
