"""What a search has decided: its operations beside those of an architecture that gradients without a signal moved.

Adam makes of such gradients a random walk: after n steps of size eta a logit is some eta sqrt(n) from where it began.
An edge is decided where its best operation is ahead of the next by more than 95% of such walks show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ..sgl.search import Search
from ..spaces import KINDS
from ..spaces.arch import SPREAD

CHANCE = 0.05  # of an edge to look decided without a signal
_DRAWS = 20_000


@dataclass(frozen=True)
class Decided:
    """edges of all learners and of one; how many are decided; in how many all learners have one best operation."""

    edges: int
    edges_each: int
    decided: int
    agreed: int
    agreed_by_chance: float

    @property
    def is_found(self) -> bool:
        """Whether more edges are decided than 99% of searches without a signal would show."""
        mean = CHANCE * self.edges
        return self.decided > mean + 2.33 * math.sqrt(mean * (1 - CHANCE))

    def lines(self) -> list[str]:
        by_chance = f"by chance {CHANCE * self.edges:.1f}"
        found = [f"decided: the operation of {self.decided} of {self.edges} edges, {by_chance}"]
        if self.edges > self.edges_each:
            found[0] += f"; learners agree on {self.agreed} of {self.edges_each}, by chance {self.agreed_by_chance:.1f}"
        if not self.is_found:
            found.append("UNDECIDED: little more than a random cell; more steps (--epochs) or images a batch help")
        return found


def decided(search: Search) -> Decided:
    """Of the architectures as they are; operations other than `none`, which no cell keeps."""
    learners = range(search.config.learners)
    walk = math.hypot(SPREAD, search.config.arch_lr * math.sqrt(int(search.architect.steps)))
    count = agreed = edges = 0
    by_chance = 0.0
    for kind in KINDS:
        alphas = getattr(search.arch, f"alphas_{kind}").tolist()
        ops = [net.space.ops(kind) for net in search.nets]
        for edge in range(len(alphas[0])):
            edges += 1
            among = [[op for op in ops[k][edge] if op != "none"] for k in learners]
            found = [_best(alphas[k][edge], ops[k][edge]) for k in learners]
            count += sum(ahead > walk * _widest_gap(len(own)) for (_, ahead), own in zip(found, among, strict=True))
            agreed += len({op for op, _ in found}) == 1
            by_chance += len(set.intersection(*map(set, among))) / math.prod(map(len, among))
    return Decided(edges * len(learners), edges, count, agreed, by_chance)


def _best(alphas: Sequence[float], ops: Sequence[str]) -> tuple[str, float]:
    """The operation of an edge, and how far it is ahead of the next one."""
    ranked = sorted(((alpha, op) for alpha, op in zip(alphas, ops, strict=True) if op != "none"), reverse=True)
    return ranked[0][1], ranked[0][0] - ranked[1][0] if len(ranked) > 1 else math.inf


@cache
def _widest_gap(ops: int) -> float:
    """Between the best two of so many standard normal numbers, in all but CHANCE of cases; 0 for a single one."""
    import torch

    if ops < 2:
        return 0.0
    best = torch.randn(_DRAWS, ops, generator=torch.Generator().manual_seed(0)).topk(2).values
    return float((best[:, 0] - best[:, 1]).quantile(1 - CHANCE))
