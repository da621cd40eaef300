"""MixedOp, Cell and Supernet of one learner as modules, their parameters in canonical order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from sgl_fast.nets import layout
from sgl_fast.reference.cell import Cell as Shape
from sgl_fast.spaces import KINDS, Space, edges_of

from .ops import OPS, FactorizedReduce, relu_conv_norm


class Alphas(nn.Module):
    """The architecture of one learner: alphas (E, O) and, in PC-DARTS, betas (E) of both kinds of cell."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        for kind in KINDS:
            setattr(self, f"alphas_{kind}", nn.Parameter(1e-3 * torch.randn(space.edges, space.ops_per_edge)))
        for kind in KINDS if space.edge_norm else ():
            setattr(self, f"betas_{kind}", nn.Parameter(1e-3 * torch.randn(space.edges)))
        self.in_edges = [len(edges_of(node)) for node in range(space.nodes)]

    def mixture(self, kind: str) -> tuple[Tensor, Tensor | None]:
        """Softmax over the ops of each edge (E, O), and over the in-edges of each node (E) or None."""
        op_weights = getattr(self, f"alphas_{kind}").softmax(-1)
        betas = getattr(self, f"betas_{kind}", None)
        if betas is None:
            return op_weights, None
        return op_weights, torch.cat([group.softmax(0) for group in betas.split(self.in_edges)])


class MixedOp(nn.Module):
    """sum over o of weights[o] * op_o(x); in PC-DARTS of the first 1/partial of the channels, the rest go round it."""

    def __init__(
        self, ops: Sequence[str], channels: int, stride: int, partial: int = 1, aux_skip: bool = False
    ) -> None:
        super().__init__()
        self.partial, self.mixed = partial, channels // partial
        self.ops = nn.ModuleList(OPS[op](self.mixed, stride) for op in ops)
        self.bypass = nn.MaxPool2d(2, 2) if stride == 2 else nn.Identity()
        self.aux_skip = OPS["skip_connect"](channels, stride) if aux_skip else None

    def forward(self, x: Tensor, weights: Tensor, skip_beta: float = 1.0) -> Tensor:
        """x (N, C, H, W), weights (O,) -> (N, C, H / stride, W / stride)"""
        head = x[:, : self.mixed] if self.partial > 1 else x
        out = reduce(add, [w * op(head) for w, op in zip(weights, self.ops, strict=True)])
        if self.partial > 1:
            out = torch.cat([out, self.bypass(x[:, self.mixed :])], dim=1)
            out = out.unflatten(1, (self.partial, -1)).transpose(1, 2).flatten(1, 2)
        result: Tensor = out if self.aux_skip is None else out + skip_beta * self.aux_skip(x)
        return result


class Cell(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        C = shape.channels
        if shape.preprocess:
            first = FactorizedReduce if shape.shrink0 else relu_conv_norm
            self.preprocess0 = first(shape.c_prev_prev, C)
            self.preprocess1 = relu_conv_norm(shape.c_prev, C)
        self.edges = nn.ModuleList(
            MixedOp(shape.ops[edge], C, shape.stride(source), shape.partial, shape.aux_skip)
            for node in range(shape.nodes)
            for source, edge in enumerate(edges_of(node))
        )

    def forward(
        self, s0: Tensor, s1: Tensor, op_weights: Tensor, edge_weights: Tensor | None, skip_beta: float = 1.0
    ) -> Tensor:
        """s0, s1 (N, C, H, W), op_weights (E, O), edge_weights (E) or None -> (N, nodes * channels, H', W')"""
        states = [self.preprocess0(s0), self.preprocess1(s1)] if self.shape.preprocess else [s0, s1]
        for node in range(self.shape.nodes):
            outs = []
            for source, edge in enumerate(edges_of(node)):
                out = self.edges[edge](states[source], op_weights[edge], skip_beta)
                outs.append(out if edge_weights is None else edge_weights[edge] * out)
            states.append(reduce(add, outs))
        return torch.cat(states[2:], dim=1)


def conv_norm(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)]


class ImageNetStem(nn.Module):
    """An eighth of the side, and the state before the last halving."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.stem0 = nn.Sequential(*conv_norm(3, C // 2, 2), nn.ReLU(), *conv_norm(C // 2, C, 2))
        self.stem1 = nn.Sequential(nn.ReLU(), *conv_norm(C, C, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        s0 = self.stem0(images)
        return s0, self.stem1(s0)


class Supernet(nn.Module):
    """The supernet of a space; the architecture is an argument, since two networks of a learner share it."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        C = space.stem_multiplier * space.channels
        self.imagenet = space.imagenet
        self.stem = ImageNetStem(C) if space.imagenet else nn.Sequential(*conv_norm(3, C, 1))
        shapes = [cell for cell, _ in layout.build(space).cells]
        self.kinds = [shape.kind for shape in shapes]
        self.cells = nn.ModuleList(Cell(shape) for shape in shapes)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(space.nodes * shapes[-1].channels, space.num_classes)

    def forward(self, images: Tensor, alphas: Alphas, skip_beta: float = 1.0) -> Tensor:
        """images (N, 3, H, W) -> logits (N, J)"""
        mixtures = {kind: alphas.mixture(kind) for kind in KINDS}
        stem = self.stem(images)
        s0, s1 = stem if self.imagenet else (stem, stem)
        for cell, kind in zip(self.cells, self.kinds, strict=True):
            s0, s1 = s1, cell(s0, s1, *mixtures[kind], skip_beta)
        out: Tensor = self.classifier(self.pool(s1).flatten(1))
        return out


@torch.no_grad()
def load(module: nn.Module, flat: Tensor) -> None:
    """Copies (P,) into the module's parameters, which are in canonical order."""
    parameters = list(module.parameters())
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))
