"""Convolutions of a cell's forward, and the patterns of the ReLUs before them."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV, PLAIN
from .norms import store_block_moments
from .tiles import base_of, depthwise_tile, matmul, norm_of, storable


@triton.jit(do_not_specialize=PLAIN)
def record_kernel(x, norms, pattern, convs, first, N, size, BLOCK: tl.constexpr):
    """relu_mask: whether norm_in(x) is more than 0, or NaN, a bit a pixel, whole bytes a row.

    Grid: (blocks of channels x blocks of bytes, rows from `first` on, images).
    x Pair, norms Norms, pattern PerImage (bytes); convs: rows of CONV that read one size; BLOCK: channels and bytes.
    """
    image, row = tl.program_id(2).to(tl.int64), convs + (first + tl.program_id(1)) * len(CONV)
    v, channels, height, width = image // N, tl.load(row + CONV.ins), size.height, size.width
    base = base_of(x, tl.load(row + CONV.reads), v, image % N) + tl.load(row + CONV.offset)
    row_bytes = (width + 7) // 8
    blocks = (height * row_bytes + BLOCK.pixels - 1) // BLOCK.pixels
    c = tl.program_id(0) // blocks * BLOCK.channels + tl.arange(0, BLOCK.channels)
    byte = tl.program_id(0) % blocks * BLOCK.pixels + tl.arange(0, BLOCK.pixels)
    total = tl.zeros((BLOCK.channels, BLOCK.pixels), tl.int32)
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


@triton.jit(do_not_specialize=PLAIN)
def convolve_kernel(
    x, weights, norms, pattern, z, partial, convs, first, N, size, REPLAY: tl.constexpr, TILE: tl.constexpr
):
    """z[o] = sum over c of pointwise[o, c] * (depthwise[c] * relu(norm_in(x[c]))), with the moments of each block of z.

    Grid: (blocks of pixels, rows from `first` on, images). Rows of one output size.
    x Pair, weights Weights, norms Norms, pattern PerImage (bytes), z PerImage, partial (images, norms, blocks, 2),
    convs: rows of CONV; size Size of z.
    """
    image, row = tl.program_id(2).to(tl.int64), convs + (first + tl.program_id(1)) * len(CONV)
    v, block, pixels = image // N, tl.program_id(0), size.height * size.width
    base = base_of(x, tl.load(row + CONV.reads), v, image % N)
    ins, outs, pointwise = tl.load(row + CONV.ins), tl.load(row + CONV.outs), tl.load(row + CONV.pointwise)
    own, bits = weights.ptr + v * weights.learner, pattern.ptr + image * pattern.step
    pixel, o = block * TILE.pixels + tl.arange(0, TILE.pixels), tl.arange(0, TILE.outs)
    result = tl.zeros((TILE.outs, TILE.pixels), tl.float32)
    for c0 in range(0, ins, TILE.ins):
        c = c0 + tl.arange(0, TILE.ins)
        deep = depthwise_tile(base, bits, norms, own, row, v, c, pixel, pixels, size.width, REPLAY)
        at, mask = own + pointwise + o[:, None] * ins + c[None, :], (o < outs)[:, None] & (c < ins)[None, :]
        result += matmul(tl.load(at, mask=mask, other=0.0), deep, TILE)
    inside = pixel < pixels
    to = z.ptr + image * z.step + tl.load(row + CONV.z) + o[:, None] * pixels + pixel[None, :]
    tl.store(to, storable(result, z.ptr), mask=(o < outs)[:, None] & inside[None, :])
    at = partial + (image * norms.count + tl.load(row + CONV.norm) + o) * tl.num_programs(0) * 2
    store_block_moments(at + block * 2, o < outs, result, inside)
