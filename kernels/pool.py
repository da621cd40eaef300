"""Pools of a cell's forward: those of operations, and of channels that bypass a reduction."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import PLAIN, POOL
from .norms import store_block_moments
from .tiles import argmax_of, base_of, norm_of, storable


@triton.jit
def store_argmax(to, channel, here, first, places, chosen):
    """chosen (channels, places from `first` on), two in a byte; first is even."""
    byte = first // 2 + tl.arange(0, chosen.shape[1] // 2)
    pairs = tl.reshape(chosen, (chosen.shape[0], chosen.shape[1] // 2, 2))
    both = tl.sum(pairs << (tl.arange(0, 2) * 4)[None, None, :], 2)
    mask = here[:, None] & (byte < places // 2)[None, :]
    tl.store(to + channel[:, None] * (places // 2) + byte[None, :], both.to(tl.uint8), mask=mask)


@triton.jit(do_not_specialize=PLAIN)
def pool_kernel(x, norms, pattern, saved, partial, pools, first, N, source, size, replay, BLOCK: tl.constexpr):
    """z = max or mean over the window of norm_in(x), with its argmax and the moments of each block of z.

    Grid: (groups of channels x blocks of places, rows from `first` on, images). A row of outputs takes an even number
    of places, the last one empty if it is odd, so that the two argmax of a byte are beside each other.
    x Pair, norms Norms, pattern PerImage (bytes), saved PerImage, partial (images, norms, blocks, 2), pools: rows of
    POOL; source, size Size of x and z.
    """
    image, row = tl.program_id(2).to(tl.int64), pools + (first + tl.program_id(1)) * len(POOL)
    v, columns = image // N, (size.width + 1) // 2 * 2
    places, pixels = size.height * columns, size.height * size.width
    blocks = (places + BLOCK.pixels - 1) // BLOCK.pixels
    block = tl.program_id(0) % blocks
    c, place = tl.program_id(0) // blocks * BLOCK.channels + tl.arange(0, BLOCK.channels), tl.arange(0, BLOCK.pixels)
    place += block * BLOCK.pixels
    here, y, x_out = c < tl.load(row + POOL.channels), place // columns, place % columns
    inside = (y < size.height) & (x_out < size.width)
    out, argmax = here[:, None] & inside[None, :], pattern.ptr + image * pattern.step + tl.load(row + POOL.argmax)
    is_max = tl.load(row + POOL.is_max) > 0
    chosen = tl.full((BLOCK.channels, BLOCK.pixels), -1, tl.int32)
    if replay:
        chosen = argmax_of(argmax, c[:, None], y[None, :], x_out[None, :], size.height, size.width, out & is_max)
    largest, total, count, chosen = window(x, source, norms, row, v, image % N, c, y, x_out, inside, chosen, replay)
    value = tl.where(is_max, largest, total / tl.where(count > 0, count, 1.0)[None, :])
    to = saved.ptr + image * saved.step + tl.load(row + POOL.z) + c[:, None] * pixels
    tl.store(to + (y * size.width + x_out)[None, :], storable(value, saved.ptr), mask=out)
    norm = tl.load(row + POOL.norm)
    at = partial + (image * norms.count + norm + c) * blocks * 2
    store_block_moments(at + block * 2, here & (norm >= 0), value, inside)
    if not replay:
        store_argmax(argmax, c, here & is_max, block * BLOCK.pixels, places, tl.where(out, chosen, 0))


@triton.jit
def window(x, source, norms, row, v, n, c, y_out, x_out, inside, chosen, replay):
    """Of windows of norm_in(x): the largest value, or the chosen one; the sum; how many places lie in x; the choice."""
    kernel, stride, padding = tl.load(row + POOL.kernel), tl.load(row + POOL.stride), tl.load(row + POOL.padding)
    here, channel = c < tl.load(row + POOL.channels), tl.load(row + POOL.first) + c
    base = base_of(x, tl.load(row + POOL.reads), v, n) + tl.load(row + POOL.offset)
    planes = base + channel[:, None] * (source.height * source.width)
    mean, scale = norm_of(norms, v, tl.load(row + POOL.norm_in), channel, here)
    largest, total = tl.zeros(chosen.shape, tl.float32), tl.zeros(chosen.shape, tl.float32)
    count = tl.zeros(inside.shape, tl.float32)
    for t in range(kernel * kernel):
        yy, xx = y_out * stride + t // kernel - padding, x_out * stride + t % kernel - padding
        has = inside & (yy >= 0) & (yy < source.height) & (xx >= 0) & (xx < source.width)
        mask = here[:, None] & has[None, :]
        value = tl.load(planes + (yy * source.width + xx)[None, :], mask=mask, other=0.0)
        value = tl.where(mask, (value.to(tl.float32) - mean) * scale, 0.0)
        if replay:
            largest = tl.where(chosen == t, value, largest)
        else:
            better = mask & ((chosen < 0) | (value > largest) | (value != value))
            largest, chosen = tl.where(better, value, largest), tl.where(better, t, chosen)
        total += value
        count += has.to(tl.float32)
    return largest, total, count, chosen
