"""A whole search on the fused kernels: the same seed as on the reference, the same alphas.

Ten steps: beyond, the rounding of either backend grows by itself, with the learning rates of a search.
"""

from __future__ import annotations

import pytest
import torch
from nets import small

from sgl_fast.backend import use_backend
from sgl_fast.batch import Batch
from sgl_fast.config import Config
from sgl_fast.sgl import Search


def alphas_after(steps: int, space: str, backend: str) -> torch.Tensor:
    net = small(space)
    search = Search(net, Config.preset(space, learners=2, arch_start=0, epochs=1, pretrain_epochs=0))
    draw = torch.Generator().manual_seed(1)
    with use_backend(backend):
        for _ in range(steps):
            images = [torch.randn(16, 3, 8, 8, generator=draw) for _ in range(3)]
            labels = [torch.randint(5, (16,), generator=draw) for _ in range(2)]
            search.step(Batch(images[0], labels[0], images[1], images[2], labels[1]))
    return search.arch.flat()


@pytest.mark.parametrize("space", ["pc_darts", "darts"])
def test_the_same_seed_gives_the_same_alphas(space: str, extension: None) -> None:
    reference, cpu = (alphas_after(10, space, backend) for backend in ("reference", "cpu"))
    assert (reference - cpu).abs().max() < 1e-3
    assert (cpu - alphas_after(1, space, "cpu")).abs().max() > 2e-3
