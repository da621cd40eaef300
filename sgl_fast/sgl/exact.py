"""The second derivatives by double backward: the oracle of the finite differences. Reference backend only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..reference.pattern import join
from ..spaces.arch import Arch, select_rows
from . import ranks
from .passes import Passes
from .virtual_learners import VirtualLearners, merge, merge_arch


def derivative(passes: Passes, rows: VirtualLearners, direction: Tensor) -> tuple[Arch, Tensor]:
    """d/de of grad_A loss, an Arch, and of the log-probabilities (V, N, J), along weights + e * direction at e = 0.

    direction (V, P). On the patterns of the rows (of the reference), where they have some.
    """
    groups = passes.groups(rows.learners)
    parts = [_derivative(passes, rows.select(group), select_rows(direction, group)) for group in groups]
    arch = merge_arch(groups, [p[0] for p in parts]).map(ranks.mean_over_parts)
    return arch, merge(groups, [p[1] for p in parts])


def _derivative(passes: Passes, rows: VirtualLearners, direction: Tensor) -> tuple[Arch, Tensor]:
    weights, arch = passes.leaves(rows, True, True)
    direction = direction[:, : weights.shape[1]]
    pattern = join(rows.patterns) if rows.patterns else None
    options = replace(passes.options, backend="reference")
    log_probs = passes.forward(rows, weights, arch, options, pattern=pattern).log_softmax(-1)
    assert rows.targets is not None
    loss = -rows.weight * (rows.targets * log_probs).sum(-1).mean(-1).sum()
    (grad_w,) = torch.autograd.grad(loss, weights, create_graph=True)
    directional = (grad_w * direction).sum()
    second = torch.autograd.grad(directional, arch.tensors(), retain_graph=True, materialize_grads=True)
    probe = torch.zeros_like(log_probs, requires_grad=True)
    (vjp,) = torch.autograd.grad(log_probs, weights, probe, create_graph=True)
    (jvp,) = torch.autograd.grad((vjp * direction).sum(), probe)
    passes.backwards += 2 * len(rows)
    return arch.unflatten(second), jvp
