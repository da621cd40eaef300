"""Seeded splits in which every class has its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .seeds import shuffled


def split_by_class(
    labels: np.ndarray, shares: Sequence[float], seed: int, names: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Positions of each part, disjoint, shuffled across the classes: one int64 array for each share.

    labels   int [M]
    shares   fractions of every class, rounded down; shares that sum to 1 leave the remainder to the last part
    names    of the classes, for the error where one has too few images for every part to get one
    """
    parts: list[list[np.ndarray]] = [[] for _ in shares]
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        counts = _counts(len(members), shares)
        if min(counts) < 1:
            name = names[label] if names else label
            raise ValueError(f"class {name}: {len(members)} images are too few to split {_percent(shares)}")
        members = members[shuffled(len(members), seed, label)]
        for part, chunk in zip(parts, np.split(members, np.cumsum(counts)), strict=False):
            part.append(chunk)
    return [_mixed(part, seed, number) for number, part in enumerate(parts)]


def _mixed(chunks: list[np.ndarray], seed: int, number: int) -> np.ndarray:
    positions = np.concatenate(chunks)
    out: np.ndarray = positions[shuffled(len(positions), seed, -1 - number)]
    return out


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    # 0.29 * 100 is 28.999...: a share that names whole images must get them.
    counts = [int(total * share + 1e-6) for share in shares]
    if sum(shares) > 1 - 1e-6:
        counts[-1] = total - sum(counts[:-1])
    return counts


def _percent(shares: Sequence[float]) -> str:
    return " / ".join(f"{100 * share:g}%" for share in shares)
