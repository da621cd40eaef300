"""Steps of flat state, one row a learner: the optimisers, the perturbed weights, the finite difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import reference_flat as reference
from ..backend import choose
from .registry import Operator, register

STEM = "flat_update"
_row_norms = register("row_norms(Tensor rows) -> Tensor", lambda rows: rows.new_empty(rows.shape[:1]), STEM)
_sgd = register(
    "sgd(Tensor weights, Tensor grad, Tensor buffer, Tensor lr, float momentum, float weight_decay, float clip)"
    " -> (Tensor, Tensor, Tensor)",
    lambda w, *_: (w.new_empty(w.shape), w.new_empty(w.shape), w.new_empty(w.shape[:1])),
    STEM,
)
_perturb = register(
    "perturb(Tensor weights, Tensor direction, float r) -> (Tensor, Tensor)",
    lambda w, direction, r: (w.new_empty(2 * w.shape[0], w.shape[1]), w.new_empty(w.shape[:1])),
    STEM,
)
_quotient = register(
    "quotient(Tensor both, Tensor eps) -> Tensor", lambda both, eps: both.new_empty(eps.shape[0], both.shape[1]), STEM
)


def row_norms(rows: Tensor, backend: str | None = None) -> Tensor:
    """The Euclidean norm of each row; (K, P) -> (K)."""
    _check(rows=rows)
    return _kernel(_row_norms, reference.row_norms, rows, backend)(rows)


def sgd(
    weights: Tensor,
    grad: Tensor,
    buffer: Tensor,
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    clip: float,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """New weights and new momentum buffer (K, P), and the norms (K) of the gradient before it is clipped.

    new buffer = momentum * buffer + gradient, each row's norm at most `clip` (0: no limit), + weight_decay * weights
    new weights = weights - lr * new buffer
    lr may be a tensor of no dimension, of the weights' dtype and device: read where they are.
    """
    _check(weights=weights, grad=grad, buffer=buffer)
    if not isinstance(lr, Tensor):
        lr = torch.full((), lr, dtype=weights.dtype, device=weights.device)
    step = _kernel(_sgd, reference.sgd, weights, backend)
    return step(weights, grad, buffer, lr, momentum, weight_decay, clip)


def perturb(weights: Tensor, direction: Tensor, r: float, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """weights + eps * direction, then weights - eps * direction, (2K, P); and eps (K).

    eps = r / norm of the row of direction, 0 where the row is 0
    """
    _check(weights=weights, direction=direction)
    return _kernel(_perturb, reference.perturb, weights, backend)(weights, direction, r)


def quotient(both: Tensor, eps: Tensor, backend: str | None = None) -> Tensor:
    """(both[:K] - both[K:]) / (2 eps), 0 divided by 1 where eps is 0; (2K, ...), (K) -> (K, ...)."""
    rows = both.flatten(1)
    _check(both=rows)
    if eps.shape != (len(rows) // 2,) or len(rows) % 2 or eps.dtype != rows.dtype:
        raise ValueError(f"need both (2K, ...) and eps (K) of one dtype; got {tuple(both.shape)}, {tuple(eps.shape)}")
    found = _kernel(_quotient, reference.quotient, rows, backend)(rows, eps)
    return found.view(-1, *both.shape[1:])


def adam(
    params: Tensor,
    grad: Tensor,
    moments: tuple[Tensor, Tensor],
    step: int | Tensor,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    eps: float = 1e-8,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Adam with L2 decay in the gradient: new parameters and new moments (first, second), (K, A).

    step   counts from 1; a float64 tensor of no dimension where the count is on the device
    Architectures are small: the library's operations on every backend.
    """
    grad = grad + weight_decay * params
    first = torch.lerp(moments[0], grad, 1 - betas[0])
    second = torch.addcmul(betas[1] * moments[1], grad, grad, value=1 - betas[1])
    denominator = (second / (1 - betas[1] ** step)).sqrt() + eps
    return params - lr / (1 - betas[0] ** step) * first / denominator, (first, second)


def _kernel(operator: Operator, plain: Callable[..., Any], rows: Tensor, backend: str | None) -> Callable[..., Any]:
    name = choose(backend, rows.device, rows.dtype)
    return plain if name == "reference" else operator.on(name)


def _check(**rows: Tensor) -> None:
    """ValueError unless all are of one shape (K, P), without an empty dimension, and one dtype."""
    (name, first), *others = rows.items()
    if first.dim() != 2 or first.numel() == 0:
        raise ValueError(f"need {name} (K, P), not empty; got {tuple(first.shape)}")
    for other, t in others:
        if t.shape != first.shape or t.dtype != first.dtype:
            raise ValueError(
                f"need {other} {tuple(first.shape)} {first.dtype}, as {name}; got {tuple(t.shape)} {t.dtype}"
            )
