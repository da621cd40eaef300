"""Random architectures: their seed, their budget of parameters, and sizes without a network."""

from __future__ import annotations

import doctest
import random
import subprocess
import sys

import pytest
import torch

from sgl_fast.genotype import baseline, size
from sgl_fast.genotype.baseline import Budget, random_genotype
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.genotype.published import genotypes
from sgl_fast.genotype.size import parameters_of, published_parameters
from sgl_fast.nets.counting import count_parameters
from sgl_fast.nets.network import Network
from sgl_fast.spaces import KINDS, OPERATIONS, PRIMITIVES, edges_of, space


def counted(genotype: Genotype, sizes: tuple[int, int, int], imagenet: bool) -> int:
    with torch.device("meta"):
        return count_parameters(Network(genotype, *sizes, imagenet=imagenet))


@pytest.mark.parametrize("name", [*list(genotypes)[:12], *list(genotypes)[37:]])
def test_sizes_are_those_of_the_network(name: str) -> None:
    """Cells of two to five nodes, of every operation there is in a published one."""
    draw = random.Random(name)
    for imagenet in (False, True):
        sizes = (2 * draw.randint(1, 12), draw.randint(2, 9), draw.randint(1, 20))
        assert parameters_of(genotypes[name], *sizes, imagenet) == counted(genotypes[name], sizes, imagenet), sizes


@pytest.mark.parametrize("op", OPERATIONS)
def test_sizes_of_every_operation(op: str) -> None:
    """From a cell's input and from a node, in both cells."""
    cell = [(op, 0), (op, 1), (op, 2), ("none", 0)]
    genotype = Genotype(cell, [2, 3], cell, [3])
    assert parameters_of(genotype, 6, 6, 3) == counted(genotype, (6, 6, 3), False)


def test_random_genotypes_follow_the_seed_and_cover_the_space() -> None:
    assert random_genotype(4, seed=5) == random_genotype(4, seed=5) != random_genotype(4, seed=6)
    drawn = [random_genotype(3, seed=seed) for seed in range(100)]
    entries = {entry for genotype in drawn for entry in genotype.normal[-2:]}
    assert {source for _, source in entries} == {0, 1, 2, 3}
    assert {op for op, _ in entries} == set(PRIMITIVES) - {"none"}
    assert all(a[1] < b[1] for g in drawn for a, b in zip(g.reduce[::2], g.reduce[1::2], strict=True))


@pytest.mark.parametrize("imagenet", [False, True])
def test_a_budget_is_kept(imagenet: bool) -> None:
    budget = Budget(4.5, 4.8, imagenet=True) if imagenet else Budget(3.2, 3.4)
    drawn = [random_genotype(seed=seed, budget=budget) for seed in range(12)]
    sizes = [published_parameters(genotype, imagenet) / 1e6 for genotype in drawn]
    assert all(budget.least <= million <= budget.most for million in sizes) and len(set(drawn)) == 12
    assert drawn[3] == random_genotype(seed=3, budget=budget)
    scale = (48, 14, 1000) if imagenet else (36, 20, 10)
    assert counted(drawn[0], scale, imagenet) == published_parameters(drawn[0], imagenet)


def test_a_budget_that_everything_meets_draws_what_no_budget_does() -> None:
    wide, seeds = Budget(0.1, 100), range(20)
    assert [random_genotype(seed=s, budget=wide) for s in seeds] == [random_genotype(seed=s) for s in seeds]


def test_a_budget_that_nothing_meets() -> None:
    with pytest.raises(
        ValueError, match=r"^no random architecture of 4 nodes has 0.5 to 0.6 million .* have 1\.\d\d to"
    ):
        random_genotype(seed=2, budget=Budget(0.5, 0.6))


@pytest.mark.parametrize("ends", [(3, 2), (0, 1), (-1, 1), (1, float("inf")), (float("nan"), 1), (1, float("nan"))])
def test_what_is_no_budget(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="need least and most million parameters, 0 < least <= most; got"):
        Budget(*ends)


def test_examples_run_and_load_no_torch() -> None:
    for module in (baseline, size):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed
    code = "import sys, sgl_fast.genotype.baseline; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_random_genotypes_of_a_space_have_its_operations_edge_by_edge() -> None:
    made = space("s1", nodes=3)
    seen: dict[tuple[str, int], set[str]] = {}
    for seed in range(300):
        genotype = random_genotype(seed=seed, space=made)
        for kind in KINDS:
            for place, (op, source) in enumerate(getattr(genotype, kind)):
                seen.setdefault((kind, edges_of(place // 2)[source]), set()).add(op)
    assert seen == {(kind, edge): set(ops) for kind in KINDS for edge, ops in enumerate(made.ops(kind))}


def test_random_genotypes_of_the_primitives_are_those_of_no_space() -> None:
    """The same draws, none left out on both sides."""
    made = space("darts", nodes=3)
    assert [random_genotype(3, seed=s) for s in range(9)] == [random_genotype(seed=s, space=made) for s in range(9)]
    none = space("darts", nodes=1, ops=["none"])
    with pytest.raises(ValueError, match="edge 0 of the normal cell has no op but none; nothing can be drawn"):
        random_genotype(space=none)
