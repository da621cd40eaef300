"""Tiles of channels and pixels of one image, as several kernels load and store them."""

from __future__ import annotations

import triton
import triton.language as tl

from .arguments import CONV


@triton.jit
def learner_of(axis: tl.constexpr, N):
    """Of a program's image: its number, its learner, its number there; int64, but no division of such."""
    image = tl.program_id(axis)
    v = image // N
    return image.to(tl.int64), v.to(tl.int64), (image - v * N).to(tl.int64)


@triton.jit
def base_of(x, reads, v, n):
    """Where image n of learner v starts in the place that a row reads. x: Pair"""
    if reads == 0:
        base = x.first.ptr + v * x.first.learner + n * x.first.image
    else:
        base = x.second.ptr + v * x.second.learner + n * x.second.image
    return base


@triton.jit
def state_base(x, out, reads, v, n, image):
    """The same for a state: of an input, or a node in the cell's output (PerImage)."""
    base = out.ptr + image * out.step
    if reads < 2:
        base = base_of(x, reads, v, n)
    return base


@triton.jit
def norm_of(norms, v, norm, channel, mask):
    """Mean and scale (channels, 1) of a norm that a reader applies; norm < 0: none, 0 and 1."""
    row = norms.stats + v * 3 * norms.count + norm + channel
    has = mask & (norm >= 0)
    return tl.load(row, mask=has, other=0.0)[:, None], tl.load(row + norms.count, mask=has, other=1.0)[:, None]


@triton.jit
def normed(x, norms, v, norm, channel, mask):
    """x (channels, pixels) after that norm: (x - mean) / deviation."""
    mean, scale = norm_of(norms, v, norm, channel, mask)
    return (x - mean) * scale


@triton.jit
def storable(value, saved):
    """value as `saved` stores it. What float16 cannot hold becomes its largest number: no norm has bounded it yet."""
    if saved.dtype.element_ty == tl.float16:
        value = tl.where(value > 65504.0, 65504.0, tl.where(value < -65504.0, -65504.0, value))
    return value.to(saved.dtype.element_ty)


@triton.jit
def is_open(relu_mask, channel, y, x, height, width, mask):
    """Whether a ReLU let a pixel through. relu_mask: its pattern in one image, a bit a pixel, whole bytes a row."""
    row = (width + 7) // 8
    byte = tl.load(relu_mask + (channel * height + y) * row + x // 8, mask=mask, other=0).to(tl.int32)
    return ((byte >> (x % 8)) & 1) != 0


@triton.jit
def argmax_of(argmax, channel, y, x, height, width, mask):
    """Which place of its window a max-pool took, 15 where masked. argmax: of an image, whole bytes a row of outputs."""
    row = (width + 1) // 2
    byte = tl.load(argmax + (channel * height + y) * row + x // 2, mask=mask, other=255).to(tl.int32)
    return (byte >> ((x & 1) * 4)) & 15


@triton.jit
def matmul(a, b, TILE: tl.constexpr):
    """(A, B) times (B, P), by tl.dot if the tile has 16 rows and columns at least."""
    if TILE.dot:
        return tl.dot(a, b, input_precision=TILE.products)
    return tl.sum(a[:, :, None] * b[None, :, :], 1)


@triton.jit
def depthwise_tile(x, pattern, norms, weights, row, v, c, pixel, pixels, out_W, REPLAY: tl.constexpr):
    """What a 1x1 convolution reads: depthwise * relu(norm_in(x)) of channels c at output pixels `pixel` of `pixels`.

    x, pattern, weights: of the image, its learner; row: CONV. A ReLU is replayed from its pattern, or taken from x.
    """
    height, width, relu_mask = tl.load(row + CONV.height), tl.load(row + CONV.width), tl.load(row + CONV.relu_mask)
    kernel, dilation, depthwise = (
        tl.load(row + CONV.kernel),
        tl.load(row + CONV.dilation),
        tl.load(row + CONV.depthwise),
    )
    stride, first = tl.load(row + CONV.stride), tl.load(row + CONV.first)
    y, left = pixel // out_W * stride + first, pixel % out_W * stride + first
    here = c < tl.load(row + CONV.ins)
    mean, scale = norm_of(norms, v, tl.load(row + CONV.norm_in), c, here)
    planes, taps = (
        x + tl.load(row + CONV.offset) + c[:, None] * (height * width),
        weights + depthwise + c * kernel * kernel,
    )
    row_bytes = (width + 7) // 8
    bits = pattern + relu_mask + c[:, None] * (height * row_bytes)
    total = tl.zeros((c.shape[0], pixel.shape[0]), tl.float32)
    for i in range(kernel):
        yy = y + (i - kernel // 2) * dilation
        in_row = (pixel < pixels) & (yy >= 0) & (yy < height)
        for j in range(kernel):
            xx = left + (j - kernel // 2) * dilation
            mask = here[:, None] & (in_row & (xx >= 0) & (xx < width))[None, :]
            value = (tl.load(planes + (yy * width + xx)[None, :], mask=mask, other=0.0).to(tl.float32) - mean) * scale
            if REPLAY:
                byte = tl.load(bits + (yy * row_bytes + xx // 8)[None, :], mask=mask, other=0).to(tl.int32)
                let = ((byte >> (xx % 8)[None, :]) & 1) != 0
            else:
                let = ~(value <= 0)
            tap = tl.load(taps + i * kernel + j, mask=here & (depthwise >= 0), other=1.0)
            total += tl.where(mask & let, value, 0.0) * tap[:, None]
    return total


@triton.jit
def edge_weight_of(mixture, v, edge):
    """Weight of an edge; 1 where edges have none, or edge < 0."""
    weight = 1.0
    if mixture.edge_weights is not None:
        weight = tl.load(mixture.edge_weights + v * mixture.edges + edge, mask=edge >= 0, other=1.0)
    return weight


@triton.jit
def skip_beta_of(mixture):
    """Weight of auxiliary skips; 1 where a cell has none."""
    beta = 1.0
    if mixture.skip_beta is not None:
        beta = tl.load(mixture.skip_beta)
    return beta


@triton.jit
def op_weight_of(mixture, v, edge, op):
    """Weight of an operation on its edge; op < 0: of the auxiliary skip; edge < 0: 1."""
    at = mixture.op_weights + (v * mixture.edges + edge) * mixture.ops + op
    weight = tl.load(at, mask=(edge >= 0) & (op >= 0), other=1.0)
    return tl.where((edge >= 0) & (op < 0), skip_beta_of(mixture), weight)


@triton.jit
def bn_backward(weight, dy, z, norms, v, norm, c, mask):
    """grad_z of z (channels, pixels) from the gradient dy of its norm's result, times a weight.

    weight / deviation * (dy - mean_dy - (z - mean) * mean_dy_xhat / deviation); the means are 0 in evaluation.
    """
    mean, scale = norm_of(norms, v, norm, c, mask)
    row = norms.grads + v * 3 * norms.count + norm + c
    mean_dy, mean_dy_xhat = tl.load(row, mask=mask, other=0.0), tl.load(row + norms.count, mask=mask, other=0.0)
    return weight * scale * (dy - mean_dy[:, None] - (z - mean) * mean_dy_xhat[:, None])


@triton.jit
def conv_weight(mixture, v, row):
    """Weight of a convolution's result in its node. row: CONV"""
    edge = tl.load(row + CONV.edge)
    return op_weight_of(mixture, v, edge, tl.load(row + CONV.op)) * edge_weight_of(mixture, v, edge)


@triton.jit
def grad_z_tile(y, image, row, norms, weight, v, o, pixel, pixels):
    """Gradients of a convolution's results z, before their norm, channels o, times a weight. y: Result; row: CONV"""
    here, step = o < tl.load(row + CONV.outs), tl.load(row + CONV.grad_step)
    mask = here[:, None] & (pixel < pixels)[None, :]
    at = y.dy.ptr + image * y.dy.step + tl.load(row + CONV.grad)
    dy = tl.load(at + o[:, None] * step + pixel[None, :], mask=mask, other=0.0)
    at = y.z.ptr + image * y.z.step + tl.load(row + CONV.z)
    z = tl.load(at + o[:, None] * pixels + pixel[None, :], mask=mask, other=0.0).to(tl.float32)
    return tl.where(mask, bn_backward(weight, dy, z, norms, v, tl.load(row + CONV.norm), o, here), 0.0)
