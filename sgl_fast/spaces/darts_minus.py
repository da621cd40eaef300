"""DARTS- (Chu et al., 2020): DARTS plus `skip_beta` times an auxiliary skip on every edge, decayed over the epochs."""

from __future__ import annotations

import math

from ._space import Ops, OpsByEdge, Space, build
from .darts import RULES

DECAYS = ("linear", "cosine", "slow_cosine", "none")


def darts_minus(
    channels: int = 16,
    layers: int = 8,
    nodes: int = 4,
    num_classes: int = 10,
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
) -> Space:
    sizes = channels, layers, nodes, num_classes
    return build("darts_minus", sizes, ops, edge_ops, aux_skip=True, rules=RULES)


def skip_beta(
    epoch: int, epochs: int, base: float = 1.0, decay: str = "linear", start: int = 0, stop: int | None = None
) -> float:
    """Coefficient of the auxiliary skip at an epoch: `base` before `start`, decayed to `stop`, frozen after.

    As published, a late start shifts the linear decay but not the cosine ones.
    """
    if decay not in DECAYS:
        raise ValueError(f"need decay one of {', '.join(DECAYS)}; got {decay!r}")
    stop = epochs if stop is None else stop
    epoch = min(epoch, stop)
    if decay == "none" or epoch < start:
        return base
    if decay == "linear":
        return base * (epochs - epoch) / (epochs - start)
    if decay == "cosine":
        return base * (1 + math.cos(math.pi * epoch / stop)) / 2
    return base * math.cos(math.pi * epoch / (2 * stop))
