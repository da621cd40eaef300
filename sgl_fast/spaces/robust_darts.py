"""S1 to S4 (Zela et al., 2020, "Understanding and Robustifying Differentiable Architecture Search", section 3): DARTS
with so few operations that where it fails can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ._space import Ops, OpsByEdge, Space, build, check_size, num_edges
from .rules import Rules

RULES = Rules(published={"batch_size": 64, "lr_min": 0.001})
# The two operations of each edge in S1, those that DARTS had kept when it searched with all of them.
_SKIP3, _SKIP5, _SKIPS = (("skip_connect", op) for op in ("dil_conv_3x3", "dil_conv_5x5", "sep_conv_3x3"))
_MAX, _POOLS = ("max_pool_3x3", "skip_connect"), ("max_pool_3x3", "avg_pool_3x3")
_DILATED = ("dil_conv_3x3", "dil_conv_5x5")
S1: OpsByEdge = {
    "normal": [
        *(_SKIP3, _SKIP5),
        *(_SKIP5, _SKIPS, _SKIP3),
        *(_MAX, _SKIPS, _SKIPS, _SKIP3),
        *(_SKIPS, _MAX, _SKIP3, _DILATED, _DILATED),
    ],
    "reduce": [
        *(_POOLS, ("max_pool_3x3", "dil_conv_3x3")),
        *(_POOLS, _POOLS, _SKIP5),
        *(_POOLS, ("max_pool_3x3", "sep_conv_3x3"), _SKIP3, _SKIP5),
        *(_POOLS, _POOLS, _SKIP5, _SKIP5, _SKIP5),
    ],
}


def _subset(
    name: str,
    own: Ops | OpsByEdge,
    channels: int = 16,
    layers: int = 8,
    nodes: int = 4,
    num_classes: int = 10,
    ops: Ops | None = None,
    edge_ops: OpsByEdge | None = None,
) -> Space:
    """own: operations of all edges, or of each; with fewer nodes than there are edges for, those of the first nodes."""
    if ops is None and edge_ops is None:
        if isinstance(own, Mapping):
            edges = num_edges(check_size("nodes", nodes))
            if edges > len(own["normal"]):
                raise ValueError(f"need at most 4 nodes in {name}; got {nodes}")
            edge_ops = {kind: rows[:edges] for kind, rows in own.items()}
        else:
            ops = own
    return build(name, (channels, layers, nodes, num_classes), ops, edge_ops, rules=RULES)


OWN: dict[str, Ops | OpsByEdge] = {
    "s1": S1,
    "s2": ("skip_connect", "sep_conv_3x3"),
    "s3": ("none", "skip_connect", "sep_conv_3x3"),
    "s4": ("noise", "sep_conv_3x3"),
}
ROBUST_DARTS: dict[str, Callable[..., Space]] = {name: partial(_subset, name, own) for name, own in OWN.items()}
