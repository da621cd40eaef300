"""The operations of a discrete cell as modules: PyTorch's default initialisation, affine batch norms, bare pools.

Every op maps (N, C, H, W) to (N, C, H / stride, W / stride). No ReLU works in place: a cell's states are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..spaces import OPERATIONS, Operation


def relu_conv_bn(c_in: int, c_out: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, batch norm: what fits a cell's input to its width."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))


class FactorizedReduce(nn.Module):
    """Halves H and W: two 1x1 convolutions of stride 2, one shifted by a pixel, each to half of the channels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        if c_out % 2:
            raise ValueError(f"need even channels to halve the image; got {c_out}")
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_shifted = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(f"need even height and width at a reduction; got {height} x {width}")
        x = self.relu(x)
        out: Tensor = self.bn(torch.cat([self.conv(x), self.conv_shifted(x[:, :, 1:, 1:])], dim=1))
        return out


class Zero(nn.Module):
    """none: zeros of the output's size."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """noise: standard normal values of the output's size, in place of the input, in training and after (space S4)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


def separable(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, batch norm."""
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def candidate(row: Operation, channels: int, stride: int) -> nn.Module:
    """A row of the table of operations as a module."""
    if row.pool == "max":
        return nn.MaxPool2d(row.kernel, stride, row.padding)
    if row.pool:
        return nn.AvgPool2d(row.kernel, stride, row.padding, count_include_pad=False)
    if row.noise:
        return Noise(stride)
    if row.skip:
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    strides = [stride, *[1] * (row.halves - 1)] if row.halves else []
    layers = [layer for one in strides for layer in separable(channels, row.kernel, one, row.dilation)]
    return nn.Sequential(*layers) if layers else Zero(stride)


def conv_7x1_1x7(channels: int, stride: int) -> nn.Sequential:
    """A dense 7x7 convolution in two factors, each with the stride of its own axis."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(channels),
    )


OPS: dict[str, Callable[[int, int], nn.Module]] = {
    **{name: partial(candidate, row) for name, row in OPERATIONS.items()},
    "conv_7x1_1x7": conv_7x1_1x7,
}
