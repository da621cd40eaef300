"""Softmax of K teachers, cross-entropies against the sum of the others, and both gradients. A program takes a row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .jit import kernel
from .launch import device_guard, power_of_two

BLOCK = 64  # losses that are added at a time


@triton.jit
def softmax_row(logits, row, J, CLASSES: tl.constexpr):
    """Log-probabilities and probabilities of a row."""
    j = tl.arange(0, CLASSES)
    x = tl.load(logits + row * J + j, mask=j < J, other=-float("inf"))
    x -= tl.max(x, 0)
    e = tl.exp(x)
    total = tl.sum(e, 0)
    return x - tl.log(total), e / total


@kernel
def pseudo_labels_kernel(teachers, p, targets, K, N, J, CLASSES: tl.constexpr):
    """p, targets (K, N, J); a program an image."""
    n, j = tl.program_id(0).to(tl.int64), tl.arange(0, CLASSES)
    for k in range(K):
        _, mine = softmax_row(teachers, k * N + n, J, CLASSES)
        tl.store(p + (k * N + n) * J + j, mine, mask=j < J)
    for k in range(K):
        others = tl.zeros((CLASSES,), tl.float32)
        for i in range(K):
            _, one = softmax_row(teachers, i * N + n, J, CLASSES)
            others += tl.where(i == k, 0.0, one)
        tl.store(targets + (k * N + n) * J + j, others, mask=j < J)


@kernel
def cross_entropy_kernel(logits, targets, losses, log_probs, grad, N, J, weight, CLASSES: tl.constexpr):
    """losses (V, N) of the images; log_probs, grad (V, N, J). A program a row."""
    row, j = tl.program_id(0).to(tl.int64), tl.arange(0, CLASSES)
    log_p, p = softmax_row(logits, row, J, CLASSES)
    here = j < J
    t = tl.load(targets + row * J + j, mask=here, other=0.0)
    tl.store(losses + row, -tl.sum(t * tl.where(here, log_p, 0.0), 0))
    tl.store(log_probs + row * J + j, log_p, mask=here)
    tl.store(grad + row * J + j, (p * tl.sum(t, 0) - t) * (weight / N), mask=here)


@kernel
def mean_kernel(losses, means, N, BLOCK: tl.constexpr):
    v, total = tl.program_id(0), 0.0
    for first in range(0, N, BLOCK):
        n = first + tl.arange(0, BLOCK)
        total += tl.sum(tl.load(losses + v * N + n, mask=n < N, other=0.0), 0)
    tl.store(means + v, total / N)


@kernel
def pseudo_label_vjp_kernel(p, tau, out, K, N, J, CLASSES: tl.constexpr):
    """out (K, N, J); a program an image and a teacher."""
    n, k, j = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.arange(0, CLASSES)
    others = tl.zeros((CLASSES,), tl.float32)
    for i in range(K):
        one = tl.load(tau + (i * N + n) * J + j, mask=j < J, other=0.0)
        others += tl.where(i == k, 0.0, one)
    at = (k * N + n) * J + j
    mine = tl.load(p + at, mask=j < J, other=0.0)
    tl.store(out + at, -mine * (others - tl.sum(mine * others, 0)) / N, mask=j < J)


def warps(classes: int) -> int:
    return min(max(classes // 256, 1), 8)


def pseudo_labels(teachers: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (K, N, J) -> p and targets, both (K, N, J)"""
    teachers = teachers.contiguous()
    K, N, J = teachers.shape
    p, targets = torch.empty_like(teachers), torch.empty_like(teachers)
    classes = power_of_two(J)
    with device_guard(teachers):
        pseudo_labels_kernel[(N,)](teachers, p, targets, K, N, J, classes, num_warps=warps(classes))
    return p, targets


def cross_entropy(logits: Tensor, targets: Tensor, weight: float) -> tuple[Tensor, Tensor, Tensor]:
    """Losses (V), log-probabilities and gradient of weight * loss (V, N, J)"""
    logits, targets = logits.contiguous(), targets.contiguous()
    V, N, J = logits.shape
    losses, means = logits.new_empty(V, N), logits.new_empty(V)
    log_probs, grad = torch.empty_like(logits), torch.empty_like(logits)
    classes = power_of_two(J)
    with device_guard(logits):
        cross_entropy_kernel[(V * N,)](
            logits, targets, losses, log_probs, grad, N, J, weight, classes, num_warps=warps(classes)
        )
        mean_kernel[(V,)](losses, means, N, BLOCK, num_warps=1)
    return means, log_probs, grad


def pseudo_label_vjp(p: Tensor, tau: Tensor) -> Tensor:
    """(K, N, J)"""
    p, tau = p.contiguous(), tau.contiguous()
    K, N, J = p.shape
    out, classes = torch.empty_like(p), power_of_two(J)
    with device_guard(p):
        pseudo_label_vjp_kernel[(N, K)](p, tau, out, K, N, J, classes, num_warps=warps(classes))
    return out
