"""DARTS (Liu et al., 2019): eight primitives on every edge, softmax over them, nothing else."""

from __future__ import annotations

from ._space import Ops, OpsByEdge, Space, build
from .rules import Rules

RULES = Rules(
    published={"batch_size": 64, "lr_min": 0.001},
    released={"batch_size": 50, "epochs": 50, "pretrain_epochs": 5, "arch_start": 5},
)


def darts(
    channels: int = 16,
    layers: int = 8,
    nodes: int = 4,
    num_classes: int = 10,
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
) -> Space:
    return build("darts", (channels, layers, nodes, num_classes), ops, edge_ops, rules=RULES)
