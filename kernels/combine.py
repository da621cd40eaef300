"""A node: the sum over its in-edges of their mixtures."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import EDGE, TERM
from .jit import kernel
from .tiles import edge_weight_of, learner_of, normed, op_weight_of, skip_beta_of, state_base


@triton.jit
def mixed_term(x, saved, norms, mixture, dropout, row, terms, image, v, m, mixes, mixed, pixel, pixels, shape):
    """skip_beta * aux + alpha * dropout(skip) + sum over terms of alpha * norm(z), mixed channels m of an edge."""
    edge, skip, norm_in = tl.load(row + EDGE.edge), tl.load(row + EDGE.skip), tl.load(row + EDGE.norm_in)
    sum_, aux = tl.zeros(mixes.shape, tl.float32), tl.load(row + EDGE.aux) > 0
    if (skip >= 0) | aux:
        value = tl.load(x + m[:, None] * pixels + pixel[None, :], mask=mixes, other=0.0)
        value = normed(value, norms, v, norm_in, m, mixed)
        if aux:
            sum_ += skip_beta_of(mixture) * value
        if skip >= 0:
            if dropout.masks is not None:
                at = (tl.load(row + EDGE.dropout) * shape.images + image) * shape.M + m[:, None]
                kept = tl.load(dropout.masks + at * pixels + pixel[None, :], mask=mixes, other=0)
                value *= kept.to(tl.float32) * tl.load(dropout.scale)
            sum_ += tl.load(mixture.op_weights + (v * mixture.edges + edge) * mixture.ops + skip) * value
    for t in range(tl.load(row + EDGE.terms)):
        term = terms + (tl.load(row + EDGE.first_term) + t) * len(TERM)
        at = saved + tl.load(term + TERM.z) + m[:, None] * pixels + pixel[None, :]
        value = tl.load(at, mask=mixes, other=0.0).to(tl.float32)
        value = normed(value, norms, v, tl.load(term + TERM.norm), m, mixed)
        sum_ += op_weight_of(mixture, v, edge, tl.load(term + TERM.op)) * value
    return sum_


@triton.jit
def bypass_term(x, saved, norms, row, v, c, mask, here, pixel, pixels, M):
    """Channels c, not mixed, of an edge's source: pooled ones, or norm_in(x)."""
    bypass = tl.load(row + EDGE.bypass)
    if bypass >= 0:
        at = saved + bypass + (c - M)[:, None] * pixels + pixel[None, :]
        value = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    else:
        value = tl.load(x + c[:, None] * pixels + pixel[None, :], mask=mask, other=0.0)
        value = normed(value, norms, v, tl.load(row + EDGE.norm_in), c, here)
    return value


@kernel
def combine_kernel(x, out, saved, norms, mixture, dropout, edges, terms, node, pixels, shape, BLOCK: tl.constexpr):
    """A node: sum over its in-edges of edge_weight * (the mixture of their operations; bypassing channels as they are).

    Channel c comes from mixed channel c / partial where partial divides it, else from bypassing channel
    c % partial * M + c / partial of the source (the shuffle of partial channels).
    Grid: (blocks of pixels, groups of channels, images). x Pair, out and saved PerImage, norms Norms, mixture Mixture,
    dropout Dropout, edges, terms: rows of EDGE and TERM; pixels of a node, shape Shape.
    """
    image, v, n = learner_of(2, shape.N)
    partial = shape.C // shape.M
    c = tl.program_id(1) * BLOCK.channels + tl.arange(0, BLOCK.channels)
    pixel = tl.program_id(0) * BLOCK.pixels + tl.arange(0, BLOCK.pixels)
    out_mask = (c < shape.C)[:, None] & (pixel < pixels)[None, :]
    mixed = (c % partial == 0) & (c < shape.C)
    mixes, bypasses = mixed[:, None] & out_mask, ~mixed[:, None] & out_mask
    total = tl.full((BLOCK.channels, BLOCK.pixels), 0, tl.float32)
    own = saved.ptr + image * saved.step
    for e in range(node + 2):
        row = edges + (node * (node + 3) // 2 + e) * len(EDGE)
        base = state_base(x, out, tl.load(row + EDGE.reads), v, n, image) + tl.load(row + EDGE.offset)
        sum_ = mixed_term(
            base, own, norms, mixture, dropout, row, terms, image, v, c // partial, mixes, mixed, pixel, pixels, shape
        )
        if partial > 1:
            source, here = c % partial * shape.M + c // partial, ~mixed & (c < shape.C)
            passed = bypass_term(base, own, norms, row, v, source, bypasses, here, pixel, pixels, shape.M)
            sum_ = tl.where(bypasses, passed, sum_)
        total += edge_weight_of(mixture, v, tl.load(row + EDGE.edge)) * tl.where(out_mask, sum_, 0.0)
    to = out.ptr + image * out.step + node * shape.C * pixels + c[:, None] * pixels + pixel[None, :]
    tl.store(to, total, mask=out_mask)
