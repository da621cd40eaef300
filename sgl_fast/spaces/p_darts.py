"""P-DARTS (Chen et al., 2019): three stages, each deeper and with fewer ops an edge; dropout on the skips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..integers import whole
from ._space import KINDS, Space, all_ops, canonical_ops

LAYERS = (5, 11, 17)
DROPS = (3, 2)  # ops that each edge loses after stage 1 and after stage 2


def p_darts(
    channels: int = 16,
    layers: int | None = None,
    nodes: int = 4,
    num_classes: int = 10,
    stage: int = 1,
    edge_ops: Mapping[str, Sequence[Sequence[str | int]]] | None = None,
) -> Space:
    """edge_ops: {"normal" | "reduce": for each edge its ops, by index or name}; stages 2 and 3 need it."""
    if whole(stage) not in (1, 2, 3):
        raise ValueError(f"need stage 1, 2 or 3; got {stage!r}")
    if edge_ops is None:
        if stage > 1:
            raise ValueError(f"stage {stage} of p_darts needs edge_ops, the ops that survived stage {stage - 1}")
        alive = {kind: all_ops(nodes) for kind in KINDS}
    else:
        if not isinstance(edge_ops, Mapping) or set(edge_ops) != set(KINDS):
            raise ValueError(f"need edge_ops with the keys normal and reduce; got {edge_ops!r:.80}")
        for kind, edges in edge_ops.items():
            if not isinstance(edges, Sequence):
                raise ValueError(f"need a list of ops for each edge of the {kind} cell; got {edges!r}")
        alive = {
            kind: tuple(canonical_ops(ops, f"edge {e} of the {kind} cell") for e, ops in enumerate(edge_ops[kind]))
            for kind in KINDS
        }
    layers = LAYERS[stage - 1] if layers is None else layers
    return Space("p_darts", channels, layers, nodes, num_classes, alive["normal"], alive["reduce"], stage=int(stage))


def skip_dropout(epoch: int, epochs: int, rate: float, start: int = 10) -> float:
    """Dropout probability of the stride-1 skips at an epoch of a stage.

    Linear before the architecture moves (epoch < start), exponential after; as published it jumps back up to `rate`
    at `start`.
    """
    if epoch < start:
        return rate * (epochs - epoch - 1) / epochs
    return rate * math.exp(-0.2 * (epoch - start))
