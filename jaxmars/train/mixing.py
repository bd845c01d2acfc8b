"""Keyed pseudo-random numbers of positions, on the host: nothing is stored, nothing is in order.

`mix` is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). `permuted` is a balanced
Feistel network over it (Luby and Rackoff, 1988) on the smallest even number of bits that holds all
positions; a result past the end goes through the network again until it lies inside.
"""

import hashlib

import numpy as np

MOST_POSITIONS = 2**62
_ROUNDS = 6
_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mix(x: np.ndarray) -> np.ndarray:
    """A bijection of uint64 `[...]`: every bit of the result depends on every bit of `x`."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is meant
        x = np.asarray(x, np.uint64) * _STEP
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def key_of(*parts: object) -> np.ndarray:
    """A uint64 key `[]` that depends on every part's text."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return np.frombuffer(digest[:8], "<u8").reshape(())


def permuted(position: np.ndarray, count: int, key: np.ndarray) -> np.ndarray:
    """Where a shuffle of `count` things puts those at some positions.

    Time and memory grow with the positions asked for only, so a shuffle of 10**12 windows costs as
    much per batch as one of ten.

    Args:
      position: `[n]` whole numbers in [0, count).
      count: of things, at most `MOST_POSITIONS`.
      key: `[]` uint64, of the shuffle.

    Returns:
      `[n]` int64 in [0, count); for one key a bijection.
    """
    if not 1 <= count <= MOST_POSITIONS:
        raise ValueError(f"cannot shuffle {count} things, expected 1 to {MOST_POSITIONS}")
    half = np.uint64(max(((count - 1).bit_length() + 1) // 2, 1))
    found = _rounds(np.asarray(position, np.uint64), half, key)
    outside = found >= np.uint64(count)
    while outside.any():
        found[outside] = _rounds(found[outside], half, key)
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


def _rounds(x: np.ndarray, half: np.uint64, key: np.ndarray) -> np.ndarray:
    """The network on numbers of `2 * half` bits."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = x >> half, x & mask
    for turn in range(_ROUNDS):
        salt = mix(key ^ mix(np.full(1, turn, np.uint64)))
        left, right = right, left ^ (mix(right ^ salt) & mask)
    return (left << half) | right
