"""Gradients of operations' and edges' weights: sums of a node's gradient times what each adds to the node."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import EDGE, PLAIN, TERM
from .combine import bypass_term
from .tiles import edge_weight_of, normed, skip_beta_of, state_base


@triton.jit(do_not_specialize=PLAIN)
def skip_sums_kernel(x, out, y, norms, dropout, partial, edges, node, pixels, shape, BLOCK: tl.constexpr):
    """partial (images, E, 3): an image's sums of dy * dropout(skip), dy * auxiliary skip, dy * bypass, by edge.

    Grid: (in-edges, images). x Pair, out PerImage, y Result (saved activations; gradients of nodes), norms Norms,
    dropout Dropout, partial PerImage, edges: rows of EDGE; pixels of a node, shape Shape.
    """
    image, row = tl.program_id(1).to(tl.int64), edges + (node * (node + 3) // 2 + tl.program_id(0)) * len(EDGE)
    v, many = image // shape.N, shape.C // shape.M
    base = state_base(x, out, tl.load(row + EDGE.reads), v, image % shape.N, image) + tl.load(row + EDGE.offset)
    skip, aux, norm_in = tl.load(row + EDGE.skip), tl.load(row + EDGE.aux), tl.load(row + EDGE.norm_in)
    mask_at = (tl.load(row + EDGE.dropout) * shape.images + image) * shape.M
    dy, own = y.dy.ptr + image * y.dy.step + node * shape.C * pixels, y.z.ptr + image * y.z.step
    kept_sum, whole_sum = tl.zeros((BLOCK.channels,), tl.float32), tl.zeros((BLOCK.channels,), tl.float32)
    bypass_sum = tl.zeros((BLOCK.channels,), tl.float32)
    for c0 in range(0, shape.C, BLOCK.channels):
        c = c0 + tl.arange(0, BLOCK.channels)
        for start in range(0, pixels, BLOCK.pixels):
            pixel = start + tl.arange(0, BLOCK.pixels)
            inside = (pixel < pixels)[None, :]
            mixed = (c < shape.M)[:, None] & inside
            if (skip >= 0) | (aux > 0):
                value = tl.load(base + c[:, None] * pixels + pixel[None, :], mask=mixed, other=0.0)
                value = normed(value, norms, v, norm_in, c, c < shape.M)
                product = tl.load(dy + c[:, None] * many * pixels + pixel[None, :], mask=mixed, other=0.0) * value
                product = tl.where(mixed, product, 0.0)
                whole_sum += tl.sum(product, 1)
                if dropout.masks is not None:
                    at = dropout.masks + (mask_at + c[:, None]) * pixels + pixel[None, :]
                    product *= tl.load(at, mask=mixed & (skip >= 0), other=0).to(tl.float32) * tl.load(dropout.scale)
                kept_sum += tl.sum(product, 1)
            if many > 1:
                here = (c >= shape.M) & (c < shape.C)
                mask = here[:, None] & inside
                value = bypass_term(base, own, norms, row, v, c, mask, here, pixel, pixels, shape.M)
                at = dy + ((c % shape.M) * many + c // shape.M)[:, None] * pixels + pixel[None, :]
                bypass_sum += tl.sum(tl.where(mask, value * tl.load(at, mask=mask, other=0.0), 0.0), 1)
    to = partial.ptr + image * partial.step + tl.load(row + EDGE.edge) * 3
    tl.store(to, tl.sum(kept_sum, 0))
    tl.store(to + 1, tl.sum(whole_sum, 0))
    tl.store(to + 2, tl.sum(bypass_sum, 0))


@triton.jit
def sum_over_images(partial, v, N, at, IMAGES: tl.constexpr):
    """float64, in one order."""
    total = tl.zeros((IMAGES,), tl.float64)
    for start in range(0, N, IMAGES):
        n = start + tl.arange(0, IMAGES)
        total += tl.load(partial.ptr + (v * N + n) * partial.step + at, mask=n < N, other=0.0).to(tl.float64)
    return tl.sum(total, 0)


@triton.jit(do_not_specialize=PLAIN)
def alpha_beta_grad_kernel(
    norms, partial, mixture, op_grads, edge_grads, edges, terms, N, M, CHANNELS: tl.constexpr, IMAGES: tl.constexpr
):
    """d op_weights = edge_weight * <dy, result>, d edge_weights = sum over operations of op_weight * <dy, result>.

    <dy, result> of a term is the sum over channels of dy * xhat, which the backward of its norm has; of skips it is the
    sum over images of `partial`. Grid: (edges, learners). norms Norms, partial PerImage, mixture Mixture, op_grads (V,
    edges, ops) of zeros, edge_grads (V, edges) or None, edges, terms: rows of EDGE and TERM.
    """
    v, row = tl.program_id(1).to(tl.int64), edges + tl.program_id(0) * len(EDGE)
    edge, skip = tl.load(row + EDGE.edge), tl.load(row + EDGE.skip)
    weight, first = edge_weight_of(mixture, v, edge), (v * mixture.edges + edge) * mixture.ops
    total = sum_over_images(partial, v, N, edge * 3 + 2, IMAGES)
    if skip >= 0:
        dot = sum_over_images(partial, v, N, edge * 3, IMAGES)
        tl.store(op_grads + first + skip, (weight * dot).to(tl.float32))
        total += dot * tl.load(mixture.op_weights + first + skip)
    if tl.load(row + EDGE.aux) > 0:
        total += sum_over_images(partial, v, N, edge * 3 + 1, IMAGES) * skip_beta_of(mixture)
    for t in range(tl.load(row + EDGE.terms)):
        term = terms + (tl.load(row + EDGE.first_term) + t) * len(TERM)
        op, norm = tl.load(term + TERM.op), tl.load(term + TERM.norm)
        sums = tl.zeros((CHANNELS,), tl.float64)
        for c0 in range(0, M, CHANNELS):
            c = c0 + tl.arange(0, CHANNELS)
            at = norms.grads + (v * 3 + 2) * norms.count + norm + c
            sums += tl.load(at, mask=c < M, other=0.0).to(tl.float64)
        dot = tl.sum(sums, 0)
        if op >= 0:
            tl.store(op_grads + first + op, (weight * dot).to(tl.float32))
            total += dot * tl.load(mixture.op_weights + first + op)
        else:
            total += dot * skip_beta_of(mixture)
    if edge_grads is not None:
        tl.store(edge_grads + v * mixture.edges + edge, total.to(tl.float32))
