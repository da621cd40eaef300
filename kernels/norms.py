"""Statistics of batch norms, and the means that their backward needs. Sums over images are float64, in one order."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import MOMENTS, NORM_GRAD, PLAIN
from .tiles import norm_of

EPS = tl.constexpr(1e-5)


@triton.jit
def store_block_moments(to, here, value, inside):
    """Mean and sum of squared deviations of a block's pixels, of the channels that are `here`."""
    count = tl.sum(inside.to(tl.float32), 0)
    mean = tl.sum(tl.where(inside[None, :], value, 0.0), 1) / count
    off = tl.where(inside[None, :], value - mean[:, None], 0.0)
    tl.store(to, mean, mask=here)
    tl.store(to + 1, tl.sum(off * off, 1), mask=here)


@triton.jit(do_not_specialize=PLAIN)
def norm_moments_kernel(
    partial,
    norms,
    moments,
    first,
    N,
    blocks,
    size,
    block,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Mean, 1 / deviation and unbiased variance of norms, from the moments of blocks, added as of groups of values.

    Grid: (rows from `first` on, learners). partial (images, norms, blocks, 2); moments: rows of MOMENTS; size
    Size, of which a block has so many places; COLUMNS: of a row whose last place is empty; 0: none is.
    """
    row, v = moments + (first + tl.program_id(0)) * len(MOMENTS), tl.program_id(1).to(tl.int64)
    sums, norm, channels = tl.load(row + MOMENTS.sums), tl.load(row + MOMENTS.norm), tl.load(row + MOMENTS.channels)
    count, places = tl.full((1,), N * size.height * size.width, tl.float64), size.height * size.width
    if COLUMNS:
        places = size.height * COLUMNS
    part, one_of = tl.arange(0, PARTS), tl.full((1,), 1.0, tl.float64) / count
    for c0 in range(0, channels, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        here = c < channels
        total, squares = tl.zeros((CHANNELS,), tl.float64), tl.zeros((CHANNELS,), tl.float64)
        for second in range(2):
            average = total * one_of
            for start in range(0, N * blocks, PARTS):
                p = start + part
                n, start_of = v * N + p // blocks, p % blocks * block
                pixels = tl.minimum(places - start_of, block)
                if COLUMNS:
                    pixels -= (start_of + pixels) // COLUMNS - start_of // COLUMNS
                pixels = pixels.to(tl.float64)[None, :]
                mask = here[:, None] & (p < N * blocks)[None, :]
                at = partial + ((n[None, :] * norms.count + sums + c[:, None]) * blocks + (p % blocks)[None, :]) * 2
                mean = tl.load(at, mask=mask, other=0.0).to(tl.float64)
                if second == 0:
                    total += tl.sum(tl.where(mask, mean * pixels, 0.0), 1)
                else:
                    off = mean - average[:, None]
                    spread = tl.load(at + 1, mask=mask, other=0.0).to(tl.float64) + pixels * off * off
                    squares += tl.sum(tl.where(mask, spread, 0.0), 1)
        to = norms.stats + v * 3 * norms.count + norm + c
        variance = (squares * one_of).to(tl.float32)
        tl.store(to, (total * one_of).to(tl.float32), mask=here)
        tl.store(to + norms.count, tl.div_rn(1.0, tl.sqrt_rn(variance + EPS)), mask=here)
        tl.store(to + 2 * norms.count, (squares * (one_of * (count / (count - 1)))).to(tl.float32), mask=here)


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
