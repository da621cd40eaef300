"""The gradient of a state, from all that leaves it; and the sums over it that come next."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV, EDGE, POOL, STATE
from .dgrad import add_transposed
from .jit import kernel
from .node_sums import node_sums
from .norms import finish_ranges, store_dy_sums
from .pool_skip_dgrad import bypass_dgrad, pool_dgrad, skip_dgrad
from .tiles import base_of, is_open, learner_of, norm_of


@triton.jit
def convolution_dgrad(scratch, weights, pattern, rows, state, c, here, y, x, inside, source):
    """What mixed channels c receive at pixels (y, x) from the depthwise convolutions, through the ReLU."""
    total, count = tl.zeros((c.shape[0], y.shape[0]), tl.float32), tl.load(state + STATE.convs)
    for k in range(count):
        conv = rows.convs + (tl.load(state + STATE.first_conv) + k) * len(CONV)
        total = add_transposed(total, scratch, weights, conv, c, here, y, x, inside, source.height, source.width)
    mask, bits = here[:, None] & inside[None, :] & (count > 0), pattern + tl.load(state + STATE.relu_mask)
    return tl.where(is_open(bits, c[:, None], y[None, :], x[None, :], source.height, source.width, mask), total, 0.0)


@triton.jit
def state_sums(states, norms, sums, state, image, v, c, here, block, grad, mask, pixel, pixels, is_node):
    """What the norms of preprocessed states need of a block of their gradient, channels c."""
    if is_node == 0:
        norm, at = tl.load(state + STATE.norm_in), tl.load(state + STATE.offset) + c[:, None] * pixels + pixel[None, :]
        z = tl.load(states.ptr + image * states.step + at, mask=mask, other=0.0)
        mean, _ = norm_of(norms, v, norm, c, here)
        to = sums.blocks + ((image * norms.count + norm + c) * sums.parts + block) * 2
        store_dy_sums(to, here, tl.where(mask, grad, 0.0), z, mean)


@kernel
def state_grad_kernel(
    x,
    out,
    states,
    scratch,
    weights,
    y,
    norms,
    mixture,
    dropout,
    pattern,
    to,
    sums,
    rows,
    channels,
    first,
    node,
    is_node,
    source,
    size,
    shape,
    BLOCK: tl.constexpr,
):
    """A state's gradient: what comes back through convolutions, pools, skips and bypassing channels; a node adds it to
    what is there.

    Then the sums over it: of a node (x Pair, out PerImage, channels Channels), or of preprocessed states (their z
    before norms, PerImage, or None). Grid: (blocks of pixels, groups of mixed channels and of what becomes of them x
    states, images). scratch PerImage, weights Weights, y Result (saved activations; gradients of nodes), norms Norms,
    mixture Mixture, dropout Dropout, pattern PerImage (bytes), to Pair, sums Sums, rows GradRows; source, size Size of
    the states and of nodes, shape Shape.
    """
    image, v, n = learner_of(2, shape.N)
    groups = (shape.M + BLOCK.channels - 1) // BLOCK.channels
    group, nth, block = tl.program_id(1) % groups, tl.program_id(1) // groups, tl.program_id(0)
    state = rows.states + (first + nth) * len(STATE)
    pixel, pixels = block * BLOCK.pixels + tl.arange(0, BLOCK.pixels), source.height * source.width
    up, left, inside = pixel // source.width, pixel % source.width, pixel < pixels
    dy, saved, bits = y.dy.ptr + image * y.dy.step, y.z.ptr + image * y.z.step, pattern.ptr + image * pattern.step
    own, taps = scratch.ptr + image * scratch.step, weights.ptr + v * weights.learner
    base = base_of(to, tl.load(state + STATE.reads), v, n) + tl.load(state + STATE.offset)
    many = shape.C // shape.M
    blocks, norm = (pixels + BLOCK.pixels - 1) // BLOCK.pixels, tl.load(state + STATE.norm_in)
    for c0 in range(
        group * BLOCK.channels * many, tl.minimum((group + 1) * BLOCK.channels * many, shape.C), BLOCK.channels
    ):
        c = c0 + tl.arange(0, BLOCK.channels)
        here, mixes = (c < shape.C) & (c < (group + 1) * BLOCK.channels * many), c < shape.M
        mask, mixed = here[:, None] & inside[None, :], mixes[:, None] & inside[None, :]
        at = base + c[:, None] * pixels + pixel[None, :]
        total = tl.load(at, mask=mask & (is_node != 0), other=0.0)
        if c0 < shape.M:
            total += convolution_dgrad(own, taps, bits, rows, state, c, mixes, up, left, inside, source)
            for p in range(tl.load(state + STATE.pools)):
                pool = rows.pools + (tl.load(state + STATE.first_pool) + p) * len(POOL)
                total += pool_dgrad(
                    dy, saved, bits, norms, mixture, rows.uses, pool, v, c, up, left, inside, source, size, shape
                )
        for e in range(tl.load(state + STATE.edges)):
            row = rows.out_edges + (tl.load(state + STATE.first_edge) + e) * len(EDGE)
            of_node = dy + tl.load(row + EDGE.node) * shape.C * (size.height * size.width)
            if c0 < shape.M:
                total += skip_dgrad(of_node, mixture, dropout, row, image, v, c, mixed, pixel, pixels, shape)
            if c0 + BLOCK.channels > shape.M:
                edge, passes = tl.load(row + EDGE.edge), mask & ~mixed
                total += bypass_dgrad(of_node, bits, mixture, edge, state, v, c, up, left, passes, size, shape)
        tl.store(at, total, mask=mask)
        if states is not None:
            state_sums(states, norms, sums, state, image, v, c, here, block, total, mask, pixel, pixels, is_node)
    if is_node != 0:
        tl.debug_barrier()
        node_sums(
            x, out, y, norms, dropout, sums, rows, channels, node, image, v, n, group, block, pixels, shape, BLOCK
        )
    elif states is not None:
        count = blocks * groups
        finish_ranges(sums, norms, None, image, v, shape.N, norm, shape.C, 0, 0, blocks, pixels, node + nth, count)
