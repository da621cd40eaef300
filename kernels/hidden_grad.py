"""Gradients of the hidden activations of separable convolutions, through their second halves."""

from __future__ import annotations

import triton.language as tl

from .arguments import CONV, PICK
from .dgrad import add_transposed, store_scratch
from .jit import kernel
from .norms import add_images, is_last
from .tiles import is_open, learner_of, norm_of


@kernel
def hidden_grad_kernel(
    y,
    norms,
    weights,
    mixture,
    scratch,
    pattern,
    sums,
    convs,
    halves,
    first,
    N,
    size,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """dy of a hidden activation, and what the backward of its norm needs of it: an image in one program.

    Grid: (second halves from `first` on, images). y Result (saved activations; gradients of nodes and hidden ones),
    norms Norms, weights Weights, mixture Mixture, scratch PerImage, pattern PerImage (bytes), sums Sums, convs, halves:
    rows of CONV and PICK; size Size of y.
    """
    image, v, n = learner_of(1, N)
    half = halves + (first + tl.program_id(0)) * len(PICK)
    pixels, row = size.height * size.width, convs + tl.load(half + PICK.conv) * len(CONV)
    for start in range(0, pixels, TILE.pixels):
        pixel = start + tl.arange(0, TILE.pixels)
        store_scratch(y, norms, weights, mixture, scratch, row, image, v, pixel, pixels, TILE)
    tl.debug_barrier()
    channels, norm = tl.load(row + CONV.ins), tl.load(row + CONV.norm_in)
    own, taps = scratch.ptr + image * scratch.step, weights.ptr + v * weights.learner
    bits = pattern.ptr + image * pattern.step + tl.load(row + CONV.relu_mask)
    to = y.dy.ptr + image * y.dy.step + tl.load(half + PICK.hidden)
    from_z = y.z.ptr + image * y.z.step + tl.load(row + CONV.offset)
    for c0 in range(0, channels, BLOCK.channels):
        c = c0 + tl.arange(0, BLOCK.channels)
        here = c < channels
        mean, _ = norm_of(norms, v, norm, c, here)
        sum_dy, sum_dy_z = tl.full((BLOCK.channels,), 0, tl.float32), tl.full((BLOCK.channels,), 0, tl.float32)
        for start in range(0, pixels, BLOCK.pixels):
            at = start + tl.arange(0, BLOCK.pixels)
            up, left, inside = at // size.width, at % size.width, at < pixels
            mask, total = here[:, None] & inside[None, :], tl.full((BLOCK.channels, BLOCK.pixels), 0, tl.float32)
            total = add_transposed(total, own, taps, row, c, here, up, left, inside, size.height, size.width)
            let = is_open(bits, c[:, None], up[None, :], left[None, :], size.height, size.width, mask)
            dy = tl.where(let, total, 0.0)
            tl.store(to + c[:, None] * pixels + at[None, :], dy, mask=mask)
            z = tl.load(from_z + c[:, None] * pixels + at[None, :], mask=mask, other=0.0).to(tl.float32)
            sum_dy += tl.sum(dy, 1)
            sum_dy_z += tl.sum(dy * (z - mean), 1)
        place = sums.images + (image * norms.count + norm + c) * 2
        tl.store(place, sum_dy, mask=here)
        tl.store(place + 1, sum_dy_z, mask=here)
    if is_last(sums.tickets, v * (norms.count + sums.slots) + norm, N):
        add_images(sums, norms, None, v, N, norm, channels, pixels)
