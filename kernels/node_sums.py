"""Sums over a node's gradient: of what each in-edge adds to the node, and of what the norms on it need."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import EDGE, TERM
from .combine import bypass_term
from .jit import kernel
from .norms import finish_dy_sums, store_dy_sums
from .tiles import learner_of, norm_of, normed, state_base


@triton.jit
def skip_dots(base, norms, dropout, row, image, v, m, mixed, dy, pixel, pixels, shape):
    """Sums of dy * dropout(skip) and of dy * auxiliary skip over mixed channels m; dy is 0 outside."""
    skip, aux, norm_in = tl.load(row + EDGE.skip), tl.load(row + EDGE.aux), tl.load(row + EDGE.norm_in)
    kept, whole = 0.0, 0.0
    if (skip >= 0) | (aux > 0):
        value = tl.load(base + m[:, None] * pixels + pixel[None, :], mask=mixed, other=0.0)
        value = normed(value, norms, v, norm_in, m, m < shape.M)
        product = tl.where(mixed, dy * value, 0.0)
        whole = tl.sum(product)
        if dropout.masks is not None:
            at = (tl.load(row + EDGE.dropout) * shape.images + image) * shape.M + m[:, None]
            at = dropout.masks + at * pixels + pixel[None, :]
            product *= tl.load(at, mask=mixed & (skip >= 0), other=0).to(tl.float32) * tl.load(dropout.scale)
        kept = tl.sum(product)
    return kept, whole


@triton.jit
def bypass_dot(base, saved, dy, norms, row, v, m, mixed, pixel, pixels, shape):
    """Sum of dy times what an edge passes on of the bypassing channels that lie beside mixed channels m."""
    many, total = shape.C // shape.M, 0.0
    for beside in range(1, many):
        c, here = beside * shape.M + m, m < shape.M
        value = bypass_term(base, saved, norms, row, v, c, mixed, here, pixel, pixels, shape.M)
        at = dy + (m * many + beside)[:, None] * pixels + pixel[None, :]
        total += tl.sum(tl.where(mixed, value * tl.load(at, mask=mixed, other=0.0), 0.0))
    return total


@triton.jit
def node_sums(
    x, out, y, norms, dropout, sums, rows, channels, node, image, v, n, group, block, pixels, shape, BLOCK: tl.constexpr
):
    """Of a block of pixels of a node's gradient, channels that the mixed ones of a group become; then what ends sums.

    x Pair, out PerImage, y Result (saved activations; gradients of nodes), norms Norms, dropout Dropout, sums Sums,
    rows GradRows, channels Channels of the norms on the node's in-edges; pixels of a node, shape Shape.
    """
    many, m = shape.C // shape.M, group * BLOCK.channels + tl.arange(0, BLOCK.channels)
    pixel, here = block * BLOCK.pixels + tl.arange(0, BLOCK.pixels), m < shape.M
    mixed, own = here[:, None] & (pixel < pixels)[None, :], y.z.ptr + image * y.z.step
    dy = y.dy.ptr + image * y.dy.step + node * shape.C * pixels
    gradient = tl.load(dy + (m * many)[:, None] * pixels + pixel[None, :], mask=mixed, other=0.0)
    blocks, groups = (pixels + BLOCK.pixels - 1) // BLOCK.pixels, (shape.M + BLOCK.channels - 1) // BLOCK.channels
    for e in range(node + 2):
        row = rows.edges + (node * (node + 3) // 2 + e) * len(EDGE)
        base = state_base(x, out, tl.load(row + EDGE.reads), v, n, image) + tl.load(row + EDGE.offset)
        kept, whole = skip_dots(base, norms, dropout, row, image, v, m, mixed, gradient, pixel, pixels, shape)
        bypass = bypass_dot(base, own, dy, norms, row, v, m, mixed, pixel, pixels, shape)
        to = sums.skips + (image * sums.edges + tl.load(row + EDGE.edge)) * 3 * sums.skip_parts + group * blocks + block
        tl.store(to, kept)
        tl.store(to + sums.skip_parts, whole)
        tl.store(to + 2 * sums.skip_parts, bypass)
        for t in range(tl.load(row + EDGE.terms)):
            term = rows.terms + (tl.load(row + EDGE.first_term) + t) * len(TERM)
            at, norm = own + tl.load(term + TERM.z) + m[:, None] * pixels + pixel[None, :], tl.load(term + TERM.norm)
            z = tl.load(at, mask=mixed, other=0.0).to(tl.float32)
            mean, _ = norm_of(norms, v, norm, m, here)
            at = sums.blocks + ((image * norms.count + norm + m) * sums.parts + block) * 2
            store_dy_sums(at, here, gradient, z, mean)
    finish_dy_sums(sums, norms, image, v, shape.N, channels, blocks, pixels, node, blocks * groups)


@kernel
def node_sums_kernel(x, out, y, norms, dropout, sums, rows, channels, node, pixels, shape, BLOCK: tl.constexpr):
    """node_sums of a node whose gradient is there. Grid: (blocks of pixels, groups of mixed channels, images)."""
    group, block = tl.program_id(1), tl.program_id(0)
    image, v, n = learner_of(2, shape.N)
    node_sums(x, out, y, norms, dropout, sums, rows, channels, node, image, v, n, group, block, pixels, shape, BLOCK)
