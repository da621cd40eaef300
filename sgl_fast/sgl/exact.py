"""The second derivatives by double backward: the oracle of the finite differences. Reference backend only."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference.pattern import join
from ..spaces.arch import Arch, like, take
from .passes import Passes, Rows, merge, merge_arch


def derivative(passes: Passes, rows: Rows, direction: Tensor) -> tuple[Arch, Tensor]:
    """d/de of grad_A loss, an Arch, and of the log-probabilities (V, N, J), along weights + e * direction at e = 0.

    On the patterns of the rows (of the reference), where they have some.
    """
    groups = passes.groups(rows.learners)
    parts = [_derivative(passes, rows.take(group), take(direction, group)) for group in groups]
    return merge_arch(groups, [p[0] for p in parts]), merge(groups, [p[1] for p in parts])


def _derivative(passes: Passes, rows: Rows, direction: Tensor) -> tuple[Arch, Tensor]:
    weights, arch = passes.leaves(rows, True, True)
    direction = direction[:, : weights.shape[1]]
    pattern = join(rows.patterns) if rows.patterns else None
    log_probs = passes.forward(rows, weights, arch, backend="reference", pattern=pattern).log_softmax(-1)
    assert rows.targets is not None
    loss = -rows.weight * (rows.targets * log_probs).sum(-1).mean(-1).sum()
    (grad_w,) = torch.autograd.grad(loss, weights, create_graph=True)
    along = (grad_w * direction).sum()
    second = torch.autograd.grad(along, arch.tensors(), retain_graph=True, materialize_grads=True)
    probe = torch.zeros_like(log_probs, requires_grad=True)
    (pulled,) = torch.autograd.grad(log_probs, weights, probe, create_graph=True)
    (tangent,) = torch.autograd.grad((pulled * direction).sum(), probe)
    passes.backwards += 2 * len(rows.learners)
    return like(arch, second), tangent
