"""Statistics of batch norms, and the means that their backward needs. Sums over images are float64, in one order."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CHANNEL

EPS = tl.constexpr(1e-5)
FEW, PARTS = tl.constexpr(4), tl.constexpr(64)  # channels whose moments are added at a time, and of how many blocks
MANY, AT_ONCE = tl.constexpr(16), tl.constexpr(16)  # channels whose sums are added at a time, and of how many parts


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


@triton.jit
def store_dy_sums(to, here, dy, z, mean):
    """Sums of dy and of dy * (z - mean) over the pixels of a block; dy is 0 outside."""
    tl.store(to, tl.sum(dy, 1), mask=here)
    tl.store(to + 1, tl.sum(dy * (z - mean), 1), mask=here)


@triton.jit
def finish_dy_sums(sums, norms, image, v, N, channels, blocks, pixels, slot, programs):
    """What the backward needs of norms, once `programs` programs of an image stored their sums, and all images did.

    channels Channels; slot: of what the norms have their gradients from.
    """
    first, count, first_bare, bare = channels.first, channels.count, channels.first_bare, channels.bare
    kinds = channels.kinds
    finish_ranges(sums, norms, kinds, image, v, N, first, count, first_bare, bare, blocks, pixels, slot, programs)


@triton.jit
def finish_ranges(sums, norms, kinds, image, v, N, first, count, first_bare, bare, blocks, pixels, slot, programs):
    """The same, of `count` and `bare` channels from the first ones on; kinds: rows of CHANNEL, or None."""
    if is_last(sums.tickets, sums.behind + image * sums.slots + slot, programs):
        add_blocks(sums, norms, kinds, image, first, count, blocks)
        add_blocks(sums, norms, kinds, image, first_bare, bare, blocks)
        if is_last(sums.tickets, v * (norms.count + sums.slots) + norms.count + slot, N):
            add_images(sums, norms, kinds, v, N, first, count, pixels)
            add_images(sums, norms, kinds, v, N, first_bare, bare, pixels)


@triton.jit
def are_summed(kinds, c, here):
    """Which channels have sums: between a node's are those of hidden activations, whose time comes later."""
    if kinds is not None:
        here = here & (tl.load(kinds + c * len(CHANNEL) + CHANNEL.term, mask=here, other=0) > 0)
    return here


@triton.jit
def add_blocks(sums, norms, kinds, image, first, count, blocks):
    """Sums of an image from those of its blocks."""
    for c0 in range(0, count, MANY):
        c = first + c0 + tl.arange(0, MANY)
        here = are_summed(kinds, c, c < first + count)
        dy, dot = tl.zeros((MANY,), tl.float32), tl.zeros((MANY,), tl.float32)
        for start in range(0, blocks, AT_ONCE):
            part = start + tl.arange(0, AT_ONCE)
            mask = here[:, None] & (part < blocks)[None, :]
            at = sums.blocks + ((image * norms.count + c[:, None]) * sums.parts + part[None, :]) * 2
            dy += tl.sum(tl.load(at, mask=mask, other=0.0), 1)
            dot += tl.sum(tl.load(at + 1, mask=mask, other=0.0), 1)
        to = sums.images + (image * norms.count + c) * 2
        tl.store(to, dy, mask=here)
        tl.store(to + 1, dot, mask=here)


@triton.jit
def add_images(sums, norms, kinds, v, N, first, count, pixels):
    """norms.grads of `count` channels of a learner, from the sums of its images.

    mean_dy, mean_dy_xhat / deviation, and the sum of dy * xhat; xhat: the normalised z. The means are 0 where
    statistics do not depend on z: of norms from channel `measured` on.
    """
    one_of = reciprocal(N * pixels)
    for c0 in range(0, count, MANY):
        c = first + c0 + tl.arange(0, MANY)
        here = are_summed(kinds, c, c < first + count)
        dy, dot = tl.zeros((MANY,), tl.float64), tl.zeros((MANY,), tl.float64)
        for start in range(0, N, AT_ONCE):
            n = start + tl.arange(0, AT_ONCE)
            mask = here[:, None] & (n < N)[None, :]
            at = sums.images + ((v * N + n)[None, :] * norms.count + c[:, None]) * 2
            dy += tl.sum(tl.load(at, mask=mask, other=0.0).to(tl.float64), 1)
            dot += tl.sum(tl.load(at + 1, mask=mask, other=0.0).to(tl.float64), 1)
        scale = tl.load(norms.stats + (v * 3 + 1) * norms.count + c, mask=here, other=0.0).to(tl.float64)
        to, batch = norms.grads + v * 3 * norms.count + c, c < sums.measured
        tl.store(to, tl.where(batch, dy * one_of, 0.0).to(tl.float32), mask=here)
        tl.store(to + norms.count, tl.where(batch, dot * scale * scale * one_of, 0.0).to(tl.float32), mask=here)
        tl.store(to + 2 * norms.count, (dot * scale).to(tl.float32), mask=here)
