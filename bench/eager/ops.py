"""The candidate operations as a search trains them: batch norms without affine parameters, normalised pools.

Every op maps (N, C, H, W) to (N, C, H / stride, W / stride).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


def relu_conv_norm(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), norm(c_out))


class FactorizedReduce(nn.Module):
    """Two 1x1 convolutions of stride 2, the second one pixel further, side by side."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        out: Tensor = self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))
        return out


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def separable(C: int, side: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, batch norm."""
    padding = dilation * (side // 2)
    depthwise = nn.Conv2d(C, C, side, stride, padding, dilation, groups=C, bias=False)
    return [nn.ReLU(), depthwise, nn.Conv2d(C, C, 1, bias=False), norm(C)]


def sep_conv(C: int, stride: int, side: int) -> nn.Sequential:
    return nn.Sequential(*separable(C, side, stride), *separable(C, side, 1))


def dil_conv(C: int, stride: int, side: int) -> nn.Sequential:
    return nn.Sequential(*separable(C, side, stride, dilation=2))


def skip_connect(C: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(C, C)


OPS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda C, stride: Zero(stride),
    "max_pool_3x3": lambda C, stride: nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(C)),
    "avg_pool_3x3": lambda C, stride: nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), norm(C)),
    "skip_connect": skip_connect,
    "sep_conv_3x3": lambda C, stride: sep_conv(C, stride, 3),
    "sep_conv_5x5": lambda C, stride: sep_conv(C, stride, 5),
    "dil_conv_3x3": lambda C, stride: dil_conv(C, stride, 3),
    "dil_conv_5x5": lambda C, stride: dil_conv(C, stride, 5),
}
