"""The CUDA kernels, simulated on the CPU: whole supernets and a whole search step (pytest --simulated)."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from nets import draws, small
from torch import Tensor

from sgl_fast.arch import FIELDS, Arch
from sgl_fast.backend import use_backend
from sgl_fast.batch import Batch
from sgl_fast.config import Config
from sgl_fast.sgl import Search
from sgl_fast.spaces import SPACES
from sgl_fast.supernet import Supernet

V = 2
MOST_LAUNCHES = 1500  # of a search step; the released code has 191,000


def gradients(net: Supernet, weights: Tensor, arch: Arch, images: Tensor) -> list[Tensor]:
    """Logits, and the gradients of a loss in the weights and the architecture."""
    leaves = [weights.clone().requires_grad_(), *(t.clone().requires_grad_() for t in arch.tensors())]
    named = dict(zip([f for f in FIELDS if getattr(arch, f) is not None], leaves[1:], strict=True))
    logits = net(leaves[0], Arch(**named), images)
    return [logits.detach(), *torch.autograd.grad(logits.square().mean(), leaves)]


@pytest.mark.parametrize("name", SPACES)
def test_supernets_of_every_space(name: str, simulated: ModuleType) -> None:
    net = small(name)
    weights, arch, images = draws(net, V)
    with use_backend("reference"):
        want = gradients(net, weights, arch, images)
    with use_backend("cpu"):
        found = gradients(net, weights.float(), arch.map(lambda t: t.float()), images.float())
    for a, b in zip(found, want, strict=True):
        assert ((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-12)).item() < 1e-3


def test_kernels_of_a_search_step(simulated: ModuleType) -> None:
    """Of the cells, the pseudo-labels and the flat updates, at the published depth; they don't depend on the sizes."""
    net = small("pc_darts", layers=8, nodes=4)
    search = Search(net, Config.preset("pc_darts", learners=2, arch_start=0, pretrain_epochs=0))
    draw = torch.Generator().manual_seed(0)
    images = [torch.randn(2, 3, 8, 8, generator=draw) for _ in range(3)]
    labels = torch.randint(5, (2, 2), generator=draw)
    with use_backend("cpu"):
        before = simulated.launches()
        record = search.step(Batch(images[0], labels[0], images[1], images[2], labels[1]))
    count = simulated.launches() - before
    print(f"{count} kernels, {record['forwards']} forward and {record['backwards']} backward passes of a learner")
    assert count <= MOST_LAUNCHES
