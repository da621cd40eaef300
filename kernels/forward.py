"""Device code of a cell's forward: tiles of channels and pixels of one image.

Rows of tables are int32; a table says what a launch's programs do. Sums over images are taken in float64, in one order.
"""

from __future__ import annotations

import triton
import triton.language as tl

EPS = tl.constexpr(1e-5)  # of batch norm


@triton.jit
def bit_of(pattern, at, pixels, channel, pixel, mask):
    """Whether a ReLU is open; at: of its pattern in the image's, a bit a pixel, whole bytes a channel."""
    byte = tl.load(pattern + at + channel * ((pixels + 7) // 8) + pixel // 8, mask=mask, other=0).to(tl.int32)
    return ((byte >> (pixel % 8)) & 1) != 0


@triton.jit
def norm_of(stats, norms, v, norm, channel, mask):
    """Mean and scale of channels of the norm that a reader applies; norm < 0: none, 0 and 1."""
    row = stats + v * 3 * norms + norm + channel
    has = mask & (norm >= 0)
    return tl.load(row, mask=has, other=0.0)[:, None], tl.load(row + norms, mask=has, other=1.0)[:, None]


@triton.jit
def normed(x, stats, norms, v, norm, channel, mask):
    """x (channels, pixels) after that norm."""
    mean, scale = norm_of(stats, norms, v, norm, channel, mask)
    return (x - mean) * scale


@triton.jit
def kept(value, planes):
    """value as planes keep it. What float16 cannot hold becomes its largest number: before a norm nothing bounds it."""
    if planes.dtype.element_ty == tl.float16:
        value = tl.where(value > 65504.0, 65504.0, tl.where(value < -65504.0, -65504.0, value))
    return value.to(planes.dtype.element_ty)


@triton.jit
def record_kernel(
    x,
    learner,
    image_step,
    stats,
    norms,
    pattern,
    pattern_bytes,
    table,
    N,
    pixels,
    CB: tl.constexpr,
    BYTES: tl.constexpr,
):
    """Patterns of ReLUs. Row: [offset of x, norm, channels, offset of the pattern, step from channel to channel]."""
    image, row = tl.program_id(2).to(tl.int64), table + tl.program_id(1) * 5
    v = image // N
    base = x + v * learner + (image % N) * image_step + tl.load(row)
    norm, channels, to, step = tl.load(row + 1), tl.load(row + 2), tl.load(row + 3), tl.load(row + 4)
    row_bytes = (pixels + 7) // 8
    blocks = (row_bytes + BYTES - 1) // BYTES
    c = tl.program_id(0) // blocks * CB + tl.arange(0, CB)
    byte = tl.program_id(0) % blocks * BYTES + tl.arange(0, BYTES)
    total = tl.zeros((CB, BYTES), tl.int32)
    here = (c < channels)[:, None] & (byte < row_bytes)[None, :]
    mean, scale = norm_of(stats, norms, v, norm, c, c < channels)
    for bit in range(8):
        pixel = byte * 8 + bit
        mask = here & (pixel < pixels)[None, :]
        value = tl.load(base + c[:, None] * step + pixel[None, :], mask=mask, other=0.0).to(tl.float32)
        total += tl.where(mask & ~((value - mean) * scale <= 0), 1 << bit, 0)
    tl.store(
        pattern + image * pattern_bytes + to + c[:, None] * row_bytes + byte[None, :], total.to(tl.uint8), mask=here
    )


@triton.jit
def deep_tile(x, pattern, stats, norms, weights, row, v, c, channels, pixel, pixels, out_W, REPLAY: tl.constexpr):
    """What a convolution's 1x1 part reads: channels c of `channels`, output pixels `pixel` of `pixels`.

    x, pattern: of the image. Row: [which x, offset, its norm, kernel, dilation, stride, first, ins, outs, bits,
    depthwise, pointwise, z, norm, H, W of x].
    """
    offset, norm = tl.load(row + 1), tl.load(row + 2)
    kernel, dilation, stride, first = tl.load(row + 3), tl.load(row + 4), tl.load(row + 5), tl.load(row + 6)
    bits, depthwise, in_H, in_W = tl.load(row + 9), tl.load(row + 10), tl.load(row + 14), tl.load(row + 15)
    y, left = pixel // out_W * stride + first, pixel % out_W * stride + first
    here, in_pixels = c < channels, in_H * in_W
    mean, scale = norm_of(stats, norms, v, norm, c, here)
    planes, taps = x + offset + c[:, None] * in_pixels, weights + depthwise + c * kernel * kernel
    total = tl.zeros((c.shape[0], pixel.shape[0]), tl.float32)
    for i in range(kernel):
        yy = y + (i - kernel // 2) * dilation
        in_row = (pixel < pixels) & (yy >= 0) & (yy < in_H)
        for j in range(kernel):
            xx = left + (j - kernel // 2) * dilation
            at, mask = (yy * in_W + xx)[None, :], here[:, None] & (in_row & (xx >= 0) & (xx < in_W))[None, :]
            value = (tl.load(planes + at, mask=mask, other=0.0).to(tl.float32) - mean) * scale
            if REPLAY:
                open_ = bit_of(pattern, bits, in_pixels, c[:, None], at, mask)
            else:
                open_ = ~(value <= 0)
            tap = tl.load(taps + i * kernel + j, mask=here & (depthwise >= 0), other=1.0)
            total += tl.where(mask & open_, value, 0.0) * tap[:, None]
    return total


@triton.jit
def base_of(x0, x1, learner0, image0, learner1, image1, which, v, n):
    """Where the planes of image n of learner v start, in the first or the second of two sources."""
    if which == 0:
        base = x0 + v * learner0 + n * image0
    else:
        base = x1 + v * learner1 + n * image1
    return base


@triton.jit
def matmul(a, b, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """(A, B) times (B, P); DOT: by tl.dot, of 16 rows and columns at least."""
    if DOT:
        return tl.dot(a, b, input_precision=PRECISION)
    return tl.sum(a[:, :, None] * b[None, :, :], 1)


@triton.jit
def store_block_sums(partial, image, norms, norm, channel, here, value, inside, block, blocks):
    """Mean and sum of squared deviations of a block's pixels, into partial (images, norms, blocks, 2)."""
    count = tl.sum(inside.to(tl.float32), 0)
    mean = tl.sum(tl.where(inside[None, :], value, 0.0), 1) / count
    off = tl.where(inside[None, :], value - mean[:, None], 0.0)
    to = partial + ((image * norms + norm + channel) * blocks + block) * 2
    tl.store(to, mean, mask=here)
    tl.store(to + 1, tl.sum(off * off, 1), mask=here)


@triton.jit
def convolve_kernel(
    x0,
    x1,
    learner0,
    image0,
    learner1,
    image1,
    weights,
    weights_row,
    stats,
    norms,
    pattern,
    pattern_bytes,
    z,
    z_image,
    partial,
    table,
    N,
    out_H,
    out_W,
    REPLAY: tl.constexpr,
    INS: tl.constexpr,
    OUTS: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Convolutions of one output size. Grid: (blocks of pixels, jobs, images)."""
    image, row = tl.program_id(2).to(tl.int64), table + tl.program_id(1) * 16
    v, block, pixels = image // N, tl.program_id(0), out_H * out_W
    x = base_of(x0, x1, learner0, image0, learner1, image1, tl.load(row), v, image % N)
    ins, outs, pointwise = tl.load(row + 7), tl.load(row + 8), tl.load(row + 11)
    at, norm = tl.load(row + 12), tl.load(row + 13)
    mine, bits = weights + v * weights_row, pattern + image * pattern_bytes
    pixel, o = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, OUTS)
    result = tl.zeros((OUTS, BLOCK), tl.float32)
    for c0 in range(0, ins, INS):
        c = c0 + tl.arange(0, INS)
        deep = deep_tile(x, bits, stats, norms, mine, row, v, c, ins, pixel, pixels, out_W, REPLAY)
        w = tl.load(
            mine + pointwise + o[:, None] * ins + c[None, :], mask=(o < outs)[:, None] & (c < ins)[None, :], other=0.0
        )
        result += matmul(w, deep, DOT, PRECISION)
    inside = pixel < pixels
    to = z + image * z_image + at + o[:, None] * pixels + pixel[None, :]
    tl.store(to, kept(result, z), mask=(o < outs)[:, None] & inside[None, :])
    store_block_sums(partial, image, norms, norm, o, o < outs, result, inside, block, tl.num_programs(0))


@triton.jit
def pool_kernel(
    x,
    learner,
    image_step,
    stats,
    norms,
    norm,
    pattern,
    pattern_bytes,
    planes,
    saved,
    partial,
    max_z,
    max_norm,
    avg_z,
    avg_norm,
    codes,
    N,
    M,
    in_H,
    in_W,
    out_H,
    out_W,
    stride,
    REPLAY: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """3x3 pools of a state's M mixed channels, codes four bits an output.

    Grid: (blocks of pixels, groups of channels, images).
    """
    image, block, pixels = tl.program_id(2).to(tl.int64), tl.program_id(0), out_H * out_W
    v, c = image // N, tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    base = x + v * learner + (image % N) * image_step
    pixel = block * BLOCK + tl.arange(0, BLOCK)
    y, left, here, inside = pixel // out_W * stride, pixel % out_W * stride, c < M, pixel < pixels
    out = here[:, None] & inside[None, :]
    mine = pattern + image * pattern_bytes + codes
    chosen = tl.full((CHANNELS, BLOCK), -1, tl.int32)
    if REPLAY:
        chosen = code_of(mine, c[:, None], pixel[None, :], pixels, out & (max_z >= 0))
    most, total = tl.zeros((CHANNELS, BLOCK), tl.float32), tl.zeros((CHANNELS, BLOCK), tl.float32)
    count = tl.zeros((BLOCK,), tl.float32)
    mean_of, scale = norm_of(stats, norms, v, norm, c, here)
    for t in range(9):
        yy, xx = y + t // 3 - 1, left + t % 3 - 1
        has = inside & (yy >= 0) & (yy < in_H) & (xx >= 0) & (xx < in_W)
        mask = here[:, None] & has[None, :]
        value = tl.load(base + c[:, None] * (in_H * in_W) + (yy * in_W + xx)[None, :], mask=mask, other=0.0)
        value = tl.where(mask, (value.to(tl.float32) - mean_of) * scale, 0.0)
        if REPLAY:
            most = tl.where(chosen == t, value, most)
        else:
            better = mask & ((chosen < 0) | (value > most) | (value != value))
            most, chosen = tl.where(better, value, most), tl.where(better, t, chosen)
        total += value
        count += has.to(tl.float32)
    to = planes + image * saved + c[:, None] * pixels + pixel[None, :]
    blocks = tl.num_programs(0)
    if max_z >= 0:
        tl.store(to + max_z, kept(most, planes), mask=out)
        store_block_sums(partial, image, norms, max_norm, c, here, most, inside, block, blocks)
        if not REPLAY:
            store_codes(mine, c, here, block * BLOCK, pixels, tl.where(out, chosen, 0))
    if avg_z >= 0:
        mean = total / tl.where(count > 0, count, 1.0)[None, :]
        tl.store(to + avg_z, kept(mean, planes), mask=out)
        store_block_sums(partial, image, norms, avg_norm, c, here, mean, inside, block, blocks)


@triton.jit
def bypass_kernel(
    x,
    learner,
    image_step,
    stats,
    norms,
    norm,
    pattern,
    pattern_bytes,
    planes,
    saved,
    z,
    codes,
    N,
    M,
    C,
    in_H,
    in_W,
    out_H,
    out_W,
    REPLAY: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """2x2 max-pools of a state's bypassing channels M .. C - 1.

    Grid: (blocks of pixels, groups of channels, images).
    """
    image, pixels = tl.program_id(2).to(tl.int64), out_H * out_W
    v, c = image // N, M + tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    base = x + v * learner + (image % N) * image_step
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y, left, out = pixel // out_W * 2, pixel % out_W * 2, (c < C)[:, None] & (pixel < pixels)[None, :]
    at = (c - M)[:, None] * pixels + pixel[None, :]
    mine = pattern + image * pattern_bytes + codes
    chosen = tl.full((CHANNELS, BLOCK), -1, tl.int32)
    if REPLAY:
        chosen = code_of(mine, (c - M)[:, None], pixel[None, :], pixels, out)
    most = tl.zeros((CHANNELS, BLOCK), tl.float32)
    mean, scale = norm_of(stats, norms, v, norm, c, c < C)
    for t in range(4):
        there = c[:, None] * (in_H * in_W) + ((y + t // 2) * in_W + left + t % 2)[None, :]
        value = (tl.load(base + there, mask=out, other=0.0).to(tl.float32) - mean) * scale
        if REPLAY:
            most = tl.where(chosen == t, value, most)
        else:
            better = (chosen < 0) | (value > most) | (value != value)
            most, chosen = tl.where(better, value, most), tl.where(better, t, chosen)
    tl.store(planes + image * saved + z + at, kept(most, planes), mask=out)
    if not REPLAY:
        store_codes(mine, c - M, c < C, tl.program_id(0) * BLOCK, pixels, tl.where(out, chosen, 0))


@triton.jit
def finish_norms_kernel(
    partial,
    stats,
    table,
    N,
    norms,
    blocks,
    pixels,
    size,
    BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Statistics of norms from those of blocks. Row: [norm of the blocks, norm, channels]. Grid: (rows, learners)."""
    row, v = table + tl.program_id(0) * 3, tl.program_id(1).to(tl.int64)
    of, norm, channels = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    part, one_of = tl.arange(0, PARTS), tl.full((1,), 1.0, tl.float64) / size
    for c0 in range(0, channels, CHANNELS):
        c = c0 + tl.arange(0, CHANNELS)
        here = c < channels
        total, squares = tl.zeros((CHANNELS,), tl.float64), tl.zeros((CHANNELS,), tl.float64)
        for second in range(2):
            average = total * one_of
            for first in range(0, N * blocks, PARTS):
                p = first + part
                n, block = v * N + p // blocks, p % blocks
                count = tl.minimum(pixels - block * BLOCK, BLOCK).to(tl.float64)[None, :]
                mask = here[:, None] & (p < N * blocks)[None, :]
                at = partial + ((n[None, :] * norms + of + c[:, None]) * blocks + block[None, :]) * 2
                mean = tl.load(at, mask=mask, other=0.0).to(tl.float64)
                if second == 0:
                    total += tl.sum(tl.where(mask, mean * count, 0.0), 1)
                else:
                    off = mean - average[:, None]
                    spread = tl.load(at + 1, mask=mask, other=0.0).to(tl.float64) + count * off * off
                    squares += tl.sum(tl.where(mask, spread, 0.0), 1)
        to = stats + v * 3 * norms + norm + c
        variance = (squares * one_of).to(tl.float32)
        tl.store(to, (total * one_of).to(tl.float32), mask=here)
        tl.store(to + norms, tl.div_rn(1.0, tl.sqrt_rn(variance + EPS)), mask=here)
        tl.store(to + 2 * norms, (squares * (one_of * (size / (size - 1)))).to(tl.float32), mask=here)


@triton.jit
def state_base(x0, x1, out, learner0, image0, learner1, image1, out_image, j, image, N, plane):
    """Where state j of an image starts: an input's state, or a node."""
    base = out + image * out_image + (j - 2) * plane
    if j < 2:
        base = base_of(x0, x1, learner0, image0, learner1, image1, j, image // N, image % N)
    return base


@triton.jit
def edge_weight_of(edge_weights, v, edges, edge, HAS_EDGES: tl.constexpr):
    """Weight of an edge; 1 where edges have none, or edge < 0."""
    weight = 1.0
    if HAS_EDGES:
        weight = tl.load(edge_weights + v * edges + edge, mask=edge >= 0, other=1.0)
    return weight


@triton.jit
def weight_of(op_weights, edge_weights, v, edges, width, edge, op, skip_beta, HAS_EDGES: tl.constexpr):
    """Weight of an edge's operation; op < 0: of the auxiliary skip; edge < 0: 1."""
    weight = tl.load(op_weights + (v * edges + edge) * width + op, mask=(edge >= 0) & (op >= 0), other=1.0)
    weight = tl.where((edge >= 0) & (op < 0), skip_beta, weight)
    return weight * edge_weight_of(edge_weights, v, edges, edge, HAS_EDGES)


@triton.jit
def combine_kernel(
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
    op_weights,
    edge_weights,
    edges,
    width,
    skip_beta,
    dropout,
    dropout_scale,
    table,
    count,
    node,
    images,
    N,
    C,
    M,
    pixels,
    DROPOUT: tl.constexpr,
    HAS_EDGES: tl.constexpr,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A node. Table: `count` edges [edge, source, bypass_z, skip, dropout, aux, terms, first], then [op, norm, z]."""
    image = tl.program_id(2).to(tl.int64)
    v, groups = image // N, C // M
    c = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    out_mask = (c < C)[:, None] & (pixel < pixels)[None, :]
    mixed = (c % groups == 0) & (c < C)
    m, of = c // groups, c % groups * M + c // groups  # of a mixed channel; the channel of a state that comes out here
    mixes, rests = mixed[:, None] & out_mask, ~mixed[:, None] & out_mask
    total = tl.zeros((CHANNELS, BLOCK), tl.float32)
    for e in range(count):
        row = table + e * 8
        edge, j, bypass_z = tl.load(row), tl.load(row + 1), tl.load(row + 2)
        skip, mask_index, aux = tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)
        x = state_base(x0, x1, out, learner0, image0, learner1, image1, out_image, j, image, N, C * pixels)
        norm = tl.where(j == 0, norm0, tl.where(j == 1, norm1, -1))
        whole = edge_weight_of(edge_weights, v, edges, edge, HAS_EDGES)
        sum_ = tl.zeros((CHANNELS, BLOCK), tl.float32)
        if (skip >= 0) | (aux > 0):
            value = tl.load(x + m[:, None] * pixels + pixel[None, :], mask=mixes, other=0.0)
            value = normed(value, stats, norms, v, norm, m, mixed)
            if aux > 0:
                sum_ += skip_beta * value
            if skip >= 0:
                if DROPOUT:
                    kept = ((mask_index * images + image) * M + m[:, None]) * pixels + pixel[None, :]
                    value *= tl.load(dropout + kept, mask=mixes, other=0).to(tl.float32) * dropout_scale
                sum_ += tl.load(op_weights + (v * edges + edge) * width + skip) * value
        for t in range(tl.load(row + 6)):
            term = table + count * 8 + (tl.load(row + 7) + t) * 3
            op, z_norm, z = tl.load(term), tl.load(term + 1), tl.load(term + 2)
            at = planes + image * saved + z + m[:, None] * pixels + pixel[None, :]
            value = normed(tl.load(at, mask=mixes, other=0.0).to(tl.float32), stats, norms, v, z_norm, m, mixed)
            sum_ += weight_of(op_weights, edge_weights, v, edges, width, edge, op, skip_beta, False) * value
        if groups > 1:
            if bypass_z >= 0:
                at = planes + image * saved + bypass_z + (of - M)[:, None] * pixels + pixel[None, :]
                rest = tl.load(at, mask=rests, other=0.0).to(tl.float32)
            else:
                rest = tl.load(x + of[:, None] * pixels + pixel[None, :], mask=rests, other=0.0)
                rest = normed(rest, stats, norms, v, norm, of, ~mixed & (c < C))
            sum_ = tl.where(rests, rest, sum_)
        total += whole * tl.where(out_mask, sum_, 0.0)
    tl.store(out + image * out_image + node * C * pixels + c[:, None] * pixels + pixel[None, :], total, mask=out_mask)


@triton.jit
def code_of(codes, channel, pixel, pixels, mask):
    """Which of its places a max-pool took at an output pixel, 15 where masked; codes: of a state in an image."""
    byte = tl.load(codes + channel * ((pixels + 1) // 2) + pixel // 2, mask=mask, other=255).to(tl.int32)
    return (byte >> ((pixel & 1) * 4)) & 15


@triton.jit
def store_codes(codes, channel, here, first, pixels, chosen):
    """chosen (channels, pixels from `first` on), two in a byte, 0 past the last pixel; first is even."""
    row, byte = (pixels + 1) // 2, first // 2 + tl.arange(0, chosen.shape[1] // 2)
    pairs = tl.reshape(chosen, (chosen.shape[0], chosen.shape[1] // 2, 2))
    both = tl.sum(pairs << (tl.arange(0, 2) * 4)[None, None, :], 2)
    tl.store(
        codes + channel[:, None] * row + byte[None, :], both.to(tl.uint8), mask=here[:, None] & (byte < row)[None, :]
    )
