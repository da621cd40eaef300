"""DrNAS (Chen et al., 2021): weights of operations are drawn from a Dirichlet distribution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Moment, Relaxation
from .draws import Draws

ROUNDS = 8  # of rejection: each takes at least 95 of 100


class DrNas(Relaxation):
    """Weights are a sample of Dirichlet(elu(alpha) + 1), its gradient that of torch.distributions (its eq 4).

    Its L2 penalty on alpha is --arch-weight-decay, 1e-3 there and here. Its progressive stages are left out.
    """

    draws = True

    def weights(self, alphas: Tensor, moment: Moment, draws: Draws) -> Tensor:
        concentration = F.elu(alphas) + 1
        sampled: Tensor = Dirichlet.apply(concentration, dirichlet(concentration.detach(), draws))
        return sampled


class Dirichlet(torch.autograd.Function):
    """The sample as it is; its derivative in the concentration at fixed randomness."""

    @staticmethod
    def forward(ctx: Any, concentration: Tensor, sample: Tensor) -> Tensor:
        ctx.save_for_backward(concentration, sample)
        return sample.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        concentration, sample = ctx.saved_tensors
        total = concentration.sum(-1, keepdim=True).expand_as(concentration)
        each: Tensor = torch._dirichlet_grad(sample, concentration, total)
        return each * (grad - (sample * grad).sum(-1, keepdim=True)), None


def dirichlet(concentration: Tensor, draws: Draws) -> Tensor:
    """A sample, (V, E, O) as the concentration: Gamma numbers over their sum, by logarithms, for they may be tiny.

    Gamma(c) is Gamma(c + 1) u^(1/c) (Marsaglia and Tsang, 2000), and Gamma(c + 1) the first of ROUNDS proposals that is
    taken, so that all randomness comes from the draws, and no loop waits for the device.
    """
    size = concentration.shape[1:]
    d = concentration + 2 / 3
    x = draws.normal(ROUNDS, *size).transpose(0, 1)
    v = (1 + x / (9 * d).sqrt()) ** 3
    log_v = v.clamp(min=torch.finfo(v.dtype).tiny).log()
    u = draws.uniform(ROUNDS, *size).transpose(0, 1)
    taken = (v > 0) & (u.log() < 0.5 * x.square() + d - d * v + d * log_v)
    first = taken & (taken.cumsum(0) == 1)
    log_gamma = d.log() + torch.where(first, log_v, 0).sum(0) + draws.uniform(*size).log() / concentration
    return log_gamma.softmax(-1).clamp(min=torch.finfo(v.dtype).tiny)
