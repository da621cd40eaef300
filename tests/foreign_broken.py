"""Supernets of which some part is not what the fused cell computes: seen in the structure, or only in the numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from foreign_darts import Cell, MixedOp, Network, cell_of
from foreign_ops import PRIMITIVES, SepConv
from torch import nn


def replaced(kind, change, **sizes):
    """A network in whose cells every module of a kind is what `change` makes of it."""
    net = Network(**sizes)
    for cell in net.cells:
        for parent in list(cell.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is kind:
                    setattr(parent, name, change(child))
    return net


def with_bias_of_others(conv):
    del conv.bias
    conv.bias = torch.ones(conv.out_channels)
    return conv


def with_hook():
    net = Network()
    net.cells[1]._ops[2]._ops[4].register_forward_hook(lambda *_: None)
    return net


def with_seventh_kernel():
    net = Network()
    for cell in net.cells:
        for mixed in cell._ops:
            C = mixed._ops[4].op[1].in_channels
            mixed._ops.append(SepConv(C, 7, mixed.stride, 3))
    net.alphas_normal, net.alphas_reduce = (nn.Parameter(torch.randn(5, len(PRIMITIVES) + 1)) for _ in range(2))
    return net


def with_sixth_edge():
    net = Network()
    for cell in net.cells:
        cell._ops.append(MixedOp(4, 1))
    return net


class NoiseOp(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        size = x[:, :, :: self.stride, :: self.stride].shape
        return torch.randn(size, generator=torch.Generator().manual_seed(0))


def with_noise():
    """Two operations an edge, noise and a separable convolution."""
    net = Network()
    for cell in net.cells:
        for mixed in cell._ops:
            mixed._ops = nn.ModuleList([NoiseOp(mixed.stride), mixed._ops[4]])
    net.alphas_normal, net.alphas_reduce = (nn.Parameter(torch.randn(5, 2)) for _ in range(2))
    return net


def with_forward_of_its_own():
    net = Network()
    net.cells[0].forward = lambda *args: Cell.forward(net.cells[0], *args)
    return net


def without_norms(pools, **sizes):
    """A network whose pools with this word in their class names have no batch norm behind them."""
    return replaced(nn.Sequential, lambda s: s[0] if pools in str(s[0]) else s, **sizes)


def in_place(_):
    return nn.ReLU(inplace=True)


def batch_norm(**options):
    return lambda norm: nn.BatchNorm2d(norm.num_features, **{"affine": False, **options})


# what the report must say of a cell, from its structure alone
SEEN = {
    "affine batch norm": lambda: replaced(nn.BatchNorm2d, batch_norm(affine=True)),
    "eps 0.001": lambda: replaced(nn.BatchNorm2d, batch_norm(eps=1e-3)),
    "momentum 0.01": lambda: replaced(nn.BatchNorm2d, batch_norm(momentum=0.01)),
    "kernel (7, 7)": with_seventh_kernel,
    "6 mixed ops": with_sixth_edge,
    "count_include_pad": lambda: replaced(nn.AvgPool2d, lambda pool: nn.AvgPool2d(3, pool.stride, 1)),
    "avg_pool_3x3 without a batch norm, which other pools have": lambda: without_norms("AvgPool"),
    "a bias that is no parameter": lambda: replaced(nn.Conv2d, with_bias_of_others),
    "SiLU": lambda: replaced(nn.ReLU, lambda _: nn.SiLU()),
    "NoiseOp is none of the candidate operations": with_noise,
    "hooks on its SepConv": with_hook,
    "forward of its own": with_forward_of_its_own,
}


class ScaledEdge(MixedOp):
    factor = 1.0

    def forward(self, x, weights):
        return super().forward(x, weights) * self.factor


class ScaledCell(Cell):
    """One edge a part in ten thousand too large."""

    mixed_op = ScaledEdge

    def __init__(self, *args):
        super().__init__(*args)
        self._ops[3].factor = 1.0001


class WrongShuffle(Cell):
    """The groups of the shuffle are those of the other axis."""

    def forward(self, *args):
        out = super().forward(*args)
        N, C, H, W = out.shape
        return out.view(N, C // 4, 4, H, W).transpose(1, 2).reshape(N, C, H, W)


class LeakyMixedOp(MixedOp):
    def forward(self, x, weights):
        return super().forward(F.leaky_relu(x, 0.01), weights)


class DropPathCell(Cell):
    def forward(self, *args):
        return F.dropout(super().forward(*args), 0.1, self.training)


class DroppedPathOp(MixedOp):
    """Drop path: a factor an edge and image, 0 or 1 / (1 - rate)."""

    rate = 0.0

    def forward(self, x, weights):
        out = super().forward(x, weights)
        if not (self.training and self.rate):
            return out
        return out / (1 - self.rate) * torch.empty(len(x), 1, 1, 1).bernoulli_(1 - self.rate)


class NoisyOp(MixedOp):
    """The first operation, `none`, is standard normal noise of the input's shape."""

    level = 0.0

    def forward(self, x, weights):
        out = super().forward(x, weights)
        return out + weights[0] * torch.randn_like(out) if self.level else out


class DetachedCell(Cell):
    """Cuts a state off from the graph."""

    def forward(self, s0, s1, weights, weights2=None):
        return super().forward(s0.detach(), s1, weights)


class TupleCell(Cell):
    def forward(self, *args):
        return super().forward(*args), 0


class TupleNetwork(Network):
    """Calls its first cell alone."""

    def forward(self, images):
        s = self.stem(images)
        return self.cells[0](s, s, self.alphas_normal.softmax(-1))[0].mean((2, 3))


def noisy(level):
    net = Network(make_cell=cell_of(NoisyOp))
    for mixed in (m for m in net.modules() if isinstance(m, NoisyOp)):
        mixed.level = level
    return net


# found only by trying, and what the report must say: the same modules, other numbers
TRIED = {
    "a scaled edge": ("differs by", lambda: Network(make_cell=ScaledCell)),
    "a wrong shuffle": ("differs by", lambda: Network(make_cell=WrongShuffle, k=4, C=8)),
    "a leaky input": ("differs by", lambda: Network(make_cell=cell_of(LeakyMixedOp))),
    "drop path": ("draws random numbers", lambda: Network(make_cell=DropPathCell)),
    "noise in place of an operation": ("draws random numbers", lambda: noisy(1.0)),
    "a detached state": ("gradient of argument s0 differs", lambda: Network(make_cell=DetachedCell)),
    "ReLUs that work in place": ("changes its argument s0 in place", lambda: replaced(nn.ReLU, in_place)),
}
