"""The fused operations outside the cells in plain PyTorch, on logits and on flat weights: the specification.

Any float dtype and device, differentiated by autograd itself.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pseudo_labels(teachers: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of K teachers -> their softmax p, and targets[k] = sum over j != k of p[j]; all (K, N, J)."""
    p = teachers.softmax(-1)
    return p, leave_one_out(p)


def leave_one_out(p: Tensor) -> Tensor:
    """p (K, N, J) -> the sum of the others, (K, N, J)."""
    return p.sum(0, keepdim=True) - p


def cross_entropy(logits: Tensor, targets: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """loss = -mean_n sum_c targets * log_probs, (V); log_probs, and the gradient of weight * loss, both (V, N, J)."""
    log_probs = logits.log_softmax(-1)
    loss = -(targets * log_probs).sum(-1).mean(-1)
    grad = (log_probs.exp() * targets.sum(-1, keepdim=True) - targets) * (weight / logits.shape[1])
    return loss, log_probs, grad


def pseudo_label_vjp(p: Tensor, tau: Tensor) -> Tensor:
    """Of sum_k loss_k in the teachers' logits, where tau are the students' log-probabilities; all (K, N, J)."""
    others = leave_one_out(tau)
    return -p * (others - (p * others).sum(-1, keepdim=True)) / p.shape[1]


def row_norms(rows: Tensor) -> Tensor:
    """(K, P) -> (K)."""
    return _norms(rows).to(rows.dtype)


def _norms(rows: Tensor) -> Tensor:
    """In float64, whose squares of float32 neither overflow nor vanish."""
    out: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return out


def clipped(grad: Tensor, limit: float) -> Tensor:
    """grad (K, P) with each row's norm at most `limit`; 0 for no limit."""
    if not limit:
        return grad
    return grad * (limit / (_norms(grad).unsqueeze(1) + 1e-6)).clamp(max=1.0).to(grad.dtype)


def sgd(
    weights: Tensor, grad: Tensor, buffer: Tensor, lr: Tensor, momentum: float, weight_decay: float, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """weights - lr * new buffer, momentum * buffer + clipped gradient + weight_decay * weights; norms of grad (K)."""
    new = momentum * buffer + clipped(grad, clip) + weight_decay * weights
    return weights - lr * new, new, row_norms(grad)


def perturb(weights: Tensor, direction: Tensor, r: float) -> tuple[Tensor, Tensor]:
    """weights + eps * direction, then weights - eps * direction, (2K, P); and eps (K).

    eps = r / norm, 0 where the dtype cannot hold twice that, as for a zero row; NaN where it cannot hold the norm.
    """
    norm, most = _norms(direction), torch.finfo(direction.dtype).max
    eps = torch.where(r / norm > most / 2, 0.0, r / norm).masked_fill(~(norm <= most), float("nan"))
    eps = eps.to(direction.dtype)
    step = eps.unsqueeze(1) * direction
    return torch.cat([weights + step, weights - step]), eps


def central_difference(both: Tensor, eps: Tensor) -> Tensor:
    """(both[:K] - both[K:]) / (2 eps), the difference itself where eps is 0; (2K, P), (K) -> (K, P)."""
    plus, minus = both.chunk(2)
    return (plus - minus) / torch.where(eps == 0, 1.0, 2 * eps).unsqueeze(1)
