"""The operations of a discrete cell as modules: PyTorch's default initialisation, affine batch norms, bare pools.

Every op maps (N, C, H, W) to (N, C, H / stride, W / stride). No ReLU works in place: a cell's states are shared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


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


def sep_conv(channels: int, stride: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(*separable(channels, kernel, stride), *separable(channels, kernel, 1))


def dil_conv(channels: int, stride: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(*separable(channels, kernel, stride, dilation=2))


def conv_7x1_1x7(channels: int, stride: int) -> nn.Sequential:
    """A dense 7x7 convolution in two factors, each with the stride of its own axis."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
        nn.BatchNorm2d(channels),
    )


def skip_connect(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


OPS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda channels, stride: Zero(stride),
    "max_pool_3x3": lambda channels, stride: nn.MaxPool2d(3, stride, 1),
    "avg_pool_3x3": lambda channels, stride: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "skip_connect": skip_connect,
    "sep_conv_3x3": lambda channels, stride: sep_conv(channels, stride, 3),
    "sep_conv_5x5": lambda channels, stride: sep_conv(channels, stride, 5),
    "sep_conv_7x7": lambda channels, stride: sep_conv(channels, stride, 7),
    "dil_conv_3x3": lambda channels, stride: dil_conv(channels, stride, 3),
    "dil_conv_5x5": lambda channels, stride: dil_conv(channels, stride, 5),
    "conv_7x1_1x7": conv_7x1_1x7,
    "noise": lambda channels, stride: Noise(stride),
}
