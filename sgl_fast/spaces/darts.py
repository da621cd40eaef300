"""DARTS (Liu et al., 2019): eight primitives on every edge, softmax over them, nothing else."""

from __future__ import annotations

from ._space import Space, all_ops


def darts(channels: int = 16, layers: int = 8, nodes: int = 4, num_classes: int = 10) -> Space:
    return Space("darts", channels, layers, nodes, num_classes, all_ops(nodes), all_ops(nodes))
