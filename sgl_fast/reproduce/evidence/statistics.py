"""Two samples beside each other, and what random architectures show by chance. No torch."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev, variance

from ...genotype.score import alpha_score
from ...spaces import KINDS
from .plan import made

DRAWS = 400  # random architectures, or groups of them
TWO_SIDED, POWER = 1.959964, 0.841621  # quantiles of the normal distribution: 5% of errors, 80% of power


@dataclass(frozen=True)
class Contrast:
    """One sample less another.

    difference  of the means; error: its standard error; t: their ratio (Welch), None where nothing deviates; degrees:
                of freedom
    better      share of pairs in which the one of the first is larger, ties half
    """

    difference: float
    error: float
    t: float | None
    degrees: float | None
    better: float

    @classmethod
    def of(cls, ours: Sequence[float], others: Sequence[float]) -> Contrast | None:
        """None of fewer than two in either."""
        if min(len(ours), len(others)) < 2:
            return None
        parts = [variance(sample) / len(sample) for sample in (ours, others)]
        error, difference = math.sqrt(sum(parts)), fmean(ours) - fmean(others)
        wins = sum((a > b) + (a == b) / 2 for a in ours for b in others)
        better = wins / (len(ours) * len(others))
        if not error:
            return cls(difference, 0.0, None, None, better)
        lost = sum(part**2 / (len(s) - 1) for part, s in zip(parts, (ours, others), strict=True))
        return cls(difference, error, difference / error, sum(parts) ** 2 / lost, better)


def least_difference(deviation: float, count: int, other: int) -> float:
    """Of two means of so many, which a test at 5% finds in 80% of cases; normal approximation."""
    return (TWO_SIDED + POWER) * deviation * math.sqrt(1 / count + 1 / other)


def count_needed(deviation: float, difference: float) -> int:
    """Each side's, to find such a difference in 80% of cases."""
    return math.ceil(2 * ((TWO_SIDED + POWER) * deviation / difference) ** 2)


def at_most(count: int, trials: int) -> float:
    """Chance of at most so many heads of a fair coin."""
    return float(sum(math.comb(trials, k) for k in range(count + 1)) / 2**trials)


@dataclass(frozen=True)
class Null:
    """A number of random architectures, sorted."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        return stdev(self.values)

    def quantile(self, share: float) -> float:
        return self.values[min(len(self.values) - 1, int(share * len(self.values)))]

    def reaches(self, value: float) -> float:
        """Share of them that are at least that large, with the value itself as one of them."""
        return (1 + sum(one >= value for one in self.values)) / (1 + len(self.values))

    def mean_reaches(self, value: float, count: int) -> float:
        """Share of means of so many that are at least that large."""
        draw = random.Random(0)
        means = (fmean(draw.choices(self.values, k=count)) for _ in range(10 * DRAWS))
        return (1 + sum(one >= value for one in means)) / (1 + 10 * DRAWS)

    def falls_to(self, value: float) -> float:
        """Share of them that are at most that large, with the value itself as one of them."""
        return (1 + sum(one <= value for one in self.values)) / (1 + len(self.values))


Tops = tuple[int, ...]  # of each edge of both cells the operation ahead, by its place


@cache
def random_tops(count: int) -> tuple[Tops, ...]:
    """Of so many random architectures of seven operations, uniform."""
    draw = random.Random(count)
    edges = sum(len(made(False).ops(kind)) for kind in KINDS)
    ops = made(False).ops_per_edge
    return tuple(tuple(draw.randrange(ops) for _ in range(edges)) for _ in range(count))


@cache
def null_of_groups(number: Callable[[Sequence[Tops]], float], count: int) -> Null:
    """Of groups of so many random architectures."""
    every = random_tops(DRAWS * count)
    return Null(tuple(sorted(number(every[count * i : count * (i + 1)]) for i in range(DRAWS))))


@dataclass(frozen=True)
class Share:
    """Of edges, %, with one of these operations ahead, mean over architectures."""

    places: frozenset[int]

    def __call__(self, tops: Sequence[Tops]) -> float:
        return 100 * fmean(sum(op in self.places for op in one) / len(one) for one in tops)


def agreement(tops: Sequence[Tops]) -> float:
    """Edges on which two architectures agree, mean over all pairs; NaN of a single one."""
    if (count := len(tops)) < 2:
        return math.nan
    equal = sum(k * (k - 1) for column in zip(*tops, strict=True) for k in Counter(column).values())
    return equal / (count * (count - 1))


@cache
def random_architectures() -> tuple[dict[str, list[list[list[float]]]], ...]:
    """Alphas of standard normal numbers, as probabilities: a record each, of one learner."""
    draw, space = random.Random(0), made(False)

    def row() -> list[float]:
        powers = [math.exp(draw.gauss(0, 1)) for _ in range(space.ops_per_edge)]
        return [power / sum(powers) for power in powers]

    return tuple({f"alphas_{kind}": [[row() for _ in range(space.edges)]] for kind in KINDS} for _ in range(DRAWS))


@cache
def random_scores(cells: int) -> tuple[tuple[float, ...], ...]:
    """Of each random architecture its scores of the first so many random cells."""
    from ...genotype.baseline import random_genotype

    space = made(False)
    genotypes = [random_genotype(seed=number, space=space) for number in range(cells)]
    return tuple(tuple(alpha_score(space, g, arch) for g in genotypes) for arch in random_architectures())
