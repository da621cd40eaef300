"""Architectures that no search found: random ones, also within a budget of parameters. No torch."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..integers import real, whole
from ..spaces import PRIMITIVES
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


def random_genotype(nodes: int = 4, seed: int = 0, budget: Budget | None = None) -> Genotype:
    """Two different sources a node and an op other than none for each, uniformly: the random-architecture baseline.

    budget  the first one drawn from this seed that is within it; uniform over those that are. ValueError where none of
            10,000 is

    >>> found = random_genotype(seed=1, budget=Budget(3.2, 3.4))
    >>> published_parameters(found)
    3356254
    """
    rng = random.Random(seed)
    if budget is None:
        return _drawn(rng, nodes)
    sizes = []
    for _ in range(DRAWS):
        genotype = _drawn(rng, nodes)
        sizes.append(published_parameters(genotype, budget.imagenet))
        if budget.holds(sizes[-1]):
            return genotype
    raise ValueError(
        f"no random architecture of {nodes} nodes has {budget.least:g} to {budget.most:g} million parameters: the "
        f"{DRAWS} drawn from seed {seed} have {min(sizes) / 1e6:.2f} to {max(sizes) / 1e6:.2f}"
    )


def _drawn(rng: random.Random, nodes: int) -> Genotype:
    def cell() -> list[tuple[str, int]]:
        sources = [source for node in range(nodes) for source in sorted(rng.sample(range(node + 2), 2))]
        return [(rng.choice(PRIMITIVES[1:]), source) for source in sources]

    concat = range(2, nodes + 2)
    return Genotype(cell(), concat, cell(), concat)
