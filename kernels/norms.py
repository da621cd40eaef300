"""Statistics of batch norms, and the means that their backward needs. Sums over images are float64, in one order."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import NORM_GRAD, PLAIN
from .tiles import norm_of

EPS = tl.constexpr(1e-5)
FEW, PARTS = tl.constexpr(4), tl.constexpr(64)  # channels whose moments are added at a time, and of how many blocks


@triton.jit
def store_block_moments(to, here, value, inside):
    """Mean and sum of squared deviations of a block's pixels, of the channels that are `here`."""
    count = tl.sum(inside.to(tl.float32), 0)
    mean = tl.sum(tl.where(inside[None, :], value, 0.0), 1) / count
    off = tl.where(inside[None, :], value - mean[:, None], 0.0)
    tl.store(to, mean, mask=here)
    tl.store(to + 1, tl.sum(off * off, 1), mask=here)


@triton.jit
def is_last(tickets, at, count):
    """Whether this program is the last of `count` to come here: what the others stored before is there to be read."""
    tl.debug_barrier()
    return tl.atomic_add(tickets + at, 1, sem="acq_rel", scope="gpu") == count - 1


@triton.jit
def moments_at(batch, count, image, c, block):
    """Where the moments of a block of channel c lie, c of `count`."""
    return batch.partial + ((image * count + c) * batch.blocks + block) * 2


@triton.jit
def added_moments(batch, count, c, here, v, N, places, columns, empty, block):
    """Sum and sum of squares of channels c of a learner, from the moments of its images' blocks.

    batch Batch; a block is so many places; the last of each row of `columns` is empty, or not (1, 0).
    """
    total, squares = tl.zeros(c.shape, tl.float64), tl.zeros(c.shape, tl.float64)
    blocks = (places + block - 1) // block
    for start in range(0, N * blocks, PARTS):
        p = start + tl.arange(0, PARTS)
        n, start_of = v * N + p // blocks, p % blocks * block
        pixels = tl.minimum(places - start_of, block)
        pixels -= empty * ((start_of + pixels) // columns - start_of // columns)
        pixels = pixels.to(tl.float64)[None, :]
        mask = here[:, None] & (p < N * blocks)[None, :]
        at = moments_at(batch, count, n[None, :], c[:, None], (p % blocks)[None, :])
        mean = tl.load(at, mask=mask, other=0.0).to(tl.float64)
        total += tl.sum(tl.where(mask, mean * pixels, 0.0), 1)
        squares += tl.sum(tl.load(at + 1, mask=mask, other=0.0).to(tl.float64) + mean * mean * pixels, 1)
    return total, squares


@triton.jit
def reciprocal(count):
    """Of an integer, (1,) float64. From a guess of float32: a division of such numbers is a call with a stack."""
    values = tl.full((1,), count, tl.float64)
    guess = (1.0 / values.to(tl.float32)).to(tl.float64)
    return guess * (2.0 - values * guess)


@triton.jit
def inverse_root(x):
    """1 / sqrt(x) of float64, made as a reciprocal is."""
    guess = tl.rsqrt(x.to(tl.float32)).to(tl.float64)
    return guess * (1.5 - 0.5 * x * guess * guess)


@triton.jit
def store_stats(norms, v, c, here, total, squares, count):
    """Mean, 1 / deviation and unbiased variance of channels c, from sums over `count` values."""
    one_of = reciprocal(count)
    mean = total * one_of
    biased = squares * one_of - mean * mean
    biased = tl.where(biased < 0, 0.0, biased)
    to = norms.stats + v * 3 * norms.count + c
    tl.store(to, mean.to(tl.float32), mask=here)
    tl.store(to + norms.count, inverse_root(biased + EPS).to(tl.float32), mask=here)
    tl.store(to + 2 * norms.count, (biased * (count * reciprocal(count - 1))).to(tl.float32), mask=here)


@triton.jit(do_not_specialize=PLAIN)
def dy_sums_kernel(y, norms, partial, rows, first, N, pixels, BLOCK: tl.constexpr):
    """partial (images, norms, 2): an image's sums of dy and of dy * (z - mean).

    Grid: (rows from `first` on, images). y Result; rows: of NORM_GRAD.
    """
    image, row = tl.program_id(1).to(tl.int64), rows + (first + tl.program_id(0)) * len(NORM_GRAD)
    dy_base = y.dy.ptr + image * y.dy.step + tl.load(row + NORM_GRAD.grad)
    z_base = y.z.ptr + image * y.z.step + tl.load(row + NORM_GRAD.z)
    step, norm, channels = (
        tl.load(row + NORM_GRAD.grad_step),
        tl.load(row + NORM_GRAD.norm),
        tl.load(row + NORM_GRAD.channels),
    )
    for c0 in range(0, channels, BLOCK.channels):
        c = c0 + tl.arange(0, BLOCK.channels)
        mean, _ = norm_of(norms, image // N, norm, c, c < channels)
        sum_dy, sum_dy_z = tl.zeros((BLOCK.channels,), tl.float32), tl.zeros((BLOCK.channels,), tl.float32)
        for start in range(0, pixels, BLOCK.pixels):
            pixel = start + tl.arange(0, BLOCK.pixels)
            mask = (c < channels)[:, None] & (pixel < pixels)[None, :]
            dy = tl.load(dy_base + c[:, None] * step + pixel[None, :], mask=mask, other=0.0)
            z = tl.load(z_base + c[:, None] * pixels + pixel[None, :], mask=mask, other=0.0)
            sum_dy += tl.sum(dy, 1)
            sum_dy_z += tl.sum(dy * (z.to(tl.float32) - mean), 1)
        to = partial + (image * norms.count + norm + c) * 2
        tl.store(to, sum_dy, mask=c < channels)
        tl.store(to + 1, sum_dy_z, mask=c < channels)


@triton.jit(do_not_specialize=PLAIN)
def mean_dy_kernel(partial, norms, rows, first, measured, N, pixels, CHANNELS: tl.constexpr, IMAGES: tl.constexpr):
    """norms.grads: mean_dy, mean_dy_xhat / deviation, and the sum of dy * xhat; xhat: the normalised z.

    The means are 0 where statistics do not depend on z: of norms from channel `measured` on. Grid: (rows from `first`
    on, learners). partial (images, norms, 2); rows: of NORM_GRAD.
    """
    row, v = rows + (first + tl.program_id(0)) * len(NORM_GRAD), tl.program_id(1).to(tl.int64)
    norm, channels = tl.load(row + NORM_GRAD.norm), tl.load(row + NORM_GRAD.channels)
    count = tl.full((1,), N * pixels, tl.float64)
    for c0 in range(0, channels, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        here = c < channels
        sum_dy, sum_dy_z = tl.zeros((CHANNELS,), tl.float64), tl.zeros((CHANNELS,), tl.float64)
        for start in range(0, N, IMAGES):
            n = start + tl.arange(0, IMAGES)
            mask = here[:, None] & (n < N)[None, :]
            at = partial + ((v * N + n)[None, :] * norms.count + norm + c[:, None]) * 2
            sum_dy += tl.sum(tl.load(at, mask=mask, other=0.0).to(tl.float64), 1)
            sum_dy_z += tl.sum(tl.load(at + 1, mask=mask, other=0.0).to(tl.float64), 1)
        scale = tl.load(norms.stats + (v * 3 + 1) * norms.count + norm + c, mask=here, other=0.0).to(tl.float64)
        to, batch = norms.grads + v * 3 * norms.count + norm + c, norm < measured
        tl.store(to, tl.where(batch, sum_dy / count, 0.0).to(tl.float32), mask=here)
        tl.store(to + norms.count, tl.where(batch, sum_dy_z * scale * scale / count, 0.0).to(tl.float32), mask=here)
        tl.store(to + 2 * norms.count, (sum_dy_z * scale).to(tl.float32), mask=here)
