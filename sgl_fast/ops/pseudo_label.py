"""Pseudo-labels, the cross-entropies against them, and both of their gradients, in closed form.

Outputs carry no graph: the gradients are among them.
"""

from __future__ import annotations

from torch import Tensor

from .. import reference_flat as reference
from ..backend import choose
from .registry import register

STEM = "pseudo_label"
_pseudo_labels = register(
    "pseudo_labels(Tensor teachers) -> (Tensor, Tensor)",
    lambda teachers: (teachers.new_empty(teachers.shape), teachers.new_empty(teachers.shape)),
    STEM,
)
_cross_entropy = register(
    "cross_entropy(Tensor logits, Tensor targets, float weight) -> (Tensor, Tensor, Tensor)",
    lambda x, targets, weight: (x.new_empty(x.shape[:1]), x.new_empty(x.shape), x.new_empty(x.shape)),
    STEM,
)
_teacher_cotangent = register(
    "teacher_cotangent(Tensor p, Tensor tau) -> Tensor", lambda p, tau: p.new_empty(p.shape), STEM
)


def pseudo_labels(teachers: Tensor, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Logits of K teachers -> their softmax p, and targets[k] = sum over j != k of p[j]; all (K, N, J)."""
    _check("teachers", teachers)
    name = choose(backend, teachers.device, teachers.dtype)
    kernel = reference.pseudo_labels if name == "reference" else _pseudo_labels.on(name)
    return kernel(teachers)


def cross_entropy(
    logits: Tensor, targets: Tensor, weight: float = 1.0, backend: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of V virtual learners: losses (V), log-probabilities and gradients of weight * loss in the logits (V, N, J).

    loss = -mean_n sum_c targets * log_probs
    targets (V, N, J) need not sum to 1: the sum of K - 1 cross-entropies is one against the sum of their targets.
    """
    _check("logits", logits, "targets", targets)
    name = choose(backend, logits.device, logits.dtype)
    kernel = reference.cross_entropy if name == "reference" else _cross_entropy.on(name)
    return kernel(logits, targets, weight)


def teacher_cotangent(p: Tensor, tau: Tensor, backend: str | None = None) -> Tensor:
    """What the pseudo-labels p pass on to the teachers' logits, all (K, N, J).

    The gradient in them of -mean_n sum over k, j != k, c of p[j] * tau[k]: with tau the students' log-probabilities, of
    the sum of the losses; with a derivative of those, of the cross term of eq (10).
    """
    _check("p", p, "tau", tau)
    name = choose(backend, p.device, p.dtype)
    kernel = reference.teacher_cotangent if name == "reference" else _teacher_cotangent.on(name)
    return kernel(p, tau)


def _check(name: str, first: Tensor, other: str = "", second: Tensor | None = None) -> None:
    if first.dim() != 3 or first.numel() == 0:
        raise ValueError(f"need {name} of three dimensions, none empty; got {tuple(first.shape)}")
    if second is not None and (second.shape != first.shape or second.dtype != first.dtype):
        raise ValueError(
            f"need {other} {tuple(first.shape)} {first.dtype}, as {name}; got {tuple(second.shape)} {second.dtype}"
        )
