"""What a search has found, in seconds: networks of cells that are cut out of its supernets, and are not trained again.

Of each learner, at the weights W as they are:

discrete_accuracy   of the network of its genotype, on the validation images; None where a node has two operations of
                    one source, as GDAS may choose: a supernet mixes these
random_accuracy     mean of those of CELLS random genotypes, on the first IMAGES of them: what is no choice
rank_correlation    Spearman's, over the same random genotypes, of how much its alphas prefer each
                    (`genotype.score.alpha_score`) with that accuracy; from -1 to 1, 0 where alphas and weights have
                    nothing to do with each other. Without any relation it deviates by 1 / sqrt(CELLS - 1). None where
                    all have one score or one accuracy.

Batch norms take the statistics of the batch, since those that a supernet keeps are of all its operations at once; edges
without a choice, and DARTS-'s auxiliary skips, give zeros. The random genotypes are drawn from the seed, the same in
every epoch of a stage. W has learnt with these alphas: a correlation says that both agree, not that the network of such
a cell is better once it is trained, which only training tells. Whatever the backend of the search, the CPU's kernels or
plain PyTorch compute it, so that no kernel is compiled for a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ..backends.choice import choose
from ..data.seeds import seed_of
from ..data.upload import upload
from ..genotype.baseline import random_genotype
from ..genotype.genotype import Genotype
from ..genotype.score import alpha_score, spearman
from ..nets.discrete import Discrete, source_twice
from ..nets.supernet import Supernet, draw_seeds
from ..sgl.search import Search
from ..spaces import KINDS
from .run_folder import plain

CELLS, IMAGES = 20, 200


class Tested:
    """The network of one genotype in one learner's supernet, and how many images it gets right."""

    def __init__(
        self, net: Supernet, genotype: Genotype, weights: Tensor, betas: dict[str, list[float]] | None
    ) -> None:
        self.part = Discrete(net.space, genotype)
        self.weights = self.part.select(net, weights)
        self.arch = self.part.arch(self.weights, betas)
        chosen = choose(None, weights.device, weights.dtype)
        self.backend = chosen if chosen == "cpu" else "reference"
        self.correct, self.count = torch.zeros((), device=weights.device), 0

    def add(self, x: Tensor, y: Tensor, seeds: Tensor | None) -> None:
        """Images (N, 3, H, W), labels (N); seeds of noise, (1)."""
        logits = self.part(self.weights, x, self.arch, seeds, self.backend)[0]
        self.correct += (logits.argmax(-1) == y).sum()
        self.count += len(y)

    @property
    def accuracy(self) -> float:
        return self.correct.item() / self.count


@torch.no_grad()
def discrete_scores(
    search: Search,
    genotypes: Sequence[Genotype],
    record: Mapping[str, Any],
    batches: Iterable[tuple[Tensor, Tensor]],
    before_each: Callable[[], None] = lambda: None,
) -> dict[str, list[float] | list[float | None]]:
    """discrete_accuracy, random_accuracy, rank_correlation, (K) each; see above.

    genotypes     of each learner
    record        what architectures are, as `alpha_score` takes it
    batches       of the validation images
    before_each   is called before every batch, and may raise
    """
    K, seed = len(search.w), search.config.seed
    drawn = [[random_genotype(seed=seed_of(seed, i), space=net.space) for i in range(CELLS)] for net in search.nets]
    own = [None if source_twice(g) else _tested(search, k, g) for k, g in enumerate(genotypes)]
    random = [[_tested(search, k, genotype) for genotype in drawn[k]] for k in range(K)]
    draw = torch.Generator().manual_seed(seed_of(seed, search.steps))
    for x, y in batches:
        before_each()
        seeds = upload(draw_seeds(1, draw), search.w.device) if search.nets[0].noisy else None
        for k in range(K):
            for one in [own[k], *(random[k] if random[k][0].count < IMAGES else ())]:
                if one is not None:
                    one.add(x, y, seeds)
    accuracies = [[one.accuracy for one in row] for row in random]
    shown = {name: plain(value) for name, value in record.items() if name.startswith(("alphas", "betas"))}
    scores = [[alpha_score(search.nets[k].space, g, shown, k) for g in drawn[k]] for k in range(K)]
    return {
        "discrete_accuracy": [None if one is None else one.accuracy for one in own],
        "random_accuracy": [fmean(row) for row in accuracies],
        "rank_correlation": [spearman(*pair) for pair in zip(scores, accuracies, strict=True)],
    }


def _tested(search: Search, k: int, genotype: Genotype) -> Tested:
    net, weights = search.nets[k], search.w[k : k + 1, : search.nets[k].num_weights]
    betas = None
    if net.space.edge_norm:
        betas = {kind: getattr(search.arch, f"betas_{kind}")[k].tolist() for kind in KINDS}
    return Tested(net, genotype, weights, betas)
