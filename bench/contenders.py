"""Ours and eager modules on the same inputs: calls without arguments, each forward and backward with all gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgl_fast import Supernet
from sgl_fast.ops.mixed_cell import mixed_cell
from sgl_fast.reference.cell import Cell, section_of
from sgl_fast.reference.layers import PassContext

from . import eager
from .shapes import CellInputs

Call = Callable[[], list[Tensor]]


class Edge(nn.Module):
    """The second edge of a cell of one node, alone."""

    def __init__(self, shape: Cell) -> None:
        super().__init__()
        self.mixed_op = eager.MixedOp(shape.ops[1], shape.channels, shape.stride(1), shape.partial)

    def forward(self, s0: Tensor, s1: Tensor, op_weights: Tensor, edge_weights: Tensor | None) -> Tensor:
        out = self.mixed_op(s1, op_weights[1])
        result: Tensor = out if edge_weights is None else edge_weights[1] * out
        return result


def fused_cell(cell: Cell, x: CellInputs) -> Call:
    section, context = section_of(cell), PassContext()

    def call() -> list[Tensor]:
        out = mixed_cell(cell, section, x.s0, x.s1, x.weights, x.op_weights, x.edge_weights, context)
        return list(torch.autograd.grad(out, x.leaves, x.cotangent))

    return call


def eager_cell(cell: Cell, x: CellInputs, baseline: str) -> Call:
    """One module a virtual learner, looped; the gradients come learner by learner, in the order of `fused_cell`."""
    rows = [one_cell(cell, x, baseline, v) for v in range(len(x.weights))]
    return lambda: [grad for row in rows for grad in row()]


def one_cell(cell: Cell, x: CellInputs, baseline: str, v: int) -> Call:
    module = (eager.Cell if cell.preprocess else Edge)(cell).to(x.s1.device, x.s1.dtype)
    eager.load(module, x.weights[v])
    s0, s1 = (laid(s[v].detach(), baseline).requires_grad_(s.requires_grad) for s in (x.s0, x.s1))
    op_weights = x.op_weights[v].detach().requires_grad_()
    edge_weights = None if x.edge_weights is None else x.edge_weights[v].detach().requires_grad_()
    every = [s0, s1, *module.parameters(), op_weights, edge_weights]
    leaves = [t for t in every if t is not None and t.requires_grad]
    cotangent = laid(x.cotangent[v], baseline)
    dressed(module, baseline)
    return lambda: list(torch.autograd.grad(module(s0, s1, op_weights, edge_weights), leaves, cotangent))


def fused_pass(net: Supernet, weights: Tensor, images: Tensor, labels: Tensor, backend: str | None = None) -> Call:
    """weights (V, P), images (N, 3, H, W), labels (N); by the backend, if one is given"""
    V = len(weights)
    weights = weights.detach().requires_grad_()
    arch = net.init_arch(V, torch.Generator().manual_seed(0), weights.dtype)
    arch = arch.map(lambda t: t.to(weights.device).requires_grad_())

    def call() -> list[Tensor]:
        logits = net(weights, arch, images, backend=backend)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(V), reduction="sum")
        return list(torch.autograd.grad(loss, [weights, *arch.tensors()]))

    return call


def eager_pass(net: Supernet, weights: Tensor, images: Tensor, labels: Tensor, baseline: str) -> Call:
    """One module a virtual learner, looped; the gradients come learner by learner, in the order of `fused_pass`."""
    arch = net.init_arch(len(weights), torch.Generator().manual_seed(0), weights.dtype).flat()
    rows = [one_pass(net, w, a, images, labels, baseline) for w, a in zip(weights, arch, strict=True)]
    return lambda: [grad for row in rows for grad in row()]


def one_pass(net: Supernet, weights: Tensor, arch: Tensor, images: Tensor, labels: Tensor, baseline: str) -> Call:
    module, alphas = (m(net.space).to(weights.device, weights.dtype) for m in (eager.Supernet, eager.Alphas))
    eager.load(module, weights)
    eager.load(alphas, arch)
    leaves = [*module.parameters(), *alphas.parameters()]
    images = laid(images, baseline)
    dressed(module, baseline)

    def call() -> list[Tensor]:
        loss = F.cross_entropy(module(images, alphas), labels, reduction="sum")
        return list(torch.autograd.grad(loss, leaves))

    return call


def laid(x: Tensor, baseline: str) -> Tensor:
    """Images in the memory format of the baseline."""
    return x.contiguous(memory_format=torch.channels_last) if "channels_last" in baseline else x.contiguous()


def dressed(module: nn.Module, baseline: str) -> None:
    """Turns the module into what the baseline runs."""
    if "channels_last" in baseline:
        module.to(memory_format=torch.channels_last)
    if "compile" in baseline:
        module.compile()
