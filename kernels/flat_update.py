"""On flat weights: K rows of P floats. A program takes a part of a row; whoever needs a norm adds the parts' sums."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .jit import kernel
from .launch import ceil_div, device_guard

PART = 4096  # floats of a program
BLOCK = 1024  # at a time
PARTS = 256  # whose sums are added at a time


@kernel(plain=())
def squares_kernel(rows, squares, P, PART: tl.constexpr, BLOCK: tl.constexpr):
    """squares (K, parts), float64: of each part of rows (K, P)."""
    part, k = tl.program_id(0), tl.program_id(1).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float64)
    for first in range(0, PART, BLOCK):
        i = part * PART + first + tl.arange(0, BLOCK)
        x = tl.load(rows + k * P + i, mask=i < P, other=0.0).to(tl.float64)
        total += x * x
    tl.store(squares + k * tl.num_programs(0) + part, tl.sum(total, 0))


@triton.jit
def norm_of(squares, k, parts, PARTS: tl.constexpr):
    total = tl.zeros((PARTS,), tl.float64)
    for first in range(0, parts, PARTS):
        i = first + tl.arange(0, PARTS)
        total += tl.load(squares + k * parts + i, mask=i < parts, other=0.0)
    return tl.sqrt(tl.sum(total, 0))


@kernel
def norms_kernel(squares, norms, parts, PARTS: tl.constexpr):
    k = tl.program_id(0)
    tl.store(norms + k, norm_of(squares, k, parts, PARTS).to(tl.float32))


@kernel(plain=())
def sgd_kernel(
    weights,
    grad,
    buffer,
    squares,
    new_weights,
    new_buffer,
    norms,
    lr,
    P,
    momentum,
    weight_decay,
    clip,
    PARTS: tl.constexpr,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
):
    part, k = tl.program_id(0), tl.program_id(1).to(tl.int64)
    norm = norm_of(squares, k, tl.num_programs(0), PARTS)
    most = clip / (norm + 1e-6)
    scale = tl.where((clip > 0) & ((most <= 1) | (most != most)), most, 1.0).to(tl.float32)
    tl.store(norms + k, norm.to(tl.float32), mask=part == 0)
    step = tl.load(lr)
    for first in range(0, PART, BLOCK):
        i = part * PART + first + tl.arange(0, BLOCK)
        at, here = k * P + i, i < P
        w = tl.load(weights + at, mask=here)
        b = momentum * tl.load(buffer + at, mask=here) + scale * tl.load(grad + at, mask=here) + weight_decay * w
        tl.store(new_buffer + at, b, mask=here)
        tl.store(new_weights + at, w - step * b, mask=here)


@triton.jit
def radius_over(r, norm):
    """0 where float32 cannot hold twice r / norm, at a norm of 0 above all; NaN where it cannot hold the norm."""
    eps = r / tl.where(norm == 0, 1.0, norm)
    small = (norm == 0) | (eps > 1.7014117331926443e38)
    return tl.where(norm <= 3.4028234663852886e38, tl.where(small, 0.0, eps), float("nan"))


@kernel(plain=())
def perturb_kernel(
    weights,
    direction,
    squares,
    both,
    eps,
    P,
    r,
    PARTS: tl.constexpr,
    PART: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """both (2K, P)"""
    part, k = tl.program_id(0), tl.program_id(1).to(tl.int64)
    norm = norm_of(squares, k, tl.num_programs(0), PARTS)
    mine = radius_over(r, norm).to(tl.float32)
    tl.store(eps + k, mine, mask=part == 0)
    other = tl.num_programs(1).to(tl.int64) * P
    for first in range(0, PART, BLOCK):
        i = part * PART + first + tl.arange(0, BLOCK)
        at, here = k * P + i, i < P
        w = tl.load(weights + at, mask=here)
        step = mine * tl.load(direction + at, mask=here)
        tl.store(both + at, w + step, mask=here)
        tl.store(both + other + at, w - step, mask=here)


@kernel(plain=())
def central_difference_kernel(both, eps, out, P, BLOCK: tl.constexpr):
    k = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at, here = k * P + i, i < P
    mine = tl.load(eps + k)
    span = tl.where(mine == 0, 1.0, 2 * mine)
    plus = tl.load(both + at, mask=here)
    minus = tl.load(both + tl.num_programs(1).to(tl.int64) * P + at, mask=here)
    tl.store(out + at, (plus - minus) / span, mask=here)


def squares_of(rows: Tensor) -> tuple[Tensor, int]:
    """Sums of squares (K, parts) of parts of rows (K, P), and how many parts there are."""
    K, P = rows.shape
    parts = ceil_div(P, PART)
    squares = rows.new_empty(K, parts, dtype=torch.float64)
    squares_kernel[(parts, K)](rows, squares, P, PART, BLOCK)
    return squares, parts


def row_norms(rows: Tensor) -> Tensor:
    """(K, P) -> (K)"""
    rows, norms = rows.contiguous(), rows.new_empty(rows.shape[0])
    with device_guard(rows):
        squares, parts = squares_of(rows)
        norms_kernel[(rows.shape[0],)](squares, norms, parts, PARTS)
    return norms


def sgd(
    weights: Tensor, grad: Tensor, buffer: Tensor, lr: Tensor, momentum: float, weight_decay: float, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """New weights and buffer (K, P), norms (K) of grad before it is clipped."""
    weights, grad, buffer = (t.contiguous() for t in (weights, grad, buffer))
    K, P = weights.shape
    new, moved, norms = torch.empty_like(weights), torch.empty_like(buffer), weights.new_empty(K)
    with device_guard(weights):
        squares, parts = squares_of(grad)
        scalars = P, momentum, weight_decay, clip
        sgd_kernel[(parts, K)](weights, grad, buffer, squares, new, moved, norms, lr, *scalars, PARTS, PART, BLOCK)
    return new, moved, norms


def perturb(weights: Tensor, direction: Tensor, r: float) -> tuple[Tensor, Tensor]:
    """weights + eps * direction, then weights - eps * direction, (2K, P); eps = r / norm (K)."""
    weights, direction = weights.contiguous(), direction.contiguous()
    K, P = weights.shape
    both, eps = weights.new_empty(2 * K, P), weights.new_empty(K)
    with device_guard(weights):
        squares, parts = squares_of(direction)
        perturb_kernel[(parts, K)](weights, direction, squares, both, eps, P, r, PARTS, PART, BLOCK)
    return both, eps


def central_difference(both: Tensor, eps: Tensor) -> Tensor:
    """(both[:K] - both[K:]) / (2 eps), 0 divided by 1 where eps is 0; (2K, P), (K) -> (K, P)"""
    both, eps = both.contiguous(), eps.contiguous()
    K, P = eps.shape[0], both.shape[1]
    out = both.new_empty(K, P)
    with device_guard(both):
        central_difference_kernel[(ceil_div(P, BLOCK), K)](both, eps, out, P, BLOCK)
    return out
