"""Gradients of the weights of convolutions, each from one group of a learner's images: their sum is the gradient."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV, PICK
from .jit import kernel
from .tiles import base_of, conv_weight, depthwise_tile, grad_z_tile, is_open, matmul, norm_of


@triton.jit
def source_of(x, later, early, reads, v, n):
    """Where an image starts in the place that a convolution reads: one of x, or of `later`."""
    base = base_of(later, reads, v, n)
    if early:
        base = base_of(x, reads, v, n)
    return base


@kernel
def pointwise_wgrad_kernel(
    x, later, weights, y, norms, mixture, pattern, shares, convs, picks, split, N, size, TILE: tl.constexpr
):
    """d pointwise[o, c] = sum over pixels of grad_z[o] * (depthwise * relu(norm_in(x)))[c], replayed.

    Grid: (groups of inputs, picks, learners x groups). x Pair of rows before `split`, later of others, weights Weights,
    y Result, norms Norms, mixture Mixture, pattern PerImage (bytes), shares Shares, convs, picks: rows of CONV and
    PICK; size Size of y.
    """
    part, pick = tl.program_id(2).to(tl.int64), tl.load(picks + tl.program_id(1) * len(PICK) + PICK.conv)
    row = convs + pick * len(CONV)
    v, group, pixels = part // shares.groups, part % shares.groups, size.height * size.width
    ins, outs, reads = tl.load(row + CONV.ins), tl.load(row + CONV.outs), tl.load(row + CONV.reads)
    c, o = tl.program_id(0) * TILE.ins + tl.arange(0, TILE.ins), tl.arange(0, TILE.outs)
    own, weight = weights.ptr + v * weights.learner, conv_weight(mixture, v, row)
    total = tl.full((TILE.outs, TILE.ins), 0, tl.float32)
    if tl.program_id(0) * TILE.ins < ins:
        for n in range(N * group // shares.groups, N * (group + 1) // shares.groups):
            image = v * N + n
            base, bits = source_of(x, later, pick < split, reads, v, n), pattern.ptr + image * pattern.step
            for start in range(0, pixels, TILE.pixels):
                pixel = start + tl.arange(0, TILE.pixels)
                deep = depthwise_tile(base, bits, norms, own, row, v, c, pixel, pixels, size.width, True)
                grad_z = grad_z_tile(y, image, row, norms, weight, v, o, pixel, pixels)
                total += matmul(grad_z, tl.trans(tl.where((pixel < pixels)[None, :], deep, 0.0)), TILE)
        to = shares.ptr + part * shares.step + tl.load(row + CONV.pointwise) + o[:, None] * ins + c[None, :]
        tl.store(to, total, mask=(o < outs)[:, None] & (c < ins)[None, :])


@triton.jit
def tap_products(x, bits, back, mean, scale, c, here, up, left, stride, height, width, pixel, pixels, out_W):
    """By channel: the sum over pixels of back * relu(norm_in(x)) at the place that the tap (up, left) reads."""
    yy, xx = pixel // out_W * stride + up, pixel % out_W * stride + left
    has = (pixel < pixels) & (yy >= 0) & (yy < height) & (xx >= 0) & (xx < width)
    mask = here[:, None] & has[None, :]
    value = tl.load(x + c[:, None] * (height * width) + (yy * width + xx)[None, :], mask=mask, other=0.0).to(tl.float32)
    let = mask & is_open(bits, c[:, None], yy[None, :], xx[None, :], height, width, mask)
    value = tl.where(let, (value - mean) * scale, 0.0)
    return tl.sum(value * tl.load(back + c[:, None] * pixels + pixel[None, :], mask=mask, other=0.0), 1)


@kernel
def depthwise_wgrad_kernel(
    x, later, scratch, norms, pattern, shares, convs, picks, split, N, size, taps, BLOCK: tl.constexpr
):
    """d depthwise[c, tap] = sum over pixels of scratch[c] * relu(norm_in(x))[c] at the place that the tap reads.

    Grid: (groups of channels x taps, picks, learners x groups); taps: of the largest kernel. x, later Pair, scratch
    PerImage, norms Norms, pattern PerImage (bytes), shares Shares, convs, picks: rows of CONV and PICK; size Size of
    results.
    """
    part, pick = tl.program_id(2).to(tl.int64), tl.load(picks + tl.program_id(1) * len(PICK) + PICK.conv)
    row = convs + pick * len(CONV)
    v, group, pixels = part // shares.groups, part % shares.groups, size.height * size.width
    kernel, depthwise, relu_mask = (
        tl.load(row + CONV.kernel),
        tl.load(row + CONV.depthwise),
        tl.load(row + CONV.relu_mask),
    )
    tap, c = tl.program_id(0) % taps, tl.program_id(0) // taps * BLOCK.channels + tl.arange(0, BLOCK.channels)
    if (depthwise >= 0) & (tap < kernel * kernel):
        here, reads = c < tl.load(row + CONV.ins), tl.load(row + CONV.reads)
        mean, scale = norm_of(norms, v, tl.load(row + CONV.norm_in), c, here)
        dilation, stride = tl.load(row + CONV.dilation), tl.load(row + CONV.stride)
        height, width = tl.load(row + CONV.height), tl.load(row + CONV.width)
        up, left = (tap // kernel - kernel // 2) * dilation, (tap % kernel - kernel // 2) * dilation
        total = tl.full((BLOCK.channels,), 0, tl.float32)
        for n in range(N * group // shares.groups, N * (group + 1) // shares.groups):
            image = v * N + n
            base, bits = (
                source_of(x, later, pick < split, reads, v, n) + tl.load(row + CONV.offset),
                pattern.ptr + image * pattern.step + relu_mask,
            )
            back = scratch.ptr + image * scratch.step + tl.load(row + CONV.scratch)
            for start in range(0, pixels, BLOCK.pixels):
                pixel = start + tl.arange(0, BLOCK.pixels)
                total += tap_products(
                    base, bits, back, mean, scale, c, here, up, left, stride, height, width, pixel, pixels, size.width
                )
        tl.store(shares.ptr + part * shares.step + depthwise + c * kernel * kernel + tap, total, mask=here)
