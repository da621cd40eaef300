"""Gradients of what convolutions read: through the 1x1 convolution, then through the depthwise one and the ReLU."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV, PLAIN, TARGET
from .tiles import base_of, conv_weight, grad_z_tile, is_open, matmul


@triton.jit(do_not_specialize=PLAIN)
def pointwise_dgrad_kernel(y, norms, weights, mixture, scratch, convs, first, N, pixels, TILE: tl.constexpr):
    """scratch[c] = sum over o of pointwise[o, c] * grad_z[o]: the gradient of what a 1x1 convolution reads.

    Grid: (blocks of pixels, rows from `first` on, images). y Result, norms Norms, weights Weights, mixture Mixture,
    scratch PerImage, convs: rows of CONV; pixels of y.
    """
    image, row = tl.program_id(2).to(tl.int64), convs + (first + tl.program_id(1)) * len(CONV)
    v, o = image // N, tl.arange(0, TILE.outs)
    pixel = tl.program_id(0) * TILE.pixels + tl.arange(0, TILE.pixels)
    ins, outs = tl.load(row + CONV.ins), tl.load(row + CONV.outs)
    grad_z = grad_z_tile(y, image, row, norms, conv_weight(mixture, v, row), v, o, pixel, pixels)
    pointwise = weights.ptr + v * weights.learner + tl.load(row + CONV.pointwise)
    to = scratch.ptr + image * scratch.step + tl.load(row + CONV.scratch)
    for c0 in range(0, ins, TILE.ins):
        c = c0 + tl.arange(0, TILE.ins)
        w_mask, mask = (c < ins)[:, None] & (o < outs)[None, :], (c < ins)[:, None] & (pixel < pixels)[None, :]
        w = tl.load(pointwise + o[None, :] * ins + c[:, None], mask=w_mask, other=0.0)
        tl.store(to + c[:, None] * pixels + pixel[None, :], matmul(w, grad_z, TILE), mask=mask)


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


@triton.jit(do_not_specialize=PLAIN)
def depthwise_dgrad_kernel(scratch, weights, pattern, to, targets, convs, first, N, size, add, BLOCK: tl.constexpr):
    """grad = relu_mask * (sum over a target's convolutions of depthwise transposed * scratch); add: to what is there.

    Grid: (groups of channels x blocks of pixels, rows from `first` on, images). scratch PerImage, weights Weights,
    pattern PerImage (bytes), to Pair, targets, convs: rows of TARGET and CONV; size Size of the targets.
    """
    image, row = tl.program_id(2).to(tl.int64), targets + (first + tl.program_id(1)) * len(TARGET)
    v, height, width = image // N, size.height, size.width
    pixels, relu_mask = height * width, tl.load(row + TARGET.relu_mask)
    blocks = (pixels + BLOCK.pixels - 1) // BLOCK.pixels
    c = tl.program_id(0) // blocks * BLOCK.channels + tl.arange(0, BLOCK.channels)
    pixel = tl.program_id(0) % blocks * BLOCK.pixels + tl.arange(0, BLOCK.pixels)
    y, x, inside, here = pixel // width, pixel % width, pixel < pixels, c < tl.load(row + TARGET.channels)
    own, taps = scratch.ptr + image * scratch.step, weights.ptr + v * weights.learner
    total = tl.zeros((BLOCK.channels, BLOCK.pixels), tl.float32)
    for k in range(tl.load(row + TARGET.convs)):
        conv = convs + (tl.load(row + TARGET.first_conv) + k) * len(CONV)
        total = add_transposed(total, own, taps, conv, c, here, y, x, inside, height, width)
    mask = here[:, None] & inside[None, :]
    if relu_mask >= 0:
        bits = pattern.ptr + image * pattern.step + relu_mask
        total = tl.where(is_open(bits, c[:, None], y[None, :], x[None, :], height, width, mask), total, 0.0)
    base = base_of(to, tl.load(row + TARGET.reads), v, image % N) + tl.load(row + TARGET.offset)
    at = base + c[:, None] * pixels + pixel[None, :]
    total += tl.load(at, mask=mask & (add != 0), other=0.0)
    tl.store(at, total, mask=mask)
