"""A stage of a cell's forward: all that its states are read for."""

from __future__ import annotations

import triton.language as tl

from .arguments import CONV, POOL
from .convolve import convolve, record
from .jit import kernel
from .pool import pool
from .tiles import learner_of


@kernel
def stage_kernel(
    x,
    weights,
    norms,
    pattern,
    z,
    batch,
    rows,
    work,
    N,
    size,
    REPLAY: tl.constexpr,
    TILE: tl.constexpr,
    POOL_BLOCK: tl.constexpr,
    MASK_BLOCK: tl.constexpr,
):
    """Convolutions, pools, and patterns of ReLUs to record; the last program of each norm finishes its statistics.

    Grid: (programs, images). Convolutions and pools of one output size. x Pair, weights Weights, norms Norms, pattern
    PerImage (bytes), z PerImage of results, batch Batch, rows ForwardRows, work ForwardWork; size Size of z.
    """
    program = tl.program_id(0)
    image, v, n = learner_of(1, N)
    convs = work.convs.count * work.convs.programs
    pools = work.pools.count * work.pools.programs
    if program < convs:
        conv, block = program // work.convs.programs, program % work.convs.programs
        conv_row = rows.convs + (work.convs.first + conv) * len(CONV)
        convolve(x, weights, norms, pattern, z, batch, conv_row, image, v, n, N, block, size, REPLAY, TILE)
    elif program < convs + pools:
        nth = program - convs
        pool_row = rows.pools + (work.pools.first + nth // work.pools.programs) * len(POOL)
        within = nth % work.pools.programs
        pool(x, norms, pattern, z, batch, rows.uses, pool_row, image, v, n, N, within, size, REPLAY, POOL_BLOCK)
    else:
        of_masks = program - convs - pools
        mask, part = work.masks.first + of_masks // work.masks.programs, of_masks % work.masks.programs
        record(x, norms, pattern, rows, mask, image, v, n, part, MASK_BLOCK)
