"""What a state receives past the convolutions: from pools, skips and bypassing channels."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import EDGE, POOL, STATE, USE
from .tiles import argmax_of, bn_backward, edge_weight_of, op_weight_of, skip_beta_of


@triton.jit
def pool_grad_z(dy, saved, norms, mixture, uses, pool, v, c, at, mask, pixels, shape):
    """Gradient of a pool's result before its norms, at outputs `at`: over the edges that have it."""
    total = tl.zeros(at.shape, tl.float32)
    z = tl.load(saved + tl.load(pool + POOL.z) + c[:, None] * pixels + at, mask=mask, other=0.0).to(tl.float32)
    channel = c[:, None] * (shape.C // shape.M) * pixels
    for u in range(tl.load(pool + POOL.uses)):
        use = uses + (tl.load(pool + POOL.first_use) + u) * len(USE)
        edge, node = tl.load(use + USE.edge), tl.load(use + USE.node)
        weight = op_weight_of(mixture, v, edge, tl.load(use + USE.op)) * edge_weight_of(mixture, v, edge)
        gradient = tl.load(dy + node * shape.C * pixels + channel + at, mask=mask, other=0.0)
        total += bn_backward(weight, gradient, z, norms, v, tl.load(use + USE.norm), c, c < shape.M)
    return tl.where(mask, total, 0.0)


@triton.jit
def pool_dgrad(dy, saved, pattern, norms, mixture, uses, pool, v, c, y, x, inside, source, size, shape):
    """What pixels (y, x) receive from a pool: of a maximum where they were chosen, of a mean their part of it."""
    kernel, stride, pixels = tl.load(pool + POOL.kernel), tl.load(pool + POOL.stride), size.height * size.width
    padding, argmax = tl.load(pool + POOL.padding), tl.load(pool + POOL.argmax)
    total = tl.zeros((c.shape[0], y.shape[0]), tl.float32)
    for t in range(kernel * kernel):
        up, left = y + padding - t // kernel, x + padding - t % kernel
        oy, ox = up // stride, left // stride
        has = inside & (up >= 0) & (left >= 0) & (up % stride == 0) & (left % stride == 0)
        has = has & (oy < size.height) & (ox < size.width)
        mask, at = (c < shape.M)[:, None] & has[None, :], (oy * size.width + ox)[None, :] + tl.zeros_like(c)[:, None]
        if argmax >= 0:
            code = argmax_of(pattern + argmax, c[:, None], oy[None, :], ox[None, :], size.height, size.width, mask)
            total += pool_grad_z(dy, saved, norms, mixture, uses, pool, v, c, at, mask & (code == t), pixels, shape)
        else:
            rows = tl.minimum(oy * stride - padding + kernel, source.height) - tl.maximum(oy * stride - padding, 0)
            columns = tl.minimum(ox * stride - padding + kernel, source.width) - tl.maximum(ox * stride - padding, 0)
            gradient = pool_grad_z(dy, saved, norms, mixture, uses, pool, v, c, at, mask, pixels, shape)
            total += gradient / tl.where(has, rows * columns, 1).to(tl.float32)[None, :]
    return total


@triton.jit
def skip_dgrad(dy, mixture, dropout, row, image, v, c, mixed, pixel, pixels, shape):
    """What mixed channels receive along an edge's skips of stride 1; dy: of the edge's node."""
    edge, skip, aux = tl.load(row + EDGE.edge), tl.load(row + EDGE.skip), tl.load(row + EDGE.aux) > 0
    total = tl.zeros(mixed.shape, tl.float32)
    if (skip >= 0) | aux:
        at = dy + c[:, None] * (shape.C // shape.M) * pixels + pixel[None, :]
        gradient = edge_weight_of(mixture, v, edge) * tl.load(at, mask=mixed, other=0.0)
        if aux:
            total += skip_beta_of(mixture) * gradient
        if skip >= 0:
            if dropout.masks is not None:
                at = (tl.load(row + EDGE.dropout) * shape.images + image) * shape.M + c[:, None]
                kept = tl.load(dropout.masks + at * pixels + pixel[None, :], mask=mixed, other=0)
                gradient *= kept.to(tl.float32) * tl.load(dropout.scale)
            total += tl.load(mixture.op_weights + (v * mixture.edges + edge) * mixture.ops + skip) * gradient
    return total


@triton.jit
def bypass_dgrad(dy, pattern, mixture, edge, state, v, c, y, x, mask, size, shape):
    """What bypassing channels receive along an edge: all, or where they were chosen of a window of 2x2."""
    stride, argmax = tl.load(state + STATE.stride), tl.load(state + STATE.argmax)
    oy, ox, partial = y // stride, x // stride, shape.C // shape.M
    channel = (c % shape.M) * partial + c // shape.M
    at = dy + channel[:, None] * (size.height * size.width) + (oy * size.width + ox)[None, :]
    gradient = edge_weight_of(mixture, v, edge) * tl.load(at, mask=mask, other=0.0)
    if argmax >= 0:
        bits = pattern + argmax
        code = argmax_of(bits, (c - shape.M)[:, None], oy[None, :], ox[None, :], size.height, size.width, mask)
        gradient = tl.where(code == (y % 2 * 2 + x % 2)[None, :], gradient, 0.0)
    return gradient
