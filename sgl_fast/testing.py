"""Random cells of every space and size, and a run of one: for tests of the fused cell and the study of its errors."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sgl_fast.reference.cell import Cell, section_of
from sgl_fast.reference.layers import PassContext, RunningStats
from sgl_fast.reference.pattern import Pattern
from sgl_fast.spaces import PRIMITIVES, num_edges

F64 = torch.float64
SIDES = [(2, 2), (4, 4), (6, 10), (7, 7), (8, 8), (14, 14), (5, 9), (16, 16), (12, 20), (28, 28), (34, 18), (32, 32)]


@dataclass(frozen=True)
class Setting:
    """A cell, its batch, and how it runs."""

    cell: Cell
    V: int
    N: int
    H: int
    W: int
    training: bool = True
    dropout: float = 0.0
    replay: bool = False
    edge_weights: bool = True


def draw_setting(draw: random.Random) -> Setting:
    """Partial channels or auxiliary skips, any kind, any operations, odd channels and sides where they are possible."""
    kind, partial, nodes = draw.choice(["normal", "reduce"]), draw.choice([1, 1, 2, 4]), draw.choice([1, 2, 3, 4])
    shrink0, C = draw.random() < 0.3, partial * draw.choice([1, 2, 3, 4, 6, 8, 16])
    if (shrink0 and C % 2) or (kind == "reduce" and C // partial % 2):
        C *= 2
    O, E = draw.choice([8, 5, 3]), num_edges(nodes)
    ops = tuple(tuple(sorted(draw.sample(PRIMITIVES, O), key=PRIMITIVES.index)) for _ in range(E))
    H, W = draw.choice(SIDES)
    if kind == "reduce":
        H, W = H + H % 2, W + W % 2
    aux = partial == 1 and draw.random() < 0.3
    inputs = draw.choice([4, 6, 16, 20]), draw.choice([4, 5, 16])
    cell = Cell(0, kind, shrink0, *inputs, C, nodes, ops, partial, aux, draw.random() < 0.8, draw.random() < 0.8)
    return Setting(
        cell,
        V=draw.choice([1, 2, 3]),
        N=draw.choice([2, 3, 5]),
        H=H,
        W=W,
        training=draw.random() < 0.85,
        dropout=draw.choice([0.0, 0.0, 0.4]),
        replay=draw.random() < 0.3,
        edge_weights=not aux and draw.random() < 0.6,
    )


@dataclass
class Inputs:
    """Everything a cell reads, in float64; `at` casts it."""

    tensors: list[Tensor | None]
    running: RunningStats
    grad: Tensor

    def at(self, dtype: torch.dtype) -> Inputs:
        leaves = [None if t is None else t.to(dtype, copy=True).requires_grad_() for t in self.tensors]
        running = RunningStats(self.running.mean.to(dtype, copy=True), self.running.var.to(dtype, copy=True))
        return Inputs(leaves, running, self.grad.to(dtype))


def draw_inputs(s: Setting) -> Inputs:
    """Random inputs: s0, s1, weights, op_weights, edge_weights, exact in float32."""
    cell, V, N = s.cell, s.V, s.N
    section, scale = section_of(cell), 2 if s.cell.shrink0 and s.cell.preprocess else 1
    c0, c1 = (cell.c_prev_prev, cell.c_prev) if cell.preprocess else (cell.channels, cell.channels)
    E, O = num_edges(cell.nodes), len(cell.ops[0])
    half = 2 if cell.kind == "reduce" else 1
    tensors = [
        torch.randn(V, N, c0, scale * s.H, scale * s.W),
        torch.randn(V, N, c1, s.H, s.W),
        0.3 * torch.randn(V, section.num_weights),
        torch.randn(V, E, O).softmax(-1),
        torch.rand(V, E) + 0.2 if s.edge_weights else None,
    ]
    S = section.num_statistics
    running = RunningStats(0.1 * torch.randn(V, S).double(), torch.rand(V, S).double() + 0.5)
    grad = torch.randn(V, N, cell.nodes * cell.channels, s.H // half, s.W // half).double()
    return Inputs([None if t is None else t.double() for t in tensors], running, grad)


def run(s: Setting, inputs: Inputs, mixed_cell: Callable[..., Tensor]) -> list[Tensor]:
    """Output, gradients of all inputs, running statistics. A replay runs away from the recorded inputs."""
    section, pattern = section_of(s.cell), Pattern() if s.replay else None

    def forward(tensors: list[Tensor | None]) -> Tensor:
        seeds = torch.arange(s.V, device=inputs.grad.device)
        context = PassContext(s.training, inputs.running, pattern, s.dropout, seeds)
        if pattern is not None:
            pattern.start()
        out = mixed_cell(s.cell, section, *tensors, context, 0.7)
        if pattern is not None:
            pattern.finish()
        return out

    tensors = inputs.tensors
    out = forward(tensors)
    if s.replay:
        moved = [(t.detach() * 1.3 + 0.1).requires_grad_() for t in tensors[:2] if t is not None]
        tensors = [*moved, *tensors[2:]]
        out = forward(tensors)
    grads = torch.autograd.grad(out, [t for t in tensors if t is not None], inputs.grad)
    return [out.detach(), *grads, inputs.running.mean, inputs.running.var]
