"""Architectures that no search found: random ones, also within a budget of parameters. No torch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ..integers import real, whole
from ..spaces import KINDS, PRIMITIVES, EdgeOps, Space, edges_of, num_edges
from .derivation import NONE
from .genotype import Genotype
from .size import published_parameters

DRAWS = 10_000  # before a budget is given up


@dataclass(frozen=True)
class Budget:
    """What a random architecture's network may have: least to most million parameters, at the published scale.

    imagenet   of the ImageNet form, 48 channels and 14 cells, in place of the CIFAR form, 36 and 20
    ValueError unless 0 < least <= most, finite.
    """

    least: float
    most: float
    imagenet: bool = False

    def __post_init__(self) -> None:
        ends = [whole(end) if real(end) is None else real(end) for end in (self.least, self.most)]
        if None in ends or not 0 < self.least <= self.most < float("inf"):
            raise ValueError(
                f"need least and most million parameters, 0 < least <= most; got {self.least}, {self.most}"
            )

    def holds(self, parameters: int) -> bool:
        return self.least * 1e6 <= parameters <= self.most * 1e6


def random_genotype(
    nodes: int = 4, seed: int = 0, budget: Budget | None = None, space: Space | None = None
) -> Genotype:
    """Two different sources a node and an op other than none for each, uniformly: the random-architecture baseline.

    budget  the first one drawn from this seed that is within it; uniform over those that are. ValueError where none of
            10,000 is
    space   whose nodes and whose operations, edge by edge; None: that many nodes, and the primitives

    >>> found = random_genotype(seed=1, budget=Budget(3.2, 3.4))
    >>> published_parameters(found)
    3356254
    """
    rng = random.Random(seed)
    nodes = nodes if space is None else space.nodes
    ops = dict.fromkeys(KINDS, (PRIMITIVES,) * num_edges(nodes)) if space is None else {k: space.ops(k) for k in KINDS}
    if budget is None:
        return _drawn(rng, nodes, ops)
    sizes = []
    for _ in range(DRAWS):
        genotype = _drawn(rng, nodes, ops)
        sizes.append(published_parameters(genotype, budget.imagenet))
        if budget.holds(sizes[-1]):
            return genotype
    raise ValueError(
        f"no random architecture of {nodes} nodes has {budget.least:g} to {budget.most:g} million parameters: the "
        f"{DRAWS} drawn from seed {seed} have {min(sizes) / 1e6:.2f} to {max(sizes) / 1e6:.2f}"
    )


def _drawn(rng: random.Random, nodes: int, ops: Mapping[str, EdgeOps]) -> Genotype:
    def cell(kind: str) -> list[tuple[str, int]]:
        sources = [source for node in range(nodes) for source in sorted(rng.sample(range(node + 2), 2))]
        edges = [edges_of(i // 2)[source] for i, source in enumerate(sources)]
        kept = [[op for op in ops[kind][edge] if op != NONE] for edge in edges]
        if [] in kept:
            raise ValueError(
                f"edge {edges[kept.index([])]} of the {kind} cell has no op but none; nothing can be drawn"
            )
        return [(rng.choice(among), source) for among, source in zip(kept, sources, strict=True)]

    concat = range(2, nodes + 2)
    return Genotype(cell("normal"), concat, cell("reduce"), concat)
