"""Pseudo-labels, the cross-entropies against them, and both of their gradients, in closed form.

Outputs carry no graph: the gradients are among them. Fused backends refuse tensors that want gradients.
"""

from __future__ import annotations

from torch import Tensor

from ..backends.choice import choose
from ..reference import flat as reference
from .registry import Operator, need_floating, refuse_gradients, register, said

STEM = "pseudo_label"


def _check(name: str, first: Tensor, other: str = "", second: Tensor | None = None) -> None:
    if first.dim() != 3 or first.numel() == 0:
        raise ValueError(f"need {name} of three dimensions, none empty; got {tuple(first.shape)}")
    need_floating(name, first)
    if second is not None and (second.shape != first.shape or second.dtype != first.dtype):
        raise ValueError(f"need {other} {said(first)}, as {name}; got {said(second)}")


_pseudo_labels: Operator[tuple[Tensor, Tensor]] = register(
    "pseudo_labels(Tensor teachers) -> (Tensor, Tensor)",
    lambda teachers: _check("teachers", teachers),
    lambda teachers: (teachers.new_empty(teachers.shape), teachers.new_empty(teachers.shape)),
    STEM,
    reference.pseudo_labels,
)
_cross_entropy: Operator[tuple[Tensor, Tensor, Tensor]] = register(
    "cross_entropy(Tensor logits, Tensor targets, float weight) -> (Tensor, Tensor, Tensor)",
    lambda logits, targets, weight: _check("logits", logits, "targets", targets),
    lambda x, targets, weight: (x.new_empty(x.shape[:1]), x.new_empty(x.shape), x.new_empty(x.shape)),
    STEM,
    reference.cross_entropy,
)
_pseudo_label_vjp: Operator[Tensor] = register(
    "pseudo_label_vjp(Tensor p, Tensor tau) -> Tensor",
    lambda p, tau: _check("p", p, "tau", tau),
    lambda p, tau: p.new_empty(p.shape),
    STEM,
    reference.pseudo_label_vjp,
)
refuse_gradients(_pseudo_labels, _cross_entropy, _pseudo_label_vjp)


def pseudo_labels(teachers: Tensor, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Logits of K teachers -> their softmax p, and targets[k] = sum over j != k of p[j]; all (K, N, J)."""
    return _pseudo_labels.on(choose(backend, teachers.device, teachers.dtype))(teachers)


def cross_entropy(
    logits: Tensor, targets: Tensor, weight: float = 1.0, backend: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of V virtual learners: losses (V), log-probabilities and gradients of weight * loss in the logits (V, N, J).

    loss = -mean_n sum_c targets * log_probs
    targets (V, N, J) need not sum to 1: the sum of K - 1 cross-entropies is one against the sum of their targets.
    """
    return _cross_entropy.on(choose(backend, logits.device, logits.dtype))(logits, targets, weight)


def pseudo_label_vjp(p: Tensor, tau: Tensor, backend: str | None = None) -> Tensor:
    """What the pseudo-labels p pass on to the teachers' logits, all (K, N, J).

    The gradient in them of -mean_n sum over k, j != k, c of p[j] * tau[k]: with tau the students' log-probabilities, of
    the sum of the losses; with a derivative of those, of the cross term of eq (10).
    """
    return _pseudo_label_vjp.on(choose(backend, p.device, p.dtype))(p, tau)
