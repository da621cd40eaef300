"""A DARTS and a PC-DARTS supernet in the style in which they are usually written: softmax in the network's forward."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from foreign_ops import PRIMITIVES, FactorizedReduce, ReLUConvBN, build_op


def channel_shuffle(x, groups):
    N, C, H, W = x.size()
    return x.view(N, groups, C // groups, H, W).transpose(1, 2).contiguous().view(N, -1, H, W)


class MixedOp(nn.Module):
    def __init__(self, C, stride, k=1):
        super().__init__()
        self.k = k
        self._ops = nn.ModuleList()
        self.mp = nn.MaxPool2d(2, 2)
        self.stride = stride
        for primitive in PRIMITIVES:
            self._ops.append(build_op(primitive, C // k, stride))

    def forward(self, x, weights):
        if self.k == 1:
            return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True))
        part = x.shape[1] // self.k
        mixed = sum(w * op(x[:, :part]) for w, op in zip(weights, self._ops, strict=True))
        rest = x[:, part:] if mixed.shape[2] == x.shape[2] else self.mp(x[:, part:])
        return channel_shuffle(torch.cat([mixed, rest], dim=1), self.k)


class Cell(nn.Module):
    mixed_op = MixedOp

    def __init__(self, steps, multiplier, C_prev_prev, C_prev, C, reduction, reduction_prev, k=1):
        super().__init__()
        self.reduction = reduction
        self.preprocess0 = FactorizedReduce(C_prev_prev, C) if reduction_prev else ReLUConvBN(C_prev_prev, C)
        self.preprocess1 = ReLUConvBN(C_prev, C)
        self._steps = steps
        self._multiplier = multiplier
        self._ops = nn.ModuleList()
        for i in range(steps):
            for j in range(2 + i):
                self._ops.append(self.mixed_op(C, 2 if reduction and j < 2 else 1, k))

    def forward(self, s0, s1, weights, weights2=None):
        s0 = self.preprocess0(s0)
        s1 = self.preprocess1(s1)
        states = [s0, s1]
        offset = 0
        for _ in range(self._steps):
            if weights2 is None:
                s = sum(self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states))
            else:
                s = sum(
                    weights2[offset + j] * self._ops[offset + j](h, weights[offset + j]) for j, h in enumerate(states)
                )
            offset += len(states)
            states.append(s)
        return torch.cat(states[-self._multiplier :], dim=1)


def cell_of(mixed_op, cell=Cell):
    """The class of such a cell, with these mixed ops."""
    return type(cell.__name__, (cell,), {"mixed_op": mixed_op})


class Network(nn.Module):
    """k = 1: DARTS; k = 4: PC-DARTS with edge normalisation."""

    def __init__(self, C=4, num_classes=5, layers=3, steps=2, multiplier=2, stem_multiplier=3, k=1, make_cell=Cell):
        super().__init__()
        self._arguments = (C, num_classes, layers, steps, multiplier, stem_multiplier, k, make_cell)
        self._steps, self._k = steps, k
        C_curr = stem_multiplier * C
        self.stem = nn.Sequential(nn.Conv2d(3, C_curr, 3, padding=1, bias=False), nn.BatchNorm2d(C_curr))
        C_prev_prev, C_prev, C_curr = C_curr, C_curr, C
        self.cells = nn.ModuleList()
        reduction_prev = False
        for i in range(layers):
            reduction = i in [layers // 3, 2 * layers // 3]
            C_curr *= 2 if reduction else 1
            self.cells.append(make_cell(steps, multiplier, C_prev_prev, C_prev, C_curr, reduction, reduction_prev, k))
            reduction_prev = reduction
            C_prev_prev, C_prev = C_prev, multiplier * C_curr
        self.global_pooling = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(C_prev, num_classes)
        E = sum(2 + i for i in range(steps))
        self.alphas_normal = nn.Parameter(1e-3 * torch.randn(E, len(PRIMITIVES)))
        self.alphas_reduce = nn.Parameter(1e-3 * torch.randn(E, len(PRIMITIVES)))
        if k > 1:
            self.betas_normal = nn.Parameter(1e-3 * torch.randn(E))
            self.betas_reduce = nn.Parameter(1e-3 * torch.randn(E))

    def new(self):
        model = type(self)(*self._arguments)
        model.load_state_dict(self.state_dict())
        return model

    def edge_weights(self, betas):
        n, start = 3, 2
        weights = F.softmax(betas[0:2], dim=-1)
        for _ in range(self._steps - 1):
            weights = torch.cat([weights, F.softmax(betas[start : start + n], dim=-1)], dim=0)
            start, n = start + n, n + 1
        return weights

    def forward(self, input):
        s0 = s1 = self.stem(input)
        for cell in self.cells:
            alphas = self.alphas_reduce if cell.reduction else self.alphas_normal
            weights = F.softmax(alphas, dim=-1)
            if self._k > 1:
                betas = self.betas_reduce if cell.reduction else self.betas_normal
                s0, s1 = s1, cell(s0, s1, weights, self.edge_weights(betas))
            else:
                s0, s1 = s1, cell(s0, s1, weights)
        out = self.global_pooling(s1)
        return self.classifier(out.view(out.size(0), -1))


def small(make_cell=Cell):
    """Two reduction cells of one node."""
    return Network(layers=2, steps=1, multiplier=1, make_cell=make_cell)
