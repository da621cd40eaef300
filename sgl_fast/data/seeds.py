"""Seeds and shuffles from an integer hash: the same on every machine, device and library version."""

from __future__ import annotations

import operator

import numpy as np

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def seed_of(*parts: int) -> int:
    """A 63-bit seed from a tuple of integers: nearby tuples give unrelated seeds (splitmix64 finaliser, chained)."""
    state = 0
    for part in parts:
        state = (state + operator.index(part) + _GOLDEN) & _MASK  # numpy's would not grow
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def shuffled(count: int, *parts: int) -> np.ndarray:
    """A permutation of range(count), int64, that depends on the integers `parts` only."""
    key = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(seed_of(*parts))
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.argsort(key ^ (key >> np.uint64(31)), kind="stable")
