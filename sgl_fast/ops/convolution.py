"""Dense convolutions, those of a stem and of a classifier: on the CPU the same numbers on any number of threads.

The library splits its sums by threads there. On other devices, and for other dtypes, they are the library's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backends.choice import choose
from . import flops
from .registry import differentiable, register_cpu


def _fake(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], *((n - 1) // stride + 1 for n in x.shape[2:]))


_FORWARD = register_cpu("convolution(Tensor x, Tensor weight, int stride, int groups) -> Tensor", _fake)
_INPUT = register_cpu(
    "convolution_input(Tensor grad, Tensor weight, int stride, int groups, int[] x) -> Tensor",
    lambda grad, weight, stride, groups, x: grad.new_empty(x),
)
_WEIGHT = register_cpu(
    "convolution_weight(Tensor grad, Tensor x, int stride, int groups, int[] weight) -> Tensor",
    lambda grad, x, stride, groups, weight: grad.new_empty(weight),
)
flops.counted(flops.convolution, _FORWARD)
flops.counted(flops.convolution_input, _INPUT)
flops.counted(flops.convolution_weight, _WEIGHT)


def _save(ctx: Any, inputs: Any, output: Tensor) -> None:
    first, second, *ctx.how = inputs
    ctx.save_for_backward(first, second)


def _of_forward(ctx: Any, grad: Tensor) -> Any:
    (x, weight), how, want = ctx.saved_tensors, ctx.how, ctx.needs_input_grad
    dx = _input(grad, weight, *how, x.shape) if want[0] else None
    return dx, _weight(grad, x, *how, weight.shape) if want[1] else None, None, None


def _of_input(ctx: Any, u: Tensor) -> Any:
    """The derivatives are linear in both arguments: each one's are the other two."""
    (grad, weight), (stride, groups, _), want = ctx.saved_tensors, ctx.how, ctx.needs_input_grad
    dgrad = _forward(u, weight, stride, groups) if want[0] else None
    return dgrad, _weight(grad, u, stride, groups, weight.shape) if want[1] else None, None, None, None


def _of_weight(ctx: Any, u: Tensor) -> Any:
    (grad, x), (stride, groups, _), want = ctx.saved_tensors, ctx.how, ctx.needs_input_grad
    dgrad = _forward(x, u, stride, groups) if want[0] else None
    return dgrad, _input(grad, u, stride, groups, x.shape) if want[1] else None, None, None, None


_forward = differentiable(_FORWARD, _save, _of_forward)
_input = differentiable(_INPUT, _save, _of_input)
_weight = differentiable(_WEIGHT, _save, _of_weight)


def convolution(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1, backend: str | None = None) -> Tensor:
    """x (N, groups * ins, H, W), weight (groups * outs, ins, k, k), k odd -> (N, groups * outs, H', W').

    Zeros around the image, k // 2 wide; stride 1 or 2, H' = ceil(H / stride). Differentiable any number of times.
    """
    if choose(backend, x.device, x.dtype) == "cpu":
        out: Tensor = _forward(x, weight, stride, groups)
        return out
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)


def linear(x: Tensor, weight: Tensor, bias: Tensor, backend: str | None = None) -> Tensor:
    """x (V, N, C), weight (V, J, C), bias (V, J) -> (V, N, J): a 1x1 convolution over the images of each group."""
    if choose(backend, x.device, x.dtype) != "cpu":
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))
    out: Tensor = _forward(
        x.transpose(1, 2).flatten(0, 1)[None, :, None], weight.flatten(0, 1)[..., None, None], 1, len(x)
    )
    return out.view(len(x), -1, x.shape[1]).transpose(1, 2) + bias.unsqueeze(1)
