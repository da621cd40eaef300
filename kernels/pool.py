"""Pools of a cell's forward: those of operations, and of channels that bypass a reduction."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import POOL, USE
from .norms import FEW, added_moments, is_last, moments_at, store_block_moments, store_stats
from .tiles import argmax_of, base_of, norm_of, storable


@triton.jit
def store_argmax(to, channel, here, first, places, chosen):
    """chosen (channels, places from `first` on), two in a byte; first is even."""
    byte = first // 2 + tl.arange(0, chosen.shape[1] // 2)
    pairs = tl.reshape(chosen, (chosen.shape[0], chosen.shape[1] // 2, 2))
    both = tl.sum(pairs << (tl.arange(0, 2) * 4)[None, None, :], 2)
    mask = here[:, None] & (byte < places // 2)[None, :]
    tl.store(to + channel[:, None] * (places // 2) + byte[None, :], both.to(tl.uint8), mask=mask)


@triton.jit
def pool(
    x, norms, pattern, saved, batch, uses, row, image, v, n, N, program, size, REPLAY: tl.constexpr, BLOCK: tl.constexpr
):
    """z = max or mean over the window of norm_in(x), with its argmax and the moments of each block of z.

    A row of outputs takes an even number of places, the last one empty if it is odd, so that the two argmax of a byte
    are beside each other. x Pair, norms Norms, pattern PerImage (bytes), saved PerImage, batch Batch, uses: rows of
    USE; row: POOL; program: of its groups of channels x blocks of places; size Size of z.
    """
    columns = (size.width + 1) // 2 * 2
    places, pixels = size.height * columns, size.height * size.width
    blocks = (places + BLOCK.pixels - 1) // BLOCK.pixels
    block = program % blocks
    c, place = program // blocks * BLOCK.channels + tl.arange(0, BLOCK.channels), tl.arange(0, BLOCK.pixels)
    place += block * BLOCK.pixels
    here, y, x_out = c < tl.load(row + POOL.channels), place // columns, place % columns
    inside = (y < size.height) & (x_out < size.width)
    out, argmax = here[:, None] & inside[None, :], pattern.ptr + image * pattern.step + tl.load(row + POOL.argmax)
    is_max = tl.load(row + POOL.is_max) > 0
    chosen = tl.full((BLOCK.channels, BLOCK.pixels), -1, tl.int32)
    if REPLAY:
        chosen = argmax_of(argmax, c[:, None], y[None, :], x_out[None, :], size.height, size.width, out & is_max)
    largest, total, count, chosen = window(x, norms, row, v, n, c, y, x_out, inside, chosen, REPLAY)
    value = tl.where(is_max, largest, total / tl.where(count > 0, count, 1.0)[None, :])
    to = saved.ptr + image * saved.step + tl.load(row + POOL.z) + c[:, None] * pixels
    tl.store(to + (y * size.width + x_out)[None, :], storable(value, saved.ptr), mask=out)
    if not REPLAY:
        store_argmax(argmax, c, here & is_max, block * BLOCK.pixels, places, tl.where(out, chosen, 0))
    if batch.partial is not None:
        pool_moments(norms, batch, uses, row, image, v, N, program // blocks, block, c, value, inside, size, BLOCK)


@triton.jit
def pool_moments(norms, batch, uses, row, image, v, N, group, block, c, value, inside, size, BLOCK: tl.constexpr):
    """Moments of a block of channels c; once all are there, statistics of the norms of all edges with the pool."""
    norm, channels = tl.load(row + POOL.norm), tl.load(row + POOL.channels)
    columns, first = (size.width + 1) // 2 * 2, group * BLOCK.channels
    places, pixels, empty = size.height * columns, size.height * size.width, columns - size.width
    if (norm >= 0) & (first < channels):
        store_block_moments(moments_at(batch, norms.count, image, norm + c, block), c < channels, value, inside)
        blocks = (places + BLOCK.pixels - 1) // BLOCK.pixels
        if is_last(batch.tickets, v * norms.count + norm + first, N * blocks):
            for c0 in range(0, BLOCK.channels, FEW):
                few = first + c0 + tl.arange(0, FEW)
                here, at = (few < channels) & (few < first + BLOCK.channels), norm + few
                total, squares = added_moments(batch, norms.count, at, here, v, N, places, columns, empty, BLOCK.pixels)
                for u in range(tl.load(row + POOL.uses)):
                    use = uses + (tl.load(row + POOL.first_use) + u) * len(USE)
                    store_stats(norms, v, tl.load(use + USE.norm) + few, here, total, squares, N * pixels)


@triton.jit
def window(x, norms, row, v, n, c, y_out, x_out, inside, chosen, REPLAY: tl.constexpr):
    """Of windows of norm_in(x): the largest value, or the chosen one; the sum; how many places lie in x; the choice."""
    kernel, stride, padding = tl.load(row + POOL.kernel), tl.load(row + POOL.stride), tl.load(row + POOL.padding)
    height, width = tl.load(row + POOL.height), tl.load(row + POOL.width)
    here, channel = c < tl.load(row + POOL.channels), tl.load(row + POOL.first) + c
    base = base_of(x, tl.load(row + POOL.reads), v, n) + tl.load(row + POOL.offset)
    planes = base + channel[:, None] * (height * width)
    mean, scale = norm_of(norms, v, tl.load(row + POOL.norm_in), channel, here)
    largest, total = tl.zeros(chosen.shape, tl.float32), tl.zeros(chosen.shape, tl.float32)
    count = tl.zeros(inside.shape, tl.float32)
    for t in range(kernel * kernel):
        yy, xx = y_out * stride + t // kernel - padding, x_out * stride + t % kernel - padding
        has = inside & (yy >= 0) & (yy < height) & (xx >= 0) & (xx < width)
        mask = here[:, None] & has[None, :]
        value = tl.load(planes + (yy * width + xx)[None, :], mask=mask, other=0.0)
        value = tl.where(mask, (value.to(tl.float32) - mean) * scale, 0.0)
        if REPLAY:
            largest = tl.where(chosen == t, value, largest)
        else:
            better = mask & ((chosen < 0) | (value > largest) | (value != value))
            largest, chosen = tl.where(better, value, largest), tl.where(better, t, chosen)
        total += value
        count += has.to(tl.float32)
    return largest, total, count, chosen
