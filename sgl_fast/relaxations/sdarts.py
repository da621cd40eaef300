"""SDARTS (Chen and Hsieh, 2020): the network's weights learn at perturbed weights of operations, A at its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..spaces import KINDS
from ..spaces.arch import Arch
from .base import Moment, Relaxation
from .draws import Draws


class SdartsRs(Relaxation):
    """softmax(alpha) plus uniform numbers from -eps to eps, on the simplex; eps grows from 0.03 to 0.3 (its eq 6)."""

    draws = True
    eps = 0.03, 0.3  # in the first epoch, after the last one

    def radius(self, moment: Moment) -> float | Tensor:
        first, last = self.eps
        return first + (last - first) * (moment.epoch / moment.epochs)

    def weights(self, alphas: Tensor, moment: Moment, draws: Draws) -> Tensor:
        p = alphas.softmax(-1)
        return on_simplex(p + self.perturbation(p, moment, draws)) if moment.learns else p

    def perturbation(self, p: Tensor, moment: Moment, draws: Draws) -> Tensor:
        return self.radius(moment) * (2 * draws.uniform(*p.shape[1:]) - 1)


class SdartsAdv(SdartsRs):
    """The perturbation that makes the training loss large: 7 steps of 2 eps / 7 along its gradient's signs (eq 5).

    It is found at W with batch statistics, where the authors have running ones, and is the same for V.
    """

    adversarial = True
    steps = 7

    def perturbation(self, p: Tensor, moment: Moment, draws: Draws) -> Tensor:
        return torch.zeros_like(p) if moment.attack is None else moment.attack

    def attack(self, weights: Arch, moment: Moment, draws: Draws, gradient: Callable[[Arch], Arch]) -> Arch:
        names, eps = [f"alphas_{kind}" for kind in KINDS], self.radius(moment)
        start = {name: getattr(weights, name) for name in names}
        now = {name: on_simplex(p + super(SdartsAdv, self).perturbation(p, moment, draws)) for name, p in start.items()}
        for _ in range(self.steps):
            uphill = gradient(replace(weights, **now))
            for name, p in start.items():
                moved = now[name] + 2 * eps / self.steps * getattr(uphill, name).sign() - p
                now[name] = on_simplex(p + (moved / eps).clamp(-1, 1) * eps)
        return replace(weights, **{name: now[name] - p for name, p in start.items()})


def on_simplex(weights: Tensor) -> Tensor:
    """Clipped to 0 and 1 and divided by their sum, (V, E, O); where all are 0 there, the largest one is 1."""
    kept = weights.clamp(0, 1)
    best = torch.zeros_like(kept).scatter(-1, weights.argmax(-1, keepdim=True), 1.0)
    kept = torch.where(kept.sum(-1, keepdim=True) > 0, kept, best)
    return kept / kept.sum(-1, keepdim=True)
