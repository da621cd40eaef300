"""What a genotype leaves of a supernet, against the supernet itself with all other operations at zero."""

from __future__ import annotations

import pytest
import torch
from networks import F64, whole_with

from sgl_fast.genotype.baseline import random_genotype
from sgl_fast.genotype.genotype import Genotype
from sgl_fast.nets.discrete import Discrete
from sgl_fast.nets.supernet import Supernet
from sgl_fast.spaces import KINDS, space

SIZES = {"channels": 4, "layers": 3, "nodes": 2, "num_classes": 5}


@pytest.mark.parametrize("name", ["darts", "darts_minus", "pc_darts", "p_darts", "s1"])
def test_it_is_the_supernet_without_all_else(name: str) -> None:
    """In float64, of two learners, by the reference; a cell that has no skip either."""
    made = space(name, **SIZES)
    net, draw = Supernet(made), torch.Generator().manual_seed(1)
    weights, images = net.init_weights(2, draw, F64), torch.rand(6, 3, 8, 8, generator=draw, dtype=F64)
    betas = {kind: torch.randn(made.edges, generator=draw).tolist() for kind in KINDS}
    for seed in range(4):
        genotype = random_genotype(seed=seed, space=made)
        part = Discrete(made, genotype)
        kept = part.select(net, weights)
        found = part(kept, images, part.arch(kept, betas), torch.tensor([5, 6]))
        want = whole_with(net, genotype, betas, weights, images)
        torch.testing.assert_close(found, want, rtol=1e-9, atol=1e-9)
        assert part.net.num_weights < net.num_weights


def test_every_backend_has_the_same(backend: str) -> None:
    made = space("pc_darts", **SIZES)
    net, draw = Supernet(made), torch.Generator().manual_seed(1)
    weights, images = net.init_weights(2, draw), torch.rand(6, 3, 8, 8, generator=draw)
    part = Discrete(made, random_genotype(seed=2, space=made))
    kept = part.select(net, weights)
    want = part(kept.double(), images.double())
    found = part.net(kept, part.arch(kept), images, skip_beta=0.0, backend=backend)
    assert (found - want).abs().max() < 1e-3 * want.abs().max()


def test_noise_is_drawn_by_its_seeds() -> None:
    made = space("s4", **SIZES)
    net = Supernet(made)
    pairs = [("noise", 0), ("sep_conv_3x3", 1), ("noise", 2), ("sep_conv_3x3", 0)]
    part = Discrete(made, Genotype(pairs, [2, 3], pairs, [2, 3]))
    kept, images = part.select(net, net.init_weights(1)), torch.rand(6, 3, 8, 8)
    first, again, other = (part(kept, images, seeds=torch.tensor([seed])) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([("skip_connect", 0), ("skip_connect", 1)], "need a genotype of 2 nodes; got 1 in the normal cell"),
        ([("skip_connect", 0), ("noise", 1)] * 2, "edge 1 of the normal cell has no op noise; it has none, max_pool"),
        ([("skip_connect", 0)] * 4, "node 0 of the normal cell takes a source twice"),
    ],
)
def test_a_genotype_that_does_not_fit_is_refused(pairs: list[tuple[str, int]], says: str) -> None:
    concat = range(2, 2 + len(pairs) // 2)
    with pytest.raises(ValueError, match=says):
        Discrete(space("darts", **SIZES), Genotype(pairs, concat, pairs, concat))
