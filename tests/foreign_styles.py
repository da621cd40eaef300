"""Cells of the family in rarer styles, each a network of its own of two or three cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from foreign_darts import Cell, MixedOp, Network
from foreign_ops import PRIMITIVES, FactorizedReduce, ReLUConvBN
from torch import nn

E, O = 5, len(PRIMITIVES)


class AlphasInside(Cell):
    """Raw alphas and betas come in; the cell takes the softmaxes."""

    def forward(self, s0, s1, weights, weights2=None):
        weights2 = torch.cat([weights2[:2].softmax(0), weights2[2:].softmax(0)])
        return super().forward(s0, s1, weights.softmax(-1), weights2)


class RawNetwork(Network):
    def __init__(self, **sizes):
        super().__init__(make_cell=AlphasInside, k=2, **sizes)

    def forward(self, input):
        s0 = s1 = self.stem(input)
        for cell in self.cells:
            kind = "reduce" if cell.reduction else "normal"
            s0, s1 = s1, cell(s0, s1, getattr(self, f"alphas_{kind}"), weights2=getattr(self, f"betas_{kind}"))
        return self.classifier(s1.mean((2, 3)))


class CutNetwork(Network):
    """Cuts the graph between two cells, on one of the two ways."""

    def forward(self, input):
        s0 = s1 = self.stem(input)
        for cell in self.cells:
            weights = (self.alphas_reduce if cell.reduction else self.alphas_normal).softmax(-1)
            s0, s1 = s1.detach(), cell(s0, s1, weights)
        return self.classifier(s1.mean((2, 3)))


class OwnMixedOp(MixedOp):
    """Holds its alphas."""

    def __init__(self, C, stride):
        super().__init__(C, stride)
        self.alpha = nn.Parameter(1e-3 * torch.randn(O))

    def forward(self, x):
        return super().forward(x, F.softmax(self.alpha, dim=0))


class Node(nn.Module):
    def __init__(self, C, sources, reduction):
        super().__init__()
        self.edges = nn.ModuleList(OwnMixedOp(C, 2 if reduction and j < 2 else 1) for j in range(sources))

    def forward(self, states):
        return sum(edge(s) for edge, s in zip(self.edges, states, strict=False))


class NodeCell(nn.Module):
    """Preprocesses nothing; *inputs in one list; returns the last two of three nodes."""

    def __init__(self, C, reduction):
        super().__init__()
        self.nodes = nn.ModuleList(Node(C, sources, reduction) for sources in (2, 3, 4))

    def forward(self, *inputs):
        states = list(inputs)
        for node in self.nodes:
            states.append(node(states))
        return torch.cat(states[-2:], dim=1)


class OwnNetwork(nn.Module):
    def __init__(self, C=4):
        super().__init__()
        self.stem = nn.Conv2d(1, C, 3, padding=1)
        self.first, self.second = NodeCell(C, True), NodeCell(2 * C, False)
        self.head = nn.Linear(4 * C, 3)

    def forward(self, images):
        x = self.stem(images)
        x = self.first(x, x)
        return self.head(self.second(x, x).mean((2, 3)))


class OddPreprocessCell(nn.Module):
    """3x3 convolutions and affine batch norms before the states; per-edge betas as a list; a dict of weights."""

    def __init__(self, c_pp, c_p, C):
        super().__init__()
        self.fit0, self.fit1 = (
            nn.Sequential(nn.Conv2d(c, C, 3, padding=1, bias=False), nn.BatchNorm2d(C)) for c in (c_pp, c_p)
        )
        self.mixed_ops = nn.ModuleList(MixedOp(C, 1) for _ in range(E))

    def forward(self, weights, prev, prev_prev):
        states = [self.fit0(prev_prev), self.fit1(prev)]
        rows, betas, e = weights["ops"], weights["edges"], 0
        for n in (2, 3):
            states.append(sum(betas[e + j] * self.mixed_ops[e + j](states[j], rows[e + j]) for j in range(n)))
            e += n
        return torch.cat(states[2:], 1)


class OddPreprocessNetwork(nn.Module):
    def __init__(self, C=4):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, stride=2)
        self.cells = nn.ModuleList([OddPreprocessCell(6, 6, C), OddPreprocessCell(6, 2 * C, C)])
        self.alphas, self.betas = nn.Parameter(torch.randn(E, O)), nn.Parameter(torch.randn(E))
        self.head = nn.Linear(2 * C, 5)

    def forward(self, x):
        weights = {"ops": list(self.alphas.softmax(-1)), "edges": list(self.betas.softmax(0).unbind())}
        a = b = self.stem(x)
        for cell in self.cells:
            a, b = b, cell(weights, b, a)
        return self.head(b.mean((2, 3)))


class AuxiliaryMixedOp(MixedOp):
    """DARTS-: a skip beside the mixture."""

    def __init__(self, C, stride, k=1):
        super().__init__(C, stride, k)
        self.auxiliary_op = nn.Identity() if stride == 1 else FactorizedReduce(C, C)

    def forward(self, x, weights, beta):
        return super().forward(x, weights) + beta * self.auxiliary_op(x)


class AuxiliaryCell(nn.Module):
    def __init__(self, C_in, C, reduction):
        super().__init__()
        self.preprocess0, self.preprocess1 = ReLUConvBN(C_in, C), ReLUConvBN(C_in, C)
        strides = (1 + reduction, 1 + reduction, 1 + reduction, 1 + reduction, 1)
        self.mixed = nn.ModuleList(AuxiliaryMixedOp(C, stride) for stride in strides)

    def forward(self, s0, s1, weights, beta):
        s = [self.preprocess0(s0), self.preprocess1(s1)]
        s.append(self.mixed[0](s[0], weights[0], beta) + self.mixed[1](s[1], weights[1], beta))
        s.append(sum(self.mixed[2 + j](s[j], weights[2 + j], beta) for j in range(3)))
        return torch.cat(s[2:], dim=1)


class AuxiliaryNetwork(nn.Module):
    def __init__(self, C=4):
        super().__init__()
        self.beta = 1.0
        self.stem = nn.Conv2d(3, C, 3, padding=1)
        self.cell0, self.cell1 = AuxiliaryCell(C, C, False), AuxiliaryCell(2 * C, C, True)
        self.alphas = nn.Parameter(torch.randn(2, E, O))
        self.head = nn.Linear(2 * C, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.cell0(x, x, self.alphas[0].softmax(-1), self.beta)
        x = self.cell1(x, x, self.alphas[1].softmax(-1), self.beta)
        return self.head(x.mean((2, 3)))


class PaddedReduce(nn.Module):
    """A border of zeros, so that odd sizes fit, too; its convolutions in a list."""

    def __init__(self, C_in, C_out):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(C_in, C_out // 2, 1, stride=2) for _ in range(2))
        self.pad = nn.ConstantPad2d((0, 1, 0, 1), 0)
        self.bn = nn.BatchNorm2d(C_out, affine=False)

    def forward(self, x):
        x = F.relu(x)
        return self.bn(torch.cat([self.convs[0](x), self.convs[1](self.pad(x)[:, :, 1:, 1:])], dim=1))


def biased(net, padded=False):
    """Every convolution has a bias, as where batch norms have none."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if padded and type(child) is FactorizedReduce:
                setattr(module, name, PaddedReduce(child.conv_1.in_channels, child.bn.num_features))
    for conv in net.modules():
        if isinstance(conv, nn.Conv2d):
            conv.bias = nn.Parameter(torch.randn(conv.out_channels))
    return net
