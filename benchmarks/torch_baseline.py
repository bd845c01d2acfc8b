"""The order model in torch, as the release serves it; a baseline for simulation.py.

Prints one JSON line: seconds per call of a full-window forward with logits at every position (what
the release does for each order) and of one cached decode step at three quarters of the window.
Needs torch and transformers; the arguments are width, layers, heads, kv heads, window, vocabulary,
batch, repeats, the device (cpu or cuda) and the number type (float32 or float16).
"""

import json
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def clock(device: str) -> float:
    """Seconds, once everything sent to the device is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(call, repeats: int, device: str) -> list[float]:
    """Seconds of each of `repeats` calls after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        began = clock(device)
        call()
        seconds.append(clock(device) - began)
    return seconds


def main() -> None:
    *numbers, device, kind = sys.argv[1:]
    width, layers, heads, kv_heads, window, vocab, batch, repeats = map(int, numbers)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab,
        max_position_embeddings=2 * window,
    )
    dtype = getattr(torch, kind)
    model = LlamaForCausalLM(config).eval().to(device, dtype)
    inputs = torch.randn(batch, window, width).to(device, dtype)
    prompt, following = inputs[:, : 3 * window // 4], inputs[:, :1]
    with torch.inference_mode():
        full = timed(lambda: model(inputs_embeds=inputs, use_cache=False), repeats, device)
        steps = window // 8
        cached = []
        for _ in range(max(repeats // 2, 1)):
            cache = model(inputs_embeds=prompt, use_cache=True).past_key_values
            began = clock(device)
            for _ in range(steps):
                cache = model(
                    inputs_embeds=following, past_key_values=cache, use_cache=True
                ).past_key_values
            cached.append((clock(device) - began) / steps)
    answer = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    answer |= {"device": device, "dtype": kind}
    print(json.dumps({**answer, "full_window": full, "cached": cached}))


if __name__ == "__main__":
    main()
