"""DARTS and P-DARTS in another style: edges nested by node, weights first, ops in another order, no `none`.

The architecture lives in a controller around the network, a list of one tensor a node; P-DARTS's edges differ in ops.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import softmax


class NormedPool(nn.Module):
    def __init__(self, kind, channels, stride):
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride, 1) if kind == "max" else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x):
        return self.norm(self.pool(x))


class Depthwise(nn.Module):
    def __init__(self, channels, size, stride, padding, dilation=1):
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, size, stride, padding, dilation, groups=channels, bias=False)
        self.mixing = nn.Conv2d(channels, channels, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x):
        return self.norm(self.mixing(self.spatial(torch.relu(x))))


class Halve(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.left = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.right = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x):
        x = x.clamp(min=0)
        return self.norm(torch.cat((self.left(x), self.right(x[..., 1:, 1:])), 1))


class Nothing(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        n, c, h, w = x.shape
        return torch.zeros(n, c, h // self.stride, w // self.stride, device=x.device, dtype=x.dtype)


def skip(channels, stride, p):
    if stride == 2:
        return Halve(channels, channels)
    return nn.Sequential(nn.Identity(), nn.Dropout(p)) if p else nn.Identity()


BUILD = {
    "dil5": lambda c, s, p: Depthwise(c, 5, s, 4, 2),
    "sep3": lambda c, s, p: nn.Sequential(Depthwise(c, 3, s, 1), Depthwise(c, 3, 1, 1)),
    "skip": skip,
    "max": lambda c, s, p: NormedPool("max", c, s),
    "sep5": lambda c, s, p: nn.Sequential(Depthwise(c, 5, s, 2), Depthwise(c, 5, 1, 2)),
    "avg": lambda c, s, p: NormedPool("avg", c, s),
    "dil3": lambda c, s, p: Depthwise(c, 3, s, 2, 2),
    "zero": lambda c, s, p: Nothing(s),
}
WITHOUT_ZERO = [op for op in BUILD if op != "zero"]


class Mixture(nn.Module):
    def __init__(self, channels, stride, switches, p=0.0):
        super().__init__()
        self.choices = nn.ModuleDict({op: BUILD[op](channels, stride, p) for op in switches})

    def forward(self, x, row):
        return torch.stack([op(x) * row[i] for i, op in enumerate(self.choices.values())]).sum(0)


class SearchCell(nn.Module):
    def __init__(self, c_pp, c_p, channels, nodes, after_halving, halving, switches, p=0.0):
        super().__init__()
        self.halving, self.p = halving, p
        first = Halve(c_pp, channels) if after_halving else self.fit(c_pp, channels)
        self.fits = nn.ModuleList([first, self.fit(c_p, channels)])
        rows = iter(switches)
        self.dag = nn.ModuleList(
            nn.ModuleList(Mixture(channels, 2 if halving and j < 2 else 1, next(rows), p) for j in range(2 + i))
            for i in range(nodes)
        )

    @staticmethod
    def fit(c_in, c_out):
        return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out, affine=False))

    def set_drop(self, p):
        self.p = p
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = p

    def forward(self, mixture, states):
        """mixture: a tensor (i + 2, O) for node i; states: the outputs of the two cells before."""
        states = [fit(s) for fit, s in zip(self.fits, states, strict=False)]
        for node, rows in zip(self.dag, mixture, strict=True):
            states.append(sum(edge(s, row) for edge, s, row in zip(node, states, rows, strict=True)))
        return torch.cat(states[2:], 1)


class SearchNet(nn.Module):
    def __init__(self, channels, nodes, kinds, classes, switches, p=0.0):
        super().__init__()
        self.begin = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, 1, 1, bias=False), nn.BatchNorm2d(3 * channels))
        c_pp = c_p = 3 * channels
        before = False
        cells = []
        for halving in kinds:
            channels *= 1 + halving
            cells.append(SearchCell(c_pp, c_p, channels, nodes, before, halving, switches[halving], p))
            before, c_pp, c_p = halving, c_p, nodes * channels
        self.body = nn.ModuleList(cells)
        self.end = nn.Linear(c_p, classes)

    def forward(self, images, normal, reduce):
        states = [self.begin(images)] * 2
        for cell in self.body:
            states = [states[1], cell(reduce if cell.halving else normal, states=states)]
        return self.end(states[1].mean((2, 3)))


class Controller(nn.Module):
    def __init__(self, channels=4, nodes=2, kinds=(False, True, False, True), classes=5, switches=None, p=0.0):
        super().__init__()
        E = sum(range(2, nodes + 2))
        switches = switches or {kind: [WITHOUT_ZERO] * E for kind in (False, True)}
        O = len(switches[False][0])
        self.normal = nn.ParameterList(nn.Parameter(1e-3 * torch.randn(i + 2, O)) for i in range(nodes))
        self.reduce = nn.ParameterList(nn.Parameter(1e-3 * torch.randn(i + 2, O)) for i in range(nodes))
        self.net = SearchNet(channels, nodes, kinds, classes, switches, p)

    def forward(self, images):
        return self.net(images, [softmax(a, -1) for a in self.normal], [softmax(a, -1) for a in self.reduce])


def pdarts(p=0.0, **sizes):
    """Three ops an edge, others on other edges."""
    ops = list(BUILD)
    switches = {kind: [[ops[(e + kind + 3 * o) % 8] for o in range(3)] for e in range(5)] for kind in (False, True)}
    switches[False][0] = ["skip", "sep3", "max"]
    switches[False][3] = ["zero", "skip", "dil5"]
    return Controller(switches=switches, p=p, **sizes)
