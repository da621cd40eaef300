"""What every relaxation has, and DARTS's own: the softmax of the alphas, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..genotype.genotype import Genotype, derive
from ..spaces import KINDS, Space, edges_of
from ..spaces.arch import Arch, select_rows
from .draws import Draws

Mixture = tuple[dict[str, Tensor], dict[str, Tensor | None]]  # by kind: of operations (V, E, O), of edges (V, E)


@dataclass(frozen=True)
class Moment:
    """When and where weights of operations are asked for.

    epoch    of the search, from 0 on; of a step a float64 tensor of no dimension on the device, which nobody may read
             on the host: schedules are arithmetic
    epochs   of the search
    learns   whether the weights of the network learn from the pass; False: the architecture does, or nobody
    attack   (V, E, O), what `Relaxation.attack` found for this kind of cell; None where there is none
    """

    epoch: float | Tensor = 0.0
    epochs: int = 1
    learns: bool = True
    attack: Tensor | None = None

    @property
    def progress(self) -> float | Tensor:
        """0 in the first epoch, 1 in the last one."""
        return self.epoch / max(1, self.epochs - 1)


class Relaxation:
    """How architecture parameters become weights of operations: a method derives from it what it does differently.

    Four functions: `weights`, `regulariser`, `stop`, `derive`. Everything else is a search's, whatever the method.

    draws       whether `weights` draws random numbers
    remembers   fields of an epoch's record that `stop` reads
    skip_noise  standard deviation of the noise that the output of a skip gets in training, over its own (NoisyDARTS)
    adversarial whether `attack` perturbs the weights of operations before the network's weights learn
    curvature   whether records have "hessian_eigenvalue", the largest one of the validation loss in A, (K)
    back        of a search that was stopped, how many epochs before its end the genotypes are taken from
    """

    draws: bool = False
    remembers: tuple[str, ...] = ()
    skip_noise: float = 0.0
    adversarial: bool = False
    curvature: bool = False
    back: int = 0

    def weights(self, alphas: Tensor, moment: Moment, draws: Draws) -> Tensor:
        """alphas of one kind of cell -> weights of its operations, both (V, E, O), differentiable once.

        draws   of the learner and the step; the passes of a step draw the same numbers
        """
        return alphas.softmax(-1)

    def regulariser(self, arch: Arch, moment: Moment) -> Tensor | None:
        """(K), added to the validation loss of each learner; None: nothing is."""
        return None

    def stop(self, history: Sequence[Mapping[str, Any]], space: Space) -> str | None:
        """Why the search ends after this epoch; None: it goes on.

        history   of the epochs in which the architecture moved, what is remembered of their records; space: of it
        """
        return None

    def derive(self, space: Space, arch: Arch, learner: int = 0, max_skips: int | None = None) -> Genotype:
        """The genotype of a learner, as `sgl_fast.derive`."""
        return derive(space, arch, learner, max_skips)

    def probabilities(self, alphas: Tensor) -> Tensor:
        """(K, E, O), from 0 to 1, what records and pictures show of an architecture."""
        return alphas.softmax(-1)

    def attack(self, weights: Arch, moment: Moment, draws: Draws, gradient: Callable[[Arch], Arch]) -> Arch:
        """What an adversary adds to weights of operations, the alphas of `weights`, before the step that learns.

        gradient   of the training loss at other weights of operations
        """
        raise NotImplementedError

    def at(self, epoch: float | Tensor = 0.0, epochs: int = 1, seeds: Tensor | None = None) -> Mixing:
        """The relaxation in an epoch; seeds (K) int64, one a learner, where it draws. ValueError without them."""
        if self.draws and seeds is None:
            raise ValueError(f"need seeds, one a learner: {type(self).__name__} draws; got None")
        return Mixing(self, Moment(epoch, epochs), seeds)


@dataclass(frozen=True)
class Mixing:
    """A relaxation at a moment, for K learners: what makes a supernet's coefficients of its architectures.

    seeds (K) int64; attack: an Arch of K learners, whose alphas are what `Relaxation.attack` found
    """

    relaxation: Relaxation = field(default_factory=Relaxation)
    moment: Moment = field(default_factory=Moment)
    seeds: Tensor | None = None
    attack: Arch | None = None

    def rows(self, learners: Sequence[int], learns: bool = True) -> Mixing:
        """Of these learners, repeats allowed."""
        seeds = None if self.seeds is None else select_rows(self.seeds, learners)
        attack = None if self.attack is None else self.attack.rows(learners)
        return replace(self, moment=replace(self.moment, learns=learns), seeds=seeds, attack=attack)

    def __call__(self, space: Space, arch: Arch) -> Mixture:
        """Weights of operations (V, E, O) and of edges (V, E), None without betas, by kind of cell."""
        draws, ops, edges = self.draws(arch), {}, {}
        for kind in KINDS:
            attack = None if self.attack is None else getattr(self.attack, f"alphas_{kind}")
            moment = replace(self.moment, attack=attack)
            ops[kind] = self.relaxation.weights(getattr(arch, f"alphas_{kind}"), moment, draws)
            edges[kind] = edge_softmax(space, getattr(arch, f"betas_{kind}"))
        return ops, edges

    def draws(self, arch: Arch) -> Draws:
        """Those of a new pass."""
        alphas = arch.alphas_normal
        seeds = alphas.new_zeros(len(arch), dtype=torch.int64) if self.seeds is None else self.seeds
        return Draws(seeds, alphas.dtype)


def edge_softmax(space: Space, betas: Tensor | None) -> Tensor | None:
    """Softmax of betas (V, E) over the in-edges of each node (PC-DARTS)."""
    if betas is None:
        return None
    groups = betas.split([len(edges_of(node)) for node in range(space.nodes)], dim=1)
    return torch.cat([g.softmax(1) for g in groups], dim=1)
