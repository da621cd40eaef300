"""The search spaces: each module says only how its space differs from the shared cell of `_space`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ._space import KINDS, EdgeOps, Space, edges_of, num_edges, op_names
from .darts import RULES as DARTS
from .darts import darts
from .darts_minus import darts_minus
from .operations import CODES, OPERATIONS, PRIMITIVES, Operation, is_pool
from .p_darts import RULES as P_DARTS
from .p_darts import p_darts
from .pc_darts import IMAGENET_RULES, pc_darts, pc_darts_imagenet
from .pc_darts import RULES as PC_DARTS
from .robust_darts import ROBUST_DARTS
from .robust_darts import RULES as ROBUST_RULES
from .rules import Rules

__all__ = [
    "CODES",
    "EVERY",
    "KINDS",
    "OPERATIONS",
    "PRIMITIVES",
    "RULES",
    "SPACES",
    "EdgeOps",
    "Operation",
    "Rules",
    "Space",
    "edges_of",
    "is_pool",
    "num_edges",
    "op_names",
    "space",
]

SPACES: dict[str, Callable[..., Space]] = {
    build.__name__: build for build in (darts, darts_minus, p_darts, pc_darts, pc_darts_imagenet)
}
RULES: dict[str, Rules] = dict(zip(SPACES, (DARTS, DARTS, P_DARTS, PC_DARTS, IMAGENET_RULES), strict=True))
RULES |= dict.fromkeys(ROBUST_DARTS, ROBUST_RULES)
EVERY: dict[str, Callable[..., Space]] = {**SPACES, **ROBUST_DARTS}  # those that have a graph of their own, and subsets


def space(name: str, **sizes: Any) -> Space:
    """The search space `name` at the given sizes.

    name   darts | darts_minus | p_darts | pc_darts | pc_darts_imagenet | s1 | s2 | s3 | s4
    sizes  channels, layers, nodes, num_classes; p_darts also stage
           ops: of every edge, any subset and order of the operations, by index or name; or edge_ops, edge by edge:
           {"normal" | "reduce": a list of ops for each edge}
    An unknown name or a size that the operations cannot take is a ValueError that lists what is possible.

    >>> space("darts", channels=8, layers=5, nodes=2, ops=["skip_connect", "sep_conv_3x3"]).ops("normal")[0]
    ('skip_connect', 'sep_conv_3x3')
    >>> space("pc_darts", channels=6)
    Traceback (most recent call last):
    sgl_fast.setting.SettingError: pc_darts mixes 1/4 of the channels: need channels divisible by 4 (4, 8, ...); got 6
    """
    if name not in EVERY:
        raise ValueError(f"unknown space {name!r}; the spaces are {', '.join(EVERY)}")
    options = inspect.signature(EVERY[name]).parameters
    unknown = [size for size in sizes if size not in options]
    if unknown:
        raise ValueError(f"space {name!r} takes {', '.join(options)}; got {', '.join(unknown)}")
    return EVERY[name](**sizes)
