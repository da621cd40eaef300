"""A whole search on the fused kernels: the same seed as on the reference, the same alphas.

A search multiplies rounding by itself: a reference whose weights start half a unit in the last place away shows how far
two correct searches part.
"""

from __future__ import annotations

import pytest
import torch
from networks import small

from sgl_fast.backends.choice import use_backend
from sgl_fast.data.batch import Batch
from sgl_fast.sgl.config import Config
from sgl_fast.sgl.search import Search

STEPS = 50
NEAR = 1e-3
SURE = 10  # steps after which the alphas are that near, whatever the rounding
HALF_A_UNIT = 6e-8


def alphas(space: str, backend: str, away: float = 0.0) -> list[torch.Tensor]:
    """After each step; the weights start `away` from those of the seed, relatively."""
    draw = torch.Generator().manual_seed(1)
    search = Search(small(space), Config.preset(space, learners=2, arch_start=0, epochs=1, pretrain_epochs=0))
    search.w, search.v = (t * (1 + away * torch.randn(t.shape, generator=draw)) for t in (search.w, search.v))
    draw.manual_seed(1)
    found = []
    with use_backend(backend):
        for _ in range(STEPS):
            images = [torch.randn(16, 3, 8, 8, generator=draw) for _ in range(3)]
            labels = [torch.randint(5, (16,), generator=draw) for _ in range(2)]
            search.step(Batch(images[0], labels[0], images[1], images[2], labels[1]))
            found.append(search.arch.flat())
    return found


@pytest.mark.parametrize("space", ["pc_darts", "darts"])
def test_the_same_seed_gives_the_same_alphas(space: str, extension: None) -> None:
    reference, cpu, moved = alphas(space, "reference"), alphas(space, "cpu"), alphas(space, "reference", HALF_A_UNIT)

    def apart(other: list[torch.Tensor], steps: int) -> float:
        return (other[steps - 1] - reference[steps - 1]).abs().max().item()

    assert apart(cpu, SURE) < NEAR
    assert (cpu[0] - cpu[SURE - 1]).abs().max() > 2 * NEAR
    assert apart(cpu, STEPS) < max(NEAR, 4 * apart(moved, STEPS))
