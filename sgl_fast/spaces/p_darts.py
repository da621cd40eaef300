"""P-DARTS (Chen et al., 2019): three stages, each deeper and with fewer ops an edge; dropout on the skips."""

from __future__ import annotations

import math

from ..integers import whole
from ._space import KINDS, Ops, OpsByEdge, Space, edge_ops_of
from .operations import CODES
from .rules import Rules

RULES = Rules(
    derivation="p_darts",
    layers=(5, 11, 17),
    drops=(3, 2),
    skip_dropout=(0.1, 0.4, 0.7),
    max_skips=2,
    published={"batch_size": 96, "epochs": 25, "arch_lr": 6e-4, "arch_clip": 5.0, "arch_start": 10},
    released={"epochs": 25, "pretrain_epochs": 5, "arch_start": 15},
)


def p_darts(
    channels: int = 16,
    layers: int | None = None,
    nodes: int = 4,
    num_classes: int = 10,
    stage: int = 1,
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
) -> Space:
    """edge_ops: {"normal" | "reduce": for each edge its ops, by index or name}, which stages 2 and 3 need.

    Stages read an edge's ops in canonical order, in which they come whatever order they are given in.
    """
    if whole(stage) not in (1, 2, 3):
        raise ValueError(f"need stage 1, 2 or 3; got {stage!r}")
    if edge_ops is None and stage > 1:
        raise ValueError(f"stage {stage} of p_darts needs edge_ops, the ops that survived stage {stage - 1}")
    edges = edge_ops_of(nodes, ops, edge_ops)
    normal, reduce = (tuple(tuple(sorted(edge, key=CODES.index)) for edge in edges[kind]) for kind in KINDS)
    layers = RULES.layers[stage - 1] if layers is None else layers
    sizes = channels, layers, nodes, num_classes
    return Space("p_darts", *sizes, normal, reduce, stage=int(stage), rules=RULES)


def skip_dropout(epoch: int, epochs: int, rate: float, start: int = 10) -> float:
    """Dropout probability of the stride-1 skips at an epoch of a stage.

    Linear before the architecture moves (epoch < start), exponential after; as published it jumps back up to `rate`
    at `start`.
    """
    if epoch < start:
        return rate * (epochs - epoch - 1) / epochs
    return rate * math.exp(-0.2 * (epoch - start))
