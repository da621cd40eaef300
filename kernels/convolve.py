"""Convolutions of a cell's forward, and the patterns of the ReLUs before them."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV, MASK
from .norms import FEW, added_moments, is_last, moments_at, store_block_moments, store_stats
from .tiles import base_of, depthwise_tile, matmul, norm_of, storable


@triton.jit
def record(x, norms, pattern, rows, mask_row, image, v, n, program, BLOCK: tl.constexpr):
    """relu_mask: whether norm_in(x) is more than 0, or NaN, a bit a pixel, whole bytes a row.

    x Pair, norms Norms, pattern PerImage (bytes), rows ForwardRows; program: of the mask's blocks of channels x blocks
    of bytes; BLOCK: channels and bytes.
    """
    row = rows.convs + tl.load(rows.masks + mask_row * len(MASK) + MASK.conv) * len(CONV)
    channels = tl.load(row + CONV.ins)
    height, width = tl.load(row + CONV.height), tl.load(row + CONV.width)
    base = base_of(x, tl.load(row + CONV.reads), v, n) + tl.load(row + CONV.offset)
    row_bytes = (width + 7) // 8
    blocks = (height * row_bytes + BLOCK.pixels - 1) // BLOCK.pixels
    c = program // blocks * BLOCK.channels + tl.arange(0, BLOCK.channels)
    byte = program % blocks * BLOCK.pixels + tl.arange(0, BLOCK.pixels)
    total = tl.full((BLOCK.channels, BLOCK.pixels), 0, tl.int32)
    here = (c < channels)[:, None] & (byte < height * row_bytes)[None, :]
    mean, scale = norm_of(norms, v, tl.load(row + CONV.norm_in), c, c < channels)
    left = byte % row_bytes * 8
    at = base + c[:, None] * (height * width) + (byte // row_bytes * width + left)[None, :]
    for bit in range(8):
        mask = here & (left + bit < width)[None, :]
        value = tl.load(at + bit, mask=mask, other=0.0).to(tl.float32)
        total += tl.where(mask & ~((value - mean) * scale <= 0), 1 << bit, 0)
    to = pattern.ptr + image * pattern.step + tl.load(row + CONV.relu_mask)
    tl.store(to + c[:, None] * (height * row_bytes) + byte[None, :], total.to(tl.uint8), mask=here)


@triton.jit
def convolve(
    x, weights, norms, pattern, z, batch, row, image, v, n, N, block, size, REPLAY: tl.constexpr, TILE: tl.constexpr
):
    """z[o] = sum over c of pointwise[o, c] * (depthwise[c] * relu(norm_in(x[c]))), with the moments of each block of z.

    x Pair, weights Weights, norms Norms, pattern PerImage (bytes), z PerImage, batch Batch; row: CONV; the image's
    block of pixels; size Size of z.
    """
    pixels = size.height * size.width
    base = base_of(x, tl.load(row + CONV.reads), v, n)
    ins, outs, pointwise = tl.load(row + CONV.ins), tl.load(row + CONV.outs), tl.load(row + CONV.pointwise)
    own, bits = weights.ptr + v * weights.learner, pattern.ptr + image * pattern.step
    pixel, o = block * TILE.pixels + tl.arange(0, TILE.pixels), tl.arange(0, TILE.outs)
    result = tl.full((TILE.outs, TILE.pixels), 0, tl.float32)
    for c0 in range(0, ins, TILE.ins):
        c = c0 + tl.arange(0, TILE.ins)
        deep = depthwise_tile(base, bits, norms, own, row, v, c, pixel, pixels, size.width, REPLAY)
        at, mask = own + pointwise + o[:, None] * ins + c[None, :], (o < outs)[:, None] & (c < ins)[None, :]
        result += matmul(tl.load(at, mask=mask, other=0.0), deep, TILE)
    inside = pixel < pixels
    to = z.ptr + image * z.step + tl.load(row + CONV.z) + o[:, None] * pixels + pixel[None, :]
    tl.store(to, storable(result, z.ptr), mask=(o < outs)[:, None] & inside[None, :])
    if batch.partial is not None:
        norm = tl.load(row + CONV.norm)
        store_block_moments(moments_at(batch, norms.count, image, norm + o, block), o < outs, result, inside)
        blocks = (pixels + TILE.pixels - 1) // TILE.pixels
        if is_last(batch.tickets, v * norms.count + norm, N * blocks):
            for c0 in range(0, outs, FEW):
                c = c0 + tl.arange(0, FEW)
                here, c = c < outs, norm + c
                total, squares = added_moments(batch, norms.count, c, here, v, N, pixels, 1, 0, TILE.pixels)
                store_stats(norms, v, c, here, total, squares, N * pixels)
