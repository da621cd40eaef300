"""FairDARTS (Chu et al., 2020): operations do not compete; a sigmoid weighs each, and a loss drives it to 0 or 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..genotype.derivation import EdgeScores, Pairs, choose_darts
from ..genotype.genotype import Genotype, derive
from ..spaces import Space
from ..spaces.arch import Arch
from .base import Moment, Relaxation
from .draws import Draws


class FairDarts(Relaxation):
    """Weights sigmoid(alpha); the zero-one loss -w mean (sigmoid(alpha) - 1/2)^2, w = 10 (its eq 7).

    A node keeps those of DARTS's two operations whose weight is at least 0.85; `none` stands for the others. Where
    there is none such, it keeps the stronger one, so that every node has an input (not so in the authors' code).
    """

    weight = 10.0
    threshold = 0.85

    def weights(self, alphas: Tensor, moment: Moment, draws: Draws) -> Tensor:
        return alphas.sigmoid()

    def regulariser(self, arch: Arch, moment: Moment) -> Tensor:
        alphas = torch.cat([arch.alphas_normal.flatten(1), arch.alphas_reduce.flatten(1)], 1)
        return -self.weight * (alphas.sigmoid() - 0.5).square().mean(1)

    def probabilities(self, alphas: Tensor) -> Tensor:
        return alphas.sigmoid()

    def derive(self, space: Space, arch: Arch, learner: int = 0, max_skips: int | None = None) -> Genotype:
        return derive(space, arch, learner, max_skips, self.above_threshold, self.probabilities)

    def above_threshold(self, scores: EdgeScores) -> Pairs:
        """Of one node, the stronger edge first."""
        first, *others = choose_darts(scores)
        return [first, *((op if scores[source][op] >= self.threshold else "none", source) for op, source in others)]
