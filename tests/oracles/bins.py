"""Bin converters by the letter of the release spec, one value at a time, on plain lists."""

import bisect
import collections
import math


def encode(edges: list[float], x: float) -> int:
    """Slot of `x`: count the edges strictly smaller, take one off, stay within the bins."""
    smaller = sum(1 for edge in edges if edge < x)
    return max(0, min(smaller - 1, len(edges) - 2))


def fit_edges(values: list[float], num_bins: int) -> list[float] | None:
    """Edges by steps 2 to 5 of the spec; None where the release fails."""
    data = sorted(values)
    counts = collections.Counter(data)
    singles = {v for v, count in counts.items() if count > len(data) / num_bins}
    edges = [data[0] - 1 if data[0] in singles else data[0], *singles]
    rest = [v for v in data if v not in singles]
    if not rest:
        return None
    budget, cursor = num_bins - len(singles) + 1, 0
    while budget > 0 and cursor < len(rest):
        end = cursor + (len(rest) - cursor) // (budget - 1)
        if end < len(rest):
            while rest[end] == rest[cursor] and end < len(rest) - 1:
                end += 1
        edges.append(rest[end] if end < len(rest) else rest[-1])
        cursor = end
        budget -= 1
    assert len(edges) == num_bins + 1
    return sorted(edges)


def counts_per_bin(values: list[float], edges: list[float]) -> list[collections.Counter[float]]:
    """How often each value occurs in each bin."""
    tables: list[collections.Counter[float]] = [collections.Counter() for _ in edges[1:]]
    for v in values:
        tables[encode(edges, v)][v] += 1
    return tables


def inverse_cdf(probs: list[float], uniform: float) -> int:
    """Index of the first value whose cumulative probability passes `uniform`."""
    total = [math.fsum(probs[: i + 1]) for i in range(len(probs))]
    return min(bisect.bisect_right(total, uniform), len(probs) - 1)
