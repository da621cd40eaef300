"""The search spaces: each module says only how its space differs from the shared cell of `_space`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ._space import KINDS, EdgeOps, Space, edges_of, num_edges
from .darts import darts
from .darts_minus import darts_minus
from .operations import CODES, OPERATIONS, PRIMITIVES, Operation, is_pool
from .p_darts import p_darts
from .pc_darts import pc_darts, pc_darts_imagenet

__all__ = [
    *("CODES", "KINDS", "OPERATIONS", "PRIMITIVES", "SPACES"),
    *("EdgeOps", "Operation", "Space", "edges_of", "is_pool", "num_edges", "space"),
]

SPACES: dict[str, Callable[..., Space]] = {
    build.__name__: build for build in (darts, darts_minus, p_darts, pc_darts, pc_darts_imagenet)
}


def space(name: str, **sizes: Any) -> Space:
    """The search space `name` at the given sizes.

    name   darts | darts_minus | p_darts | pc_darts | pc_darts_imagenet
    sizes  channels, layers, nodes, num_classes; p_darts also stage and edge_ops
    An unknown name or a size that the operations cannot take is a ValueError that lists what is possible.
    """
    if name not in SPACES:
        raise ValueError(f"unknown space {name!r}; the spaces are {', '.join(SPACES)}")
    options = inspect.signature(SPACES[name]).parameters
    unknown = [size for size in sizes if size not in options]
    if unknown:
        raise ValueError(f"space {name!r} takes {', '.join(options)}; got {', '.join(unknown)}")
    return SPACES[name](**sizes)
