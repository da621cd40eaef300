"""Gradients of operations' and edges' weights, from sums of a node's gradient times what each adds to the node."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import EDGE, TERM
from .jit import kernel
from .tiles import edge_weight_of, skip_beta_of


@triton.jit
def sum_of_skips(sums, v, N, edge, which, PARTS: tl.constexpr):
    """Of an edge over all images of a learner; float64, in one order."""
    total = tl.zeros((PARTS,), tl.float64)
    for start in range(0, N * sums.skip_parts, PARTS):
        p = start + tl.arange(0, PARTS)
        at = (((v * N + p // sums.skip_parts) * sums.edges + edge) * 3 + which) * sums.skip_parts + p % sums.skip_parts
        total += tl.load(sums.skips + at, mask=p < N * sums.skip_parts, other=0.0).to(tl.float64)
    return tl.sum(total, 0)


@kernel
def alpha_beta_grad_kernel(
    norms, sums, mixture, op_grads, edge_grads, edges, terms, N, M, CHANNELS: tl.constexpr, PARTS: tl.constexpr
):
    """d op_weights = edge_weight * <dy, result>, d edge_weights = sum over operations of op_weight * <dy, result>.

    <dy, result> of a term is the sum over channels of dy * xhat, which the backward of its norm has; of skips it is the
    sum over images of what `sums` has. Grid: (edges, learners). norms Norms, sums Sums, mixture Mixture, op_grads (V,
    edges, ops) of zeros, edge_grads (V, edges) or None, edges, terms: rows of EDGE and TERM.
    """
    v, row = tl.program_id(1).to(tl.int64), edges + tl.program_id(0) * len(EDGE)
    edge, skip = tl.load(row + EDGE.edge), tl.load(row + EDGE.skip)
    weight, first = edge_weight_of(mixture, v, edge), (v * mixture.edges + edge) * mixture.ops
    total = sum_of_skips(sums, v, N, edge, 2, PARTS)
    if skip >= 0:
        dot = sum_of_skips(sums, v, N, edge, 0, PARTS)
        tl.store(op_grads + first + skip, (weight * dot).to(tl.float32))
        total += dot * tl.load(mixture.op_weights + first + skip)
    if tl.load(row + EDGE.aux) > 0:
        total += sum_of_skips(sums, v, N, edge, 1, PARTS) * skip_beta_of(mixture)
    for t in range(tl.load(row + EDGE.terms)):
        term = terms + (tl.load(row + EDGE.first_term) + t) * len(TERM)
        op, norm = tl.load(term + TERM.op), tl.load(term + TERM.norm)
        dots = tl.zeros((CHANNELS,), tl.float64)
        for c0 in range(0, M, CHANNELS):
            c = c0 + tl.arange(0, CHANNELS)
            at = norms.grads + (v * 3 + 2) * norms.count + norm + c
            dots += tl.load(at, mask=c < M, other=0.0).to(tl.float64)
        dot = tl.sum(dots, 0)
        if op >= 0:
            tl.store(op_grads + first + op, (weight * dot).to(tl.float32))
            total += dot * tl.load(mixture.op_weights + first + op)
        else:
            total += dot * skip_beta_of(mixture)
    if edge_grads is not None:
        tl.store(edge_grads + v * mixture.edges + edge, total.to(tl.float32))
