"""Scores of genotypes by architectures, and rank correlations."""

from __future__ import annotations

import math
import random
from itertools import permutations

import pytest
import torch

from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.genotype.derivation import edge_shares
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.genotype.score import alpha_score, ranks_of, spearman
from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import KINDS, Space, edges_of, space


def drawn(made: Space) -> dict[str, list]:
    """A record of two learners, and the alphas that it is of."""
    arch = Supernet(made).init_arch(2, torch.Generator().manual_seed(3)).map(lambda t: 1000 * t)
    record = {f"alphas_{kind}": getattr(arch, f"alphas_{kind}").double().softmax(-1).tolist() for kind in KINDS}
    if made.edge_norm:
        record |= {f"betas_{kind}": [edge_shares(made, arch, k, kind) for k in range(2)] for kind in KINDS}
    return {**record, "arch": arch}


@pytest.mark.parametrize("name", ["darts", "pc_darts", "s4", "s1"])
def test_the_score_is_a_sum_of_centred_alphas(name: str) -> None:
    made = space(name, channels=4, nodes=3)
    record = drawn(made)
    for seed in range(5):
        genotype = random_genotype(seed=seed, space=made)
        want = 0.0
        for kind in KINDS:
            for place, (op, source) in enumerate(getattr(genotype, kind)):
                edges = edges_of(place // 2)
                ops = made.ops(kind)[edges[source]]
                row = getattr(record["arch"], f"alphas_{kind}")[1, edges[source]].double()
                kept = [i for i, one in enumerate(ops) if one != "none"]
                want += (row[ops.index(op)] - row[kept].mean()).item()
                if made.edge_norm:
                    betas = getattr(record["arch"], f"betas_{kind}")[1].double()
                    want += (betas[edges[source]] - betas[list(edges)].mean()).item()
        assert alpha_score(made, genotype, record, 1) == pytest.approx(want, abs=1e-4)


def test_the_preferred_genotype_has_the_largest_score() -> None:
    made = space("darts", nodes=1, ops=["skip_connect", "sep_conv_3x3"])
    record = {f"alphas_{kind}": [[[0.4, 0.6], [0.9, 0.1]]] for kind in KINDS}
    pairs = [[(a, 0), (b, 1)] for a in made.ops("normal")[0] for b in made.ops("normal")[0]]
    found = [alpha_score(made, Genotype(cell, [2], cell, [2]), record) for cell in pairs]
    assert found.index(max(found)) == 2 and sum(found) == pytest.approx(0)


def test_a_probability_of_zero_is_the_least_there_is() -> None:
    made = space("darts", nodes=1, ops=["skip_connect", "sep_conv_3x3"])
    record = {f"alphas_{kind}": [[[0.0, 1.0]] * 2] for kind in KINDS}
    cell = [("skip_connect", 0), ("skip_connect", 1)]
    assert math.isfinite(alpha_score(made, Genotype(cell, [2], cell, [2]), record))


def test_spearman_is_pearson_of_ranks() -> None:
    for order in permutations(range(5)):
        squares = sum((i - rank) ** 2 for i, rank in enumerate(order))
        assert spearman(range(5), order) == pytest.approx(1 - 6 * squares / (5 * 24))
    draw = random.Random(0)
    xs, ys = ([draw.randrange(4) for _ in range(30)] for _ in range(2))
    ranks = torch.tensor([ranks_of(xs), ranks_of(ys)], dtype=torch.float64)
    assert spearman(xs, ys) == pytest.approx(torch.corrcoef(ranks)[0, 1].item())
    assert ranks_of([3, 1, 3, 2]) == [3.5, 1.0, 3.5, 2.0] and ranks_of([]) == []


def test_no_correlation_of_what_does_not_vary() -> None:
    assert spearman([1, 2], [1, 2]) is None and spearman([1, 1, 1], [1, 2, 3]) is None
