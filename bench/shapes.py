"""The cells that are timed, and random inputs for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import sgl_fast
from sgl_fast.reference.cell import Cell, Section, section_of
from sgl_fast.spaces import PRIMITIVES, Space


@dataclass
class CellInputs:
    """What `mixed_cell` takes, as leaves, and a cotangent of its output; s0 (V, N, C, H0, W0) and so on."""

    s0: Tensor
    s1: Tensor
    weights: Tensor
    op_weights: Tensor
    edge_weights: Tensor | None
    cotangent: Tensor

    @property
    def leaves(self) -> list[Tensor]:
        """Those that want a gradient."""
        every = (self.s0, self.s1, self.weights, self.op_weights, self.edge_weights)
        return [t for t in every if t is not None and t.requires_grad]

    def to(self, device: str) -> CellInputs:
        def moved(leaf: Tensor) -> Tensor:
            return leaf.detach().to(device).requires_grad_(leaf.requires_grad)

        edge_weights = None if self.edge_weights is None else moved(self.edge_weights)
        s0, s1, weights, op_weights = map(moved, (self.s0, self.s1, self.weights, self.op_weights))
        return CellInputs(s0, s1, weights, op_weights, edge_weights, moved(self.cotangent))


def edge(space: Space, channels: int, kind: str = "normal") -> Cell:
    """One mixed op: a cell of one node on two states as they are, the first of which it does not use."""
    ops = ("none",) * len(PRIMITIVES), PRIMITIVES
    return Cell(0, kind, False, channels, channels, channels, 1, ops, space.partial, space.aux_skip, preprocess=False)


def draw_cell(cell: Cell, edge_norm: bool, V: int, N: int, side: int, dtype: torch.dtype = torch.float32) -> CellInputs:
    """side: pixels a side of s1."""
    draw = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=dtype)

    section, E, O = section_of(cell), len(cell.ops), len(cell.ops[0])
    s0 = randn(V, N, cell.c_prev_prev, *[side * (1 + cell.shrink0)] * 2).requires_grad_(cell.preprocess)
    s1 = randn(V, N, cell.c_prev, side, side).requires_grad_()
    if not cell.preprocess:
        s0.zero_()  # the state that an edge does not use: in PC-DARTS its channels would go round the op
    out = side // 2 if cell.kind == "reduce" else side
    op_weights = randn(V, E, O).softmax(-1).requires_grad_()
    edge_weights = randn(V, E).softmax(-1).requires_grad_() if edge_norm else None
    weights = draw_weights(section, V, draw, dtype).requires_grad_()
    return CellInputs(s0, s1, weights, op_weights, edge_weights, randn(V, N, cell.nodes * cell.channels, out, out))


def draw_weights(section: Section, V: int, draw: torch.Generator, dtype: torch.dtype) -> Tensor:
    """(V, section.num_weights), the default initialisation of convolutions."""
    bounds = [torch.full((e.size,), math.prod(e.shape[1:]) ** -0.5, dtype=dtype) for e in section.entries]
    return torch.cat(bounds) * (2 * torch.rand(V, section.num_weights, generator=draw, dtype=dtype) - 1)


def sizes_of(short: bool = False) -> dict[str, int]:
    """Of the supernet as it is searched, or of a tiny one."""
    return {"channels": 4, "layers": 3, "nodes": 2} if short else {"channels": 16, "layers": 8}


def space_of(name: str, short: bool = False) -> Space:
    return sgl_fast.space(name, **sizes_of(short))
