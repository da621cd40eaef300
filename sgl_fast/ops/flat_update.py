"""Steps of flat state, one row a learner: the optimisers, the perturbed weights, the finite difference.

Fused backends refuse tensors that want gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends.choice import choose
from ..reference import flat as reference
from .registry import Operator, need_floating, refuse_gradients, register, said

STEM = "flat_update"


def _check(**rows: Tensor) -> None:
    """ValueError unless all are of one shape (K, P), without an empty dimension, and one dtype."""
    (name, first), *others = rows.items()
    if first.dim() != 2 or first.numel() == 0:
        raise ValueError(f"need {name} (K, P), not empty; got {tuple(first.shape)}")
    need_floating(name, first)
    for other, t in others:
        if t.shape != first.shape or t.dtype != first.dtype:
            raise ValueError(f"need {other} {said(first)}, as {name}; got {said(t)}")


def _check_sgd(weights: Tensor, grad: Tensor, buffer: Tensor, lr: Tensor, *_: float) -> None:
    _check(weights=weights, grad=grad, buffer=buffer)
    if lr.dim() or lr.dtype != weights.dtype:
        raise ValueError(f"need lr () {weights.dtype}, as weights; got {said(lr)}")


def _check_central_difference(both: Tensor, eps: Tensor) -> None:
    _check(both=both)
    if eps.shape != (len(both) // 2,) or len(both) % 2 or eps.dtype != both.dtype:
        raise ValueError(f"need both (2K, ...) and eps (K) of one dtype; got {said(both)}, {said(eps)}")


_row_norms: Operator[Tensor] = register(
    "row_norms(Tensor rows) -> Tensor",
    lambda rows: _check(rows=rows),
    lambda rows: rows.new_empty(rows.shape[:1]),
    STEM,
    reference.row_norms,
)
_sgd: Operator[tuple[Tensor, Tensor, Tensor]] = register(
    "sgd(Tensor weights, Tensor grad, Tensor buffer, Tensor lr, float momentum, float weight_decay, float clip)"
    " -> (Tensor, Tensor, Tensor)",
    _check_sgd,
    lambda w, *_: (w.new_empty(w.shape), w.new_empty(w.shape), w.new_empty(w.shape[:1])),
    STEM,
    reference.sgd,
)
_perturb: Operator[tuple[Tensor, Tensor]] = register(
    "perturb(Tensor weights, Tensor direction, float r) -> (Tensor, Tensor)",
    lambda weights, direction, r: _check(weights=weights, direction=direction),
    lambda w, direction, r: (w.new_empty(2 * w.shape[0], w.shape[1]), w.new_empty(w.shape[:1])),
    STEM,
    reference.perturb,
)
_central_difference: Operator[Tensor] = register(
    "central_difference(Tensor both, Tensor eps) -> Tensor",
    _check_central_difference,
    lambda both, eps: both.new_empty(eps.shape[0], both.shape[1]),
    STEM,
    reference.central_difference,
)
refuse_gradients(_row_norms, _sgd, _perturb, _central_difference)


def row_norms(rows: Tensor, backend: str | None = None) -> Tensor:
    """The Euclidean norm of each row; (K, P) -> (K)."""
    return _row_norms.on(choose(backend, rows.device, rows.dtype))(rows)


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
    if not isinstance(lr, Tensor):
        lr = torch.full((), lr, dtype=weights.dtype, device=weights.device)
    step = _sgd.on(choose(backend, weights.device, weights.dtype))
    return step(weights, grad, buffer, lr, momentum, weight_decay, clip)


def perturb(weights: Tensor, direction: Tensor, r: float, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """weights + eps * direction, then weights - eps * direction, (2K, P); and eps (K).

    eps = r / norm of the row of direction, 0 where the row is 0
    """
    return _perturb.on(choose(backend, weights.device, weights.dtype))(weights, direction, r)


def central_difference(both: Tensor, eps: Tensor, backend: str | None = None) -> Tensor:
    """(both[:K] - both[K:]) / (2 eps), 0 divided by 1 where eps is 0; (2K, ...), (K) -> (K, ...)."""
    rows = both.flatten(1)
    found = _central_difference.on(choose(backend, rows.device, rows.dtype))(rows, eps)
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
