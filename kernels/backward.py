"""Device code of a cell's backward: tiles of channels and pixels of one image; see forward for tables and sums.

A slope is what a norm passes back to its input z from the gradient g of its output, times a weight:
weight * scale * (g - one - (z - mean) * along), with one the mean of g and along that of g * (z - mean) / variance.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .forward import base_of, bit_of, code_of, deep_tile, edge_weight_of, matmul, norm_of, normed, state_base, weight_of


@triton.jit
def sums_kernel(
    g, g_image, z, z_image, stats, norms, partial, table, N, pixels, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    """partial (images, norms, 2): an image's sums of g and of g * (z - mean). Grid: (rows, images).

    Row: [offset of g, its step from channel to channel, offset of z, norm, channels].
    """
    image, row = tl.program_id(1).to(tl.int64), table + tl.program_id(0) * 5
    g_at, step, z_at = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    norm, channels = tl.load(row + 3), tl.load(row + 4)
    for c0 in range(0, channels, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        mean, _ = norm_of(stats, norms, image // N, norm, c, c < channels)
        one, along = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
        for first in range(0, pixels, BLOCK):
            pixel = first + tl.arange(0, BLOCK)
            mask = (c < channels)[:, None] & (pixel < pixels)[None, :]
            slope = tl.load(g + image * g_image + g_at + c[:, None] * step + pixel[None, :], mask=mask, other=0.0)
            value = tl.load(z + image * z_image + z_at + c[:, None] * pixels + pixel[None, :], mask=mask, other=0.0)
            one += tl.sum(slope, 1)
            along += tl.sum(slope * (value.to(tl.float32) - mean), 1)
        to = partial + (image * norms + norm + c) * 2
        tl.store(to, one, mask=c < channels)
        tl.store(to + 1, along, mask=c < channels)


@triton.jit
def finish_sums_kernel(
    partial,
    stats,
    slopes,
    table,
    N,
    norms,
    pixels,
    TRAINING: tl.constexpr,
    CHANNELS: tl.constexpr,
    IMAGES: tl.constexpr,
):
    """slopes (V, 3, norms): one, along, and the sum of g * normalised z. Grid: (rows, learners).

    Row: [norm, channels].
    """
    row, v = table + tl.program_id(0) * 2, tl.program_id(1).to(tl.int64)
    norm, channels = tl.load(row), tl.load(row + 1)
    for c0 in range(0, channels, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        one, along = tl.zeros((CHANNELS,), tl.float64), tl.zeros((CHANNELS,), tl.float64)
        for first in range(0, N, IMAGES):
            n = first + tl.arange(0, IMAGES)
            mask = (c < channels)[:, None] & (n < N)[None, :]
            at = partial + ((v * N + n)[None, :] * norms + norm + c[:, None]) * 2
            one += tl.sum(tl.load(at, mask=mask, other=0.0).to(tl.float64), 1)
            along += tl.sum(tl.load(at + 1, mask=mask, other=0.0).to(tl.float64), 1)
        scale = tl.load(stats + (v * 3 + 1) * norms + norm + c, mask=c < channels, other=0.0).to(tl.float64)
        to = slopes + v * 3 * norms + norm + c
        size = (N * pixels).to(tl.float64)
        if TRAINING:
            tl.store(to, (one / size).to(tl.float32), mask=c < channels)
            tl.store(to + norms, (along * scale * scale / size).to(tl.float32), mask=c < channels)
        else:
            tl.store(to, tl.zeros((CHANNELS,), tl.float32), mask=c < channels)
            tl.store(to + norms, tl.zeros((CHANNELS,), tl.float32), mask=c < channels)
        tl.store(to + 2 * norms, (along * scale).to(tl.float32), mask=c < channels)


@triton.jit
def slope_factors(stats, slopes, norms, v, norm, c, mask):
    """Mean and scale of a norm's channels, one and along."""
    mean, scale = norm_of(stats, norms, v, norm, c, mask)
    row = slopes + v * 3 * norms + norm + c
    one, along = tl.load(row, mask=mask, other=0.0), tl.load(row + norms, mask=mask, other=0.0)
    return mean, scale, one[:, None], along[:, None]


@triton.jit
def slope_tile(g, z, row, stats, slopes, norms, v, o, pixel, pixels, weight):
    """Slopes of a job's outputs o; g, z: of the image; row: as undo_kernel's."""
    outs, step = tl.load(row + 8), tl.load(row + 17)
    mask = (o < outs)[:, None] & (pixel < pixels)[None, :]
    mean, scale, one, along = slope_factors(stats, slopes, norms, v, tl.load(row + 13), o, o < outs)
    gradient = tl.load(g + tl.load(row + 16) + o[:, None] * step + pixel[None, :], mask=mask, other=0.0)
    value = tl.load(z + tl.load(row + 12) + o[:, None] * pixels + pixel[None, :], mask=mask, other=0.0)
    value = value.to(tl.float32)
    return tl.where(mask, weight * scale * (gradient - one - (value - mean) * along), 0.0)


@triton.jit
def undo_kernel(
    g,
    g_image,
    z,
    z_image,
    stats,
    slopes,
    norms,
    weights,
    weights_row,
    op_weights,
    edge_weights,
    edges,
    width,
    skip_beta,
    undone,
    undone_image,
    table,
    N,
    pixels,
    HAS_EDGES: tl.constexpr,
    INS: tl.constexpr,
    OUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """undone: what the inputs of 1x1 convolutions receive. Grid: (blocks of pixels, jobs, images).

    Row: that of forward.deep_tile, then [offset of g, its step from channel to channel, edge, operation, offset in
    undone].
    """
    image, row = tl.program_id(2).to(tl.int64), table + tl.program_id(1) * 21
    v, o = image // N, tl.arange(0, OUTS)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ins, outs, pointwise = tl.load(row + 7), tl.load(row + 8), tl.load(row + 11)
    weight = weight_of(
        op_weights, edge_weights, v, edges, width, tl.load(row + 18), tl.load(row + 19), skip_beta, HAS_EDGES
    )
    slope = slope_tile(g + image * g_image, z + image * z_image, row, stats, slopes, norms, v, o, pixel, pixels, weight)
    to = undone + image * undone_image + tl.load(row + 20)
    for c0 in range(0, ins, INS):
        c = c0 + tl.arange(0, INS)
        w = tl.load(
            weights + v * weights_row + pointwise + o[None, :] * ins + c[:, None],
            mask=(c < ins)[:, None] & (o < outs)[None, :],
            other=0.0,
        )
        found = matmul(w, slope, DOT, PRECISION)
        tl.store(to + c[:, None] * pixels + pixel[None, :], found, mask=(c < ins)[:, None] & (pixel < pixels)[None, :])


@triton.jit
def gather_kernel(
    undone,
    undone_image,
    weights,
    weights_row,
    pattern,
    pattern_bytes,
    to,
    to_learner,
    to_image,
    table,
    jobs,
    N,
    H,
    W,
    out_H,
    out_W,
    ADD: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """What targets receive through their ReLUs from convolutions. Grid: (blocks x groups of channels, targets, images).

    Table: of each target [offset in to, channels, bits, first job, jobs]; `jobs` is where rows of jobs begin, each
    [kernel, dilation, stride, first, depthwise, offset in undone]. ADD: to what is there.
    """
    image, row = tl.program_id(2).to(tl.int64), table + tl.program_id(1) * 5
    v, pixels, out_pixels = image // N, H * W, out_H * out_W
    channels, bits = tl.load(row + 1), tl.load(row + 2)
    blocks = (pixels + BLOCK - 1) // BLOCK
    c = tl.program_id(0) // blocks * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    y, x = pixel // W, pixel % W
    here, inside = c < channels, pixel < pixels
    total = tl.zeros((CHANNELS, BLOCK), tl.float32)
    for k in range(tl.load(row + 4)):
        job = table + jobs + (tl.load(row + 3) + k) * 6
        kernel, dilation, stride = tl.load(job), tl.load(job + 1), tl.load(job + 2)
        first, depthwise = tl.load(job + 3), tl.load(job + 4)
        planes = undone + image * undone_image + tl.load(job + 5) + c[:, None] * out_pixels
        taps = weights + v * weights_row + depthwise + c * kernel * kernel
        for i in range(kernel):
            up = y - first - (i - kernel // 2) * dilation
            in_row = inside & (up >= 0) & (up % stride == 0) & (up < stride * out_H)
            for j in range(kernel):
                left = x - first - (j - kernel // 2) * dilation
                has = in_row & (left >= 0) & (left % stride == 0) & (left < stride * out_W)
                mask, at = here[:, None] & has[None, :], (up // stride * out_W + left // stride)[None, :]
                tap = tl.load(taps + i * kernel + j, mask=here & (depthwise >= 0), other=1.0)
                total += tap[:, None] * tl.load(planes + at, mask=mask, other=0.0)
    mask = here[:, None] & inside[None, :]
    if bits >= 0:
        shut = ~bit_of(pattern + image * pattern_bytes, bits, pixels, c[:, None], pixel[None, :], mask)
        total = tl.where(shut, 0.0, total)
    at = to + v * to_learner + (image % N) * to_image + tl.load(row) + c[:, None] * pixels + pixel[None, :]
    if ADD:
        total += tl.load(at, mask=mask, other=0.0)
    tl.store(at, total, mask=mask)


@triton.jit
def pool_slope(
    g, planes, stats, slopes, norms, op_weights, edge_weights, v, edges, width, rows, count, column, z,
    c, at, mask, C, M, pixels, HAS_EDGES: tl.constexpr,
):  # fmt: skip
    """The slope of a state's pooled planes at output pixels `at`, over the edges that have the pool."""
    total = tl.zeros(at.shape, tl.float32)
    value = tl.load(planes + z + c[:, None] * pixels + at, mask=mask, other=0.0).to(tl.float32)
    for e in range(count):
        row = rows + e * 9
        op, norm = tl.load(row + column), tl.load(row + column + 1)
        if op >= 0:
            weight = weight_of(op_weights, edge_weights, v, edges, width, tl.load(row), op, 0.0, HAS_EDGES)
            mean, scale, one, along = slope_factors(stats, slopes, norms, v, norm, c, c < M)
            gradient = tl.load(
                g + tl.load(row + 1) * C * pixels + c[:, None] * (C // M) * pixels + at, mask=mask, other=0.0
            )
            total += weight * scale * (gradient - one - (value - mean) * along)
    return tl.where(mask, total, 0.0)


@triton.jit
def rest_kernel(
    g,
    g_image,
    planes,
    saved,
    stats,
    slopes,
    norms,
    op_weights,
    edge_weights,
    edges,
    width,
    skip_beta,
    dropout,
    dropout_scale,
    pattern,
    pattern_bytes,
    to,
    to_learner,
    to_image,
    table,
    count,
    max_z,
    avg_z,
    codes,
    bypass_codes,
    images,
    N,
    C,
    M,
    H,
    W,
    out_H,
    out_W,
    stride,
    DROPOUT: tl.constexpr,
    HAS_EDGES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adds what a state receives past the convolutions: from pools, skips and bypassing channels.

    Row of an edge: [edge, node, skip, dropout, aux, max_op, max_norm, avg_op, avg_norm].
    Grid: (blocks of pixels, groups of channels, images).
    """
    image, pixels, out_pixels = tl.program_id(2).to(tl.int64), H * W, out_H * out_W
    v, groups = image // N, C // M
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y, x, here, inside = pixel // W, pixel % W, c < C, pixel < pixels
    mixed, mine = (c < M)[:, None] & inside[None, :], g + image * g_image
    total = tl.zeros((CHANNELS, BLOCK), tl.float32)
    if (max_z >= 0) | (avg_z >= 0):
        for t in range(9):
            up, left = y + 1 - t // 3, x + 1 - t % 3
            oy, ox = up // stride, left // stride
            has = (
                inside
                & (up >= 0)
                & (left >= 0)
                & (up % stride == 0)
                & (left % stride == 0)
                & (oy < out_H)
                & (ox < out_W)
            )
            mask, at = (c < M)[:, None] & has[None, :], (oy * out_W + ox)[None, :] + tl.zeros((CHANNELS, 1), tl.int32)
            if max_z >= 0:
                code = code_of(pattern + image * pattern_bytes + codes, c[:, None], at, out_pixels, mask)
                slope = pool_slope(
                    mine, planes + image * saved, stats, slopes, norms, op_weights, edge_weights, v, edges, width,
                    table, count, 5, max_z, c, at, mask & (code == t), C, M, out_pixels, HAS_EDGES,
                )  # fmt: skip
                total += slope
            if avg_z >= 0:
                rows = tl.minimum(oy * stride + 1, H - 1) - tl.maximum(oy * stride - 1, 0) + 1
                columns = tl.minimum(ox * stride + 1, W - 1) - tl.maximum(ox * stride - 1, 0) + 1
                slope = pool_slope(
                    mine, planes + image * saved, stats, slopes, norms, op_weights, edge_weights, v, edges, width,
                    table, count, 7, avg_z, c, at, mask, C, M, out_pixels, HAS_EDGES,
                )  # fmt: skip
                total += slope / tl.where(has, rows * columns, 1).to(tl.float32)[None, :]
    for e in range(count):
        row = table + e * 9
        edge, node, skip, mask_index, aux = (
            tl.load(row),
            tl.load(row + 1),
            tl.load(row + 2),
            tl.load(row + 3),
            tl.load(row + 4),
        )
        whole = edge_weight_of(edge_weights, v, edges, edge, HAS_EDGES)
        if (skip >= 0) | (aux > 0):
            at = mine + node * C * out_pixels + c[:, None] * groups * out_pixels + pixel[None, :]
            gradient = whole * tl.load(at, mask=mixed, other=0.0)
            if aux > 0:
                total += skip_beta * gradient
            if skip >= 0:
                if DROPOUT:
                    kept = ((mask_index * images + image) * M + c[:, None]) * pixels + pixel[None, :]
                    gradient *= tl.load(dropout + kept, mask=mixed, other=0).to(tl.float32) * dropout_scale
                total += tl.load(op_weights + (v * edges + edge) * width + skip) * gradient
        if groups > 1:
            rest = ((c >= M) & here)[:, None] & inside[None, :]
            oy, ox = y // stride, x // stride
            out = (oy * out_W + ox)[None, :]
            at = mine + node * C * out_pixels + ((c % M) * groups + c // M)[:, None] * out_pixels + out
            gradient = whole * tl.load(at, mask=rest, other=0.0)
            if bypass_codes >= 0:
                own = pattern + image * pattern_bytes + bypass_codes
                code = code_of(own, (c - M)[:, None], out, out_pixels, rest)
                gradient = tl.where(code == (y % 2 * 2 + x % 2)[None, :], gradient, 0.0)
            total += gradient
    mask = here[:, None] & inside[None, :]
    at = to + v * to_learner + (image % N) * to_image + c[:, None] * pixels + pixel[None, :]
    tl.store(at, tl.load(at, mask=mask, other=0.0) + total, mask=mask)


@triton.jit
def skip_sums_kernel(
    x0,
    x1,
    learner0,
    image0,
    learner1,
    image1,
    norm0,
    norm1,
    out,
    out_image,
    planes,
    saved,
    stats,
    norms,
    g,
    g_image,
    dropout,
    dropout_scale,
    partial,
    table,
    edges,
    node,
    images,
    N,
    C,
    M,
    pixels,
    DROPOUT: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """partial (images, E, 3): of a node's in-edges, sums of g times the skip, the auxiliary skip, the bypass.

    Row: [edge, source, bypass_z, skip, dropout, aux]. Grid: (rows, images).
    """
    image, row = tl.program_id(1).to(tl.int64), table + tl.program_id(0) * 6
    v, groups = image // N, C // M
    edge, j, bypass_z = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    skip, mask_index, aux = tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)
    x = state_base(x0, x1, out, learner0, image0, learner1, image1, out_image, j, image, N, C * pixels)
    norm = tl.where(j == 0, norm0, tl.where(j == 1, norm1, -1))
    slopes = g + image * g_image + node * C * pixels
    kept_sum, whole_sum = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    rest_sum = tl.zeros((CHANNELS,), tl.float32)
    for c0 in range(0, C, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        for first in range(0, pixels, BLOCK):
            pixel = first + tl.arange(0, BLOCK)
            inside = (pixel < pixels)[None, :]
            mixed = (c < M)[:, None] & inside
            if (skip >= 0) | (aux > 0):
                at = c[:, None] * pixels + pixel[None, :]
                value = normed(tl.load(x + at, mask=mixed, other=0.0), stats, norms, v, norm, c, c < M)
                slope = tl.load(slopes + c[:, None] * groups * pixels + pixel[None, :], mask=mixed, other=0.0)
                product = tl.where(mixed, slope * value, 0.0)
                whole_sum += tl.sum(product, 1)
                if DROPOUT:
                    kept = ((mask_index * images + image) * M + c[:, None]) * pixels + pixel[None, :]
                    product *= tl.load(dropout + kept, mask=mixed & (skip >= 0), other=0).to(tl.float32) * dropout_scale
                kept_sum += tl.sum(product, 1)
            if groups > 1:
                rest = ((c >= M) & (c < C))[:, None] & inside
                if bypass_z >= 0:
                    at = planes + image * saved + bypass_z + (c - M)[:, None] * pixels + pixel[None, :]
                    value = tl.load(at, mask=rest, other=0.0).to(tl.float32)
                else:
                    value = tl.load(x + c[:, None] * pixels + pixel[None, :], mask=rest, other=0.0)
                    value = normed(value, stats, norms, v, norm, c, (c >= M) & (c < C))
                at = slopes + ((c % M) * groups + c // M)[:, None] * pixels + pixel[None, :]
                rest_sum += tl.sum(tl.where(rest, value * tl.load(at, mask=rest, other=0.0), 0.0), 1)
    to = partial + (image * edges + edge) * 3
    tl.store(to, tl.sum(kept_sum, 0))
    tl.store(to + 1, tl.sum(whole_sum, 0))
    tl.store(to + 2, tl.sum(rest_sum, 0))


@triton.jit
def mixture_kernel(
    slopes,
    partial,
    op_weights,
    edge_weights,
    op_grads,
    edge_grads,
    table,
    terms,
    edges,
    width,
    skip_beta,
    N,
    norms,
    HAS_EDGES: tl.constexpr,
    CHANNELS: tl.constexpr,
    IMAGES: tl.constexpr,
):
    """Gradients of operations' and edges' weights. Grid: (edges, learners).

    Row: [skip, aux, terms, first], from `terms` on [op, norm, channels]. op_grads start as zeros.
    """
    edge, v = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = table + edge * 4
    skip, aux = tl.load(row), tl.load(row + 1)
    whole = edge_weight_of(edge_weights, v, edges, edge, HAS_EDGES)
    kept, passed, rest = (
        tl.zeros((IMAGES,), tl.float64),
        tl.zeros((IMAGES,), tl.float64),
        tl.zeros((IMAGES,), tl.float64),
    )
    for first in range(0, N, IMAGES):
        n = first + tl.arange(0, IMAGES)
        at = partial + ((v * N + n) * edges + edge) * 3
        kept += tl.load(at, mask=n < N, other=0.0).to(tl.float64)
        passed += tl.load(at + 1, mask=n < N, other=0.0).to(tl.float64)
        rest += tl.load(at + 2, mask=n < N, other=0.0).to(tl.float64)
    ops, to = op_weights + (v * edges + edge) * width, op_grads + (v * edges + edge) * width
    total = tl.sum(rest, 0)
    if skip >= 0:
        dot = tl.sum(kept, 0)
        tl.store(to + skip, (whole * dot).to(tl.float32))
        total += dot * tl.load(ops + skip)
    if aux > 0:
        total += tl.sum(passed, 0) * skip_beta
    for t in range(tl.load(row + 2)):
        term = table + terms + (tl.load(row + 3) + t) * 3
        op, norm, channels = tl.load(term), tl.load(term + 1), tl.load(term + 2)
        sums = tl.zeros((CHANNELS,), tl.float64)
        for c0 in range(0, channels, CHANNELS):
            c = c0 + tl.arange(0, CHANNELS)
            sums += tl.load(slopes + (v * 3 + 2) * norms + norm + c, mask=c < channels, other=0.0).to(tl.float64)
        dot = tl.sum(sums, 0)
        if op >= 0:
            tl.store(to + op, (whole * dot).to(tl.float32))
            total += dot * tl.load(ops + op)
        else:
            total += dot * skip_beta
    if HAS_EDGES:
        tl.store(edge_grads + v * edges + edge, total.to(tl.float32))


@triton.jit
def pointwise_kernel(
    x0,
    x1,
    learner0,
    image0,
    learner1,
    image1,
    weights,
    weights_row,
    g,
    g_image,
    z,
    z_image,
    stats,
    slopes,
    norms,
    op_weights,
    edge_weights,
    edges,
    width,
    skip_beta,
    pattern,
    pattern_bytes,
    shares,
    share_row,
    table,
    N,
    groups,
    pixels,
    out_W,
    HAS_EDGES: tl.constexpr,
    INS: tl.constexpr,
    OUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """1x1 weights' gradients from groups of a learner's images. Grid: (groups of inputs, jobs, learners x groups)."""
    part, row = tl.program_id(2).to(tl.int64), table + tl.program_id(1) * 21
    v, group = part // groups, part % groups
    ins, outs, pointwise = tl.load(row + 7), tl.load(row + 8), tl.load(row + 11)
    c, o = tl.program_id(0) * INS + tl.arange(0, INS), tl.arange(0, OUTS)
    weight = weight_of(
        op_weights, edge_weights, v, edges, width, tl.load(row + 18), tl.load(row + 19), skip_beta, HAS_EDGES
    )
    mine = weights + v * weights_row
    total = tl.zeros((OUTS, INS), tl.float32)
    if tl.program_id(0) * INS < ins:
        for n in range(N * group // groups, N * (group + 1) // groups):
            image = v * N + n
            x = base_of(x0, x1, learner0, image0, learner1, image1, tl.load(row), v, n)
            bits = pattern + image * pattern_bytes
            for first in range(0, pixels, BLOCK):
                pixel = first + tl.arange(0, BLOCK)
                deep = deep_tile(x, bits, stats, norms, mine, row, v, c, ins, pixel, pixels, out_W, True)
                slope = slope_tile(
                    g + image * g_image, z + image * z_image, row, stats, slopes, norms, v, o, pixel, pixels, weight
                )
                total += matmul(slope, tl.trans(tl.where((pixel < pixels)[None, :], deep, 0.0)), DOT, PRECISION)
        to = shares + part * share_row + pointwise + o[:, None] * ins + c[None, :]
        tl.store(to, total, mask=(o < outs)[:, None] & (c < ins)[None, :])


@triton.jit
def depthwise_kernel(
    x0,
    x1,
    learner0,
    image0,
    learner1,
    image1,
    undone,
    undone_image,
    stats,
    norms,
    pattern,
    pattern_bytes,
    shares,
    share_row,
    table,
    N,
    groups,
    pixels,
    out_W,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Depthwise weights' gradients from groups of a learner's images.

    Grid: (groups of channels x taps, jobs, learners x groups).
    """
    part, row = tl.program_id(2).to(tl.int64), table + tl.program_id(1) * 21
    v, group = part // groups, part % groups
    kernel, dilation, stride = tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)
    channels, bits, depthwise = tl.load(row + 7), tl.load(row + 9), tl.load(row + 10)
    in_H, in_W = tl.load(row + 14), tl.load(row + 15)
    tap, c = tl.program_id(0) % 25, tl.program_id(0) // 25 * CHANNELS + tl.arange(0, CHANNELS)
    if (depthwise >= 0) & (tap < kernel * kernel):
        here = c < channels
        mean, scale = norm_of(stats, norms, v, tl.load(row + 2), c, here)
        total = tl.zeros((CHANNELS,), tl.float32)
        for n in range(N * group // groups, N * (group + 1) // groups):
            image = v * N + n
            x = base_of(x0, x1, learner0, image0, learner1, image1, tl.load(row), v, n) + tl.load(row + 1)
            for first in range(0, pixels, BLOCK):
                pixel = first + tl.arange(0, BLOCK)
                yy = pixel // out_W * stride + (tap // kernel - kernel // 2) * dilation
                xx = pixel % out_W * stride + (tap % kernel - kernel // 2) * dilation
                has = (pixel < pixels) & (yy >= 0) & (yy < in_H) & (xx >= 0) & (xx < in_W)
                mask, at = here[:, None] & has[None, :], (yy * in_W + xx)[None, :]
                value = tl.load(x + c[:, None] * (in_H * in_W) + at, mask=mask, other=0.0).to(tl.float32)
                on = mask & bit_of(pattern + image * pattern_bytes, bits, in_H * in_W, c[:, None], at, mask)
                value = tl.where(on, (value - mean) * scale, 0.0)
                back = undone + image * undone_image + tl.load(row + 20) + c[:, None] * pixels + pixel[None, :]
                total += tl.sum(value * tl.load(back, mask=mask, other=0.0), 1)
        to = shares + part * share_row + depthwise + c * kernel * kernel + tap
        tl.store(to, total, mask=here)
