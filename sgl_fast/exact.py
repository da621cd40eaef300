"""The second derivatives by double backward: the oracle of the finite differences. Reference backend only."""

from __future__ import annotations

import torch
from torch import Tensor

from .arch import Arch
from .passes import Passes, Rows


def derivative(passes: Passes, rows: Rows, direction: Tensor) -> tuple[Arch, Tensor]:
    """d/de of grad_A loss, an Arch, and of the log-probabilities (V, N, J), along weights + e * direction at e = 0."""
    arch = passes.arch.rows(rows.learners).map(lambda t: t.requires_grad_())
    weights = rows.weights.detach().requires_grad_()
    logits = passes.net(weights, arch, rows.images, dropout_seeds=rows.seeds, **passes.options)  # type: ignore[arg-type]
    log_probs = logits.log_softmax(-1)
    assert rows.targets is not None
    loss = -rows.weight * (rows.targets * log_probs).sum(-1).mean(-1).sum()
    (grad_w,) = torch.autograd.grad(loss, weights, create_graph=True)
    along = (grad_w * direction).sum()
    second = iter(torch.autograd.grad(along, arch.tensors(), retain_graph=True, materialize_grads=True))
    probe = torch.zeros_like(log_probs, requires_grad=True)
    (pulled,) = torch.autograd.grad(log_probs, weights, probe, create_graph=True)
    (tangent,) = torch.autograd.grad((pulled * direction).sum(), probe)
    V = len(rows.learners)
    passes.forwards += V
    passes.backwards += 2 * V
    return arch.map(lambda _: next(second)), tangent
