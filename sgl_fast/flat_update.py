"""Optimisers on flat state: one row a learner, each row clipped by its own norm."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped(grad: Tensor, limit: float) -> Tensor:
    """grad (K, P) with each row's norm at most `limit`; 0 for no limit."""
    if not limit:
        return grad
    norm = grad.norm(dim=1, keepdim=True)
    return grad * (limit / (norm + 1e-6)).clamp(max=1.0)


def sgd(
    weights: Tensor, grad: Tensor, momentum_buffer: Tensor, lr: float, momentum: float, weight_decay: float, clip: float
) -> tuple[Tensor, Tensor]:
    """weights - lr * buffer and the new buffer, all (K, P).

    buffer = momentum * momentum_buffer + clipped gradient + weight_decay * weights
    """
    buffer = momentum * momentum_buffer + clipped(grad, clip) + weight_decay * weights
    return weights - lr * buffer, buffer


def adam(
    params: Tensor,
    grad: Tensor,
    moments: tuple[Tensor, Tensor],
    step: int,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    eps: float = 1e-8,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Adam with L2 decay in the gradient: new parameters and new moments (first, second); step counts from 1. (K, A)"""
    grad = grad + weight_decay * params
    first = torch.lerp(moments[0], grad, 1 - betas[0])
    second = torch.addcmul(betas[1] * moments[1], grad, grad, value=1 - betas[1])
    denominator = (second / (1 - betas[1] ** step)).sqrt() + eps
    return params - lr / (1 - betas[0] ** step) * first / denominator, (first, second)


def norms(rows: Tensor) -> list[float]:
    """The norm of each row."""
    return torch.linalg.vector_norm(rows, dim=1).tolist()
