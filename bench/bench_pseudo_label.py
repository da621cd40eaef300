"""Pseudo-labels and the students' cross-entropies with their gradients, against a loop over the pairs of learners."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sgl_fast.ops.pseudo_label import cross_entropy, pseudo_label_vjp, pseudo_labels

from .eager.learner import others, pair_loss
from .interleave import Interleave, Row
from .settings import Settings

LIMITS = (4, 1.5)


@pytest.mark.parametrize("J", [10, 100, 1000])
@pytest.mark.parametrize("K", [2, 3])
def test_labels_and_losses(K: int, J: int, device: str, settings: Settings, interleave: Interleave) -> None:
    teachers, students = drawn(K, settings.pick(50, 2), J, device)
    apart = [[t.clone() for t in teachers], [s.clone().requires_grad_() for s in students]]

    def ours() -> tuple[Tensor, ...]:
        _, targets = pseudo_labels(teachers)
        return cross_entropy(students, targets)

    def baseline() -> tuple[Tensor, ...]:
        labels = [t.softmax(-1) for t in apart[0]]
        losses = [pair_loss(logits, others(labels, k)) for k, logits in enumerate(apart[1])]
        return torch.autograd.grad(torch.stack(losses).sum(), apart[1])

    interleave(Row("pseudo_label: losses, gradients", shape_of(teachers), "eager pairs", *LIMITS), ours, baseline)


@pytest.mark.parametrize("J", [10, 100, 1000])
@pytest.mark.parametrize("K", [2, 3])
def test_cotangent_of_the_teachers(K: int, J: int, device: str, settings: Settings, interleave: Interleave) -> None:
    """The gradient of the pairs' cross-entropies in the teachers' logits."""
    teachers, students = drawn(K, settings.pick(50, 2), J, device)
    p, log_probs = teachers.softmax(-1), students.log_softmax(-1)
    apart = [[t.clone().requires_grad_() for t in teachers], list(students)]

    def baseline() -> tuple[Tensor, ...]:
        labels = [t.softmax(-1) for t in apart[0]]
        losses = [F.cross_entropy(s, p) for k, s in enumerate(apart[1]) for p in others(labels, k)]
        return torch.autograd.grad(torch.stack(losses).sum(), apart[0])

    row = Row("pseudo_label: teachers' cotangent", shape_of(teachers), "eager pairs")
    interleave(row, lambda: pseudo_label_vjp(p, log_probs), baseline)


def drawn(K: int, N: int, J: int, device: str) -> Tensor:
    """Logits of teachers and students, (2, K, N, J)."""
    return torch.randn(2, K, N, J, generator=torch.Generator().manual_seed(0)).to(device)


def shape_of(logits: Tensor) -> str:
    return "K{} N{} J{}".format(*logits.shape)
