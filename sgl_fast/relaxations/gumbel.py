"""Gumbel softmax: SNAS (Xie et al., 2019) samples weights, GDAS (Dong and Yang, 2019) one operation an edge."""

from __future__ import annotations

import torch
from torch import Tensor

from ..genotype.derivation import EdgeScores, Pairs
from ..genotype.genotype import Genotype, derive
from ..spaces import Space
from ..spaces.arch import Arch
from .base import Moment, Relaxation
from .draws import Draws


def gumbel_softmax(alphas: Tensor, tau: float | Tensor, draws: Draws) -> Tensor:
    """softmax((log softmax(alphas) + G) / tau), G standard Gumbel; (V, E, O)."""
    return ((alphas.log_softmax(-1) + draws.gumbel(*alphas.shape[1:])) / tau).softmax(-1)


class Snas(Relaxation):
    """Weights are a sample of the concrete distribution, whose temperature falls linearly from 1 to 0.03 (its eq 5).

    The first epoch is already a step below 1, as in the authors' code. The weights learn on D_tr and the architecture
    on D_val, as in every search here, where SNAS has one data set for both; no node keeps `none`, which theirs may.
    """

    draws = True
    taus = 1.0, 0.03  # before the first epoch, in the last one

    def weights(self, alphas: Tensor, moment: Moment, draws: Draws) -> Tensor:
        first, last = self.taus
        return gumbel_softmax(alphas, first + (last - first) * ((moment.epoch + 1) / moment.epochs), draws)


class Gdas(Relaxation):
    """The most probable operation of a Gumbel sample has weight 1, the others 0; the gradient is the sample's (eq 4-6).

    The temperature falls linearly from 10 to 0.1. A node's two inputs are its two best pairs of edge and operation, of
    one edge, maybe.
    """

    draws = True
    taus = 10.0, 0.1  # in the first epoch, in the last one

    def weights(self, alphas: Tensor, moment: Moment, draws: Draws) -> Tensor:
        first, last = self.taus
        soft = gumbel_softmax(alphas, first + (last - first) * moment.progress, draws)
        hard = torch.zeros_like(soft).scatter(-1, soft.argmax(-1, keepdim=True), 1.0)
        return hard - soft.detach() + soft

    def derive(self, space: Space, arch: Arch, learner: int = 0, max_skips: int | None = None) -> Genotype:
        return derive(space, arch, learner, max_skips, best_pairs)


def best_pairs(scores: EdgeScores) -> Pairs:
    """The two best operations of all of one node's edges, the best one first; of equals the first."""
    pairs = [(op, source) for source, edge in enumerate(scores) for op in edge]
    return sorted(pairs, key=lambda pair: -scores[pair[1]][pair[0]])[:2]
