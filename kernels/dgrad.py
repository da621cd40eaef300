"""Gradients of what convolutions read: through the 1x1 convolution, then through the depthwise one and the ReLU."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV
from .jit import kernel
from .tiles import base_of, conv_weight, grad_z_tile, is_open, learner_of, matmul


@kernel
def pointwise_dgrad_kernel(y, norms, weights, mixture, scratch, convs, first, N, pixels, TILE: tl.constexpr):
    """scratch[c] = sum over o of pointwise[o, c] * grad_z[o]: the gradient of what a 1x1 convolution reads.

    Grid: (blocks of pixels, rows from `first` on, images). y Result, norms Norms, weights Weights, mixture Mixture,
    scratch PerImage, convs: rows of CONV; pixels of y.
    """
    image, v, _ = learner_of(2, N)
    row = convs + (first + tl.program_id(1)) * len(CONV)
    pixel = tl.program_id(0) * TILE.pixels + tl.arange(0, TILE.pixels)
    store_scratch(y, norms, weights, mixture, scratch, row, image, v, pixel, pixels, TILE)


@triton.jit
def store_scratch(y, norms, weights, mixture, scratch, row, image, v, pixel, pixels, TILE: tl.constexpr):
    """The gradient of what a 1x1 convolution reads, at pixels of its results."""
    o, ins = tl.arange(0, TILE.outs), tl.load(row + CONV.ins)
    grad_z = grad_z_tile(y, image, row, norms, conv_weight(mixture, v, row), v, o, pixel, pixels)
    own, to = weights.ptr + v * weights.learner, scratch.ptr + image * scratch.step + tl.load(row + CONV.scratch)
    for c0 in range(0, ins, TILE.ins):
        c = c0 + tl.arange(0, TILE.ins)
        mask = (c < ins)[:, None] & (pixel < pixels)[None, :]
        back = matmul(transposed_weights(own, row, o, c), grad_z, TILE)
        tl.store(to + c[:, None] * pixels + pixel[None, :], back, mask=mask)


@triton.jit
def transposed_weights(weights, row, o, c):
    """(c, o) of a 1x1 convolution. weights: of its learner"""
    ins, outs = tl.load(row + CONV.ins), tl.load(row + CONV.outs)
    mask = (c < ins)[:, None] & (o < outs)[None, :]
    return tl.load(weights + tl.load(row + CONV.pointwise) + o[None, :] * ins + c[:, None], mask=mask, other=0.0)


@kernel
def input_grad_kernel(y, norms, weights, mixture, pattern, to, convs, first, wanted, N, size, TILE: tl.constexpr):
    """What the cell's inputs receive through the 1x1 convolutions of their preprocessing.

    One of stride 2 leaves pixels that none reads: half of them are the first convolution's to fill with zeros, half the
    second's. Grid: (blocks of pixels, rows from `first` on, images). y Result, norms Norms, weights Weights, mixture
    Mixture, pattern PerImage (bytes), to Pair, of which `wanted` says what is asked for, convs: rows of CONV; size Size
    of y.
    """
    image, v, n = learner_of(2, N)
    row = convs + (first + tl.program_id(1)) * len(CONV)
    reads, pixels = tl.load(row + CONV.reads), size.height * size.width
    o, ins = tl.arange(0, TILE.outs), tl.load(row + CONV.ins)
    if ((reads == 0) & (wanted.first != 0)) | ((reads == 1) & (wanted.second != 0)):
        pixel = tl.program_id(0) * TILE.pixels + tl.arange(0, TILE.pixels)
        stride, offset = tl.load(row + CONV.stride), tl.load(row + CONV.first)
        height, width = tl.load(row + CONV.height), tl.load(row + CONV.width)
        up, left = pixel // size.width * stride + offset, pixel % size.width * stride
        grad_z = grad_z_tile(y, image, row, norms, conv_weight(mixture, v, row), v, o, pixel, pixels)
        bits = pattern.ptr + image * pattern.step + tl.load(row + CONV.relu_mask)
        own, base = weights.ptr + v * weights.learner, base_of(to, reads, v, n)
        for c0 in range(0, ins, TILE.ins):
            c = c0 + tl.arange(0, TILE.ins)
            mask = (c < ins)[:, None] & (pixel < pixels)[None, :]
            back = matmul(transposed_weights(own, row, o, c), grad_z, TILE)
            let = is_open(bits, c[:, None], up[None, :], (left + offset)[None, :], height, width, mask)
            at = base + c[:, None] * (height * width) + (up * width + left)[None, :]
            tl.store(at + offset, tl.where(let, back, 0.0), mask=mask)
            tl.store(at + 1 - offset, tl.zeros_like(back), mask=mask & (stride == 2))


@triton.jit
def add_transposed(total, scratch, weights, row, c, here, y, x, inside, height, width):
    """Adds, tap by tap, depthwise[c, i, j] * scratch[c] at the output that reads pixel (y, x) by that tap."""
    kernel, dilation, depthwise = (
        tl.load(row + CONV.kernel),
        tl.load(row + CONV.dilation),
        tl.load(row + CONV.depthwise),
    )
    stride, first = tl.load(row + CONV.stride), tl.load(row + CONV.first)
    out_H, out_W = height // stride, width // stride
    planes = scratch + tl.load(row + CONV.scratch) + c[:, None] * (out_H * out_W)
    taps = weights + depthwise + c * kernel * kernel
    for i in range(kernel):
        up = y - first - (i - kernel // 2) * dilation
        in_row = inside & (up >= 0) & (up % stride == 0) & (up < stride * out_H)
        for j in range(kernel):
            left = x - first - (j - kernel // 2) * dilation
            has = in_row & (left >= 0) & (left % stride == 0) & (left < stride * out_W)
            mask, at = here[:, None] & has[None, :], (up // stride * out_W + left // stride)[None, :]
            tap = tl.load(taps + i * kernel + j, mask=here & (depthwise >= 0), other=1.0)
            total += tap[:, None] * tl.load(planes + at, mask=mask, other=0.0)
    return total
